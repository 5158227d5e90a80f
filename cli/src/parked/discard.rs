//! To give parked messages up. They become dead letters that are purged, in one transaction, so that their bytes stay
//! and the decision can be taken back.

use docfleet_outbox::{Kind, OutboxRow, insert_rows};
use serde::Serialize;
use sqlx::{Connection, FromRow, PgConnection, types::Json};
use time::Date;
use uuid::Uuid;

use super::OneKey;
use crate::{
    Error,
    consumer::dlq_topic,
    dlq::{Decision, filter::readable},
    output::{Exit, Report, counted},
};

#[derive(Serialize)]
pub struct Discarded {
    dry_run: bool,
    key: String,
    pub messages: i64,
    /// What waits under the key afterwards.
    left: i64,
    /// Which message was first when the operator was asked.
    #[serde(skip)]
    head: Option<Uuid>,
}

#[derive(FromRow)]
struct Head {
    state: String,
    event_id: Uuid,
    reason: String,
    detail: String,
    messages: i64,
}

#[derive(FromRow)]
struct Message {
    seq: i64,
    event_id: Uuid,
    event_day: Date,
    event_type: String,
    attempt: i32,
    record_key: Option<Vec<u8>>,
    headers: Json<Vec<(String, String)>>,
    payload: Option<Vec<u8>>,
    tenant: String,
    region: String,
    topic: String,
    partition: i32,
    offset: i64,
}

pub async fn find(connection: &mut PgConnection, one: &OneKey, whole_key: bool) -> Result<Discarded, Error> {
    let mut transaction = connection.begin().await?;
    let head = lock(&mut transaction, one).await?;
    let held = i64::from(head.as_ref().is_some_and(|head| head.state == "held"));
    let first = head.as_ref().map(|head| head.event_id);
    // Now, not with the next statement: a question to the operator may come before that, and settlements wait for the key.
    transaction.rollback().await?;
    let all = head.map_or(0, |head| head.messages) + held;
    let messages = if whole_key { all } else { all.min(1) };
    Ok(Discarded { dry_run: true, key: readable(&one.key.0), messages, left: all - messages, head: first })
}

/// Gives up what was `found`, and nothing that came in its place while the operator was asked.
pub async fn discard(
    connection: &mut PgConnection,
    prefix: &str,
    one: &OneKey,
    found: &Discarded,
    decision: &Decision,
) -> Result<Discarded, Error> {
    let mut transaction = connection.begin().await?;
    let mut done = Discarded { dry_run: false, key: readable(&one.key.0), messages: 0, left: 0, head: None };
    // The key before its messages and inbox rows, as settlements and drainers lock them.
    let Some(head) = lock(&mut transaction, one).await? else { return Ok(done) };
    if found.head != Some(head.event_id) {
        return Err(Error::Usage("the key has gone on since you were asked: look at it again".to_owned()));
    }
    if head.state == "burying" {
        let usage =
            "this key is being buried: purge its dead letters when they are there (`docfleet dlq list --key KEY`)";
        return Err(Error::Usage(usage.to_owned()));
    }
    let mut discarded: Vec<(Uuid, Date)> = Vec::new();
    if head.state == "held" {
        discarded.extend(dead_head(&mut transaction, one, &head).await?);
    }
    let limit = found.messages - i64::from(head.state == "held");
    let messages = waiting(&mut transaction, one, limit).await?;
    let seqs: Vec<i64> = messages.iter().map(|message| message.seq).collect();
    discarded.extend(messages.iter().map(|message| (message.event_id, message.event_day)));
    let letters = messages.into_iter().map(|message| message.into_letter(prefix, one, &head)).collect();
    insert_rows(&mut transaction, letters).await?;
    give_up(&mut transaction, one, &discarded, decision).await?;
    done.messages = i64::try_from(discarded.len()).unwrap_or(i64::MAX);
    done.left = go_on(&mut transaction, one, &seqs).await?;
    transaction.commit().await?;
    Ok(done)
}

async fn lock(connection: &mut PgConnection, one: &OneKey) -> Result<Option<Head>, Error> {
    let head = sqlx::query_as(
        "SELECT state, event_id, reason, detail, messages FROM pipeline.parked_keys WHERE consumer = $1 AND key = $2 FOR UPDATE",
    );
    Ok(head.bind(&one.consumer).bind(&one.key.0).fetch_optional(connection).await?)
}

/// The dead letter that holds the key, if it is dead still.
async fn dead_head(connection: &mut PgConnection, one: &OneKey, head: &Head) -> Result<Option<(Uuid, Date)>, Error> {
    let dead = sqlx::query_as(
        "SELECT event_id, event_day FROM pipeline.inbox WHERE consumer = $1 AND event_id = $2 AND outcome = 'dead' FOR UPDATE",
    );
    Ok(dead.bind(&one.consumer).bind(head.event_id).fetch_optional(connection).await?)
}

async fn waiting(connection: &mut PgConnection, one: &OneKey, limit: i64) -> Result<Vec<Message>, Error> {
    let waiting = sqlx::query_as(
        r#"SELECT m.seq, m.event_id, m.event_day, m.event_type, i.attempt, m.record_key, m.headers, m.payload, m.tenant, m.region,
                  m.topic, m.partition, m."offset"
             FROM pipeline.parked_messages m
             JOIN pipeline.inbox i ON i.consumer = m.consumer AND i.event_id = m.event_id AND i.event_day = m.event_day
            WHERE m.consumer = $1 AND m.key = $2 AND i.outcome = 'parked' ORDER BY m.seq LIMIT $3 FOR UPDATE OF i"#,
    );
    Ok(waiting.bind(&one.consumer).bind(&one.key.0).bind(limit).fetch_all(connection).await?)
}

