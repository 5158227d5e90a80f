use std::collections::BTreeMap;

use sqlx::{PgConnection, Row, postgres::PgRow, types::Json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::held::Held;

/// An outbox row on its way to Kafka.
#[derive(Debug, Clone)]
pub(super) struct Unpublished {
    pub id: i64,
    /// Rows of one aggregate go one after the other; retries and dead letters have none and go alone.
    pub aggregate_id: Option<Uuid>,
    pub topic: String,
    pub key: Option<Vec<u8>>,
    pub headers: Vec<(String, String)>,
    pub payload: Option<Vec<u8>>,
    pub created_at: OffsetDateTime,
}

impl Unpublished {
    fn of(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get("id")?,
            aggregate_id: row.try_get("aggregate_id")?,
            topic: row.try_get("topic")?,
            key: row.try_get("key")?,
            headers: row.try_get::<Json<Vec<(String, String)>>, _>("headers")?.0,
            payload: row.try_get("payload")?,
            created_at: row.try_get("created_at")?,
        })
    }
}

/// The oldest unpublished rows of the leased shards, by id: within an aggregate, that is by version, as its writers hold
/// the lock on it from before the insert until their commit.
///
/// Rows that Kafka refuses are left out for a while, with what follows them in their aggregates.
///
/// `IS NULL`, not "id > the last one seen": a slow transaction commits a smaller id late.
pub(super) async fn unpublished(
    connection: &mut PgConnection,
    leases: &BTreeMap<i16, i64>,
    held: &Held,
    rows_max: i64,
    bytes_max: i64,
) -> Result<Vec<Unpublished>, sqlx::Error> {
    let shards: Vec<i16> = leases.keys().copied().collect();
    let rows = sqlx::query(
        r"WITH oldest AS (
            SELECT *, COALESCE(octet_length(payload), 0)::bigint AS size_bytes FROM pipeline.outbox_events
             WHERE published_at IS NULL AND shard = ANY($1)
               AND id <> ALL($4) AND (aggregate_id IS NULL OR aggregate_id <> ALL($5))
             ORDER BY id LIMIT $2
          ), summed AS (
            SELECT *, sum(size_bytes) OVER (ORDER BY id) - size_bytes AS before_bytes FROM oldest
          )
          SELECT id, aggregate_id, topic, key, headers, payload, created_at
            FROM summed WHERE before_bytes < $3 ORDER BY id",
    )
    .bind(shards)
    .bind(rows_max)
    .bind(bytes_max)
    .bind(held.ids())
    .bind(held.aggregates())
    .fetch_all(connection)
    .await?;
    rows.iter().map(Unpublished::of).collect()
}

/// Marks what Kafka has acknowledged; returns how many rows it was allowed to. A relay that lost a shard marks nothing in
/// it, also when the takeover commits while this statement runs (hence `FOR SHARE`).
pub(super) async fn mark(
    connection: &mut PgConnection,
    owner: Uuid,
    leases: &BTreeMap<i16, i64>,
    ids: &[i64],
) -> Result<usize, sqlx::Error> {
    if ids.is_empty() {
        return Ok(0);
    }
    let (shards, epochs): (Vec<i16>, Vec<i64>) = leases.iter().map(|(shard, epoch)| (*shard, *epoch)).unzip();
    let marked = sqlx::query(
        r"WITH held AS MATERIALIZED (
            SELECT l.shard FROM pipeline.relay_leases l
              JOIN UNNEST($3::smallint[], $4::bigint[]) AS u (shard, epoch) ON l.shard = u.shard AND l.epoch = u.epoch
             WHERE l.owner = $2
             ORDER BY l.shard FOR SHARE OF l
          )
          UPDATE pipeline.outbox_events SET published_at = clock_timestamp()
           WHERE id = ANY($1) AND published_at IS NULL AND shard IN (SELECT shard FROM held)",
    )
    .bind(ids)
    .bind(owner)
    .bind(shards)
    .bind(epochs)
    .execute(connection)
    .await?;
    Ok(usize::try_from(marked.rows_affected()).unwrap_or(usize::MAX))
}
