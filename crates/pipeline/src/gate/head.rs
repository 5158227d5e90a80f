use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::Serialize;
use uuid::Uuid;

use super::CommandId;
use crate::message::TopicPartition;

/// A frontier that moves is nobody's concern.
pub const STANDS_AFTER: Duration = Duration::from_secs(5);
/// Reasons are for the few that wait. Beyond this many the newest go without; a head is old.
const NOTES_MAX: usize = 10_000;

/// What a message is held up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "phase", rename_all = "kebab-case")]
pub enum Phase {
    /// A try is running, or its settlement.
    Working,
    /// Something that everybody needs is away.
    Waiting { reason: &'static str },
    /// A try failed, and the next one has not begun.
    Retrying { reason: &'static str, tries: u32 },
    /// A pause, drain or throttle selects it.
    Commanded { command: CommandId },
    /// It failed while many failed alike.
    Breaker { reason: &'static str },
    /// More is ready than may start.
    Queued,
}

/// Who a message that waits is, and why it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub phase: Phase,
    pub event_id: Option<Uuid>,
    /// Its key as text, or in hex where it is none.
    pub key: String,
}

/// Written by those who have a message in hand and wait, read every few seconds. A message that just works leaves none, so
/// it costs nothing on the fast path.
#[derive(Clone, Default)]
pub struct Notes(Arc<Mutex<HashMap<TopicPartition, HashMap<i64, Note>>>>);

impl Notes {
    pub fn write(&self, source: &TopicPartition, offset: i64, note: Note) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = notes.values().map(HashMap::len).sum::<usize>();
        if known < NOTES_MAX || notes.get(source).is_some_and(|of| of.contains_key(&offset)) {
            notes.entry(source.clone()).or_default().insert(offset, note);
        }
    }

    /// The wait is over.
    pub fn erase(&self, source: &TopicPartition, offset: i64) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of) = notes.get_mut(source) {
            of.remove(&offset);
            if of.is_empty() {
                notes.remove(source);
            }
        }
    }

    /// The partition is gone.
    pub fn forget(&self, source: &TopicPartition) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(source);
    }

    pub fn read(&self, source: &TopicPartition, offset: i64) -> Option<Note> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(source)?.get(&offset).cloned()
    }
}

/// What holds a partition's frontier back: "frontier of X[3] held since 14:02 by event …, waiting: registry-unavailable".
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Head {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub held_seconds: u64,
    #[serde(flatten)]
    pub phase: Phase,
    /// Absent while it just works: nobody noted it.
    pub event_id: Option<Uuid>,
    pub key: Option<String>,
}

/// Since when each partition's oldest open message is the same.
#[derive(Debug, Default)]
pub struct Heads(HashMap<TopicPartition, (i64, Duration)>);

impl Heads {
    /// Call it regularly, with every owned partition and its oldest open offset. Returns those that have stood for
    /// [`STANDS_AFTER`], the longest first.
    pub fn look<'p>(
        &mut self,
        now: Duration,
        partitions: impl IntoIterator<Item = (&'p TopicPartition, Option<i64>)>,
        note: impl Fn(&TopicPartition, i64) -> Option<Note>,
    ) -> Vec<Head> {
        let mut seen = HashMap::new();
        let mut heads = Vec::new();
        for (source, oldest) in partitions {
            let Some(offset) = oldest else { continue };
            let before = self.0.get(source).filter(|(at, _)| *at == offset).map(|(_, since)| *since);
            let since = before.unwrap_or(now);
            seen.insert(source.clone(), (offset, since));
            let held = now.saturating_sub(since);
            if held >= STANDS_AFTER {
                let note = note(source, offset);
                heads.push(Head {
                    topic: source.topic.to_string(),
                    partition: source.partition,
                    offset,
                    held_seconds: held.as_secs(),
                    phase: note.as_ref().map_or(Phase::Working, |note| note.phase),
                    event_id: note.as_ref().and_then(|note| note.event_id),
                    key: note.map(|note| note.key),
                });
            }
        }
        self.0 = seen;
        heads.sort_by(|a, b| b.held_seconds.cmp(&a.held_seconds).then_with(|| a.offset.cmp(&b.offset)));
        heads
    }
}

