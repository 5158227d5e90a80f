//! Asks the broker, not the consumer, how far behind we are; publishes the lag; calls a stall a crash.

mod drain;

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use drain::{Drain, Stand};

use super::progress::{PartitionProgress, Progress};
use crate::{
    KafkaConfig,
    broker::{client, lost_records},
    clock,
    message::TopicPartition,
    metric,
};

const INTERVAL: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The observer is no member of the group; its log lines would only repeat the consumer's.
struct Quiet;
impl ClientContext for Quiet {}
impl ConsumerContext for Quiet {}

/// Runs on a thread of its own until `stop`, since the client's calls block.
///
/// # Errors
/// Which partition stalls: it has messages behind the frontier, nothing holds it back, and the frontier has not moved for
/// `stall_after`. Or from which one Kafka has removed what was not read.
pub(crate) async fn watch(
    config: KafkaConfig,
    consumer: &'static str,
    progress: Progress,
    (stall_after, accept_lost_records): (Duration, bool),
    stop: CancellationToken,
) -> Result<(), String> {
    let group = format!("{}{consumer}", config.topic_prefix);
    let observer: BaseConsumer<Quiet> =
        client::observer(&config, &group)?.create_with_context(Quiet).map_err(|e| e.to_string())?;
    let (stalled, verdict) = oneshot::channel();
    let stopped = stop.clone();
    // No task of the runtime: its end would wait for calls that block, and the client's end may hang.
    std::thread::Builder::new()
        .name(format!("watch-{consumer}"))
        .spawn(move || {
            let mut watchdog = Watchdog {
                consumer,
                stall_after,
                accept_lost_records,
                behind: HashMap::new(),
                drain: Drain::default(),
            };
            while !stop.is_cancelled() {
                let round = Instant::now();
                if let Some(partition) = watchdog.look(&observer, &progress) {
                    stalled.send(partition).ok();
                    return;
                }
                while !stop.is_cancelled() && round.elapsed() < INTERVAL {
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        })
        .map_err(|e| e.to_string())?;
    match verdict.await {
        Ok(stalled) => Err(stalled),
        Err(_) if stopped.is_cancelled() => Ok(()),
        Err(_) => Err("the watchdog ended before its time".to_owned()),
    }
}

/// Where a partition stood when it was first seen behind, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Behind {
    at: i64,
    since: Instant,
}

struct Watchdog {
    consumer: &'static str,
    stall_after: Duration,
    accept_lost_records: bool,
    /// Every partition of the last reading; none for one that was not behind.
    behind: HashMap<TopicPartition, Option<Behind>>,
    drain: Drain,
}

impl Watchdog {
    /// One reading of all partitions; returns what stalls.
    fn look(&mut self, observer: &BaseConsumer<Quiet>, progress: &Progress) -> Option<String> {
        // Serves the client's own events, which would pile up while a broker is away.
        drop(observer.poll(Duration::ZERO));
        let partitions = progress.snapshot();
        for (gone, _) in self.behind.extract_if(|source, _| !partitions.contains_key(source)) {
            // Another replica reports it from now on.
            publish(self.consumer, &gone, 0, 0.0);
        }
        let mut complete = true;
        let mut stands = HashMap::with_capacity(partitions.len());
        for (source, state) in partitions {
            // A broker that is away gives no reading: the age of the last one shows it, and the client reconnects by itself.
            let Ok((low, high)) = observer.fetch_watermarks(&source.topic, source.partition, ANSWER_TIMEOUT) else {
                complete = false;
                // What was not seen is no stall: the clock starts anew.
                self.behind.insert(source, None);
                continue;
            };
            // Nothing was delivered yet: what was committed before this assignment counts.
            let at = state.frontier.or_else(|| committed(observer, &source)).unwrap_or(low);
            // With a frontier, the client may have what the broker has no more; the poll thread looks for gaps.
            if state.frontier.is_none() && at < low && !self.accept_lost_records {
                return Some(lost_records(&source, at, low));
            }
            let at = at.max(low);
            let lag = (high - at).max(0);
            publish(self.consumer, &source, lag, lag_seconds(&state, lag, clock::now_ms()));
            if !state.waits {
                stands.insert(source.clone(), Stand { at, lag });
            }
            let before = self.behind.get(&source).copied().flatten();
            let now = Instant::now();
            let behind = still_behind(before, at, lag, has_a_reason(&state, progress.is_excused()), now);
            self.behind.insert(source.clone(), behind);
            if behind.is_some_and(|behind| now.duration_since(behind.since) >= self.stall_after) {
                return Some(format!("{source} stands at {at} with {lag} messages to go, for {:?}", self.stall_after));
            }
        }
        if complete {
            self.publish_drain(&stands, progress.is_held_up());
            metrics::gauge!(metric::LAG_READ_AT_SECONDS, "consumer" => self.consumer).set(seconds(clock::now_ms()));
        }
        None
    }
}

impl Watchdog {
    /// Without a value the last one stays, and its time with it.
    fn publish_drain(&mut self, stands: &HashMap<TopicPartition, Stand>, held_up: bool) {
        if let Some(seconds_left) = self.drain.read(stands, held_up, Instant::now()) {
            metrics::gauge!(metric::DRAIN_SECONDS, "consumer" => self.consumer).set(seconds_left);
            metrics::gauge!(metric::DRAIN_READ_AT_SECONDS, "consumer" => self.consumer).set(seconds(clock::now_ms()));
        }
    }
}

/// Whether the frontier may stand still. Work elsewhere is no reason for a partition that could be delivered and is not;
/// a full budget is one only while somebody works it off.
fn has_a_reason(state: &PartitionProgress, excused: bool) -> bool {
    state.waits || (excused && (state.open > 0 || state.over_budget))
}

fn still_behind(before: Option<Behind>, at: i64, lag: i64, has_a_reason: bool, now: Instant) -> Option<Behind> {
    if lag == 0 {
        return None;
    }
    match before {
        Some(before) if before.at == at && !has_a_reason => Some(before),
        _ => Some(Behind { at, since: now }),
    }
}

/// The age of the oldest message that is not settled. While nothing is delivered it is only known to be no older than
/// the last settled one.
fn lag_seconds(state: &PartitionProgress, lag: i64, now_ms: i64) -> f64 {
    let oldest = if lag == 0 { None } else { state.oldest_open_ms.or(state.last_settled_ms) };
    oldest.map_or(0.0, |at| seconds((now_ms - at).max(0)))
}

fn committed(observer: &BaseConsumer<Quiet>, source: &TopicPartition) -> Option<i64> {
    let mut list = rdkafka::TopicPartitionList::new();
    list.add_partition(&source.topic, source.partition);
    let answer = observer.committed_offsets(list, ANSWER_TIMEOUT).ok()?;
    answer.elements().first().and_then(|element| element.offset().to_raw()).filter(|offset| *offset >= 0)
}

#[allow(clippy::cast_precision_loss)]
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1_000.0
}

