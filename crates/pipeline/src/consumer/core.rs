//! All decisions of the consumption, and nothing else: no runtime, no channel, no clock, no randomness. An [`Input`] and
//! the time come in, [`Effect`]s go out; [`super::driver`] is its shell, and the simulation another one.
//!
//! A record's way: `intake` (current? may it enter? charged) → its lane → the gate → [`Effect::Start`] → [`Input::Done`] →
//! the ledger's frontier → [`Effect::Commit`]. `holding` keeps what comes back without an outcome, `assignment` says when
//! partitions come and go.

mod assignment;
mod holding;
mod intake;

use std::{sync::Arc, time::Duration};

use super::{
    budget::Budget,
    in_flight::{Done, Lane, Ticket},
    lanes::Lanes,
    partition::{Handover, Partition, Slots},
    progress::PartitionProgress,
};
use crate::{
    ConsumerConfig, Record, RetryConfig,
    broker::Offsets,
    gate::{Admission, CommandSet, Note, Phase, Place, Placed, Share, Signals, TopKeys, note_of},
    message::TopicPartition,
};

/// An idle partition's last commit may have been lost without a word, and would show a lag for ever.
const RENEW_COMMITS: Duration = Duration::from_secs(15);
/// The core answers a handover so much before the poll thread stops waiting for it.
const HANDOVER_MARGIN: Duration = Duration::from_millis(500);
/// Keys that are counted at once.
const KEYS_COUNTED: usize = 64;
const FADE_KEYS: Duration = Duration::from_secs(60);

/// When an input happens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    /// For waits and deadlines: since the process started, never goes back.
    pub elapsed: Duration,
    /// For times that records carry: Unix milliseconds, may jump.
    pub wall_ms: i64,
}

#[derive(Debug)]
pub(crate) enum Input {
    Assigned {
        partitions: Vec<TopicPartition>,
        generation: u64,
    },
    /// To be answered by [`Effect::HandOver`] with the same number.
    Revoked {
        partitions: Vec<TopicPartition>,
        handover: u64,
    },
    Lost(Vec<TopicPartition>),
    CommitFailed(Vec<TopicPartition>),
    /// The generation is the number of assignments that the client had seen when it gave the record out.
    Record {
        record: Record,
        generation: u64,
    },
    Done(Done),
    /// Another set of operators' commands was read.
    Commands(Arc<CommandSet>),
    /// Every 50 ms or so: drives commits, deadlines and what waits for its time.
    Tick,
    BeginDrain,
    /// The client can not go on.
    Fatal(String),
}

#[derive(Debug)]
pub(crate) enum Effect {
    /// Work on it; it comes back as [`Input::Done`] with this ticket.
    Start(Ticket, Record),
    Pause(Vec<TopicPartition>),
    Resume(Vec<TopicPartition>),
    /// As of this assignment; whatever has changed hands since must be left out.
    Commit {
        offsets: Offsets,
        generation: u64,
    },
    /// The answer to a revocation: commit this, then let the partitions go.
    HandOver {
        handover: u64,
        settled: Offsets,
    },
    /// A good moment to publish [`Core::progress`].
    Report,
    /// The orderly end: commit this, leave the group, end.
    Close {
        offsets: Offsets,
        generation: u64,
    },
    /// The process must end with a failure. Nothing may be committed any more.
    Fail(String),
}

/// The state of one member of a consumer group. It is over after [`Effect::Close`] or [`Effect::Fail`].
pub(crate) struct Core {
    commit_interval: Duration,
    revoke_drain: Duration,
    shutdown_drain: Duration,
    slots: Slots,
    lanes: Lanes<Lane, (Ticket, Record)>,
    /// Of free lanes, not started yet, and what is out.
    admission: Admission<(Ticket, Record)>,
    /// Between the tries of what blocks a partition.
    retry: RetryConfig,
    budget: Budget,
    messages_max: usize,
    /// Of blocked partitions, outside of the budget; as much as the budget has, at most.
    bytes_outside: usize,
    bytes_max: usize,
    blocked: usize,
    /// What one partition may hold, while anything is held back.
    share: Option<Share>,
    /// Keys whose messages had to wait for each other.
    top_keys: TopKeys,
    faded_at: Duration,
    handovers: Vec<Handover>,
    /// Of the last assignment.
    generation: u64,
    committed_at: Duration,
    /// When all frontiers were last named, moved or not.
    renewed_at: Duration,
    /// Set when the process is to end: until when what is out may settle.
    draining_until: Option<Duration>,
    /// Partitions that hold records back.
    holding: usize,
    /// What is paused may differ from what should be.
    pauses_changed: bool,
    over: bool,
}

