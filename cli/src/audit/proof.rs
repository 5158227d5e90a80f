//! What earlier audits proved, and how far this one may be believed later.
//!
//! A mark may only pass ids and times that can not appear any more. A transaction that takes id 7 may commit long after
//! one that took id 9; a mark at 9 would skip 7 for ever. So a candidate (the newest visible id, the database's time) is
//! taken together with the snapshot's `xmax`: every transaction that took a smaller id has a smaller transaction id, as
//! each writer locks or writes a row before it draws from the sequence (docs/adr/0003). When the oldest transaction that
//! runs in this database has passed that number, all of them have ended, and for every snapshot that is taken from then
//! on the candidate is final. In a busy fleet that is rarely so at once:
//! the candidate is kept for the next audit, which has seen them end.
//!
//! `settled_at` is read before its row takes a transaction id, and a server's clock may be set back a little: its
//! candidate lies [`CLOCK_MARGIN_SECONDS`] in the past.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde::Serialize;
use sqlx::{Connection, FromRow, PgConnection};
use time::OffsetDateTime;

use crate::Error;

const CLOCK_MARGIN_SECONDS: f64 = 10.0;
/// For the transactions of the moment to end; they take milliseconds.
const SETTLE_WAIT: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(50);

/// Of the passes over the database.
pub const EVENTS: &str = "events";
pub const SETTLEMENTS: &str = "settlements";
pub const PAYLOADS: &str = "payloads";
pub const TOPICS: &str = "topics";

#[derive(Debug, Clone, Serialize, FromRow)]
pub struct Proof {
    pub pass: String,
    pub source: String,
    pub up_to_id: Option<i64>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub up_to_time: Option<OffsetDateTime>,
    #[serde(skip)]
    pub basis: String,
    /// Rows, ever; pruned ones stay counted.
    pub proven: i64,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    pub took_seconds: f64,
}

/// Taken before the audit's snapshot.
#[derive(Debug, Clone, Copy, FromRow)]
pub struct Candidate {
    id: i64,
    time: OffsetDateTime,
    xmax: i64,
}

/// At or below these nothing can appear any more that the snapshot does not show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Final {
    pub id: i64,
    pub time: Option<OffsetDateTime>,
}

/// What was known when the audit began.
pub struct Known {
    pub proofs: BTreeMap<(String, String), Proof>,
    pub candidate: Candidate,
    pending: Option<Candidate>,
    /// Read before the audit's snapshot: what had ended by then is visible in it.
    oldest: i64,
}

#[derive(FromRow)]
struct Pending {
    pending_id: Option<i64>,
    pending_time: Option<OffsetDateTime>,
    pending_xmax: Option<i64>,
}

impl Known {
    pub fn of(&self, pass: &str, source: &str) -> Option<&Proof> {
        self.proofs.get(&(pass.to_owned(), source.to_owned()))
    }

    pub fn final_now(&self) -> Final {
        let passed = |candidate: &Candidate| self.oldest >= candidate.xmax;
        let candidate = Some(self.candidate).filter(passed).or(self.pending.filter(passed));
        candidate.map_or(Final { id: 0, time: None }, |c| Final { id: c.id, time: Some(c.time) })
    }

    /// The candidate that the next audit is to ask for: one that was not passed yet stays, or it would never be.
    fn next_pending(&self) -> Candidate {
        self.pending.filter(|pending| self.oldest < pending.xmax).unwrap_or(self.candidate)
    }
}

/// In this order: the candidate first, then time for its transactions to end, then (by the caller) the snapshot.
pub async fn begin(connection: &mut PgConnection) -> Result<Known, Error> {
    let proofs: Vec<Proof> = sqlx::query_as(
        "SELECT pass, source, up_to_id, up_to_time, basis, proven, at, took_seconds FROM pipeline.audit_proofs",
    )
    .fetch_all(&mut *connection)
    .await?;
    let pending: Pending = sqlx::query_as("SELECT pending_id, pending_time, pending_xmax FROM pipeline.audit_horizon")
        .fetch_one(&mut *connection)
        .await?;
    // One statement, so one snapshot: whatever is not visible at a smaller id is a transaction below its xmax.
    let candidate: Candidate = sqlx::query_as(
        r"SELECT coalesce((SELECT max(id) FROM pipeline.outbox_events), 0) AS id,
                 clock_timestamp() - make_interval(secs => $1) AS time, pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS xmax",
    )
    .bind(CLOCK_MARGIN_SECONDS)
    .fetch_one(&mut *connection)
    .await?;
    let started = Instant::now();
    let mut oldest = oldest_running(&mut *connection).await?;
    while oldest < candidate.xmax && started.elapsed() < SETTLE_WAIT {
        tokio::time::sleep(POLL).await;
        oldest = oldest_running(&mut *connection).await?;
    }
    let pending = match (pending.pending_id, pending.pending_time, pending.pending_xmax) {
        (Some(id), Some(time), Some(xmax)) => Some(Candidate { id, time, xmax }),
        _ => None,
    };
    let proofs = proofs.into_iter().map(|proof| ((proof.pass.clone(), proof.source.clone()), proof)).collect();
    Ok(Known { proofs, candidate, pending, oldest })
}

