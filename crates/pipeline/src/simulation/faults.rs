//! Writers, faults, and their end.

use super::{
    database::RowId,
    world::{Life, Ms, Step, World},
};
use crate::{Record, header};

impl World {
    /// A writer begins: it takes the aggregate's lock, then an id.
    pub fn write(&mut self) {
        if self.written >= self.plan.events {
            return;
        }
        let pace = self.plan.faults_for / u64::from(self.plan.events) / if self.plan.bursts { 20 } else { 1 };
        let aggregate = self.random.below(self.plan.aggregates);
        if !self.database_is_away() && self.database.locked.insert(aggregate) {
            self.written += 1;
            let row = self.database.new_id();
            let (low, high) = if self.random.chance(200) { (200, 1_500) } else { (1, 20) };
            self.after(low, high, Step::WriteEnds { aggregate, row });
        }
        self.after(1, 1 + 2 * pace, Step::Write);
    }

    pub fn write_ends(&mut self, aggregate: u64, row: RowId) {
        self.database.locked.remove(&aggregate);
        if self.strikes(100) {
            return;
        }
        self.write_event(row, aggregate, row, "events");
    }

    /// Somebody else writes to the topic: not our bytes, and headers that only the runtime may set.
    pub fn foreign(&mut self) {
        if !self.faulty() {
            return;
        }
        let tps = self.kafka.of_topic("events");
        let tp = tps[self.random.index(tps.len())];
        let forged = [(header::ATTEMPT, "2"), (header::NOT_BEFORE, "9999999999999"), (header::ORIGINAL_OFFSET, "1")];
        let record = Record {
            source: self.kafka.logs[tp].source.clone(),
            offset: 0,
            timestamp_ms: 0,
            key: self.random.chance(500).then(|| vec![0]),
            payload: Some(b"garbage".to_vec()),
            headers: forged.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            headers_unreadable: false,
        };
        self.append_record(tp, record);
        self.after(1_000, 5_000, Step::Foreign);
    }

    pub fn fault(&mut self) {
        if !self.faulty() {
            return;
        }
        let process = self.random.index(self.processes.len());
        let relay = self.random.index(self.relays.len());
        if self.strikes(self.plan.crashes) {
            match self.random.below(4) {
                0 => self.kill_relay(relay),
                1 | 2 => {
                    self.terminate(process);
                    if self.random.chance(600) {
                        // A deployment in the middle of an outage.
                        self.database_away_until = self.now + 1_500;
                    }
                }
                _ => self.kill(process),
            }
        }
        if self.strikes(self.plan.pauses) {
            let until = self.now + self.random.between(100, 4_000);
            if self.random.chance(300) {
                self.relays[relay].paused_until = until;
                self.note(format!("relay {relay} is stopped until {until}"));
            } else {
                self.processes[process].paused_until = until;
                self.note(format!("process {process} is stopped until {until}"));
                let member = self.processes[process].client.member;
                self.fall_silent(process, member);
            }
        }
        if self.strikes(self.plan.deafness) {
            let until = self.now + self.random.between(100, 5_000);
            self.processes[process].deaf_until = until;
            self.note(format!("process {process} hears no broker until {until}"));
            let member = self.processes[process].client.member;
            self.fall_silent(process, member);
        }
        if self.strikes(self.plan.rebalances) {
            let group = self.random.index(self.kafka.groups.len());
            self.rebalance(group);
        }
        if self.strikes(self.plan.away) {
            let until = self.now + self.random.between(100, 2_000);
            let database = self.random.chance(500);
            if database {
                self.database_away_until = until
            } else {
                self.broker_away_until = until
            }
            self.note(format!("{} is away until {until}", if database { "the database" } else { "the broker" }));
        }
        if self.strikes(self.plan.clock_jumps) {
            self.processes[process].skew = i64::try_from(self.random.below(10_000)).unwrap_or(0) - 5_000;
            self.database_skew += self.random.below(2_000);
        }
        if self.strikes(self.plan.retention) {
            self.retain();
        }
        self.after(20, 300, Step::Fault);
    }

    /// Deletes what all groups have committed.
    fn retain(&mut self) {
        for tp in 0..self.kafka.logs.len() {
            let readers = self.kafka.groups.iter().filter(|group| group.subscribed.contains(&tp));
            let committed = readers.map(|group| group.committed.get(&tp).copied().unwrap_or(0)).min();
            let log = &mut self.kafka.logs[tp];
            if let Some(low) = committed.filter(|low| *low > log.low) {
                log.low = low;
                log.entries.retain(|record| record.offset >= low);
            }
        }
    }

    pub fn heal(&mut self) {
        self.note("the last fault is over".to_owned());
        self.healed_at = Some(self.now);
        (self.broker_away_until, self.database_away_until) = (0, 0);
        for process in &mut self.processes {
            (process.deaf_until, process.paused_until, process.skew) = (0, 0, 0);
        }
        for relay in &mut self.relays {
            relay.paused_until = 0;
        }
        let soon: Ms = if self.plan.liveness { 200 } else { 0 };
        self.after(soon, soon, Step::Look);
        for number in 0..self.processes.len() {
            let life = Life { process: number, life: self.processes[number].life };
            if self.processes[number].up {
                self.wake_poll(life);
            }
        }
    }
}
