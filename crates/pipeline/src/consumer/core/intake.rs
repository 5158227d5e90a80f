//! From a record to a message that is out.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::{Core, Effect, Now};
use crate::{
    Record,
    consumer::{
        in_flight::{Lane, Ticket},
        partition::{Partition, Slot, SlotId},
    },
    gate::{Admitted, Share, Turn},
};

/// More of a key than this is not kept to count it.
const KEY_BYTES_MAX: usize = 1_024;

/// Whether the next record of a partition may enter. If not, it is kept, its partition pauses, and everything behind it in
/// the partition waits as well, since offsets are charged in order. Asked again at every flush, so at every tick.
///
/// The one door before a record is charged: whatever may keep a record outside decides here. It must not depend on the
/// records behind it.
fn may_enter(slot: &mut Slot, record: &Record, share: Option<Share>, now: Now) -> bool {
    if let (Some(partition), Some(share)) = (&mut slot.partition, share) {
        partition.crowded = share.pauses(partition.ledger.open_count(), partition.crowded);
    }
    // Only our own retry topics are believed when they name a time.
    let is_due = !slot.own || record.not_before_ms().is_none_or(|at| at <= now.wall_ms);
    is_due && !slot.partition.as_ref().is_some_and(Partition::is_closed)
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
        let enters = may_enter(slot, &record, self.share, now);
        let Some(partition) = &mut slot.partition else { return };
        if partition.held.is_empty() {
            if enters {
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
        let record = slot.partition.as_mut()?.held.pop_front()?;
        let enters = may_enter(slot, &record, self.share, now);
        let held = &mut slot.partition.as_mut()?.held;
        if !enters {
            held.push_front(record);
            return None;
        }
        if held.is_empty() {
            self.holding -= 1;
            self.pauses_changed = true;
        }
        Some(record)
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
            turn: Turn::Normal,
            generation: 0,
        };
        partition.charged.0 += 1;
        partition.charged.1 += ticket.bytes;
        self.budget.charge(ticket.bytes);
        // Only what has to wait for its key: a hot one does, and the others cost nothing.
        if self.lanes.is_busy(&ticket.lane)
            && let Some(key) = &record.key
        {
            self.top_keys.seen(key.get(..KEY_BYTES_MAX).unwrap_or(key));
        }
        if let Some(free) = self.lanes.push(ticket.lane, (ticket, record)) {
            self.admission.push(free);
        }
    }

    pub(super) fn start_what_is_ready(&mut self, now: Now, effects: &mut Vec<Effect>) {
        while let Some(Admitted { item: (mut ticket, record), turn, generation }) = self.admission.start(now.elapsed) {
            (ticket.turn, ticket.generation) = (turn, generation);
            if let Some(partition) = self.slots.of_ticket(&ticket) {
                partition.running += 1;
            }
            effects.push(Effect::Start(ticket, record));
        }
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