impl Core {
    /// `own_topics` is how the names of this consumer's retry topics begin: nobody else writes there.
    pub fn new(config: &ConsumerConfig, own_topics: String, signals: Signals, retry: RetryConfig) -> Self {
        Self {
            commit_interval: config.commit_interval,
            revoke_drain: config.revoke_drain,
            shutdown_drain: config.shutdown_drain,
            slots: Slots::new(own_topics),
            lanes: Lanes::default(),
            admission: Admission::new(signals),
            retry,
            messages_max: config.in_flight_messages_max,
            bytes_outside: 0,
            bytes_max: config.in_flight_bytes_max,
            blocked: 0,
            share: None,
            top_keys: TopKeys::new(KEYS_COUNTED),
            faded_at: Duration::ZERO,
            budget: Budget::new(config.in_flight_messages_max, config.in_flight_bytes_max),
            handovers: Vec::new(),
            generation: 0,
            committed_at: Duration::ZERO,
            renewed_at: Duration::ZERO,
            draining_until: None,
            holding: 0,
            pauses_changed: false,
            over: false,
        }
    }

    /// Takes one input. Call [`flush`](Self::flush) after one or many of them.
    pub fn on(&mut self, now: Now, input: Input, effects: &mut Vec<Effect>) {
        if self.over {
            return;
        }
        match input {
            Input::Record { record, generation } => self.on_record(now, record, generation),
            Input::Done(done) => self.on_done(now, done, effects),
            Input::Commands(commands) => self.on_commands(now, commands),
            Input::Tick => self.on_tick(now, effects),
            Input::Assigned { partitions, generation } => self.on_assigned(partitions, generation, effects),
            Input::Revoked { partitions, handover } => self.on_revoked(now, partitions, handover),
            Input::Lost(partitions) => self.on_lost(&partitions),
            Input::CommitFailed(partitions) => self.on_commit_failed(&partitions),
            Input::BeginDrain => self.begin_drain(now),
            Input::Fatal(why) => self.fail(why, effects),
        }
    }

    /// What follows from all inputs since the last call: starts, pauses, handovers that are over, the end.
    pub fn flush(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.over {
            return;
        }
        self.admit_what_is_due(now);
        self.try_blocked(now);
        self.start_what_is_ready(now, effects);
        self.finish_handovers(now, effects);
        if self.draining_until.is_some_and(|until| self.running() == 0 || now.elapsed >= until) {
            self.over = true;
            effects.push(Effect::Close { offsets: self.take_frontiers(), generation: self.generation });
            return;
        }
        self.share_out();
        self.apply_pauses(now, effects);
    }

    /// Records wait outside while the budget is used up, and so, in the end, at the broker.
    pub fn takes_records(&self) -> bool {
        !self.budget.is_closed() && self.draining_until.is_none()
    }

    pub fn is_draining(&self) -> bool {
        self.draining_until.is_some()
    }

    /// Messages that are out.
    pub fn running(&self) -> usize {
        self.admission.running()
    }

    pub fn admission(&self) -> &Admission<(Ticket, Record)> {
        &self.admission
    }

    pub fn top_keys(&self) -> &TopKeys {
        &self.top_keys
    }

    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// What holds a message up that is not out, as far as it is known here.
    pub fn reason_of(&self, source: &TopicPartition, offset: i64) -> Option<Note> {
        let is_it = |(_, record): &&(Ticket, Record)| record.offset == offset && record.source == *source;
        let waiting = self.admission.waiting().find(|(item, _)| is_it(item));
        let waiting = waiting.map(|((_, record), phase)| note_of(record, phase));
        waiting.or_else(|| {
            let (_, partition) = self.slots.assigned().find(|(of, _)| *of == source)?;
            let blocked = partition.blocked.as_ref()?;
            let (_, record) = blocked.stranded.get(&offset)?;
            Some(note_of(record, Phase::Waiting { reason: blocked.reason }))
        })
    }

    /// Whether messages wait at the gate or in a blocked partition, so that a frontier that stands is no stall.
    pub fn holds_back(&self) -> bool {
        let [_, by_commands, by_breaker] = self.admission.here();
        by_commands + by_breaker + self.blocked > 0 || !self.admission.signals().is_closed()
    }

    /// What the watchdog is told of each partition that is ours.
    pub fn progress(&self) -> impl Iterator<Item = (&TopicPartition, PartitionProgress)> {
        let over_budget = self.budget.is_closed();
        self.slots.assigned().map(move |(source, partition)| (source, partition.progress(over_budget)))
    }

    fn on_done(&mut self, now: Now, done: Done, effects: &mut Vec<Effect>) {
        let (ticket, settled) = match done {
            Done::Settled(ticket) => (ticket, true),
            Done::Abandoned(ticket) => (ticket, false),
            Done::Held(ticket, record, why) => return self.on_held(now, ticket, *record, why),
            Done::Fatal(why) => return self.fail(why, effects),
            Done::Dropped(ticket) => {
                let source = self.slots.source(ticket.slot).map_or_else(String::new, ToString::to_string);
                return self.fail(format!("the message at {source} offset {} was dropped", ticket.offset), effects);
            }
        };
        self.came_back(&ticket, settled);
    }

