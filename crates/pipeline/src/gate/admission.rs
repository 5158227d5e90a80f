use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use super::{Bucket, CommandId, CommandSet, FairQueue, Phase, Place, Signals, Start, Turn, Verdict};

/// What can be held at the gate.
pub trait Placed {
    fn place(&self) -> Place<'_>;
    /// What it costs its tenant; 1 for a small message.
    fn cost(&self) -> u32;
}

/// Rises with each change of the commands. What was started before a drain was seen has a lower one.
pub type Generation = u64;

/// A message that may start. Give `turn` and `generation` back when it is done.
#[derive(Debug, PartialEq, Eq)]
pub struct Admitted<T> {
    pub item: T,
    pub turn: Turn,
    pub generation: Generation,
}

/// Tenants in a hash: a stranger's names need no memory.
type Tenant = u64;

/// How many held messages are looked at for one that no command holds.
const HELD_LOOKS: usize = 16;

/// Which message starts next. Owned by the driver, which puts in what its lane lets go, and starts what comes out.
///
/// It holds no more than the budget let in. Whoever holds back a tenant or a key holds its messages here, so the budget may
/// fill with them: see ADR 0026.
pub struct Admission<T> {
    commands: Arc<CommandSet>,
    signals: Signals,
    /// They may start at once, so nobody has to choose between tenants: the usual way, and the cheap one.
    line: VecDeque<T>,
    ready: FairQueue<Tenant, T>,
    /// Chosen, but nothing may start now.
    next: Option<T>,
    /// Held or throttled by commands, in the order in which they came.
    aside: VecDeque<(CommandId, T)>,
    /// They took their tokens. Filled when it is empty, so that no more than a second's worth can gather here.
    granted: VecDeque<T>,
    /// Failed, and held by the breaker.
    failed: VecDeque<(&'static str, T)>,
    buckets: HashMap<CommandId, Bucket>,
    generation: Generation,
    /// Messages that are out, by the generation they were started in.
    out: BTreeMap<Generation, usize>,
    running: usize,
    /// The generation in which each command was first obeyed.
    obeyed_since: BTreeMap<CommandId, Generation>,
}

impl<T: Placed> Admission<T> {
    pub fn new(signals: Signals) -> Self {
        Self {
            commands: Arc::default(),
            signals,
            line: VecDeque::new(),
            ready: FairQueue::default(),
            next: None,
            aside: VecDeque::new(),
            granted: VecDeque::new(),
            failed: VecDeque::new(),
            buckets: HashMap::new(),
            generation: 0,
            out: BTreeMap::new(),
            running: 0,
            obeyed_since: BTreeMap::new(),
        }
    }

    /// A message whose lane is free.
    pub fn push(&mut self, item: T) {
        let nobody_waits = self.ready.is_empty() && self.next.is_none() && self.signals.is_closed();
        if nobody_waits && self.running + self.line.len() < self.signals.limit() {
            return self.line.push_back(item);
        }
        let mut hasher = DefaultHasher::new();
        item.place().tenant.hash(&mut hasher);
        let cost = item.cost();
        self.ready.push(hasher.finish(), cost, item);
    }

    /// A started message came back: it failed, and is tried again when the breaker lets it. Its lane stays taken.
    pub fn hold(&mut self, generation: Generation, reason: &'static str, item: T) {
        self.finished(generation);
        self.failed.push_back((reason, item));
    }

    /// A started message came back with an outcome, or was given up.
    pub fn finished(&mut self, generation: Generation) {
        if let Some(count) = self.out.get_mut(&generation) {
            *count -= 1;
            self.running -= 1;
            if *count == 0 {
                self.out.remove(&generation);
            }
        }
    }

    /// The next message to start, until there is none. Ask after each [`push`](Self::push), [`finished`](Self::finished)
    /// and [`tick`](Self::tick).
    pub fn start(&mut self, now: Duration) -> Option<Admitted<T>> {
        if self.running >= self.signals.limit() {
            return None;
        }
        if self.next.is_none() {
            self.next = self.choose(now);
        }
        let held = self.bring_held_to_front(now);
        let (item, turn) = match self.signals.start(now, self.next.is_some(), held)? {
            Start::Fresh(turn) => (self.next.take(), turn),
            Start::Held(turn) => (self.failed.pop_front().map(|(_, item)| item), turn),
        };
        let item = item?;
        self.running += 1;
        *self.out.entry(self.generation).or_default() += 1;
        Some(Admitted { item, turn, generation: self.generation })
    }

    /// Several times a second: commands end, tokens come.
    pub fn tick(&mut self, now: Duration) {
        self.signals.let_fail(self.commands.lets_fail(now));
        if self.running == 0 && self.here() == [0, 0, 0] {
            self.signals.rest(now);
        }
        let grants = self.granted.is_empty();
        for (_, item) in std::mem::take(&mut self.aside) {
            match self.commands.verdict(now, &item.place()) {
                Verdict::Run => self.push(item),
                Verdict::Hold(command) => self.aside.push_back((command, item)),
                Verdict::Throttle(throttles) => match self.take_tokens(now, &throttles, grants) {
                    None => self.granted.push_back(item),
                    Some(command) => self.aside.push_back((command, item)),
                },
            }
        }
    }

