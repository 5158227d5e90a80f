//! What was decided about messages becomes durable: inbox, effect and outbox in one transaction.
//!
//! `run` (here, gathers) → `batch` (what may go together) → `transaction` (the statements) with `failed` (retries and dead
//! letters as outbox rows) and, of an ordered consumer, `parked` → the driver.

mod batch;
mod failed;
mod meters;
mod settlement;
mod transaction;

use std::{sync::Arc, time::Duration};

use docfleet_outbox::Outbox;
use docfleet_telemetry::trace;
use sqlx::PgPool;
use tokio::{
    sync::{Notify, Semaphore, mpsc},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

pub(crate) use batch::digest_of;
pub(crate) use failed::{Carrier, Why};
pub(crate) use meters::Meters;
pub use settlement::Settlement;
pub(crate) use transaction::{of_outbox, panicked, settled_in_time};

use batch::{Batch, End, Item, Settled, take_batch};

use crate::{
    Class, Failure, Handler, RetryConfig, clock,
    consumer::{Hold, Progress},
    failure,
    fate::Fate,
    gate::{self, DROPPED, Turn},
    metric,
    parked::{self, Hints},
    process::Finished,
};

/// A settlement that takes longer is given up and tried again; the inbox tells whether it had succeeded.
pub(crate) const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(30);
/// Settlements in a row that a database may be too busy for, before they count as failed tries.
const BUSY_MAX: u32 = 3;
pub(crate) const COMMITTED_TIMEOUT: Duration = Duration::from_secs(5);
/// Tries of `record` for one message, alone, before its failure counts against the message.
const RECORD_TRIES: u32 = 3;

pub(crate) struct Settler<H: Handler> {
    pub handler: Arc<H>,
    pub consumer: &'static str,
    pub pool: PgPool,
    pub outbox: Outbox,
    pub topic_prefix: String,
    pub retry: RetryConfig,
    pub shutdown: CancellationToken,
    pub progress: Progress,
    /// Wakes the relays, after the commit.
    pub wake: Arc<Notify>,
    /// What is parked, as this process believes.
    pub parked: Hints,
    /// Of a key's head, until the drainer tries it.
    pub park_wait: Duration,
    pub meters: Meters,
    pub gate: gate::Handle,
}

impl<H: Handler> Settler<H> {
    /// Settles what arrives, until all senders are gone. While all settlers are busy messages gather, so that batches
    /// grow with the load and a lone message is settled at once.
    pub async fn run(self: Arc<Self>, mut finished: mpsc::Receiver<Finished<H>>, batch_max: usize, settlers: usize) {
        let slots = Arc::new(Semaphore::new(settlers.max(1)));
        let mut running = JoinSet::new();
        let mut waiting = Vec::new();
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { break };
            let room = batch_max.max(1).saturating_sub(waiting.len());
            if waiting.is_empty() && finished.recv_many(&mut waiting, room).await == 0 {
                break;
            }
            while waiting.len() < batch_max
                && let Ok(more) = finished.try_recv()
            {
                waiting.push(more);
            }
            let batch = take_batch(&mut waiting);
            let settler = Arc::clone(&self);
            running.spawn(async move {
                settler.settle(batch).await;
                drop(slot);
            });
            while running.try_join_next().is_some() {}
        }
        while running.join_next().await.is_some() {}
    }

    /// A batch that fails is halved until the message that is to blame is alone.
    async fn settle(&self, batch: Batch<H>) {
        self.meters.batch_messages.record(metric::count(batch.items.len()));
        let mut open = vec![batch];
        while let Some(batch) = open.pop() {
            let Err((batch, failure)) = self.try_settle(batch).await else { continue };
            match failure.class {
                // The process is to end, whatever the size of the batch.
                Class::Unavailable => batch.abandon(),
                Class::Fatal => batch.fatal(&failure),
                Class::Transient | Class::Poison if batch.items.len() > 1 => {
                    tracing::warn!(
                        consumer = self.consumer, reason = failure.reason, detail = %failure.detail,
                        size = batch.items.len(), "a settlement failed; settling it by halves"
                    );
                    let (first, second) = batch.halves();
                    open.push(second);
                    open.push(first);
                }
                Class::Transient | Class::Poison => self.settle_failed(batch, failure).await,
            }
        }
    }

    /// Gives the batch back, untouched, when it can not be settled as it is.
    async fn try_settle(&self, mut batch: Batch<H>) -> Result<(), (Batch<H>, Failure)> {
        match self.until_available(&mut batch).await {
            Ok(settled) => {
                self.conclude(batch, &settled).await;
                Ok(())
            }
            Err(failure) => Err((batch, failure)),
        }
    }

    /// `record` failed for one message: try again, then let the failure decide its fate.
    async fn settle_failed(&self, mut batch: Batch<H>, mut failure: Failure) {
        let mut tries = 1;
        while failure.class == Class::Transient && tries < RECORD_TRIES {
            tokio::time::sleep(self.retry.wait(tries - 1, rand::random())).await;
            (batch, failure) = match self.try_settle(batch).await {
                Ok(()) => return,
                Err(again) => again,
            };
            tries += 1;
        }
        let Some(mut item) = batch.items.pop() else { return };
        match H::POLICY.fate(failure.class, item.record.attempt()) {
            Fate::Abandon => item.in_flight.abandon(),
            Fate::Exit => item.in_flight.fatal(failure),
            fate if self.gate.holds(item.in_flight.turn(), &failure, fate) => {
                item.in_flight.hold(item.record, Hold::Breaker(failure.reason));
            }
            fate @ (Fate::Retry(_) | Fate::Park | Fate::DeadLetter | Fate::DeadLetterAndHold) => {
                item.end = End::Failed(failure, fate);
                self.settle_fate(Batch { items: vec![item], worked: Vec::new() }).await;
            }
        }
    }

    /// The handler has no part in it any more, so what fails is the database or a bug: never lose the message. A database that is
    /// there and too busy is waited for like one that is away; to end the process would only make it busier.
    async fn settle_fate(&self, mut batch: Batch<H>) {
        for waits in 0.. {
            match self.try_settle(batch).await {
                Ok(()) => return,
                Err((again, failure)) if failure.class == Class::Unavailable || self.shutdown.is_cancelled() => {
                    tracing::warn!(consumer = self.consumer, reason = failure.reason, "abandoned; it comes again");
                    return again.abandon();
                }
                Err((again, failure)) if failure.reason == failure::DATABASE_BUSY => batch = again,
                Err((again, failure)) => return again.fatal(&failure),
            }
            tokio::time::sleep(self.retry.wait(waits, rand::random())).await;
        }
    }

    /// Repeats while the database is away. Nothing is lost by waiting: the budget closes and the partitions pause.
    async fn until_available(&self, batch: &mut Batch<H>) -> Result<Settled, Failure> {
        let (mut waits, mut busy) = (0, 0);
        loop {
            let failure = match self.transact(batch).await {
                Ok(settled) => return Ok(settled),
                Err(failure) if failure.class != Class::Unavailable => return Err(failure),
                Err(failure) => failure,
            };
            // The server is there, so it may be this batch that it can not do.
            busy = if failure.reason == failure::DATABASE_BUSY { busy + 1 } else { 0 };
            if busy >= BUSY_MAX {
                return Err(Failure { class: Class::Transient, ..failure });
            }
            self.gate.unavailable();
            self.progress.held_up_until(std::time::Instant::now() + self.retry.backoff_max + TRANSACTION_TIMEOUT * 2);
            let labels = [("consumer", self.consumer), ("class", failure.class.as_str()), ("reason", failure.reason)];
            metrics::counter!(metric::FAILED_TRIES_TOTAL, &labels).increment(1);
            tracing::warn!(consumer = self.consumer, reason = failure.reason, detail = %failure.detail, waits, "waiting");
            tokio::select! {
                () = tokio::time::sleep(self.retry.wait(waits, rand::random())) => {}
                // The last chance: an orderly end still tries, until its deadline, but does not wait for long.
                () = self.shutdown.cancelled(), if waits >= 3 => return Err(failure),
            }
            waits += 1;
        }
    }

    async fn conclude(&self, mut batch: Batch<H>, settled: &Settled) {
        if batch.items.iter().any(|item| settled.claimed(&item.identity.event_id)) {
            self.wake.notify_one();
        }
        let fresh = batch.fresh(settled);
        if tokio::time::timeout(COMMITTED_TIMEOUT, self.handler.committed(fresh)).await.is_err() {
            tracing::warn!(consumer = self.consumer, "what follows the commit takes too long; left out");
        }
        self.tell(&batch.items, settled);
        for item in batch.items {
            if H::POLICY.is_ordered() {
                self.note_key(&item, settled);
            }
            match item.end {
                End::Behind(back) if settled.freed.contains(&item.identity.event_id) => {
                    // Nobody waits for it only when the process ends.
                    if let Err((in_flight, _)) = back.send((item.in_flight, item.record)) {
                        in_flight.abandon();
                    }
                }
                _ => {
                    self.account(&item, settled);
                    self.meters.settled_seconds.record(item.in_flight.delivered_at.elapsed());
                    item.in_flight.settled();
                }
            }
        }
    }

    /// What the breaker and the ramp learn from a commit. A failed message was judged before.
    fn tell(&self, items: &[Item], settled: &Settled) {
        let (now, signals) = (self.gate.now(), &self.gate.signals);
        let mut succeeded = 0;
        for item in items {
            let (turn, event_id) = (item.in_flight.turn(), &item.identity.event_id);
            match &item.end {
                // It goes on.
                End::Behind(_) if settled.freed.contains(event_id) => {}
                End::Worked if settled.counts(event_id) && turn == Turn::Normal => succeeded += 1,
                End::Worked if settled.counts(event_id) => signals.succeeded(now, turn, 1),
                _ => signals.gave_up(turn),
            }
        }
        if succeeded > 0 {
            signals.succeeded(now, Turn::Normal, succeeded);
        }
    }

    /// Before the lane goes on, so that the next message of the key knows.
    fn note_key(&self, item: &Item, settled: &Settled) {
        let (event_id, key) = (&item.identity.event_id, || parked::key_of(&item.record));
        match &item.end {
            _ if settled.freed.contains(event_id) => self.parked.released(&key()),
            _ if settled.appended.contains(event_id) => self.parked.parked(&key()),
            End::Failed(_, Fate::Park | Fate::DeadLetterAndHold) if settled.counts(event_id) => {
                self.parked.parked(&key())
            }
            _ => {}
        }
    }

    fn account(&self, item: &Item, settled: &Settled) {
        let event_id = item.identity.event_id;
        let (outcome, reason) = match &item.end {
            _ if !settled.claimed(&event_id) => return self.meters.duplicate.increment(1),
            _ if settled.appended.contains(&event_id) => ("parked", transaction::BEHIND),
            End::Worked => return self.meters.done.increment(1),
            End::Failed(failure, Fate::Retry(_)) => ("retry", failure.reason),
            End::Failed(failure, Fate::Park) => ("parked", failure.reason),
            End::Failed(failure, _) => ("dead", failure.reason),
            End::Behind(_) => ("parked", transaction::BEHIND),
            End::Dropped(_) => ("discarded", DROPPED),
        };
        let labels = [("consumer", self.consumer), ("outcome", outcome), ("reason", reason)];
        metrics::counter!(metric::OUTCOMES_TOTAL, &labels).increment(1);
        let End::Failed(failure, fate) = &item.end else { return };
        if !settled.counts(&event_id) {
            return;
        }
        let (topic, partition, offset) = item.record.origin();
        let trace_id = item.record.header("traceparent").and_then(trace::trace_id).unwrap_or_default();
        match fate {
            Fate::DeadLetter | Fate::DeadLetterAndHold => tracing::error!(
                consumer = self.consumer, %event_id, trace_id, topic, partition, offset, reason = failure.reason,
                detail = %failure.detail, "dead letter"
            ),
            Fate::Park => tracing::warn!(
                consumer = self.consumer, %event_id, trace_id, topic, partition, offset, reason = failure.reason,
                detail = %failure.detail, "its key is parked behind it"
            ),
            Fate::Retry(_) | Fate::Abandon | Fate::Exit => tracing::warn!(
                consumer = self.consumer, %event_id, trace_id, topic, partition, offset, reason = failure.reason,
                detail = %failure.detail, "to be tried again later"
            ),
        }
    }

    pub(crate) fn carrier(&self) -> Carrier<'_> {
        Carrier {
            consumer: self.consumer,
            topic_prefix: &self.topic_prefix,
            retry: &self.retry,
            now_ms: clock::now_ms(),
        }
    }
}
