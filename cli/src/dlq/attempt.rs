//! The attempts of a message at a consumer: what its failure rows say of each, and who sent it once more.

use serde::Serialize;
use sqlx::{FromRow, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    Error,
    output::{instant, plain},
};

/// The newest ones; a message that is replayed for ever does not fill the screen.
const ATTEMPTS_MAX: i64 = 50;

/// A try that failed, or a replay.
#[derive(Serialize, FromRow)]
pub struct Attempt {
    pub attempt: i32,
    /// `failed`: it went to a retry topic; `died`; `replayed`: by an operator.
    pub what: String,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    pub reason: Option<String>,
    pub error: Option<String>,
}

/// The oldest first.
pub async fn attempts(connection: &mut PgConnection, consumer: &str, event_id: Uuid) -> Result<Vec<Attempt>, Error> {
    // A retry row of a replay repeats the headers of the letter: what it says of a failure was said by the letter.
    let mut attempts: Vec<Attempt> = sqlx::query_as(
        r#"WITH sent AS (
               SELECT t.sent_attempt, t.sent_at, r.id, r.who, r.why
                 FROM pipeline.redrive_items t JOIN pipeline.redrives r ON r.id = t.redrive_id
                WHERE t.consumer = $1 AND t.event_id = $2 AND t.sent_at IS NOT NULL)
           SELECT o.attempt - CASE o.kind WHEN 'retry' THEN 1 ELSE 0 END AS attempt,
                  CASE o.kind WHEN 'retry' THEN 'failed' ELSE 'died' END AS what, o.created_at AS at,
                  jsonb_path_query_first(o.headers, 'strict $[*] ? (@[0] == "docfleet_reason")[1]', '{}', true) #>> '{}' AS reason,
                  jsonb_path_query_first(o.headers, 'strict $[*] ? (@[0] == "docfleet_error")[1]', '{}', true) #>> '{}' AS error
             FROM pipeline.outbox_events o
            WHERE o.consumer = $1 AND o.event_id = $2 AND o.kind <> 'event'
              AND NOT (o.kind = 'retry' AND EXISTS (SELECT FROM sent s WHERE s.sent_attempt = o.attempt))
           UNION ALL
           SELECT sent_attempt, 'replayed', sent_at, format('redrive %s', id), format('%s: %s', who, why) FROM sent
            ORDER BY at DESC LIMIT $3"#,
    )
    .bind(consumer)
    .bind(event_id)
    .bind(ATTEMPTS_MAX)
    .fetch_all(connection)
    .await?;
    attempts.reverse();
    Ok(attempts)
}

impl Attempt {
    pub fn text(&self) -> String {
        let about = |text: &Option<String>, max| text.as_deref().map_or_else(String::new, |text| plain(text, max));
        format!(
            "  {}  {} {}  {}: {}",
            instant(self.at),
            self.what,
            self.attempt,
            about(&self.reason, 60),
            about(&self.error, 200)
        )
    }
}
