//! Parked keys of ordered consumers, as `parked/` has them: the head fails and its key waits in the database, later
//! messages go behind it, a drainer with a lease goes on in order.

use std::collections::VecDeque;

use super::{
    database::{EventId, Inbox, Kind, Outcome},
    settling::{ECHO, End},
    world::{CONSUMERS, Life, Ms, Step, World},
};
use crate::Record;

const LEASE: Ms = 1_000;
/// Failed tries of a head, after which the whole key becomes dead letters.
const ATTEMPTS_MAX: u32 = 12;

pub(super) type Key = Vec<u8>;

/// A row of the parked keys, with its messages in their order.
#[derive(Default)]
pub(super) struct Parked {
    pub messages: VecDeque<(EventId, Record)>,
    attempts: u32,
    next_try_at: Ms,
    /// Never used twice.
    epoch: u64,
    leased_until: Ms,
}

/// What a drainer has found out about a head.
#[derive(Debug, Clone, Copy)]
pub(super) enum Found {
    Worked,
    Dead,
    Failed,
}

/// By its place when it has none.
pub(super) fn key_of(record: &Record) -> Key {
    let (topic, partition, offset) = record.origin();
    record.key.clone().unwrap_or_else(|| format!("place:{topic}/{partition}/{offset}").into_bytes())
}

impl World {
    fn database_now(&self) -> Ms {
        self.now + self.database_skew
    }

    /// In the settlement: a head, or a message behind one.
    pub fn park(&mut self, consumer: usize, event: EventId, record: Record) {
        let next_try_at = self.database_now() + 100;
        let parked = self.database.parked.entry((consumer, key_of(&record)));
        let parked = parked.or_insert_with(|| Parked { next_try_at, ..Parked::default() });
        parked.messages.push_back((event, record));
        let behind = parked.messages.len() > 1;
        self.reach(if behind { "a message goes behind its parked key" } else { "a key is parked" });
    }

    /// A look for keys that are due, and now and then for what is parked at all.
    pub fn drain_parked(&mut self, life: Life) {
        self.after(50, 300, Step::DrainParked(life));
        if self.database_is_away() {
            return;
        }
        let (consumer, now) = (self.processes[life.process].group, self.database_now());
        let mine = self.database.parked.iter_mut().filter(|((of, _), _)| *of == consumer);
        let mut due = None;
        let mut keys = std::collections::BTreeSet::new();
        for ((_, key), parked) in mine {
            keys.insert(key.clone());
            if due.is_none() && parked.leased_until < now && parked.next_try_at <= now {
                self.database.parked_epochs += 1;
                (parked.epoch, parked.leased_until) = (self.database.parked_epochs, now + LEASE);
                due = Some((key.clone(), parked.epoch));
            }
        }
        if self.random.chance(200) {
            self.processes[life.process].hints = keys;
        }
        if let Some((key, epoch)) = due {
            self.after(1, 20, Step::TryParked { life, key, epoch });
        }
    }

    /// One try of a head, while the lease is ours.
    pub fn try_parked(&mut self, life: Life, key: Key, epoch: u64) {
        let consumer = self.processes[life.process].group;
        let draining = self.processes[life.process].core.is_draining();
        let parked = self.database.parked.get(&(consumer, key.clone())).filter(|parked| parked.epoch == epoch);
        let head = parked.and_then(|parked| parked.messages.front()).map(|(event, _)| *event);
        let Some(event) = head.filter(|_| !draining && !self.database_is_away()) else { return };
        let found = match self.fails(consumer, event) {
            None => Found::Worked,
            Some(crate::Class::Poison) => Found::Dead,
            Some(_) => Found::Failed,
        };
        let slow = if self.strikes(self.plan.slow_work) { 3_000 } else { 20 * self.plan.slowness };
        self.after(1, slow, Step::SettleParked { life, key, epoch, event, found });
    }

