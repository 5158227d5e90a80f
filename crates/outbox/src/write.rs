use std::collections::{BTreeMap, HashMap};

use sqlx::{PgConnection, PgExecutor, Row};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{Draft, Error, Kind, OutboxRow, Registry, insert_rows};

/// Kafka's default `message.max.bytes` is 1 MiB; an event is a small fact with links, so a quarter is generous.
const EVENT_SIZE_BYTES_MAX: usize = 256 * 1024;

/// The channel that relays listen on. A hint only: polling is the truth.
pub const WAKE_UP_CHANNEL: &str = "docfleet_outbox";

/// Appends events to the outbox in the caller's transaction.
#[derive(Clone)]
pub struct Outbox {
    registry: Registry,
    topic_prefix: String,
}

type Aggregate = (String, Uuid);

impl Outbox {
    /// `topic_prefix` goes before each topic's name; empty but in tests.
    pub fn new(registry: Registry, topic_prefix: &str) -> Self {
        Self { registry, topic_prefix: topic_prefix.to_owned() }
    }

    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Locks the aggregates, takes their next versions, encodes and inserts, in three statements however many drafts.
    ///
    /// Drafts of one aggregate get versions in the order given. The locks are held until the caller commits, so
    /// append last and commit soon.
    ///
    /// # Errors
    /// [`Error::Database`] leaves the transaction unusable; the others happen before any row is inserted.
    pub async fn append(&self, connection: &mut PgConnection, drafts: Vec<Draft>) -> Result<(), Error> {
        if drafts.is_empty() {
            return Ok(());
        }
        let mut next = take_versions(&mut *connection, &drafts).await?;
        let mut rows = Vec::with_capacity(drafts.len());
        for draft in drafts {
            rows.push(self.row_of(draft, &mut next)?);
        }
        Ok(insert_rows(connection, rows).await?)
    }

    fn row_of(&self, draft: Draft, next: &mut HashMap<Aggregate, (i64, OffsetDateTime)>) -> Result<OutboxRow, Error> {
        let Draft { mut meta, event_type, topic, encode } = draft;
        let aggregate = (meta.aggregate_type.clone(), meta.aggregate_id);
        let (version, at) = next.get_mut(&aggregate).ok_or(sqlx::Error::RowNotFound)?;
        meta.aggregate_version = *version;
        meta.occurred_at = *at;
        *version += 1;
        let payload = encode(&self.registry, &meta)?;
        if payload.len() > EVENT_SIZE_BYTES_MAX {
            return Err(Error::TooLarge { size_bytes: payload.len(), limit_bytes: EVENT_SIZE_BYTES_MAX });
        }
        Ok(OutboxRow {
            kind: Kind::Event,
            event_id: meta.event_id,
            event_type: event_type.to_owned(),
            aggregate: Some((meta.aggregate_type.clone(), meta.aggregate_id, meta.aggregate_version)),
            consumer: None,
            attempt: 0,
            topic: format!("{}{topic}", self.topic_prefix),
            key: Some(meta.aggregate_id.to_string().into_bytes()),
            headers: OutboxRow::headers_of(&meta, event_type),
            payload: Some(payload),
            tenant: meta.tenant,
            region: meta.region,
        })
    }

    /// Tells idle relays that there is work. Call it after the commit, never inside: NOTIFY takes a database-wide lock
    /// while its transaction commits.
    pub async fn wake_relays(&self, executor: impl PgExecutor<'_>) -> Result<(), sqlx::Error> {
        sqlx::query("SELECT pg_notify($1, '')").bind(WAKE_UP_CHANNEL).execute(executor).await?;
        Ok(())
    }
}

/// Reserves as many versions as each aggregate has drafts; returns the first of each and the time of the lock.
async fn take_versions(
    connection: &mut PgConnection,
    drafts: &[Draft],
) -> Result<HashMap<Aggregate, (i64, OffsetDateTime)>, Error> {
    // Sorted: all writers lock in the same order, so two batches can not deadlock on aggregates.
    let mut wanted: BTreeMap<Aggregate, i64> = BTreeMap::new();
    for draft in drafts {
        *wanted.entry((draft.meta.aggregate_type.clone(), draft.meta.aggregate_id)).or_default() += 1;
    }
    let (mut types, mut ids, mut counts) = (Vec::new(), Vec::new(), Vec::new());
    for ((aggregate_type, id), count) in &wanted {
        types.push(aggregate_type.clone());
        ids.push(*id);
        counts.push(*count);
    }
    let rows = sqlx::query(
        r"INSERT INTO pipeline.aggregates AS a (aggregate_type, aggregate_id, version)
          SELECT * FROM UNNEST($1::text[], $2::uuid[], $3::bigint[]) AS u (t, i, n) ORDER BY t, i
          ON CONFLICT (aggregate_type, aggregate_id) DO UPDATE SET version = a.version + excluded.version
          RETURNING aggregate_type, aggregate_id, version, clock_timestamp() AS at",
    )
    .bind(types)
    .bind(ids)
    .bind(counts)
    .fetch_all(connection)
    .await?;
    let mut first = HashMap::with_capacity(rows.len());
    for row in rows {
        let aggregate: Aggregate = (row.try_get("aggregate_type")?, row.try_get("aggregate_id")?);
        let last: i64 = row.try_get("version")?;
        let count = wanted.get(&aggregate).copied().unwrap_or(1);
        first.insert(aggregate, (last - count + 1, row.try_get("at")?));
    }
    Ok(first)
}
