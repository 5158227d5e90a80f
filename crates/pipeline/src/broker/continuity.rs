//! Whether a partition goes on where it stopped. A client whose offset is out of range starts at what is left, and says
//! nothing: what retention took away before it was read would be missing without a trace.

use std::{collections::HashMap, time::Duration};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};

use super::group::Context;
use crate::message::TopicPartition;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const TRIES: u32 = 3;

pub(super) struct Continuity {
    accept_lost_records: bool,
    next: HashMap<TopicPartition, Next>,
}

struct Next {
    /// Of the assignment; another member may have gone further since an older one.
    generation: Option<u64>,
    /// Nothing while the group has never committed: then all there is, is all.
    offset: Option<i64>,
}

impl Continuity {
    pub fn new(accept_lost_records: bool) -> Self {
        Self { accept_lost_records, next: HashMap::new() }
    }

    /// Call it for each record, before it is handed on. Asks the broker only where offsets have a gap, and for the first
    /// record of an assignment.
    ///
    /// # Errors
    /// Why the process must end: records are lost, or nobody can say whether they are.
    pub fn check(&mut self, base: &BaseConsumer<Context>, source: &TopicPartition, offset: i64) -> Result<(), String> {
        let generation = base.context().generation_of(source);
        let next = self.next.entry(source.clone()).or_insert(Next { generation: None, offset: None });
        if next.generation != generation || generation.is_none() {
            next.offset = with_patience(|| committed(base, source))?;
            next.generation = generation;
        }
        let expected = next.offset.replace(offset + 1);
        // Transactions and compaction leave gaps, too; what lies behind the lowest offset was there once.
        let Some(expected) = expected.filter(|expected| offset > *expected) else { return Ok(()) };
        let (low, _) = with_patience(|| base.fetch_watermarks(&source.topic, source.partition, ANSWER_TIMEOUT))?;
        if low <= expected {
            return Ok(());
        }
        let lost = lost_records(source, expected, low);
        if self.accept_lost_records {
            tracing::error!(consumer = base.context().consumer, "{lost}; accepted");
            return Ok(());
        }
        Err(lost)
    }
}

/// What an operator is told of records from `next` on that are below the lowest one that is left.
pub(crate) fn lost_records(source: &TopicPartition, next: i64, low: i64) -> String {
    format!(
        "the records {next} to {} of {source} are gone from Kafka, and were not read: bring them back by `docfleet relay \
         republish`, and start with consumer.accept_lost_records = true until this partition has gone on",
        low - 1
    )
}

fn committed(base: &BaseConsumer<Context>, source: &TopicPartition) -> rdkafka::error::KafkaResult<Option<i64>> {
    let mut list = TopicPartitionList::new();
    list.add_partition(&source.topic, source.partition);
    let answer = base.committed_offsets(list, ANSWER_TIMEOUT)?;
    Ok(answer.elements().first().and_then(|element| match element.offset() {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    }))
}

/// A coordinator that moves is no reason to end.
fn with_patience<T>(mut question: impl FnMut() -> rdkafka::error::KafkaResult<T>) -> Result<T, String> {
    let mut tries = 1;
    loop {
        match question() {
            Ok(answer) => return Ok(answer),
            Err(error) if tries >= TRIES => return Err(format!("Kafka does not say which records are left: {error}")),
            Err(_) => std::thread::sleep(Duration::from_secs(1)),
        }
        tries += 1;
    }
}
