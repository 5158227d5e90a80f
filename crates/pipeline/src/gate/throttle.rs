use std::time::Duration;

/// A token bucket: so many starts a second, and after a silence never more at once than one second's worth.
#[derive(Debug, Clone)]
pub struct Bucket {
    per_second: f64,
    tokens: f64,
    filled_at: Duration,
}

impl Bucket {
    /// Starts with one token: the first message passes, a burst does not.
    pub fn new(per_second: f64, now: Duration) -> Self {
        Self { per_second: sane(per_second), tokens: 1.0, filled_at: now }
    }

    /// The share changed, with the number of members. What was saved stays, within the new limit.
    pub fn retune(&mut self, per_second: f64, now: Duration) {
        self.fill(now);
        self.per_second = sane(per_second);
        self.tokens = self.tokens.min(self.capacity());
    }

    /// Whether there is a token; it stays.
    pub fn has_token(&mut self, now: Duration) -> bool {
        self.fill(now);
        self.tokens >= 1.0
    }

    /// Returns false, and takes nothing, when there is no token.
    pub fn take(&mut self, now: Duration) -> bool {
        let taken = self.has_token(now);
        if taken {
            self.tokens -= 1.0;
        }
        taken
    }

    fn fill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.filled_at);
        self.filled_at = self.filled_at.max(now);
        self.tokens = (self.tokens + passed.as_secs_f64() * self.per_second).min(self.capacity());
    }

    /// A rate below one a second still has to pass a message now and then.
    fn capacity(&self) -> f64 {
        self.per_second.max(1.0)
    }
}

/// One message in a week at least: a rate that is no number must not stop a consumer for good.
fn sane(per_second: f64) -> f64 {
    const SLOWEST: f64 = 1.0 / Duration::from_secs(7 * 86_400).as_secs() as f64;
    if per_second.is_finite() { per_second.max(SLOWEST) } else { SLOWEST }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Duration = Duration::from_secs(1_000);

    #[test]
    fn after_a_silence_one_seconds_worth_passes_at_once_and_no_more() {
        let start = START;
        let mut bucket = Bucket::new(5.0, start);
        assert!(bucket.take(start) && !bucket.take(start));
        let later = start + Duration::from_secs(3_600);
        assert_eq!((0..100).filter(|_| bucket.take(later)).count(), 5);
    }

    #[test]
    fn a_slow_rate_passes_one_message_at_a_time() {
        let start = START;
        let mut bucket = Bucket::new(0.1, start);
        assert!(bucket.take(start));
        assert!(!bucket.take(start + Duration::from_secs(9)));
        assert!(bucket.take(start + Duration::from_millis(10_001)));
    }

    #[test]
    fn a_clock_that_steps_back_gives_nothing_and_takes_nothing() {
        let start = START + Duration::from_secs(10);
        let mut bucket = Bucket::new(1.0, start);
        assert!(bucket.take(start));
        assert!(!bucket.take(start - Duration::from_secs(5)));
        assert!(!bucket.take(start));
        assert!(bucket.take(start + Duration::from_secs(1)));
    }

    proptest! {
        /// In every window: at most the rate times its length, and one second's worth more. Over all of it, when always
        /// asked: at least the rate.
        #[test]
        fn no_window_has_more_than_the_rate_and_one_seconds_worth(
            per_second in 0.2_f64..200.0, steps_ms in prop::collection::vec(0_u64..400, 1..100),
        ) {
            let start = START;
            let mut bucket = Bucket::new(per_second, start);
            let mut now = start;
            let mut starts: Vec<f64> = Vec::new();
            for step in steps_ms {
                now += Duration::from_millis(step);
                while bucket.take(now) {
                    starts.push((now - start).as_secs_f64());
                }
            }
            // For all i <= j: j - i + 1 <= (t_j - t_i) * rate + one second's worth.
            let mut lowest = f64::INFINITY;
            for (nth, at) in starts.iter().enumerate() {
                let surplus = nth as f64 - at * per_second;
                lowest = lowest.min(surplus);
                prop_assert!(surplus - lowest + 1.0 <= per_second.max(1.0) + 1e-6);
            }
        }
    }
}
