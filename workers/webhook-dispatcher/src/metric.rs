//! The dispatcher's metrics: every name stands here and nowhere else. Units end the names.

/// Label: result, see [`crate::Answer::result`], and `unknown` for an attempt whose dispatcher did not live to mark it.
pub const ATTEMPTS_TOTAL: &str = "docfleet_webhook_attempts_total";
/// From the dial to the end of the answer. Label: result.
pub const ATTEMPT_SECONDS: &str = "docfleet_webhook_attempt_duration_seconds";
/// Deliveries that are final. Label: status (delivered, failed).
pub const FINISHED_TOTAL: &str = "docfleet_webhook_finished_deliveries_total";
/// Attempts that are out, of this process.
pub const IN_FLIGHT: &str = "docfleet_webhook_in_flight_attempts";
/// Marks that found a higher epoch, or no row any more.
pub const FENCED_MARKS_TOTAL: &str = "docfleet_webhook_fenced_marks_total";
/// Deliveries whose time has come, of the whole fleet.
pub const DUE_ROWS: &str = "docfleet_webhook_due_rows";
/// How long the oldest of them has been due.
pub const OLDEST_DUE_SECONDS: &str = "docfleet_webhook_oldest_due_seconds";
