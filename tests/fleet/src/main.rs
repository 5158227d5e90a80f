//! `./dev chaos`: the faults of docs/faults.md on the whole fleet. The script builds and stops what this one starts.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use fleet_tests::{
    fault::Nemesis,
    faults,
    record::{Journal, Outcome, Record, write_table},
    run::Runner,
    servers::root,
};

#[derive(Parser)]
struct Arguments {
    /// By name or row; may be repeated
    #[arg(long)]
    fault: Vec<String>,
    #[arg(long)]
    all: bool,
    #[arg(long)]
    minutes: Option<u64>,
    /// Multiplies the time that a recovery may take
    #[arg(long, default_value_t = 1)]
    patience: u32,
    #[arg(long, default_value_t = rand::random())]
    seed: u64,
    #[arg(long)]
    list: bool,
    #[arg(long)]
    table: bool,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        list();
        return ExitCode::SUCCESS;
    }
    if arguments.table {
        write_table(&root().join("docs/faults.md"), &Journal::of("chaos").read());
        return ExitCode::SUCCESS;
    }
    let Some(chosen) = chosen(&arguments) else { return ExitCode::from(2) };
    eprintln!("--seed {}", arguments.seed);
    // A fault that fails is a result; where in the program it was noticed is not.
    std::panic::set_hook(Box::new(|_| {}));
    let mut runner = Runner::new(arguments.seed, arguments.patience);
    let mut records = Vec::new();
    for nemesis in chosen {
        records.push(runner.one(nemesis).await);
    }
    let ends = Instant::now() + Duration::from_secs(60 * arguments.minutes.unwrap_or(0));
    while Instant::now() < ends {
        records.push(runner.some().await);
    }
    summary(&records)
}

/// None when a name is not known; it was said.
fn chosen(arguments: &Arguments) -> Option<Vec<Box<dyn Nemesis>>> {
    let mut all = faults::all();
    if arguments.all {
        return Some(all);
    }
    let is = |nemesis: &dyn Nemesis, wanted: &str| {
        let fault = nemesis.fault();
        fault.name == wanted || fault.row.to_string() == wanted
    };
    if let Some(unknown) = arguments.fault.iter().find(|wanted| !all.iter().any(|nemesis| is(&**nemesis, wanted))) {
        eprintln!("there is no fault '{unknown}'; ./dev chaos --list shows them");
        return None;
    }
    all.retain(|nemesis| arguments.fault.iter().any(|wanted| is(&**nemesis, wanted)));
    Some(all)
}

fn list() {
    for nemesis in faults::all() {
        let fault = nemesis.fault();
        println!("{:3}  {:22} {}", fault.row, fault.name, fault.what);
    }
}

fn summary(records: &[Record]) -> ExitCode {
    let bad: Vec<&Record> =
        records.iter().filter(|record| matches!(record.outcome, Outcome::Finding | Outcome::Failed)).collect();
    let impossible = records.iter().filter(|record| record.outcome == Outcome::Impossible).count();
    let green = records.len() - bad.len() - impossible;
    eprintln!("\n{green} green, {} not, {impossible} can not be done here", bad.len());
    for record in &bad {
        eprintln!("  {} {}: {}", record.row, record.name, record.detail.lines().next().unwrap_or_default());
    }
    if bad.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
