use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use crate::message::TopicPartition;

/// What the driver tells the watchdog about a partition that it owns.
#[derive(Debug, Clone)]
pub(crate) struct PartitionProgress {
    /// One past the last settled offset below which nothing is open; none before the first delivery.
    pub frontier: Option<i64>,
    pub open: usize,
    pub oldest_open_ms: Option<i64>,
    pub last_settled_ms: Option<i64>,
    /// The driver itself holds the partition back (budget or `not_before`), so silence is no stall.
    pub paused: bool,
    /// When something was last delivered or settled, or the partition assigned.
    pub moved_at: Instant,
}

/// Shared between the driver and the processors, which write, and the watchdog, which reads.
#[derive(Clone, Default)]
pub(crate) struct Progress {
    partitions: Arc<Mutex<HashMap<TopicPartition, PartitionProgress>>>,
    held: Arc<AtomicUsize>,
}

impl Progress {
    pub fn replace(&self, all: HashMap<TopicPartition, PartitionProgress>) {
        *self.partitions.lock().unwrap_or_else(PoisonError::into_inner) = all;
    }

    pub fn snapshot(&self) -> HashMap<TopicPartition, PartitionProgress> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A message waits for something that is away, until the guard is dropped.
    pub fn hold(&self) -> Held {
        self.held.fetch_add(1, Ordering::Relaxed);
        Held(Arc::clone(&self.held))
    }

    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

pub(crate) struct Held(Arc<AtomicUsize>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