#[allow(clippy::cast_precision_loss)]
fn publish(consumer: &'static str, source: &TopicPartition, lag: i64, age_seconds: f64) {
    let labels = [
        ("consumer", consumer.to_owned()),
        ("topic", source.topic.to_string()),
        ("partition", source.partition.to_string()),
    ];
    metrics::gauge!(metric::LAG_MESSAGES, &labels).set(lag as f64);
    metrics::gauge!(metric::LAG_SECONDS, &labels).set(age_seconds);
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: PartitionProgress = PartitionProgress {
        frontier: Some(5),
        open: 0,
        oldest_open: None,
        oldest_open_ms: None,
        last_settled_ms: Some(1_000),
        waits: false,
        over_budget: false,
    };

    #[test]
    fn the_clock_of_a_stall_runs_only_while_the_frontier_stands_with_lag_and_without_a_reason() {
        let now = Instant::now();
        let later = now + Duration::from_secs(60);
        let first = still_behind(None, 5, 3, false, now);
        assert_eq!(first, Some(Behind { at: 5, since: now }));
        assert_eq!(still_behind(first, 5, 7, false, later), first, "it stands");
        assert_eq!(still_behind(first, 6, 7, false, later), Some(Behind { at: 6, since: later }), "it has moved");
        assert_eq!(still_behind(first, 5, 7, true, later), Some(Behind { at: 5, since: later }), "it has a reason");
        assert_eq!(still_behind(first, 5, 0, false, later), None, "nothing to do");
    }

    #[test]
    fn waiting_for_a_retry_or_for_work_in_hand_is_a_reason() {
        assert!(has_a_reason(&PartitionProgress { waits: true, ..STATE }, false));
        assert!(has_a_reason(&PartitionProgress { open: 1, ..STATE }, true));
        assert!(!has_a_reason(&PartitionProgress { open: 1, ..STATE }, false), "in hand, and nobody works on it");
        assert!(has_a_reason(&PartitionProgress { over_budget: true, ..STATE }, true));
        assert!(
            !has_a_reason(&PartitionProgress { over_budget: true, ..STATE }, false),
            "a full budget, and nobody works"
        );
        assert!(!has_a_reason(&STATE, true), "work elsewhere excuses no silence here");
    }

    #[test]
    fn the_lag_in_seconds_is_the_age_of_the_oldest_open_message() {
        let mut state = STATE;
        assert!(lag_seconds(&state, 0, 9_000).abs() < f64::EPSILON);
        assert!((lag_seconds(&state, 1, 9_000) - 8.0).abs() < 1e-9);
        state.oldest_open_ms = Some(8_500);
        assert!((lag_seconds(&state, 1, 9_000) - 0.5).abs() < 1e-9);
    }
}
