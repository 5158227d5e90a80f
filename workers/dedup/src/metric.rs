//! The metrics of this worker beside the runtime's.

/// Documents whose settlement is committed. Labels: outcome (unique, duplicate, refused, not-clean), reason.
pub const OUTCOMES_TOTAL: &str = "docfleet_dedup_outcomes_total";
/// Bytes of duplicates: neither stored again nor read.
pub const DUPLICATE_BYTES_TOTAL: &str = "docfleet_dedup_duplicate_bytes_total";
/// Questions to the cache, judged by what PostgreSQL said afterwards. Label: result (hit, miss, wrong, bypassed).
pub const CACHE_LOOKUPS_TOTAL: &str = "docfleet_dedup_cache_lookups_total";
