//! What Kafka holds: every event topic read to its end, into temporary tables beside the ledger.

mod read;

use std::collections::BTreeMap;

use rdkafka::consumer::BaseConsumer;
use serde::Serialize;
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::{Config, Error, consumer::group, servers, status::PartitionLag};
use read::{Page, Start};

/// Retention deletes whole segments, and a mark is made after its record: near the first record that is left, the
/// ledger and the topic can not be compared.
const MARGIN: Duration = Duration::minutes(10);
/// Pages on the way from the reading thread to the database.
const PAGES_AHEAD: usize = 4;

#[derive(Debug, Serialize)]
pub struct Topic {
    pub topic: String,
    pub records: i64,
    /// Without an event's id, such as what another producer wrote.
    pub foreign: i64,
    /// What was published before is proven already, or deleted by retention.
    #[serde(with = "time::serde::rfc3339::option")]
    pub since: Option<OffsetDateTime>,
}

/// Since when a topic has to be read again after all was proven that was published before `at`: retention and marks cost
/// a [`MARGIN`] each, and a message that a consumer had not committed then is looked at when it has.
pub fn proven_until(at: OffsetDateTime, oldest_uncommitted: Duration) -> OffsetDateTime {
    at - MARGIN * 2 - oldest_uncommitted
}

/// Fills `audit_records`, `audit_topics` and `audit_committed`, which end with the transaction. Of a topic in `after`
/// only what was written since then is read.
pub async fn load(
    config: &Config,
    connection: &mut PgConnection,
    after: &BTreeMap<String, OffsetDateTime>,
    committed: &[PartitionLag],
) -> Result<Vec<Topic>, Error> {
    let names: Vec<String> =
        sqlx::query_scalar("SELECT DISTINCT topic FROM pipeline.outbox_events WHERE kind = 'event' ORDER BY 1")
            .fetch_all(&mut *connection)
            .await?;
    create_tables(&mut *connection).await?;
    insert_committed(&mut *connection, committed).await?;
    let mut topics = Vec::with_capacity(names.len());
    for name in names {
        // One client a topic: the end of a partition is told without its topic's name.
        let observer = servers::kafka_observer(config, &group(&config.topic_prefix, "audit"))?;
        let after = after.get(&name).copied();
        topics.push(load_one(&mut *connection, observer, name, after).await?);
    }
    sqlx::query("CREATE INDEX ON audit_records (event_id)").execute(&mut *connection).await?;
    sqlx::query("ANALYZE audit_records").execute(connection).await?;
    Ok(topics)
}

async fn create_tables(connection: &mut PgConnection) -> Result<(), Error> {
    sqlx::query(
        r#"CREATE TEMPORARY TABLE audit_records (
               topic text, partition int, "offset" bigint, event_id uuid, digest bytea, written_at timestamptz) ON COMMIT DROP"#,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        r"CREATE TEMPORARY TABLE audit_committed (
              consumer text, topic text, partition int, committed bigint) ON COMMIT DROP",
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "CREATE TEMPORARY TABLE audit_topics (topic text PRIMARY KEY, since timestamptz NOT NULL) ON COMMIT DROP",
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_committed(connection: &mut PgConnection, committed: &[PartitionLag]) -> Result<(), Error> {
    let known: Vec<(&PartitionLag, i64)> = committed.iter().filter_map(|lag| Some((lag, lag.committed?))).collect();
    sqlx::query("INSERT INTO audit_committed SELECT * FROM UNNEST($1::text[], $2::text[], $3::int[], $4::bigint[])")
        .bind(known.iter().map(|(lag, _)| lag.consumer.as_str()).collect::<Vec<_>>())
        .bind(known.iter().map(|(lag, _)| lag.topic.as_str()).collect::<Vec<_>>())
        .bind(known.iter().map(|(lag, _)| lag.partition).collect::<Vec<_>>())
        .bind(known.iter().map(|(_, committed)| *committed).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}

async fn load_one(
    connection: &mut PgConnection,
    observer: BaseConsumer,
    topic: String,
    after: Option<OffsetDateTime>,
) -> Result<Topic, Error> {
    let (pages, mut arriving) = mpsc::channel(PAGES_AHEAD);
    let name = topic.clone();
    let reading = tokio::task::spawn_blocking(move || read::to_the_end(&observer, &name, after, &pages));
    let (mut records, mut foreign) = (0, 0);
    while let Some(page) = arriving.recv().await {
        records += page.records;
        foreign += page.foreign;
        insert(&mut *connection, &topic, page).await?;
    }
    let since = match reading.await?? {
        Start::Whole => None,
        Start::After(first) => Some(first + MARGIN),
        // All that was there is deleted.
        Start::Nothing => Some(OffsetDateTime::now_utc()),
    };
    sqlx::query("INSERT INTO audit_topics (topic, since) VALUES ($1, coalesce($2, '-infinity'))")
        .bind(&topic)
        .bind(since)
        .execute(connection)
        .await?;
    Ok(Topic { topic, records, foreign, since })
}

async fn insert(connection: &mut PgConnection, topic: &str, page: Page) -> Result<(), Error> {
    sqlx::query(
        r#"INSERT INTO audit_records (topic, partition, "offset", event_id, digest, written_at)
           SELECT $1, u.partition, u."offset", u.event_id, u.digest, to_timestamp(u.written_at_ms / 1000.0)
             FROM UNNEST($2::int[], $3::bigint[], $4::uuid[], $5::bytea[], $6::bigint[])
                  AS u (partition, "offset", event_id, digest, written_at_ms)"#,
    )
    .bind(topic)
    .bind(page.partitions)
    .bind(page.offsets)
    .bind(page.event_ids)
    .bind(page.digests)
    .bind(page.written_at_ms)
    .execute(connection)
    .await?;
    Ok(())
}

/// An event's id as its record's header tells it.
fn event_id_of(header: &[u8]) -> Option<Uuid> {
    Uuid::parse_str(std::str::from_utf8(header).ok()?).ok()
}
