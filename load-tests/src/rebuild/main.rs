//! `./dev bench rebuild`: a view built anew from the outbox, against what reading it costs and against the live view's statements
//! driven from memory, in one run.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod events;
#[path = "../report.rs"]
mod report;

use std::{path::PathBuf, time::Instant};

use clap::Parser;
use docfleet_blobs::{Blobs, BlobsConfig};
use docfleet_events::DocumentEvent;
use docfleet_outbox::{Input, Outbox, Registry, RegistryConfig, codec};
use docfleet_testkit::{Database, Servers};
use futures::TryStreamExt;
use projection_builder::{
    Table,
    rebuild::Builder,
    view::{self, Fact},
};
use report::{Measured, Report};
use sqlx::PgPool;

const REBUILD: &str = "rebuild";
const SELECT: &str = "SELECT of the outbox";
const JOINED: &str = "SELECT with the inbox, by document";
const MEMORY: &str = "the view's SQL from memory";
/// Events in one transaction of the live view, at its best.
const BATCH: usize = 8_000;

/// Events a second into a view that is built anew.
#[derive(Parser)]
struct Arguments {
    /// The servers' configuration; `./dev bench rebuild` gives its own.
    #[arg(long, env = "DOCFLEET_CONFIG", value_name = "FILE")]
    config: PathBuf,
    /// Documents, of four events each.
    #[arg(long, default_value_t = 75_000, value_parser = clap::value_parser!(u32).range(1_000..=1_000_000))]
    documents: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let servers = Servers::named_by(&arguments.config);
    let database = Database::fresh_on(&servers).await;
    let registry = Registry::new(&RegistryConfig { url: servers.registry_url(), ..Default::default() })?;
    let pool = database.pool();
    eprintln!("writing {} documents", arguments.documents);
    events::write(&pool, &Outbox::new(registry.clone(), ""), arguments.documents).await?;
    let count = arguments.documents * events::OF_DOCUMENT;

    eprintln!("measuring");
    let mut report = Report::default();
    report.add(SELECT, read(&pool, "SELECT payload FROM pipeline.outbox_events WHERE kind = 'event'", count).await?);
    let joined = r"SELECT o.payload FROM pipeline.outbox_events o
                     JOIN pipeline.inbox i ON i.consumer = 'projection-builder' AND i.event_id = o.event_id AND i.outcome = 'done'
                    WHERE o.kind = 'event' ORDER BY o.aggregate_id, o.aggregate_version";
    report.add(JOINED, read(&pool, joined, count).await?);
    report.add(REBUILD, rebuild(&pool, &registry, count).await?);
    report.add(MEMORY, from_memory(&pool, &registry, count).await?);
    for to in [SELECT, JOINED, MEMORY] {
        report.compare(REBUILD, to);
    }
    println!("{}", if arguments.json { report.json()? } else { report.text() });
    Ok(())
}

async fn read(pool: &PgPool, sql: &'static str, count: u32) -> anyhow::Result<Measured> {
    let began = Instant::now();
    let mut rows = sqlx::query_scalar::<_, Vec<u8>>(sql).fetch(pool);
    let mut events = 0;
    while rows.try_next().await?.is_some() {
        events += 1;
    }
    anyhow::ensure!(events == count, "{events} of {count} events");
    Ok(Measured { messages: count, took: began.elapsed() })
}

/// From the first step to the last row of the standby. To follow and to compare comes after.
async fn rebuild(pool: &PgPool, registry: &Registry, count: u32) -> anyhow::Result<Measured> {
    sqlx::query("INSERT INTO pipeline.projection_builds (projection, who) VALUES ('document_view', 'bench')")
        .execute(pool)
        .await?;
    // Without texts: what a store gives in a second is another measurement.
    let nothing = tempfile::tempdir()?;
    let blobs = Blobs::open_store(&BlobsConfig::at(format!("file://{}", nothing.path().display())), "local")?;
    let builder = Builder::new(pool.clone(), registry.clone(), blobs);
    let began = Instant::now();
    loop {
        builder.step().await?;
        let (filled, events): (bool, i64) =
            sqlx::query_as("SELECT filled, events_done FROM pipeline.projection_builds").fetch_one(pool).await?;
        if filled {
            anyhow::ensure!(events == i64::from(count), "{events} of {count} events");
            return Ok(Measured { messages: count, took: began.elapsed() });
        }
    }
}

/// The live view's own statements over facts that are decoded already.
async fn from_memory(pool: &PgPool, registry: &Registry, count: u32) -> anyhow::Result<Measured> {
    let payloads: Vec<Vec<u8>> = sqlx::query_scalar(
        "SELECT payload FROM pipeline.outbox_events WHERE kind = 'event' ORDER BY aggregate_id, aggregate_version",
    )
    .fetch_all(pool)
    .await?;
    let mut facts = Vec::with_capacity(payloads.len());
    for payload in &payloads {
        let (schema, datum) = codec::unframe(payload)?;
        facts.push(DocumentEvent::decode(&*registry.schema(schema).await?, datum)?);
    }
    let began = Instant::now();
    for batch in facts.chunks(BATCH) {
        let batch: Vec<Fact<'_>> = batch.iter().map(|(meta, event)| Fact { meta, event, text: None }).collect();
        let mut transaction = pool.begin().await?;
        view::apply(&mut transaction, Table::LIVE, &batch).await?;
        transaction.commit().await?;
    }
    Ok(Measured { messages: count, took: began.elapsed() })
}