    fn came_back(&mut self, ticket: &Ticket, settled: bool) {
        self.admission.finished(ticket.generation);
        self.release(ticket);
        let mut unblocks = false;
        if let Some(partition) = self.slots.of_ticket(ticket) {
            partition.running -= 1;
            self.pauses_changed |= partition.crowded;
            if settled {
                partition.ledger.settle(ticket.offset);
                partition.last_settled_ms = Some(ticket.timestamp_ms);
            }
            unblocks = partition.blocked.as_ref().is_some_and(|blocked| blocked.probe == Some(ticket.offset));
        }
        if !settled {
            self.admission.signals().gave_up(ticket.turn);
        }
        if unblocks {
            self.unblock(ticket.slot);
        }
        if let Some(next) = self.lanes.finish(&ticket.lane) {
            self.admission.push(next);
        }
    }

    /// Gives back what the message takes of the budget.
    fn release(&mut self, ticket: &Ticket) {
        if let Some(partition) = self.slots.of_ticket(ticket) {
            partition.charged.0 -= 1;
            partition.charged.1 -= ticket.bytes;
            if partition.blocked.as_ref().is_some_and(|blocked| blocked.outside) {
                self.bytes_outside -= ticket.bytes;
                return;
            }
        }
        self.budget.release(ticket.bytes);
    }

    fn on_commands(&mut self, now: Now, commands: Arc<CommandSet>) {
        self.admission.obey(now.elapsed, commands);
        self.pauses_changed = true;
    }

    fn on_tick(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.admission.tick(now.elapsed);
        if now.elapsed.saturating_sub(self.faded_at) >= FADE_KEYS {
            self.faded_at = now.elapsed;
            self.top_keys.fade();
        }
        if now.elapsed.saturating_sub(self.committed_at) < self.commit_interval {
            return;
        }
        self.committed_at = now.elapsed;
        if now.elapsed.saturating_sub(self.renewed_at) >= RENEW_COMMITS {
            self.renewed_at = now.elapsed;
            self.slots.assigned_mut().for_each(|(_, partition)| partition.ledger.commit_again());
        }
        let offsets = self.take_frontiers();
        if !offsets.is_empty() {
            effects.push(Effect::Commit { offsets, generation: self.generation });
        }
        // Commands end without a word.
        self.pauses_changed = true;
        effects.push(Effect::Report);
    }

    fn begin_drain(&mut self, now: Now) {
        self.draining_until = Some(now.elapsed + self.shutdown_drain);
        self.pauses_changed = true;
        self.withdraw(&self.slots.assigned_ids());
    }

    fn fail(&mut self, why: String, effects: &mut Vec<Effect>) {
        self.over = true;
        effects.push(Effect::Fail(why));
    }

    fn take_frontiers(&mut self) -> Offsets {
        let frontier = |(source, partition): (&TopicPartition, &mut Partition)| {
            partition.ledger.take_frontier().map(|offset| (source.clone(), offset))
        };
        self.slots.assigned_mut().filter_map(frontier).collect()
    }

    /// While something is held back, or keys wait for each other, no partition may use up what the others need.
    fn share_out(&mut self) {
        let is_strained =
            self.admission.is_strained() || self.blocked > 0 || self.lanes.queued() > self.messages_max / 2;
        let share = is_strained.then(|| Share::of(self.messages_max, self.slots.assigned_count()));
        self.pauses_changed |= share != self.share;
        self.share = share;
    }

    fn apply_pauses(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if !std::mem::take(&mut self.pauses_changed) {
            return;
        }
        let all = self.draining_until.is_some();
        let (mut pause, mut resume) = (Vec::new(), Vec::new());
        for (source, partition) in self.slots.assigned_mut() {
            let open = partition.ledger.open_count();
            partition.barred = self.admission.holds_partition(now.elapsed, &source.topic, source.partition);
            partition.crowded = self.share.is_some_and(|share| share.pauses(open, partition.crowded));
            let wanted = all || partition.is_closed() || !partition.held.is_empty();
            if wanted != partition.paused {
                partition.paused = wanted;
                if wanted { pause.push(source.clone()) } else { resume.push(source.clone()) }
            }
        }
        if !pause.is_empty() {
            effects.push(Effect::Pause(pause));
        }
        if !resume.is_empty() {
            effects.push(Effect::Resume(resume));
        }
    }
}

/// A message at the gate.
impl Placed for (Ticket, Record) {
    fn place(&self) -> Place<'_> {
        self.1.place()
    }

    fn cost(&self) -> u32 {
        const BYTES: usize = 16 * 1024;
        u32::try_from(1 + self.0.bytes / BYTES).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests;
