use std::collections::HashMap;

use tokio::sync::oneshot;

use super::{ledger::Ledger, progress::PartitionProgress};
use crate::{broker::Offsets, message::TopicPartition};

/// A partition from its assignment to its revocation.
pub(super) struct Partition {
    /// The generation of its assignment.
    pub epoch: u64,
    /// Revoked, and not handed over yet: nothing new starts.
    pub leaving: bool,
    pub ledger: Ledger,
    /// Messages that are out (the ledger's open ones may still be queued).
    pub running: usize,
    pub paused: bool,
    pub last_settled_ms: Option<i64>,
}

impl Partition {
    pub fn new(epoch: u64) -> Self {
        Self { epoch, leaving: false, ledger: Ledger::default(), running: 0, paused: false, last_settled_ms: None }
    }

    pub fn progress(&self, waits: bool, over_budget: bool) -> PartitionProgress {
        PartitionProgress {
            frontier: self.ledger.frontier(),
            open: self.ledger.open_count(),
            oldest_open_ms: self.ledger.oldest_open_ms(),
            last_settled_ms: self.last_settled_ms,
            waits,
            over_budget,
        }
    }
}

/// Partitions on their way to another member: nothing new starts in them, what is out may still settle.
pub(super) struct Handover {
    /// Each with the epoch of the assignment that is given up.
    partitions: Vec<(TopicPartition, u64)>,
    settled: oneshot::Sender<Offsets>,
    deadline: tokio::time::Instant,
}

type Owned = HashMap<TopicPartition, Partition>;

impl Handover {
    pub fn new(
        partitions: Vec<TopicPartition>,
        settled: oneshot::Sender<Offsets>,
        deadline: tokio::time::Instant,
        owned: &Owned,
    ) -> Self {
        let with_epoch =
            |source: TopicPartition| owned.get(&source).map(|partition| partition.epoch).map(|e| (source, e));
        Self { partitions: partitions.into_iter().filter_map(with_epoch).collect(), settled, deadline }
    }

    pub fn is_over(&self, owned: &Owned, now: tokio::time::Instant) -> bool {
        let quiet = |(source, epoch): &(TopicPartition, u64)| {
            owned.get(source).is_none_or(|partition| partition.epoch != *epoch || partition.running == 0)
        };
        now >= self.deadline || self.partitions.iter().all(quiet)
    }

    /// Takes the partitions out of our hands; whatever of them still runs is of an old epoch from here on. One that has
    /// come back in the meantime, as a late handover finds it, stays.
    pub fn finish(self, owned: &mut Owned) {
        let mut offsets = Offsets::new();
        for (source, epoch) in self.partitions {
            if owned.get(&source).is_some_and(|partition| partition.epoch == epoch) {
                let frontier = owned.remove(&source).and_then(|mut partition| partition.ledger.take_frontier());
                offsets.extend(frontier.map(|offset| (source, offset)));
            }
        }
        // No one listens when the rebalance ran out of time; then nothing is committed, and all is delivered again.
        self.settled.send(offsets).ok();
    }
}
