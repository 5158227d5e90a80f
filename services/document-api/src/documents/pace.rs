//! How long an upload waits for its sender.

use std::time::Duration;

use crate::ApiConfig;

/// A sender may not be silent for long, nor keep itself alive by drops: what it sent buys it the time that the slowest
/// allowed sender would have taken for as much. Only the time in which it was waited for is counted.
pub(super) struct Pace {
    idle_timeout: Duration,
    bytes_per_second_min: u64,
    grace: Duration,
    bytes: u64,
    waited: Duration,
}

impl Pace {
    pub fn of(api: &ApiConfig) -> Self {
        Self {
            idle_timeout: api.upload_idle_timeout,
            bytes_per_second_min: api.upload_bytes_per_second_min,
            grace: api.upload_slow_grace,
            bytes: 0,
            waited: Duration::ZERO,
        }
    }

    pub fn received(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }

    /// The sender was waited for.
    pub fn waited(&mut self, time: Duration) {
        self.waited = self.waited.saturating_add(time);
    }

    /// How long to wait for the next piece.
    pub fn patience(&self) -> Duration {
        match self.bytes.saturating_mul(1_000).checked_div(self.bytes_per_second_min) {
            Some(millis) => {
                let bought = self.grace.max(Duration::from_millis(millis));
                self.idle_timeout.min(bought.saturating_sub(self.waited))
            }
            // No minimum is configured.
            None => self.idle_timeout,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(bytes_per_second_min: u64) -> Pace {
        Pace::of(&ApiConfig {
            upload_idle_timeout: Duration::from_secs(30),
            upload_bytes_per_second_min: bytes_per_second_min,
            upload_slow_grace: Duration::from_secs(10),
            ..ApiConfig::default()
        })
    }

    #[test]
    fn what_was_sent_buys_time_and_silence_never_more_than_the_idle_timeout() {
        let mut pace = pace(1_000);
        assert_eq!(pace.patience(), Duration::from_secs(10));
        pace.waited(Duration::from_secs(9));
        pace.received(12_000);
        assert_eq!(pace.patience(), Duration::from_secs(3));
        pace.received(1_000_000);
        assert_eq!(pace.patience(), Duration::from_secs(30));
    }

    #[test]
    fn drops_buy_nothing_that_counts() {
        let mut pace = pace(1_000);
        for _ in 0..10 {
            pace.waited(Duration::from_secs(1));
            pace.received(1);
        }
        assert_eq!(pace.patience(), Duration::ZERO);
    }

    #[test]
    fn without_a_minimum_only_silence_is_limited() {
        let mut pace = pace(0);
        pace.waited(Duration::from_secs(500));
        assert_eq!(pace.patience(), Duration::from_secs(30));
    }
}
