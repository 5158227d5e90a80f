//! Relays as `relay/` has them: leases with epochs by the database's clock, chains by aggregate, fenced marks.

use std::collections::{BTreeMap, VecDeque};

use super::{
    bug::Bug,
    database::{Row, RowId},
    world::{Ms, Step, World},
};
use crate::Record;

const TTL: Ms = 1_000;
const BATCH: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Life {
    pub relay: usize,
    pub life: u32,
}

/// What a relay, or a server for it, does.
#[derive(Debug)]
pub(super) enum Act {
    Beat,
    BeatArrives {
        asked_at: Ms,
    },
    Leases {
        asked_at: Ms,
        shards: Vec<(u64, u64)>,
    },
    Round,
    Append {
        round: u32,
        chain: usize,
        row: RowId,
    },
    /// Kafka appends what the relay has given up on.
    AppendLate {
        row: RowId,
    },
    Sent {
        round: u32,
        chain: usize,
        row: RowId,
        how: Sent,
    },
    MarkArrives {
        round: u32,
    },
    Marked {
        round: u32,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    Acknowledged,
    Refused,
    Failed,
}

impl Act {
    /// Whether a server does it: then a pause of the relay does not hold it up.
    fn is_a_servers(&self) -> bool {
        matches!(
            self,
            Self::BeatArrives { .. } | Self::Append { .. } | Self::AppendLate { .. } | Self::MarkArrives { .. }
        )
    }
}

#[derive(Default)]
pub(super) struct Relay {
    pub life: u32,
    pub paused_until: Ms,
    leases: Vec<(u64, u64)>,
    valid_until: Ms,
    rounds: u32,
    chains: Vec<VecDeque<RowId>>,
    acknowledged: Vec<RowId>,
    /// Chains under way.
    open: usize,
    broken: bool,
    held: BTreeMap<u64, Ms>,
    idle: Ms,
}

impl World {
    pub fn start_relay(&mut self, relay: usize) {
        let life = self.relays[relay].life + 1;
        self.relays[relay] = Relay { life, idle: 10, ..Relay::default() };
        let life = Life { relay, life };
        self.after(0, 100, Step::Relay(life, Act::Beat));
        self.after(0, 200, Step::Relay(life, Act::Round));
    }

    /// Kills a relay; another life begins at once, as somebody new.
    pub fn kill_relay(&mut self, relay: usize) {
        self.note(format!("relay {relay} is killed"));
        self.database.row_locks.retain(|_, owner| *owner != relay);
        self.start_relay(relay);
    }

    pub fn relay(&mut self, life: Life, act: Act) {
        let relay = &self.relays[life.relay];
        if !act.is_a_servers() {
            if relay.life != life.life {
                return;
            }
            if relay.paused_until > self.now {
                let wait = relay.paused_until - self.now;
                return self.after(wait, wait + 5, Step::Relay(life, act));
            }
        }
        if matches!(act, Act::Sent { .. } | Act::Marked { .. }) && self.strikes(self.plan.crashes / 10) {
            return self.kill_relay(life.relay);
        }
        match act {
            Act::Beat => {
                let asked_at = self.now;
                self.after(0, 100, Step::Relay(life, Act::BeatArrives { asked_at }));
                self.after(TTL / 5, TTL / 4, Step::Relay(life, Act::Beat));
            }
            Act::BeatArrives { asked_at } => {
                if !self.database_is_away() {
                    let now = self.now + self.database_skew;
                    let shards = self.database.beat((life.relay, life.life), now, TTL);
                    self.after(0, 100, Step::Relay(life, Act::Leases { asked_at, shards }));
                }
            }
            Act::Leases { asked_at, shards } => {
                let relay = &mut self.relays[life.relay];
                (relay.leases, relay.valid_until) = (shards, asked_at + TTL);
            }
            Act::Round => self.relay_round(life),
            Act::Append { round, chain, row } => self.append(life, round, chain, row),
            Act::AppendLate { row } => {
                self.reach("a record that was given up appears");
                self.append_row(row);
            }
            Act::Sent { round, chain, row, how } => self.sent(life, round, chain, row, how),
            Act::MarkArrives { round } => self.mark(life, round),
            Act::Marked { round } => {
                if self.relays[life.relay].rounds == round {
                    self.after(0, 5, Step::Relay(life, Act::Round));
                }
            }
        }
    }

    fn relay_round(&mut self, life: Life) {
        let now = self.now;
        self.relays[life.relay].held.retain(|_, until| *until > now);
        let rows = if self.database_is_away() { Vec::new() } else { self.unpublished(life) };
        let relay = &mut self.relays[life.relay];
        if rows.is_empty() {
            relay.idle = (relay.idle * 2).min(200);
            let idle = relay.idle;
            return self.after(idle, idle, Step::Relay(life, Act::Round));
        }
        relay.idle = 10;
        relay.rounds += 1;
        relay.chains.clear();
        relay.acknowledged.clear();
        relay.broken = false;
        let mut of_aggregate: BTreeMap<u64, usize> = BTreeMap::new();
        for (id, aggregate) in rows {
            let chain = aggregate.map(|aggregate| *of_aggregate.entry(aggregate).or_insert(relay.chains.len()));
            match chain.and_then(|chain| relay.chains.get_mut(chain)) {
                Some(chain) => chain.push_back(id),
                None => relay.chains.push(VecDeque::from([id])),
            }
        }
        relay.open = relay.chains.len();
        for chain in 0..relay.chains.len() {
            self.send_next(life, chain);
        }
    }

