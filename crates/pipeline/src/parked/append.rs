use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};
use sqlx::PgConnection;
use time::Date;
use uuid::Uuid;

use crate::{Record, message::Identity};

/// A message that goes into the park: a head with its failure, or one behind it.
pub(crate) struct Parking<'a> {
    pub key: &'a [u8],
    pub record: &'a Record,
    pub identity: &'a Identity,
    /// Reason and detail: of the head. What a follower says of itself is not written when its key has a row.
    pub reason: &'a str,
    pub detail: &'a str,
    /// It is dead, and only its key is to be held: the message itself is not stored.
    pub held: bool,
}

/// Which of `keys` are parked. They stay so, and nothing else is put behind them, until the transaction ends.
///
/// # Errors
/// As the statement.
pub(crate) async fn lock<'a>(
    connection: &mut PgConnection,
    consumer: &str,
    keys: impl Iterator<Item = &'a [u8]>,
) -> Result<HashSet<Vec<u8>>, sqlx::Error> {
    // Sorted, as all who lock several do.
    let keys: Vec<&[u8]> = keys.collect();
    let parked: Vec<Vec<u8>> = sqlx::query_scalar(
        "SELECT key FROM pipeline.parked_keys WHERE consumer = $1 AND key = ANY ($2) ORDER BY key FOR UPDATE",
    )
    .bind(consumer)
    .bind(keys)
    .fetch_all(connection)
    .await?;
    Ok(parked.into_iter().collect())
}

/// Writes the rows of `parking`, in its order. Only of messages whose inbox rows this transaction claimed.
///
/// A new key's row is inserted in the order of keys, but after the existing ones were locked: two settlements that park
/// what the other one has locked can deadlock. PostgreSQL ends one, which is tried again.
///
/// # Errors
/// As the statements.
pub(crate) async fn append(
    connection: &mut PgConnection,
    consumer: &str,
    parking: &[Parking<'_>],
    first_wait_seconds: f64,
) -> Result<(), sqlx::Error> {
    if parking.is_empty() {
        return Ok(());
    }
    upsert_keys(connection, consumer, parking, first_wait_seconds).await?;
    let mut rows = Rows::default();
    parking.iter().filter(|parking| !parking.held).for_each(|parking| rows.push(parking));
    if rows.key.is_empty() {
        return Ok(());
    }
    sqlx::query(
        r#"INSERT INTO pipeline.parked_messages (consumer, key, event_id, event_day, topic, partition, "offset", timestamp_ms,
                  record_key, headers, payload, tenant, region, event_type)
           SELECT $1, key, event_id, event_day, topic, partition, "offset", timestamp_ms,
                  record_key, headers, payload, tenant, region, event_type
             FROM UNNEST($2::bytea[], $3::uuid[], $4::date[], $5::text[], $6::int[], $7::bigint[], $8::bigint[],
                         $9::bytea[], $10::jsonb[], $11::bytea[], $12::text[], $13::text[], $14::text[])
                  WITH ORDINALITY AS u (key, event_id, event_day, topic, partition, "offset", timestamp_ms,
                       record_key, headers, payload, tenant, region, event_type, position)
            ORDER BY position"#,
    )
    .bind(consumer)
    .bind(rows.key)
    .bind(rows.event_id)
    .bind(rows.event_day)
    .bind(rows.topic)
    .bind(rows.partition)
    .bind(rows.offset)
    .bind(rows.timestamp_ms)
    .bind(rows.record_key)
    .bind(rows.headers)
    .bind(rows.payload)
    .bind(rows.tenant)
    .bind(rows.region)
    .bind(rows.event_type)
    .execute(connection)
    .await?;
    Ok(())
}

async fn upsert_keys(
    connection: &mut PgConnection,
    consumer: &str,
    parking: &[Parking<'_>],
    first_wait_seconds: f64,
) -> Result<(), sqlx::Error> {
    let mut keys: BTreeMap<&[u8], (&Parking<'_>, i64)> = BTreeMap::new();
    for one in parking {
        keys.entry(one.key).or_insert((one, 0)).1 += i64::from(!one.held);
    }
    let heads = || keys.values().map(|(head, _)| *head);
    sqlx::query(
        r"INSERT INTO pipeline.parked_keys AS k (consumer, key, state, event_id, reason, detail, messages, next_try_at)
          SELECT $1, u.*, clock_timestamp() + make_interval(secs => $8)
            FROM UNNEST($2::bytea[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::bigint[]) AS u (key)
           ORDER BY key
          ON CONFLICT (consumer, key) DO UPDATE
             SET messages = k.messages + excluded.messages,
                 -- A head that is to be held, of a key that another topic's message has parked a moment ago.
                 state = CASE WHEN excluded.state = 'held' AND k.state = 'retrying' THEN 'held' ELSE k.state END,
                 event_id = CASE WHEN excluded.state = 'held' AND k.state = 'retrying' THEN excluded.event_id ELSE k.event_id END",
    )
    .bind(consumer)
    .bind(keys.keys().copied().collect::<Vec<_>>())
    .bind(heads().map(|head| if head.held { "held" } else { "retrying" }).collect::<Vec<_>>())
    .bind(heads().map(|head| head.identity.event_id).collect::<Vec<_>>())
    .bind(heads().map(|head| head.reason).collect::<Vec<_>>())
    .bind(heads().map(|head| head.detail).collect::<Vec<_>>())
    .bind(keys.values().map(|(_, messages)| *messages).collect::<Vec<_>>())
    .bind(first_wait_seconds)
    .execute(connection)
    .await?;
    Ok(())
}

/// The messages turned by 90 degrees, as UNNEST wants them.
#[derive(Default)]
struct Rows<'a> {
    key: Vec<&'a [u8]>,
    event_id: Vec<Uuid>,
    event_day: Vec<Date>,
    topic: Vec<&'a str>,
    partition: Vec<i32>,
    offset: Vec<i64>,
    timestamp_ms: Vec<i64>,
    record_key: Vec<Option<&'a [u8]>>,
    headers: Vec<Value>,
    payload: Vec<Option<&'a [u8]>>,
    tenant: Vec<String>,
    region: Vec<String>,
    event_type: Vec<String>,
}

impl<'a> Rows<'a> {
    fn push(&mut self, Parking { key, record, identity, .. }: &Parking<'a>) {
        self.key.push(key);
        self.event_id.push(identity.event_id);
        self.event_day.push(identity.event_day);
        self.topic.push(&record.source.topic);
        self.partition.push(record.source.partition);
        self.offset.push(record.offset);
        self.timestamp_ms.push(record.timestamp_ms);
        self.record_key.push(record.key.as_deref());
        self.headers.push(headers_of(record));
        self.payload.push(record.payload.as_deref());
        self.tenant.push(storable(&identity.tenant));
        self.region.push(storable(&identity.region));
        self.event_type.push(storable(&identity.event_type));
    }
}

/// PostgreSQL takes U+0000 neither in text nor in jsonb.
fn headers_of(record: &Record) -> Value {
    json!(record.headers.iter().map(|(name, value)| (storable(name), storable(value))).collect::<Vec<_>>())
}

fn storable(foreign: &str) -> String {
    foreign.replace('\0', "\u{fffd}")
}
