//! The metrics of this worker beside the runtime's.

/// Verdicts whose settlement is committed. Labels: verdict, reason.
pub const VERDICTS_TOTAL: &str = "docfleet_av_scan_verdicts_total";
/// Bytes of these documents.
pub const SCANNED_BYTES_TOTAL: &str = "docfleet_av_scan_scanned_bytes_total";
