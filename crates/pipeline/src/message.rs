use std::{borrow::Cow, fmt::Display, sync::Arc};

use docfleet_outbox::EventMeta;
use time::{Date, OffsetDateTime, format_description::well_known::Iso8601};
use uuid::Uuid;

use crate::{
    gate::Place,
    header,
    replay::{self, Replay},
};

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    pub topic: Arc<str>,
    pub partition: i32,
}

impl Display for TopicPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[{}]", self.topic, self.partition)
    }
}

/// A record as the broker gave it.
#[derive(Debug, Clone)]
pub struct Record {
    pub source: TopicPartition,
    pub offset: i64,
    /// Unix milliseconds.
    pub timestamp_ms: i64,
    pub key: Option<Vec<u8>>,
    pub payload: Option<Vec<u8>>,
    pub headers: Vec<(String, String)>,
    /// The headers could not be read and are left out: the record is dead.
    pub headers_unreadable: bool,
}

impl Record {
    /// Forgets what only the runtime may say of a record. On a topic that others write to, it would let them skip
    /// retries, forge identities or hold a partition back for ever.
    pub fn distrust(&mut self) {
        self.headers.retain(|(name, _)| !name.starts_with(header::PREFIX));
    }

    /// As commands select it.
    pub fn place(&self) -> Place<'_> {
        Place {
            topic: &self.source.topic,
            partition: self.source.partition,
            tenant: self.header("tenant").unwrap_or_default(),
            key: self.key.as_deref(),
        }
    }

    pub fn size_bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.payload.as_ref().map_or(0, Vec::len) + self.key.as_ref().map_or(0, Vec::len) + headers
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.header(name)?.parse().ok()
    }

    pub fn attempt(&self) -> i32 {
        self.number(header::ATTEMPT).unwrap_or(0)
    }

    /// Unix milliseconds.
    pub fn not_before_ms(&self) -> Option<i64> {
        self.number(header::NOT_BEFORE)
    }

    /// Where the message was first read: its identity when it can not be decoded.
    pub fn origin(&self) -> (String, i32, i64) {
        let origin = self.header(header::ORIGINAL_TOPIC).and_then(|topic| {
            Some((topic.to_owned(), self.number(header::ORIGINAL_PARTITION)?, self.number(header::ORIGINAL_OFFSET)?))
        });
        origin.unwrap_or_else(|| (self.source.topic.to_string(), self.source.partition, self.offset))
    }
}

/// Who a message is, for the inbox: of a decoded one its event id, of any other its place of origin.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub event_id: Uuid,
    pub event_day: Date,
    pub event_type: String,
    pub tenant: String,
    pub region: String,
    /// Of a message that is fed again: its outcome is another one than the first.
    pub replay: Option<Replay>,
}

impl Identity {
    /// The name under which the consumer called `name` keeps the outcome.
    pub fn consumer<'a>(&self, name: &'a str) -> Cow<'a, str> {
        replay::logical(self.replay.as_ref(), name)
    }

    pub fn of_event(meta: &EventMeta, record: &Record) -> Self {
        Self {
            event_id: meta.event_id,
            event_day: meta.occurred_at.date(),
            // A span's field: it goes into every log line of this message.
            event_type: record.header("event_type").unwrap_or("unknown").chars().take(100).collect(),
            tenant: meta.tenant.clone(),
            region: meta.region.clone(),
            replay: record.replay(),
        }
    }

    /// Of a message that could not be decoded. One that is fed again was once, and whoever sent it looked up what it is.
    pub fn of_undecodable(record: &Record) -> Self {
        let place = Self::of_place(record);
        let known = place.replay.as_ref().and_then(|_| {
            let event_id = Uuid::parse_str(record.header("event_id")?).ok()?;
            let day = Date::parse(record.header(header::REPLAY_DAY)?, &Iso8601::DATE).ok()?;
            Some((event_id, day))
        });
        match known {
            Some((event_id, event_day)) => Self { event_id, event_day, ..place },
            None => place,
        }
    }

    /// The payload is not readable, so nothing in it can be trusted to say who it is or when it happened. The day is a
    /// constant: it must be the same when the message is replayed from another topic, at another time.
    pub fn of_place(record: &Record) -> Self {
        Self {
            event_id: place_id(record),
            event_day: PLACE_DAY,
            event_type: "unknown".to_owned(),
            tenant: record.header("tenant").unwrap_or("unknown").to_owned(),
            region: record.header("region").unwrap_or("unknown").to_owned(),
            replay: record.replay(),
        }
    }
}

/// The day of every identity that is a place.
pub(crate) const PLACE_DAY: Date = OffsetDateTime::UNIX_EPOCH.date();

pub(crate) fn place_id(record: &Record) -> Uuid {
    let (topic, partition, offset) = record.origin();
    Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("kafka:{topic}/{partition}/{offset}").as_bytes())
}

/// A decoded message.
#[derive(Debug, Clone)]
pub struct Message<I> {
    pub meta: EventMeta,
    pub event: I,
    /// 0 for the original, then counted over the retry topics.
    pub attempt: i32,
    /// W3C Trace Context of the span that works on it; what the handler emits continues it.
    pub traceparent: Option<String>,
}
