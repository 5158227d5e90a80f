//! What clamd says of itself, and how old its signatures are.

use std::time::Duration;

use time::{OffsetDateTime, PrimitiveDateTime, format_description::BorrowedFormatItem, macros::format_description};

use crate::{AgeLimit, reply::REPLY_BYTES_MAX};

/// C's `ctime`, as clamd prints the build time of `daily`; in the zone of clamd's own machine, which it does not name.
const CTIME: &[BorrowedFormatItem<'_>] =
    format_description!("[weekday repr:short] [month repr:short] [day padding:none] [hour]:[minute]:[second] [year]");
/// A zone is at most 14 hours ahead of UTC, and the clocks of two machines differ by little. What is further ahead of our
/// clock was not built yet: one of the clocks is wrong, and no age can be told.
const AHEAD_MAX: Duration = Duration::from_secs(15 * 3_600);

/// Engine and signature database, as clamd names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    pub engine: String,
    /// Number and date; `unversioned` for a database of one's own.
    pub database: String,
}

/// Why the clean answer of an engine with this database does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stale {
    #[error("its signature database is {age_hours} hours old, {limit:?} are allowed")]
    Old { age_hours: u64, limit: Duration },
    #[error("its signature database has no date")]
    Undated,
    #[error("its signature database is of tomorrow: its clock or ours is wrong")]
    FromTheFuture,
}

impl Version {
    /// The answer to `VERSION`: `ClamAV 1.4.6/27500/Mon Nov 24 09:36:00 2025` and a NUL; without slashes when the database
    /// has no version. None: not clamd's.
    pub fn parse(raw: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(raw.strip_suffix(&[0])?).ok()?;
        if raw.len() > REPLY_BYTES_MAX || !text.starts_with("ClamAV ") || text.contains(char::is_control) {
            return None;
        }
        let (engine, database) = text.split_once('/').unwrap_or((text, "unversioned"));
        Some(Self { engine: engine.to_owned(), database: database.to_owned() })
    }

    /// Rises with every release of the signatures; 0 for a database that has no number.
    pub fn database_number(&self) -> i64 {
        self.database.split('/').next().and_then(|number| number.parse().ok()).filter(|n| *n > 0).unwrap_or(0)
    }

    /// Read as UTC, see [`CTIME`]: with clamd in another zone wrong by its hours.
    pub fn database_date(&self) -> Option<OffsetDateTime> {
        let (_, date) = self.database.split_once('/')?;
        let words: Vec<&str> = date.split_ascii_whitespace().collect();
        PrimitiveDateTime::parse(&words.join(" "), CTIME).ok().map(PrimitiveDateTime::assume_utc)
    }

    /// None without a date; 0 for one ahead of `now`.
    pub fn database_age(&self, now: OffsetDateTime) -> Option<Duration> {
        Some((now - self.database_date()?).try_into().unwrap_or(Duration::ZERO))
    }

    /// # Errors
    /// Why the database does not count at `now`.
    pub fn fresh(&self, limit: AgeLimit, now: OffsetDateTime) -> Result<(), Stale> {
        let AgeLimit::AtMost(limit) = limit else { return Ok(()) };
        let date = self.database_date().ok_or(Stale::Undated)?;
        if date - now > AHEAD_MAX {
            return Err(Stale::FromTheFuture);
        }
        match self.database_age(now) {
            Some(age) if age <= limit => Ok(()),
            Some(age) => Err(Stale::Old { age_hours: age.as_secs() / 3_600, limit }),
            None => Err(Stale::Undated),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use time::macros::datetime;

    use super::*;

    fn version(raw: &str) -> Option<(String, String)> {
        Version::parse(raw.as_bytes()).map(|v| (v.engine, v.database))
    }

    fn of(database: &str) -> Version {
        Version { engine: "ClamAV 1.4.6".into(), database: database.into() }
    }

    #[test]
    fn a_version_names_engine_and_database() {
        let full = version("ClamAV 1.4.6/27500/Mon Nov 24 09:36:00 2025\0");
        assert_eq!(full, Some(("ClamAV 1.4.6".to_owned(), "27500/Mon Nov 24 09:36:00 2025".to_owned())));
        assert_eq!(version("ClamAV 1.4.6\0"), Some(("ClamAV 1.4.6".to_owned(), "unversioned".to_owned())));
        for not_clamd in ["", "\0", "ClamAV 1.4.6", "SSH-2.0-x\0", "ClamAV \u{1b}[2J\0", "UNKNOWN COMMAND\0"] {
            assert_eq!(version(not_clamd), None, "{not_clamd:?}");
        }
    }

    #[test]
    fn number_and_date_of_a_database_are_read_and_nothing_is_guessed() {
        let known = of("27500/Mon Nov  3 09:36:00 2025");
        assert_eq!(known.database_number(), 27_500);
        assert_eq!(known.database_date(), Some(datetime!(2025-11-03 09:36 UTC)));
        for odd in
            ["unversioned", "", "/", "-1/x", "0/", "99999999999999999999/x", "x/Mon Nov 31 09:36:00 2025", "1/today"]
        {
            assert_eq!(of(odd).database_date(), None, "{odd:?}");
        }
        for numberless in ["unversioned", "", "-1/x", "99999999999999999999/x"] {
            assert_eq!(of(numberless).database_number(), 0, "{numberless:?}");
        }
    }

    #[test]
    fn only_a_database_of_a_known_age_within_the_limit_is_fresh() {
        let (limit, now) = (AgeLimit::AtMost(Duration::from_secs(72 * 3_600)), datetime!(2025-11-24 12:00 UTC));
        let fresh = |database: &str| of(database).fresh(limit, now);
        assert_eq!(fresh("1/Mon Nov 24 11:59:59 2025"), Ok(()));
        assert_eq!(fresh("1/Fri Nov 21 12:00:00 2025"), Ok(()), "just within");
        let old = |age_hours| Err(Stale::Old { age_hours, limit: Duration::from_secs(72 * 3_600) });
        assert_eq!(fresh("1/Fri Nov 21 11:59:59 2025"), old(72));
        assert_eq!(fresh("1/Sun Nov 24 12:00:00 2024"), old(365 * 24));
        assert_eq!(fresh("unversioned"), Err(Stale::Undated));
        assert_eq!(fresh("27500/yesterday"), Err(Stale::Undated));
        assert_eq!(fresh("1/Tue Nov 25 02:59:59 2025"), Ok(()), "a zone ahead of ours");
        assert_eq!(fresh("1/Tue Nov 25 03:00:01 2025"), Err(Stale::FromTheFuture));
        for anything in ["unversioned", "1/Sun Nov 24 12:00:00 1974"] {
            assert_eq!(of(anything).fresh(AgeLimit::Unlimited, now), Ok(()), "{anything}");
        }
    }
}
