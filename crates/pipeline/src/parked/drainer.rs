use std::{sync::Arc, time::Duration};

use sqlx::Acquire;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    bury::{Buried, Step},
    lease::{self, Lease},
    resume::{Found, Head, Resumed},
    stored::{Stored, stored_columns},
};
use crate::{
    Class, Failure, Handler, Outcome, ParkedConfig, metric, of_database,
    process::{Processor, Tried},
    settle::Settler,
};

const MEASURE_EVERY: Duration = Duration::from_secs(5);
/// Of a key whose head an operator pauses.
const PAUSED_WAIT: Duration = Duration::from_secs(1);
/// Keys that a process remembers as parked. Behind others a message is tried once in vain.
const HINTS_MAX: i64 = 10_000;

/// An unordered consumer parks nothing. But operators put dead letters back by way of the park, and a consumer that was
/// ordered may have left keys there.
const RARELY: u32 = 30;

/// How a key was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drained {
    GoOn,
    /// Something that every message needs is away: no further key until the next poll.
    Away,
}

type Draining = JoinSet<Result<Drained, Failure>>;

/// Brings parked keys on, in every member of a consumer: a lease for each key, one message after the other.
pub(crate) struct Drainer<H: Handler> {
    pub processor: Arc<Processor<H>>,
    pub settler: Arc<Settler<H>>,
    pub config: ParkedConfig,
    pub owner: Uuid,
}

impl<H: Handler> Drainer<H> {
    /// Until the process is to end.
    ///
    /// # Errors
    /// A failure for which the process must exit.
    pub async fn run(self) -> anyhow::Result<()> {
        let drainer = Arc::new(self);
        let shutdown = drainer.processor.shutdown.clone();
        let poll = drainer.config.poll * if H::POLICY.is_ordered() { 1 } else { RARELY };
        let mut draining: Draining = JoinSet::new();
        let mut measured_at: Option<Instant> = None;
        let mut beat = tokio::time::interval(poll.max(Duration::from_millis(1)));
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // There may be more keys that are due than were taken.
        let mut more = false;
        loop {
            let polled = tokio::select! {
                _ = beat.tick() => true,
                () = shutdown.cancelled() => break,
                Some(ended) = draining.join_next(), if more => {
                    more &= only_fatal(ended)? == Drained::GoOn;
                    false
                }
            };
            while let Some(ended) = draining.try_join_next() {
                more &= only_fatal(ended)? == Drained::GoOn;
            }
            if !polled && !more {
                continue;
            }
            match drainer.look(&mut draining, polled).await {
                Ok(full) => more = full,
                Err(error) => {
                    let failure = of_database(&error);
                    anyhow::ensure!(failure.class != Class::Fatal, failure);
                    tracing::warn!(reason = failure.reason, detail = %failure.detail, "waiting");
                    more = false;
                }
            }
            if measured_at.is_none_or(|at| at.elapsed() >= MEASURE_EVERY) {
                measured_at = Some(Instant::now());
                drainer.measure().await;
            }
        }
        while let Some(ended) = draining.join_next().await {
            only_fatal(ended)?;
        }
        Ok(())
    }

    /// Takes as many due keys as there is room for; says whether there may be more.
    async fn look(self: &Arc<Self>, draining: &mut Draining, polled: bool) -> Result<bool, sqlx::Error> {
        if polled && !self.remember().await? {
            return Ok(false);
        }
        let room = self.config.concurrency.max(1).saturating_sub(draining.len());
        if room == 0 {
            return Ok(true);
        }
        let pool = &self.settler.pool;
        let leases = lease::take(pool, self.settler.consumer, self.owner, room, &self.config).await?;
        let full = leases.len() == room;
        for lease in leases {
            draining.spawn(Arc::clone(self).drain(lease));
        }
        Ok(full)
    }

    /// What is parked, for the processors. Whether anything is.
    async fn remember(&self) -> Result<bool, sqlx::Error> {
        let read_at = self.settler.parked.now();
        let parked: Vec<Vec<u8>> =
            sqlx::query_scalar("SELECT key FROM pipeline.parked_keys WHERE consumer = $1 LIMIT $2")
                .bind(self.settler.consumer)
                .bind(HINTS_MAX)
                .fetch_all(&self.settler.pool)
                .await?;
        let any = !parked.is_empty();
        self.settler.parked.replace(read_at, parked);
        Ok(any)
    }

