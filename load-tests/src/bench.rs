use std::{
    future::Future,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;
use docfleet_outbox::{Draft, Event, Outbox, Registry, RegistryConfig};
use docfleet_pipeline::{ConsumerConfig, KafkaConfig, Setup, consume, relay::relay};
use docfleet_telemetry::Settings;
use docfleet_testkit::{Database, Servers, Topics, unique_name};
use sqlx::PgPool;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    bare,
    events::{Loaded, PassOn, Passed},
    report::Report,
    sql,
};

const PARTITIONS: i32 = 12;
const PATIENCE: Duration = Duration::from_secs(600);
const BARE: &str = "bare loop";
const SQL: &str = "SQL alone";
const RELAY: &str = "relay";
const SETTLE: &str = "settle";
const PIPELINE: &str = "pipeline";

/// A database and topics of this run's own.
struct Bench {
    database: Database,
    outbox: Outbox,
    settings: Settings,
    kafka: KafkaConfig,
}

pub async fn run(config: &Path, messages: u32, bytes: usize, with: &str) -> anyhow::Result<Report> {
    let filling = "x".repeat(bytes);
    let bench = Bench::new(config, with).await?;
    let pool = bench.database.pool();
    let mut report = Report::default();
    // What is measured last must not be the only one with warm servers.
    eprintln!("warming up");
    bench.fill(20_000, &filling).await?;
    bench.while_running("outbox-relay", |setup| async move { relay(&setup).await }, bench.published(20_000)).await?;

    eprintln!("measuring");
    bench.fill(messages, &filling).await?;
    let relayed = bench.while_running(
        "outbox-relay",
        |setup| async move { relay(&setup).await },
        bench.published(20_000 + messages),
    );
    report.add(RELAY, messages, relayed.await?);

    let (kafka, source, target) = (bench.kafka.clone(), bench.topic(Loaded::TOPIC), bench.topic("load.bare.v1"));
    let all = 20_000 + messages;
    let bare = tokio::task::spawn_blocking(move || bare::pass_on(&kafka, &source, &target, all)).await??;
    report.add(BARE, all, bare);

    let batching: ConsumerConfig = bench.settings.section("consumer")?;
    let batch = u32::try_from(batching.batch_messages_max)?;
    let alone = sql::settle(&pool, &bench.outbox, messages, batch, batching.settlers, &filling).await?;
    report.add(SQL, messages, alone);
    forget_outbox(&pool).await?;

    let settled = bench.while_running("settle", consumer, bench.settled("settle", all)).await?;
    report.add(SETTLE, all, settled);
    forget_outbox(&pool).await?;

    let through = bench.while_running("pipeline", both, bench.passed("pipeline", all)).await?;
    report.add(PIPELINE, all, through);
    for (of, to) in [(PIPELINE, BARE), (PIPELINE, SQL), (SETTLE, SQL), (SETTLE, BARE), (RELAY, BARE)] {
        report.compare(of, to);
    }
    Ok(report)
}

async fn consumer(setup: Setup) -> anyhow::Result<()> {
    setup.pin::<Passed>().await?;
    consume(&setup, PassOn).await
}

async fn both(setup: Setup) -> anyhow::Result<()> {
    let relaying = setup.clone();
    tokio::try_join!(consumer(setup), async move { relay(&relaying).await })?;
    Ok(())
}

/// The rows of one measurement would be the relay's work in the next.
async fn forget_outbox(pool: &PgPool) -> anyhow::Result<()> {
    sqlx::query("TRUNCATE pipeline.outbox_events, pipeline.aggregates").execute(pool).await?;
    sqlx::query("VACUUM (ANALYZE) pipeline.inbox").execute(pool).await?;
    sqlx::query("CHECKPOINT").execute(pool).await.ok();
    Ok(())
}

impl Bench {
    async fn new(config: &Path, with: &str) -> anyhow::Result<Self> {
        let servers = Servers::named_by(config);
        let database = Database::fresh_on(&servers).await;
        let prefix = format!("{}.", unique_name());
        let topics = [Loaded::TOPIC, Passed::TOPIC, "load.bare.v1", "settle.retry.10s", "pipeline.retry.10s"];
        Topics::create_on(&servers, &prefix, &topics, PARTITIONS).await;
        let registry = Registry::new(&RegistryConfig { url: servers.registry_url() })?;
        registry.pin::<Loaded>().await?;
        registry.pin::<Passed>().await?;
        let outbox = Outbox::new(registry, &prefix);
        let settings = Settings::from_toml(&servers.toml_for(&database, &prefix, with));
        let kafka = settings.section("kafka")?;
        Ok(Self { database, outbox, settings, kafka })
    }

    fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.kafka.topic_prefix)
    }

    /// Events of as many aggregates, 1,000 a transaction.
    async fn fill(&self, count: u32, filling: &str) -> anyhow::Result<()> {
        let mut left = count;
        while left > 0 {
            let now = left.min(1_000);
            let draft = |_| {
                let event = Loaded { item_id: Uuid::now_v7(), filling: filling.to_owned() };
                Draft::first(event, "load", "load", None)
            };
            let mut transaction = self.database.pool().begin().await?;
            self.outbox.append(&mut transaction, (0..now).map(draft).collect()).await?;
            transaction.commit().await?;
            left -= now;
        }
        Ok(())
    }

    /// Runs `main` until `done`; returns how long that took, start-up included.
    async fn while_running<F: Future<Output = anyhow::Result<()>> + Send + 'static>(
        &self,
        name: &'static str,
        main: impl FnOnce(Setup) -> F,
        done: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<Duration> {
        let stop = CancellationToken::new();
        let (broken, mut breaks) = mpsc::unbounded_channel();
        let setup = Setup::new(name, self.settings.clone(), stop.clone(), broken)?;
        let began = Instant::now();
        let running = tokio::spawn(main(setup.clone()));
        tokio::select! {
            done = tokio::time::timeout(PATIENCE, done) => done.context("it takes too long")??,
            Some(why) = breaks.recv() => anyhow::bail!(why),
        }
        let took = began.elapsed();
        stop.cancel();
        running.await??;
        setup.background_ended().await;
        Ok(took)
    }

    async fn published(&self, count: u32) -> anyhow::Result<()> {
        self.until(
            "SELECT count(*) FROM pipeline.outbox_events WHERE published_at IS NOT NULL AND $1 <> ''",
            "-",
            count,
        )
        .await
    }

    async fn settled(&self, consumer: &str, count: u32) -> anyhow::Result<()> {
        self.until("SELECT count(*) FROM pipeline.inbox WHERE consumer = $1", consumer, count).await
    }

    async fn passed(&self, consumer: &str, count: u32) -> anyhow::Result<()> {
        self.settled(consumer, count).await?;
        self.published(count).await
    }

    async fn until(&self, sql: &'static str, parameter: &str, count: u32) -> anyhow::Result<()> {
        loop {
            let now: i64 = sqlx::query_scalar(sql).bind(parameter).fetch_one(&self.database.pool()).await?;
            if now >= i64::from(count) {
                return Ok(());
            }
            // The question itself costs the database something.
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }
}
