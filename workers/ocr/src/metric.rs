//! The worker's own metrics: every name stands here and nowhere else.

/// One page, from the question to the answer. Label: source (text_layer, ocr, unreadable).
pub const PAGE_SECONDS: &str = "docfleet_ocr_page_duration_seconds";
/// Documents. Label: outcome (extracted, or why it is unreadable).
pub const DOCUMENTS_TOTAL: &str = "docfleet_ocr_documents_total";
/// Children that ended. Label: why (retired, idle, crashed, denied, start, too-slow, protocol, stopping).
pub const CHILDREN_ENDED_TOTAL: &str = "docfleet_ocr_children_ended_total";
/// 1 for a lock of the children's jail that this machine does not have, 0 for one that holds. Label: lock.
pub const JAIL_OPEN_LOCKS: &str = "docfleet_ocr_jail_open_locks";
