//! What must be true at every step, and at the end.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    database::{EventId, Kind, Outcome, Row},
    kafka::{MemberId, Tp},
    settling::{ECHO, FOREIGN, event_of},
    world::{CONSUMERS, Ms, Step, World},
};
use crate::{Policy, Record};

/// How long a healed world may take until nothing is left to do.
const DRAINED_WITHIN: Ms = 120_000;

#[derive(Default)]
pub(super) struct Checks {
    pub violation: Option<String>,
    aggregates: BTreeMap<EventId, u64>,
    /// Committed events of each topic and aggregate, in the order of their versions.
    expected: BTreeMap<(bool, u64), Vec<EventId>>,
    /// How many of them are on the topic.
    on_topic: BTreeMap<(bool, u64), usize>,
    /// How many of them have an outcome, by consumer.
    with_outcome: BTreeMap<(usize, bool, u64), usize>,
    /// Undecodable records of others.
    pub foreign: BTreeSet<EventId>,
    on_dead_letter_topic: BTreeMap<(usize, EventId), u32>,
}

fn is_echo(event: EventId) -> bool {
    (ECHO..FOREIGN).contains(&event)
}

impl Checks {
    pub fn aggregate_of(&self, event: EventId) -> u64 {
        self.aggregates.get(&event).copied().unwrap_or(0)
    }

    fn violate(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }
}

impl World {
    /// An event's row is committed.
    pub fn write_event(&mut self, id: u64, aggregate: u64, event: EventId, topic: &str) {
        *self.database.versions.entry(aggregate).or_default() += 1;
        if self.checks.aggregates.insert(event, aggregate).is_some() {
            self.checks.violate(format!("event {event} is written twice"));
        }
        self.checks.expected.entry((is_echo(event), aggregate)).or_default().push(event);
        let row = Row {
            id,
            kind: Kind::Event,
            event,
            aggregate: Some(aggregate),
            topic: topic.to_owned(),
            key: Some(vec![u8::try_from(aggregate).unwrap_or(0)]),
            payload: event.to_le_bytes().to_vec(),
            headers: Vec::new(),
            consumer: None,
            attempt: 0,
            published: false,
        };
        self.database.outbox.insert(id, row);
    }

    /// Of an aggregate the first occurrence of each event is in the order of versions.
    pub fn check_append(&mut self, row: &Row) {
        match (row.aggregate, row.consumer) {
            (Some(aggregate), _) => {
                let key = (is_echo(row.event), aggregate);
                let expected = self.checks.expected.get(&key).map_or(&[][..], Vec::as_slice);
                let seen = self.checks.on_topic.entry(key).or_default();
                let place = expected.iter().position(|event| *event == row.event);
                if place.is_some_and(|place| place < *seen) {
                    *self.reached.entry("an event is on its topic again").or_default() += 1;
                }
                if place == Some(*seen) {
                    *seen += 1;
                } else if place.is_none_or(|place| place > *seen) {
                    let what =
                        format!("event {} of aggregate {aggregate} is on its topic before an earlier one", row.event);
                    self.checks.violate(what);
                }
            }
            (None, Some(consumer)) if row.kind == Kind::DeadLetter => {
                *self.checks.on_dead_letter_topic.entry((consumer, row.event)).or_default() += 1;
            }
            _ => {}
        }
    }

    /// What others have written to an events' topic is owed an outcome too.
    pub fn check_foreign(&mut self, tp: Tp) {
        let log = &self.kafka.logs[tp];
        if &*log.source.topic == "events"
            && let Some(event) = log.entries.last().map(event_of).filter(|event| *event >= FOREIGN)
        {
            self.checks.foreign.insert(event);
        }
    }

    /// Of a key the first outcomes are in the order of versions.
    pub fn check_first_outcome(&mut self, consumer: usize, event: EventId) {
        if event >= FOREIGN {
            return;
        }
        let (echo, aggregate) = (is_echo(event), self.checks.aggregate_of(event));
        let settled = self.checks.with_outcome.entry((consumer, echo, aggregate)).or_default();
        let next = self.checks.expected.get(&(echo, aggregate)).and_then(|events| events.get(*settled));
        *settled += 1;
        if next != Some(&event) {
            let what = format!("consumer {consumer} gives event {event} an outcome before {next:?} of the same key");
            self.checks.violate(what);
        }
    }

