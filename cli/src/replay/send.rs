//! One step, one transaction: inbox rows under the logical version that wait for attempt 1, and retry rows that carry it. So
//! the consumer accepts each record once, however often it comes, and nobody else sees it.

use docfleet_outbox::{Kind, OutboxRow, WAKE_UP_CHANNEL, insert_rows};
use sqlx::{Connection, FromRow, PgConnection, types::Json};
use time::{Date, OffsetDateTime};
use uuid::Uuid;

use super::plan::from_window;
use crate::{
    Error,
    consumer::{RETRY_DELAYS, retry_topic},
};

/// As `docfleet_pipeline::header` names them; this crate does not know the runtime.
const ATTEMPT: &str = "docfleet_attempt";
const REPLAY: &str = "docfleet_replay";
const REPLAY_EMITS: &str = "docfleet_replay_emits";
const REPLAY_DAY: &str = "docfleet_replay_day";

/// The attempt under which an event is fed again. 0 is an original's.
const FIRST: i32 = 1;

/// A plan that this process applies.
#[derive(FromRow)]
pub struct Running {
    pub id: i64,
    pub consumer: String,
    pub version: String,
    pub emits: String,
    pub planned: i64,
    pub sent: i64,
    pub owner: Uuid,
    from_time: OffsetDateTime,
    to_time: OffsetDateTime,
    topic: Option<String>,
    partition: Option<i32>,
    from_offset: Option<i64>,
    to_offset: Option<i64>,
}

/// The columns of [`Running`].
pub const COLUMNS: &str = "id, consumer, version, emits, planned, sent, lease_owner AS owner, from_time, to_time, topic, partition, \
                           from_offset, to_offset";

impl Running {
    /// Under which the outcomes stand.
    pub fn logical(&self) -> String {
        format!("{}@{}", self.consumer, self.version)
    }
}

#[derive(FromRow)]
struct Done {
    id: i64,
    event_id: Uuid,
    event_day: Date,
    event_type: String,
    key: Option<Vec<u8>>,
    headers: Json<Vec<(String, String)>>,
    payload: Option<Vec<u8>>,
    tenant: String,
    region: String,
}

/// What a step did.
pub enum Step {
    Sent(i64),
    /// Nothing is left.
    End,
    /// Another process has taken it, or somebody ended it.
    Lost,
}

/// Sends up to `limit` events.
pub async fn send(connection: &mut PgConnection, running: &Running, prefix: &str, limit: i64) -> Result<Step, Error> {
    let mut transaction = connection.begin().await?;
    // The row's lock is held until the commit: whoever ends the replay waits for this step, and none follows.
    let after: Option<i64> = sqlx::query_scalar(
        r"UPDATE pipeline.replays SET lease_until = clock_timestamp() + interval '30 seconds'
           WHERE id = $1 AND lease_owner = $2 AND state = 'running' RETURNING after_row",
    )
    .bind(running.id)
    .bind(running.owner)
    .fetch_optional(&mut *transaction)
    .await?;
    let Some(after) = after else { return Ok(Step::Lost) };
    let done: Vec<Done> = sqlx::query_as(concat!(
        "SELECT o.id, o.event_id, i.event_day, o.event_type, o.key, o.headers, o.payload, o.tenant, o.region",
        from_window!(),
        "AND i.outcome = 'done' AND o.id > $8 ORDER BY o.id LIMIT $9"
    ))
    .bind(&running.consumer)
    .bind(running.from_time)
    .bind(running.to_time)
    .bind(&running.topic)
    .bind(running.partition)
    .bind(running.from_offset)
    .bind(running.to_offset)
    .bind(after)
    .bind(limit)
    .fetch_all(&mut *transaction)
    .await?;
    let Some(last) = done.last().map(|done| done.id) else { return Ok(Step::End) };
    let sent = i64::try_from(done.len()).unwrap_or(i64::MAX);
    expect(&mut transaction, running, &done).await?;
    insert_rows(&mut transaction, done.into_iter().map(|done| done.into_retry(running, prefix)).collect()).await?;
    sqlx::query("UPDATE pipeline.replays SET after_row = $2, sent = sent + $3 WHERE id = $1")
        .bind(running.id)
        .bind(last)
        .bind(sent)
        .execute(&mut *transaction)
        .await?;
    // A hint only: the relays poll.
    sqlx::query("SELECT pg_notify($1, '')").bind(WAKE_UP_CHANNEL).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(Step::Sent(sent))
}

/// Their places are those of the first outcome: where they were read.
async fn expect(connection: &mut PgConnection, running: &Running, done: &[Done]) -> Result<(), Error> {
    sqlx::query(
        r#"INSERT INTO pipeline.inbox (consumer, event_id, event_day, outcome, reason, attempt, topic, partition, "offset")
           SELECT $1, i.event_id, i.event_day, 'retrying', 'replay', $2, i.topic, i.partition, i."offset"
             FROM UNNEST($4::uuid[], $5::date[]) AS u (event_id, event_day)
             JOIN pipeline.inbox i ON i.consumer = $3 AND i.event_id = u.event_id AND i.event_day = u.event_day
            ORDER BY i.event_id"#,
    )
    .bind(running.logical())
    .bind(FIRST)
    .bind(&running.consumer)
    .bind(done.iter().map(|done| done.event_id).collect::<Vec<_>>())
    .bind(done.iter().map(|done| done.event_day).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

impl Done {
    fn into_retry(self, running: &Running, prefix: &str) -> OutboxRow {
        let [shortest, ..] = RETRY_DELAYS;
        let ours = [
            (ATTEMPT, FIRST.to_string()),
            (REPLAY, running.version.clone()),
            (REPLAY_EMITS, running.emits.clone()),
            (REPLAY_DAY, self.event_day.to_string()),
        ];
        let headers = self.headers.0.into_iter().chain(ours.map(|(name, value)| (name.to_owned(), value)));
        OutboxRow {
            kind: Kind::Retry,
            event_id: self.event_id,
            event_type: self.event_type,
            aggregate: None,
            attempt: FIRST,
            topic: retry_topic(prefix, &running.consumer, shortest),
            consumer: Some(running.logical()),
            key: self.key,
            headers: headers.collect(),
            payload: self.payload,
            tenant: self.tenant,
            region: self.region,
        }
    }
}
