use std::collections::BTreeMap;

use sqlx::{
    PgConnection, Row,
    postgres::{PgRow, PgValueFormat},
};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{gaps::Predecessor, line::Place};

/// A record, as it came from the database: nothing of it is copied before the client copies it.
#[derive(Debug)]
pub(super) struct Contents(PgRow);

// Their places in the statement below.
const TOPIC: usize = 6;
const KEY: usize = 7;
const HEADERS: usize = 8;
const PAYLOAD: usize = 9;

impl Contents {
    pub fn topic(&self) -> Result<&str, sqlx::Error> {
        self.0.try_get(TOPIC)
    }

    pub fn key(&self) -> Result<Option<&[u8]>, sqlx::Error> {
        self.0.try_get(KEY)
    }

    pub fn payload(&self) -> Result<Option<&[u8]>, sqlx::Error> {
        self.0.try_get(PAYLOAD)
    }

    /// JSON: pairs of name and value.
    pub fn headers(&self) -> Result<&[u8], sqlx::Error> {
        let value = self.0.try_get_raw(HEADERS)?;
        let bytes = value.as_bytes().map_err(sqlx::Error::Decode)?;
        // In binary, jsonb is its text behind the number of its format.
        Ok(if value.format() == PgValueFormat::Binary { bytes.get(1..).unwrap_or_default() } else { bytes })
    }
}

/// An unpublished row.
pub(super) struct Unpublished {
    pub id: i64,
    pub shard: i16,
    pub created_at: OffsetDateTime,
    pub size_bytes: usize,
    /// Type, id and version.
    pub aggregate: Option<(String, Uuid, i64)>,
    pub contents: Contents,
}

impl Unpublished {
    fn of(row: PgRow) -> Result<Self, sqlx::Error> {
        let aggregate = match (row.try_get(3)?, row.try_get(4)?, row.try_get(5)?) {
            (Some(kind), Some(id), Some(version)) => Some((kind, id, version)),
            _ => None,
        };
        Ok(Self {
            id: row.try_get(0)?,
            shard: row.try_get(1)?,
            created_at: row.try_get(2)?,
            size_bytes: usize::try_from(row.try_get::<i32, _>(10)?).unwrap_or(0),
            aggregate,
            contents: Contents(row),
        })
    }
}

/// What one reading is about.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub shards: Vec<i16>,
    /// Where the reading begins. A hint that saves a walk over what is published already; every second it is 0.
    pub from_id: i64,
    /// Rows that are on their way, or left out for a while.
    pub without: Vec<i64>,
    /// Left out with all their rows: Kafka refuses one of them.
    pub without_aggregates: Vec<Uuid>,
    pub rows_max: i64,
    pub bytes_max: i64,
}

/// The oldest unpublished rows of the leased shards, by id: within an aggregate, that is by version, as its writers hold
/// the lock on it from before the insert until their commit.
///
/// `NOT IN (SELECT UNNEST(…))`, not `<> ALL(…)`: the one is hashed, the other compared element by element once the plan is
/// generic, which cost twenty times as much as all the rest of the reading.
///
/// By what stands in the table, not "id > the last one seen": a slow transaction commits a smaller id late.
///
/// `OFFSET 0` keeps the planner from joining the whole outbox with the few rows that wait.
pub(super) async fn unpublished(
    connection: &mut PgConnection,
    wanted: Wanted,
) -> Result<Vec<Unpublished>, sqlx::Error> {
    let rows = sqlx::query(
        r"WITH oldest AS (
            SELECT id, shard, created_at, aggregate_type, aggregate_id, aggregate_version, topic, key, headers, payload,
                   COALESCE(octet_length(payload), 0) + pg_column_size(headers) AS size_bytes
              FROM outbox_unpublished u
             CROSS JOIN LATERAL (SELECT aggregate_type, aggregate_id, aggregate_version, topic, key, headers, payload
                                   FROM outbox_events o WHERE o.id = u.id AND o.created_at = u.created_at OFFSET 0) AS o
             WHERE id >= $3 AND shard = ANY($1)
               AND id NOT IN (SELECT UNNEST($4::bigint[]))
               AND (aggregate_id IS NULL OR aggregate_id NOT IN (SELECT UNNEST($5::uuid[])))
             ORDER BY id LIMIT $2
          ), summed AS (
            SELECT *, sum(size_bytes) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) - size_bytes AS before_bytes FROM oldest
          )
          SELECT id, shard, created_at, aggregate_type, aggregate_id, aggregate_version, topic, key, headers, payload, size_bytes
            FROM summed WHERE before_bytes < $6 ORDER BY id",
    )
    .bind(wanted.shards)
    .bind(wanted.rows_max)
    .bind(wanted.from_id)
    .bind(wanted.without)
    .bind(wanted.without_aggregates)
    .bind(wanted.bytes_max)
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Unpublished::of).collect()
}

