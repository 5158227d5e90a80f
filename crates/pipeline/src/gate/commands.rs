use std::{collections::HashMap, time::Duration};

use serde_json::Value;

/// Of `pipeline.commands`.
pub type CommandId = i64;

/// What a command tells a consumer to do with the messages it selects.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Action {
    /// Start none of them.
    Pause,
    /// The same, and tell when what had been started before is finished.
    Drain,
    /// Start so many a second, over all replicas.
    Throttle { per_second: f64 },
    /// Settle them as discarded.
    Drop,
    /// The breaker does not hold failed messages back: they die or are retried as if it were closed.
    LetFail,
}

/// Which messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    All,
    Topic(String),
    Partition(String, i32),
    Tenant(String),
    Key(Vec<u8>),
    Header {
        name: String,
        equals: String,
    },
    /// A dotted path into the decoded event, such as `data.declared_mime`.
    Field {
        path: String,
        equals: String,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    pub id: CommandId,
    pub action: Action,
    pub selector: Selector,
    /// By the monotonic clock, from what the database said was left.
    pub until: Duration,
}

/// A row of `pipeline.commands`, with the time that was left by the database's clock.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct CommandRow {
    pub id: CommandId,
    pub action: String,
    pub scope: String,
    pub selector: Value,
    pub per_second: Option<f64>,
    pub remaining_seconds: f64,
}

impl CommandRow {
    /// `read_at`: when the query was sent, so that a slow answer ends a command early rather than late. None for a row
    /// that this version does not understand: it is not obeyed, since a guess could hold back or drop anything.
    pub fn compile(&self, read_at: Duration) -> Option<Command> {
        let text = |name: &str| self.selector.get(name)?.as_str().map(str::to_owned);
        let selector = match self.scope.as_str() {
            "all" => Selector::All,
            "topic" => Selector::Topic(text("topic")?),
            "partition" => {
                let partition = self.selector.get("partition")?.as_i64()?;
                Selector::Partition(text("topic")?, i32::try_from(partition).ok()?)
            }
            "tenant" => Selector::Tenant(text("tenant")?),
            "key" => Selector::Key(unhex(&text("key")?)?),
            "field" => match text("header") {
                Some(name) => Selector::Header { name, equals: text("equals")? },
                None => Selector::Field { path: text("path")?, equals: text("equals")? },
            },
            _ => return None,
        };
        let action = match self.action.as_str() {
            "pause" => Action::Pause,
            "drain" => Action::Drain,
            "throttle" => Action::Throttle { per_second: self.per_second.filter(|rate| *rate > 0.0)? },
            "drop" if selector != Selector::All => Action::Drop,
            "let-fail" => Action::LetFail,
            _ => return None,
        };
        // Looking into every message is for the rare kill switch, not for what decides before a message starts.
        let looks_inside = matches!(selector, Selector::Header { .. } | Selector::Field { .. });
        if looks_inside && action != Action::Drop {
            return None;
        }
        let left = Duration::try_from_secs_f64(self.remaining_seconds.max(0.0)).ok()?;
        Some(Command { id: self.id, action, selector, until: read_at.checked_add(left)? })
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    digits.chunks(2).map(byte).collect()
}

/// Where a message stands, as far as it is known before it is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    pub topic: &'a str,
    pub partition: i32,
    /// As its header says.
    pub tenant: &'a str,
    pub key: Option<&'a [u8]>,
}

/// Whether a message may start.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    Run,
    Hold(CommandId),
    /// When each of these has a token for it.
    Throttle(Vec<(CommandId, f64)>),
}

/// The commands that a consumer obeys now, by what they select.
///
/// [`verdict`](Self::verdict) is asked for each message, so it is one branch when there is no command, and a few look-ups
/// otherwise, however many there are.
#[derive(Debug, Default)]
pub struct CommandSet {
    commands: Vec<Command>,
    /// Live members of the consumer: each gets its share of a throttle.
    members: u32,
    all: Vec<usize>,
    topics: HashMap<String, Vec<usize>>,
    partitions: HashMap<String, HashMap<i32, Vec<usize>>>,
    tenants: HashMap<String, Vec<usize>>,
    keys: HashMap<Vec<u8>, Vec<usize>>,
    inside: Vec<usize>,
}

