//! What has become of the letters of a redrive: the inbox knows, the items remember.

use serde::Serialize;
use sqlx::{FromRow, PgConnection};

use super::pace::LAST;
use crate::Error;

/// Letters by what has become of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, FromRow)]
pub struct Counts {
    pub to_send: i64,
    /// Sent, and without an outcome.
    pub on_their_way: i64,
    pub worked: i64,
    pub died_again: i64,
    /// Not dead any more when their turn came, or given up since.
    pub gone: i64,
    /// Their key is held by another letter, or being buried.
    pub refused: i64,
    /// By the loop guard.
    pub left_out: i64,
    pub undone: i64,
}

impl Counts {
    pub fn sent(&self) -> i64 {
        self.on_their_way + self.worked + self.died_again
    }
}

pub async fn counts(connection: &mut PgConnection, redrive: i64) -> Result<Counts, Error> {
    let counts = sqlx::query_as(
        r"SELECT count(*) FILTER (WHERE state = 'planned') AS to_send, count(*) FILTER (WHERE state = 'sent') AS on_their_way,
                 count(*) FILTER (WHERE state = 'worked') AS worked, count(*) FILTER (WHERE state = 'died') AS died_again,
                 count(*) FILTER (WHERE state = 'gone') AS gone, count(*) FILTER (WHERE state = 'refused') AS refused,
                 count(*) FILTER (WHERE state = 'left_out') AS left_out, count(*) FILTER (WHERE state = 'undone') AS undone
            FROM pipeline.redrive_items WHERE redrive_id = $1",
    );
    Ok(counts.bind(redrive).fetch_one(connection).await?)
}

/// Takes over the outcomes that are there by now; true when there were new ones.
pub async fn watch(connection: &mut PgConnection, redrive: i64, counts: &mut Counts) -> Result<bool, Error> {
    let (worked, died, gone): (i64, i64, i64) = sqlx::query_as(
        r"WITH settled AS (
              UPDATE pipeline.redrive_items t
                 SET state = CASE i.outcome WHEN 'dead' THEN 'died' WHEN 'discarded' THEN 'gone' ELSE 'worked' END,
                     settled_at = i.settled_at
                FROM pipeline.inbox i
               WHERE t.redrive_id = $1 AND t.state = 'sent'
                 AND i.consumer = t.consumer AND i.event_id = t.event_id AND i.event_day = t.event_day
                 AND (i.outcome IN ('done', 'skipped', 'discarded') OR (i.outcome = 'dead' AND i.attempt >= t.sent_attempt))
           RETURNING t.state)
          SELECT count(*) FILTER (WHERE state = 'worked'), count(*) FILTER (WHERE state = 'died'),
                 count(*) FILTER (WHERE state = 'gone') FROM settled",
    )
    .bind(redrive)
    .fetch_one(connection)
    .await?;
    counts.on_their_way -= worked + died + gone;
    counts.worked += worked;
    counts.died_again += died;
    counts.gone += gone;
    Ok(worked + died + gone > 0)
}

/// What is sent now had died: also in an older redrive that has not seen it yet, and never would.
pub async fn close_older(connection: &mut PgConnection, redrive: i64, positions: &[i64]) -> Result<(), Error> {
    let closed = sqlx::query(
        r"UPDATE pipeline.redrive_items older SET state = 'died', settled_at = t.sent_at
            FROM pipeline.redrive_items t
           WHERE t.redrive_id = $1 AND t.position = ANY ($2) AND t.state = 'sent'
             AND older.consumer = t.consumer AND older.event_id = t.event_id AND older.state = 'sent' AND older.redrive_id <> $1",
    );
    closed.bind(redrive).bind(positions).execute(connection).await?;
    Ok(())
}

/// Of the last letters that this run of the redrive got an outcome for: how many died, and how many they are.
pub async fn last_outcomes(connection: &mut PgConnection, redrive: i64) -> Result<(i64, i64), Error> {
    let last = sqlx::query_as(
        r"SELECT count(*) FILTER (WHERE state = 'died'), count(*)
            FROM (SELECT t.state FROM pipeline.redrive_items t JOIN pipeline.redrives r ON r.id = t.redrive_id
                   WHERE t.redrive_id = $1 AND t.settled_at >= r.started_at AND t.state IN ('worked', 'died')
                   ORDER BY t.settled_at DESC LIMIT $2) AS last",
    );
    Ok(last.bind(redrive).bind(LAST).fetch_one(connection).await?)
}

/// What one letter has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fortune {
    Waiting,
    Worked,
    /// It failed and is to be tried once more.
    FailedAgain,
    Died,
    /// Nothing is to be learned from it.
    Gone,
}

pub async fn fortune(connection: &mut PgConnection, redrive: i64, position: i64) -> Result<Fortune, Error> {
    let (state, failed): (String, bool) = sqlx::query_as(
        r"SELECT t.state, i.outcome IN ('retrying', 'parked') AND (i.attempt > t.sent_attempt OR coalesce(k.attempts, 0) > 0)
            FROM pipeline.redrive_items t
            JOIN pipeline.inbox i ON i.consumer = t.consumer AND i.event_id = t.event_id AND i.event_day = t.event_day
            LEFT JOIN pipeline.parked_keys k ON k.consumer = t.consumer AND k.key = t.park_key AND k.event_id = t.event_id
           WHERE t.redrive_id = $1 AND t.position = $2",
    )
    .bind(redrive)
    .bind(position)
    .fetch_one(connection)
    .await?;
    Ok(match state.as_str() {
        "sent" if failed => Fortune::FailedAgain,
        "sent" => Fortune::Waiting,
        "worked" => Fortune::Worked,
        "died" => Fortune::Died,
        _ => Fortune::Gone,
    })
}
