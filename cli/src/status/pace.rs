//! Rates and causes: what two readings say that one does not.

use std::{collections::BTreeMap, time::Duration};

use super::{
    backlog::{Backlog, Command, Member},
    lag::PartitionLag,
};
use crate::{consumer::is_retry_topic, output::age};

/// A member gives a sign of life every 3 s.
pub const SILENT_SECONDS: f64 = 10.0;

/// Of one partition between two readings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Messages a second.
    pub arrival: f64,
    pub drain: f64,
}

type Place = (String, String, i32);

/// The offsets of a reading, and when it was taken.
#[derive(Default)]
pub struct Offsets(BTreeMap<Place, (i64, i64)>);

impl Offsets {
    pub fn of(lags: &[PartitionLag]) -> Self {
        Self(lags.iter().map(|lag| (place(lag), (lag.end, lag.next))).collect())
    }

    /// None for a partition that the earlier reading did not have. Offsets that went back (a topic made anew, a group that
    /// was reset) are no pace either.
    #[allow(clippy::cast_precision_loss)]
    pub fn pace_to(&self, lag: &PartitionLag, between: Duration) -> Option<Pace> {
        let (end, next) = self.0.get(&place(lag))?;
        let (arrived, drained) = (lag.end - end, lag.next - next);
        let seconds = between.as_secs_f64();
        let known = seconds > 0.0 && arrived >= 0 && drained >= 0;
        known.then(|| Pace { arrival: arrived as f64 / seconds, drain: drained as f64 / seconds })
    }
}

fn place(lag: &PartitionLag) -> Place {
    (lag.consumer.clone(), lag.topic.clone(), lag.partition)
}

/// Until the queue is empty if both rates stay; none when it grows, or stands.
#[allow(clippy::cast_precision_loss)]
pub fn eta_seconds(lag: i64, pace: Pace) -> Option<f64> {
    if lag == 0 {
        return Some(0.0);
    }
    let gain = pace.drain - pace.arrival;
    (gain > 0.0).then(|| lag as f64 / gain)
}

/// Since the last sign of life of any member; none when the consumer has no member.
pub fn seen_seconds(members: &[Member], consumer: &str) -> Option<f64> {
    let of = members.iter().filter(|member| member.consumer == consumer);
    of.map(|member| member.seen_seconds).min_by(f64::total_cmp)
}

/// Why a queue with lag is not shorter; the first that applies.
pub fn cause(consumer: &str, topic: &str, lag: i64, pace: Option<Pace>, backlog: &Backlog) -> Option<String> {
    if lag == 0 {
        return None;
    }
    if let Some(command) = backlog.commands.iter().find(|command| command.consumer == consumer) {
        return Some(told(command));
    }
    match seen_seconds(&backlog.members, consumer) {
        None => return Some("no member: start one".to_owned()),
        Some(seconds) if seconds > SILENT_SECONDS => return Some(format!("all members silent for {}", age(seconds))),
        Some(_) => {}
    }
    let members = || backlog.members.iter().filter(|member| member.consumer == consumer);
    if members().any(|member| member.waits) {
        return Some("waits for something that is away".to_owned());
    }
    if is_retry_topic(topic) {
        return Some("waits for the time of its retries".to_owned());
    }
    match pace {
        Some(pace) if pace.drain <= f64::EPSILON && members().all(|member| member.in_flight == 0) => {
            Some("stands still, and nothing is in flight".to_owned())
        }
        Some(pace) if pace.arrival > pace.drain => Some("more arrives than is worked off".to_owned()),
        _ => None,
    }
}

fn told(command: &Command) -> String {
    let scope = if command.scope == "all" { String::new() } else { format!(" of a {}", command.scope) };
    format!("{}{scope} by {}, ends in {}", command.action, command.issued_by, age(command.expires_seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::backlog::Outbox;

    fn lag(end: i64, next: i64) -> PartitionLag {
        PartitionLag {
            consumer: "ocr".into(),
            topic: "t".into(),
            partition: 0,
            messages: end - next,
            seconds: None,
            committed: Some(next),
            next,
            end,
        }
    }

    fn backlog(members: Vec<Member>) -> Backlog {
        let outbox = Outbox { unpublished: 0, oldest_seconds: 0.0 };
        Backlog {
            members,
            retries: Vec::new(),
            dead: Vec::new(),
            parked: Vec::new(),
            commands: Vec::new(),
            outbox,
            relays: Vec::new(),
            shards_unowned: 0,
        }
    }

    fn member(seen_seconds: f64, waits: bool) -> Member {
        let member = uuid::Uuid::nil();
        Member {
            consumer: "ocr".into(),
            member,
            partitions: 1,
            in_flight: 0,
            waits,
            gate: Default::default(),
            seen_seconds,
        }
    }

    #[test]
    fn a_pace_needs_two_readings_of_the_same_partition_that_went_forward() {
        let before = Offsets::of(&[lag(100, 50)]);
        let between = Duration::from_secs(2);
        assert_eq!(before.pace_to(&lag(120, 90), between), Some(Pace { arrival: 10.0, drain: 20.0 }));
        assert_eq!(Offsets::default().pace_to(&lag(120, 90), between), None);
        assert_eq!(before.pace_to(&lag(10, 0), between), None, "made anew");
        assert_eq!(before.pace_to(&lag(120, 90), Duration::ZERO), None);
    }

    #[test]
    fn a_queue_that_grows_has_no_end_in_sight() {
        assert_eq!(eta_seconds(30, Pace { arrival: 10.0, drain: 20.0 }), Some(3.0));
        assert_eq!(eta_seconds(30, Pace { arrival: 20.0, drain: 20.0 }), None);
        assert_eq!(eta_seconds(0, Pace { arrival: 20.0, drain: 0.0 }), Some(0.0));
    }

    #[test]
    fn the_cause_says_first_what_somebody_can_mend() {
        let slow = Some(Pace { arrival: 2.0, drain: 1.0 });
        let why = |members, topic: &str, pace| cause("ocr", topic, 5, pace, &backlog(members)).unwrap_or_default();
        assert_eq!(why(Vec::new(), "t", slow), "no member: start one");
        assert_eq!(why(vec![member(60.0, true)], "t", slow), "all members silent for 1 min");
        assert_eq!(why(vec![member(60.0, false), member(1.0, true)], "t", slow), "waits for something that is away");
        assert_eq!(why(vec![member(1.0, false)], "ocr.retry.10s", slow), "waits for the time of its retries");
        assert_eq!(why(vec![member(1.0, false)], "t", slow), "more arrives than is worked off");
        assert_eq!(cause("ocr", "t", 0, slow, &backlog(Vec::new())), None);
    }
}
