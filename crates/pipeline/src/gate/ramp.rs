use std::time::Duration;

/// The failures of one round count once: when a server goes away, everything that is out fails together.
const ONE_ROUND: Duration = Duration::from_secs(1);
/// After a halving the limit rises in so many steps from nothing to the cap.
const STEPS: usize = 64;

/// How many messages may be out at once: additive increase, multiplicative decrease (as TCP does, RFC 5681).
///
/// After a start or a recovery a few, doubled with each round of successes up to where it failed last, then a step a
/// round; halved when something is away or too slow. So a cold start on a backlog, and the return of a server that was
/// overloaded, do not hit it with everything at once.
#[derive(Debug, Clone)]
pub struct Ramp {
    floor: usize,
    cap: usize,
    limit: usize,
    /// Doubling ends here.
    threshold: usize,
    successes: usize,
    halved_at: Option<Duration>,
}

impl Ramp {
    pub fn new(floor: usize, cap: usize) -> Self {
        let cap = cap.max(1);
        let floor = floor.clamp(1, cap);
        Self { floor, cap, limit: floor, threshold: cap, successes: 0, halved_at: None }
    }

    pub fn limit(&self) -> usize {
        self.limit
    }

    pub fn succeeded(&mut self, count: usize) {
        self.successes = self.successes.saturating_add(count);
        while self.limit < self.cap && self.successes >= self.limit {
            self.successes -= self.limit;
            let next = if self.limit < self.threshold {
                (self.limit * 2).min(self.threshold)
            } else {
                self.limit + (self.cap / STEPS).max(1)
            };
            self.limit = next.min(self.cap);
        }
        // Successes are not saved up: a limit that falls later has to be earned again.
        self.successes = self.successes.min(self.cap);
        if self.limit == self.cap {
            self.successes = 0;
        }
    }

    /// Something that everybody needs is away, or did not answer in time.
    pub fn failed(&mut self, now: Duration) {
        self.successes = 0;
        if self.halved_at.is_some_and(|at| now.saturating_sub(at) < ONE_ROUND) {
            return;
        }
        self.halved_at = Some(now);
        self.limit = (self.limit / 2).max(self.floor);
        self.threshold = self.limit;
    }

    /// From the beginning, as after a start: the breaker has closed.
    pub fn restart(&mut self) {
        *self = Self::new(self.floor, self.cap);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Duration = Duration::from_secs(1_000);

    #[test]
    fn it_doubles_to_the_cap_then_halves_and_creeps_back() {
        let now = START;
        let mut ramp = Ramp::new(8, 100);
        let mut limits = vec![ramp.limit()];
        for _ in 0..5 {
            ramp.succeeded(ramp.limit());
            limits.push(ramp.limit());
        }
        assert_eq!(limits, [8, 16, 32, 64, 100, 100]);
        ramp.failed(now);
        assert_eq!(ramp.limit(), 50);
        ramp.failed(now + Duration::from_millis(999));
        assert_eq!(ramp.limit(), 50, "the same round");
        ramp.failed(now + ONE_ROUND);
        assert_eq!(ramp.limit(), 25);
        ramp.succeeded(24);
        assert_eq!(ramp.limit(), 25, "a round is not complete");
        ramp.succeeded(1);
        assert_eq!(ramp.limit(), 26, "beyond where it failed a step a round");
        ramp.restart();
        assert_eq!(ramp.limit(), 8);
    }

    #[test]
    fn a_long_outage_leaves_the_floor_and_never_nothing() {
        let mut now = START;
        let mut ramp = Ramp::new(0, 64);
        for _ in 0..100 {
            now += Duration::from_secs(15);
            ramp.failed(now);
            assert!(ramp.limit() >= 1);
        }
        assert_eq!(ramp.limit(), 1);
    }

    proptest! {
        #[test]
        fn the_limit_stays_between_floor_and_cap(
            floor in 0_usize..50, cap in 0_usize..200, steps in prop::collection::vec((any::<bool>(), 0_usize..500), 0..100),
        ) {
            let mut now = START;
            let mut ramp = Ramp::new(floor, cap);
            for (success, count) in steps {
                now += Duration::from_secs(2);
                let before = ramp.limit();
                if success { ramp.succeeded(count) } else { ramp.failed(now) }
                prop_assert!((floor.clamp(1, cap.max(1))..=cap.max(1)).contains(&ramp.limit()));
                prop_assert_eq!(success, ramp.limit() > before || (success && ramp.limit() == before));
            }
        }
    }
}
