use std::time::Duration;

use crate::{Answer, WebhooksConfig};

/// When each attempt is made, and when there is none any more.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// The wait before each attempt.
    waits: Vec<Duration>,
    retry_after_max: Duration,
}

/// What becomes of a delivery after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Delivered,
    /// Another attempt, in so long.
    Again(Duration),
    Failed,
}

/// Waits differ by up to this part of them, so that what failed together does not come back together.
const JITTER: f64 = 0.2;

impl From<&WebhooksConfig> for Schedule {
    fn from(config: &WebhooksConfig) -> Self {
        Self { waits: config.schedule.iter().map(|wait| wait.0).collect(), retry_after_max: config.retry_after_max }
    }
}

impl Schedule {
    /// The wait before the first attempt.
    pub fn first(&self) -> Duration {
        self.waits.first().copied().unwrap_or_default()
    }

    /// `attempts` counts those that began, this one included; `random` is uniform in 0..1.
    pub fn after(&self, answer: &Answer, attempts: u32, random: f64) -> Step {
        let wish = match answer {
            Answer::Accepted { .. } => return Step::Delivered,
            Answer::Aborted { .. } | Answer::Refused(_) => return Step::Failed,
            Answer::Declined { retry_after, .. } => retry_after.unwrap_or_default(),
            Answer::Lost(_) | Answer::Inside | Answer::Unsigned(_) => Duration::ZERO,
        };
        let Some(wait) = usize::try_from(attempts).ok().and_then(|next| self.waits.get(next)) else {
            return Step::Failed;
        };
        let wait = wait.mul_f64(1.0 - JITTER + 2.0 * JITTER * random.clamp(0.0, 1.0));
        // An endpoint may ask for more patience than planned, not for less, and not for ever.
        Step::Again(wait.max(wish.min(self.retry_after_max)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{InvalidSecret, Lost, egress::Refusal};

    fn schedule() -> Schedule {
        Schedule::from(&WebhooksConfig::default())
    }

    fn declined(retry_after: Option<u64>) -> Answer {
        Answer::Declined { status: 503, retry_after: retry_after.map(Duration::from_secs) }
    }

    #[test]
    fn a_dead_endpoint_is_tried_eight_times_over_a_day() {
        let waits: Vec<u64> = (1..8)
            .map(|attempts| match schedule().after(&Answer::Lost(Lost::Timeout), attempts, 0.5) {
                Step::Again(wait) => wait.as_secs(),
                other => panic!("{attempts}: {other:?}"),
            })
            .collect();
        assert_eq!(schedule().first(), Duration::ZERO);
        assert_eq!(waits, [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000]);
        assert_eq!(schedule().after(&Answer::Lost(Lost::Timeout), 8, 0.5), Step::Failed);
    }

    #[test]
    fn some_answers_end_it_at_once() {
        assert_eq!(schedule().after(&Answer::Accepted { status: 204 }, 8, 0.5), Step::Delivered);
        assert_eq!(schedule().after(&Answer::Aborted { status: 410 }, 1, 0.5), Step::Failed);
        assert_eq!(schedule().after(&Answer::Refused(Refusal::Userinfo), 1, 0.5), Step::Failed);
    }

    #[test]
    fn what_may_heal_is_tried_again() {
        for answer in [Answer::Inside, Answer::Unsigned(InvalidSecret), declined(None)] {
            assert_eq!(schedule().after(&answer, 1, 0.5), Step::Again(Duration::from_secs(5)), "{answer:?}");
        }
    }

    #[test]
    fn an_endpoint_may_ask_for_more_patience_but_not_for_ever() {
        let wait = |retry_after| schedule().after(&declined(Some(retry_after)), 1, 0.5);
        assert_eq!(wait(0), Step::Again(Duration::from_secs(5)));
        assert_eq!(wait(90), Step::Again(Duration::from_secs(90)));
        assert_eq!(wait(u64::MAX), Step::Again(Duration::from_secs(36_000)));
    }

    proptest! {
        #[test]
        fn waits_stay_within_a_fifth_of_the_plan_and_end(attempts in 0..20_u32, random in 0.0..1.0_f64) {
            let schedule = schedule();
            match (schedule.after(&Answer::Lost(Lost::Broken), attempts, random), schedule.waits.get(attempts as usize)) {
                (Step::Again(wait), Some(planned)) => {
                    prop_assert!(wait >= planned.mul_f64(0.799) && wait <= planned.mul_f64(1.201));
                }
                (Step::Failed, None) => {}
                (step, planned) => prop_assert!(false, "{step:?} for {planned:?}"),
            }
        }

        #[test]
        fn no_wish_brings_an_attempt_forward_or_beyond_the_bound(seconds in any::<u32>(), attempts in 1..8_u32, random in 0.0..1.0_f64) {
            let schedule = schedule();
            let Step::Again(wait) = schedule.after(&declined(Some(seconds.into())), attempts, random) else {
                panic!("attempts are left");
            };
            let planned = schedule.waits[attempts as usize];
            prop_assert!(wait >= planned.mul_f64(0.799));
            prop_assert!(wait <= planned.mul_f64(1.201).max(schedule.retry_after_max));
        }
    }
}
