use crate::{
    Class, Policy, Tier,
    policy::{Away, Exhausted, Poisoned},
};

/// What becomes of a message that has no finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// No outcome: it will be delivered again. Only as the process ends.
    Abandon,
    /// No outcome either: the process exits and another one replays from the last commit.
    Exit,
    /// To the retry topic of this tier.
    Retry(Tier),
    /// It becomes the head of its key, which waits for it.
    Park,
    DeadLetter,
    /// Dead, and its key waits for an operator.
    DeadLetterAndHold,
}

impl Policy {
    /// The one decision. `attempt` is 0 for the original delivery and counts the retry topics it came through.
    pub(crate) fn fate(&self, class: Class, attempt: i32) -> Fate {
        match class {
            Class::Unavailable => match self.unavailable {
                // Waits end only when the process does; see `Processor::until_available`.
                Away::Wait => Fate::Abandon,
            },
            Class::Fatal => Fate::Exit,
            Class::Transient => match self.transient {
                Exhausted::RetryTopics(tiers) => match usize::try_from(attempt).ok().and_then(|nth| tiers.get(nth)) {
                    Some(tier) => Fate::Retry(*tier),
                    None => Fate::DeadLetter,
                },
                Exhausted::ParkKey => Fate::Park,
            },
            Class::Poison => match self.poison {
                Poisoned::DeadLetter => Fate::DeadLetter,
                Poisoned::DeadLetterAndHoldKey => Fate::DeadLetterAndHold,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transient_failures_climb_the_tiers_and_then_die() {
        let fates: Vec<Fate> = (0..5).map(|attempt| Policy::UNORDERED.fate(Class::Transient, attempt)).collect();
        let tiers = Policy::TIERS;
        assert_eq!(fates[..3], [Fate::Retry(tiers[0]), Fate::Retry(tiers[1]), Fate::Retry(tiers[2])]);
        assert_eq!(fates[3..], [Fate::DeadLetter, Fate::DeadLetter]);
        assert_eq!(Policy::UNORDERED.fate(Class::Transient, -1), Fate::DeadLetter, "a forged header gains nothing");
    }

    #[test]
    fn an_ordered_consumer_parks_at_every_attempt_and_never_retries_elsewhere() {
        for attempt in -1..5 {
            assert_eq!(Policy::ORDERED.fate(Class::Transient, attempt), Fate::Park);
        }
        assert_eq!(Policy::ORDERED.fate(Class::Poison, 0), Fate::DeadLetter);
        let held = Policy { poison: Poisoned::DeadLetterAndHoldKey, ..Policy::ORDERED };
        assert_eq!(held.fate(Class::Poison, 0), Fate::DeadLetterAndHold);
    }

    #[test]
    fn poison_dies_at_once_and_the_rest_has_no_outcome() {
        for policy in [Policy::UNORDERED, Policy::ORDERED] {
            assert_eq!(policy.fate(Class::Poison, 0), Fate::DeadLetter);
            assert_eq!(policy.fate(Class::Unavailable, 0), Fate::Abandon);
            assert_eq!(policy.fate(Class::Fatal, 0), Fate::Exit);
        }
    }
}
