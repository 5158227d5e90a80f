//! The Kafka client of a process and its poll thread, as `broker/poll.rs` and `broker/group.rs` drive it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    bug::Bug,
    kafka::{MemberId, Notice, Tp},
    world::{Life, Ms, Step, World},
};
use crate::consumer::core::Input;

/// Records that wait between the poll thread and the driver, at most.
const RECORDS_MAX: usize = 12;

#[derive(Debug)]
pub(super) enum Order {
    Pause(Vec<Tp>),
    Resume(Vec<Tp>),
    Commit(Vec<(Tp, i64)>, u64),
}

/// A revocation that holds the poll thread.
#[derive(Debug)]
struct Revoking {
    handover: u64,
    round: u32,
    began_at: Ms,
    /// The answer is there and being committed.
    settled: Option<Vec<(Tp, i64)>>,
}

#[derive(Default)]
pub(super) struct Client {
    pub member: Option<MemberId>,
    pub joins: u32,
    /// Of the group, as this member knows it.
    group_generation: u64,
    /// How many assignments it has seen.
    generation: u64,
    pub positions: BTreeMap<Tp, i64>,
    /// What is assigned, each with its generation.
    owned: BTreeMap<Tp, u64>,
    /// Where each began.
    starts: BTreeMap<Tp, i64>,
    paused: BTreeSet<Tp>,
    orders: VecDeque<Order>,
    pub notices: VecDeque<Notice>,
    revoking: Option<Revoking>,
    handovers: u64,
    /// One connection: what is sent later arrives later.
    arrives_at: Ms,
    poll_is_due: bool,
}

impl World {
    pub fn wake_poll(&mut self, life: Life) {
        let client = &mut self.processes[life.process].client;
        if !std::mem::replace(&mut client.poll_is_due, true) {
            let slow = self.plan.slowness;
            self.after(0, 10 * slow, Step::Poll(life));
        }
    }

    pub fn order(&mut self, life: Life, order: Order) {
        self.processes[life.process].client.orders.push_back(order);
        self.wake_poll(life);
    }

    pub fn poll(&mut self, life: Life) {
        let process = &mut self.processes[life.process];
        process.client.poll_is_due = false;
        if process.client.revoking.is_some() {
            return;
        }
        self.obey_orders(life);
        let deaf_until = self.processes[life.process].deaf_until.max(self.broker_away_until);
        if deaf_until > self.now {
            self.processes[life.process].client.poll_is_due = true;
            let wait = deaf_until - self.now;
            self.after(wait, wait + 50, Step::Poll(life));
            return;
        }
        if self.is_in_its_group(life) && !self.serve_notice(life) {
            self.deliver(life);
        }
    }

    fn obey_orders(&mut self, life: Life) {
        while let Some(order) = self.processes[life.process].client.orders.pop_front() {
            let client = &mut self.processes[life.process].client;
            match order {
                Order::Pause(tps) => {
                    client.paused.extend(tps);
                    self.reach("a partition is paused");
                }
                Order::Resume(tps) => client.paused.retain(|tp| !tps.contains(tp)),
                Order::Commit(offsets, generation) => {
                    let offsets = self.still_owned(life, offsets, generation);
                    self.send_commit(life, offsets, false);
                }
            }
        }
    }

    /// As `broker/group.rs` does it.
    fn still_owned(&mut self, life: Life, offsets: Vec<(Tp, i64)>, generation: u64) -> Vec<(Tp, i64)> {
        let owned = &self.processes[life.process].client.owned;
        let ignores = self.bug == Some(Bug::IgnoredRevoke);
        let current = |tp: &Tp| ignores || owned.get(tp).is_some_and(|since| *since <= generation);
        let named = offsets.len();
        let still: Vec<_> = offsets.into_iter().filter(|(tp, _)| current(tp)).collect();
        if still.len() < named {
            self.reach("a commit waited behind a rebalance");
        }
        still
    }

    /// Commits are sent without waiting, and may be late, refused or lost.
    fn send_commit(&mut self, life: Life, offsets: Vec<(Tp, i64)>, last: bool) {
        if offsets.is_empty() && !last {
            return;
        }
        let client = &self.processes[life.process].client;
        let (member, generation) = (client.member, client.group_generation);
        let deaf = self.processes[life.process].deaf_until > self.now || self.broker_is_away();
        let Some(member) = member.filter(|_| !deaf) else {
            let partitions = offsets.iter().map(|(tp, _)| *tp).collect();
            return self.after(10, 500, Step::CommitFailed { life, partitions });
        };
        let high = if self.strikes(self.plan.failed_offset_commits) { 1_000 } else { 5 * self.plan.slowness };
        let wait = self.arrival(life, high);
        self.after(wait, wait, Step::Commit { life, member, generation, offsets, last });
    }

