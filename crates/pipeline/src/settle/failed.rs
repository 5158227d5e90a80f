use docfleet_outbox::{Kind, OutboxRow};

use crate::{
    Class, Failure, RetryConfig, Tier, clock, header,
    message::{Identity, Record},
    replay::Replay,
};

/// What fits into Kafka beside our own headers: the producer and the failure topics take 2 MiB. A broker checks only the
/// compressed size, so a record can be larger than what it would take from us.
const PAYLOAD_BYTES_MAX: usize = 1_500_000;
const FOREIGN_HEADERS_MAX: usize = 64;
const FOREIGN_HEADER_CHARS_MAX: usize = 2_000;

/// What a failed message carries on about its failure.
#[derive(Clone, Copy)]
pub(crate) struct Why<'a> {
    pub class: Class,
    pub reason: &'a str,
    pub detail: &'a str,
}

impl<'a> From<&'a Failure> for Why<'a> {
    fn from(failure: &'a Failure) -> Self {
        Self { class: failure.class, reason: failure.reason, detail: &failure.detail }
    }
}

/// Turns a failure into the outbox row that carries the message on: its own bytes and headers, and why it failed.
pub(crate) struct Carrier<'a> {
    pub consumer: &'static str,
    pub topic_prefix: &'a str,
    pub retry: &'a RetryConfig,
    pub now_ms: i64,
}

impl Carrier<'_> {
    pub fn to_retry(&self, record: &Record, identity: &Identity, failure: Why<'_>, tier: Tier) -> OutboxRow {
        let topic = format!("{}{}.retry.{}", self.topic_prefix, self.consumer, tier.name);
        let mut row = self.row(Kind::Retry, topic, record.attempt() + 1, record, identity, failure);
        row.headers.push((header::NOT_BEFORE.to_owned(), self.retry.not_before_ms(tier, self.now_ms).to_string()));
        row
    }

    pub fn to_dead_letters(&self, record: &Record, identity: &Identity, failure: Why<'_>) -> OutboxRow {
        let topic = format!("{}{}.dlq", self.topic_prefix, self.consumer);
        self.row(Kind::DeadLetter, topic, record.attempt(), record, identity, failure)
    }

    fn row(
        &self,
        kind: Kind,
        topic: String,
        attempt: i32,
        record: &Record,
        identity: &Identity,
        failure: Why<'_>,
    ) -> OutboxRow {
        let (origin_topic, origin_partition, origin_offset) = record.origin();
        let now = clock::rfc3339(self.now_ms);
        let consumer = identity.consumer(self.consumer).into_owned();
        let mut headers: Vec<(String, String)> = record
            .headers
            .iter()
            .filter(|(name, _)| !name.starts_with(header::PREFIX))
            .take(FOREIGN_HEADERS_MAX)
            .map(|(name, value)| (storable(name), storable(value)))
            .collect();
        let first_failed_at = record.header(header::FIRST_FAILED_AT).unwrap_or(&now).to_owned();
        let ours = [
            (header::CONSUMER, consumer.clone()),
            (header::ATTEMPT, attempt.to_string()),
            (header::CLASS, failure.class.as_str().to_owned()),
            (header::REASON, failure.reason.to_owned()),
            (header::ERROR, failure.detail.to_owned()),
            (header::ORIGINAL_TOPIC, origin_topic),
            (header::ORIGINAL_PARTITION, origin_partition.to_string()),
            (header::ORIGINAL_OFFSET, origin_offset.to_string()),
            (header::FIRST_FAILED_AT, first_failed_at),
            (header::FAILED_AT, now),
        ];
        let replay = identity.replay.iter().flat_map(Replay::headers);
        let day = identity.replay.as_ref().map(|_| (header::REPLAY_DAY, identity.event_day.to_string()));
        headers.extend(ours.into_iter().chain(replay).chain(day).map(|(name, value)| (name.to_owned(), value)));
        let mut payload = record.payload.clone();
        if let Some(omitted) = payload.take_if(|bytes| bytes.len() > PAYLOAD_BYTES_MAX) {
            headers.push((header::PAYLOAD_OMITTED.to_owned(), omitted.len().to_string()));
        }
        OutboxRow {
            kind,
            event_id: identity.event_id,
            event_type: storable(&identity.event_type),
            aggregate: None,
            consumer: Some(consumer),
            attempt,
            topic,
            // A key of this size is no key; cutting it would only make another one.
            key: record.key.clone().filter(|key| key.len() <= FOREIGN_HEADER_CHARS_MAX),
            headers,
            payload,
            tenant: storable(&identity.tenant),
            region: storable(&identity.region),
        }
    }
}

