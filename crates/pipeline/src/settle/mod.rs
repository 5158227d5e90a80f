//! What was decided about messages becomes durable: inbox, effect and outbox in one transaction.
//!
//! `collect` (here) → `failed` (retries and dead letters as outbox rows) → `transaction` (the statements) → the driver.

mod failed;
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

pub use settlement::Settlement;

use crate::{
    Class, Failure, Handler, RetryConfig, Worked,
    consumer::{InFlight, Progress},
    failure,
    fate::Fate,
    message::{Identity, Record},
    metric,
    process::Finished,
};

/// A settlement that takes longer is given up and tried again; the inbox tells whether it had succeeded.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(30);
/// Settlements in a row that a database may be too busy for, before they count as failed tries.
const BUSY_MAX: u32 = 3;
const COMMITTED_TIMEOUT: Duration = Duration::from_secs(5);
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
}

/// A message with its decision, on the way into the inbox.
struct Item {
    in_flight: InFlight,
    record: Record,
    identity: Identity,
    failed: Option<(Failure, Fate)>,
}

/// Messages that are settled in one transaction, each event once.
struct Batch<H: Handler> {
    items: Vec<Item>,
    /// Of the items without a failure.
    worked: Vec<Worked<H::In, H::Finding>>,
}

impl<H: Handler> Default for Batch<H> {
    fn default() -> Self {
        Self { items: Vec::new(), worked: Vec::new() }
    }
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

    async fn settle(&self, batch: Batch<H>) {
        metrics::histogram!(metric::BATCH_MESSAGES, "consumer" => self.consumer)
            .record(metric::count(batch.items.len()));
        let Err((batch, failure)) = self.try_settle(batch).await else { return };
        if batch.items.len() == 1 {
            return self.settle_failed(batch, failure).await;
        }
        tracing::warn!(
            consumer = self.consumer, reason = failure.reason, detail = %failure.detail, size = batch.items.len(),
            "a settlement failed; settling each message alone"
        );
        for single in batch.singles() {
            if let Err((single, failure)) = self.try_settle(single).await {
                self.settle_failed(single, failure).await;
            }
        }
    }

    /// Gives the batch back, untouched, when it can not be settled as it is.
    async fn try_settle(&self, mut batch: Batch<H>) -> Result<(), (Batch<H>, Failure)> {
        match self.until_available(&mut batch).await {
            Ok(claimed) => {
                self.conclude(batch, &claimed).await;
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
            fate @ (Fate::Retry(_) | Fate::DeadLetter) => {
                item.failed = Some((failure, fate));
                let batch = Batch { items: vec![item], worked: Vec::new() };
                // The handler has no part in it any more, so this is the database or a bug: never lose the message.
                if let Err((batch, failure)) = self.try_settle(batch).await {
                    batch.give_up(&failure);
                }
            }
        }
    }

    /// Repeats while the database is away. Nothing is lost by waiting: the budget closes and the partitions pause.
    async fn until_available(&self, batch: &mut Batch<H>) -> Result<transaction::Claimed, Failure> {
        let (mut waits, mut busy) = (0, 0);
        loop {
            let failure = match self.transact(batch).await {
                Ok(claimed) => return Ok(claimed),
                Err(failure) if failure.class != Class::Unavailable => return Err(failure),
                Err(failure) => failure,
            };
            // The server is there, so it may be this batch that it can not do.
            busy = if failure.reason == failure::DATABASE_BUSY { busy + 1 } else { 0 };
            if busy >= BUSY_MAX {
                return Err(Failure { class: Class::Transient, ..failure });
            }
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

    async fn conclude(&self, mut batch: Batch<H>, claimed: &transaction::Claimed) {
        if batch.items.iter().any(|item| claimed.contains(&item.identity.event_id)) {
            self.wake.notify_one();
        }
        let fresh = batch.fresh(claimed);
        if tokio::time::timeout(COMMITTED_TIMEOUT, self.handler.committed(fresh)).await.is_err() {
            tracing::warn!(consumer = self.consumer, "what follows the commit takes too long; left out");
        }
        for item in batch.items {
            self.account(&item, claimed.contains(&item.identity.event_id));
            metrics::histogram!(metric::SETTLE_SECONDS, "consumer" => self.consumer)
                .record(item.in_flight.delivered_at.elapsed());
            item.in_flight.settled();
        }
    }

    fn account(&self, item: &Item, fresh: bool) {
        let (outcome, reason) = match &item.failed {
            _ if !fresh => ("duplicate", ""),
            None => ("done", ""),
            Some((failure, Fate::Retry(_))) => ("retry", failure.reason),
            Some((failure, _)) => ("dead", failure.reason),
        };
        let labels = [("consumer", self.consumer), ("outcome", outcome), ("reason", reason)];
        metrics::counter!(metric::OUTCOMES_TOTAL, &labels).increment(1);
        let Some((failure, fate)) = item.failed.as_ref().filter(|_| fresh) else { return };
        let (topic, partition, offset) = item.record.origin();
        let event_id = item.identity.event_id;
        let trace_id = item.record.header("traceparent").and_then(trace::trace_id).unwrap_or_default();
        match fate {
            Fate::DeadLetter => tracing::error!(
                consumer = self.consumer, %event_id, trace_id, topic, partition, offset, reason = failure.reason,
                detail = %failure.detail, "dead letter"
            ),
            _ => tracing::warn!(
                consumer = self.consumer, %event_id, trace_id, topic, partition, offset, reason = failure.reason,
                detail = %failure.detail, "to be tried again later"
            ),
        }
    }
}

impl<H: Handler> Batch<H> {
    fn push(&mut self, finished: Finished<H>) {
        let Finished { in_flight, record, identity, result } = finished;
        let failed = match result {
            Ok(worked) => {
                self.worked.push(worked);
                None
            }
            Err(failed) => Some(failed),
        };
        self.items.push(Item { in_flight, record, identity, failed });
    }

    /// The worked messages that this settlement took, as one slice: the others were settled before.
    fn fresh(&mut self, claimed: &transaction::Claimed) -> &[Worked<H::In, H::Finding>] {
        let is_fresh = |worked: &Worked<H::In, H::Finding>| claimed.contains(&worked.message.meta.event_id);
        self.worked.sort_by_key(|worked| !is_fresh(worked));
        let count = self.worked.iter().take_while(|worked| is_fresh(worked)).count();
        self.worked.get(..count).unwrap_or_default()
    }

    fn singles(self) -> impl Iterator<Item = Self> {
        let mut worked: std::collections::HashMap<_, _> =
            self.worked.into_iter().map(|worked| (worked.message.meta.event_id, worked)).collect();
        self.items.into_iter().map(move |item| {
            let worked = worked.remove(&item.identity.event_id).into_iter().collect();
            Self { items: vec![item], worked }
        })
    }

    fn give_up(self, failure: &Failure) {
        for item in self.items {
            match failure.class {
                Class::Unavailable => item.in_flight.abandon(),
                _ => item.in_flight.fatal(failure.clone()),
            }
        }
    }
}

/// As many of `waiting`, from the front, as hold each event only once: a statement can not touch an inbox row twice.
fn take_batch<H: Handler>(waiting: &mut Vec<Finished<H>>) -> Batch<H> {
    let mut batch = Batch::default();
    let mut seen = std::collections::HashSet::new();
    let mut later = Vec::new();
    for finished in waiting.drain(..) {
        if later.is_empty() && seen.insert(finished.identity.event_id) {
            batch.push(finished);
        } else {
            later.push(finished);
        }
    }
    *waiting = later;
    batch
}
