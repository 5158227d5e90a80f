/// How much of the budget one partition may hold before it is paused, so that a hot key, whose successors wait in its lane,
/// or a held tenant does not use up what the other partitions need.
///
/// A key lives in one partition, so pausing it delays only its neighbours there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Pause at so many open messages.
    pub high: usize,
    /// Resume at so few.
    pub low: usize,
}

/// Several times the fair part, since traffic is never even; at most half, since somebody else needs some.
const FAIR_PARTS: usize = 4;

impl Share {
    /// `budget`: messages in flight at most. `partitions`: how many this process owns.
    pub fn of(budget: usize, partitions: usize) -> Self {
        let high = match partitions {
            // Nobody else is there.
            0 | 1 => budget,
            _ => (budget * FAIR_PARTS / partitions).min(budget / 2),
        }
        .max(1);
        Self { high, low: high / 2 }
    }

    /// Whether a partition with so many open messages should be paused; `paused` says whether it is.
    pub fn pauses(self, open: usize, paused: bool) -> bool {
        if paused { open > self.low } else { open >= self.high }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_hot_partition_leaves_half_of_the_budget_to_the_others() {
        assert_eq!(Share::of(1_024, 1), Share { high: 1_024, low: 512 });
        assert_eq!(Share::of(1_024, 2), Share { high: 512, low: 256 });
        assert_eq!(Share::of(1_024, 16), Share { high: 256, low: 128 });
        assert_eq!(Share::of(0, 5), Share { high: 1, low: 0 }, "it always goes on");
    }

    proptest! {
        /// It does not flap, does not stay paused when all is done, and never pauses an empty partition.
        #[test]
        fn a_pause_begins_high_and_ends_low(budget in 0_usize..5_000, partitions in 0_usize..100, open in 0_usize..6_000) {
            let share = Share::of(budget, partitions);
            prop_assert!(!share.pauses(0, true) && !share.pauses(0, false));
            prop_assert!(share.low < share.high);
            prop_assert!(!share.pauses(open, false) || share.pauses(open, true), "what begins a pause does not end it");
            prop_assert!(partitions < 2 || budget < 2 || share.high <= budget / 2);
        }
    }
}