/// Of bounded size, and without U+0000, which PostgreSQL takes neither in text nor in jsonb.
fn storable(foreign: &str) -> String {
    foreign
        .chars()
        .map(|c| if c == '\0' { char::REPLACEMENT_CHARACTER } else { c })
        .take(FOREIGN_HEADER_CHARS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Policy, message::TopicPartition};

    fn record(headers: &[(&str, &str)]) -> Record {
        Record {
            source: TopicPartition { topic: "av-scan.retry.10s".into(), partition: 3 },
            offset: 9,
            timestamp_ms: 0,
            key: Some(b"k".to_vec()),
            payload: Some(vec![0, 1, 2]),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            headers_unreadable: false,
        }
    }

    fn carried(record: &Record) -> Record {
        let retry = RetryConfig { tier_delay_factor: 0.5, ..RetryConfig::default() };
        let carrier = Carrier { consumer: "av-scan", topic_prefix: "p.", retry: &retry, now_ms: 1_000 };
        let failure = Failure::new(Class::Transient, "engine", "line\nbreak");
        let row = carrier.to_retry(record, &Identity::of_place(record), (&failure).into(), Policy::TIERS[0]);
        assert_eq!(row.topic, "p.av-scan.retry.10s");
        assert_eq!(row.payload, record.payload);
        Record { headers: row.headers, ..record.clone() }
    }

    #[test]
    fn what_is_written_into_headers_is_read_back() {
        let original = record(&[("traceparent", "00-x"), ("nul", "a\0b")]);
        let first = carried(&original);
        assert_eq!(first.attempt(), 1);
        assert_eq!(first.not_before_ms(), Some(1_000 + Duration::from_secs(5).as_millis() as i64));
        assert_eq!(first.origin(), ("av-scan.retry.10s".to_owned(), 3, 9));
        assert_eq!(first.header("traceparent"), Some("00-x"));
        assert_eq!(first.header("nul"), Some("a\u{fffd}b"));
        assert_eq!(first.header(header::ERROR), Some("linebreak"));
    }

    #[test]
    fn a_record_that_kafka_would_not_take_back_is_cut_to_what_fits() {
        let wide = "\u{fffd}".repeat(700_000);
        let headers: Vec<(&str, &str)> = (0..500).map(|_| ("wide", wide.as_str())).collect();
        let huge = Record { payload: Some(vec![0; 3_000_000]), ..record(&headers) };
        let retry = RetryConfig::default();
        let carrier = Carrier { consumer: "av-scan", topic_prefix: "", retry: &retry, now_ms: 0 };
        let failure = Failure::new(Class::Poison, "oversized", "");
        let row = carrier.to_dead_letters(&huge, &Identity::of_place(&huge), (&failure).into());
        let size: usize = row.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        assert!(size < 500_000 && row.payload.is_none(), "{size}");
        assert!(row.headers.contains(&(header::PAYLOAD_OMITTED.to_owned(), "3000000".to_owned())));
    }

    #[test]
    fn a_second_failure_keeps_the_origin_and_the_first_time_and_does_not_grow_the_headers() {
        let first = carried(&record(&[]));
        let later = Record { source: TopicPartition { topic: "elsewhere".into(), partition: 0 }, offset: 77, ..first };
        let second = carried(&later);
        assert_eq!(second.attempt(), 2);
        assert_eq!(second.origin(), ("av-scan.retry.10s".to_owned(), 3, 9));
        assert_eq!(second.header(header::FIRST_FAILED_AT), later.header(header::FIRST_FAILED_AT));
        assert_eq!(second.headers.len(), later.headers.len());
    }
}
