//! How long the backlog would take at the pace of the moment: the signal to scale by. Lag alone says nothing: a thousand
//! messages are a second of one consumer and an hour of another.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::message::TopicPartition;

/// Of a new pace against the one before; about a minute of readings.
const WEIGHT: f64 = 0.2;
/// A change below this share is noise: replicas are not added and removed for it.
const DEADBAND: f64 = 0.2;
/// Empty for so many readings in a row before it is called empty: a burst's end is not its last.
const EMPTY_READINGS: u32 = 3;

/// What a partition says of itself in one reading.
#[derive(Debug, Clone, Copy)]
pub struct Stand {
    /// One past what is settled.
    pub at: i64,
    pub lag: i64,
}

/// Of one consumer in this process. Messages of parked keys are settled and no part of it; partitions that wait for the
/// time of a retry are to be left out by the caller: more replicas would wait with them.
#[derive(Default)]
pub struct Drain {
    before: HashMap<TopicPartition, i64>,
    read_at: Option<Instant>,
    /// Messages a second.
    rate: Option<f64>,
    seconds: f64,
    empty: u32,
}

impl Drain {
    /// A complete reading. `held_up`: something that everybody needs is away, so the pace of the moment says nothing.
    /// Returns the seconds, or none while nothing is known: then the last value stays.
    #[allow(clippy::cast_precision_loss)]
    pub fn read(&mut self, stands: &HashMap<TopicPartition, Stand>, held_up: bool, now: Instant) -> Option<f64> {
        let since = self.read_at.replace(now).map(|before| now.duration_since(before)).unwrap_or_default();
        // Only where it stood a reading ago: what was assigned since has no pace yet.
        let moved =
            |(source, stand): (&TopicPartition, &Stand)| self.before.get(source).map(|at| (stand.at - at).max(0));
        let settled: i64 = stands.iter().filter_map(moved).sum();
        self.before = stands.iter().map(|(source, stand)| (source.clone(), stand.at)).collect();
        let backlog: i64 = stands.values().map(|stand| stand.lag).sum();
        if backlog == 0 {
            self.empty = self.empty.saturating_add(1);
            if self.empty >= EMPTY_READINGS {
                self.seconds = 0.0;
            }
            return Some(self.seconds);
        }
        self.empty = 0;
        if held_up || since < Duration::from_millis(100) {
            return None;
        }
        let pace = settled as f64 / since.as_secs_f64();
        let rate = self.rate.map_or(pace, |rate| rate + WEIGHT * (pace - rate));
        self.rate = Some(rate);
        // Nothing moves and nobody says why: the watchdog's affair.
        if rate <= f64::EPSILON {
            return None;
        }
        let seconds = backlog as f64 / rate;
        if (seconds - self.seconds).abs() > DEADBAND * self.seconds.max(1.0) {
            self.seconds = seconds;
        }
        Some(self.seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(stands: &[(i32, i64, i64)]) -> HashMap<TopicPartition, Stand> {
        let of = |(partition, at, lag): &(i32, i64, i64)| {
            (TopicPartition { topic: "t".into(), partition: *partition }, Stand { at: *at, lag: *lag })
        };
        stands.iter().map(of).collect()
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_backlog_takes_its_messages_by_the_pace() {
        let (mut drain, start) = (Drain::default(), Instant::now());
        assert_eq!(drain.read(&reading(&[(0, 0, 1_000)]), false, start), None, "no pace is known");
        let seconds = drain.read(&reading(&[(0, 500, 600)]), false, after(start, 5));
        assert_eq!(seconds, Some(6.0), "600 at 100 a second");
    }

    #[test]
    fn an_outage_keeps_the_last_value_and_does_not_spoil_the_pace() {
        let (mut drain, start) = (Drain::default(), Instant::now());
        drain.read(&reading(&[(0, 0, 1_000)]), false, start);
        drain.read(&reading(&[(0, 500, 600)]), false, after(start, 5));
        for round in 2..20 {
            assert_eq!(drain.read(&reading(&[(0, 500, 600 + 10)]), true, after(start, 5 * round)), None);
        }
        assert_eq!(
            drain.read(&reading(&[(0, 1_000, 610)]), false, after(start, 100)),
            Some(6.0),
            "within the deadband"
        );
    }

    #[test]
    fn one_empty_reading_is_not_empty_and_three_are() {
        let (mut drain, start) = (Drain::default(), Instant::now());
        drain.read(&reading(&[(0, 0, 1_000)]), false, start);
        drain.read(&reading(&[(0, 500, 600)]), false, after(start, 5));
        let empty = reading(&[(0, 1_100, 0)]);
        let seconds: Vec<_> = (2..5).map(|round| drain.read(&empty, false, after(start, 5 * round))).collect();
        assert_eq!(seconds, [Some(6.0), Some(6.0), Some(0.0)]);
    }

    #[test]
    fn a_partition_that_comes_over_counts_as_backlog_and_not_as_pace() {
        let (mut drain, start) = (Drain::default(), Instant::now());
        drain.read(&reading(&[(0, 0, 1_000)]), false, start);
        let seconds = drain.read(&reading(&[(0, 500, 500), (1, 90_000, 500)]), false, after(start, 5));
        assert_eq!(seconds, Some(10.0));
    }
}
