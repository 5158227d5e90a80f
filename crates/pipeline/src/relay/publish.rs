use std::{collections::HashMap, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use rdkafka::{
    error::KafkaError,
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
    types::RDKafkaErrorCode,
    util::Timeout,
};
use time::OffsetDateTime;
use uuid::Uuid;

use super::store::Unpublished;
use crate::metric;

/// What became of a batch.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// Ids of rows that Kafka has, and every earlier row of their aggregates.
    pub acknowledged: Vec<i64>,
    /// Rows that Kafka will not take as they are; nothing of their aggregates was sent after them.
    pub refused: Vec<(Unpublished, String)>,
    /// The first error of another kind; the producer must not be used any more.
    pub error: Option<String>,
}

/// Sends rows, given in the order of their ids: of one aggregate one after the other, each only when the one before is
/// acknowledged; of different aggregates at once.
///
/// After an error nothing of that aggregate is sent any more, and the caller makes a new producer: librdkafka sends later
/// records of a key although an earlier one failed, idempotence or not (INTRODUCTION.md, "Message reliability").
pub(super) async fn publish(producer: &FutureProducer, rows: Vec<Unpublished>) -> Sent {
    let mut running: FuturesUnordered<_> = chains(rows).into_iter().map(|chain| send_chain(producer, chain)).collect();
    let mut sent = Sent::default();
    while let Some(chain) = running.next().await {
        sent.acknowledged.extend(chain.acknowledged);
        sent.refused.extend(chain.refused);
        sent.error = sent.error.or(chain.error);
    }
    sent
}

fn chains(rows: Vec<Unpublished>) -> Vec<Vec<Unpublished>> {
    let mut of_aggregate: HashMap<Uuid, usize> = HashMap::new();
    let mut chains: Vec<Vec<Unpublished>> = Vec::with_capacity(rows.len());
    for row in rows {
        let known = row.aggregate_id.map(|id| *of_aggregate.entry(id).or_insert(chains.len()));
        match known.and_then(|index| chains.get_mut(index)) {
            Some(chain) => chain.push(row),
            None => chains.push(vec![row]),
        }
    }
    chains
}

async fn send_chain(producer: &FutureProducer, rows: Vec<Unpublished>) -> Sent {
    let mut sent = Sent::default();
    for row in rows {
        match send(producer, &row).await {
            Ok(()) => {
                sent.acknowledged.push(row.id);
                let delay = OffsetDateTime::now_utc() - row.created_at;
                metrics::histogram!(metric::RELAY_DELAY_SECONDS).record(delay.as_seconds_f64().max(0.0));
            }
            Err(Trouble::OfTheRow(detail)) => {
                sent.refused.push((row, detail));
                break;
            }
            Err(Trouble::OfTheProducer(detail)) => {
                sent.error = Some(format!("{}: {detail}", row.topic));
                break;
            }
        }
    }
    sent
}

/// Why a record was not delivered.
enum Trouble {
    /// Another producer would meet the same error with this row, and none with the others.
    OfTheRow(String),
    OfTheProducer(String),
}

impl Trouble {
    fn of(error: &KafkaError) -> Self {
        use RDKafkaErrorCode as Code;
        match error.rdkafka_error_code() {
            Some(
                Code::MessageSizeTooLarge
                | Code::UnknownTopic
                | Code::UnknownTopicOrPartition
                | Code::TopicAuthorizationFailed
                | Code::InvalidTopic
                | Code::InvalidRecord
                | Code::PolicyViolation,
            ) => Self::OfTheRow(error.to_string()),
            _ => Self::OfTheProducer(error.to_string()),
        }
    }
}

async fn send(producer: &FutureProducer, row: &Unpublished) -> Result<(), Trouble> {
    let mut headers = OwnedHeaders::new_with_capacity(row.headers.len());
    for (name, value) in &row.headers {
        headers = headers.insert(Header { key: name, value: Some(value) });
    }
    let mut record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(&row.topic).headers(headers);
    if let Some(key) = &row.key {
        record = record.key(key);
    }
    if let Some(payload) = &row.payload {
        record = record.payload(payload);
    }
    // Waits for room in the client's queue, which `delivery.timeout.ms` empties in any case.
    let outcome = producer.send(record, Timeout::After(Duration::from_secs(60))).await;
    let delivery = outcome.map_err(|(error, _)| Trouble::of(&error))?;
    // librdkafka takes DUPLICATE_SEQUENCE_NUMBER for "written before" and reports a success without an offset. The record
    // may lie nowhere: a broker that knows nothing of the producer, as on a partition just created, accepts any first
    // sequence number, so a later request in flight can be written before an earlier one, whose repetition is then called
    // a duplicate. Only an offset is a proof; a repetition costs an inbox a look.
    if delivery.offset < 0 {
        return Err(Trouble::OfTheProducer("acknowledged without an offset".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_holds_one_aggregate_in_order_and_rows_without_one_go_alone() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let row = |id, aggregate_id| Unpublished {
            id,
            aggregate_id,
            topic: String::new(),
            key: None,
            headers: Vec::new(),
            payload: None,
            created_at: OffsetDateTime::UNIX_EPOCH,
        };
        let rows = vec![row(1, Some(a)), row(2, None), row(3, Some(b)), row(4, Some(a)), row(5, None)];
        let ids: Vec<Vec<i64>> = chains(rows).into_iter().map(|c| c.into_iter().map(|row| row.id).collect()).collect();
        assert_eq!(ids, [vec![1, 4], vec![2], vec![3], vec![5]]);
    }
}
