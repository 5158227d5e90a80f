//! The metrics of this worker beside the runtime's.

/// Documents whose settlement is committed. Labels: outcome (unique, duplicate, refused, not-clean), reason.
pub const OUTCOMES_TOTAL: &str = "docfleet_dedup_outcomes_total";
/// Questions to the cache, judged by what PostgreSQL said afterwards. Label: result (hit, miss, wrong, bypassed).
pub const CACHE_LOOKUPS_TOTAL: &str = "docfleet_dedup_cache_lookups_total";
