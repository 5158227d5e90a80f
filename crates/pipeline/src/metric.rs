//! The runtime's metrics: every name stands here and nowhere else. Units end the names.

/// Messages between the frontier and the end of the partition. Labels: consumer, topic, partition.
pub const LAG_MESSAGES: &str = "docfleet_consumer_lag_messages";
/// Age of the oldest message that is not settled. Labels: consumer, topic, partition.
pub const LAG_SECONDS: &str = "docfleet_consumer_lag_seconds";
/// When the two above were read (Unix time): an old reading is not a lag of 0. Label: consumer.
pub const LAG_READ_AT_SECONDS: &str = "docfleet_consumer_lag_read_timestamp_seconds";
/// How long this process's backlog takes at its pace of the moment; the signal to scale by. Label: consumer.
pub const DRAIN_SECONDS: &str = "docfleet_drain_seconds";
/// When it was read (Unix time): while something is away the last value stays. Label: consumer.
pub const DRAIN_READ_AT_SECONDS: &str = "docfleet_drain_read_timestamp_seconds";
/// Messages delivered and not settled. Label: consumer.
pub const IN_FLIGHT_MESSAGES: &str = "docfleet_consumer_in_flight_messages";
pub const IN_FLIGHT_BYTES: &str = "docfleet_consumer_in_flight_bytes";
/// Settled messages. Labels: consumer, outcome (done, retry, parked, dead, discarded, duplicate), reason.
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
/// Commands of operators that this process obeys. Label: consumer.
pub const COMMANDS_ACTIVE: &str = "docfleet_gate_active_commands";
/// When they were read last (Unix time): while the table can not be read, the last known ones stay. Label: consumer.
pub const COMMANDS_READ_AT_SECONDS: &str = "docfleet_gate_commands_read_timestamp_seconds";
/// How long the breaker has been open; 0 while it is closed. Label: consumer.
pub const BREAKER_OPEN_SECONDS: &str = "docfleet_breaker_open_seconds";
/// Labels: consumer, class, reason.
pub const BREAKER_TRIPS_TOTAL: &str = "docfleet_breaker_trips_total";
/// Messages that may be out at once now. Label: consumer.
pub const GATE_LIMIT_MESSAGES: &str = "docfleet_gate_limit_messages";
/// Messages that wait at the gate. Labels: consumer, by (ready, command, breaker).
pub const GATE_WAITING_MESSAGES: &str = "docfleet_gate_waiting_messages";
/// How long the frontier that stands longest has stood. Label: consumer.
pub const HEAD_HELD_SECONDS: &str = "docfleet_consumer_frontier_held_seconds";

/// Topics whose events are held because their number of partitions changed.
pub const RELAY_CHANGED_TOPICS: &str = "docfleet_relay_changed_topics";
/// Rows that wait for the relay, in the shards of this relay. Label: source, as of all that follow.
pub const OUTBOX_UNPUBLISHED_ROWS: &str = "docfleet_outbox_unpublished_rows";
pub const OUTBOX_OLDEST_SECONDS: &str = "docfleet_outbox_oldest_unpublished_seconds";
/// Rows that a vacuum could remove, or could if no old snapshot kept them.
pub const OUTBOX_DEAD_ROWS: &str = "docfleet_outbox_dead_rows";
/// Age of the oldest open transaction in the outbox's database.
pub const OUTBOX_OLDEST_TRANSACTION_SECONDS: &str = "docfleet_outbox_oldest_transaction_seconds";
/// How many transactions its snapshot is behind.
pub const OUTBOX_SNAPSHOT_AGE_TRANSACTIONS: &str = "docfleet_outbox_oldest_snapshot_age_transactions";
pub const RELAY_PUBLISHED_TOTAL: &str = "docfleet_relay_published_records_total";
/// Labels: source, reason.
pub const RELAY_FAILURES_TOTAL: &str = "docfleet_relay_failures_total";
pub const RELAY_SHARDS: &str = "docfleet_relay_owned_shards";
/// Rows that wait for a predecessor which is not published.
pub const RELAY_HELD_ROWS: &str = "docfleet_relay_held_rows";
pub const RELAY_OLDEST_HELD_SECONDS: &str = "docfleet_relay_oldest_held_seconds";
/// From insertion into the outbox to Kafka's acknowledgement.
pub const RELAY_DELAY_SECONDS: &str = "docfleet_relay_delay_seconds";

/// Days that went. Labels of these four: schema, table (outbox, inbox).
pub const PARTITIONS_DROPPED_TOTAL: &str = "docfleet_partitions_dropped_total";
/// Rows that outlived their day.
pub const PARTITIONS_ROWS_MOVED_TOTAL: &str = "docfleet_partitions_moved_rows_total";
/// Days whose time has come and that can not go.
pub const PARTITIONS_HELD_DAYS: &str = "docfleet_partitions_held_days";
pub const PARTITIONS_OLDEST_SECONDS: &str = "docfleet_partitions_oldest_seconds";

/// For gauges and histograms, which are floats; exact up to 2^53.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn count(n: usize) -> f64 {
    n as f64
}
