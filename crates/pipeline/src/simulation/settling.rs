//! Work and settlement, as `process.rs` and `settle/` do them, with the real decision about what becomes of a failure.

use super::{
    bug::Bug,
    database::{EventId, Inbox, Kind, Outcome, Row},
    member::Process,
    parking::key_of,
    world::{CONSUMERS, Life, Step, World},
};
use crate::{
    Class, Record, Tier,
    consumer::{Done, Ticket},
    fate::Fate,
    header,
};

/// The successor of an event: its id is derived from the event's.
pub(super) const ECHO: EventId = 1 << 40;
/// An undecodable record: its id is derived from its place.
pub(super) const FOREIGN: EventId = 1 << 41;
/// Tries of a message that never succeeds.
const NEVER: u32 = 1_000;
const POISON: u32 = u32::MAX;
const RECORD_TRIES: u32 = 3;

pub(super) struct Message {
    pub ticket: Option<Ticket>,
    pub record: Record,
    pub state: State,
}

/// What becomes of a message without a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Retry(Tier),
    DeadLetter,
    /// Dead, and without a place in the order of its key.
    Unreadable,
    /// The head of its key, which waits for it.
    Park,
    /// Not tried, or tried in vain, as its key is parked.
    Behind,
}

#[derive(Clone)]
pub(super) struct State {
    pub event: EventId,
    pub attempt: i32,
    tries: u32,
    waits: u32,
    end: Option<End>,
    /// Its key is free by now: it is to be worked on.
    freed: bool,
    /// By a settlement of this very delivery.
    claimed: bool,
}

impl State {
    pub fn new(record: &Record) -> Self {
        Self {
            event: event_of(record),
            attempt: record.attempt(),
            tries: 0,
            waits: 0,
            end: None,
            freed: false,
            claimed: false,
        }
    }

    /// This very delivery was done.
    pub fn succeeded(&self) -> bool {
        self.claimed && self.end.is_none()
    }

    fn row(&self) -> Inbox {
        match self.end {
            None => Inbox { outcome: Outcome::Done, attempt: self.attempt },
            Some(End::Retry(_)) => Inbox { outcome: Outcome::Retrying, attempt: self.attempt + 1 },
            Some(End::DeadLetter | End::Unreadable) => Inbox { outcome: Outcome::Dead, attempt: self.attempt },
            Some(End::Park | End::Behind) => Inbox { outcome: Outcome::Parked, attempt: self.attempt },
        }
    }
}

/// The identity of a record: of a decodable one what it says, of any other its place of origin.
pub(super) fn event_of(record: &Record) -> EventId {
    let payload = record.payload.as_deref().unwrap_or_default();
    if let Ok(id) = <[u8; 8]>::try_from(payload) {
        return EventId::from_le_bytes(id);
    }
    let (_, partition, offset) = record.origin();
    FOREIGN + u64::try_from(partition).unwrap_or(0) * 100_000 + u64::try_from(offset).unwrap_or(0)
}

pub(super) struct Batch {
    items: Vec<u64>,
    /// To be settled alone, as the batch failed.
    singles: Vec<u64>,
    tries: u32,
    waits: u32,
    answer: Answer,
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    Settled,
    Unavailable,
    Failed,
}

impl World {
    /// How often the outside world lets this fail, drawn when it is first asked.
    fn failures(&mut self, kind: usize, event: EventId) -> &mut u32 {
        let drawn = match self.random.below(100) {
            0..70 => 0,
            70..92 => u32::try_from(self.random.between(1, 9)).unwrap_or(1),
            92..95 => NEVER,
            _ => POISON,
        };
        self.failing.entry((kind, event)).or_insert(drawn)
    }

    /// Whether anything was drawn that fails whenever it is tried.
    pub fn has_hopeless(&self) -> bool {
        self.failing.values().any(|left| matches!(*left, NEVER | POISON))
    }

