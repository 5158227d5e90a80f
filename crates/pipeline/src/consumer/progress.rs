use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use crate::{gate::GateReport, message::TopicPartition};

/// What the driver tells the watchdog about a partition that it owns.
#[derive(Debug, Clone)]
pub(crate) struct PartitionProgress {
    /// One past the last settled offset below which nothing is open; none before the first delivery.
    pub frontier: Option<i64>,
    pub open: usize,
    /// The offset that the frontier waits for.
    pub oldest_open: Option<i64>,
    pub oldest_open_ms: Option<i64>,
    pub last_settled_ms: Option<i64>,
    /// It waits for the time of a retry, for the end of a command or for what only it needs, so silence is no stall.
    pub waits: bool,
    /// The budget is used up by what is in hand, of whatever partition.
    pub over_budget: bool,
}

/// Shared between the driver and those who work and settle, which write, and the watchdog, which reads.
#[derive(Clone, Default)]
pub(crate) struct Progress {
    partitions: Arc<Mutex<HashMap<TopicPartition, PartitionProgress>>>,
    excused_until: Arc<Mutex<Option<Instant>>>,
    held_up_until: Arc<Mutex<Option<Instant>>>,
    gate: Arc<Mutex<GateReport>>,
}

impl Progress {
    pub fn replace(&self, all: HashMap<TopicPartition, PartitionProgress>) {
        *self.partitions.lock().unwrap_or_else(PoisonError::into_inner) = all;
    }

    pub fn snapshot(&self) -> HashMap<TopicPartition, PartitionProgress> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the gate does, for the member's row.
    pub fn report_gate(&self, report: GateReport) {
        *self.gate.lock().unwrap_or_else(PoisonError::into_inner) = report;
    }

    pub fn gate(&self) -> GateReport {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Somebody has a message in hand and a reason to take until then: a try within its deadline, a wait for something
    /// that is away. Say it again when it takes longer.
    pub fn excuse_until(&self, until: Instant) {
        let mut latest = self.excused_until.lock().unwrap_or_else(PoisonError::into_inner);
        *latest = (*latest).max(Some(until));
    }

    /// Something that everybody needs is away: an excuse that operators see.
    pub fn held_up_until(&self, until: Instant) {
        self.excuse_until(until);
        let mut latest = self.held_up_until.lock().unwrap_or_else(PoisonError::into_inner);
        *latest = (*latest).max(Some(until));
    }

    pub fn is_held_up(&self) -> bool {
        self.held_up_until.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| Instant::now() < until)
    }

    pub fn is_excused(&self) -> bool {
        self.excused_until.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| Instant::now() < until)
    }
}