/// A key for people: text where it is some, else hex. Cut, as a foreign producer chooses it.
pub fn key_text(key: Option<&[u8]>) -> String {
    const CHARS_MAX: usize = 80;
    let Some(key) = key else { return "none".to_owned() };
    match std::str::from_utf8(key) {
        Ok(text) if !text.chars().any(char::is_control) => text.chars().take(CHARS_MAX).collect(),
        _ => key.iter().take(CHARS_MAX / 2).map(|byte| format!("{byte:02x}")).collect(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const START: Duration = Duration::from_secs(1_000);

    fn partition(number: i32) -> TopicPartition {
        TopicPartition { topic: "t".into(), partition: number }
    }

    #[test]
    fn a_frontier_that_stands_is_told_with_who_holds_it_since_when_and_why() {
        let (start, notes, source) = (START, Notes::default(), partition(3));
        let mut heads = Heads::default();
        let id = Uuid::new_v4();
        let phase = Phase::Waiting { reason: "registry-unavailable" };
        let look = |heads: &mut Heads, seconds, oldest| {
            let now = start + Duration::from_secs(seconds);
            heads.look(now, [(&source, oldest)], |source, offset| notes.read(source, offset))
        };
        assert_eq!(look(&mut heads, 0, Some(7)), []);
        assert_eq!(look(&mut heads, 4, Some(7)), [], "not for long yet");
        let head = &look(&mut heads, 6, Some(7))[0];
        assert_eq!((head.phase, head.held_seconds, head.event_id), (Phase::Working, 6, None), "a slow try");
        notes.write(&source, 7, Note { phase, event_id: Some(id), key: "k".into() });
        let head = &look(&mut heads, 60, Some(7))[0];
        assert_eq!((head.phase, head.offset, head.held_seconds, head.event_id), (phase, 7, 60, Some(id)));
        let told = serde_json::to_value(head).unwrap();
        assert_eq!((&told["phase"], &told["reason"]), (&"waiting".into(), &"registry-unavailable".into()));
        assert_eq!(look(&mut heads, 61, Some(8)), [], "it moved");
        assert_eq!(look(&mut heads, 66, Some(8))[0].key, None, "the note was of another");
        assert_eq!(look(&mut heads, 67, None), [], "nothing is open");
        assert_eq!(look(&mut heads, 90, Some(8)), [], "a new time begins");
    }

    #[test]
    fn notes_are_bounded_and_leave_nothing_behind() {
        let (notes, source) = (Notes::default(), partition(0));
        let note = |tries| Note { phase: Phase::Retrying { reason: "r", tries }, event_id: None, key: String::new() };
        for offset in 0..20_000 {
            notes.write(&source, offset, note(1));
        }
        assert_eq!(notes.read(&source, 0), Some(note(1)), "the oldest are kept: they are the heads");
        assert_eq!(notes.read(&source, 19_999), None);
        notes.write(&source, 0, note(2));
        assert_eq!(notes.read(&source, 0), Some(note(2)), "what is known can change");
        (0..20_000).for_each(|offset| notes.erase(&source, offset));
        assert!(notes.0.lock().unwrap().is_empty());
    }

    #[test]
    fn a_foreign_key_is_shown_safely() {
        assert_eq!(key_text(Some(b"0190-ab")), "0190-ab");
        assert_eq!(key_text(Some(b"\x1b[2J")), "1b5b324a");
        assert_eq!(key_text(Some(&[0xff, 0x00])), "ff00");
        assert_eq!(key_text(Some(&[b'a'; 1_000])).len(), 80);
        assert_eq!(key_text(None), "none");
    }
}
