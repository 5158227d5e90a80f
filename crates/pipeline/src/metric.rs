//! The runtime's metrics: every name stands here and nowhere else. Units end the names.

/// Messages between the frontier and the end of the partition. Labels: consumer, topic, partition.
pub const LAG_MESSAGES: &str = "docfleet_consumer_lag_messages";
/// Age of the oldest message that is not settled. Labels: consumer, topic, partition.
pub const LAG_SECONDS: &str = "docfleet_consumer_lag_seconds";
/// When the two above were read (Unix time): an old reading is not a lag of 0. Label: consumer.
pub const LAG_READ_AT_SECONDS: &str = "docfleet_consumer_lag_read_timestamp_seconds";
/// Messages delivered and not settled. Label: consumer.
pub const IN_FLIGHT_MESSAGES: &str = "docfleet_consumer_in_flight_messages";
pub const IN_FLIGHT_BYTES: &str = "docfleet_consumer_in_flight_bytes";
/// Settled messages. Labels: consumer, outcome (done, retry, parked, dead, duplicate), reason.
pub const OUTCOMES_TOTAL: &str = "docfleet_consumer_outcomes_total";
/// Tries that failed and are repeated in the lane. Labels: consumer, class, reason.
pub const FAILED_TRIES_TOTAL: &str = "docfleet_consumer_failed_tries_total";
/// One try of `work`. Label: consumer.
pub const WORK_SECONDS: &str = "docfleet_consumer_work_duration_seconds";
/// From delivery to the commit of the settlement. Label: consumer.
pub const SETTLE_SECONDS: &str = "docfleet_consumer_settled_duration_seconds";
/// Messages in one settlement transaction. Label: consumer.
pub const BATCH_MESSAGES: &str = "docfleet_settlement_batch_messages";
/// Labels: consumer, kind (assigned, revoked, lost).
pub const REBALANCES_TOTAL: &str = "docfleet_consumer_rebalances_total";
pub const ASSIGNED_PARTITIONS: &str = "docfleet_consumer_assigned_partitions";
/// Labels: consumer, result (ok, failed).
pub const COMMITS_TOTAL: &str = "docfleet_consumer_offset_commits_total";

/// Keys that wait for their first message; of the whole consumer. Label: consumer.
pub const PARKED_KEYS: &str = "docfleet_parked_keys";
/// Messages of these. Label: consumer.
pub const PARKED_MESSAGES: &str = "docfleet_parked_messages";
/// How long the oldest of these keys has been parked. Label: consumer.
pub const PARKED_OLDEST_SECONDS: &str = "docfleet_parked_oldest_seconds";
/// Parked messages that this process brought to their end. Labels: consumer, outcome (done, dead).
pub const PARKED_RESUMED_TOTAL: &str = "docfleet_parked_resumed_messages_total";

/// Rows that wait for the relay, in the shards of this relay.
pub const OUTBOX_UNPUBLISHED_ROWS: &str = "docfleet_outbox_unpublished_rows";
pub const OUTBOX_OLDEST_SECONDS: &str = "docfleet_outbox_oldest_unpublished_seconds";
pub const RELAY_PUBLISHED_TOTAL: &str = "docfleet_relay_published_records_total";
/// Labels: reason.
pub const RELAY_FAILURES_TOTAL: &str = "docfleet_relay_failures_total";
pub const RELAY_SHARDS: &str = "docfleet_relay_owned_shards";
/// From insertion into the outbox to Kafka's acknowledgement.
pub const RELAY_DELAY_SECONDS: &str = "docfleet_relay_delay_seconds";

/// For gauges and histograms, which are floats; exact up to 2^53.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn count(n: usize) -> f64 {
    n as f64
}
