//! How far each consumer is behind, as the broker sees it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
};
use tokio::task::JoinSet;

use super::backlog::Queues;
use crate::{
    Config, Error,
    consumer::{CONSUMERS, group},
    servers::{self, KAFKA_TIMEOUT},
};

/// For the first messages of all partitions with lag; what is not there by then has an unknown age.
const FIRST_MESSAGES_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, PartialEq)]
pub struct PartitionLag {
    pub consumer: String,
    pub topic: String,
    pub partition: i32,
    pub messages: i64,
    /// Age of the first message that is not committed; 0 without lag, absent when it could not be read in time.
    pub seconds: Option<f64>,
    /// Where the group goes on; absent when it has never committed.
    pub committed: Option<i64>,
    /// Where it goes on, committed or not.
    pub next: i64,
    /// One past the last message.
    pub end: i64,
}

type Place = (String, i32);

/// Every consumer at once, each by a client of its own: a client assigns a partition at one offset only.
pub async fn read(config: &Config, queues: Queues) -> Result<Vec<PartitionLag>, Error> {
    let mut reading = JoinSet::new();
    for (consumer, topics) in queues {
        let observer = servers::kafka_observer(config, &group(&config.topic_prefix, &consumer))?;
        reading.spawn_blocking(move || of_consumer(&observer, &consumer, &topics));
    }
    let mut lags = Vec::new();
    while let Some(read) = reading.join_next().await {
        lags.extend(read??);
    }
    // A stable sort: each consumer's topics stay in their order.
    lags.sort_by_key(|lag| (in_flow(&lag.consumer), lag.consumer.clone()));
    Ok(lags)
}

/// Place of a consumer in the flow; one of another version comes last.
fn in_flow(consumer: &str) -> usize {
    CONSUMERS.iter().position(|known| *known == consumer).unwrap_or(CONSUMERS.len())
}

fn of_consumer(observer: &BaseConsumer, consumer: &str, topics: &[String]) -> Result<Vec<PartitionLag>, KafkaError> {
    let places = places_of(observer, topics)?;
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let ends = listed(observer, &places, Offset::End)?;
    let beginnings = listed(observer, &places, Offset::Beginning)?;
    let mut asked = TopicPartitionList::with_capacity(places.len());
    for (topic, partition) in &places {
        asked.add_partition(topic, *partition);
    }
    let committed = offsets_in(&committed_of(observer, &asked)?);
    let behind: Vec<(Place, i64, i64)> = places
        .into_iter()
        .map(|place| {
            let beginning = beginnings.get(&place).copied().unwrap_or(0);
            // Without a commit the group starts at the beginning; retention may have moved that beyond the commit.
            let next = committed.get(&place).copied().unwrap_or(beginning).max(beginning);
            let messages = (ends.get(&place).copied().unwrap_or(next) - next).max(0);
            (place, next, messages)
        })
        .collect();
    let late = behind.iter().filter(|(_, _, messages)| *messages > 0).map(|(place, next, _)| (place.clone(), *next));
    let firsts = first_timestamps(observer, late.collect())?;
    let now_ms = now_ms();
    let lag = |(place, next, messages): (Place, i64, i64)| PartitionLag {
        consumer: consumer.to_owned(),
        seconds: if messages == 0 { Some(0.0) } else { firsts.get(&place).map(|at| seconds_between(*at, now_ms)) },
        committed: committed.get(&place).copied(),
        next,
        end: next + messages,
        topic: place.0,
        partition: place.1,
        messages,
    };
    Ok(behind.into_iter().map(lag).collect())
}

/// What the group has committed. A cluster that has just started, or whose coordinator moves, says for a moment that it is
/// not the one to ask, and the client does not ask again by itself.
fn committed_of(observer: &BaseConsumer, asked: &TopicPartitionList) -> Result<TopicPartitionList, KafkaError> {
    use RDKafkaErrorCode::{CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator};
    let deadline = Instant::now() + KAFKA_TIMEOUT;
    loop {
        match observer.committed_offsets(asked.clone(), KAFKA_TIMEOUT) {
            Err(error)
                if Instant::now() < deadline
                    && matches!(
                        error.rdkafka_error_code(),
                        Some(CoordinatorLoadInProgress | CoordinatorNotAvailable | NotCoordinator)
                    ) =>
            {
                std::thread::sleep(Duration::from_millis(200));
            }
            answered => return answered,
        }
    }
}

/// The partitions of those topics that exist, in the order given.
fn places_of(observer: &BaseConsumer, topics: &[String]) -> Result<Vec<Place>, KafkaError> {
    let metadata = observer.fetch_metadata(None, KAFKA_TIMEOUT)?;
    let known: BTreeMap<&str, Vec<i32>> = metadata
        .topics()
        .iter()
        .map(|topic| {
            let mut ids: Vec<i32> = topic.partitions().iter().map(rdkafka::metadata::MetadataPartition::id).collect();
            ids.sort_unstable();
            (topic.name(), ids)
        })
        .collect();
    let partitions = |topic: &String| known.get(topic.as_str()).cloned().unwrap_or_default();
    Ok(topics.iter().flat_map(|topic| partitions(topic).into_iter().map(|id| (topic.clone(), id))).collect())
}

/// The first or the last offset of each partition, with one request for each broker.
fn listed(observer: &BaseConsumer, places: &[Place], which: Offset) -> Result<BTreeMap<Place, i64>, KafkaError> {
    let mut asked = TopicPartitionList::with_capacity(places.len());
    for (topic, partition) in places {
        asked.add_partition_offset(topic, *partition, which)?;
    }
    Ok(offsets_in(&observer.offsets_for_times(asked, KAFKA_TIMEOUT)?))
}

fn offsets_in(list: &TopicPartitionList) -> BTreeMap<Place, i64> {
    let known = list.elements().into_iter().filter_map(|element| match element.offset() {
        Offset::Offset(offset) => Some(((element.topic().to_owned(), element.partition()), offset)),
        _ => None,
    });
    known.collect()
}

/// When the first message at or after each offset was written, in Unix milliseconds.
fn first_timestamps(observer: &BaseConsumer, from: BTreeMap<Place, i64>) -> Result<BTreeMap<Place, i64>, KafkaError> {
    let mut firsts = BTreeMap::new();
    if from.is_empty() {
        return Ok(firsts);
    }
    let mut assignment = TopicPartitionList::with_capacity(from.len());
    for ((topic, partition), offset) in &from {
        assignment.add_partition_offset(topic, *partition, Offset::Offset(*offset))?;
    }
    observer.assign(&assignment)?;
    let mut open: BTreeSet<Place> = from.into_keys().collect();
    let deadline = Instant::now() + FIRST_MESSAGES_TIMEOUT;
    while !open.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let message = match observer.poll(left) {
            None => break,
            Some(Ok(message)) => message,
            // The partition was read, or cut by retention, in the meantime.
            Some(Err(KafkaError::PartitionEOF(_))) => continue,
            Some(Err(error)) => return Err(error),
        };
        let place = (message.topic().to_owned(), message.partition());
        if open.remove(&place) {
            let mut done = TopicPartitionList::with_capacity(1);
            done.add_partition(&place.0, place.1);
            observer.pause(&done)?;
            firsts.insert(place, message.timestamp().to_millis().unwrap_or(0));
        }
    }
    observer.unassign()?;
    Ok(firsts)
}

fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or(0)
}

#[allow(clippy::cast_precision_loss)]
fn seconds_between(from_ms: i64, to_ms: i64) -> f64 {
    // The producer's clock may be ahead of ours.
    (to_ms - from_ms).max(0) as f64 / 1_000.0
}
