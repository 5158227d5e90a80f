//! `./dev bench scan`: av-scan's engine against ClamAV's own client, in one run on one clamd.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod documents;
mod peer;
#[path = "../report.rs"]
mod report;
mod through;

use std::path::PathBuf;

use clap::Parser;
use report::{Measured, Report};

const ENGINE: &str = "av-scan: blob store, version, INSTREAM";
const BARE: &str = "INSTREAM alone, from memory";
const PEER: &str = "clamdscan --multiscan";

/// Small documents a second through av-scan's engine, against clamdscan --multiscan over the same files.
#[derive(Parser)]
struct Arguments {
    /// The clamd; `./dev bench scan` gives its own.
    #[arg(long, value_name = "HOST:PORT")]
    address: String,
    /// Its configuration, for clamdscan.
    #[arg(long, value_name = "FILE")]
    clamd_config: PathBuf,
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    files: u32,
    /// Of each file, about.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(100..=10_000_000))]
    bytes: u32,
    /// Documents at once; clamd's own MaxThreads is 8 here.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    at_once: u16,
    /// Each figure is the median of so many turns.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=50))]
    turns: u8,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let documents = documents::Documents::write(arguments.files, arguments.bytes)?;
    let scans = through::Scans::open(&arguments.address, &documents, usize::from(arguments.at_once))?;
    let (mut engine, mut bare, mut peer) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 1..=arguments.turns {
        peer.push(peer::multiscan(&arguments.clamd_config, documents.directory()).await?);
        engine.push(scans.engine().await?);
        bare.push(scans.bare().await?);
        eprintln!("  turn {turn} of {}", arguments.turns);
    }
    let mut report = Report::default();
    for (name, turns) in [(PEER, &mut peer), (ENGINE, &mut engine), (BARE, &mut bare)] {
        turns.sort_unstable();
        let Some(took) = turns.get(turns.len() / 2).copied() else { continue };
        report.add(name, Measured { messages: arguments.files, took });
    }
    report.compare(ENGINE, PEER);
    report.compare(BARE, PEER);
    report.compare(ENGINE, BARE);
    println!("{}", if arguments.json { report.json()? } else { report.text() });
    Ok(())
}
