//! Operators' commands, the breaker, and schemas that the registry learns later: what holds messages back at the gate, which
//! is the real one inside the core.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    database::EventId,
    member::Process,
    random::Random,
    world::{Life, Ms, World},
};
use crate::{
    Class,
    consumer::{Done, Hold, core::Input},
    gate::{Action, BreakerConfig, Cause, Command, CommandId, CommandSet, Judgement, Selector, Signals, Turn},
};

/// Draws of its own, so that a world without these is the same as ever.
const SALT: u64 = 0x6a7e;
const DAY: Duration = Duration::from_secs(86_400);
/// In a healed world the breaker has so long to find out by itself what is well again.
const OPERATOR_COMES_AFTER: Ms = 10_000;
/// A storm has many.
const REASONS: [&str; 3] = ["asked-to", "asked-again", "asked-otherwise"];

pub(super) struct Gating {
    random: Random,
    /// Per mille of the ticks.
    commands: u64,
    breaker: bool,
    /// Per mille of the events.
    unknown_schemas: u64,
    /// When the registry will know an event's schema.
    known_at: BTreeMap<EventId, Ms>,
}

impl Gating {
    pub fn draw(seed: u64) -> Self {
        let mut random = Random::new(seed ^ SALT);
        let mut sometimes = |high: u64| if random.chance(600) { 0 } else { random.between(1, high) };
        let (commands, unknown_schemas) = (sometimes(100), sometimes(200));
        let breaker = random.chance(400);
        Self { random, commands, breaker, unknown_schemas, known_at: BTreeMap::new() }
    }

    pub fn blocks_partitions(&self) -> bool {
        self.unknown_schemas > 0
    }

    pub fn signals(&self, messages_max: usize) -> Signals {
        let breaker = BreakerConfig {
            enabled: self.breaker,
            window_messages: 20,
            window: Duration::from_secs(5),
            failures_min: 2,
            failures_percent: 30,
            probe_interval: Duration::from_millis(50),
            probe_interval_max: Duration::from_millis(400),
            close_after: 3,
        };
        Signals::new("simulated", breaker, 1.max(messages_max / 4), messages_max)
    }
}

impl World {
    /// Now and then an operator commands something for a while.
    pub fn command(&mut self, life: Life) {
        if self.needs_an_operator() && !self.processes[life.process].signals.is_closed() {
            self.reach("an operator lets fail what the breaker holds");
            return self.command_this(life, 0, Action::LetFail, Selector::All, DAY);
        }
        if !self.faulty() || !self.gating.random.chance(self.gating.commands) {
            return;
        }
        let random = &mut self.gating.random;
        let action = match random.below(4) {
            0 => Action::Pause,
            1 => Action::Drain,
            2 => Action::LetFail,
            _ => Action::Throttle { per_second: 5.0 },
        };
        let selector = match random.below(3) {
            _ if action == Action::LetFail => Selector::All,
            0 => Selector::All,
            1 => Selector::Partition("events".to_owned(), 0),
            _ => Selector::Key(vec![0]),
        };
        let left = Duration::from_millis(random.between(50, 1_500));
        let id = i64::try_from(random.below(1_000_000)).unwrap_or(0);
        self.command_this(life, id, action, selector, left);
    }

    /// What will never succeed is held until somebody decides. Everything else has to come without help.
    fn needs_an_operator(&self) -> bool {
        let waited = self.healed_at.is_some_and(|at| self.now > at + OPERATOR_COMES_AFTER);
        waited && !self.faulty() && (self.has_hopeless() || !self.checks.foreign.is_empty())
    }

    fn command_this(&mut self, life: Life, id: CommandId, action: Action, selector: Selector, left: Duration) {
        let process = &mut self.processes[life.process];
        let command = Command { id, action, selector, until: process.elapsed(self.now) + left };
        process.events.push_back(Input::Commands(Arc::new(CommandSet::new(vec![command], 1))));
        self.reach("an operator commands something");
        self.wake_driver(life);
    }

    /// Holds a message whose schema the registry does not know yet. Returns whether it did.
    pub fn strands(&mut self, life: Life, message: u64) -> bool {
        let unknown = self.gating.unknown_schemas;
        let Some(event) = self.processes[life.process].messages.get(&message).map(|m| m.state.event) else {
            return false;
        };
        let now = self.now;
        let random = &mut self.gating.random;
        let draw = |random: &mut Random| if random.chance(unknown) { now + random.between(100, 3_000) } else { 0 };
        let known_at =
            if unknown == 0 { 0 } else { *self.gating.known_at.entry(event).or_insert_with(|| draw(random)) };
        if now >= known_at {
            return false;
        }
        self.reach("a partition waits for a schema");
        self.hold(life, message, Hold::Partition("unknown-schema"))
    }

    /// Asks the breaker about a failure. Returns whether it holds the message.
    pub fn breaker_holds(&mut self, life: Life, message: u64, class: Class) -> bool {
        let process = &self.processes[life.process];
        let Some(turn) = process.turn_of(message) else { return false };
        let cause = Cause { class, reason: REASONS[usize::try_from(message).unwrap_or(0) % REASONS.len()] };
        if process.signals.judge(process.elapsed(self.now), turn, cause) == Judgement::Settle {
            return false;
        }
        self.reach("the breaker holds a message");
        self.hold(life, message, Hold::Breaker(cause.reason))
    }

    fn hold(&mut self, life: Life, message: u64, why: Hold) -> bool {
        let process = &mut self.processes[life.process];
        // A planted bug has given it back already.
        if process.turn_of(message).is_none() {
            return false;
        }
        if let Some(message) = process.messages.remove(&message)
            && let Some(ticket) = message.ticket
        {
            process.results.push(Done::Held(ticket, Box::new(message.record), why));
            self.wake_driver(life);
        }
        true
    }

    /// After the commit.
    pub fn tell_gate(&mut self, life: Life, message: u64) {
        let process = &self.processes[life.process];
        let Some(turn) = process.turn_of(message) else { return };
        let succeeded = process.messages.get(&message).is_some_and(|message| message.state.succeeded());
        if succeeded {
            process.signals.succeeded(process.elapsed(self.now), turn, 1);
        } else {
            process.signals.gave_up(turn);
        }
    }
}

impl Process {
    fn turn_of(&self, message: u64) -> Option<Turn> {
        Some(self.messages.get(&message)?.ticket?.turn)
    }
}
