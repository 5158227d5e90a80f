//! The wall clock, for what is written down or shown. Leases use the database's clock, waits the monotonic one.

use time::{Date, OffsetDateTime, format_description::well_known::Rfc3339};

/// Unix milliseconds.
pub(crate) fn now_ms() -> i64 {
    i64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

/// UTC, as the days of events are.
pub(crate) fn today() -> Date {
    OffsetDateTime::now_utc().date()
}

pub(crate) fn rfc3339(ms: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok();
    at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default()
}