    pub fn worked(&mut self, life: Life, message: u64) {
        let away = self.database_is_away() || self.strikes(self.plan.away / 4);
        let fatal = self.strikes(2);
        let consumer = self.processes[life.process].group;
        let process = &mut self.processes[life.process];
        let draining = process.core.is_draining();
        let Some(Message { state, .. }) = process.messages.get_mut(&message) else { return };
        let (event, attempt) = (state.event, state.attempt);
        if !fatal && self.strands(life, message) {
            return;
        }
        let process = &mut self.processes[life.process];
        let Some(Message { state, .. }) = process.messages.get_mut(&message) else { return };
        if fatal {
            process.results.push(Done::Fatal("the handler says so".to_owned()));
            return self.wake_driver(life);
        }
        if self.plan.ask_inbox_first || self.bug == Some(Bug::RedisAsTruth) {
            if away {
                state.waits += 1;
                let waits = state.waits;
                return if draining {
                    self.give_back(life, message, false)
                } else {
                    self.work_later(life, message, waits)
                };
            }
            let by_cache =
                self.bug == Some(Bug::RedisAsTruth) && attempt == 0 && self.seen.contains(&(consumer, event));
            if by_cache || (self.plan.ask_inbox_first && self.database.is_settled(consumer, event, attempt)) {
                return self.give_back(life, message, true);
            }
        }
        if self.plan.ordered && event < FOREIGN && self.seems_parked(life, message) {
            return self.finish(life, message, Some(End::Behind));
        }
        let class = self.fails(consumer, event);
        let Some(Message { state, .. }) = self.processes[life.process].messages.get_mut(&message) else { return };
        if let Some(class) = class {
            state.tries += 1;
            let tries = state.tries;
            if class == Class::Transient && tries < self.policy.tries_in_lane {
                return if draining {
                    self.give_back(life, message, false)
                } else {
                    self.work_later(life, message, tries)
                };
            }
            if self.breaker_holds(life, message, class) {
                return;
            }
            let end = self.end_of(event, class, attempt);
            return self.finish(life, message, Some(end));
        }
        if self.bug == Some(Bug::RedisAsTruth) {
            self.seen.insert((consumer, event));
        }
        self.finish(life, message, None);
    }

    /// Whether this try fails, and how.
    pub fn fails(&mut self, kind: usize, event: EventId) -> Option<Class> {
        if event >= FOREIGN {
            return Some(Class::Poison);
        }
        let left = self.failures(kind, event);
        match *left {
            0 => None,
            POISON => Some(Class::Poison),
            NEVER => Some(Class::Transient),
            _ => {
                *left -= 1;
                Some(Class::Transient)
            }
        }
    }

    /// Whether `record` fails for this message.
    pub fn record_fails(&mut self, consumer: usize, event: EventId) -> bool {
        self.fails(consumer + 10, event) == Some(Class::Transient)
    }

    fn end_of(&self, event: EventId, class: Class, attempt: i32) -> End {
        match self.policy.fate(class, attempt) {
            _ if event >= FOREIGN => End::Unreadable,
            Fate::Park => End::Park,
            Fate::Retry(tier) => End::Retry(tier),
            _ => End::DeadLetter,
        }
    }

    fn seems_parked(&self, life: Life, message: u64) -> bool {
        let process = &self.processes[life.process];
        let key = process.messages.get(&message).map(|message| key_of(&message.record));
        key.is_some_and(|key| process.hints.contains(&key))
    }

    fn finish(&mut self, life: Life, message: u64, end: Option<End>) {
        let process = &mut self.processes[life.process];
        if let Some(Message { state, .. }) = process.messages.get_mut(&message) {
            state.end = end;
            process.finished.push(message);
        }
        self.wake_settlers(life);
    }

    fn work_later(&mut self, life: Life, message: u64, nth: u32) {
        let wait = self.wait(nth);
        self.after(wait, wait, Step::Worked { life, message });
    }

    pub fn wait(&mut self, nth: u32) -> u64 {
        let random = self.random.fraction();
        u64::try_from(self.retry.wait(nth, random).as_millis()).unwrap_or(1)
    }

    fn wake_settlers(&mut self, life: Life) {
        let slow = self.plan.slowness;
        loop {
            let process = &mut self.processes[life.process];
            let Some(slot) = process.slots.iter().position(Option::is_none) else { return };
            // As `take_batch`: from the front, each event once.
            let mut events = std::collections::BTreeSet::new();
            let messages = &process.messages;
            let fits = |message: &&u64| messages.get(message).is_some_and(|message| events.insert(message.state.event));
            let count = process.finished.iter().take(self.plan.batch_max).take_while(fits).count();
            if count == 0 {
                return;
            }
            let items = process.finished.drain(..count).collect();
            let batch = Batch { items, singles: Vec::new(), tries: 0, waits: 0, answer: Answer::Settled };
            process.slots[slot] = Some(batch);
            self.after(1, 30 * slow, Step::Transact { life, slot });
        }
    }

