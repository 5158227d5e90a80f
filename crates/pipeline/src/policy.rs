use std::time::Duration;

use thiserror::Error;

/// A retry topic: `{consumer}.retry.{name}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tier {
    pub name: &'static str,
    pub delay: Duration,
}

/// What ends a transient failure that outlived its tries in the lane. One choice, so that no consumer can have both its
/// order and retry topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exhausted {
    /// *Unordered*: through the retry topics, shortest first; after the last one dead. Later messages of the key pass.
    RetryTopics(&'static [Tier]),
    /// *Ordered*: the key is parked in PostgreSQL, its later messages go behind, other keys flow. See `[parked]` for the
    /// bounds, beyond which the whole key becomes dead letters.
    ParkKey,
}

/// What ends a message that will never work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Poisoned {
    /// Dead at once; the key goes on without it.
    DeadLetter,
    /// Dead at once, and its key is held until an operator decides. Only of an ordered consumer.
    DeadLetterAndHoldKey,
}

/// What ends a message whose dependency is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Away {
    /// It waits, however long, and loses no attempt. Every other end would lose messages to an outage.
    Wait,
}

/// Whether an operator may feed the consumer events again that it has done (`docfleet replay`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// A second effect of an event would be wrong, or nobody has thought about it: why, and what to do instead, for the
    /// operator.
    Refused(&'static str),
    /// A second effect of the same event, under another logical version, replaces the first one or changes nothing. What
    /// it does, for the operator: it does so also when no events follow.
    Repeatable(&'static str),
    /// So is this one, but others show what it was before: the events that follow must be written. What it does.
    WithEvents(&'static str),
}

/// What ends each kind of failure of a consumer. Each handler declares all of it: every default in this field loses
/// something, so there is none.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Tries in the lane before a transient failure ends as `transient` says, the first one included.
    pub tries_in_lane: u32,
    pub transient: Exhausted,
    pub poison: Poisoned,
    pub unavailable: Away,
    /// Ask the inbox before working, so that a redelivery does not repeat work that costs seconds.
    pub ask_inbox_first: bool,
    /// A try that takes longer is a transient failure, `deadline-exceeded`.
    pub work_deadline: Duration,
    pub again: Again,
}

/// Why a policy can not be kept.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Incoherent {
    #[error("tries_in_lane is 0: no message would ever be tried; take 1 for no repetition")]
    NoTries,
    #[error("tries_in_lane is {0}: a key would be blocked for hours; {TRIES_MAX} at most, then `transient` takes over")]
    ManyTries(u32),
    #[error("work_deadline is 0: every try would be late")]
    NoDeadline,
    #[error("work_deadline is {0:?}: a hanging try would hold its key for so long; {DEADLINE_MAX:?} at most")]
    LongDeadline(Duration),
    #[error("RetryTopics names no topic: a replay of a dead letter could not come back; name one at least")]
    NoTiers,
    #[error("the retry topic {0:?} does not wait longer than the one before it; sort the tiers, shortest first")]
    UnsortedTiers(&'static str),
    #[error("two retry topics are called {0:?}: an attempt would skip one")]
    TwinTiers(&'static str),
    #[error(
        "an ordered consumer can not be fed again: a failed message would park its key behind events that are done"
    )]
    ReplayInOrder,
    #[error("the poison's key is to be held, but the consumer is not ordered: with ParkKey it is")]
    HoldWithoutOrder,
}

const TRIES_MAX: u32 = 20;
/// Longer work is to be cut into messages.
const DEADLINE_MAX: Duration = Duration::from_secs(60 * 60);

