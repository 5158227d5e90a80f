use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    docfleet_cli::run(docfleet_cli::Cli::parse()).await
}
