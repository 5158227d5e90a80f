//! What this audit looks at: temporary relations of one shape, whether all is checked or only what is not proven.

use sqlx::{AssertSqlSafe, PgConnection};
use time::OffsetDateTime;

use super::proof::{self, Final, Known};
use crate::Error;

/// Unfinished rows that are remembered one by one; with more the mark stops before the next.
const OPEN_MAX: i64 = 10_000;
/// From so many rows on the checks join whole tables instead of looking rows up.
const LOOKUPS_MAX: i64 = 50_000;

pub struct Scope {
    /// Everything, whatever was proven.
    pub whole: bool,
    pub young: f64,
    /// The marks that this audit begins at.
    pub after_id: i64,
    pub after_time: Option<OffsetDateTime>,
    /// Hash of the subscriptions: another consumer or topic makes what was proven too little.
    pub basis: String,
    /// How far the marks may move.
    pub up_to: Final,
}

impl Scope {
    pub async fn of(snapshot: &mut PgConnection, known: &Known, full: bool, young: f64) -> Result<Self, Error> {
        let basis: String = sqlx::query_scalar(
            "SELECT coalesce(md5(string_agg(consumer || ' ' || topic, ',' ORDER BY consumer, topic)), '') FROM pipeline.subscriptions",
        )
        .fetch_one(&mut *snapshot)
        .await?;
        let events = known.of(proof::EVENTS, "outbox").filter(|proof| !full && proof.basis == basis);
        let settlements = known.of(proof::SETTLEMENTS, "inbox").filter(|_| !full);
        let (after_id, after_time) =
            (events.and_then(|proof| proof.up_to_id).unwrap_or(0), settlements.and_then(|proof| proof.up_to_time));
        let up_to = older(&mut *snapshot, known.final_now(), after_id, young).await?;
        let scope = Self { whole: after_id == 0, young, after_id, after_time, basis, up_to };
        scope.make(snapshot).await?;
        Ok(scope)
    }

    async fn make(&self, snapshot: &mut PgConnection) -> Result<(), Error> {
        const EVENT_COLUMNS: &str = "o.id, o.kind, o.event_id, o.event_type, o.aggregate_type, o.aggregate_id, \
                                     o.aggregate_version, o.consumer, o.attempt, o.topic, o.created_at";
        let old = format!("o.created_at < now() - make_interval(secs => {})", self.young);
        // All is too much to copy: a view. What is left is a table, so that the planner knows how little it is.
        let tail = if self.whole {
            format!(
                "CREATE TEMPORARY VIEW audit_tail AS SELECT {EVENT_COLUMNS} FROM pipeline.outbox_events o WHERE {old}"
            )
        } else {
            format!(
                "CREATE TEMPORARY TABLE audit_tail ON COMMIT DROP AS
                 SELECT {EVENT_COLUMNS} FROM pipeline.outbox_events o WHERE o.id > {after} AND {old}
                 UNION ALL
                 SELECT {EVENT_COLUMNS} FROM pipeline.audit_open w JOIN pipeline.outbox_events o ON o.id = w.row_id
                  WHERE o.id <= {after} AND {old}",
                after = self.after_id
            )
        };
        sqlx::query(AssertSqlSafe(tail)).execute(&mut *snapshot).await?;
        let old = format!("i.settled_at < now() - make_interval(secs => {})", self.young);
        let settled = match self.after_time {
            None => format!("CREATE TEMPORARY VIEW audit_settled AS SELECT i.* FROM pipeline.inbox i WHERE {old}"),
            Some(after) => format!(
                "CREATE TEMPORARY TABLE audit_settled ON COMMIT DROP AS
                 SELECT i.* FROM pipeline.inbox i WHERE i.settled_at > to_timestamp({micros} / 1000000.0) AND {old}",
                micros = after.unix_timestamp_nanos() / 1_000
            ),
        };
        sqlx::query(AssertSqlSafe(settled)).execute(&mut *snapshot).await?;
        sqlx::query(
            r"CREATE TEMPORARY TABLE audit_scope ON COMMIT DROP AS
              SELECT false AS whole, pruned_before > '-infinity' AS pruned, pruned_before
                FROM (SELECT coalesce(max(before)::timestamp AT TIME ZONE 'UTC', '-infinity') AS pruned_before
                        FROM pipeline.dropped_days) AS dropped",
        )
        .execute(&mut *snapshot)
        .await?;
        if self.whole {
            sqlx::query("UPDATE audit_scope SET whole = true").execute(&mut *snapshot).await?;
        } else {
            sqlx::query("ANALYZE audit_tail").execute(&mut *snapshot).await?;
        }
        if self.after_time.is_some() {
            sqlx::query("ANALYZE audit_settled").execute(&mut *snapshot).await?;
        }
        Ok(())
    }

