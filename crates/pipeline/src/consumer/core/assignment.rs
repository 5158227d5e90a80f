//! Partitions come, are handed over, are lost.

use super::{Core, Effect, HANDOVER_MARGIN, Now};
use crate::{
    consumer::partition::{Handover, Partition, SlotId},
    message::TopicPartition,
};

impl Core {
    pub(super) fn on_assigned(&mut self, partitions: Vec<TopicPartition>, generation: u64, effects: &mut Vec<Effect>) {
        let ids: Vec<SlotId> = partitions.iter().map(|source| self.slots.intern(source)).collect();
        // None of them is ours, says the client's contract; if one was, its successor begins anew all the same.
        self.withdraw(&ids);
        self.generation = generation;
        for id in ids {
            if let Some(slot) = self.slots.get_mut(id) {
                slot.partition = Some(Partition::new(generation));
            }
        }
        self.pauses_changed = true;
        // A pause survives a revocation, in librdkafka and in the poll thread; a new partition begins without one.
        effects.push(Effect::Resume(partitions));
    }

    pub(super) fn on_revoked(&mut self, now: Now, partitions: Vec<TopicPartition>, handover: u64) {
        let deadline = now.elapsed + self.revoke_drain.saturating_sub(HANDOVER_MARGIN);
        let ids = self.slots.find_all(&partitions);
        self.withdraw(&ids);
        let mut leaving = Vec::with_capacity(ids.len());
        for id in ids {
            if let Some(partition) = self.slots.partition_mut(id) {
                partition.leaving = true;
                leaving.push((id, partition.epoch));
            }
        }
        self.handovers.push(Handover { number: handover, partitions: leaving, deadline });
    }

    pub(super) fn on_lost(&mut self, partitions: &[TopicPartition]) {
        let ids = self.slots.find_all(partitions);
        self.withdraw(&ids);
        for id in ids {
            if let Some(slot) = self.slots.get_mut(id) {
                slot.partition = None;
            }
        }
    }

    pub(super) fn on_commit_failed(&mut self, partitions: &[TopicPartition]) {
        for id in self.slots.find_all(partitions) {
            if let Some(partition) = self.slots.partition_mut(id) {
                partition.ledger.commit_again();
            }
        }
    }

    /// Nothing queued of these partitions will start any more; it will be delivered again to their next owner.
    pub(super) fn withdraw(&mut self, ids: &[SlotId]) {
        for id in ids {
            if let Some(partition) = self.slots.partition_mut(*id)
                && !std::mem::take(&mut partition.held).is_empty()
            {
                self.holding -= 1;
                self.pauses_changed = true;
            }
        }
        let stranded: Vec<_> = ids.iter().flat_map(|id| self.take_stranded(*id)).collect();
        if self.lanes.queued() > 0 {
            for (ticket, _) in self.lanes.drain_queued(|(ticket, _)| ids.contains(&ticket.slot)) {
                self.release(&ticket);
            }
        }
        let mut free = self.admission.withdraw(|(ticket, _)| ids.contains(&ticket.slot));
        free.extend(stranded);
        for (ticket, _) in free {
            self.release(&ticket);
            if let Some(next) = self.lanes.finish(&ticket.lane) {
                self.admission.push(next);
            }
        }
    }

    pub(super) fn finish_handovers(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let slots = &mut self.slots;
        for handover in
            self.handovers.extract_if(.., |handover| handover.is_over(slots, now.elapsed)).collect::<Vec<_>>()
        {
            effects.push(Effect::HandOver { handover: handover.number, settled: handover.finish(slots) });
        }
    }
}
