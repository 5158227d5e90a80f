use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Duration,
};

use super::{in_flight::Ticket, ledger::Ledger, progress::PartitionProgress};
use crate::{Record, broker::Offsets, message::TopicPartition};

/// A partition's number within this process: names are compared once, at the door.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct SlotId(u32);

/// A partition that was ours at least once.
pub(super) struct Slot {
    source: TopicPartition,
    /// Of a retry topic of this very consumer.
    pub own: bool,
    /// While it is assigned.
    pub partition: Option<Partition>,
}

/// All partitions that were ever ours. None is forgotten: there are no more of them than the topics have.
pub(super) struct Slots {
    own_topics: String,
    numbers: HashMap<TopicPartition, SlotId>,
    slots: Vec<Slot>,
    /// Records come in runs of one partition.
    last: SlotId,
}

impl Slots {
    pub fn new(own_topics: String) -> Self {
        Self { own_topics, numbers: HashMap::new(), slots: Vec::new(), last: SlotId(0) }
    }

    pub fn intern(&mut self, source: &TopicPartition) -> SlotId {
        if let Some(id) = self.numbers.get(source) {
            return *id;
        }
        let id = SlotId(u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
        let own = source.topic.starts_with(&self.own_topics);
        self.slots.push(Slot { source: source.clone(), own, partition: None });
        self.numbers.insert(source.clone(), id);
        id
    }

    pub fn find(&mut self, source: &TopicPartition) -> Option<SlotId> {
        if self.source(self.last).is_none_or(|last| last != source) {
            self.last = *self.numbers.get(source)?;
        }
        Some(self.last)
    }

    pub fn find_all(&self, sources: &[TopicPartition]) -> Vec<SlotId> {
        sources.iter().filter_map(|source| self.numbers.get(source).copied()).collect()
    }

    pub fn source(&self, id: SlotId) -> Option<&TopicPartition> {
        self.slots.get(id.0 as usize).map(|slot| &slot.source)
    }

    pub fn get_mut(&mut self, id: SlotId) -> Option<&mut Slot> {
        self.slots.get_mut(id.0 as usize)
    }

    fn partition(&self, id: SlotId) -> Option<&Partition> {
        self.slots.get(id.0 as usize)?.partition.as_ref()
    }

    pub fn partition_mut(&mut self, id: SlotId) -> Option<&mut Partition> {
        self.get_mut(id)?.partition.as_mut()
    }

    /// The assignment in which the ticket's message was delivered; none when it is over.
    pub fn of_ticket(&mut self, ticket: &Ticket) -> Option<&mut Partition> {
        self.partition_mut(ticket.slot).filter(|partition| partition.epoch == ticket.epoch)
    }

    pub fn assigned_count(&self) -> usize {
        self.assigned().count()
    }

    pub fn assigned(&self) -> impl Iterator<Item = (&TopicPartition, &Partition)> {
        self.slots.iter().filter_map(|slot| Some((&slot.source, slot.partition.as_ref()?)))
    }

    pub fn assigned_mut(&mut self) -> impl Iterator<Item = (&TopicPartition, &mut Partition)> {
        self.slots.iter_mut().filter_map(|slot| Some((&slot.source, slot.partition.as_mut()?)))
    }

    pub fn assigned_ids(&self) -> Vec<SlotId> {
        (0..).zip(&self.slots).filter(|(_, slot)| slot.partition.is_some()).map(|(number, _)| SlotId(number)).collect()
    }
}

/// A partition from its assignment to its revocation.
pub(super) struct Partition {
    /// The generation of its assignment.
    pub epoch: u64,
    /// Revoked, and not handed over yet: nothing new starts.
    pub leaving: bool,
    pub ledger: Ledger,
    /// Messages that are out (the ledger's open ones may still be queued).
    pub running: usize,
    pub paused: bool,
    pub last_settled_ms: Option<i64>,
    /// Not admitted yet. The partition is paused meanwhile, so these are only what the client had fetched before the
    /// pause took effect; other partitions flow.
    pub held: VecDeque<Record>,
    /// A command pauses it.
    pub barred: bool,
    /// It holds more than its share of the budget.
    pub crowded: bool,
    /// What of the budget its messages take, in messages and bytes.
    pub charged: (usize, usize),
    pub blocked: Option<Blocked>,
}

/// Messages of a partition wait for something that only they need, as a schema that the registry does not know. Nothing
/// more is fetched meanwhile, and one of them at a time finds out whether it is there.
pub(super) struct Blocked {
    pub reason: &'static str,
    /// They came back, by offset.
    pub stranded: BTreeMap<i64, (Ticket, Record)>,
    pub try_at: Duration,
    pub tries: u32,
    /// The one that finds out.
    pub probe: Option<i64>,
    /// The partition's messages are not in the budget.
    pub outside: bool,
}

impl Partition {
    pub fn new(epoch: u64) -> Self {
        Self {
            epoch,
            leaving: false,
            ledger: Ledger::default(),
            running: 0,
            paused: false,
            last_settled_ms: None,
            held: VecDeque::new(),
            barred: false,
            crowded: false,
            charged: (0, 0),
            blocked: None,
        }
    }

    /// Whether it is to wait, whatever its next record is.
    pub fn is_closed(&self) -> bool {
        self.barred || self.crowded || self.blocked.is_some()
    }

    pub fn progress(&self, over_budget: bool) -> PartitionProgress {
        PartitionProgress {
            frontier: self.ledger.frontier(),
            open: self.ledger.open_count(),
            oldest_open: self.ledger.oldest_open(),
            oldest_open_ms: self.ledger.oldest_open_ms(),
            last_settled_ms: self.last_settled_ms,
            waits: self.barred || self.blocked.is_some() || (!self.crowded && !self.held.is_empty()),
            over_budget,
        }
    }
}

/// Partitions on their way to another member: nothing new starts in them, what is out may still settle.
pub(super) struct Handover {
    pub number: u64,
    /// Each with the epoch of the assignment that is given up.
    pub partitions: Vec<(SlotId, u64)>,
    pub deadline: Duration,
}

impl Handover {
    pub fn is_over(&self, slots: &Slots, now: Duration) -> bool {
        let quiet = |(id, epoch): &(SlotId, u64)| {
            slots.partition(*id).is_none_or(|partition| partition.epoch != *epoch || partition.running == 0)
        };
        now >= self.deadline || self.partitions.iter().all(quiet)
    }

    /// Takes the partitions out of our hands; whatever of them still runs is of an old epoch from here on. One that has
    /// come back in the meantime, as a late handover finds it, stays.
    pub fn finish(self, slots: &mut Slots) -> Offsets {
        let mut settled = Offsets::new();
        for (id, epoch) in self.partitions {
            let Some(slot) = slots.get_mut(id) else { continue };
            if let Some(mut partition) = slot.partition.take_if(|partition| partition.epoch == epoch) {
                settled.extend(partition.ledger.take_frontier().map(|offset| (slot.source.clone(), offset)));
            }
        }
        settled
    }
}
