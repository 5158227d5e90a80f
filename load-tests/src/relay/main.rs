//! `./dev bench relay`: the outbox relay against Debezium's outbox router, on the same servers in one run.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod carrier;
mod connect;
mod limit;
mod measure;
mod ours;
mod process;
mod receiver;
mod report;

use std::path::PathBuf;

use clap::Parser;

/// Rows a second from the outbox to a consumer, latency, memory and idle CPU, against Debezium's outbox router.
#[derive(Parser)]
pub struct Arguments {
    /// The servers' configuration; `./dev bench relay` gives its own.
    #[arg(long, env = "DOCFLEET_CONFIG", value_name = "FILE")]
    config: PathBuf,
    /// The relay's program.
    #[arg(long, value_name = "FILE")]
    relay: PathBuf,
    /// A Java of version 17 or later.
    #[arg(long, value_name = "FILE", requires = "jars")]
    java: Option<PathBuf>,
    /// The jars of Kafka Connect and Debezium; without them only our relay is measured.
    #[arg(long, value_name = "FOLDER", requires = "java")]
    jars: Option<PathBuf>,
    /// Rows of each measurement.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1_000..=2_000_000))]
    rows: u32,
    /// Bytes of a row's payload.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(20..=100_000))]
    bytes: u32,
    /// Times each rate is measured; the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    times: u32,
    /// How long latency is measured at 500 rows a second.
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    latency_seconds: u32,
    /// How long idle CPU is measured.
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    idle_seconds: u32,
    /// Further configuration of our relay, such as '[relay]
    /// batch_rows = 2000'.
    #[arg(long, default_value = "", value_name = "TOML", hide_default_value = true)]
    with: String,
    /// Also write the result here, as Markdown.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let report = measure::all(&arguments).await?;
    if let Some(file) = &arguments.markdown {
        std::fs::write(file, report.markdown())?;
    }
    println!("{}", if arguments.json { report.json()? } else { report.markdown() });
    Ok(())
}
