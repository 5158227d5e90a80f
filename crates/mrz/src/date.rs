use serde::{Deserialize, Serialize};

/// A day of the calendar, for what is decided by today.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day {
    pub year: u16,
    /// From 1.
    pub month: u8,
    /// From 1.
    pub day: u8,
}

/// A date of a zone. Of a birth month or day may be unknown. Personal data.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Date {
    pub year: u16,
    pub month: Option<u8>,
    pub day: Option<u8>,
}

impl std::fmt::Debug for Date {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Date")
    }
}

/// What six characters say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    Date(Date),
    /// Only fillers.
    Unknown,
    /// No day that ever was or will be.
    Impossible,
}

/// The last hundred years: nobody is born tomorrow.
pub fn of_birth(six: &str, today: Day) -> Said {
    said(six, |two_digits, month, day| {
        let century = today.year / 100 * 100;
        let candidate = century + two_digits;
        let in_the_future = (candidate, month.unwrap_or(1), day.unwrap_or(1)) > (today.year, today.month, today.day);
        if in_the_future { candidate - 100 } else { candidate }
    })
}

/// The century that brings it nearest to today: documents live some ten years, and old ones are shown too.
pub fn of_expiry(six: &str, today: Day) -> Said {
    said(six, |two_digits, _, _| {
        let century = today.year / 100 * 100;
        let candidates = [(century - 100) + two_digits, century + two_digits, century + 100 + two_digits];
        candidates.into_iter().min_by_key(|year| year.abs_diff(today.year)).unwrap_or(two_digits)
    })
}

fn said(six: &str, year_of: impl Fn(u16, Option<u8>, Option<u8>) -> u16) -> Said {
    if six.chars().all(|c| c == '<') {
        return Said::Unknown;
    }
    let parts = || {
        let (year, rest) = six.split_at_checked(2)?;
        let (month, day) = rest.split_at_checked(2)?;
        let year = year.parse::<u16>().ok()?;
        let (month, day) = (part(month, 12)?, part(day, 31)?);
        let year = year_of(year, month, day);
        let known = (month, day);
        if let (Some(month), Some(day)) = known
            && day > days_in(year, month)
        {
            return None;
        }
        Some(Date { year, month, day })
    };
    parts().map_or(Said::Impossible, Said::Date)
}

/// Two digits from 1 to `most`, or two fillers.
#[allow(clippy::option_option)]
fn part(two: &str, most: u8) -> Option<Option<u8>> {
    if two == "<<" {
        return Some(None);
    }
    let number = two.parse().ok().filter(|number| (1..=most).contains(number))?;
    Some(Some(number))
}

fn days_in(year: u16, month: u8) -> u8 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: Day = Day { year: 2026, month: 11, day: 25 };

    fn year(said: Said) -> Option<u16> {
        match said {
            Said::Date(date) => Some(date.year),
            Said::Unknown | Said::Impossible => None,
        }
    }

    #[test]
    fn a_birth_lies_in_the_last_hundred_years() {
        assert_eq!(year(of_birth("740812", TODAY)), Some(1974));
        assert_eq!(year(of_birth("261125", TODAY)), Some(2026), "born today");
        assert_eq!(year(of_birth("261126", TODAY)), Some(1926), "tomorrow a hundred years old");
        assert_eq!(year(of_birth("26<<<<", TODAY)), Some(2026));
        assert_eq!(year(of_birth("27<<<<", TODAY)), Some(1927));
    }

    #[test]
    fn an_expiry_is_near_to_today() {
        for (six, expected) in
            [("120415", 2012), ("320415", 2032), ("750101", 2075), ("760101", 1976), ("990101", 1999)]
        {
            assert_eq!(year(of_expiry(six, TODAY)), Some(expected), "{six}");
        }
        let in_2098 = Day { year: 2098, month: 1, day: 1 };
        assert_eq!(year(of_expiry("030101", in_2098)), Some(2103));
    }

    #[test]
    fn what_is_no_day_is_impossible_and_what_is_not_known_is_told_apart() {
        assert_eq!(of_birth("<<<<<<", TODAY), Said::Unknown);
        assert_eq!(of_birth("88<<<<", TODAY), Said::Date(Date { year: 1988, month: None, day: None }));
        assert_eq!(of_birth("880229", TODAY), Said::Date(Date { year: 1988, month: Some(2), day: Some(29) }));
        for no_day in ["890229", "881301", "880100", "880431", "<<0101", "88<101", "8801"] {
            assert_eq!(of_birth(no_day, TODAY), Said::Impossible, "{no_day}");
        }
    }
}
