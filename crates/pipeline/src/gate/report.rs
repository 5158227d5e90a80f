use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::{Admission, CommandId, Head, Placed, TopKeys, key_text};
use crate::metric::{self, count};

const HEADS_MAX: usize = 10;
const KEYS_MAX: usize = 5;

/// What a member's gate does, for `pipeline.consumer_members.gate`: read by `docfleet status` and `docfleet commands`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct GateReport {
    /// The commands it obeys, each with the messages that were started before it did and are still out.
    pub commands: BTreeMap<CommandId, usize>,
    pub ready: usize,
    pub held_by_commands: usize,
    pub held_by_breaker: usize,
    /// Messages that may be out at once now.
    pub limit: usize,
    pub breaker: Option<BreakerReport>,
    pub trips: u64,
    /// What holds frontiers back, the longest first.
    pub heads: Vec<Head>,
    pub top_keys: Vec<KeyReport>,
}

/// An open breaker.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BreakerReport {
    pub class: &'static str,
    pub reason: &'static str,
    pub open_seconds: u64,
    pub next_probe_seconds: u64,
    pub successes: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyReport {
    pub key: String,
    /// About; never below.
    pub messages: u64,
}

impl GateReport {
    pub fn of<T: Placed>(now: Duration, admission: &Admission<T>, heads: Vec<Head>, keys: &TopKeys) -> Self {
        let (open, trips, limit) = admission.signals().look();
        let breaker = open.map(|open| BreakerReport {
            class: open.cause.class.as_str(),
            reason: open.cause.reason,
            open_seconds: now.saturating_sub(open.since).as_secs(),
            next_probe_seconds: open.probe_at.saturating_sub(now).as_secs(),
            successes: open.successes,
        });
        let [ready, held_by_commands, held_by_breaker] = admission.here();
        let key = |(key, seen): (&[u8], super::Count)| KeyReport { key: key_text(Some(key)), messages: seen.count };
        Self {
            commands: admission.obeyed(),
            ready,
            held_by_commands,
            held_by_breaker,
            limit,
            breaker,
            trips,
            heads: heads.into_iter().take(HEADS_MAX).collect(),
            top_keys: keys.top(KEYS_MAX).into_iter().map(key).collect(),
        }
    }

    /// As metrics: what has no names in it.
    #[allow(clippy::cast_precision_loss)]
    pub fn publish(&self, consumer: &'static str) {
        metrics::gauge!(metric::GATE_LIMIT_MESSAGES, "consumer" => consumer).set(count(self.limit));
        let waiting = [("ready", self.ready), ("command", self.held_by_commands), ("breaker", self.held_by_breaker)];
        for (by, messages) in waiting {
            metrics::gauge!(metric::GATE_WAITING_MESSAGES, "consumer" => consumer, "by" => by).set(count(messages));
        }
        let open = self.breaker.as_ref().map_or(0, |breaker| breaker.open_seconds);
        metrics::gauge!(metric::BREAKER_OPEN_SECONDS, "consumer" => consumer).set(open as f64);
        let head = self.heads.first().map_or(0, |head| head.held_seconds);
        metrics::gauge!(metric::HEAD_HELD_SECONDS, "consumer" => consumer).set(head as f64);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::{
        Class,
        gate::{
            Action, BreakerConfig, Cause, Command, CommandSet, Heads, Judgement, Note, Phase, Place, Selector, Signals,
            Turn,
        },
        message::TopicPartition,
    };

    struct Nothing;

    impl Placed for Nothing {
        fn place(&self) -> Place<'_> {
            Place { topic: "t", partition: 0, tenant: "acme", key: None }
        }

        fn cost(&self) -> u32 {
            1
        }
    }

    /// `docfleet commands` and `docfleet drain --wait` read it by these names.
    #[test]
    fn a_report_tells_commands_breaker_and_heads_by_stable_names() {
        let start = Duration::from_secs(1_000);
        let signals = Signals::new("test", BreakerConfig::default(), 8, 8);
        let mut admission = Admission::new(signals.clone());
        admission.push(Nothing);
        assert!(admission.start(start).is_some(), "one is out");
        let until = start + Duration::from_secs(60);
        let drain = Command { id: 12, action: Action::Drain, selector: Selector::All, until };
        admission.obey(start, Arc::new(CommandSet::new(vec![drain], 1)));
        admission.push(Nothing);
        assert!(admission.start(start).is_none());
        let cause = Cause { class: Class::Poison, reason: "undecodable" };
        while signals.judge(start, Turn::Normal, cause) == Judgement::Settle {}
        let source = TopicPartition { topic: "t".into(), partition: 3 };
        let mut heads = Heads::default();
        let note = |_: &TopicPartition, _| {
            Some(Note { phase: Phase::Commanded { command: 12 }, event_id: None, key: "doc-1".into() })
        };
        heads.look(start, [(&source, Some(7))], note);
        let now = start + Duration::from_secs(30);
        let mut keys = TopKeys::new(4);
        keys.seen(b"doc-1");
        let report = GateReport::of(now, &admission, heads.look(now, [(&source, Some(7))], note), &keys);
        report.publish("test");
        let expected = json!({
            "commands": {"12": 1}, "ready": 0, "held_by_commands": 1, "held_by_breaker": 0, "limit": 8, "trips": 1,
            "breaker": {"class": "poison", "reason": "undecodable", "open_seconds": 30, "next_probe_seconds": 0, "successes": 0},
            "heads": [{"topic": "t", "partition": 3, "offset": 7, "held_seconds": 30, "phase": "commanded", "command": 12,
                       "event_id": null, "key": "doc-1"}],
            "top_keys": [{"key": "doc-1", "messages": 1}],
        });
        assert_eq!(serde_json::to_value(&report).ok(), Some(expected));
    }
}
