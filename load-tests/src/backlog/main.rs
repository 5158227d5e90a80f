//! `./dev bench backlog`: one worker starts cold on a backlog, several sizes one after the other: how long it takes, what it has
//! in memory meanwhile.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod fill;
mod memory;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use clap::Parser;
use comfy_table::{CellAlignment, Table, presets};
use docfleet_pipeline::KafkaConfig;
use docfleet_telemetry::Settings;
use docfleet_testkit::{Database, Servers, Topics, unique_name};
use memory::Memory;
use serde::Serialize;
use sqlx::PgPool;
use tokio::process::{Child, Command};

const WORKER: &str = "projection-builder";
const PARTITIONS: i32 = 12;
const EVERY: Duration = Duration::from_millis(500);
/// Of one size, without a message more.
const STALLED: Duration = Duration::from_secs(60);

/// A cold start of projection-builder on a full topic.
#[derive(Parser)]
struct Arguments {
    /// The servers' configuration; `./dev bench backlog` gives its own.
    #[arg(long, env = "DOCFLEET_CONFIG", value_name = "FILE")]
    config: PathBuf,
    /// The worker's program.
    #[arg(long, value_name = "PROGRAM")]
    worker: PathBuf,
    /// Messages that wait; repeatable.
    #[arg(long, default_values_t = [250_000, 500_000, 1_000_000])]
    messages: Vec<u32>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Run {
    messages: u32,
    seconds: f64,
    per_second: f64,
    /// Of the first and the last quarter of the backlog.
    per_second_first: f64,
    per_second_last: f64,
    /// MiB.
    peak: Memory,
    /// When the first quarter was done, and at the end.
    early: Memory,
    late: Memory,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let servers = Servers::named_by(&arguments.config);
    let mut runs = Vec::new();
    for messages in &arguments.messages {
        runs.push(cold_start(&servers, &arguments.worker, *messages).await?);
    }
    println!("{}", if arguments.json { serde_json::to_string_pretty(&runs)? } else { text(&runs) });
    Ok(())
}

async fn cold_start(servers: &Servers, program: &Path, messages: u32) -> anyhow::Result<Run> {
    let database = Database::fresh_on(servers).await;
    let prefix = format!("{}.", unique_name());
    let topics = [
        "documents.uploaded.v1",
        "documents.virus-scanned.v1",
        "documents.deduplicated.v1",
        "documents.text-extracted.v1",
    ];
    let retries = ["10s", "1m", "10m"].map(|tier| format!("{WORKER}.retry.{tier}"));
    let all: Vec<&str> = topics.into_iter().chain(retries.iter().map(String::as_str)).collect();
    Topics::create_on(servers, &prefix, &all, PARTITIONS).await;
    let toml = servers.toml_for(&database, &prefix, "");
    let kafka: KafkaConfig = Settings::from_toml(&toml).section("kafka")?;
    eprintln!("filling {messages} messages");
    fill::fill(&kafka, &servers.registry_url(), messages).await?;
    let directory = tempfile::tempdir()?;
    let config = directory.path().join("docfleet.toml");
    std::fs::write(&config, toml)?;
    sqlx::query("CHECKPOINT").execute(&database.pool()).await?;
    eprintln!("a cold start on {messages}");
    let mut worker = Command::new(program)
        .env("DOCFLEET_CONFIG", &config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(directory.path().join("log"))?)
        .kill_on_drop(true)
        .spawn()?;
    let run = watch(&database.pool(), &worker, messages).await;
    worker.kill().await?;
    run
}

/// The clock starts at the first message that is settled.
async fn watch(pool: &PgPool, worker: &Child, messages: u32) -> anyhow::Result<Run> {
    let pid = worker.id().ok_or_else(|| anyhow::anyhow!("the worker has ended"))?;
    let (mut began, mut quarter, mut three) = (None, None, None);
    let (mut peak, mut early) = (Memory::default(), Memory::default());
    let (mut last, mut progress_at, mut told) = (0, Instant::now(), 0);
    loop {
        let (settled, in_flight): (i64, i64) = sqlx::query_as(
            r"SELECT (SELECT count(*) FROM pipeline.inbox WHERE consumer = 'projection-builder'),
                     (SELECT coalesce(sum(in_flight), 0)::bigint FROM pipeline.consumer_members)",
        )
        .fetch_one(pool)
        .await?;
        let settled = u32::try_from(settled)?;
        let now = Memory::of(pid)?;
        peak = peak.max(now);
        if settled > last {
            (last, progress_at) = (settled, Instant::now());
        }
        anyhow::ensure!(progress_at.elapsed() < STALLED, "{settled} of {messages}, and nothing more for {STALLED:?}");
        if settled > 0 && began.is_none() {
            began = Some((settled, Instant::now()));
        }
        if settled >= messages / 4 && quarter.is_none() {
            quarter = Some((settled, Instant::now()));
            early = now;
        }
        if settled >= messages / 4 * 3 && three.is_none() {
            three = Some((settled, Instant::now()));
        }
        if settled / (messages / 10).max(1) > told {
            told = settled / (messages / 10).max(1);
            eprintln!("  {settled:>9} settled, {in_flight} in flight, {now}");
        }
        if settled >= messages {
            let (Some(began), Some(quarter), Some(three)) = (began, quarter, three) else {
                anyhow::bail!("it was done before it could be measured: take more messages");
            };
            let ended = (settled, Instant::now());
            let seconds = ended.1.duration_since(began.1).as_secs_f64();
            return Ok(Run {
                messages,
                seconds,
                per_second: rate(began, ended),
                per_second_first: rate(began, quarter),
                per_second_last: rate(three, ended),
                peak,
                early,
                late: now,
            });
        }
        // The question itself costs the database something.
        tokio::time::sleep(EVERY).await;
    }
}

fn rate(from: (u32, Instant), to: (u32, Instant)) -> f64 {
    f64::from(to.0 - from.0) / to.1.duration_since(from.1).as_secs_f64()
}

fn text(runs: &[Run]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_header([
        "messages",
        "seconds",
        "a second",
        "first quarter",
        "last quarter",
        "peak MiB",
        "anonymous",
        "files",
        "after a quarter",
        "at the end",
    ]);
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for run in runs {
        table.add_row([
            run.messages.to_string(),
            format!("{:.1}", run.seconds),
            format!("{:.0}", run.per_second),
            format!("{:.0}", run.per_second_first),
            format!("{:.0}", run.per_second_last),
            format!("{:.1}", run.peak.resident),
            format!("{:.1}", run.peak.anonymous),
            format!("{:.1}", run.peak.files),
            format!("{:.1}", run.early.resident),
            format!("{:.1}", run.late.resident),
        ]);
    }
    table.to_string()
}