impl CommandSet {
    pub fn new(commands: Vec<Command>, members: u32) -> Self {
        let mut set = Self { members: members.max(1), ..Self::default() };
        for (nth, command) in commands.iter().enumerate() {
            let place = match &command.selector {
                Selector::All => &mut set.all,
                Selector::Topic(topic) => set.topics.entry(topic.clone()).or_default(),
                Selector::Partition(topic, partition) => {
                    set.partitions.entry(topic.clone()).or_default().entry(*partition).or_default()
                }
                Selector::Tenant(tenant) => set.tenants.entry(tenant.clone()).or_default(),
                Selector::Key(key) => set.keys.entry(key.clone()).or_default(),
                Selector::Header { .. } | Selector::Field { .. } => &mut set.inside,
            };
            place.push(nth);
        }
        Self { commands, ..set }
    }

    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Whether it says the same as another reading of the table: two of them never agree on the last milliseconds.
    pub fn is_same(&self, other: &Self) -> bool {
        const APART: Duration = Duration::from_secs(1);
        let same = |(a, b): (&Command, &Command)| {
            a.id == b.id && a.action == b.action && a.selector == b.selector && a.until.abs_diff(b.until) < APART
        };
        let commands = self.commands.len() == other.commands.len();
        commands && self.members == other.members && self.commands.iter().zip(&other.commands).all(same)
    }

    /// Whether a drop asks for a field of the payload.
    pub fn looks_into_payloads(&self, now: Duration) -> bool {
        self.alive(now, &self.inside).any(|command| matches!(command.selector, Selector::Field { .. }))
    }

    pub fn active(&self, now: Duration) -> impl Iterator<Item = &Command> {
        self.commands.iter().filter(move |command| now < command.until)
    }

    /// Whether a message at this place may start. A hold goes before everything: what is paused is not used up by a
    /// throttle either.
    pub fn verdict(&self, now: Duration, place: &Place<'_>) -> Verdict {
        if self.is_empty() {
            return Verdict::Run;
        }
        let mut throttles = Vec::new();
        for command in self.of_place(now, place) {
            match command.action {
                Action::Pause | Action::Drain => return Verdict::Hold(command.id),
                Action::Throttle { per_second } => throttles.push((command.id, per_second / f64::from(self.members))),
                Action::Drop | Action::LetFail => {}
            }
        }
        if throttles.is_empty() { Verdict::Run } else { Verdict::Throttle(throttles) }
    }

    /// Whether nothing of this partition may start, so that it need not even be fetched.
    pub fn holds_partition(&self, now: Duration, topic: &str, partition: i32) -> bool {
        let holds = |command: &Command| matches!(command.action, Action::Pause | Action::Drain);
        !self.is_empty() && self.of_partition(now, topic, partition).any(holds)
    }

    /// The command that discards a message. `field` is asked only when a command looks into the payload.
    pub fn drops<'h>(
        &self,
        now: Duration,
        place: &Place<'_>,
        header: impl Fn(&str) -> Option<&'h str>,
        field: impl Fn(&str) -> Option<String>,
    ) -> Option<CommandId> {
        if self.is_empty() {
            return None;
        }
        let says = |command: &&Command| match &command.selector {
            Selector::Header { name, equals } => header(name) == Some(equals),
            Selector::Field { path, equals } => field(path).as_deref() == Some(equals),
            _ => true,
        };
        let inside = self.alive(now, &self.inside);
        let of_place = self.of_place(now, place);
        of_place.chain(inside).filter(|command| command.action == Action::Drop).find(says).map(|command| command.id)
    }

    pub fn lets_fail(&self, now: Duration) -> bool {
        self.active(now).any(|command| command.action == Action::LetFail)
    }

    fn of_place<'s>(&'s self, now: Duration, place: &Place<'_>) -> impl Iterator<Item = &'s Command> {
        let tenant = self.tenants.get(place.tenant).map(Vec::as_slice).unwrap_or_default();
        let key = place.key.and_then(|key| self.keys.get(key)).map(Vec::as_slice).unwrap_or_default();
        let partition = self.of_partition(now, place.topic, place.partition);
        partition.chain(self.alive(now, tenant)).chain(self.alive(now, key))
    }

    fn of_partition(&self, now: Duration, topic: &str, partition: i32) -> impl Iterator<Item = &Command> {
        let of_topic = self.topics.get(topic).map(Vec::as_slice).unwrap_or_default();
        let partitions = self.partitions.get(topic).and_then(|by| by.get(&partition));
        let of_partition = partitions.map(Vec::as_slice).unwrap_or_default();
        self.alive(now, &self.all).chain(self.alive(now, of_topic)).chain(self.alive(now, of_partition))
    }

    fn alive<'s>(&'s self, now: Duration, chosen: &'s [usize]) -> impl Iterator<Item = &'s Command> {
        chosen.iter().filter_map(|nth| self.commands.get(*nth)).filter(move |command| now < command.until)
    }
}

#[cfg(test)]
mod tests;
