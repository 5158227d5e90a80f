//! A process that consumes: the real core in a simulated shell. What [`crate::consumer`]'s driver does with channels is
//! done here with queues, in the same order.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use super::{
    bug::Bug,
    client::{Client, Order},
    kafka::Tp,
    parking::Key,
    plan::Plan,
    settling::{Batch, Message, State},
    world::{CONSUMERS, Life, Ms, Step, World},
};
use crate::{
    Record, RetryConfig,
    consumer::{
        Done,
        core::{Core, Effect, Input, Now},
    },
    gate::Signals,
};

pub(super) struct Process {
    pub group: usize,
    pub life: u32,
    pub up: bool,
    pub paused_until: Ms,
    /// Cut off from the brokers, and not aware of it.
    pub deaf_until: Ms,
    /// How far its wall clock is off.
    pub skew: i64,
    started_at: Ms,
    pub core: Core,
    pub signals: Signals,
    pub client: Client,
    pub events: VecDeque<Input>,
    pub records: VecDeque<(Record, u64)>,
    taken: VecDeque<(Record, u64)>,
    pub results: Vec<Done>,
    drive_is_due: bool,
    pub messages: BTreeMap<u64, Message>,
    next_message: u64,
    /// What is to be settled.
    pub finished: Vec<u64>,
    pub slots: Vec<Option<Batch>>,
    /// Keys that this process believes to be parked.
    pub hints: BTreeSet<Key>,
}

/// What an orderly end or a failure of the process asks for.
enum End {
    Closed(Vec<(Tp, i64)>, u64),
    Failed,
}

impl Process {
    /// One that has not started yet.
    pub fn down(group: usize, plan: &Plan, signals: Signals, retry: RetryConfig) -> Self {
        Self {
            group,
            life: 0,
            up: false,
            paused_until: 0,
            deaf_until: 0,
            skew: 0,
            started_at: 0,
            core: Core::new(&plan.config(), format!("{}.retry.", CONSUMERS[group]), signals.clone(), retry),
            signals,
            client: Client::default(),
            events: VecDeque::new(),
            records: VecDeque::new(),
            taken: VecDeque::new(),
            results: Vec::new(),
            drive_is_due: false,
            messages: BTreeMap::new(),
            next_message: 0,
            finished: Vec::new(),
            slots: (0..plan.settlers).map(|_| None).collect(),
            hints: BTreeSet::new(),
        }
    }

    /// Since it started.
    pub fn elapsed(&self, now: Ms) -> Duration {
        Duration::from_millis(now - self.started_at)
    }

    fn at(&self, now: Ms) -> Now {
        Now { elapsed: self.elapsed(now), wall_ms: i64::try_from(now).unwrap_or(i64::MAX) + self.skew }
    }

    pub fn wall_ms(&self, now: Ms) -> i64 {
        self.at(now).wall_ms
    }
}

impl World {
    pub fn start_process(&mut self, number: usize) {
        let old = &self.processes[number];
        if old.up {
            return;
        }
        // Joins go on counting over its lives, or a new life would be taken for the old one.
        let (group, life, joins, skew) = (old.group, old.life + 1, old.client.joins, old.skew);
        let signals = self.gating.signals(self.plan.messages_max);
        let mut process = Process::down(group, &self.plan, signals, self.retry.clone());
        (process.life, process.up, process.started_at, process.skew) = (life, true, self.now, skew);
        process.client.joins = joins;
        self.processes[number] = process;
        let life = Life { process: number, life };
        self.after(0, self.plan.tick, Step::Tick(life));
        if self.plan.ordered {
            self.after(50, 300, Step::DrainParked(life));
        }
        self.wake_poll(life);
    }

    /// Kills a process: it forgets everything and says nothing.
    pub fn kill(&mut self, number: usize) {
        let process = &mut self.processes[number];
        if !process.up {
            return;
        }
        process.up = false;
        let member = process.client.member;
        self.note(format!("process {number} is killed"));
        self.fall_silent(number, member);
        self.after(100, 1_500, Step::Start(number));
    }

    pub fn tick(&mut self, life: Life) {
        let now = self.now;
        self.processes[life.process].events.push_back(Input::Tick);
        self.command(life);
        self.drive_now(life, now);
        let tick = self.plan.tick;
        self.after(tick, tick + tick / 4, Step::Tick(life));
    }

    pub fn wake_driver(&mut self, life: Life) {
        let process = &mut self.processes[life.process];
        if !std::mem::replace(&mut process.drive_is_due, true) {
            let slow = self.plan.slowness;
            self.after(0, 2 * slow, Step::Drive(life));
        }
    }

