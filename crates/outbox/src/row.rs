use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{EventMeta, SchemaName};

/// The outbox is divided into this many shards, each published by one relay at a time. Never change it on a live system:
/// an aggregate would have two publishers for a moment.
pub const SHARDS: i16 = 64;

/// FNV-1a over the id, the same in every process and version. Not the standard library's hasher, which is seeded.
pub fn shard_of(id: Uuid) -> i16 {
    let hash = id
        .as_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    // FNV hardly spreads the last byte; this step of MurmurHash3's finalizer does.
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    i16::try_from((mixed >> 33) % SHARDS.unsigned_abs() as u64).unwrap_or(0)
}

/// What an outbox row is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A new fact, with a version in its aggregate.
    Event,
    /// A message that its consumer wants to see again later.
    Retry,
    /// A message that its consumer gave up.
    DeadLetter,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Retry => "retry",
            Self::DeadLetter => "dead_letter",
        }
    }
}

/// One row of an outbox, ready to insert.
#[derive(Debug, Clone)]
pub struct OutboxRow {
    pub kind: Kind,
    pub event_id: Uuid,
    pub event_type: String,
    /// Type, id and version; only of [`Kind::Event`].
    pub aggregate: Option<(String, Uuid, i64)>,
    /// The consumer that failed; only of the other kinds.
    pub consumer: Option<String>,
    pub attempt: i32,
    pub topic: String,
    pub key: Option<Vec<u8>>,
    /// In order, as Kafka keeps them.
    pub headers: Vec<(String, String)>,
    pub payload: Option<Vec<u8>>,
    pub tenant: String,
    pub region: String,
}

impl OutboxRow {
    /// Headers that let people and proxies read a record without Avro; the truth is in the payload.
    pub(crate) fn headers_of(meta: &EventMeta, event_type: &str) -> Vec<(String, String)> {
        let mut headers = vec![
            ("event_id".to_owned(), meta.event_id.to_string()),
            ("event_type".to_owned(), event_type.to_owned()),
            ("aggregate_version".to_owned(), meta.aggregate_version.to_string()),
            ("tenant".to_owned(), meta.tenant.clone()),
            ("region".to_owned(), meta.region.clone()),
        ];
        if let Some(traceparent) = &meta.traceparent {
            headers.push(("traceparent".to_owned(), traceparent.clone()));
        }
        headers
    }
}

const INSERT: &str = r"
    INSERT INTO pipeline.outbox_events (kind, event_id, event_type, aggregate_type, aggregate_id, aggregate_version,
           consumer, attempt, shard, topic, key, headers, payload, tenant, region)
    SELECT kind, event_id, event_type, aggregate_type, aggregate_id, aggregate_version,
           consumer, attempt, shard, topic, key, headers, payload, tenant, region
      FROM UNNEST($1::text[], $2::uuid[], $3::text[], $4::text[], $5::uuid[], $6::bigint[], $7::text[], $8::int[],
                  $9::smallint[], $10::text[], $11::bytea[], $12::jsonb[], $13::bytea[], $14::text[], $15::text[])
           WITH ORDINALITY AS u (kind, event_id, event_type, aggregate_type, aggregate_id, aggregate_version,
                  consumer, attempt, shard, topic, key, headers, payload, tenant, region, position)
     ORDER BY position";

/// Inserts rows into the fleet's outbox, in the given order, with one statement.
///
/// Events go through [`Outbox::append`](crate::Outbox::append). Retries and dead letters are not refused when they are
/// there already: insert them only in the transaction that changed their message's inbox row, which lets each attempt
/// through once.
pub async fn insert_rows(connection: &mut PgConnection, rows: Vec<OutboxRow>) -> Result<(), sqlx::Error> {
    insert(connection, &SchemaName::pipeline(), rows).await
}

pub(crate) async fn insert(
    connection: &mut PgConnection,
    schema: &SchemaName,
    rows: Vec<OutboxRow>,
) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut c = Columns::default();
    for row in rows {
        c.push(row);
    }
    sqlx::query(schema.statement(INSERT))
        .bind(c.kind)
        .bind(c.event_id)
        .bind(c.event_type)
        .bind(c.aggregate_type)
        .bind(c.aggregate_id)
        .bind(c.aggregate_version)
        .bind(c.consumer)
        .bind(c.attempt)
        .bind(c.shard)
        .bind(c.topic)
        .bind(c.key)
        .bind(c.headers)
        .bind(c.payload)
        .bind(c.tenant)
        .bind(c.region)
        .execute(connection)
        .await?;
    Ok(())
}

/// The rows turned by 90 degrees, as UNNEST wants them.
#[derive(Default)]
struct Columns {
    kind: Vec<&'static str>,
    event_id: Vec<Uuid>,
    event_type: Vec<String>,
    aggregate_type: Vec<Option<String>>,
    aggregate_id: Vec<Option<Uuid>>,
    aggregate_version: Vec<Option<i64>>,
    consumer: Vec<Option<String>>,
    attempt: Vec<i32>,
    shard: Vec<i16>,
    topic: Vec<String>,
    key: Vec<Option<Vec<u8>>>,
    headers: Vec<Value>,
    payload: Vec<Option<Vec<u8>>>,
    tenant: Vec<String>,
    region: Vec<String>,
}

impl Columns {
    fn push(&mut self, row: OutboxRow) {
        let (aggregate_type, aggregate_id, version) = match row.aggregate {
            Some((kind, id, version)) => (Some(kind), Some(id), Some(version)),
            None => (None, None, None),
        };
        self.kind.push(row.kind.as_str());
        self.event_id.push(row.event_id);
        self.event_type.push(row.event_type);
        self.aggregate_type.push(aggregate_type);
        self.shard.push(shard_of(aggregate_id.unwrap_or(row.event_id)));
        self.aggregate_id.push(aggregate_id);
        self.aggregate_version.push(version);
        self.consumer.push(row.consumer);
        self.attempt.push(row.attempt);
        self.topic.push(row.topic);
        self.key.push(row.key);
        self.headers.push(json!(row.headers));
        self.payload.push(row.payload);
        self.tenant.push(row.tenant);
        self.region.push(row.region);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(ids: impl Iterator<Item = Uuid>) -> Vec<u32> {
        let mut counts = vec![0_u32; SHARDS.unsigned_abs().into()];
        for id in ids {
            counts[usize::from(shard_of(id).unsigned_abs())] += 1;
        }
        counts
    }

    #[test]
    fn shards_are_spread_and_the_hash_is_frozen() {
        assert_eq!((1..5).map(|n| shard_of(Uuid::from_u128(n))).collect::<Vec<_>>(), [14, 40, 51, 22]);
        for spread in [counts((0..6_400).map(|_| Uuid::now_v7())), counts((0..6_400).map(Uuid::from_u128))] {
            assert!(spread.iter().all(|count| (40..200).contains(count)), "{spread:?}");
        }
    }
}
