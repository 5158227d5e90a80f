use serde::Serialize;
use sqlx::FromRow;
use time::OffsetDateTime;
use uuid::Uuid;

/// A dead letter without its content.
#[derive(Debug, Clone, Serialize, FromRow)]
pub struct Letter {
    /// Its outbox row: what `--after` takes.
    pub id: i64,
    pub consumer: String,
    pub event_id: Uuid,
    pub event_type: String,
    pub reason: String,
    /// Of what its error says; see `docfleet dlq groups`.
    pub fingerprint: String,
    pub attempt: i32,
    pub tenant: String,
    pub region: String,
    #[serde(with = "time::serde::rfc3339")]
    pub died_at: OffsetDateTime,
    /// Whether the copy is on the consumer's dead letter topic.
    pub published: bool,
    /// Where it was read when it died.
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

/// The columns of [`Letter`].
macro_rules! letter_columns {
    () => {
        r#" o.id, i.consumer, i.event_id, o.event_type, coalesce(i.reason, 'unknown') AS reason,
            coalesce(o.fingerprint, '') AS fingerprint, i.attempt, o.tenant, o.region,
            i.settled_at AS died_at, NOT EXISTS (SELECT FROM pipeline.outbox_unpublished u WHERE u.id = o.id) AS published, i.topic, i.partition, i."offset" "#
    };
}
pub(super) use letter_columns;

/// Letters of one consumer and one reason.
#[derive(Debug, Clone, Serialize, FromRow)]
pub struct Count {
    pub consumer: String,
    pub reason: String,
    pub count: i64,
    #[serde(with = "time::serde::rfc3339")]
    pub oldest_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub newest_at: OffsetDateTime,
}

/// The columns of [`Count`]; the query groups by 1 and 2.
macro_rules! count_columns {
    () => {
        r" i.consumer, coalesce(i.reason, 'unknown') AS reason, count(*) AS count,
           min(i.settled_at) AS oldest_at, max(i.settled_at) AS newest_at "
    };
}
pub(super) use count_columns;