    /// What the database does with one transaction. It may do it also when the process has just died.
    pub fn transact(&mut self, life: Life, slot: usize) {
        let process = &self.processes[life.process];
        if process.life != life.life || (!process.up && self.random.chance(500)) {
            return;
        }
        let Some(batch) = self.processes[life.process].slots[slot].take() else { return };
        let consumer = self.processes[life.process].group;
        let answer = self.try_transact(life, consumer, &batch);
        let slow = self.plan.slowness;
        match answer {
            Some(answer) => {
                self.processes[life.process].slots[slot] = Some(Batch { answer, ..batch });
                self.after(1, 10 * slow, Step::Answered { life, slot });
            }
            // A lock is in the way.
            None => {
                self.reach("a settlement waits for an aggregate's lock");
                self.processes[life.process].slots[slot] = Some(batch);
                self.after(5, 30, Step::Transact { life, slot });
            }
        }
    }

    fn try_transact(&mut self, life: Life, consumer: usize, batch: &Batch) -> Option<Answer> {
        if self.database_is_away() || self.strikes(self.plan.failed_statements) {
            return Some(Answer::Unavailable);
        }
        let messages = &self.processes[life.process].messages;
        let items: Vec<(u64, State, Record)> = batch
            .items
            .iter()
            .filter_map(|id| messages.get(id).map(|message| (*id, message.state.clone(), message.record.clone())))
            .collect();
        let skips_inbox = self.bug == Some(Bug::SkipInbox);
        let (mut claimed, mut closed, mut freed) = (Vec::new(), Vec::new(), Vec::new());
        for (id, mut state, record) in items {
            let Some(end) = self.turn(&mut closed, consumer, &record, state.end) else {
                freed.push(id);
                continue;
            };
            state.end = end;
            if (skips_inbox && state.end.is_none()) || self.database.claims(consumer, state.event, state.row()) {
                claimed.push((id, state));
            }
        }
        let emits = |state: &State| consumer == 0 && state.end.is_none() && state.event < ECHO;
        let locked = |state: &State| self.database.locked.contains(&self.checks.aggregate_of(state.event));
        if claimed.iter().any(|(_, state)| emits(state) && locked(state)) {
            return None;
        }
        for (_, state) in &claimed {
            if state.end.is_none() && self.record_fails(consumer, state.event) {
                return Some(Answer::Failed);
            }
        }
        let indefinite = self.strikes(self.plan.indefinite_commits);
        if indefinite {
            self.reach("it is not known whether a settlement took place");
        }
        if claimed.len() + freed.len() < batch.items.len() {
            self.reach("a message has its outcome already");
        }
        if batch.items.len() > 1 {
            self.reach("many messages are settled at once");
        }
        if indefinite && self.random.chance(500) {
            return Some(Answer::Unavailable);
        }
        for id in freed {
            if let Some(message) = self.processes[life.process].messages.get_mut(&id) {
                message.state.freed = true;
            }
        }
        for (id, state) in claimed {
            if let Some(message) = self.processes[life.process].messages.get_mut(&id) {
                (message.state.claimed, message.state.end) = (true, state.end);
            }
            self.apply(life, consumer, id, &state);
        }
        Some(if indefinite { Answer::Unavailable } else { Answer::Settled })
    }

    fn apply(&mut self, life: Life, consumer: usize, message: u64, state: &State) {
        let (event, row) = (state.event, state.row());
        if self.database.inbox.insert((consumer, event), row).is_none() && state.attempt == 0 {
            self.check_first_outcome(consumer, event);
        }
        let Some(Message { record, .. }) = self.processes[life.process].messages.get(&message) else { return };
        let record = record.clone();
        match state.end {
            None => self.write_effect(consumer, event),
            Some(End::Park | End::Behind) => self.park(consumer, event, record),
            Some(End::Retry(tier)) => {
                self.reach(tier.name);
                let wall_ms = self.processes[life.process].wall_ms(self.now);
                let not_before = self.retry.not_before_ms(tier, wall_ms);
                let topic = format!("{}.retry.{}", CONSUMERS[consumer], tier.name);
                self.write_failure(consumer, event, &record, Kind::Retry, topic, row.attempt, Some(not_before));
            }
            Some(_) if self.bug == Some(Bug::DeadLetterAfterCommit) => {}
            Some(_) => {
                self.reach("a message dies");
                self.write_dead_letter(life, consumer, message);
            }
        }
    }

    pub fn write_effect(&mut self, consumer: usize, event: EventId) {
        *self.database.effects.entry((consumer, event)).or_default() += 1;
        self.check_effect(consumer, event);
        if consumer == 0 && event < ECHO {
            let aggregate = self.checks.aggregate_of(event);
            let id = self.database.new_id();
            self.write_event(id, aggregate, event + ECHO, "echo");
        }
    }