    async fn measure(&self) {
        let asked: Result<(i64, i64, f64), sqlx::Error> = sqlx::query_as(
            r"SELECT count(*), COALESCE(sum(messages), 0)::bigint,
                     COALESCE(EXTRACT(epoch FROM clock_timestamp() - min(since)), 0)::float8
                FROM pipeline.parked_keys WHERE consumer = $1",
        )
        .bind(self.settler.consumer)
        .fetch_one(&self.settler.pool)
        .await;
        let Ok((keys, messages, oldest_seconds)) = asked else { return };
        let size = |n: i64| metric::count(usize::try_from(n).unwrap_or(0));
        metrics::gauge!(metric::PARKED_KEYS, "consumer" => self.settler.consumer).set(size(keys));
        metrics::gauge!(metric::PARKED_MESSAGES, "consumer" => self.settler.consumer).set(size(messages));
        metrics::gauge!(metric::PARKED_OLDEST_SECONDS, "consumer" => self.settler.consumer).set(oldest_seconds);
    }

    /// Only a fatal failure comes out of it: after any other the lease runs out, and somebody tries again.
    async fn drain(self: Arc<Self>, lease: Lease) -> Result<Drained, Failure> {
        let (pool, consumer) = (&self.settler.pool, self.settler.consumer);
        // A lost lease ends a try, never a settlement: that one is fenced, and its end must be accounted for.
        let lost = CancellationToken::new();
        let keeping = async {
            lease.keep(pool, consumer, self.config.lease).await;
            lost.cancel();
            std::future::pending().await
        };
        let ended = tokio::select! {
            ended = self.in_order(&lease, &lost) => ended,
            ended = keeping => ended,
        };
        match ended {
            Err(failure) if failure.class != Class::Fatal => {
                tracing::warn!(consumer, reason = failure.reason, detail = %failure.detail, "a parked key waits");
                Ok(Drained::Away)
            }
            other => other,
        }
    }

    async fn in_order(&self, lease: &Lease, lost: &CancellationToken) -> Result<Drained, Failure> {
        let (pool, consumer) = (&self.settler.pool, self.settler.consumer);
        loop {
            if self.processor.shutdown.is_cancelled() {
                lease.put_off(pool, consumer, Duration::ZERO).await.map_err(|e| of_database(&e))?;
                return Ok(Drained::GoOn);
            }
            let (step, attempts, head) = match self.next(lease).await.map_err(|e| of_database(&e))? {
                Some(next) => next,
                None => return Ok(Drained::GoOn),
            };
            match (step, head) {
                (Step::Leave, _) => return Ok(Drained::GoOn),
                (Step::Bury(bound), _) => match self.settler.bury(lease, bound).await? {
                    Buried::Partly => {}
                    Buried::Fenced => return Ok(Drained::GoOn),
                    Buried::Wholly => {
                        tracing::error!(consumer, %bound, "a parked key became dead letters, as one group");
                        self.settler.wake.notify_one();
                        self.settler.parked.released(&lease.key);
                        return Ok(Drained::GoOn);
                    }
                },
                (Step::Try, Some(head)) => {
                    if let Some(drained) = self.one(lease, lost, &head, attempts).await? {
                        return Ok(drained);
                    }
                }
                // A key without messages, as one that an operator emptied by hand.
                (Step::Try, None) => {
                    self.settler.parked.released(&lease.key);
                    lease.release_empty(pool, consumer).await.map_err(|e| of_database(&e))?;
                    return Ok(Drained::GoOn);
                }
            }
        }
    }

