//! The metrics of this worker beside the runtime's.

/// Verdicts whose settlement is committed. Labels: verdict, reason.
pub const VERDICTS_TOTAL: &str = "docfleet_av_scan_verdicts_total";
/// Bytes of these documents.
pub const SCANNED_BYTES_TOTAL: &str = "docfleet_av_scan_scanned_bytes_total";
/// Whether a clamd answers and finds the test file. Label: host, as in the configuration.
pub const ENGINE_UP: &str = "docfleet_av_scan_engine_up_bool";
/// Whether its signatures are too old for its clean answers to count. Label: host.
pub const ENGINE_STALE: &str = "docfleet_av_scan_engine_stale_bool";
/// Age of its signatures; absent for a database without a date. Label: host.
pub const DATABASE_AGE_SECONDS: &str = "docfleet_av_scan_database_age_seconds";
/// Documents that are at a clamd now. Label: host.
pub const ENGINE_IN_FLIGHT_DOCUMENTS: &str = "docfleet_av_scan_engine_in_flight_documents";
/// One document at one clamd, from the question for its version to the verdict; failures are not in it. Label: host.
pub const ENGINE_SCAN_SECONDS: &str = "docfleet_av_scan_engine_scan_duration_seconds";
/// What a clamd failed at. Labels: host, reason.
pub const ENGINE_FAILURES_TOTAL: &str = "docfleet_av_scan_engine_failures_total";
/// Documents scanned again. Label: outcome (clean, infected, unscannable, failed).
pub const RESCANS_TOTAL: &str = "docfleet_av_scan_rescans_total";
/// Clean verdicts of the window by older signatures than the engine's: what is due. Of the whole fleet.
pub const RESCAN_DUE_ROWS: &str = "docfleet_av_scan_rescan_due_rows";
