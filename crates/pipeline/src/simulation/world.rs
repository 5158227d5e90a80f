use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::Duration,
};

use super::{
    bug::Bug,
    check::Checks,
    database::{Database, EventId, RowId},
    gating::Gating,
    kafka::{Group, Kafka, Log, MemberId, Tp},
    member::Process,
    parking::{Found, Key},
    plan::Plan,
    random::Random,
    relay::Relay,
};
use crate::{Policy, RetryConfig, message::TopicPartition};

/// Virtual milliseconds since the world began.
pub(super) type Ms = u64;

/// Which process, in which of its lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Life {
    pub process: usize,
    pub life: u32,
}

/// What a step does. Of a process that was killed meanwhile nothing happens any more; one that is paused does it later.
#[derive(Debug)]
pub(super) enum Step {
    // Writers and the world.
    Write,
    WriteEnds { aggregate: u64, row: RowId },
    Foreign,
    Fault,
    Heal,
    Look,
    // A member of a consumer group.
    Start(usize),
    Tick(Life),
    Drive(Life),
    Poll(Life),
    RevokeTimeout { life: Life, handover: u64 },
    HandedOver { life: Life, handover: u64 },
    Worked { life: Life, message: u64 },
    Transact { life: Life, slot: usize },
    Answered { life: Life, slot: usize },
    CommitFailed { life: Life, partitions: Vec<Tp> },
    DrainParked(Life),
    TryParked { life: Life, key: Key, epoch: u64 },
    // Servers.
    SettleParked { life: Life, key: Key, epoch: u64, event: EventId, found: Found },
    Commit { life: Life, member: MemberId, generation: u64, offsets: Vec<(Tp, i64)>, last: bool },
    SessionEnds { group: usize, member: MemberId, silent_since: Ms },
    RoundEnds { group: usize, round: u32 },
    // A relay.
    Relay(super::relay::Life, super::relay::Act),
}

impl Step {
    /// Whose step it is, if a pause of that process holds it up.
    fn member(&self) -> Option<Life> {
        match self {
            Self::Tick(life)
            | Self::Drive(life)
            | Self::Poll(life)
            | Self::RevokeTimeout { life, .. }
            | Self::HandedOver { life, .. }
            | Self::Worked { life, .. }
            | Self::Answered { life, .. }
            | Self::DrainParked(life)
            | Self::TryParked { life, .. }
            | Self::CommitFailed { life, .. } => Some(*life),
            _ => None,
        }
    }
}

struct Scheduled {
    at: Ms,
    /// Steps of one moment come in a random order.
    tie: u64,
    step: Step,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.tie) == (other.at, other.tie)
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.tie).cmp(&(other.at, other.tie))
    }
}

pub(super) struct World {
    pub now: Ms,
    pub random: Random,
    pub plan: Plan,
    pub bug: Option<Bug>,
    pub kafka: Kafka,
    pub database: Database,
    pub processes: Vec<Process>,
    pub relays: Vec<Relay>,
    pub checks: Checks,
    pub retry: RetryConfig,
    pub policy: Policy,
    pub gating: Gating,
    pub broker_away_until: Ms,
    pub database_away_until: Ms,
    /// How far the database's clock is ahead.
    pub database_skew: u64,
    pub written: u32,
    pub healed_at: Option<Ms>,
    /// What a planted cache believes.
    pub seen: std::collections::BTreeSet<(usize, u64)>,
    /// Tries that the outside world lets fail, by consumer and event.
    pub failing: BTreeMap<(usize, u64), u32>,
    /// What has happened, and how often: a simulation that loses its teeth must not go on being green.
    pub reached: BTreeMap<&'static str, u64>,
    pub trace: Option<Vec<String>>,
    queue: BinaryHeap<Reverse<Scheduled>>,
}

pub(super) const CONSUMERS: [&str; 2] = ["a", "b"];

