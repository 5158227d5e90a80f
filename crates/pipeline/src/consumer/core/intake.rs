//! From a record to a message that is out.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::{Core, Effect, Now};
use crate::{
    Record,
    consumer::{
        in_flight::{Lane, Ticket},
        partition::{Partition, Slot, SlotId},
    },
};

/// What may happen with the next record of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Admission {
    Run,
    /// Not now. The record is kept, its partition pauses, and everything behind it in the partition waits as well, since
    /// offsets are charged in order. Asked again at every flush, so at every tick.
    Hold,
}

/// The one gate before a record is charged: whatever may hold a record back decides here. It must not depend on the
/// records behind it.
fn admission(slot: &Slot, record: &Record, now: Now) -> Admission {
    // Only our own retry topics are believed when they name a time.
    let due = !slot.own || record.not_before_ms().is_none_or(|at| at <= now.wall_ms);
    if due { Admission::Run } else { Admission::Hold }
}

impl Core {
    pub(super) fn on_record(&mut self, now: Now, mut record: Record, generation: u64) {
        let Some(id) = self.slots.find(&record.source) else { return };
        let Some(slot) = self.slots.get_mut(id) else { return };
        // What waited outside while its partition was revoked, perhaps to come back later, will be delivered again.
        let is_current = |p: &Partition| !p.leaving && generation >= p.epoch;
        if self.draining_until.is_some() || !slot.partition.as_ref().is_some_and(is_current) {
            return;
        }
        if !slot.own {
            record.distrust();
        }
        let admitted = admission(slot, &record, now);
        let Some(partition) = &mut slot.partition else { return };
        if partition.held.is_empty() {
            if admitted == Admission::Run {
                return self.admit(id, record);
            }
            self.holding += 1;
            self.pauses_changed = true;
        }
        partition.held.push_back(record);
    }

    /// Takes out of every partition what is not held back any more, as far as the budget goes.
    pub(super) fn admit_what_is_due(&mut self, now: Now) {
        if self.holding == 0 || !self.takes_records() {
            return;
        }
        for id in self.slots.assigned_ids() {
            while self.takes_records()
                && let Some(record) = self.next_due(id, now)
            {
                self.admit(id, record);
            }
        }
    }

    fn next_due(&mut self, id: SlotId, now: Now) -> Option<Record> {
        let slot = self.slots.get_mut(id)?;
        let front = slot.partition.as_ref()?.held.front()?;
        if admission(slot, front, now) == Admission::Hold {
            return None;
        }
        let held = &mut slot.partition.as_mut()?.held;
        let record = held.pop_front();
        if held.is_empty() {
            self.holding -= 1;
            self.pauses_changed = true;
        }
        record
    }

    fn admit(&mut self, id: SlotId, record: Record) {
        let Some(partition) = self.slots.partition_mut(id) else { return };
        if !partition.ledger.charge(record.offset, record.timestamp_ms) {
            return;
        }
        let ticket = Ticket {
            slot: id,
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            epoch: partition.epoch,
            bytes: record.size_bytes(),
            lane: lane_of(id, &record),
        };
        self.budget.charge(ticket.bytes);
        if let Some(free) = self.lanes.push(ticket.lane, (ticket, record)) {
            self.ready.push_back(free);
        }
    }

    pub(super) fn start_what_is_ready(&mut self, now: Now, effects: &mut Vec<Effect>) {
        while let Some((ticket, record)) = self.choose(now) {
            self.out += 1;
            if let Some(partition) = self.slots.of_ticket(&ticket) {
                partition.running += 1;
            }
            effects.push(Effect::Start(ticket, record));
        }
    }

    /// The one gate between a message whose lane is free and its start: whatever chooses, paces or holds back decides here.
    /// What it keeps stays in `ready`, where a revocation finds it. Asked at every flush, so at every tick.
    fn choose(&mut self, _: Now) -> Option<(Ticket, Record)> {
        self.ready.pop_front()
    }
}

/// By a hash of the key, over all partitions; without a key there is no order to keep. A collision costs a little
/// parallelism, never order.
fn lane_of(id: SlotId, record: &Record) -> Lane {
    let mut hasher = DefaultHasher::new();
    match &record.key {
        Some(key) => key.hash(&mut hasher),
        None => (id, record.offset).hash(&mut hasher),
    }
    Lane(hasher.finish())
}