    /// What the database does with a drainer's transaction: fenced by the epoch.
    pub fn settle_parked(&mut self, life: Life, key: Key, epoch: u64, event: EventId, found: Found) {
        let consumer = self.processes[life.process].group;
        if self.database_is_away() || self.strikes(self.plan.failed_statements) {
            // The lease runs out, and somebody tries again.
            return;
        }
        let own = (consumer, key.clone());
        if self.database.parked.get(&own).is_none_or(|parked| parked.epoch != epoch) {
            return self.reach("a drainer is fenced off");
        }
        let emits = consumer == 0 && event < ECHO;
        if emits && self.database.locked.contains(&self.checks.aggregate_of(event)) {
            return self.after(5, 30, Step::SettleParked { life, key, epoch, event, found });
        }
        let found = match found {
            Found::Worked if self.record_fails(consumer, event) => Found::Failed,
            found => found,
        };
        let indefinite = self.strikes(self.plan.indefinite_commits);
        if indefinite && self.random.chance(500) {
            return;
        }
        match found {
            Found::Failed => return self.park_again(own),
            Found::Worked => self.end_parked(consumer, event, Outcome::Done, None),
            Found::Dead => {
                let record = self.database.parked.get(&own).and_then(|p| p.messages.front()).map(|(_, r)| r.clone());
                self.end_parked(consumer, event, Outcome::Dead, record);
            }
        }
        let Some(parked) = self.database.parked.get_mut(&own) else { return };
        parked.messages.pop_front();
        parked.attempts = 0;
        if parked.messages.is_empty() {
            self.database.parked.remove(&own);
            self.reach("a parked key is free again");
            if !indefinite {
                self.processes[life.process].hints.remove(&key);
            }
        } else if !indefinite {
            self.after(1, 20, Step::TryParked { life, key, epoch });
        }
    }

    /// The head failed: later again, up to the bound, at which the whole key is given up.
    fn park_again(&mut self, own: (usize, Key)) {
        let now = self.database_now();
        let Some(attempts) = self.database.parked.get(&own).map(|parked| parked.attempts + 1) else { return };
        let wait = self.wait(attempts);
        if attempts >= ATTEMPTS_MAX {
            self.reach("a parked key becomes dead letters");
            let Some(parked) = self.database.parked.remove(&own) else { return };
            for (event, record) in parked.messages {
                self.end_parked(own.0, event, Outcome::Dead, Some(record));
            }
        } else if let Some(parked) = self.database.parked.get_mut(&own) {
            (parked.attempts, parked.next_try_at, parked.leased_until) = (attempts, now + wait, 0);
        }
    }

    /// The outcome of a message that was parked, with its effect or its letter.
    fn end_parked(&mut self, consumer: usize, event: EventId, outcome: Outcome, record: Option<Record>) {
        let Some(row) = self.database.inbox.get_mut(&(consumer, event)).filter(|row| row.outcome == Outcome::Parked)
        else {
            return;
        };
        let attempt = row.attempt;
        *row = Inbox { outcome, attempt };
        match record {
            None => self.write_effect(consumer, event),
            Some(record) => {
                let topic = format!("{}.dlq", CONSUMERS[consumer]);
                self.write_failure(consumer, event, &record, Kind::DeadLetter, topic, attempt, None);
            }
        }
    }

    /// Where messages of an ordered consumer go, in their order: `parked/turn.rs`. None: it is to be worked on.
    pub fn turn(
        &self,
        closed: &mut Vec<Key>,
        consumer: usize,
        record: &Record,
        end: Option<End>,
    ) -> Option<Option<End>> {
        if !self.plan.ordered || end == Some(End::Unreadable) {
            return Some(end);
        }
        let key = key_of(record);
        if closed.contains(&key) || self.database.parked.contains_key(&(consumer, key.clone())) {
            return Some(Some(End::Behind));
        }
        match end {
            Some(End::Behind) => None,
            Some(End::Park) => {
                closed.push(key);
                Some(end)
            }
            _ => Some(end),
        }
    }
}