/// What became of the version before each of these: types, ids and versions.
pub(super) async fn predecessors(
    connection: &mut PgConnection,
    of: &[(String, Uuid, i64)],
) -> Result<Vec<Predecessor>, sqlx::Error> {
    let types: Vec<&str> = of.iter().map(|(kind, _, _)| kind.as_str()).collect();
    let ids: Vec<Uuid> = of.iter().map(|(_, id, _)| *id).collect();
    let versions: Vec<i64> = of.iter().map(|(_, _, version)| version - 1).collect();
    let rows = sqlx::query_as::<_, (Option<bool>, bool)>(
        r"SELECT (SELECT NOT EXISTS (SELECT FROM outbox_unpublished w WHERE w.id = p.id) FROM outbox_events p
                   WHERE p.kind = 'event' AND p.aggregate_type = t AND p.aggregate_id = i AND p.aggregate_version = v LIMIT 1),
                 EXISTS (SELECT FROM outbox_events o
                          WHERE o.kind = 'event' AND o.aggregate_type = t AND o.aggregate_id = i AND o.aggregate_version < v)
            FROM UNNEST($1::text[], $2::uuid[], $3::bigint[]) WITH ORDINALITY AS u (t, i, v, position) ORDER BY position",
    )
    .bind(types)
    .bind(ids)
    .bind(versions)
    .fetch_all(connection)
    .await?;
    let said = |row: &(Option<bool>, bool)| match row {
        (Some(true), _) => Predecessor::Published,
        (Some(false), _) => Predecessor::Unpublished,
        (None, true) => Predecessor::Missing,
        (None, false) => Predecessor::Pruned,
    };
    Ok(rows.iter().map(said).collect())
}

/// Marks what Kafka has acknowledged; returns how many rows it was allowed to. A relay that lost a shard marks nothing in
/// it, also when the takeover commits while this statement runs (hence `FOR SHARE`).
pub(super) async fn mark(
    connection: &mut PgConnection,
    owner: Uuid,
    leases: &BTreeMap<i16, i64>,
    rows: &[Place],
) -> Result<usize, sqlx::Error> {
    // Only the rows that were read under the lease that we hold now, and only the leases of these.
    let ours: Vec<&Place> = rows.iter().filter(|row| leases.get(&row.shard) == Some(&row.epoch)).collect();
    if ours.is_empty() {
        return Ok(0);
    }
    let touched: BTreeMap<i16, i64> = ours.iter().map(|row| (row.shard, row.epoch)).collect();
    let (shards, epochs): (Vec<i16>, Vec<i64>) = touched.into_iter().unzip();
    let ids: Vec<i64> = ours.iter().map(|row| row.id).collect();
    let marked = sqlx::query(
        r"WITH held AS MATERIALIZED (
            SELECT l.shard FROM relay_leases l
              JOIN UNNEST($3::smallint[], $4::bigint[]) AS u (shard, epoch) ON l.shard = u.shard AND l.epoch = u.epoch
             WHERE l.owner = $2
             ORDER BY l.shard FOR SHARE OF l
          )
          DELETE FROM outbox_unpublished WHERE id = ANY($1) AND shard IN (SELECT shard FROM held)",
    )
    .bind(ids)
    .bind(owner)
    .bind(shards)
    .bind(epochs)
    .execute(connection)
    .await?;
    Ok(usize::try_from(marked.rows_affected()).unwrap_or(usize::MAX))
}