    /// How long a request to the coordinator takes.
    fn arrival(&mut self, life: Life, high: Ms) -> Ms {
        let at = self.now + self.random.between(0, high);
        let client = &mut self.processes[life.process].client;
        client.arrives_at = at.max(client.arrives_at + 1);
        client.arrives_at - self.now
    }

    /// Joins, or finds out that it was thrown out.
    fn is_in_its_group(&mut self, life: Life) -> bool {
        let group = self.processes[life.process].group;
        match self.processes[life.process].client.member {
            Some(member) if self.kafka.groups[group].members.contains(&member) => true,
            Some(_) => {
                let ignores = self.bug == Some(Bug::IgnoredRevoke);
                let process = &mut self.processes[life.process];
                process.client.member = None;
                process.client.notices.clear();
                process.client.owned.clear();
                let lost = std::mem::take(&mut process.client.positions);
                let lost: Vec<_> = lost.keys().map(|tp| self.kafka.logs[*tp].source.clone()).collect();
                if !lost.is_empty() && !ignores {
                    *self.reached.entry("an assignment is lost").or_default() += 1;
                    process.events.push_back(Input::Lost(lost));
                    self.wake_driver(life);
                }
                self.wake_poll(life);
                false
            }
            None => {
                let client = &mut self.processes[life.process].client;
                client.joins += 1;
                let member = (life.process, client.joins);
                client.member = Some(member);
                self.kafka.groups[group].members.push(member);
                self.rebalance(group);
                false
            }
        }
    }

    /// Returns whether there was one.
    fn serve_notice(&mut self, life: Life) -> bool {
        let Some(notice) = self.processes[life.process].client.notices.pop_front() else { return false };
        self.note(format!("process {}: {notice:?}", life.process));
        match notice {
            Notice::Assign { generation, partitions } => {
                let group = &self.kafka.groups[self.processes[life.process].group];
                let client = &mut self.processes[life.process].client;
                client.group_generation = generation;
                client.generation += 1;
                for tp in &partitions {
                    let committed = group.committed.get(tp).copied().unwrap_or(0);
                    client.positions.insert(*tp, committed);
                    client.starts.insert(*tp, committed);
                    client.owned.insert(*tp, client.generation);
                }
                let generation = client.generation;
                let partitions = partitions.iter().map(|tp| self.kafka.logs[*tp].source.clone()).collect();
                self.processes[life.process].events.push_back(Input::Assigned { partitions, generation });
                self.wake_driver(life);
                self.wake_poll(life);
            }
            Notice::Revoke { round, partitions } => self.begin_revoke(life, round, &partitions),
        }
        true
    }

    fn begin_revoke(&mut self, life: Life, round: u32, partitions: &[Tp]) {
        let client = &mut self.processes[life.process].client;
        let ours: Vec<Tp> = partitions.iter().copied().filter(|tp| client.positions.remove(tp).is_some()).collect();
        client.owned.retain(|tp, _| !ours.contains(tp));
        let group = self.processes[life.process].group;
        if ours.is_empty() || self.bug == Some(Bug::IgnoredRevoke) {
            self.joined(group, round, life);
            return self.wake_poll(life);
        }
        let client = &mut self.processes[life.process].client;
        client.handovers += 1;
        let began_at = self.now;
        let handover = client.handovers;
        client.revoking = Some(Revoking { handover, round, began_at, settled: None });
        let partitions = ours.iter().map(|tp| self.kafka.logs[*tp].source.clone()).collect();
        self.processes[life.process].events.push_back(Input::Revoked { partitions, handover });
        self.wake_driver(life);
        let drain = self.plan.revoke_drain;
        self.after(drain, drain, Step::RevokeTimeout { life, handover });
    }