    /// What is to be done next, the attempts of the head so far, and the head. Nothing when the key is not ours any more.
    async fn next(&self, lease: &Lease) -> Result<Option<(Step, u32, Option<Head>)>, sqlx::Error> {
        let mut connection = self.settler.pool.acquire().await?;
        let mut transaction = connection.begin().await?;
        let Some(parked) = lease.lock(&mut transaction, self.settler.consumer).await? else { return Ok(None) };
        let stored: Option<Stored> = sqlx::query_as(concat!(
            "SELECT",
            stored_columns!(),
            "FROM pipeline.parked_messages WHERE consumer = $1 AND key = $2 ORDER BY seq LIMIT 1"
        ))
        .bind(self.settler.consumer)
        .bind(&lease.key)
        .fetch_optional(&mut *transaction)
        .await?;
        transaction.rollback().await?;
        let head = stored.map(|stored| {
            let (seq, record, identity) = stored.into_parts();
            Head { seq, record, identity }
        });
        Ok(Some((parked.step(&self.config), u32::try_from(parked.attempts).unwrap_or(0), head)))
    }

    /// One try of a head, to its end. Nothing while the key is still ours to go on with.
    async fn one(
        &self,
        lease: &Lease,
        lost: &CancellationToken,
        head: &Head,
        attempts: u32,
    ) -> Result<Option<Drained>, Failure> {
        let (pool, consumer) = (&self.settler.pool, self.settler.consumer);
        if self.processor.gate.pauses(&head.record) {
            lease.put_off(pool, consumer, PAUSED_WAIT).await.map_err(|e| of_database(&e))?;
            return Ok(Some(Drained::GoOn));
        }
        let tried = tokio::select! {
            tried = self.processor.try_parked(&head.record) => tried,
            // Nothing is lost: the next member begins again.
            () = self.processor.shutdown.cancelled() => return Ok(None),
            () = lost.cancelled() => {
                tracing::warn!(consumer = self.settler.consumer, "the lease of a parked key was lost");
                return Ok(Some(Drained::GoOn));
            }
        };
        let failure = match self.settle(lease, head, tried).await {
            Ok(Resumed::Next) => return Ok(None),
            Ok(Resumed::Released) => {
                self.settler.parked.released(&lease.key);
                return Ok(Some(Drained::GoOn));
            }
            Ok(Resumed::Fenced | Resumed::Held) => return Ok(Some(Drained::GoOn)),
            Err(failure) => failure,
        };
        self.processor.count_failed_try(&failure);
        let waits = self.config.waits();
        let put_off = match failure.class {
            Class::Fatal => return Err(failure),
            // The message is not to blame and loses no attempt.
            Class::Unavailable => lease.put_off(pool, consumer, waits.wait(0, rand::random())).await,
            Class::Transient | Class::Poison => {
                let given_up = attempts.saturating_add(1) >= self.config.attempts_max;
                let wait = if given_up { Duration::ZERO } else { waits.wait(attempts + 1, rand::random()) };
                let event_id = head.identity.event_id;
                tracing::warn!(
                    consumer, %event_id, reason = failure.reason, detail = %failure.detail, attempts,
                    "a parked message failed again, and its key waits on"
                );
                lease.failed(pool, consumer, wait, event_id, failure.reason, &failure.detail).await
            }
        };
        put_off.map_err(|e| of_database(&e))?;
        Ok(Some(if failure.class == Class::Unavailable { Drained::Away } else { Drained::GoOn }))
    }

    async fn settle(&self, lease: &Lease, head: &Head, tried: Outcome<Tried<H>>) -> Result<Resumed, Failure> {
        let recorded = match tried {
            Ok(tried) => {
                let found = Found::Worked(Box::new(tried));
                match self.settler.resume(lease, head, &found).await {
                    Ok(resumed) => {
                        self.settler.resumed(&found, resumed).await;
                        return Ok(resumed);
                    }
                    Err(failure) => failure,
                }
            }
            Err(failure) => failure,
        };
        if recorded.class != Class::Poison {
            return Err(recorded);
        }
        let fate = H::POLICY.fate(recorded.class, head.record.attempt());
        let event_id = head.identity.event_id;
        tracing::error!(
            consumer = self.settler.consumer, %event_id, reason = recorded.reason, detail = %recorded.detail, "dead letter"
        );
        let found = Found::Dead(recorded, fate);
        let resumed = self.settler.resume(lease, head, &found).await?;
        self.settler.resumed(&found, resumed).await;
        Ok(resumed)
    }
}

/// A panic in a drain is a bug of ours: it ends the process as a fatal failure does.
fn only_fatal(ended: Result<Result<Drained, Failure>, tokio::task::JoinError>) -> anyhow::Result<Drained> {
    Ok(ended??)
}
