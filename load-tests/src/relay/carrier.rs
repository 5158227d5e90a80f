use std::time::Duration;

use sqlx::{PgConnection, PgPool};

use crate::{connect::Connect, ours::Ours, process::Measured};

pub const PARTITIONS: i32 = 12;
pub const START: Duration = Duration::from_secs(120);

/// What carries an outbox to a topic.
pub enum Carrier {
    Ours(Ours),
    Debezium(Connect),
}

impl Carrier {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ours(_) => "docfleet relay",
            Self::Debezium(connect) => connect.name(),
        }
    }

    pub fn topic(&self) -> &str {
        match self {
            Self::Ours(ours) => &ours.topic,
            Self::Debezium(connect) => &connect.topic,
        }
    }

    pub async fn start(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Ours(ours) => ours.start(),
            Self::Debezium(connect) => connect.start().await,
        }
    }

    /// Does nothing until [`resume`](Self::resume): a backlog is to grow. A JVM stays, and stays warm.
    pub async fn pause(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Ours(ours) => ours.end().await,
            Self::Debezium(connect) => connect.ask("PUT", "/connectors/outbox/stop").await,
        }
    }

    pub async fn resume(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Ours(ours) => ours.start(),
            Self::Debezium(connect) => connect.ask("PUT", "/connectors/outbox/resume").await,
        }
    }

    pub async fn end(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Ours(ours) => ours.end().await,
            Self::Debezium(connect) => connect.end().await,
        }
    }

    pub fn process(&self) -> Option<&Measured> {
        match self {
            Self::Ours(ours) => ours.running.as_ref(),
            Self::Debezium(connect) => connect.running.as_ref(),
        }
    }

    /// Rows of an aggregate each, numbered, in the transaction of `connection`.
    pub async fn insert(
        &self,
        connection: &mut PgConnection,
        numbers: std::ops::Range<u32>,
        bytes: u32,
    ) -> anyhow::Result<()> {
        let payloads = numbers.map(|number| format!("{number:020}{}", "x".repeat(bytes as usize - 20)).into_bytes());
        match self {
            Self::Ours(ours) => ours.insert(connection, payloads.collect()).await,
            Self::Debezium(_) => Connect::insert(connection, payloads.collect()).await,
        }
    }

    /// What a writer does after its commit.
    pub async fn committed(&self, pool: &PgPool) -> anyhow::Result<()> {
        if let Self::Ours(_) = self {
            sqlx::query("SELECT pg_notify($1, '')").bind(docfleet_outbox::WAKE_UP_CHANNEL).execute(pool).await?;
        }
        Ok(())
    }

    pub async fn forget_rows(&self, pool: &PgPool) -> anyhow::Result<()> {
        let tables = match self {
            Self::Ours(_) => "TRUNCATE pipeline.outbox_events, pipeline.outbox_unpublished, pipeline.aggregates",
            Self::Debezium(_) => "TRUNCATE peer.outbox",
        };
        sqlx::query(tables).execute(pool).await?;
        sqlx::query("CHECKPOINT").execute(pool).await?;
        Ok(())
    }
}