    /// Few rows are looked up. Many are compared as wholes, but the checks' LIMIT makes the planner hope for an early end
    /// and look them up one by one all the same: in a good ledger that end never comes.
    pub async fn plan_joins(&self, snapshot: &mut PgConnection) -> Result<(), Error> {
        let many = self.whole || self.after_time.is_none() || {
            let rows: i64 = sqlx::query_scalar(
                "SELECT greatest((SELECT count(*) FROM audit_tail), (SELECT count(*) FROM audit_settled))",
            )
            .fetch_one(&mut *snapshot)
            .await?;
            rows > LOOKUPS_MAX
        };
        hash_joins(snapshot, many).await
    }

    /// Unfinished rows up to `mark`, and the mark itself, which is lower when there are too many of them.
    pub async fn unfinished(&self, snapshot: &mut PgConnection, mark: i64) -> Result<(Vec<i64>, i64), Error> {
        let mut open: Vec<i64> = sqlx::query_scalar(
            r"SELECT id FROM (
                  SELECT t.id FROM audit_tail t JOIN pipeline.outbox_unpublished u ON u.id = t.id WHERE t.id <= $1
                  UNION
                  SELECT t.id
                    FROM audit_tail t
                    JOIN pipeline.subscriptions s ON s.topic = t.topic
                    LEFT JOIN pipeline.inbox i ON i.consumer = s.consumer AND i.event_id = t.event_id
                         AND i.outcome IN ('done', 'skipped', 'dead', 'discarded')
                   WHERE t.id <= $1 AND t.kind = 'event' AND i.event_id IS NULL
                  UNION
                  SELECT w.row_id FROM pipeline.audit_open w JOIN pipeline.outbox_events o ON o.id = w.row_id
                   WHERE o.created_at >= now() - make_interval(secs => $2) AND w.row_id <= $1) AS unfinished (id)
               ORDER BY id LIMIT $3",
        )
        .bind(mark)
        .bind(self.young)
        .bind(OPEN_MAX + 1)
        .fetch_all(snapshot)
        .await?;
        let too_many = i64::try_from(open.len()).unwrap_or(i64::MAX) > OPEN_MAX;
        let mark = if too_many { open.pop().map_or(mark, |next| next - 1) } else { mark };
        Ok((open, mark))
    }
}

pub async fn hash_joins(connection: &mut PgConnection, only: bool) -> Result<(), Error> {
    let nested_loops = if only { "SET LOCAL enable_nestloop = off" } else { "SET LOCAL enable_nestloop = on" };
    sqlx::query(nested_loops).execute(&mut *connection).await?;
    sqlx::query("SET LOCAL work_mem = '64MB'").execute(connection).await?;
    Ok(())
}

/// What is young was left out, so no mark may pass it.
async fn older(snapshot: &mut PgConnection, up_to: Final, after: i64, young: f64) -> Result<Final, Error> {
    let (first_young, limit): (Option<i64>, OffsetDateTime) = sqlx::query_as(
        r"SELECT (SELECT min(id) FROM pipeline.outbox_events WHERE id > $2 AND created_at >= now() - make_interval(secs => $1)),
                 now() - make_interval(secs => $1)",
    )
    .bind(young)
    .bind(after)
    .fetch_one(snapshot)
    .await?;
    let id = first_young.map_or(up_to.id, |first| up_to.id.min(first - 1));
    Ok(Final { id, time: up_to.time.map(|time| time.min(limit)) })
}
