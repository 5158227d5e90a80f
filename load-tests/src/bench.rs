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
    bento::Bento,
    events::{Loaded, PassOn, Passed},
    report::{Measured, Report},
    sql,
};

const PARTITIONS: i32 = 12;
const PATIENCE: Duration = Duration::from_secs(600);
const BARE: &str = "bare loop";
const SQL: &str = "SQL alone";
const RELAY: &str = "relay";
const SETTLE: &str = "settle";
const PIPELINE: &str = "pipeline";
const BENTO: &str = "Bento";
/// It is much slower, and its rate does not depend on how much there is.
const BENTO_MESSAGES: u32 = 60_000;
const RATIOS: [(&str, &str); 7] = [
    (PIPELINE, BARE),
    (PIPELINE, SQL),
    (SETTLE, SQL),
    (SETTLE, BARE),
    (RELAY, BARE),
    (SETTLE, BENTO),
    (PIPELINE, BENTO),
];

/// A database and topics of this run's own.
struct Bench {
    database: Database,
    outbox: Outbox,
    settings: Settings,
    kafka: KafkaConfig,
}

pub async fn run(
    config: &Path,
    messages: u32,
    bytes: usize,
    with: &str,
    bento: Option<&Path>,
) -> anyhow::Result<Report> {
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
    report.add(RELAY, relayed.await?);

    let (kafka, source, target) = (bench.kafka.clone(), bench.topic(Loaded::TOPIC), bench.topic("load.bare.v1"));
    let all = 20_000 + messages;
    let bare = tokio::task::spawn_blocking(move || bare::pass_on(&kafka, &source, &target, all)).await??;
    report.add(BARE, bare);

    let batching: ConsumerConfig = bench.settings.section("consumer")?;
    let batch = u32::try_from(batching.batch_messages_max)?;
    let alone = sql::settle(&pool, &bench.outbox, messages, batch, batching.settlers, &filling).await?;
    report.add(SQL, Measured { messages, took: alone });
    forget_outbox(&pool).await?;

    let settled = bench.while_running("settle", consumer, bench.settled("settle", all)).await?;
    report.add(SETTLE, settled);
    forget_outbox(&pool).await?;

    let through = bench.while_running("pipeline", both, bench.passed("pipeline", all)).await?;
    report.add(PIPELINE, through);
    if let Some(program) = bento {
        report.add(BENTO, bench.bento(program, all.min(BENTO_MESSAGES)).await?);
    }
    for (of, to) in RATIOS {
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
    sqlx::query("TRUNCATE pipeline.outbox_events, pipeline.outbox_unpublished, pipeline.aggregates")
        .execute(pool)
        .await?;
    sqlx::query("VACUUM (ANALYZE) pipeline.inbox").execute(pool).await?;
    sqlx::query("CHECKPOINT").execute(pool).await.ok();
    Ok(())
}

impl Bench {
    async fn new(config: &Path, with: &str) -> anyhow::Result<Self> {
        let servers = Servers::named_by(config);
        let database = Database::fresh_on(&servers).await;
        let prefix = format!("{}.", unique_name());
        let topics =
            [Loaded::TOPIC, Passed::TOPIC, "load.bare.v1", "load.bento.v1", "settle.retry.10s", "pipeline.retry.10s"];
        Topics::create_on(&servers, &prefix, &topics, PARTITIONS).await;
        let registry = Registry::new(&RegistryConfig { url: servers.registry_url(), ..Default::default() })?;
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

    /// Runs `main` until `done`.
    async fn while_running<F: Future<Output = anyhow::Result<()>> + Send + 'static>(
        &self,
        name: &'static str,
        main: impl FnOnce(Setup) -> F,
        done: impl Future<Output = anyhow::Result<Measured>>,
    ) -> anyhow::Result<Measured> {
        let stop = CancellationToken::new();
        let (broken, mut breaks) = mpsc::unbounded_channel();
        let setup = Setup::new(name, self.settings.clone(), stop.clone(), broken)?;
        let running = tokio::spawn(main(setup.clone()));
        let measured = tokio::select! {
            done = tokio::time::timeout(PATIENCE, done) => done.context("it takes too long")??,
            Some(why) = breaks.recv() => anyhow::bail!(why),
        };
        stop.cancel();
        running.await??;
        setup.background_ended().await;
        Ok(measured)
    }

    async fn published(&self, count: u32) -> anyhow::Result<Measured> {
        self.until(
            "SELECT (SELECT count(*) FROM pipeline.outbox_events) - (SELECT count(*) FROM pipeline.outbox_unpublished) WHERE $1 <> ''",
            "-",
            count,
        )
        .await
    }

    async fn settled(&self, consumer: &str, count: u32) -> anyhow::Result<Measured> {
        self.until("SELECT count(*) FROM pipeline.inbox WHERE consumer = $1", consumer, count).await
    }

    async fn passed(&self, consumer: &str, count: u32) -> anyhow::Result<Measured> {
        let (settled, published) = tokio::try_join!(self.settled(consumer, count), self.published(count))?;
        Ok(Measured { took: settled.took.max(published.took), ..settled })
    }

    /// Counts until there are `count`. The clock starts at the first progress that is seen: how long a process needs to
    /// start and to join its group says nothing about a rate.
    async fn until(&self, sql: &'static str, parameter: &str, count: u32) -> anyhow::Result<Measured> {
        let (mut before, mut first) = (None, None);
        loop {
            let now: i64 = sqlx::query_scalar(sql).bind(parameter).fetch_one(&self.database.pool()).await?;
            if first.is_none() && before.is_some_and(|before| now > before) {
                first = Some((now, Instant::now()));
            }
            if now >= i64::from(count) {
                let (from, since) = first.context("it was done before it could be measured: take more messages")?;
                return Ok(Measured { messages: u32::try_from(now - from)?, took: since.elapsed() });
            }
            before = Some(now);
            // The question itself costs the database something.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn bento(&self, program: &Path, count: u32) -> anyhow::Result<Measured> {
        const TARGET: &str = "load.bento.v1";
        let topics = Topics::on(&self.kafka.brokers, &self.kafka.topic_prefix);
        let bento = Bento {
            program,
            brokers: &self.kafka.brokers,
            postgres_url: self.database.url(),
            topics: &topics,
            source: &self.topic(Loaded::TOPIC),
            target: &self.topic(TARGET),
        };
        bento.pass_on(TARGET, count).await
    }
}
