use std::time::Duration;

use clap::Args;
use humantime_serde::re::humantime::parse_duration;

use crate::dlq::action::BATCH;

/// How carefully messages are sent once more.
#[derive(Args, Clone)]
pub struct Pace {
    /// Messages sent: 50/s, 600/min, 1000/h
    #[arg(long, value_name = "N/UNIT", default_value = "100/s", value_parser = parse_rate)]
    pub rate: Rate,
    /// Do not send one message of each consumer first and wait for what becomes of it
    #[arg(long)]
    pub no_canary: bool,
    /// How long to wait while nothing is worked on: for the canary, and for room later
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = parse_duration)]
    pub patience: Duration,
    /// Messages that may be on their way at once
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(i64).range(1..=100_000))]
    pub open_max: i64,
    /// Stop when more than this share of the last 20 died again, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub died_max: u8,
}

/// Letters a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate(pub f64);

/// Outcomes that the limit of died letters looks at.
pub const LAST: i64 = 20;
const STEPS_A_SECOND: f64 = 4.0;

pub fn parse_rate(text: &str) -> Result<Rate, String> {
    let (number, unit) = text.split_once('/').unwrap_or((text, "s"));
    let seconds = match unit.trim() {
        "s" | "sec" => 1.0,
        "min" | "m" => 60.0,
        "h" => 3_600.0,
        _ => return Err("the unit is s, min or h, as in 50/s".to_owned()),
    };
    let rate = number.trim().parse::<f64>().map_err(|_| "a number and a unit, as in 50/s".to_owned())? / seconds;
    // Slower than one an hour is no plan; a transaction holds no more than a batch.
    if (1.0 / 3_600.0..=2_000.0).contains(&rate) { Ok(Rate(rate)) } else { Err("between 1/h and 2000/s".to_owned()) }
}

impl Rate {
    /// How many at once, and how long until the next.
    #[allow(clippy::cast_possible_truncation)]
    pub fn step(self) -> (i64, Duration) {
        let count = (self.0 / STEPS_A_SECOND).floor().clamp(1.0, BATCH as f64);
        (count as i64, Duration::from_secs_f64(count / self.0))
    }

    pub fn seconds_for(self, letters: i64) -> f64 {
        letters as f64 / self.0
    }
}

/// Whether `died` of `settled` letters, the last ones, are more than `died_max` percent. A handful says nothing.
pub fn dies_again(died: i64, settled: i64, died_max: u8) -> bool {
    settled >= LAST && died * 100 > settled * i64::from(died_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_has_a_unit_and_bounds() {
        assert_eq!(parse_rate("50/s"), Ok(Rate(50.0)));
        assert_eq!(parse_rate("120 / min"), Ok(Rate(2.0)));
        assert_eq!(parse_rate("7"), Ok(Rate(7.0)));
        for bad in ["", "0", "-1/s", "NaN/s", "inf", "1/d", "1/2/s", "1000000/s", "0.5/h"] {
            assert!(parse_rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn steps_keep_the_rate() {
        for rate in [0.5, 1.0, 3.0, 50.0, 333.0, 2_000.0].map(Rate) {
            let (count, every) = rate.step();
            assert!((1..=BATCH).contains(&count));
            assert!((count as f64 / every.as_secs_f64() - rate.0).abs() < 0.001, "{rate:?}");
        }
    }

    #[test]
    fn a_redrive_stops_when_more_than_the_share_died_and_not_before_there_are_enough() {
        assert!(!dies_again(19, 19, 50));
        assert!(!dies_again(10, 20, 50));
        assert!(dies_again(11, 20, 50));
        assert!(dies_again(1, 20, 0) && !dies_again(20, 20, 100));
    }
}
