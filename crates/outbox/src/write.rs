use std::collections::HashMap;

use sqlx::{PgConnection, PgExecutor, Row};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{Draft, Error, Kind, OutboxRow, Registry, SchemaName, row::insert};

/// Kafka's default `message.max.bytes` is 1 MiB; an event is a small fact with links, so a quarter is generous.
const EVENT_SIZE_BYTES_MAX: usize = 256 * 1024;

/// The channel that relays listen on. A hint only: polling is the truth.
pub const WAKE_UP_CHANNEL: &str = "docfleet_outbox";

/// Appends events to the outbox in the caller's transaction.
#[derive(Clone)]
pub struct Outbox {
    registry: Registry,
    topic_prefix: String,
    schema: SchemaName,
}

type Aggregate = (String, Uuid);

impl Outbox {
    /// `topic_prefix` goes before each topic's name; empty but in tests.
    pub fn new(registry: Registry, topic_prefix: &str) -> Self {
        Self { registry, topic_prefix: topic_prefix.to_owned(), schema: SchemaName::pipeline() }
    }

    /// The same for an outbox in another schema, which [`SchemaName::install`] has made.
    pub fn in_schema(self, schema: SchemaName) -> Self {
        Self { schema, ..self }
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
    /// [`Error::Database`] leaves the transaction unusable; the others happen before any row is inserted. The SQLSTATE
    /// `OX001` says that the events do not follow their aggregate's version, which can not happen through this function.
    pub async fn append(&self, connection: &mut PgConnection, drafts: Vec<Draft>) -> Result<(), Error> {
        if drafts.is_empty() {
            return Ok(());
        }
        let mut next = take_versions(&mut *connection, &self.schema, &drafts).await?;
        let mut rows = Vec::with_capacity(drafts.len());
        for draft in drafts {
            rows.push(self.row_of(draft, &mut next)?);
        }
        Ok(insert(connection, &self.schema, rows).await?)
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

/// Locks the aggregates and tells each one's next version and the time of the lock. Nothing is reserved: the insert of the
/// events advances the aggregates, so a version that nobody writes leaves no gap.
async fn take_versions(
    connection: &mut PgConnection,
    schema: &SchemaName,
    drafts: &[Draft],
) -> Result<HashMap<Aggregate, (i64, OffsetDateTime)>, Error> {
    let mut wanted: Vec<(&str, Uuid)> =
        drafts.iter().map(|draft| (draft.meta.aggregate_type.as_str(), draft.meta.aggregate_id)).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let (types, ids): (Vec<&str>, Vec<Uuid>) = wanted.into_iter().unzip();
    let rows = sqlx::query(schema.statement(
        "SELECT aggregate_type, aggregate_id, version + 1 AS next, locked_at FROM pipeline.lock_aggregates($1, $2)",
    ))
    .bind(types)
    .bind(ids)
    .fetch_all(connection)
    .await?;
    let mut next = HashMap::with_capacity(rows.len());
    for row in rows {
        let aggregate = (row.try_get("aggregate_type")?, row.try_get("aggregate_id")?);
        next.insert(aggregate, (row.try_get("next")?, row.try_get("locked_at")?));
    }
    Ok(next)
}
