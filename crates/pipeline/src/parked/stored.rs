use sqlx::{FromRow, types::Json};
use time::Date;
use uuid::Uuid;

use crate::{
    Record,
    message::{Identity, TopicPartition},
};

/// A row of `pipeline.parked_messages`.
#[derive(FromRow)]
pub(super) struct Stored {
    pub seq: i64,
    event_id: Uuid,
    event_day: Date,
    topic: String,
    partition: i32,
    offset: i64,
    timestamp_ms: i64,
    record_key: Option<Vec<u8>>,
    headers: Json<Vec<(String, String)>>,
    payload: Option<Vec<u8>>,
    tenant: String,
    region: String,
    event_type: String,
}

/// The columns of [`Stored`].
macro_rules! stored_columns {
    () => {
        r#" seq, event_id, event_day, topic, partition, "offset", timestamp_ms, record_key, headers, payload, tenant, region,
            event_type "#
    };
}
pub(super) use stored_columns;

impl Stored {
    /// The message as it was when it was parked, and the name under which its outcome stands in the inbox.
    pub fn into_parts(self) -> (i64, Record, Identity) {
        let identity = Identity {
            event_id: self.event_id,
            event_day: self.event_day,
            event_type: self.event_type,
            tenant: self.tenant,
            region: self.region,
            // An ordered consumer is never fed again.
            replay: None,
        };
        let record = Record {
            source: TopicPartition { topic: self.topic.into(), partition: self.partition },
            offset: self.offset,
            timestamp_ms: self.timestamp_ms,
            key: self.record_key,
            payload: self.payload,
            headers: self.headers.0,
            // Such a record is dead before it can be parked.
            headers_unreadable: false,
        };
        (self.seq, record, identity)
    }
}
