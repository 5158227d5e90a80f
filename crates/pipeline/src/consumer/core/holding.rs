//! What came back without an outcome and is tried again: behind the breaker, or with its whole partition.

use std::collections::BTreeMap;

use super::{Core, Now};
use crate::{
    Record,
    consumer::{
        in_flight::{Hold, Ticket},
        partition::{Blocked, SlotId},
    },
};

impl Core {
    pub(super) fn on_held(&mut self, now: Now, ticket: Ticket, record: Record, why: Hold) {
        let is_ours = self.slots.of_ticket(&ticket).is_some_and(|partition| !partition.leaving);
        if self.draining_until.is_some() || !is_ours {
            return self.came_back(&ticket, false);
        }
        if let Some(partition) = self.slots.of_ticket(&ticket) {
            partition.running -= 1;
        }
        match why {
            Hold::Breaker(reason) => {
                self.admission.hold(ticket.generation, reason, (ticket, record));
                self.unblock_if_probe(&ticket);
            }
            Hold::Partition(reason) => {
                self.admission.finished(ticket.generation);
                self.admission.signals().gave_up(ticket.turn);
                self.strand(now, ticket, record, reason);
            }
        }
    }

    /// Its lane stays taken, so what follows it in its key waits as well; the rest of what was fetched goes on.
    fn strand(&mut self, now: Now, ticket: Ticket, record: Record, reason: &'static str) {
        let Some(partition) = self.slots.partition_mut(ticket.slot) else { return };
        if partition.blocked.is_none() {
            let (messages, bytes) = partition.charged;
            let outside = self.bytes_outside + bytes <= self.bytes_max;
            if outside {
                self.bytes_outside += bytes;
                self.budget.put_aside(messages, bytes);
            }
            partition.blocked = Some(Blocked {
                reason,
                stranded: BTreeMap::new(),
                try_at: now.elapsed + self.retry.wait(0, 1.0),
                tries: 0,
                probe: None,
                outside,
            });
            self.blocked += 1;
            self.pauses_changed = true;
        }
        let Some(blocked) = &mut partition.blocked else { return };
        if blocked.probe == Some(ticket.offset) {
            blocked.probe = None;
            blocked.tries = blocked.tries.saturating_add(1);
            blocked.try_at = now.elapsed + self.retry.wait(blocked.tries, 1.0);
        }
        blocked.stranded.insert(ticket.offset, (ticket, record));
    }

    /// Sends the first one of each blocked partition to find out, when it is time.
    pub(super) fn try_blocked(&mut self, now: Now) {
        if self.blocked == 0 || self.draining_until.is_some() {
            return;
        }
        for (_, partition) in self.slots.assigned_mut() {
            if let Some(blocked) = &mut partition.blocked
                && blocked.probe.is_none()
                && blocked.try_at <= now.elapsed
                && let Some((offset, message)) = blocked.stranded.pop_first()
            {
                blocked.probe = Some(offset);
                self.admission.push(message);
            }
        }
    }

    fn unblock_if_probe(&mut self, ticket: &Ticket) {
        let of_probe = |blocked: &Blocked| blocked.probe == Some(ticket.offset);
        if self.slots.of_ticket(ticket).is_some_and(|p| p.blocked.as_ref().is_some_and(of_probe)) {
            self.unblock(ticket.slot);
        }
    }

    /// The first one found what it needs: all go on.
    pub(super) fn unblock(&mut self, id: SlotId) {
        for message in self.take_stranded(id) {
            self.admission.push(message);
        }
    }

    /// Ends the block; its messages are in the budget again.
    pub(super) fn take_stranded(&mut self, id: SlotId) -> Vec<(Ticket, Record)> {
        let Some(partition) = self.slots.partition_mut(id) else { return Vec::new() };
        let Some(blocked) = partition.blocked.take() else { return Vec::new() };
        if blocked.outside {
            let (messages, bytes) = partition.charged;
            self.bytes_outside -= bytes;
            self.budget.bring_back(messages, bytes);
        }
        self.blocked -= 1;
        self.pauses_changed = true;
        blocked.stranded.into_values().collect()
    }
}