async fn oldest_running(connection: &mut PgConnection) -> Result<i64, Error> {
    Ok(sqlx::query_scalar("SELECT pipeline.oldest_transaction()").fetch_one(connection).await?)
}

/// What this audit adds.
#[derive(Default)]
pub struct Earned {
    pub proofs: Vec<Proof>,
    /// Passes whose old proof turned out wrong.
    pub void: Vec<(String, String)>,
    /// Unfinished rows at or below the mark of [`EVENTS`]; none when that mark stays.
    pub open: Option<Vec<i64>>,
}

/// One short transaction after the audit. Of two audits at once the one that ends second finds other proofs than it began
/// with, and leaves them: its own would not fit the list of open rows.
pub async fn keep(connection: &mut PgConnection, known: &Known, earned: &Earned) -> Result<(), Error> {
    let mut transaction = connection.begin().await?;
    sqlx::query("SELECT FROM pipeline.audit_horizon FOR UPDATE").execute(&mut *transaction).await?;
    let now: Vec<(String, String, OffsetDateTime)> =
        sqlx::query_as("SELECT pass, source, at FROM pipeline.audit_proofs").fetch_all(&mut *transaction).await?;
    let unchanged = now.len() == known.proofs.len()
        && now.iter().all(|(pass, source, at)| known.of(pass, source).is_some_and(|proof| proof.at == *at));
    if !unchanged {
        return Ok(());
    }
    for (pass, source) in &earned.void {
        sqlx::query("DELETE FROM pipeline.audit_proofs WHERE pass = $1 AND source = $2")
            .bind(pass)
            .bind(source)
            .execute(&mut *transaction)
            .await?;
    }
    for proof in &earned.proofs {
        sqlx::query(
            r"INSERT INTO pipeline.audit_proofs (pass, source, up_to_id, up_to_time, basis, proven, at, took_seconds)
              VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
              ON CONFLICT (pass, source) DO UPDATE SET up_to_id = excluded.up_to_id, up_to_time = excluded.up_to_time,
                     basis = excluded.basis, proven = excluded.proven, at = excluded.at, took_seconds = excluded.took_seconds",
        )
        .bind(&proof.pass)
        .bind(&proof.source)
        .bind(proof.up_to_id)
        .bind(proof.up_to_time)
        .bind(&proof.basis)
        .bind(proof.proven)
        .bind(proof.at)
        .bind(proof.took_seconds)
        .execute(&mut *transaction)
        .await?;
    }
    if let Some(open) = &earned.open {
        sqlx::query("DELETE FROM pipeline.audit_open").execute(&mut *transaction).await?;
        sqlx::query("INSERT INTO pipeline.audit_open (row_id) SELECT UNNEST($1::bigint[])")
            .bind(open)
            .execute(&mut *transaction)
            .await?;
    }
    let pending = known.next_pending();
    sqlx::query("UPDATE pipeline.audit_horizon SET pending_id = $1, pending_time = $2, pending_xmax = $3")
        .bind(pending.id)
        .bind(pending.time)
        .bind(pending.xmax)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(id: i64, xmax: i64) -> Candidate {
        Candidate { id, time: OffsetDateTime::UNIX_EPOCH, xmax }
    }

    fn known(pending: Option<Candidate>, oldest: i64) -> Known {
        Known { proofs: BTreeMap::new(), candidate: candidate(90, 500), pending, oldest }
    }

    #[test]
    fn a_mark_passes_an_id_only_when_every_transaction_of_its_time_has_ended() {
        let final_id = |pending, oldest| known(pending, oldest).final_now().id;
        assert_eq!(final_id(None, 499), 0, "one may still commit a smaller id");
        assert_eq!(final_id(None, 500), 90);
        assert_eq!(final_id(Some(candidate(70, 300)), 299), 0);
        assert_eq!(final_id(Some(candidate(70, 300)), 300), 70, "those of the earlier audit have ended");
        assert_eq!(final_id(Some(candidate(70, 300)), 500), 90);
    }

    #[test]
    fn a_candidate_that_was_not_passed_is_asked_for_again() {
        assert_eq!(known(Some(candidate(70, 300)), 299).next_pending().id, 70);
        assert_eq!(known(Some(candidate(70, 300)), 300).next_pending().id, 90);
        assert_eq!(known(None, 1).next_pending().id, 90);
    }
}
