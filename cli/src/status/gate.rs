//! What a member's gate holds back and why, as the member wrote it down: `consumer_members.gate`.

use serde::{Deserialize, Serialize};

use crate::output::{age, counted, plain};

/// What of the report is shown. A member of another version may tell more or less.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Gate {
    held_by_commands: i64,
    held_by_breaker: i64,
    limit: i64,
    trips: i64,
    breaker: Option<Breaker>,
    heads: Vec<Head>,
    top_keys: Vec<Key>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Breaker {
    class: String,
    reason: String,
    open_seconds: f64,
}

/// The message that a frontier waits for.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Head {
    topic: String,
    partition: i32,
    offset: i64,
    held_seconds: f64,
    phase: String,
    reason: Option<String>,
    command: Option<i64>,
    tries: Option<i64>,
    event_id: Option<String>,
    key: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Key {
    key: String,
    messages: i64,
}

const HEADS_SHOWN: usize = 3;
/// A frontier that stands for less is a slow message, not a trouble.
const SHOWN_AFTER_SECONDS: f64 = 10.0;

impl Gate {
    /// One line for each trouble; none for a member that just works.
    pub fn lines(&self, consumer: &str) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(breaker) = &self.breaker {
            lines.push(format!(
                "{consumer}: the breaker is open for {}, {} {}; it holds {}. See `docfleet let-fail --help`.",
                age(breaker.open_seconds),
                plain(&breaker.class, 20),
                plain(&breaker.reason, 60),
                counted(self.held_by_breaker, "message"),
            ));
        }
        if self.held_by_commands > 0 {
            let messages = counted(self.held_by_commands, "message");
            lines.push(format!("{consumer}: commands hold {messages}. See `docfleet commands list`."));
        }
        let old = self.heads.iter().filter(|head| head.held_seconds >= SHOWN_AFTER_SECONDS);
        lines.extend(old.take(HEADS_SHOWN).map(|head| format!("{consumer}: {}", head.text())));
        lines
    }
}

impl Head {
    fn text(&self) -> String {
        let who = self.event_id.as_deref().map_or_else(String::new, |id| format!(", event {}", plain(id, 40)));
        let key = self.key.as_deref().map_or_else(String::new, |key| format!(", key {}", plain(key, 80)));
        let why = match (&self.reason, self.command, self.tries) {
            (_, Some(command), _) => format!(" by command {command}"),
            (Some(reason), _, Some(tries)) => format!(": {} after {}", plain(reason, 60), counted(tries, "attempt")),
            (Some(reason), ..) => format!(": {}", plain(reason, 60)),
            _ => String::new(),
        };
        let (topic, phase) = (plain(&self.topic, 120), plain(&self.phase, 20));
        let held = age(self.held_seconds);
        format!("{topic}[{}] stands at {} for {held}{who}{key}, {phase}{why}.", self.partition, self.offset)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn what_holds_a_frontier_is_told_and_a_member_that_works_is_silent() {
        let silent: Gate = serde_json::from_value(json!({})).unwrap();
        assert_eq!(silent.lines("ocr"), [] as [String; 0]);
        let gate: Gate = serde_json::from_value(json!({
            "commands": {"12": 1}, "ready": 0, "held_by_commands": 2, "held_by_breaker": 7, "limit": 8, "trips": 1,
            "breaker": {"class": "poison", "reason": "undecodable", "open_seconds": 30, "next_probe_seconds": 0, "successes": 0},
            "heads": [{"topic": "t", "partition": 3, "offset": 7, "held_seconds": 30, "phase": "commanded", "command": 12,
                       "event_id": null, "key": "doc-1"},
                      {"topic": "t", "partition": 4, "offset": 9, "held_seconds": 20, "phase": "waiting",
                       "reason": "unknown-schema", "event_id": "0190", "key": "k"},
                      {"topic": "t", "partition": 5, "offset": 9, "held_seconds": 6, "phase": "working"}],
            "top_keys": [{"key": "doc-1", "messages": 1}],
        }))
        .unwrap();
        let lines = gate.lines("ocr");
        assert_eq!(lines.len(), 4, "{lines:#?}");
        assert!(
            lines[0].starts_with("ocr: the breaker is open for 30 s, poison undecodable; it holds 7 messages."),
            "{lines:#?}"
        );
        assert!(lines[2].ends_with("t[3] stands at 7 for 30 s, key doc-1, commanded by command 12."), "{lines:#?}");
        assert!(lines[3].ends_with("for 20 s, event 0190, key k, waiting: unknown-schema."), "{lines:#?}");
    }
}
