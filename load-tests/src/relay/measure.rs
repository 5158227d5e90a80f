use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context;
use docfleet_pipeline::KafkaConfig;
use docfleet_telemetry::Settings;
use docfleet_testkit::{Database, Servers, Topics, unique_name};
use sqlx::PgPool;
use tokio::sync::Notify;
use url::Url;

use crate::{
    Arguments,
    carrier::{Carrier, PARTITIONS},
    connect::{self, Connect, Tuning},
    limit,
    ours::Ours,
    receiver::Receiver,
    report::{Figures, Report, median, percentile},
};

const PATIENCE: Duration = Duration::from_secs(300);
const STREAM_ROWS_PER_TRANSACTION: u32 = 100;
const BACKLOG_ROWS_PER_TRANSACTION: u32 = 1_000;
const LATENCY_ROWS_PER_SECOND: u32 = 500;
/// Rows before anything is measured: a JVM needs about so many to be warm.
const WARM_UP_ROWS: u32 = 200_000;

/// What all carriers share.
struct Bench<'a> {
    arguments: &'a Arguments,
    pool: PgPool,
    brokers: String,
}

pub async fn all(arguments: &Arguments) -> anyhow::Result<Report> {
    let servers = Servers::named_by(&arguments.config);
    let database = Database::fresh_on(&servers).await;
    let prefix = format!("{}.", unique_name());
    Topics::create_on(&servers, &prefix, &["ours", "limit", "throughput", "latency"], PARTITIONS).await;
    let bench = Bench { arguments, pool: database.pool(), brokers: servers.brokers() };
    let folder = arguments.config.parent().context("the configuration lies in no folder")?;
    let config = folder.join("bench-relay.toml");
    std::fs::write(&config, servers.toml_for(&database, "", &arguments.with))?;
    let mut report = Report { rows: arguments.rows, bytes: arguments.bytes, ..Report::default() };

    let topic = format!("{prefix}ours");
    let ours = Ours { program: arguments.relay.clone(), config, topic, running: None };
    report.carriers.push(bench.measure(&mut Carrier::Ours(ours)).await?);

    let ours =
        Ours { program: "unused".into(), config: "unused".into(), topic: format!("{prefix}limit"), running: None };
    report.limit = Some(bench.limit(&Carrier::Ours(ours), &servers.toml_for(&database, "", "")).await?);

    if let (Some(java), Some(jars)) = (&arguments.java, &arguments.jars) {
        for (tuning, topic) in [(Tuning::Throughput, "throughput"), (Tuning::Latency, "latency")] {
            let peer = Connect {
                java: java.clone(),
                jars: jars.clone(),
                folder: connect::folder(folder)?,
                brokers: bench.brokers.clone(),
                database: Url::parse(database.url())?,
                pool: bench.pool.clone(),
                topic: format!("{prefix}{topic}"),
                tuning,
                port: connect::free_port()?,
                running: None,
            };
            report.carriers.push(bench.measure(&mut Carrier::Debezium(peer)).await?);
        }
    }
    Ok(report)
}