    pub fn check_effect(&mut self, consumer: usize, event: EventId) {
        if self.plan.ordered {
            self.check_effect_in_order(consumer, event);
        }
        let times = self.database.effects.get(&(consumer, event)).copied().unwrap_or(0);
        if times != 1 {
            self.checks.violate(format!("event {event} has its effect {times} times at consumer {consumer}"));
        }
        let dead = |row: &Row| row.kind == Kind::DeadLetter && (row.consumer, row.event) == (Some(consumer), event);
        if self.database.outbox.values().any(dead) {
            self.checks.violate(format!("event {event} is done and dead at consumer {consumer}"));
        }
    }

    /// Of an ordered consumer's key an effect comes after all before it are done or dead.
    fn check_effect_in_order(&mut self, consumer: usize, event: EventId) {
        let expected = self.checks.expected.get(&(is_echo(event), self.checks.aggregate_of(event)));
        let mut before = expected.into_iter().flatten().take_while(|other| **other != event);
        let ended = |other: &EventId| {
            let row = self.database.inbox.get(&(consumer, *other));
            row.is_some_and(|row| matches!(row.outcome, Outcome::Done | Outcome::Dead))
        };
        if let Some(open) = before.find(|other| !ended(other)) {
            let what = format!("consumer {consumer} does event {event} before {open} of the same key");
            self.checks.violate(what);
        }
    }

    /// The unique index on failures, and no dead letter of what is done.
    pub fn check_failure_row(&mut self, new: &Row) {
        let same = |row: &Row| {
            (row.kind, row.consumer, row.event, row.attempt) == (new.kind, new.consumer, new.event, new.attempt)
        };
        if self.database.outbox.values().any(same) {
            self.checks.violate(format!("a second {:?} of event {} attempt {}", new.kind, new.event, new.attempt));
        }
        let tier = usize::try_from(new.attempt - 1).ok().and_then(|nth| Policy::TIERS.get(nth));
        if new.kind == Kind::Retry && tier.is_none_or(|tier| !new.topic.ends_with(&format!(".retry.{}", tier.name))) {
            self.checks.violate(format!("attempt {} of event {} goes to {}", new.attempt, new.event, new.topic));
        }
        let done = new.consumer.is_some_and(|consumer| self.database.effects.contains_key(&(consumer, new.event)));
        if done {
            self.checks.violate(format!("event {} fails after it was done", new.event));
        }
    }

    /// A retry does not begin before its time, by the process's own clock.
    pub fn check_start(&mut self, process: usize, record: &Record) {
        let state = &self.processes[process];
        let own = record.source.topic.starts_with(&format!("{}.retry.", CONSUMERS[state.group]));
        let early =
            record.not_before_ms().filter(|at| own && self.plan.clock_jumps == 0 && *at > state.wall_ms(self.now));
        if let Some(at) = early {
            self.checks.violate(format!("{} {} starts before {at}", record.source, record.offset));
        }
    }

    pub fn check_budget(&mut self, process: usize) {
        let budget = self.processes[process].core.budget();
        // The record that closes it may be larger than what was left.
        let bytes_max = self.plan.bytes_max + 1_000;
        // What a partition waited for may come when the others have used up the budget.
        let times = if self.gating.blocks_partitions() { 2 } else { 1 };
        if budget.messages() > times * self.plan.messages_max || budget.bytes() > times * bytes_max {
            let what = format!("process {process} holds {} messages, {} bytes", budget.messages(), budget.bytes());
            self.checks.violate(what);
        }
    }

    /// A commit that the broker accepts: by the owner, never backwards, never beyond what has its outcome.
    pub fn check_commit(&mut self, group: usize, member: MemberId, tp: Tp, offset: i64) {
        let state = &self.kafka.groups[group];
        let (before, owner) = (state.committed.get(&tp).copied().unwrap_or(0), state.owner.get(&tp).copied());
        let source = &self.kafka.logs[tp].source;
        let violation = if owner != Some(member) {
            Some(format!("{member:?} commits {source}, which is {owner:?}'s"))
        } else if offset < before {
            Some(format!("{member:?} commits {source} at {offset}, back from {before}"))
        } else {
            let mut newly = self.kafka.logs[tp].range(before, offset);
            let open = newly.find(|r| !self.database.is_settled(group, event_of(r), attempt_of(r, group)));
            open.map(|r| format!("{member:?} commits {source} at {offset}; {} has no outcome", r.offset))
        };
        if let Some(violation) = violation {
            self.checks.violate(violation);
        }
    }