    fn write_dead_letter(&mut self, life: Life, consumer: usize, message: u64) {
        let topic = format!("{}.dlq", CONSUMERS[consumer]);
        let Some(Message { state, record, .. }) = self.processes[life.process].messages.get(&message) else { return };
        let (event, attempt, record) = (state.event, state.attempt, record.clone());
        self.write_failure(consumer, event, &record, Kind::DeadLetter, topic, attempt, None);
    }

    #[allow(clippy::too_many_arguments)]
    pub fn write_failure(
        &mut self,
        consumer: usize,
        event: EventId,
        record: &Record,
        kind: Kind,
        topic: String,
        attempt: i32,
        not_before: Option<i64>,
    ) {
        let (origin, partition, offset) = record.origin();
        let mut headers = vec![
            (header::ATTEMPT.to_owned(), attempt.to_string()),
            (header::ORIGINAL_TOPIC.to_owned(), origin),
            (header::ORIGINAL_PARTITION.to_owned(), partition.to_string()),
            (header::ORIGINAL_OFFSET.to_owned(), offset.to_string()),
        ];
        headers.extend(not_before.map(|at| (header::NOT_BEFORE.to_owned(), at.to_string())));
        let row = Row {
            id: self.database.new_id(),
            kind,
            event,
            aggregate: None,
            topic,
            key: record.key.clone(),
            payload: record.payload.clone().unwrap_or_default(),
            headers,
            consumer: Some(consumer),
            attempt,
            published: false,
        };
        self.check_failure_row(&row);
        self.database.outbox.insert(row.id, row);
    }

    pub fn answered(&mut self, life: Life, slot: usize) {
        let Some(mut batch) = self.processes[life.process].slots[slot].take() else { return };
        let draining = self.processes[life.process].core.is_draining();
        let again = match batch.answer {
            Answer::Settled => {
                self.settled(life, &batch.items);
                None
            }
            Answer::Unavailable => {
                batch.waits += 1;
                if draining && batch.waits > 3 {
                    for message in batch.items.iter().chain(&batch.singles) {
                        self.give_back(life, *message, false);
                    }
                    batch.singles.clear();
                    None
                } else {
                    Some(self.wait(batch.waits))
                }
            }
            Answer::Failed if batch.items.len() > 1 => {
                self.reach("a settlement fails and each message is settled alone");
                batch.singles = std::mem::take(&mut batch.items);
                None
            }
            Answer::Failed => {
                batch.tries += 1;
                if batch.tries >= RECORD_TRIES
                    && let Some(message) = batch.items.first()
                {
                    self.give_up(life, *message);
                }
                Some(self.wait(batch.tries))
            }
        };
        if let Some(wait) = again {
            self.processes[life.process].slots[slot] = Some(batch);
            return self.after(wait, wait, Step::Transact { life, slot });
        }
        if batch.singles.is_empty() {
            return self.wake_settlers(life);
        }
        let next = batch.singles.remove(0);
        let batch = Batch { items: vec![next], tries: 0, waits: 0, ..batch };
        self.processes[life.process].slots[slot] = Some(batch);
        self.after(1, 10, Step::Transact { life, slot });
    }

    /// `record` has failed for it, again and again.
    fn give_up(&mut self, life: Life, message: u64) {
        let Some(Message { state, .. }) = self.processes[life.process].messages.get(&message) else { return };
        let end = self.end_of(state.event, Class::Transient, state.attempt);
        if let Some(message) = self.processes[life.process].messages.get_mut(&message) {
            message.state.end = Some(end);
        }
    }

    fn settled(&mut self, life: Life, items: &[u64]) {
        let consumer = self.processes[life.process].group;
        for id in items {
            let Process { messages, hints, .. } = &mut self.processes[life.process];
            if let Some(message) = messages.get_mut(id) {
                let parks = message.state.row().outcome == Outcome::Parked;
                if std::mem::take(&mut message.state.freed) {
                    message.state.end = None;
                    hints.remove(&key_of(&message.record));
                    self.reach("a message finds its key free again");
                    self.after(1, 20, Step::Worked { life, message: *id });
                    continue;
                }
                if parks {
                    hints.insert(key_of(&message.record));
                }
            }
            let message = self.processes[life.process].messages.get(id);
            let dies = message.is_some_and(|m| m.state.claimed && m.state.row().outcome == Outcome::Dead);
            if dies && self.bug == Some(Bug::DeadLetterAfterCommit) {
                self.write_dead_letter(life, consumer, *id);
            }
            self.tell_gate(life, *id);
            self.give_back(life, *id, true);
        }
    }
}
