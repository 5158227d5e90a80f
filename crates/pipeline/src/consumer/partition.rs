use std::{collections::HashMap, time::Instant};

use tokio::sync::oneshot;

use super::{ledger::Ledger, progress::PartitionProgress};
use crate::{broker::Offsets, message::TopicPartition};

/// A partition from its assignment to its revocation.
pub(super) struct Partition {
    pub epoch: u64,
    pub ledger: Ledger,
    /// Messages that are out (the ledger's open ones may still be queued).
    pub running: usize,
    pub paused: bool,
    pub last_settled_ms: Option<i64>,
    pub moved_at: Instant,
}

impl Partition {
    pub fn new(epoch: u64) -> Self {
        Self {
            epoch,
            ledger: Ledger::default(),
            running: 0,
            paused: false,
            last_settled_ms: None,
            moved_at: Instant::now(),
        }
    }

    pub fn progress(&self) -> PartitionProgress {
        PartitionProgress {
            frontier: self.ledger.frontier(),
            open: self.ledger.open_count(),
            oldest_open_ms: self.ledger.oldest_open_ms(),
            last_settled_ms: self.last_settled_ms,
            paused: self.paused,
            moved_at: self.moved_at,
        }
    }
}

/// Partitions on their way to another member: nothing new starts in them, what is out may still settle.
pub(super) struct Handover {
    pub partitions: Vec<TopicPartition>,
    pub settled: oneshot::Sender<Offsets>,
    pub deadline: tokio::time::Instant,
}

impl Handover {
    pub fn is_over(&self, owned: &HashMap<TopicPartition, Partition>, now: tokio::time::Instant) -> bool {
        let quiet = |source| owned.get(source).is_none_or(|partition| partition.running == 0);
        now >= self.deadline || self.partitions.iter().all(quiet)
    }

    /// Takes the partitions out of our hands; whatever of them still runs is of an old epoch from here on.
    pub fn finish(self, owned: &mut HashMap<TopicPartition, Partition>) {
        let mut offsets = Offsets::new();
        for source in self.partitions {
            let frontier = owned.remove(&source).and_then(|mut partition| partition.ledger.take_frontier());
            offsets.extend(frontier.map(|offset| (source, offset)));
        }
        // No one listens when the rebalance ran out of time; then nothing is committed, and all is delivered again.
        self.settled.send(offsets).ok();
    }
}