    fn unpublished(&mut self, life: Life) -> Vec<(RowId, Option<u64>)> {
        let relay = &self.relays[life.relay];
        let (valid, bug) = (relay.valid_until > self.now, self.bug);
        let database = &mut self.database;
        let held = |row: &Row| row.aggregate.is_some_and(|aggregate| relay.held.contains_key(&aggregate));
        let leased = |row: &Row| valid && relay.leases.iter().any(|(shard, _)| *shard == row.shard());
        let locks = &database.row_locks;
        let cursors = &database.cursors;
        let wanted = |row: &&Row| match bug {
            Some(Bug::SkipLocked) => !row.published && !locks.contains_key(&row.id),
            Some(Bug::CursorRelay) => row.id > cursors[usize::try_from(row.shard()).unwrap_or(0)] && leased(row),
            _ => !row.published && leased(row) && !held(row),
        };
        let rows: Vec<_> =
            database.outbox.values().filter(wanted).take(BATCH).map(|row| (row.id, row.aggregate)).collect();
        if bug == Some(Bug::SkipLocked) {
            database.row_locks.extend(rows.iter().map(|(id, _)| (*id, life.relay)));
        }
        rows
    }

    fn send_next(&mut self, life: Life, chain: usize) {
        let slow = self.plan.slowness;
        let relay = &mut self.relays[life.relay];
        let round = relay.rounds;
        match relay.chains[chain].pop_front() {
            Some(row) => self.after(0, 10 * slow, Step::Relay(life, Act::Append { round, chain, row })),
            None => self.chain_ends(life),
        }
    }

    fn chain_ends(&mut self, life: Life) {
        let relay = &mut self.relays[life.relay];
        relay.open -= 1;
        let round = relay.rounds;
        if relay.open == 0 {
            let late = if self.strikes(self.plan.failed_statements) { 1_500 } else { 10 };
            self.after(0, late, Step::Relay(life, Act::MarkArrives { round }));
        }
    }

    fn append(&mut self, life: Life, round: u32, chain: usize, row: RowId) {
        let failed = self.strikes(self.plan.failed_produces);
        let how = match self.random.below(4) {
            _ if !failed && !self.broker_is_away() => {
                self.append_row(row);
                Sent::Acknowledged
            }
            // The answer is lost.
            0 if !self.broker_is_away() => {
                self.append_row(row);
                Sent::Failed
            }
            1 => {
                self.after(0, 2_000, Step::Relay(life, Act::AppendLate { row }));
                Sent::Failed
            }
            2 if !self.broker_is_away() => Sent::Refused,
            _ => Sent::Failed,
        };
        self.after(0, 10, Step::Relay(life, Act::Sent { round, chain, row, how }));
    }

    fn append_row(&mut self, id: RowId) {
        let Some(row) = self.database.outbox.get(&id).cloned() else { return };
        let partitions = self.kafka.of_topic(&row.topic);
        let tp = partitions[usize::try_from(row.aggregate.unwrap_or(0)).unwrap_or(0) % partitions.len()];
        self.check_append(&row);
        let record = Record {
            source: self.kafka.logs[tp].source.clone(),
            offset: 0,
            timestamp_ms: i64::try_from(self.now).unwrap_or(0),
            key: row.key,
            payload: Some(row.payload),
            headers: row.headers,
            headers_unreadable: false,
        };
        self.append_record(tp, record);
    }

    pub fn append_record(&mut self, tp: usize, record: Record) {
        let hole = if self.random.chance(200) { i64::try_from(self.random.between(1, 3)).unwrap_or(1) } else { 0 };
        self.kafka.logs[tp].append(record, hole);
        self.check_foreign(tp);
        let readers: Vec<_> = (0..self.processes.len())
            .filter(|number| self.processes[*number].up && self.processes[*number].client.positions.contains_key(&tp))
            .collect();
        for process in readers {
            let life = super::world::Life { process, life: self.processes[process].life };
            self.wake_poll(life);
        }
    }

    fn sent(&mut self, life: Life, round: u32, chain: usize, row: RowId, how: Sent) {
        let now = self.now;
        let aggregate = self.database.outbox.get(&row).and_then(|row| row.aggregate);
        let relay = &mut self.relays[life.relay];
        if relay.rounds != round {
            return;
        }
        match how {
            Sent::Acknowledged => {
                relay.acknowledged.push(row);
                return self.send_next(life, chain);
            }
            Sent::Refused => {
                relay.held.extend(aggregate.map(|aggregate| (aggregate, now + 500)));
                relay.broken = true;
            }
            Sent::Failed => relay.broken = true,
        }
        self.chain_ends(life);
    }

    fn mark(&mut self, life: Life, round: u32) {
        let relay = &self.relays[life.relay];
        if relay.rounds != round || relay.life != life.life {
            return;
        }
        if !self.database_is_away() {
            let owner = (self.bug != Some(Bug::SkipLocked)).then_some((life.relay, life.life));
            let marked = self.database.mark(owner, &relay.leases, &relay.acknowledged);
            if marked < relay.acknowledged.len() {
                *self.reached.entry("a mark is fenced off").or_default() += 1;
            }
            if !relay.broken {
                for id in &relay.acknowledged {
                    let shard = self.database.outbox.get(id).map_or(0, Row::shard);
                    let cursor = &mut self.database.cursors[usize::try_from(shard).unwrap_or(0)];
                    *cursor = (*cursor).max(*id);
                }
            }
            self.database.row_locks.retain(|_, owner| *owner != life.relay);
        }
        self.after(1, 10, Step::Relay(life, Act::Marked { round }));
    }
}
