//! The member's side of its consumer group: what the client calls back, on the poll thread.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rdkafka::{
    ClientContext, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance},
    error::KafkaError,
    types::RDKafkaErrorCode,
};
use tokio::sync::{mpsc, oneshot};

use super::{BrokerEvent, Offsets};
use crate::{message::TopicPartition, metric};

pub(super) struct Context {
    pub(super) consumer: &'static str,
    events: mpsc::UnboundedSender<BrokerEvent>,
    generation: AtomicU64,
    /// What is assigned now, each with its generation. Only the poll thread touches it.
    owned: Mutex<HashMap<TopicPartition, u64>>,
    /// How long a revocation waits for the driver to settle what is in flight.
    drain: Duration,
}

impl ClientContext for Context {}

impl ConsumerContext for Context {
    // Called by the poll thread, inside poll. Blocking here is what holds the group back until our offsets are committed.
    fn pre_rebalance(&self, base: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Revoke(list) = rebalance else { return };
        let partitions = partitions_of(list);
        self.give_up(&partitions);
        if base.assignment_lost() {
            self.count_rebalance("lost", &partitions);
            self.tell(BrokerEvent::Lost(partitions));
            return;
        }
        self.count_rebalance("revoked", &partitions);
        if partitions.is_empty() {
            return;
        }
        let (settled, answer) = oneshot::channel();
        self.tell(BrokerEvent::Revoked { partitions, settled });
        match wait_for(answer, self.drain) {
            Answer::Given(offsets) => self.commit(base, &offsets, CommitMode::Sync),
            Answer::Late => {
                tracing::warn!(
                    consumer = self.consumer,
                    "the drain ran out of time; open messages will be delivered again"
                );
            }
            // The driver has ended, and has committed what it had to.
            Answer::Refused => {}
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => {
                let partitions = partitions_of(list);
                self.count_rebalance("assigned", &partitions);
                let generation = self.take_on(&partitions);
                self.tell(BrokerEvent::Assigned { partitions, generation });
            }
            Rebalance::Revoke(_) => {}
            Rebalance::Error(error) => tracing::error!(consumer = self.consumer, %error, "rebalance"),
        }
    }

    fn commit_callback(&self, result: Result<(), KafkaError>, list: &TopicPartitionList) {
        let result = match result {
            Ok(()) => "ok",
            // Nothing to commit is a success.
            Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => "ok",
            Err(error) => {
                // A repeated delivery would cost only time, but an idle partition would show a lag for ever.
                tracing::warn!(consumer = self.consumer, %error, "offset commit failed");
                self.tell(BrokerEvent::CommitFailed(partitions_of(list)));
                "failed"
            }
        };
        metrics::counter!(metric::COMMITS_TOTAL, "consumer" => self.consumer, "result" => result).increment(1);
    }
}

impl Context {
    pub fn new(consumer: &'static str, events: mpsc::UnboundedSender<BrokerEvent>, drain: Duration) -> Self {
        Self { consumer, events, generation: AtomicU64::new(0), owned: Mutex::default(), drain }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Under which assignment the partition is ours.
    pub(super) fn generation_of(&self, source: &TopicPartition) -> Option<u64> {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner).get(source).copied()
    }

    pub(super) fn owned_topics(&self) -> HashSet<Arc<str>> {
        let owned = self.owned.lock().unwrap_or_else(PoisonError::into_inner);
        owned.keys().map(|source| Arc::clone(&source.topic)).collect()
    }

    /// Returns the generation of this assignment.
    fn take_on(&self, partitions: &[TopicPartition]) -> u64 {
        let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        let assigned = partitions.iter().map(|source| (source.clone(), generation));
        self.owned.lock().unwrap_or_else(PoisonError::into_inner).extend(assigned);
        generation
    }

    fn give_up(&self, partitions: &[TopicPartition]) {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner).retain(|source, _| !partitions.contains(source));
    }

    /// Of offsets that were decided on when `generation` was the last assignment, those whose partition is still in the
    /// same hands. The broker would take the others too: it does not ask whose a partition is.
    pub(super) fn still_owned(&self, offsets: Offsets, generation: u64) -> Offsets {
        let owned = self.owned.lock().unwrap_or_else(PoisonError::into_inner);
        offsets.into_iter().filter(|(source, _)| owned.get(source).is_some_and(|since| *since <= generation)).collect()
    }

    pub(super) fn tell(&self, event: BrokerEvent) {
        if self.events.send(event).is_err() {
            tracing::debug!(consumer = self.consumer, "the driver has ended");
        }
    }

    fn count_rebalance(&self, kind: &'static str, partitions: &[TopicPartition]) {
        tracing::info!(consumer = self.consumer, kind, count = partitions.len(), "rebalance");
        metrics::counter!(metric::REBALANCES_TOTAL, "consumer" => self.consumer, "kind" => kind).increment(1);
    }

    pub(super) fn commit(&self, base: &BaseConsumer<Self>, offsets: &Offsets, mode: CommitMode) {
        if offsets.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::new();
        for (source, offset) in offsets {
            if let Err(error) = list.add_partition_offset(&source.topic, source.partition, Offset::Offset(*offset)) {
                tracing::error!(consumer = self.consumer, %error, "offset {offset} of {source}");
            }
        }
        if let Err(error) = base.commit(&list, mode) {
            tracing::warn!(consumer = self.consumer, %error, "offset commit");
            self.tell(BrokerEvent::CommitFailed(partitions_of(&list)));
        }
    }
}

enum Answer<T> {
    Given(T),
    Late,
    Refused,
}

/// The poll thread is no task, so it may block; but a plain `blocking_recv` has no deadline.
fn wait_for<T>(mut answer: oneshot::Receiver<T>, limit: Duration) -> Answer<T> {
    let deadline = std::time::Instant::now() + limit;
    loop {
        match answer.try_recv() {
            Ok(value) => return Answer::Given(value),
            Err(oneshot::error::TryRecvError::Closed) => return Answer::Refused,
            Err(oneshot::error::TryRecvError::Empty) if std::time::Instant::now() >= deadline => return Answer::Late,
            Err(oneshot::error::TryRecvError::Empty) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

pub(super) fn partitions_of(list: &TopicPartitionList) -> Vec<TopicPartition> {
    let source = |topic: &str, partition| TopicPartition { topic: topic.into(), partition };
    list.elements().iter().map(|element| source(element.topic(), element.partition())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_that_waited_behind_a_rebalance_names_only_what_is_still_in_the_same_hands() {
        let (events, _told) = mpsc::unbounded_channel();
        let context = Context::new("c", events, Duration::ZERO);
        let [kept, handed_over, back_again] =
            [0, 1, 2].map(|partition| TopicPartition { topic: "t".into(), partition });
        let then = context.take_on(&[kept.clone(), handed_over.clone(), back_again.clone()]);
        let offsets = vec![(kept.clone(), 5), (handed_over.clone(), 6), (back_again.clone(), 7)];
        assert_eq!(context.still_owned(offsets.clone(), then), offsets);
        context.give_up(&[handed_over, back_again.clone()]);
        context.take_on(&[back_again]);
        assert_eq!(context.still_owned(offsets, then), [(kept, 5)], "the others may stand further by now");
    }
}