    pub fn drive(&mut self, life: Life) {
        self.processes[life.process].drive_is_due = false;
        self.drive_now(life, self.now);
        let process = &self.processes[life.process];
        let more = !process.results.is_empty()
            || !process.events.is_empty()
            || (process.core.takes_records() && !(process.records.is_empty() && process.taken.is_empty()));
        if process.up && more {
            self.wake_driver(life);
        }
    }

    /// One turn of the driver's loop.
    fn drive_now(&mut self, life: Life, now: Ms) {
        let batch = self.random.index(6) + 1;
        let process = &mut self.processes[life.process];
        let at = process.at(now);
        let mut effects = Vec::new();
        let mut inputs: Vec<Input> = Vec::new();
        if process.results.is_empty() {
            if let Some(event) = process.events.pop_front() {
                inputs.push(event);
            } else if process.taken.is_empty() && process.core.takes_records() {
                let count = batch.min(process.records.len());
                process.taken.extend(process.records.drain(..count));
            }
        } else {
            inputs.extend(process.results.drain(..).map(Input::Done));
        }
        for input in inputs {
            process.core.on(at, input, &mut effects);
        }
        while process.core.takes_records()
            && let Some((record, generation)) = process.taken.pop_front()
        {
            process.core.on(at, Input::Record { record, generation }, &mut effects);
        }
        process.core.flush(at, &mut effects);
        self.check_budget(life.process);
        self.perform(life, effects);
    }

    fn perform(&mut self, life: Life, effects: Vec<Effect>) {
        let mut end = None;
        for effect in effects {
            let offsets = |offsets: crate::broker::Offsets, world: &Self| -> Vec<(Tp, i64)> {
                offsets.into_iter().map(|(source, offset)| (world.kafka.tp(&source), offset)).collect()
            };
            let tps = |sources: &[crate::message::TopicPartition], world: &Self| -> Vec<Tp> {
                sources.iter().map(|source| world.kafka.tp(source)).collect()
            };
            match effect {
                Effect::Start(ticket, record) => self.hand_out(life, ticket, record),
                Effect::Pause(sources) => {
                    let order = Order::Pause(tps(&sources, self));
                    self.order(life, order);
                }
                Effect::Resume(sources) => {
                    let order = Order::Resume(tps(&sources, self));
                    self.order(life, order);
                }
                Effect::Commit { offsets: settled, generation } => {
                    let order = Order::Commit(offsets(settled, self), generation);
                    self.order(life, order);
                }
                Effect::HandOver { handover, settled } => {
                    let settled = offsets(settled, self);
                    self.hand_over(life, handover, settled);
                }
                Effect::Report => {}
                Effect::Close { offsets: settled, generation } => {
                    end = Some(End::Closed(offsets(settled, self), generation));
                }
                Effect::Fail(why) => {
                    self.note(format!("process {} fails: {why}", life.process));
                    end = Some(End::Failed);
                }
            }
        }
        match end {
            None => {}
            Some(End::Failed) => self.kill(life.process),
            Some(End::Closed(offsets, generation)) => self.close(life, offsets, generation),
        }
    }

    fn hand_out(&mut self, life: Life, ticket: crate::consumer::Ticket, record: Record) {
        self.check_start(life.process, &record);
        let process = &mut self.processes[life.process];
        let message = process.next_message;
        process.next_message += 1;
        let early = self.bug == Some(Bug::CommitBeforeEffect);
        process
            .messages
            .insert(message, Message { ticket: (!early).then_some(ticket), state: State::new(&record), record });
        if early {
            process.results.push(Done::Settled(ticket));
            self.wake_driver(life);
        }
        let slow = self.plan.slowness;
        let high = if self.strikes(self.plan.slow_work) { 4_000 } else { 20 * slow };
        self.after(0, high, Step::Worked { life, message });
    }

    /// A message comes back.
    pub fn give_back(&mut self, life: Life, message: u64, settled: bool) {
        let process = &mut self.processes[life.process];
        let Some(message) = process.messages.remove(&message) else { return };
        if !settled {
            *self.reached.entry("a message is abandoned at the end of its process").or_default() += 1;
        }
        if let Some(ticket) = message.ticket {
            process.results.push(if settled { Done::Settled(ticket) } else { Done::Abandoned(ticket) });
            self.wake_driver(life);
        }
    }

    /// An orderly end begins.
    pub fn terminate(&mut self, number: usize) {
        let process = &mut self.processes[number];
        if !process.up || process.core.is_draining() {
            return;
        }
        let life = Life { process: number, life: process.life };
        process.events.push_front(Input::BeginDrain);
        self.note(format!("process {number} is told to end"));
        self.wake_driver(life);
    }
}