impl Policy {
    pub const TIERS: &'static [Tier] = &[
        Tier { name: "10s", delay: Duration::from_secs(10) },
        Tier { name: "1m", delay: Duration::from_secs(60) },
        Tier { name: "10m", delay: Duration::from_secs(600) },
    ];

    /// Three tries in the lane, three tiers of retry topics, then the dead letter topic. Order within a key ends at the
    /// first retry topic: for handlers whose effects do not depend on it.
    pub const UNORDERED: Self = Self {
        tries_in_lane: 3,
        transient: Exhausted::RetryTopics(Self::TIERS),
        poison: Poisoned::DeadLetter,
        unavailable: Away::Wait,
        ask_inbox_first: false,
        work_deadline: Duration::from_secs(60),
        again: Again::Refused("its effects were not declared repeatable"),
    };

    /// Three tries in the lane, then the key is parked. For handlers whose effects depend on the order within a key.
    pub const ORDERED: Self = Self { transient: Exhausted::ParkKey, ..Self::UNORDERED };

    /// This policy, for work that costs more than a look into the inbox.
    #[must_use]
    pub const fn with_costly_work(self, deadline: Duration) -> Self {
        Self { ask_inbox_first: true, work_deadline: deadline, ..self }
    }

    /// This policy, for effects that may happen again under another logical version; with what happens then.
    #[must_use]
    pub const fn repeatable(self, effect: &'static str) -> Self {
        Self { again: Again::Repeatable(effect), ..self }
    }

    /// This policy, for effects that may happen again if the events that follow are written too; with what happens then.
    #[must_use]
    pub const fn repeatable_with_events(self, effect: &'static str) -> Self {
        Self { again: Again::WithEvents(effect), ..self }
    }

    /// This policy, for effects that must not; with what to do instead.
    #[must_use]
    pub const fn never_again(self, why: &'static str) -> Self {
        Self { again: Again::Refused(why), ..self }
    }

    pub(crate) const fn is_ordered(&self) -> bool {
        matches!(self.transient, Exhausted::ParkKey)
    }

    /// The retry topics that the consumer reads. An ordered one writes to none of them; but an operator's replay of a
    /// single dead letter comes through the first, and what was on its way when the policy changed through the others.
    pub(crate) fn retry_topics(&self) -> &'static [Tier] {
        match self.transient {
            Exhausted::RetryTopics(tiers) => tiers,
            Exhausted::ParkKey => Self::TIERS,
        }
    }

    /// Asked before the first message.
    ///
    /// # Errors
    /// What can not be kept, and what to write instead.
    pub fn check(&self) -> Result<(), Incoherent> {
        match self.tries_in_lane {
            0 => return Err(Incoherent::NoTries),
            many if many > TRIES_MAX => return Err(Incoherent::ManyTries(many)),
            _ => {}
        }
        if self.work_deadline.is_zero() {
            return Err(Incoherent::NoDeadline);
        }
        if self.work_deadline > DEADLINE_MAX {
            return Err(Incoherent::LongDeadline(self.work_deadline));
        }
        if self.poison == Poisoned::DeadLetterAndHoldKey && !self.is_ordered() {
            return Err(Incoherent::HoldWithoutOrder);
        }
        if !matches!(self.again, Again::Refused(_)) && self.is_ordered() {
            return Err(Incoherent::ReplayInOrder);
        }
        let Exhausted::RetryTopics(tiers) = self.transient else { return Ok(()) };
        if tiers.is_empty() {
            return Err(Incoherent::NoTiers);
        }
        for (nth, tier) in tiers.iter().enumerate() {
            let before = tiers.get(..nth).unwrap_or_default();
            if before.iter().any(|other| other.name == tier.name) {
                return Err(Incoherent::TwinTiers(tier.name));
            }
            if tier.delay <= before.last().map_or(Duration::ZERO, |last| last.delay) {
                return Err(Incoherent::UnsortedTiers(tier.name));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn tier(name: &'static str, seconds: u64) -> Tier {
        Tier { name, delay: Duration::from_secs(seconds) }
    }

    fn through(tiers: &'static [Tier]) -> Result<(), Incoherent> {
        Policy { transient: Exhausted::RetryTopics(tiers), ..Policy::UNORDERED }.check()
    }

    #[test]
    fn a_policy_that_can_not_be_kept_is_refused_with_the_way_out() {
        let unordered = Policy::UNORDERED;
        assert_eq!(Policy { tries_in_lane: 0, ..unordered }.check(), Err(Incoherent::NoTries));
        assert_eq!(Policy { tries_in_lane: 21, ..unordered }.check(), Err(Incoherent::ManyTries(21)));
        assert_eq!(Policy { work_deadline: Duration::ZERO, ..unordered }.check(), Err(Incoherent::NoDeadline));
        let day = Duration::from_secs(24 * 60 * 60);
        assert_eq!(Policy { work_deadline: day, ..unordered }.check(), Err(Incoherent::LongDeadline(day)));
        assert_eq!(Policy::ORDERED.repeatable("x").check(), Err(Incoherent::ReplayInOrder));
        let hold = Poisoned::DeadLetterAndHoldKey;
        assert_eq!(Policy { poison: hold, ..unordered }.check(), Err(Incoherent::HoldWithoutOrder));
        assert_eq!(through(&[]), Err(Incoherent::NoTiers));
        assert_eq!(through(const { &[tier("now", 0)] }), Err(Incoherent::UnsortedTiers("now")));
        assert_eq!(through(const { &[tier("1m", 60), tier("10s", 10)] }), Err(Incoherent::UnsortedTiers("10s")));
        assert_eq!(through(const { &[tier("1m", 60), tier("1m", 90)] }), Err(Incoherent::TwinTiers("1m")));
        assert!(Incoherent::NoTiers.to_string().contains("name one at least"));
    }

    #[test]
    fn what_the_fleet_declares_can_be_kept() {
        for policy in
            [Policy::UNORDERED, Policy::ORDERED, Policy::UNORDERED.with_costly_work(Duration::from_secs(1_800))]
        {
            assert_eq!(policy.check(), Ok(()));
        }
        let held = Policy { poison: Poisoned::DeadLetterAndHoldKey, ..Policy::ORDERED };
        assert_eq!(held.check(), Ok(()));
    }
}
