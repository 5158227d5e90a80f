use sqlx::PgConnection;
use time::Date;
use uuid::Uuid;

use crate::{Record, message::Identity, settle::digest_of};

/// Last outcomes of parked messages, turned by 90 degrees, as UNNEST wants them.
#[derive(Default)]
pub(super) struct Outcomes {
    event_id: Vec<Uuid>,
    event_day: Vec<Date>,
    outcome: Vec<&'static str>,
    reason: Vec<Option<String>>,
    attempt: Vec<i32>,
    topic: Vec<String>,
    partition: Vec<i32>,
    offset: Vec<i64>,
    digest: Vec<Vec<u8>>,
}

impl Outcomes {
    pub fn of_one(record: &Record, identity: &Identity, outcome: &'static str, reason: Option<&str>) -> Self {
        let mut one = Self::default();
        one.push(record, identity, outcome, reason);
        one
    }

    pub fn push(&mut self, record: &Record, identity: &Identity, outcome: &'static str, reason: Option<&str>) {
        self.event_id.push(identity.event_id);
        self.event_day.push(identity.event_day);
        self.outcome.push(outcome);
        self.reason.push(reason.map(str::to_owned));
        self.attempt.push(record.attempt());
        self.topic.push(record.source.topic.to_string());
        self.partition.push(record.source.partition);
        self.offset.push(record.offset);
        self.digest.push(digest_of(record, identity).map(|digest| digest.to_vec()).unwrap_or_default());
    }

    /// The events whose outcome was ours to give: those that are parked, and those of which the inbox knows nothing any
    /// more, as a key can be held for longer than the inbox is kept.
    pub async fn claim(self, connection: &mut PgConnection, consumer: &str) -> Result<Vec<Uuid>, sqlx::Error> {
        sqlx::query_scalar(
            r#"INSERT INTO pipeline.inbox AS i (consumer, event_id, event_day, outcome, reason, attempt, topic, partition, "offset", digest)
               SELECT $1, u.*
                 FROM UNNEST($2::uuid[], $3::date[], $4::text[], $5::text[], $6::int[], $7::text[], $8::int[], $9::bigint[], $10::bytea[])
                      AS u (e)
                ORDER BY u.e
               ON CONFLICT (consumer, event_id, event_day) DO UPDATE
                  SET outcome = excluded.outcome, reason = excluded.reason, settled_at = excluded.settled_at
                WHERE i.outcome = 'parked'
               RETURNING event_id"#,
        )
        .bind(consumer)
        .bind(self.event_id)
        .bind(self.event_day)
        .bind(self.outcome)
        .bind(self.reason)
        .bind(self.attempt)
        .bind(self.topic)
        .bind(self.partition)
        .bind(self.offset)
        .bind(self.digest)
        .fetch_all(connection)
        .await
    }
}
