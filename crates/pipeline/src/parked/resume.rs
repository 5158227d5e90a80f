use std::panic::AssertUnwindSafe;

use docfleet_outbox::insert_rows;
use futures::FutureExt;
use sqlx::{Connection, PgConnection};

use super::{lease::Lease, outcomes::Outcomes};
use crate::{
    Failure, Handler, Record,
    fate::Fate,
    message::Identity,
    metric,
    process::Tried,
    settle::{COMMITTED_TIMEOUT, Settlement, Settler, TRANSACTION_TIMEOUT, of_outbox, panicked, settled_in_time},
};

/// The head of a parked key.
pub(super) struct Head {
    pub seq: i64,
    pub record: Record,
    /// As its outcome stands in the inbox.
    pub identity: Identity,
}

/// What the drainer found out about a head.
pub(super) enum Found<H: Handler> {
    Worked(Box<Tried<H>>),
    /// With [`Fate::DeadLetter`] or [`Fate::DeadLetterAndHold`].
    Dead(Failure, Fate),
}

/// How a key stands after one of its messages was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resumed {
    /// The key is not ours any more; nothing was done.
    Fenced,
    Next,
    /// That was the last one: the key is free.
    Released,
    /// The head died, and the key waits for an operator.
    Held,
}

impl<H: Handler> Settler<H> {
    /// Effect, outcome and the end of the parked row, in one transaction, and only while the key is ours. May be repeated
    /// after any error.
    pub(super) async fn resume(&self, lease: &Lease, head: &Head, found: &Found<H>) -> Result<Resumed, Failure> {
        let mut connection = self.pool.acquire().await.map_err(|e| crate::of_database(&e))?;
        let answered =
            tokio::time::timeout(TRANSACTION_TIMEOUT, self.resume_in(&mut connection, lease, head, found)).await;
        settled_in_time(answered, connection)
    }

    /// After the commit.
    pub(super) async fn resumed(&self, found: &Found<H>, resumed: Resumed) {
        if resumed == Resumed::Fenced {
            return;
        }
        self.wake.notify_one();
        let outcome = match found {
            Found::Worked(tried) => {
                let fresh = std::slice::from_ref(&tried.worked);
                if tokio::time::timeout(COMMITTED_TIMEOUT, self.handler.committed(fresh)).await.is_err() {
                    tracing::warn!(consumer = self.consumer, "what follows the commit takes too long; left out");
                }
                "done"
            }
            Found::Dead(..) => "dead",
        };
        let labels = [("consumer", self.consumer), ("outcome", outcome)];
        metrics::counter!(metric::PARKED_RESUMED_TOTAL, &labels).increment(1);
    }

    async fn resume_in(
        &self,
        connection: &mut PgConnection,
        lease: &Lease,
        head: &Head,
        found: &Found<H>,
    ) -> Result<Resumed, Failure> {
        let database = |error: sqlx::Error| crate::of_database(&error);
        let mut transaction = connection.begin().await.map_err(database)?;
        if lease.lock(&mut transaction, self.consumer).await.map_err(database)?.is_none() {
            return Ok(Resumed::Fenced);
        }
        if self.claim_parked(&mut transaction, head, found).await.map_err(database)? {
            match found {
                Found::Worked(tried) => {
                    let mut settlement = Settlement::new(&mut transaction, self.consumer, None);
                    let recording = self.handler.record(std::slice::from_ref(&tried.worked), &mut settlement);
                    AssertUnwindSafe(recording).catch_unwind().await.unwrap_or_else(|_| Err(panicked()))?;
                    let drafts = settlement.into_drafts();
                    self.outbox.append(&mut transaction, drafts).await.map_err(of_outbox)?;
                }
                Found::Dead(failure, _) => {
                    let letter = self.carrier().to_dead_letters(&head.record, &head.identity, failure.into());
                    insert_rows(&mut transaction, vec![letter]).await.map_err(database)?;
                }
            }
        }
        let resumed = self.advance(&mut transaction, lease, head, found).await.map_err(database)?;
        transaction.commit().await.map_err(database)?;
        Ok(resumed)
    }

    /// Whether the outcome is ours to give. It is not when somebody has decided about the message meanwhile.
    async fn claim_parked(
        &self,
        connection: &mut PgConnection,
        head: &Head,
        found: &Found<H>,
    ) -> Result<bool, sqlx::Error> {
        let was = &head.identity;
        let (is, outcome, reason) = match found {
            Found::Worked(tried) => (&tried.identity, "done", None),
            Found::Dead(failure, _) => (was, "dead", Some(failure.reason)),
        };
        if is.event_id != was.event_id {
            let skipped = Outcomes::of_one(&head.record, was, "skipped", Some("decoded-later"));
            if skipped.claim(&mut *connection, self.consumer).await?.is_empty() {
                return Ok(false);
            }
        }
        let outcome = Outcomes::of_one(&head.record, is, outcome, reason);
        Ok(!outcome.claim(connection, self.consumer).await?.is_empty())
    }

    /// Takes the message out of the park, and releases the key behind the last one. Whoever appends waits for the lock
    /// that [`Lease::lock`] took, so what is not visible here comes to a free key.
    async fn advance(
        &self,
        connection: &mut PgConnection,
        lease: &Lease,
        head: &Head,
        found: &Found<H>,
    ) -> Result<Resumed, sqlx::Error> {
        sqlx::query("DELETE FROM pipeline.parked_messages WHERE consumer = $1 AND key = $2 AND seq = $3")
            .bind(self.consumer)
            .bind(&lease.key)
            .bind(head.seq)
            .execute(&mut *connection)
            .await?;
        if let Found::Dead(failure, Fate::DeadLetterAndHold) = found {
            sqlx::query(
                r"UPDATE pipeline.parked_keys
                     SET state = 'held', messages = messages - 1, attempts = 0, head_since = clock_timestamp(),
                         event_id = $3, reason = $4, detail = $5, lease_owner = NULL, lease_until = '-infinity'
                   WHERE consumer = $1 AND key = $2",
            )
            .bind(self.consumer)
            .bind(&lease.key)
            .bind(head.identity.event_id)
            .bind(failure.reason)
            .bind(&failure.detail)
            .execute(connection)
            .await?;
            return Ok(Resumed::Held);
        }
        let released = sqlx::query(
            r"DELETE FROM pipeline.parked_keys k
               WHERE k.consumer = $1 AND k.key = $2
                 AND NOT EXISTS (SELECT FROM pipeline.parked_messages m WHERE m.consumer = $1 AND m.key = $2)",
        )
        .bind(self.consumer)
        .bind(&lease.key)
        .execute(&mut *connection)
        .await?;
        if released.rows_affected() > 0 {
            return Ok(Resumed::Released);
        }
        sqlx::query(
            r"UPDATE pipeline.parked_keys k
                 SET messages = messages - 1, attempts = 0, head_since = clock_timestamp(),
                     event_id = (SELECT m.event_id FROM pipeline.parked_messages m
                                  WHERE m.consumer = $1 AND m.key = $2 ORDER BY m.seq LIMIT 1)
               WHERE k.consumer = $1 AND k.key = $2",
        )
        .bind(self.consumer)
        .bind(&lease.key)
        .execute(connection)
        .await?;
        Ok(Resumed::Next)
    }
}
