use std::{fmt, time::Duration};

use secrecy::SecretString;
use sqlx::{PgExecutor, Row, postgres::PgRow};
use uuid::Uuid;

/// A delivery that this process may attempt until its lease ends.
#[derive(Clone)]
pub struct Claimed {
    pub id: Uuid,
    pub subscription_id: Uuid,
    pub event_type: String,
    pub url: String,
    pub secret: SecretString,
    pub body: String,
    pub traceparent: Option<String>,
    /// Attempts begun, this one included.
    pub attempts: u32,
    pub epoch: i64,
    /// An earlier attempt was never marked: its dispatcher died or lost the database, and the endpoint may have got it.
    pub repeats_unknown: bool,
}

/// URL, secret and body are the subscriber's.
impl fmt::Debug for Claimed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claimed")
            .field("id", &self.id)
            .field("subscription_id", &self.subscription_id)
            .field("event_type", &self.event_type)
            .field("attempts", &self.attempts)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

/// How many deliveries may be claimed.
#[derive(Debug, Clone, Default)]
pub struct Room {
    pub total: i64,
    pub per_subscription: i64,
    /// Subscriptions with another room than that.
    pub except: (Vec<Uuid>, Vec<i64>),
}

/// Takes due deliveries, the longest due first, and leaves each with a lease and a higher epoch. One short statement of
/// its own: nothing is locked while the deliveries are sent.
///
/// The table is not scanned: the index is stepped through from one waiting subscription to the next, so the cost is that
/// of their number, not of the backlog behind a dead endpoint. There are more candidates than wanted, for what others
/// lock at this moment; only what is taken is locked, as a lock is a write.
pub async fn claim(executor: impl PgExecutor<'_>, room: Room, lease: Duration) -> Result<Vec<Claimed>, sqlx::Error> {
    sqlx::query(
        r"WITH RECURSIVE waiting AS (
              (SELECT subscription_id FROM webhooks.deliveries WHERE status = 'pending' ORDER BY subscription_id LIMIT 1)
              UNION ALL
              SELECT (SELECT d.subscription_id FROM webhooks.deliveries d
                       WHERE d.status = 'pending' AND d.subscription_id > w.subscription_id
                       ORDER BY d.subscription_id LIMIT 1)
                FROM waiting w WHERE w.subscription_id IS NOT NULL
          ), rooms AS (
              SELECT w.subscription_id, COALESCE(e.room, $2) AS room
                FROM waiting w
                LEFT JOIN UNNEST($3::uuid[], $4::bigint[]) AS e (subscription_id, room) USING (subscription_id)
               WHERE w.subscription_id IS NOT NULL AND COALESCE(e.room, $2) > 0
          ), candidates AS (
              SELECT d.id
                FROM rooms r
               CROSS JOIN LATERAL (
                     SELECT id, next_attempt_at
                       FROM webhooks.deliveries
                      WHERE subscription_id = r.subscription_id AND status = 'pending' AND next_attempt_at <= now()
                      ORDER BY next_attempt_at
                      LIMIT r.room) d
               ORDER BY d.next_attempt_at
               LIMIT $1 * 4
          ), due AS MATERIALIZED (
              SELECT d.id, d.claimed_at IS NOT NULL AS repeats_unknown
                FROM candidates c
                JOIN webhooks.deliveries d USING (id)
               WHERE d.status = 'pending' AND d.next_attempt_at <= now()
               ORDER BY d.next_attempt_at
               LIMIT $1
                 FOR UPDATE OF d SKIP LOCKED
          )
          UPDATE webhooks.deliveries d
             SET attempts = d.attempts + 1, lease_epoch = d.lease_epoch + 1, claimed_at = clock_timestamp(),
                 next_attempt_at = clock_timestamp() + make_interval(secs => $5)
            FROM due, webhooks.subscriptions s
           WHERE d.id = due.id AND s.id = d.subscription_id
          RETURNING d.id, d.subscription_id, d.event_type, s.url, s.secret, d.body, d.traceparent, d.attempts,
                    d.lease_epoch, due.repeats_unknown",
    )
    .bind(room.total)
    .bind(room.per_subscription)
    .bind(room.except.0)
    .bind(room.except.1)
    .bind(lease.as_secs_f64())
    .try_map(|row: PgRow| {
        Ok(Claimed {
            id: row.try_get("id")?,
            subscription_id: row.try_get("subscription_id")?,
            event_type: row.try_get("event_type")?,
            url: row.try_get("url")?,
            secret: SecretString::from(row.try_get::<String, _>("secret")?),
            body: row.try_get("body")?,
            traceparent: row.try_get("traceparent")?,
            attempts: row.try_get::<i32, _>("attempts")?.unsigned_abs(),
            epoch: row.try_get("lease_epoch")?,
            repeats_unknown: row.try_get("repeats_unknown")?,
        })
    })
    .fetch_all(executor)
    .await
}
