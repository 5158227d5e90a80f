//! Asks the broker, not the consumer, how far behind we are; publishes the lag; calls a stall a crash.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
};
use tokio_util::sync::CancellationToken;

use super::progress::{PartitionProgress, Progress};
use crate::{KafkaConfig, broker::client, clock, message::TopicPartition, metric};

const INTERVAL: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The observer is no member of the group; its log lines would only repeat the consumer's.
struct Quiet;
impl ClientContext for Quiet {}
impl ConsumerContext for Quiet {}

/// Runs on a thread of its own until `stop`, since the client's calls block.
///
/// # Errors
/// Which partition stalls: it has messages behind the frontier, nothing holds it back, and nothing has moved for
/// `stall_after`.
pub(crate) async fn watch(
    config: KafkaConfig,
    consumer: &'static str,
    progress: Progress,
    stall_after: Duration,
    stop: CancellationToken,
) -> Result<(), String> {
    let group = format!("{}{consumer}", config.topic_prefix);
    let observer: BaseConsumer<Quiet> =
        client::observer(&config, &group)?.create_with_context(Quiet).map_err(|e| e.to_string())?;
    let watching = tokio::task::spawn_blocking(move || {
        let mut known = HashSet::new();
        while !stop.is_cancelled() {
            let round = Instant::now();
            if let Some(stalled) = look(&observer, consumer, &progress, stall_after, &mut known) {
                return Err(stalled);
            }
            while !stop.is_cancelled() && round.elapsed() < INTERVAL {
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        Ok(())
    });
    watching.await.map_err(|e| format!("the watchdog ended: {e}"))?
}

/// One reading of all partitions; returns what stalls.
fn look(
    observer: &BaseConsumer<Quiet>,
    consumer: &'static str,
    progress: &Progress,
    stall_after: Duration,
    known: &mut HashSet<TopicPartition>,
) -> Option<String> {
    let partitions = progress.snapshot();
    for gone in known.extract_if(|source| !partitions.contains_key(source)) {
        // Another replica reports it from now on.
        publish(consumer, &gone, 0, 0.0);
    }
    for (source, state) in partitions {
        // A broker that is away gives no reading: the age of the last one shows it, and the client reconnects by itself.
        let Ok((low, high)) = observer.fetch_watermarks(&source.topic, source.partition, ANSWER_TIMEOUT) else {
            return None;
        };
        // Nothing was delivered yet: what was committed before this assignment counts.
        let at = state.frontier.or_else(|| committed(observer, &source)).unwrap_or(low).max(low);
        let lag = (high - at).max(0);
        publish(consumer, &source, lag, lag_seconds(&state, lag, clock::now_ms()));
        known.insert(source.clone());
        if is_stalled(&state, lag, progress.is_excused(), stall_after) {
            return Some(format!(
                "{source} has {lag} messages to go and has not moved for {:?}",
                state.moved_at.elapsed()
            ));
        }
    }
    metrics::gauge!(metric::LAG_READ_AT_SECONDS, "consumer" => consumer).set(seconds(clock::now_ms()));
    None
}

fn is_stalled(state: &PartitionProgress, lag: i64, excused: bool, stall_after: Duration) -> bool {
    // Somebody else's reason is none for a partition that is not even delivered.
    let has_a_reason = state.paused || (state.open > 0 && excused);
    lag > 0 && !has_a_reason && state.moved_at.elapsed() >= stall_after
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

    fn still_for(since: Duration) -> PartitionProgress {
        PartitionProgress {
            frontier: Some(5),
            open: 0,
            oldest_open_ms: None,
            last_settled_ms: Some(1_000),
            paused: false,
            moved_at: Instant::now().checked_sub(since).unwrap_or_else(Instant::now),
        }
    }

    #[test]
    fn only_silence_with_lag_and_without_a_reason_is_a_stall() {
        let limit = Duration::from_secs(1);
        let silent = still_for(Duration::from_secs(2));
        assert!(is_stalled(&silent, 3, false, limit));
        assert!(!is_stalled(&silent, 0, false, limit), "nothing to do");
        assert!(!is_stalled(&still_for(Duration::ZERO), 3, false, limit), "just moved");
        assert!(
            !is_stalled(&PartitionProgress { paused: true, ..still_for(Duration::from_secs(2)) }, 3, false, limit),
            "held back on purpose"
        );
        assert!(
            !is_stalled(&PartitionProgress { open: 1, ..still_for(Duration::from_secs(2)) }, 3, true, limit),
            "a dependency is away"
        );
        assert!(is_stalled(&silent, 3, true, limit), "waiting elsewhere excuses no silence here");
    }

    #[test]
    fn the_lag_in_seconds_is_the_age_of_the_oldest_open_message() {
        let mut state = still_for(Duration::ZERO);
        assert!(lag_seconds(&state, 0, 9_000).abs() < f64::EPSILON);
        assert!((lag_seconds(&state, 1, 9_000) - 8.0).abs() < 1e-9);
        state.oldest_open_ms = Some(8_500);
        assert!((lag_seconds(&state, 1, 9_000) - 0.5).abs() < 1e-9);
    }
}
