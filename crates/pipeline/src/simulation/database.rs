//! PostgreSQL: transactions that are one step each, apart from a writer's, which holds its id and its aggregate's lock
//! for a while before it commits.

use std::collections::{BTreeMap, BTreeSet};

pub(super) type EventId = u64;
pub(super) type RowId = u64;

pub(super) const SHARDS: u64 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Event,
    Retry,
    DeadLetter,
}

/// A row of the outbox.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub id: RowId,
    pub kind: Kind,
    pub event: EventId,
    pub aggregate: Option<u64>,
    pub topic: String,
    pub key: Option<Vec<u8>>,
    pub payload: Vec<u8>,
    pub headers: Vec<(String, String)>,
    pub consumer: Option<usize>,
    pub attempt: i32,
    pub published: bool,
}

impl Row {
    pub fn shard(&self) -> u64 {
        self.aggregate.unwrap_or(self.event) % SHARDS
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    Retrying,
    Dead,
    Parked,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Inbox {
    pub outcome: Outcome,
    pub attempt: i32,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lease {
    pub owner: Option<(usize, u32)>,
    pub epoch: u64,
    pub expires_at: u64,
}

#[derive(Default)]
pub(super) struct Database {
    pub versions: BTreeMap<u64, u64>,
    pub locked: BTreeSet<u64>,
    pub last_id: RowId,
    pub outbox: BTreeMap<RowId, Row>,
    pub inbox: BTreeMap<(usize, EventId), Inbox>,
    /// How often each effect was written.
    pub effects: BTreeMap<(usize, EventId), u32>,
    pub leases: [Lease; SHARDS as usize],
    pub parked: BTreeMap<(usize, super::parking::Key), super::parking::Parked>,
    pub parked_epochs: u64,
    /// What a planted relay has locked.
    pub row_locks: BTreeMap<RowId, usize>,
    /// Up to where a planted relay has read each shard.
    pub cursors: [RowId; SHARDS as usize],
    /// When each relay was seen last.
    pub relays: BTreeMap<(usize, u32), u64>,
}

impl Database {
    pub fn new_id(&mut self) -> RowId {
        self.last_id += 1;
        self.last_id
    }

    /// Whether the statement of `settle/transaction.rs` (INSERT … ON CONFLICT … WHERE) would take the event.
    pub fn claims(&self, consumer: usize, event: EventId, row: Inbox) -> bool {
        let expected = row.attempt - i32::from(row.outcome == Outcome::Retrying);
        let old = self.inbox.get(&(consumer, event));
        old.is_none_or(|old| old.outcome == Outcome::Retrying && old.attempt == expected)
    }

    /// Whether this very delivery has its outcome: what the inbox holds is not waiting for it.
    pub fn is_settled(&self, consumer: usize, event: EventId, attempt: i32) -> bool {
        let row = self.inbox.get(&(consumer, event));
        row.is_some_and(|row| !(row.outcome == Outcome::Retrying && row.attempt == attempt))
    }

    /// One heartbeat of a relay, as in `relay/lease.rs`; returns its shards with their epochs.
    pub fn beat(&mut self, owner: (usize, u32), now: u64, ttl: u64) -> Vec<(u64, u64)> {
        self.relays.insert(owner, now);
        self.relays.retain(|_, seen| *seen + ttl * 6 >= now);
        let alive = self.relays.values().filter(|seen| **seen + ttl > now).count().max(1) as u64;
        let share = SHARDS.div_ceil(alive);
        let mut kept = 0;
        for lease in self.leases.iter_mut().filter(|lease| lease.owner == Some(owner)) {
            kept += 1;
            if kept > share {
                *lease = Lease { owner: None, expires_at: 0, ..*lease };
            } else {
                lease.expires_at = now + ttl;
            }
        }
        for lease in self.leases.iter_mut().filter(|lease| lease.owner != Some(owner) && lease.expires_at < now) {
            if kept < share {
                kept += 1;
                *lease = Lease { owner: Some(owner), epoch: lease.epoch + 1, expires_at: now + ttl };
            }
        }
        self.leases
            .iter()
            .zip(0..)
            .filter(|(lease, _)| lease.owner == Some(owner))
            .map(|(lease, shard)| (shard, lease.epoch))
            .collect()
    }

    /// The fenced mark of `relay/store.rs`.
    pub fn mark(&mut self, owner: Option<(usize, u32)>, leases: &[(u64, u64)], rows: &[RowId]) -> usize {
        let mut marked = 0;
        for id in rows {
            let Some(row) = self.outbox.get_mut(id) else { continue };
            let shard = row.shard();
            let lease = &self.leases[usize::try_from(shard).unwrap_or(0)];
            // Without an owner: the planted relay that has no leases.
            if owner.is_none() || (lease.owner == owner && leases.contains(&(shard, lease.epoch))) {
                row.published = true;
                marked += 1;
            }
        }
        marked
    }
}