    /// The core has answered.
    pub fn hand_over(&mut self, life: Life, handover: u64, settled: Vec<(Tp, i64)>) {
        let slow = self.plan.slowness;
        if let Some(revoking) = &mut self.processes[life.process].client.revoking
            && revoking.handover == handover
        {
            revoking.settled = Some(settled);
            if self.now + 600 >= revoking.began_at + self.plan.revoke_drain {
                *self.reached.entry("a revocation runs out of time").or_default() += 1;
            }
            let wait = self.arrival(life, 20 * slow);
            self.after(wait, wait, Step::HandedOver { life, handover });
        }
    }

    /// The commit inside the rebalance is answered.
    pub fn handed_over(&mut self, life: Life, handover: u64) {
        let client = &mut self.processes[life.process].client;
        let Some(revoking) = client.revoking.take_if(|revoking| revoking.handover == handover) else { return };
        let (member, generation) = (client.member, client.group_generation);
        let deaf = self.processes[life.process].deaf_until > self.now || self.broker_is_away();
        let offsets = revoking.settled.unwrap_or_default();
        if let Some(member) = member.filter(|_| !deaf)
            && !offsets.is_empty()
        {
            self.commit_arrives(life, member, generation, &offsets, false);
        }
        let group = self.processes[life.process].group;
        self.joined(group, revoking.round, life);
        self.wake_poll(life);
    }

    pub fn revoke_timeout(&mut self, life: Life, handover: u64) {
        let client = &mut self.processes[life.process].client;
        let late = client.revoking.take_if(|revoking| revoking.handover == handover && revoking.settled.is_none());
        if let Some(revoking) = late {
            let group = self.processes[life.process].group;
            self.joined(group, revoking.round, life);
            self.wake_poll(life);
        }
    }

    fn deliver(&mut self, life: Life) {
        let resets = self.plan.resets;
        let count = self.random.index(6) + 1;
        let process = &self.processes[life.process];
        let tps: Vec<Tp> = process.client.positions.keys().copied().collect();
        if tps.is_empty() {
            return;
        }
        let first = self.random.index(tps.len());
        let (mut delivered, mut more) = (false, false);
        for tp in tps[first..].iter().chain(&tps[..first]).copied() {
            if self.processes[life.process].client.paused.contains(&tp) {
                continue;
            }
            if self.strikes(resets) {
                *self.reached.entry("a client goes back").or_default() += 1;
                // The client forgets where it stood, a little.
                let back = i64::try_from(self.random.between(1, 3)).unwrap_or(1);
                let client = &mut self.processes[life.process].client;
                let low = client.starts.get(&tp).copied().unwrap_or(0);
                if let Some(position) = client.positions.get_mut(&tp) {
                    *position = (*position - back).max(low);
                }
            }
            let process = &mut self.processes[life.process];
            let Some(position) = process.client.positions.get_mut(&tp) else { continue };
            let entries = self.kafka.logs[tp].from(*position);
            let room = RECORDS_MAX.saturating_sub(process.records.len());
            for record in entries.iter().take(count.min(room)) {
                *position = record.offset + 1;
                process.records.push_back((record.clone(), process.client.generation));
                delivered = true;
            }
            more |= entries.len() > count.min(room);
        }
        if delivered {
            self.wake_driver(life);
        }
        if more {
            let client = &mut self.processes[life.process].client;
            client.poll_is_due = true;
            let slow = self.plan.slowness;
            self.after(5, 20 * slow, Step::Poll(life));
        }
    }

    /// The orderly end: the last commit, then out of the group, then gone.
    pub fn close(&mut self, life: Life, offsets: Vec<(Tp, i64)>, generation: u64) {
        self.reach("a process ends in order");
        self.obey_orders(life);
        let offsets = self.still_owned(life, offsets, generation);
        self.send_commit(life, offsets, true);
        self.processes[life.process].up = false;
        let member = self.processes[life.process].client.member;
        self.fall_silent(life.process, member);
        self.after(100, 1_000, Step::Start(life.process));
    }

    pub fn commit_failed(&mut self, life: Life, partitions: &[Tp]) {
        let partitions = partitions.iter().map(|tp| self.kafka.logs[*tp].source.clone()).collect();
        self.processes[life.process].events.push_back(Input::CommitFailed(partitions));
        self.wake_driver(life);
    }

    /// From now on the coordinator hears nothing of this member.
    pub fn fall_silent(&mut self, process: usize, member: Option<MemberId>) {
        let Some(member) = member else { return };
        let group = self.processes[process].group;
        let silent_since: Ms = self.now;
        self.after(1_500, 1_600, Step::SessionEnds { group, member, silent_since });
    }
}
