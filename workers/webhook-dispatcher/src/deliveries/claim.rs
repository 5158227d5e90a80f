use std::{fmt, time::Duration};

use secrecy::SecretString;
use sqlx::{PgExecutor, Row, postgres::PgRow};
use uuid::Uuid;

/// A delivery that this process may attempt until its lease ends.
#[derive(Clone)]
pub struct Claimed {
    pub id: Uuid,
    pub subscription_id: Uuid,
    pub tenant: String,
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
    /// Attempts that a tenant may have out, these included…
    pub per_tenant: i64,
    /// …and how many the tenants have out that have any.
    pub busy: (Vec<String>, Vec<i64>),
}

/// Takes due deliveries and leaves each with a lease and a higher epoch. One short statement of its own: nothing is
/// locked while the deliveries are sent.
///
/// A slot goes to the tenant that has the fewest attempts out, and there to the delivery that is due for the longest time.
/// Else the backlog of one tenant, which is the oldest as it hangs, would come before everybody's.
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
              SELECT s.id AS subscription_id, s.tenant, COALESCE(t.busy, 0) AS busy,
                     LEAST(COALESCE(e.room, $2), $6 - COALESCE(t.busy, 0)) AS room
                FROM waiting w
                JOIN webhooks.subscriptions s ON s.id = w.subscription_id AND s.deleted_at IS NULL
                LEFT JOIN UNNEST($3::uuid[], $4::bigint[]) AS e (subscription_id, room) ON e.subscription_id = s.id
                LEFT JOIN UNNEST($7::text[], $8::bigint[]) AS t (tenant, busy) ON t.tenant = s.tenant
          ), queues AS (
              SELECT d.id, d.next_attempt_at,
                     r.busy + row_number() OVER (PARTITION BY r.tenant ORDER BY d.next_attempt_at, d.id) AS place
                FROM rooms r
               CROSS JOIN LATERAL (
                     SELECT id, next_attempt_at
                       FROM webhooks.deliveries
                      WHERE subscription_id = r.subscription_id AND status = 'pending' AND next_attempt_at <= now()
                      ORDER BY next_attempt_at
                      LIMIT GREATEST(r.room, 0)) d
          ), candidates AS (
              SELECT id, place FROM queues WHERE place <= $6 ORDER BY place, next_attempt_at LIMIT $1 * 4
          ), due AS MATERIALIZED (
              SELECT d.id, d.claimed_at IS NOT NULL AS repeats_unknown
                FROM candidates c
                JOIN webhooks.deliveries d USING (id)
               WHERE d.status = 'pending' AND d.next_attempt_at <= now()
               ORDER BY c.place, d.next_attempt_at
               LIMIT $1
                 FOR UPDATE OF d SKIP LOCKED
          )
          UPDATE webhooks.deliveries d
             SET attempts = d.attempts + 1, lease_epoch = d.lease_epoch + 1, claimed_at = clock_timestamp(),
                 next_attempt_at = clock_timestamp() + make_interval(secs => $5)
            FROM due, webhooks.subscriptions s
           WHERE d.id = due.id AND s.id = d.subscription_id
          RETURNING d.id, d.subscription_id, s.tenant, d.event_type, s.url, s.secret, d.body, d.traceparent, d.attempts,
                    d.lease_epoch, due.repeats_unknown",
    )
    .bind(room.total)
    .bind(room.per_subscription)
    .bind(room.except.0)
    .bind(room.except.1)
    .bind(lease.as_secs_f64())
    .bind(room.per_tenant)
    .bind(room.busy.0)
    .bind(room.busy.1)
    .try_map(|row: PgRow| {
        Ok(Claimed {
            id: row.try_get("id")?,
            subscription_id: row.try_get("subscription_id")?,
            tenant: row.try_get("tenant")?,
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
