use std::time::Duration;

use time::{OffsetDateTime, format_description::well_known::Rfc2822};

/// Reads `Retry-After` (RFC 9110 §10.2.3): seconds, or a date. A date that is over is no wait; what can not be read is
/// no wish.
pub(crate) fn parse(value: &str, now: OffsetDateTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // Too many digits for a number are a very long wait; the bound is the schedule's.
        return Some(Duration::from_secs(value.parse::<u32>().unwrap_or(u32::MAX).into()));
    }
    // An HTTP date is one of RFC 2822's forms, with the obsolete zone name GMT.
    let at = OffsetDateTime::parse(value, &Rfc2822).ok()?;
    Some(Duration::try_from(at - now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn seconds_and_dates_are_read_and_all_else_is_ignored() {
        let now = datetime!(1994-11-06 08:49:37 UTC);
        let read = |value| parse(value, now).map(|wait| wait.as_secs());
        assert_eq!(read("120"), Some(120));
        assert_eq!(read(" 0 "), Some(0));
        assert_eq!(read("99999999999999999999"), Some(u32::MAX.into()));
        assert_eq!(read("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(read("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0));
        for bad in ["", "-1", "1.5", "soon", "+5", "0x10", "1994-11-06T08:50:37Z", "Sun, 99 Nov 1994 08:50:37 GMT"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_value_panics(value in ".{0,60}") {
            parse(&value, OffsetDateTime::UNIX_EPOCH);
        }
    }
}
