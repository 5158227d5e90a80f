//! What the publishers of a source show of themselves to the watchdog and the alarms.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use uuid::Uuid;

/// Of rows that may not go.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiting {
    /// Refused by Kafka, or without a published predecessor.
    pub rows: Vec<i64>,
    /// Of one of whose rows Kafka refuses.
    pub aggregates: Vec<Uuid>,
    /// How many wait for a predecessor.
    pub gaps: usize,
    pub oldest_gap: Duration,
}

#[derive(Debug, Default)]
pub(super) struct Vitals {
    published: AtomicU64,
    failures: AtomicU64,
    waiting: Mutex<HashMap<i16, Waiting>>,
}

impl Vitals {
    /// Marked, that is; what can not be marked is no progress.
    pub fn published(&self, rows: usize) {
        self.published.fetch_add(rows as u64, Ordering::Relaxed);
    }

    pub fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Rises with everything that happens: a publisher that fails and tries again does not stall.
    pub fn events(&self) -> u64 {
        self.published.load(Ordering::Relaxed).wrapping_add(self.failures.load(Ordering::Relaxed))
    }

    pub fn set_waiting(&self, publisher: i16, waiting: Waiting) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(publisher, waiting);
    }

    /// Of all publishers together.
    pub fn waiting(&self) -> Waiting {
        let all = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().fold(Waiting::default(), |mut sum, one| {
            sum.rows.extend(&one.rows);
            sum.aggregates.extend(&one.aggregates);
            Waiting { gaps: sum.gaps + one.gaps, oldest_gap: sum.oldest_gap.max(one.oldest_gap), ..sum }
        })
    }
}
