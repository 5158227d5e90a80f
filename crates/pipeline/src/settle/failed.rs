use docfleet_outbox::{Kind, OutboxRow};

use crate::{
    Failure, RetryConfig, Tier, clock, header,
    message::{Identity, Record},
};

/// Turns a failure into the outbox row that carries the message on: its own bytes and headers, and why it failed.
pub(super) struct Carrier<'a> {
    pub consumer: &'static str,
    pub topic_prefix: &'a str,
    pub retry: &'a RetryConfig,
    pub now_ms: i64,
}

impl Carrier<'_> {
    pub fn to_retry(&self, record: &Record, identity: &Identity, failure: &Failure, tier: Tier) -> OutboxRow {
        let topic = format!("{}{}.retry.{}", self.topic_prefix, self.consumer, tier.name);
        let mut row = self.row(Kind::Retry, topic, record.attempt() + 1, record, identity, failure);
        row.headers.push((header::NOT_BEFORE.to_owned(), self.retry.not_before_ms(tier, self.now_ms).to_string()));
        row
    }

    pub fn to_dead_letters(&self, record: &Record, identity: &Identity, failure: &Failure) -> OutboxRow {
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
        failure: &Failure,
    ) -> OutboxRow {
        let (origin_topic, origin_partition, origin_offset) = record.origin();
        let now = clock::rfc3339(self.now_ms);
        let mut headers: Vec<(String, String)> =
            record.headers.iter().filter(|(name, _)| !name.starts_with(header::PREFIX)).cloned().collect();
        let first_failed_at = record.header(header::FIRST_FAILED_AT).unwrap_or(&now).to_owned();
        let ours = [
            (header::CONSUMER, self.consumer.to_owned()),
            (header::ATTEMPT, attempt.to_string()),
            (header::CLASS, failure.class.as_str().to_owned()),
            (header::REASON, failure.reason.to_owned()),
            (header::ERROR, failure.detail.clone()),
            (header::ORIGINAL_TOPIC, origin_topic),
            (header::ORIGINAL_PARTITION, origin_partition.to_string()),
            (header::ORIGINAL_OFFSET, origin_offset.to_string()),
            (header::FIRST_FAILED_AT, first_failed_at),
            (header::FAILED_AT, now),
        ];
        headers.extend(ours.map(|(name, value)| (name.to_owned(), value)));
        // PostgreSQL's jsonb refuses U+0000, and a foreign header may hold it.
        for (name, value) in &mut headers {
            if name.contains('\0') || value.contains('\0') {
                (*name, *value) = (name.replace('\0', "\u{fffd}"), value.replace('\0', "\u{fffd}"));
            }
        }
        OutboxRow {
            kind,
            event_id: identity.event_id,
            event_type: identity.event_type.replace('\0', "\u{fffd}"),
            aggregate: None,
            consumer: Some(self.consumer.to_owned()),
            attempt,
            topic,
            key: record.key.clone(),
            headers,
            payload: record.payload.clone(),
            tenant: identity.tenant.replace('\0', "\u{fffd}"),
            region: identity.region.replace('\0', "\u{fffd}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Class, Policy, message::TopicPartition};

    fn record(headers: &[(&str, &str)]) -> Record {
        Record {
            source: TopicPartition { topic: "av-scan.retry.10s".into(), partition: 3 },
            offset: 9,
            timestamp_ms: 0,
            key: Some(b"k".to_vec()),
            payload: Some(vec![0, 1, 2]),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        }
    }

    fn carried(record: &Record) -> Record {
        let retry = RetryConfig { tier_delay_factor: 0.5, ..RetryConfig::default() };
        let carrier = Carrier { consumer: "av-scan", topic_prefix: "p.", retry: &retry, now_ms: 1_000 };
        let failure = Failure::new(Class::Transient, "engine", "line\nbreak");
        let row = carrier.to_retry(record, &Identity::of_place(record), &failure, Policy::TIERS[0]);
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