    /// Looks whether a healed world has come to rest. Returns whether this is the end.
    pub fn look(&mut self) -> bool {
        let healed_at = self.healed_at.unwrap_or(self.now);
        if !self.plan.liveness {
            self.check_outcomes(false);
            return true;
        }
        match self.unfinished() {
            None => {
                self.reach("a healed world comes to rest");
                self.check_outcomes(true);
                true
            }
            Some(what) if self.now > healed_at + DRAINED_WITHIN => {
                self.checks.violate(format!("{DRAINED_WITHIN} ms after the last fault: {what}"));
                true
            }
            Some(_) => {
                self.after(100, 300, Step::Look);
                false
            }
        }
    }

    fn unfinished(&self) -> Option<String> {
        if self.written < self.plan.events || !self.database.locked.is_empty() {
            return Some("writers have not written all".to_owned());
        }
        if let Some(row) = self.database.outbox.values().find(|row| !row.published) {
            return Some(format!("row {} is not published", row.id));
        }
        for (consumer, group) in self.kafka.groups.iter().enumerate() {
            for tp in &group.subscribed {
                let log = &self.kafka.logs[*tp];
                let committed = group.committed.get(tp).copied().unwrap_or(0);
                if committed < log.next {
                    let source = &log.source;
                    return Some(format!("{} stands at {committed} of {} in {source}", CONSUMERS[consumer], log.next));
                }
            }
        }
        if let Some(((consumer, key), _)) = self.database.parked.first_key_value() {
            return Some(format!("key {key:?} is parked at consumer {consumer}"));
        }
        let retrying = self.database.inbox.iter().find(|(_, row)| row.outcome == Outcome::Retrying);
        if let Some(((consumer, event), _)) = retrying {
            return Some(format!("event {event} waits for a retry at consumer {consumer}, and nothing is on its way"));
        }
        if let Some(process) = self.processes.iter().position(|process| process.up && !process.signals.is_closed()) {
            return Some(format!("the breaker of process {process} is open"));
        }
        let busy = self.processes.iter().position(|process| process.up && process.core.budget().messages() > 0);
        busy.map(|process| format!("process {process} holds messages"))
    }

    /// Every committed event has one outcome at every consumer, and what belongs to it.
    fn check_outcomes(&mut self, all: bool) {
        let mut violation = None;
        for (consumer, group) in self.kafka.groups.iter().enumerate() {
            let reads_echo = group.subscribed.iter().any(|tp| &*self.kafka.logs[*tp].source.topic == "echo");
            let events = self.checks.aggregates.keys().chain(&self.checks.foreign);
            for event in events.filter(|event| reads_echo || !is_echo(**event)) {
                let effects = self.database.effects.get(&(consumer, *event)).copied().unwrap_or(0);
                let letters = self.database.outbox.values().filter(|row| {
                    row.kind == Kind::DeadLetter && (row.consumer, row.event) == (Some(consumer), *event)
                });
                let published = self.checks.on_dead_letter_topic.contains_key(&(consumer, *event));
                let outcome = self.database.inbox.get(&(consumer, *event)).map(|row| row.outcome);
                let echo = self.checks.aggregates.contains_key(&(event + ECHO));
                let right = match (outcome, effects, letters.count()) {
                    (Some(Outcome::Done), 1, 0) => consumer != 0 || echo,
                    (Some(Outcome::Dead), 0, 1) => !all || published,
                    (None | Some(Outcome::Retrying | Outcome::Parked), 0, 0) => !all,
                    _ => false,
                };
                if !right {
                    violation = Some(format!(
                        "event {event} at consumer {consumer}: {outcome:?}, {effects} effects, emitted {echo}, dead letter \
                         published {published}"
                    ));
                }
            }
        }
        if let Some(violation) = violation {
            self.checks.violate(violation);
        }
    }
}

/// Only the consumer's own retry topics are believed.
fn attempt_of(record: &Record, group: usize) -> i32 {
    if record.source.topic.starts_with(&format!("{}.retry.", CONSUMERS[group])) { record.attempt() } else { 0 }
}
