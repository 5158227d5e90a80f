use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::{BorrowedMessage, Headers},
};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use tokio::sync::mpsc::Sender;

use super::event_id_of;
use crate::{Error, error::Server, servers::KAFKA_TIMEOUT};

const PAGE_RECORDS: usize = 4_000;
/// Without a single record or end of a partition for so long, the broker is as good as away.
const STALL: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(500);

/// Records of events, turned by 90 degrees as UNNEST wants them.
#[derive(Default)]
pub struct Page {
    pub records: i64,
    pub foreign: i64,
    pub partitions: Vec<i32>,
    pub offsets: Vec<i64>,
    /// None in a foreign record.
    pub event_ids: Vec<Option<uuid::Uuid>>,
    pub digests: Vec<Vec<u8>>,
    pub written_at_ms: Vec<i64>,
}

/// From where on the topic is complete.
pub enum Start {
    Whole,
    /// Retention has deleted what was before this time.
    After(OffsetDateTime),
    Nothing,
}

/// A partition's offsets when reading began.
struct Span {
    low: i64,
    high: i64,
    first_at: Option<OffsetDateTime>,
}

/// Reads what the topic holds now. What is written meanwhile is not waited for. A topic that does not exist is empty.
/// With `after` only what was written since.
pub fn to_the_end(
    observer: &BaseConsumer,
    topic: &str,
    after: Option<OffsetDateTime>,
    pages: &Sender<Page>,
) -> Result<Start, Error> {
    let mut spans = spans_of(observer, topic)?;
    if let Some(after) = after {
        begin_at(observer, topic, &mut spans, after)?;
    }
    let mut open: Vec<i32> =
        spans.iter().filter(|(_, span)| span.low < span.high).map(|(partition, _)| *partition).collect();
    let mut assignment = TopicPartitionList::with_capacity(open.len());
    for partition in &open {
        let low = spans.get(partition).map_or(Offset::Beginning, |span| Offset::Offset(span.low));
        assignment.add_partition_offset(topic, *partition, low)?;
    }
    if !open.is_empty() {
        observer.assign(&assignment)?;
    }
    let mut page = Page::default();
    let mut alive = Instant::now();
    while !open.is_empty() {
        match observer.poll(POLL) {
            None if alive.elapsed() < STALL => continue,
            None => {
                let detail = format!("no record of {topic} for {} s", STALL.as_secs());
                return Err(Error::Away { server: Server::Kafka, detail });
            }
            // The offsets left are the marks of transactions, which are no records.
            Some(Err(KafkaError::PartitionEOF(partition))) => open.retain(|p| *p != partition),
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(message)) => {
                if let Some(span) = spans.get_mut(&message.partition()) {
                    span.first_at.get_or_insert_with(|| written_at(&message));
                    if message.offset() + 1 >= span.high {
                        open.retain(|p| *p != message.partition());
                    }
                }
                page.add(&message);
            }
        }
        alive = Instant::now();
        if page.event_ids.len() >= PAGE_RECORDS && pages.blocking_send(std::mem::take(&mut page)).is_err() {
            // The other side has failed, and says why itself.
            break;
        }
    }
    pages.blocking_send(page).ok();
    Ok(start_of(&spans))
}

fn spans_of(observer: &BaseConsumer, topic: &str) -> Result<BTreeMap<i32, Span>, Error> {
    let metadata = observer.fetch_metadata(None, KAFKA_TIMEOUT)?;
    let partitions =
        metadata.topics().iter().filter(|known| known.name() == topic).flat_map(|known| known.partitions());
    let mut spans = BTreeMap::new();
    for partition in partitions {
        let (low, high) = observer.fetch_watermarks(topic, partition.id(), KAFKA_TIMEOUT)?;
        spans.insert(partition.id(), Span { low, high, first_at: None });
    }
    Ok(spans)
}

/// Moves the beginnings up to the first record at or after that time. Every record that was written since lies behind it.
fn begin_at(
    observer: &BaseConsumer,
    topic: &str,
    spans: &mut BTreeMap<i32, Span>,
    after: OffsetDateTime,
) -> Result<(), Error> {
    let after_ms = i64::try_from(after.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
    let mut asked = TopicPartitionList::with_capacity(spans.len());
    for partition in spans.keys() {
        asked.add_partition_offset(topic, *partition, Offset::Offset(after_ms))?;
    }
    let found = observer.offsets_for_times(asked, KAFKA_TIMEOUT)?;
    for element in found.elements_for_topic(topic) {
        let Some(span) = spans.get_mut(&element.partition()) else { continue };
        let low = match element.offset() {
            Offset::Offset(offset) => offset,
            // Nothing is that young.
            _ => span.high,
        };
        if low > span.low {
            (span.low, span.first_at) = (low, Some(after));
        }
    }
    Ok(())
}

/// The latest of the partitions' beginnings: before it some partition is not complete.
fn start_of(spans: &BTreeMap<i32, Span>) -> Start {
    let mut start = Start::Whole;
    for span in spans.values().filter(|span| span.low > 0) {
        start = match (start, span.first_at) {
            (Start::Nothing, _) | (_, None) => Start::Nothing,
            (Start::After(known), Some(first)) => Start::After(known.max(first)),
            (Start::Whole, Some(first)) => Start::After(first),
        };
    }
    start
}

fn written_at(message: &BorrowedMessage<'_>) -> OffsetDateTime {
    let millis = message.timestamp().to_millis().unwrap_or(0);
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

impl Page {
    fn add(&mut self, message: &BorrowedMessage<'_>) {
        self.records += 1;
        let header = message.headers().and_then(|headers| headers.iter().find(|header| header.key == "event_id"));
        let event_id = header.and_then(|header| event_id_of(header.value?));
        self.foreign += i64::from(event_id.is_none());
        self.partitions.push(message.partition());
        self.offsets.push(message.offset());
        self.event_ids.push(event_id);
        self.written_at_ms.push(message.timestamp().to_millis().unwrap_or(0));
        self.digests.push(Sha256::digest(message.payload().unwrap_or_default()).to_vec());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(low: i64, first_at: Option<i64>) -> Span {
        let first_at = first_at.and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
        Span { low, high: 10, first_at }
    }

    #[test]
    fn a_topic_is_compared_only_where_it_is_complete() {
        let start = |spans: Vec<Span>| start_of(&(0..).zip(spans).collect());
        assert!(matches!(start(vec![span(0, Some(5)), span(0, None)]), Start::Whole));
        let later = start(vec![span(0, Some(1)), span(3, Some(7)), span(4, Some(6))]);
        assert!(matches!(later, Start::After(at) if at.unix_timestamp() == 7));
        assert!(matches!(start(vec![span(3, Some(7)), span(10, None)]), Start::Nothing));
    }
}