impl Bench<'_> {
    async fn measure(&self, carrier: &mut Carrier) -> anyhow::Result<Figures> {
        eprintln!("{}", carrier.name());
        let receiver = Receiver::new(&self.brokers, carrier.topic(), PARTITIONS)?;
        carrier.start().await?;
        self.stream(carrier, &receiver, WARM_UP_ROWS.min(self.arguments.rows)).await?;
        let (mut streams, mut backlogs) = (Vec::new(), Vec::new());
        for _ in 0..self.arguments.times {
            streams.push(tell(
                "a second, while a writer writes",
                self.stream(carrier, &receiver, self.arguments.rows).await?,
            ));
            backlogs.push(tell("a second, from a backlog", self.backlog(carrier, &receiver).await?));
        }
        let memory_mib = carrier.process().context("it runs")?.memory_mib()?;
        carrier.forget_rows(&self.pool).await?;
        let latencies = self.latencies(carrier, &receiver).await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let idle = Duration::from_secs(self.arguments.idle_seconds.into());
        let idle_cpu_percent = carrier.process().context("it runs")?.cpu_percent(idle).await?;
        carrier.end().await?;
        let figures = Figures {
            name: carrier.name(),
            backlog_per_second: median(&mut backlogs),
            stream_per_second: median(&mut streams),
            p50_ms: percentile(&latencies, 50.0),
            p99_ms: percentile(&latencies, 99.0),
            max_ms: percentile(&latencies, 100.0),
            memory_mib,
            idle_cpu_percent,
        };
        eprintln!(
            "  p50 {:.1} ms, p99 {:.1} ms, {memory_mib:.0} MiB, idle {idle_cpu_percent:.1} % of a core",
            figures.p50_ms, figures.p99_ms
        );
        Ok(figures)
    }

    async fn insert(&self, carrier: &Carrier, rows: u32, at_a_time: u32) -> anyhow::Result<()> {
        let mut connection = self.pool.acquire().await?;
        for from in (0..rows).step_by(at_a_time as usize) {
            let mut transaction = sqlx::Connection::begin(&mut *connection).await?;
            carrier.insert(&mut transaction, from..(from + at_a_time).min(rows), self.arguments.bytes).await?;
            transaction.commit().await?;
        }
        Ok(())
    }

    /// Rows a second from the writer's first transaction to the last record.
    async fn stream(&self, carrier: &Carrier, receiver: &Receiver, rows: u32) -> anyhow::Result<f64> {
        carrier.forget_rows(&self.pool).await?;
        receiver.reset();
        let began = Instant::now();
        let writing = async {
            self.insert(carrier, rows, STREAM_ROWS_PER_TRANSACTION).await?;
            carrier.committed(&self.pool).await
        };
        let ((), (_, last)) = tokio::try_join!(writing, receiver.until(rows, PATIENCE))?;
        Ok(f64::from(rows) / last.duration_since(began).as_secs_f64())
    }

    /// Rows a second from the first record to the last, of rows that were there before.
    async fn backlog(&self, carrier: &mut Carrier, receiver: &Receiver) -> anyhow::Result<f64> {
        carrier.pause().await?;
        carrier.forget_rows(&self.pool).await?;
        self.insert(carrier, self.arguments.rows, BACKLOG_ROWS_PER_TRANSACTION).await?;
        sqlx::query("CHECKPOINT").execute(&self.pool).await?;
        receiver.reset();
        carrier.resume().await?;
        let (first, last) = receiver.until(self.arguments.rows, PATIENCE).await?;
        if let Carrier::Debezium(connect) = &*carrier {
            connect.until_streaming().await?;
        }
        Ok(f64::from(self.arguments.rows) / last.duration_since(first).as_secs_f64())
    }

    /// From the writer's commit to the consumer, of one row a transaction; sorted, in ms.
    async fn latencies(&self, carrier: &Carrier, receiver: &Receiver) -> anyhow::Result<Vec<f64>> {
        let rows = LATENCY_ROWS_PER_SECOND * self.arguments.latency_seconds;
        receiver.reset();
        let commits: Arc<Mutex<Vec<Option<Instant>>>> = Arc::new(Mutex::new(vec![None; rows as usize]));
        let wake = Notify::new();
        let waking = async {
            let mut waking = Ok(());
            while waking.is_ok() {
                wake.notified().await;
                waking = carrier.committed(&self.pool).await;
                // As the runtime does it: one for many commits.
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            waking
        };
        let writing = async {
            let mut beat = tokio::time::interval(Duration::from_secs(1) / LATENCY_ROWS_PER_SECOND);
            let next = std::sync::atomic::AtomicU32::new(0);
            let beat = tokio::sync::Mutex::new(&mut beat);
            let writers = (0..4).map(|_| async {
                let mut connection = self.pool.acquire().await?;
                loop {
                    beat.lock().await.tick().await;
                    let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if number >= rows {
                        return anyhow::Ok(());
                    }
                    let mut transaction = sqlx::Connection::begin(&mut *connection).await?;
                    carrier.insert(&mut transaction, number..number + 1, self.arguments.bytes).await?;
                    transaction.commit().await?;
                    let now = Instant::now();
                    if let Some(commit) =
                        commits.lock().unwrap_or_else(PoisonError::into_inner).get_mut(number as usize)
                    {
                        *commit = Some(now);
                    }
                    wake.notify_one();
                }
            });
            futures::future::try_join_all(writers).await?;
            receiver.until(rows, PATIENCE).await?;
            anyhow::Ok(())
        };
        tokio::select! {
            written = writing => written?,
            woken = waking => woken?,
        }
        let commits = commits.lock().unwrap_or_else(PoisonError::into_inner);
        let commit_of = |number: u64| commits.get(usize::try_from(number).ok()?).copied().flatten();
        let mut all: Vec<f64> = receiver
            .each()
            .into_iter()
            // A record may be here before its writer's task learns of the commit.
            .filter_map(|(number, at)| Some(at.saturating_duration_since(commit_of(number)?).as_secs_f64() * 1_000.0))
            .collect();
        all.sort_by(f64::total_cmp);
        Ok(all)
    }

    async fn limit(&self, carrier: &Carrier, toml: &str) -> anyhow::Result<f64> {
        eprintln!("SELECT and produce, without marks");
        let kafka: KafkaConfig = Settings::from_toml(toml).section("kafka")?;
        let mut rates = Vec::new();
        for _ in 0..self.arguments.times {
            carrier.forget_rows(&self.pool).await?;
            self.insert(carrier, self.arguments.rows, BACKLOG_ROWS_PER_TRANSACTION).await?;
            sqlx::query("CHECKPOINT").execute(&self.pool).await?;
            let took = limit::read_and_produce(&self.pool, &kafka, self.arguments.rows).await?;
            rates.push(tell("a second", f64::from(self.arguments.rows) / took.as_secs_f64()));
        }
        Ok(median(&mut rates))
    }
}

fn tell(what: &str, rate: f64) -> f64 {
    eprintln!("  {rate:.0} {what}");
    rate
}