impl World {
    pub fn new(seed: u64, bug: Option<Bug>, traced: bool) -> Self {
        let mut random = Random::new(seed);
        let plan = Plan::draw(&mut random);
        let consumers = if plan.two_consumers { 2 } else { 1 };
        let mut kafka = Kafka { logs: Vec::new(), groups: Vec::new() };
        let add = |kafka: &mut Kafka, topic: &str, partitions: i32| {
            for partition in 0..partitions {
                let source = TopicPartition { topic: topic.into(), partition };
                kafka.logs.push(Log { source, entries: Vec::new(), next: 0, low: 0 });
            }
        };
        add(&mut kafka, "events", plan.partitions);
        add(&mut kafka, "echo", 1);
        for (number, consumer) in CONSUMERS.iter().enumerate().take(consumers) {
            let mut subscribed = kafka.of_topic("events");
            if number == 1 {
                subscribed.extend(kafka.of_topic("echo"));
            }
            for tier in Policy::TIERS {
                let topic = format!("{consumer}.retry.{}", tier.name);
                add(&mut kafka, &topic, 1);
                subscribed.extend(kafka.of_topic(&topic));
            }
            add(&mut kafka, &format!("{consumer}.dlq"), 1);
            kafka.groups.push(Group::new(subscribed));
        }
        let processes = (0..consumers).flat_map(|group| (0..plan.members).map(move |_| group));
        let retry = RetryConfig {
            backoff: Duration::from_millis(20),
            backoff_max: Duration::from_millis(300),
            tier_delay_factor: 0.01,
        };
        let gating = Gating::draw(seed);
        let down = |group| Process::down(group, &plan, gating.signals(plan.messages_max), retry.clone());
        let policy = if plan.ordered { Policy::ORDERED } else { Policy::UNORDERED };
        let mut world = Self {
            now: 0,
            processes: processes.map(down).collect(),
            relays: (0..plan.relays).map(|_| Relay::default()).collect(),
            checks: Checks::default(),
            random,
            plan,
            bug,
            kafka,
            database: Database::default(),
            retry,
            policy: Policy { tries_in_lane: 2, ..policy },
            gating,
            broker_away_until: 0,
            database_away_until: 0,
            database_skew: 0,
            written: 0,
            healed_at: None,
            seen: std::collections::BTreeSet::new(),
            failing: BTreeMap::new(),
            reached: BTreeMap::new(),
            trace: traced.then(Vec::new),
            queue: BinaryHeap::new(),
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for process in 0..self.processes.len() {
            self.after(0, 500, Step::Start(process));
        }
        for relay in 0..self.relays.len() {
            self.start_relay(relay);
        }
        self.after(0, 100, Step::Write);
        self.after(100, 2_000, Step::Foreign);
        self.after(100, 1_000, Step::Fault);
        let heal_at = self.plan.faults_for;
        self.after(heal_at, heal_at, Step::Heal);
    }

    /// Schedules a step for some time from now.
    pub fn after(&mut self, low: Ms, high: Ms, step: Step) {
        let at = self.now + self.random.between(low, high);
        let tie = self.random.next();
        self.queue.push(Reverse(Scheduled { at, tie, step }));
    }

    /// Runs until the world has come to its end, or a check has failed.
    pub fn run(&mut self) -> Result<(), String> {
        while let Some(Reverse(Scheduled { at, step, .. })) = self.queue.pop() {
            self.now = at;
            if let Some(life) = step.member() {
                let process = &self.processes[life.process];
                if process.life != life.life || !process.up {
                    continue;
                }
                if process.paused_until > at {
                    let wait = process.paused_until - at;
                    self.after(wait, wait + 5, step);
                    continue;
                }
            }
            let fatal = matches!(
                step,
                Step::Worked { .. } | Step::Answered { .. } | Step::HandedOver { .. } | Step::TryParked { .. }
            );
            if fatal && self.strikes(self.plan.crashes / 10) {
                if let Some(life) = step.member() {
                    self.note(format!("instead of {step:?}:"));
                    self.kill(life.process);
                }
                continue;
            }
            if self.trace.is_some()
                && !matches!(step, Step::Tick(_) | Step::Poll(_) | Step::Drive(_) | Step::DrainParked(_))
            {
                self.note(format!("{step:?}"));
            }
            let over = self.step(step);
            if let Some(violation) = &self.checks.violation {
                return Err(violation.clone());
            }
            if over {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Returns whether the world has come to its end.
    fn step(&mut self, step: Step) -> bool {
        match step {
            Step::Write => self.write(),
            Step::WriteEnds { aggregate, row } => self.write_ends(aggregate, row),
            Step::Foreign => self.foreign(),
            Step::Fault => self.fault(),
            Step::Heal => self.heal(),
            Step::Look => return self.look(),
            Step::Start(process) => self.start_process(process),
            Step::Tick(life) => self.tick(life),
            Step::Drive(life) => self.drive(life),
            Step::Poll(life) => self.poll(life),
            Step::RevokeTimeout { life, handover } => self.revoke_timeout(life, handover),
            Step::HandedOver { life, handover } => self.handed_over(life, handover),
            Step::Worked { life, message } => self.worked(life, message),
            Step::Transact { life, slot } => self.transact(life, slot),
            Step::Answered { life, slot } => self.answered(life, slot),
            Step::CommitFailed { life, partitions } => self.commit_failed(life, &partitions),
            Step::DrainParked(life) => self.drain_parked(life),
            Step::TryParked { life, key, epoch } => self.try_parked(life, key, epoch),
            Step::SettleParked { life, key, epoch, event, found } => self.settle_parked(life, key, epoch, event, found),
            Step::Commit { life, member, generation, offsets, last } => {
                self.commit_arrives(life, member, generation, &offsets, last);
            }
            Step::SessionEnds { group, member, silent_since } => self.session_ends(group, member, silent_since),
            Step::RoundEnds { group, round } => self.round_ends(group, round),
            Step::Relay(life, act) => self.relay(life, act),
        }
        false
    }

    pub fn reach(&mut self, what: &'static str) {
        *self.reached.entry(what).or_default() += 1;
    }

    pub fn note(&mut self, line: String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{now:>7} ms  {line}"));
        }
    }

    pub fn database_is_away(&self) -> bool {
        self.now < self.database_away_until
    }

    pub fn broker_is_away(&self) -> bool {
        self.now < self.broker_away_until
    }

    pub fn faulty(&self) -> bool {
        self.healed_at.is_none()
    }

    /// A fault of the plan, as long as the world is not healed.
    pub fn strikes(&mut self, per_mille: u64) -> bool {
        self.faulty() && self.random.chance(per_mille)
    }
}
