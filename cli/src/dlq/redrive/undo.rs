//! Takes back what nobody has worked on yet, and ends a redrive before its end.

use serde::Serialize;
use sqlx::{Connection, PgConnection};

use super::watch::{self, Counts};
use crate::{
    Error,
    dlq::action::{BATCH, Decision},
    output::{Report, counted},
};

#[derive(Serialize)]
pub struct Undone {
    redrive: i64,
    /// Dead again, as before: their records were not sent yet, and are deleted.
    taken_back_unsent: i64,
    /// Dead again, as before: their records are on the way, and their consumer will drop them.
    taken_back_sent: i64,
    /// They wait behind their key: `docfleet parked` decides about them.
    parked: i64,
    #[serde(flatten)]
    counts: Counts,
}

#[derive(Serialize)]
pub struct Aborted {
    redrive: i64,
    counts: Counts,
}

/// No step of it follows: a running one sees it before its next step.
async fn end(connection: &mut PgConnection, redrive: i64, state: &str, decision: &Decision) -> Result<(), Error> {
    let mut transaction = connection.begin().await?;
    let ended = sqlx::query(
        r"UPDATE pipeline.redrives SET state = $2, stop_reason = $3, ended_at = clock_timestamp(), lease_until = '-infinity'
           WHERE id = $1 AND (state IN ('planned', 'running', 'stopped') OR ($2 = 'undone' AND state IN ('done', 'aborted', 'undone')))",
    )
    .bind(redrive)
    .bind(state)
    .bind(format!("by {}: {}", decision.who, decision.why))
    .execute(&mut *transaction)
    .await?;
    if ended.rows_affected() == 0 {
        let known: Option<String> = sqlx::query_scalar("SELECT state FROM pipeline.redrives WHERE id = $1")
            .bind(redrive)
            .fetch_optional(&mut *transaction)
            .await?;
        return Err(Error::Usage(known.map_or_else(
            || format!("there is no redrive {redrive}; see `docfleet dlq redrives`"),
            |state| format!("redrive {redrive} is {state} already"),
        )));
    }
    let action = if state == "undone" { "undo" } else { "abort" };
    decision.record(&mut transaction, action, &format!("redrive {redrive}")).await?;
    transaction.commit().await?;
    Ok(())
}

pub async fn abort(connection: &mut PgConnection, redrive: i64, decision: &Decision) -> Result<Aborted, Error> {
    end(connection, redrive, "aborted", decision).await?;
    let mut counts = watch::counts(connection, redrive).await?;
    watch::watch(connection, redrive, &mut counts).await?;
    Ok(Aborted { redrive, counts })
}

/// A letter is taken back while the inbox still waits for the attempt that was sent. The inbox row's lock decides between
/// this and its settlement. A record that is on its way already finds no attempt to settle, and is dropped as a repeat.
pub async fn undo(connection: &mut PgConnection, redrive: i64, decision: &Decision) -> Result<Undone, Error> {
    end(connection, redrive, "undone", decision).await?;
    let mut counts = watch::counts(connection, redrive).await?;
    watch::watch(connection, redrive, &mut counts).await?;
    let (mut taken_back_unsent, mut taken_back_sent, mut after) = (0, 0, 0);
    loop {
        let positions: Vec<i64> = sqlx::query_scalar(
            r"SELECT position FROM pipeline.redrive_items
               WHERE redrive_id = $1 AND state = 'sent' AND park_key IS NULL AND position > $2 ORDER BY position LIMIT $3",
        )
        .bind(redrive)
        .bind(after)
        .bind(BATCH)
        .fetch_all(&mut *connection)
        .await?;
        let Some(last) = positions.last() else { break };
        after = *last;
        let (back, deleted) = take_back(connection, redrive, &positions).await?;
        taken_back_unsent += deleted;
        taken_back_sent += back - deleted;
    }
    let parked: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pipeline.redrive_items WHERE redrive_id = $1 AND state = 'sent' AND park_key IS NOT NULL",
    )
    .bind(redrive)
    .fetch_one(&mut *connection)
    .await?;
    let counts = watch::counts(connection, redrive).await?;
    Ok(Undone { redrive, taken_back_unsent, taken_back_sent, parked, counts })
}

/// How many are dead again, and of how many the record was not sent.
async fn take_back(connection: &mut PgConnection, redrive: i64, positions: &[i64]) -> Result<(i64, i64), Error> {
    let taken = sqlx::query_as(
        r"WITH chosen AS (
              SELECT t.position, t.consumer, t.event_id, t.event_day, t.attempt, t.sent_attempt, t.letter_at
                FROM pipeline.redrive_items t
                JOIN pipeline.inbox i ON i.consumer = t.consumer AND i.event_id = t.event_id AND i.event_day = t.event_day
               WHERE t.redrive_id = $1 AND t.position = ANY ($2) AND t.state = 'sent'
                 AND i.outcome = 'retrying' AND i.attempt = t.sent_attempt
               ORDER BY i.event_id, i.consumer FOR UPDATE OF i
          ), dead AS (
              UPDATE pipeline.inbox i SET outcome = 'dead', attempt = c.attempt, settled_at = c.letter_at
                FROM chosen c
               WHERE i.consumer = c.consumer AND i.event_id = c.event_id AND i.event_day = c.event_day
          ), unsent AS (
              DELETE FROM pipeline.outbox_unpublished u USING chosen c, pipeline.outbox_events r
               WHERE r.kind = 'retry' AND r.consumer = c.consumer AND r.event_id = c.event_id AND r.attempt = c.sent_attempt
                 AND u.id = r.id
           RETURNING r.id, r.created_at
          ), deleted AS (
              DELETE FROM pipeline.outbox_events r USING unsent u WHERE r.id = u.id AND r.created_at = u.created_at
           RETURNING 1
          ), marked AS (
              UPDATE pipeline.redrive_items t SET state = 'undone' FROM chosen c
               WHERE t.redrive_id = $1 AND t.position = c.position
           RETURNING 1)
          SELECT (SELECT count(*) FROM marked), (SELECT count(*) FROM deleted)",
    );
    Ok(taken.bind(redrive).bind(positions).fetch_one(connection).await?)
}

impl Report for Undone {
    fn text(&self) -> String {
        let mut lines = vec![format!("Redrive {} is undone as far as it can be:", self.redrive)];
        for (count, what) in [
            (self.taken_back_unsent, "dead again as before; not sent yet"),
            (self.taken_back_sent, "dead again as before; their records are on the way and will be dropped"),
            (self.parked, "wait behind their keys: see `docfleet parked list`"),
            (self.counts.on_their_way - self.parked, "failed once more and wait for their next try: they stay"),
            (self.counts.worked, "were worked on: they stay"),
            (self.counts.died_again, "died again by themselves"),
            (self.counts.to_send, "had not been sent"),
        ] {
            if count > 0 {
                lines.push(format!("  {} {what}.", counted(count, "letter")));
            }
        }
        lines.join("\n")
    }
}

impl Report for Aborted {
    fn text(&self) -> String {
        let counts = &self.counts;
        format!(
            "Redrive {} is aborted: {} sent, {} not. What is on its way goes on; `docfleet dlq undo {}` takes it back.",
            self.redrive,
            counted(counts.sent(), "letter"),
            counts.to_send,
            self.redrive
        )
    }
}