    /// Another set of commands was read.
    pub fn obey(&mut self, now: Duration, commands: Arc<CommandSet>) {
        let active: Vec<CommandId> = commands.active(now).map(|command| command.id).collect();
        if active.iter().any(|id| !self.obeyed_since.contains_key(id)) {
            self.generation += 1;
        }
        self.obeyed_since.retain(|id, _| active.contains(id));
        for id in &active {
            self.obeyed_since.entry(*id).or_insert(self.generation);
        }
        self.buckets.retain(|id, _| active.contains(id));
        self.commands = commands;
        // What was chosen under the old ones is chosen anew. Its tokens are lost: never more than the rate.
        for item in self.next.take().into_iter().chain(std::mem::take(&mut self.granted)) {
            self.push(item);
        }
        self.tick(now);
    }

    /// Whether nothing of this partition may start, so that the broker need not send it.
    pub fn holds_partition(&self, now: Duration, topic: &str, partition: i32) -> bool {
        self.commands.holds_partition(now, topic, partition)
    }

    /// Takes out what is not wanted any more: its partition was revoked. What is out is not touched.
    pub fn withdraw(&mut self, unwanted: impl Fn(&T) -> bool) -> Vec<T> {
        let mut removed = self.ready.withdraw(&unwanted);
        removed.extend(extract(&mut self.line, &unwanted));
        removed.extend(self.next.take_if(|item| unwanted(item)));
        removed.extend(extract(&mut self.granted, &unwanted));
        removed.extend(extract(&mut self.aside, |(_, item)| unwanted(item)).into_iter().map(|(_, item)| item));
        removed.extend(extract(&mut self.failed, |(_, item)| unwanted(item)).into_iter().map(|(_, item)| item));
        removed
    }

    /// Of each command that is obeyed: how many messages are out that were started before it was. A drain is over at 0.
    pub fn obeyed(&self) -> BTreeMap<CommandId, usize> {
        let before = |since: &Generation| self.out.range(..since).map(|(_, count)| count).sum();
        self.obeyed_since.iter().map(|(id, since)| (*id, before(since))).collect()
    }

    /// What is held here, and why.
    pub fn waiting(&self) -> impl Iterator<Item = (&T, Phase)> {
        let aside = self.aside.iter().map(|(command, item)| (item, Phase::Commanded { command: *command }));
        aside.chain(self.failed.iter().map(|(reason, item)| (item, Phase::Breaker { reason })))
    }

    /// Messages that are out.
    pub fn running(&self) -> usize {
        self.running
    }

    /// Messages that are here: ready, held by commands, held by the breaker.
    pub fn here(&self) -> [usize; 3] {
        let ready = self.line.len() + self.ready.len() + usize::from(self.next.is_some()) + self.granted.len();
        [ready, self.aside.len(), self.failed.len()]
    }

    pub fn signals(&self) -> &Signals {
        &self.signals
    }

    /// Whether it holds anything back, or is told to: then nobody may use up the budget alone.
    pub fn is_strained(&self) -> bool {
        !(self.commands.is_empty() && self.signals.is_closed() && self.aside.is_empty() && self.failed.is_empty())
    }

    /// The first ready message that no command holds. A throttled one waits for the tick, in the order of its coming.
    fn choose(&mut self, now: Duration) -> Option<T> {
        if let Some(item) = self.granted.pop_front() {
            return Some(item);
        }
        while let Some(item) = self.line.pop_front().or_else(|| self.ready.pop()) {
            if self.commands.is_empty() {
                return Some(item);
            }
            let command = match self.commands.verdict(now, &item.place()) {
                Verdict::Run => return Some(item),
                Verdict::Hold(command) => Some(command),
                Verdict::Throttle(throttles) => throttles.first().map(|(id, _)| *id),
            };
            self.aside.push_back((command.unwrap_or_default(), item));
        }
        None
    }

    /// Takes a token of each when all have one and `may`; else the command that has none.
    fn take_tokens(&mut self, now: Duration, throttles: &[(CommandId, f64)], may: bool) -> Option<CommandId> {
        for (id, per_second) in throttles {
            let bucket = self.buckets.entry(*id).or_insert_with(|| Bucket::new(*per_second, now));
            bucket.retune(*per_second, now);
            if !may || !bucket.has_token(now) {
                return Some(*id);
            }
        }
        for (id, _) in throttles {
            if let Some(bucket) = self.buckets.get_mut(id) {
                bucket.take(now);
            }
        }
        None
    }

    /// How many of the failed ones may start, as far as commands go: the first may, when it is not none.
    fn bring_held_to_front(&mut self, now: Duration) -> usize {
        for _ in 0..self.failed.len().min(HELD_LOOKS) {
            match self.failed.front().map(|(_, item)| self.commands.verdict(now, &item.place())) {
                Some(Verdict::Hold(_)) => self.failed.rotate_left(1),
                _ => return self.failed.len(),
            }
        }
        0
    }
}

fn extract<T>(queue: &mut VecDeque<T>, unwanted: impl Fn(&T) -> bool) -> VecDeque<T> {
    let (removed, kept) = std::mem::take(queue).into_iter().partition(unwanted);
    *queue = kept;
    removed
}

#[cfg(test)]
mod tests;
