//! The group coordinator's side: rounds of rebalancing, sessions that end, offset commits.

use super::{
    kafka::{MemberId, Notice, Round, Tp},
    world::{Life, Ms, Step, World},
};

const SESSION: Ms = 1_500;

impl World {
    fn life_of(&self, member: MemberId) -> Option<Life> {
        let process = &self.processes[member.0];
        let current = process.up && process.client.member == Some(member);
        current.then_some(Life { process: member.0, life: process.life })
    }

    fn notify(&mut self, member: MemberId, notice: Notice) {
        if let Some(life) = self.life_of(member) {
            self.processes[life.process].client.notices.push_back(notice);
            self.wake_poll(life);
        }
    }

    pub fn rebalance(&mut self, group: usize) {
        let turn = if self.random.chance(500) { 0 } else { 1 };
        let eager = self.plan.eager;
        let state = &mut self.kafka.groups[group];
        if state.round.is_some() {
            state.again = true;
            return;
        }
        if state.members.is_empty() {
            state.owner.clear();
            return;
        }
        state.rounds += 1;
        let (number, target) = (state.rounds, state.target(turn));
        let members = state.members.clone();
        let gives_up = |member: MemberId| -> Vec<Tp> {
            let owned = state.owner.iter().filter(|(_, owner)| **owner == member);
            owned.map(|(tp, _)| *tp).filter(|tp| eager || target.get(tp) != Some(&member)).collect()
        };
        let notices: Vec<_> = members
            .iter()
            .map(|member| (*member, Notice::Revoke { round: number, partitions: gives_up(*member) }))
            .collect();
        state.round = Some(Round { number, waiting: members, target });
        for (member, notice) in notices {
            self.notify(member, notice);
        }
        self.after(SESSION, SESSION + 100, Step::RoundEnds { group, round: number });
    }

    /// The member has given up what it had to.
    pub fn joined(&mut self, group: usize, round: u32, life: Life) {
        let Some(member) = self.processes[life.process].client.member else { return };
        let Some(current) = &mut self.kafka.groups[group].round else { return };
        if current.number == round {
            current.waiting.retain(|waiting| *waiting != member);
            if current.waiting.is_empty() {
                self.complete(group);
            }
        }
    }

    /// Whoever has not joined by now is thrown out.
    pub fn round_ends(&mut self, group: usize, number: u32) {
        let state = &mut self.kafka.groups[group];
        let Some(round) = state.round.as_ref().filter(|round| round.number == number) else { return };
        let late = round.waiting.clone();
        state.members.retain(|member| !late.contains(member));
        self.reach("a member misses a rebalance");
        self.note(format!("group {group}: thrown out of the round: {late:?}"));
        for (process, _) in late {
            let life = Life { process, life: self.processes[process].life };
            self.wake_poll(life);
        }
        self.complete(group);
    }

    fn complete(&mut self, group: usize) {
        let eager = self.plan.eager;
        let state = &mut self.kafka.groups[group];
        let Some(round) = state.round.take() else { return };
        state.generation += 1;
        let generation = state.generation;
        let members = state.members.clone();
        let mut again = std::mem::take(&mut state.again);
        let mut owner = round.target;
        // What was meant for somebody who is gone is given in the next round.
        owner.retain(|_, member| {
            let present = members.contains(member);
            again |= !present;
            present
        });
        let old = std::mem::replace(&mut state.owner, owner.clone());
        self.note(format!("group {group}: generation {generation}: {owner:?}"));
        for member in members {
            let mine = owner.iter().filter(|(_, owner)| **owner == member).map(|(tp, _)| *tp);
            let partitions = mine.filter(|tp| eager || old.get(tp) != Some(&member)).collect();
            self.notify(member, Notice::Assign { generation, partitions });
        }
        if again {
            self.rebalance(group);
        }
    }

    pub fn session_ends(&mut self, group: usize, member: MemberId, silent_since: Ms) {
        let process = &self.processes[member.0];
        let gone = self.life_of(member).is_none();
        let silent = process.paused_until > self.now || process.deaf_until > self.now;
        if gone || (silent && self.now >= silent_since + SESSION) {
            self.leave(group, member);
        }
    }

    fn leave(&mut self, group: usize, member: MemberId) {
        let state = &mut self.kafka.groups[group];
        if !state.members.contains(&member) {
            return;
        }
        self.reach("a member's session ends");
        self.note(format!("group {group}: {member:?} is out"));
        let state = &mut self.kafka.groups[group];
        state.members.retain(|other| *other != member);
        if let Some(life) = self.life_of(member) {
            self.wake_poll(life);
        }
        match &mut self.kafka.groups[group].round {
            None => self.rebalance(group),
            Some(round) => {
                round.waiting.retain(|waiting| *waiting != member);
                if round.waiting.is_empty() {
                    self.complete(group);
                }
            }
        }
    }

    pub fn commit_arrives(&mut self, life: Life, member: MemberId, generation: u64, offsets: &[(Tp, i64)], last: bool) {
        let group = self.processes[life.process].group;
        let fails = self.strikes(self.plan.failed_offset_commits) || self.broker_is_away();
        let applies = !fails || self.random.chance(500);
        let checked = self.kafka.groups[group].check_commit(member, generation);
        if let Err(refusal) = checked {
            self.reach("a commit of an old member is refused");
            self.note(format!("process {}: commit refused: {refusal:?}", life.process));
        }
        if checked.is_ok() && fails {
            self.reach(if applies { "a commit is applied and its answer lost" } else { "a commit is lost" });
        }
        if checked.is_ok() && applies {
            for (tp, offset) in offsets {
                self.check_commit(group, member, *tp, *offset);
                self.kafka.groups[group].committed.insert(*tp, *offset);
            }
        }
        if last {
            self.leave(group, member);
        }
        if checked.is_err() || fails {
            let partitions = offsets.iter().map(|(tp, _)| *tp).collect();
            self.after(1, 300, Step::CommitFailed { life, partitions });
        }
    }
}