async fn give_up(
    connection: &mut PgConnection,
    one: &OneKey,
    discarded: &[(Uuid, Date)],
    decision: &Decision,
) -> Result<(), Error> {
    let (ids, days): (Vec<Uuid>, Vec<Date>) = discarded.iter().copied().unzip();
    sqlx::query(
        r"WITH discarded AS (
              UPDATE pipeline.inbox i SET outcome = 'discarded', reason = coalesce(i.reason, 'behind-a-parked-message'), settled_at = clock_timestamp()
                FROM UNNEST($2::uuid[], $3::date[]) AS c (event_id, event_day)
               WHERE i.consumer = $1 AND i.event_id = c.event_id AND i.event_day = c.event_day
           RETURNING i.event_id)
          INSERT INTO pipeline.operator_actions (who, action, consumer, event_id, why)
          SELECT $4, 'purge', $1, event_id, $5 FROM discarded ORDER BY event_id",
    )
    .bind(&one.consumer)
    .bind(ids)
    .bind(days)
    .bind(&decision.who)
    .bind(&decision.why)
    .execute(connection)
    .await?;
    Ok(())
}

/// The rest of the key is tried at once; a key with nothing under it is free. The new epoch fences a drainer that works
/// on what was discarded. Returns how many are left.
async fn go_on(connection: &mut PgConnection, one: &OneKey, discarded: &[i64]) -> Result<i64, Error> {
    sqlx::query("DELETE FROM pipeline.parked_messages WHERE consumer = $1 AND key = $2 AND seq = ANY ($3)")
        .bind(&one.consumer)
        .bind(&one.key.0)
        .bind(discarded)
        .execute(&mut *connection)
        .await?;
    let next: Option<(Uuid, i64)> = sqlx::query_as(
        r"SELECT (array_agg(event_id ORDER BY seq))[1], count(*) FROM pipeline.parked_messages
           WHERE consumer = $1 AND key = $2 HAVING count(*) > 0",
    )
    .bind(&one.consumer)
    .bind(&one.key.0)
    .fetch_optional(&mut *connection)
    .await?;
    let Some((head, left)) = next else {
        sqlx::query("DELETE FROM pipeline.parked_keys WHERE consumer = $1 AND key = $2")
            .bind(&one.consumer)
            .bind(&one.key.0)
            .execute(connection)
            .await?;
        return Ok(0);
    };
    sqlx::query(
        r"UPDATE pipeline.parked_keys
             SET state = 'retrying', event_id = $3, head_since = clock_timestamp(), attempts = 0, next_try_at = clock_timestamp(),
                 messages = $4, lease_owner = NULL, lease_until = '-infinity', lease_epoch = nextval('pipeline.parked_lease_epochs')
           WHERE consumer = $1 AND key = $2",
    )
    .bind(&one.consumer)
    .bind(&one.key.0)
    .bind(head)
    .bind(left)
    .execute(connection)
    .await?;
    Ok(left)
}

impl Message {
    /// As the runtime writes dead letters; what it says of the failure is what the key says.
    fn into_letter(self, prefix: &str, one: &OneKey, head: &Head) -> OutboxRow {
        let is_head = self.event_id == head.event_id;
        let (reason, error) =
            if is_head { (head.reason.as_str(), head.detail.as_str()) } else { ("behind-a-parked-message", "") };
        let attempt = self.attempt.to_string();
        let ours =
            ["docfleet_consumer", "docfleet_attempt", "docfleet_reason", "docfleet_error", "docfleet_not_before"];
        let mut headers = self.headers.0;
        headers.retain(|(name, _)| !ours.contains(&name.as_str()));
        let known = headers.iter().any(|(name, _)| name == "docfleet_original_topic");
        let said = [
            ("docfleet_consumer", one.consumer.as_str()),
            ("docfleet_attempt", &attempt),
            ("docfleet_reason", reason),
            ("docfleet_error", error),
        ];
        headers.extend(said.map(|(name, value)| (name.to_owned(), value.to_owned())));
        if !known {
            let (partition, offset) = (self.partition.to_string(), self.offset.to_string());
            let origin = [("topic", self.topic), ("partition", partition), ("offset", offset)];
            headers.extend(origin.map(|(name, value)| (format!("docfleet_original_{name}"), value)));
        }
        OutboxRow {
            kind: Kind::DeadLetter,
            event_id: self.event_id,
            event_type: self.event_type,
            aggregate: None,
            attempt: self.attempt,
            topic: dlq_topic(prefix, &one.consumer),
            consumer: Some(one.consumer.clone()),
            key: self.record_key,
            headers,
            payload: self.payload,
            tenant: self.tenant,
            region: self.region,
        }
    }
}

impl Report for Discarded {
    fn text(&self) -> String {
        if self.messages == 0 {
            return format!("{} is not parked there; see `docfleet parked list`.", self.key);
        }
        let verb = if self.dry_run { "would be discarded" } else { "discarded" };
        format!("{} {verb}, {} left under {}.", counted(self.messages, "message"), self.left, self.key)
    }

    fn exit(&self) -> Exit {
        if self.messages == 0 { Exit::Problem } else { Exit::Ok }
    }
}
