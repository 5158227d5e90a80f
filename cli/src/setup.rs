//! `docfleet setup`: everything that must exist before the first process starts. Each step may be repeated.

mod migrations;
mod schemas;
mod topics;

use std::time::{Duration, Instant};

use clap::Args;
use humantime_serde::re::humantime::parse_duration;
use serde::Serialize;

use crate::{
    Config, Error,
    outbox::OutboxArgs,
    output::{self, Report},
};

const EXAMPLES: &str = "\
Examples:
  docfleet setup
  docfleet setup --wait 60s                     # servers that are still starting
  docfleet setup --partitions 24 --replication-factor 3
  docfleet setup --accept-partitions documents.uploaded.v1=24   # somebody added some; its consumers have caught up
  docfleet setup --outbox-schema billing --database-url-file /etc/billing/database-url

With --outbox-schema only that schema's outbox is installed: no topics, no schemas of events.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct SetupArgs {
    /// How long to wait for servers that are away
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_duration)]
    wait: Duration,
    /// Of each topic that is created; existing topics stay as they are
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(i32).range(1..=1_000))]
    partitions: i32,
    /// Of each topic that is created
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=10))]
    replication_factor: i32,
    /// The topic has N partitions now, and its events may go there: the relay holds them while it has another number than
    /// was agreed to. May be repeated
    #[arg(long, value_name = "TOPIC=N", value_parser = topics::parse_accepted)]
    accept_partitions: Vec<topics::Accepted>,
    #[command(flatten)]
    pub outbox: OutboxArgs,
}

#[derive(Serialize)]
pub struct Prepared {
    migrations: migrations::Migrated,
    topics: Vec<topics::Topic>,
    schemas: Vec<schemas::Subject>,
}

pub async fn run(config: &Config, args: &SetupArgs) -> Result<Prepared, Error> {
    let patience = Patience { until: Instant::now() + args.wait };
    let migrations = patience.with(|| migrations::migrate(config)).await?;
    let wanted = topics::wanted(&config.topic_prefix, args.partitions);
    let topics = patience.with(|| topics::create(config, &wanted, args.replication_factor)).await?;
    let topics = topics::agree(config, topics, &args.accept_partitions).await?;
    let schemas = patience.with(|| schemas::register(config)).await?;
    Ok(Prepared { migrations, topics, schemas })
}

/// The outbox of one schema, for a service that writes events of its own.
pub async fn run_outbox(config: &Config, args: &SetupArgs) -> Result<migrations::Migrated, Error> {
    let patience = Patience { until: Instant::now() + args.wait };
    let installing = || async {
        let mut connection = args.outbox.connect(config).await?;
        migrations::install_outbox(&mut connection, &args.outbox.schema()).await
    };
    patience.with(installing).await
}

impl Report for migrations::Migrated {
    fn text(&self) -> String {
        self.line()
    }
}

/// Repeats a step while its server is away.
struct Patience {
    until: Instant,
}

impl Patience {
    const PAUSE: Duration = Duration::from_millis(500);

    async fn with<T, F: Future<Output = Result<T, Error>>>(&self, mut step: impl FnMut() -> F) -> Result<T, Error> {
        let mut told = false;
        loop {
            let error = match step().await {
                Err(error) if error.is_away() && Instant::now() < self.until => error,
                other => return other,
            };
            if let (Error::Away { server, .. }, false) = (&error, told) {
                output::note(&format!("waiting for {server} …"));
                told = true;
            }
            tokio::time::sleep(Self::PAUSE).await;
        }
    }
}

impl Report for Prepared {
    fn text(&self) -> String {
        let mut lines = vec![self.migrations.line()];
        let (created, existing): (Vec<_>, Vec<_>) = self.topics.iter().partition(|topic| topic.created);
        lines.push(format!("topics     {} created, {} existing", created.len(), existing.len()));
        lines.extend(
            created.iter().map(|topic| {
                format!("           + {} ({})", topic.name, output::counted(topic.partitions, "partition"))
            }),
        );
        let other: Vec<_> = existing.iter().filter(|topic| topic.partitions != topic.wanted_partitions).collect();
        if let Some(first) = other.first() {
            lines.push(format!(
                "           ! {} have another number of partitions, such as {} ({}, not {}): left alone, as keys would move",
                other.len(),
                first.name,
                first.partitions,
                first.wanted_partitions
            ));
        }
        lines.extend(self.topics.iter().filter(|topic| topic.is_held()).map(|topic| {
            format!(
                "           ! {} has {}, {} were agreed to: the relay holds its events until \
                 `docfleet setup --accept-partitions {}={}`",
                topic.name,
                output::counted(topic.partitions, "partition"),
                topic.accepted_partitions.unwrap_or_default(),
                topic.name,
                topic.partitions
            )
        }));
        for subject in &self.schemas {
            let level = subject.compatibility.as_deref().unwrap_or("not settable at this registry");
            lines.push(format!("schema     {} (id {}, compatibility {level})", subject.subject, subject.id));
        }
        lines.join("\n")
    }
}
