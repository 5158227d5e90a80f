//! The broker: logs with holes and retention, and the coordinator of each consumer's group.

use std::collections::BTreeMap;

use crate::{Record, message::TopicPartition};

/// A partition, by its place in [`Kafka::logs`].
pub(super) type Tp = usize;
/// A member as the coordinator knows it: which process, and its how many-th joining.
pub(super) type MemberId = (usize, u32);

pub(super) struct Log {
    pub source: TopicPartition,
    pub entries: Vec<Record>,
    pub next: i64,
    /// What is below was deleted.
    pub low: i64,
}

impl Log {
    pub fn append(&mut self, mut record: Record, hole: i64) {
        record.source = self.source.clone();
        record.offset = self.next + hole;
        self.next = record.offset + 1;
        self.entries.push(record);
    }

    pub fn from(&self, position: i64) -> &[Record] {
        let first = self.entries.partition_point(|record| record.offset < position.max(self.low));
        &self.entries[first..]
    }

    pub fn range(&self, from: i64, to: i64) -> impl Iterator<Item = &Record> {
        self.entries.iter().filter(move |record| (from..to).contains(&record.offset))
    }
}

/// A rebalance under way.
pub(super) struct Round {
    pub number: u32,
    /// Members that have not given up what they must, and not joined again.
    pub waiting: Vec<MemberId>,
    pub target: BTreeMap<Tp, MemberId>,
}

pub(super) struct Group {
    pub subscribed: Vec<Tp>,
    pub generation: u64,
    pub members: Vec<MemberId>,
    pub owner: BTreeMap<Tp, MemberId>,
    pub committed: BTreeMap<Tp, i64>,
    pub round: Option<Round>,
    pub rounds: u32,
    /// Somebody came or went while a round was under way.
    pub again: bool,
}

/// What the coordinator tells a member, on its next poll.
#[derive(Debug, Clone)]
pub(super) enum Notice {
    Revoke { round: u32, partitions: Vec<Tp> },
    Assign { generation: u64, partitions: Vec<Tp> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    UnknownMember,
    IllegalGeneration,
}

impl Group {
    pub fn new(subscribed: Vec<Tp>) -> Self {
        Self {
            subscribed,
            generation: 0,
            members: Vec::new(),
            owner: BTreeMap::new(),
            committed: BTreeMap::new(),
            round: None,
            rounds: 0,
            again: false,
        }
    }

    /// As evenly as it goes; `turn` shifts who gets what.
    pub fn target(&self, turn: usize) -> BTreeMap<Tp, MemberId> {
        let members = self.members.len();
        if members == 0 {
            return BTreeMap::new();
        }
        let member = |nth: usize| self.members[(nth + turn) % members];
        self.subscribed.iter().enumerate().map(|(nth, tp)| (*tp, member(nth))).collect()
    }

    /// The broker checks who asks and in which generation. Which partitions the member owns it does not check.
    pub fn check_commit(&self, member: MemberId, generation: u64) -> Result<(), Refusal> {
        if !self.members.contains(&member) {
            return Err(Refusal::UnknownMember);
        }
        if generation != self.generation {
            return Err(Refusal::IllegalGeneration);
        }
        Ok(())
    }
}

pub(super) struct Kafka {
    pub logs: Vec<Log>,
    /// One for each consumer.
    pub groups: Vec<Group>,
}

impl Kafka {
    pub fn tp(&self, source: &TopicPartition) -> Tp {
        self.logs.iter().position(|log| log.source == *source).unwrap_or(usize::MAX)
    }

    pub fn of_topic(&self, topic: &str) -> Vec<Tp> {
        (0..self.logs.len()).filter(|tp| &*self.logs[*tp].source.topic == topic).collect()
    }
}
