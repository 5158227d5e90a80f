use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

/// What every event carries, whatever it says. The same record stands in each `.avsc`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventMeta {
    pub event_id: Uuid,
    /// By the database's clock, UTC, to the microsecond.
    #[serde(with = "micros")]
    pub occurred_at: OffsetDateTime,
    pub aggregate_type: String,
    pub aggregate_id: Uuid,
    /// 1 for the first event of an aggregate, then without gaps.
    pub aggregate_version: i64,
    pub tenant: String,
    pub region: String,
    /// The event that this one follows from.
    pub cause: Option<Uuid>,
    /// W3C Trace Context, version 00.
    pub traceparent: Option<String>,
}

/// The id of what `consumer` makes out of `cause`: the same at each repetition, so that the next inbox drops repeats.
///
/// UUIDv5 (RFC 9562 §5.5) over the consumer's name and the ordinal, in the namespace of the causing event.
/// Changing this derivation makes every redelivery a new fact; a test freezes it.
pub fn derived_event_id(cause: Uuid, consumer: &str, ordinal: u32) -> Uuid {
    Uuid::new_v5(&cause, format!("{consumer}/{ordinal}").as_bytes())
}

/// Avro's `timestamp-micros` as a serde form, for events too.
pub mod micros {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use time::OffsetDateTime;

    pub fn serialize<S: Serializer>(at: &OffsetDateTime, serializer: S) -> Result<S::Ok, S::Error> {
        let micros = i64::try_from(at.unix_timestamp_nanos() / 1_000).map_err(serde::ser::Error::custom)?;
        serializer.serialize_i64(micros)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OffsetDateTime, D::Error> {
        let micros = i64::deserialize(deserializer)?;
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_derivation_of_event_ids_is_frozen() {
        let cause = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);
        assert_eq!(derived_event_id(cause, "av-scan", 0).to_string(), "d8a33a95-6824-556b-81f0-cb5a96fddb4c");
        assert_ne!(derived_event_id(cause, "av-scan", 0), derived_event_id(cause, "av-scan", 1));
        assert_ne!(derived_event_id(cause, "av-scan", 0), derived_event_id(cause, "dedup", 0));
    }
}
