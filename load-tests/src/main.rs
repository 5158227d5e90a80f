//! `./dev bench pipeline`: the runtime against the physical limits beside it, in one run.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod bare;
mod bench;
mod bento;
mod events;
mod report;
mod sql;

use std::path::PathBuf;

use clap::Parser;

/// Messages a second through the runtime, against a bare client loop and the same SQL without Kafka.
#[derive(Parser)]
struct Arguments {
    /// The servers' configuration; `./dev bench pipeline` gives its own.
    #[arg(long, env = "DOCFLEET_CONFIG", value_name = "FILE")]
    config: PathBuf,
    /// Messages of each measurement.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1_000..=5_000_000))]
    messages: u32,
    /// Size of a message's own data, in bytes.
    #[arg(long, default_value_t = 300)]
    bytes: usize,
    /// Further configuration, such as '[consumer]
    /// batch_messages_max = 512'.
    #[arg(long, default_value = "", value_name = "TOML", hide_default_value = true)]
    with: String,
    /// Bento's program, to be measured beside; `./dev bench pipeline` builds it.
    #[arg(long, env = "DOCFLEET_BENTO", value_name = "PROGRAM")]
    bento: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let report =
        bench::run(&arguments.config, arguments.messages, arguments.bytes, &arguments.with, arguments.bento.as_deref())
            .await?;
    println!("{}", if arguments.json { report.json()? } else { report.text() });
    Ok(())
}
