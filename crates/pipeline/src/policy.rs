use std::time::Duration;

/// A retry topic: `{consumer}.retry.{name}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tier {
    pub name: &'static str,
    pub delay: Duration,
}

/// What ends each kind of failure of a consumer. Each handler declares one: every default in this field loses something.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Tries in the lane before a transient failure goes to the retry topics, the first one included.
    pub tries_in_lane: u32,
    /// After the last tier the message is dead.
    pub tiers: &'static [Tier],
    /// Ask the inbox before working, so that a redelivery does not repeat work that costs seconds.
    pub ask_inbox_first: bool,
    /// A try that takes longer is a transient failure, `deadline-exceeded`.
    pub work_deadline: Duration,
}

impl Policy {
    pub const TIERS: &'static [Tier] = &[
        Tier { name: "10s", delay: Duration::from_secs(10) },
        Tier { name: "1m", delay: Duration::from_secs(60) },
        Tier { name: "10m", delay: Duration::from_secs(600) },
    ];

    /// Three tries in the lane, three tiers of retry topics, then the dead letter topic. Order within a key ends at the
    /// first retry topic: for handlers whose effects do not depend on it.
    pub const UNORDERED: Self =
        Self { tries_in_lane: 3, tiers: Self::TIERS, ask_inbox_first: false, work_deadline: Duration::from_secs(60) };

    /// [`UNORDERED`](Self::UNORDERED), for work that costs more than a look into the inbox.
    #[must_use]
    pub const fn with_costly_work(self, deadline: Duration) -> Self {
        Self { ask_inbox_first: true, work_deadline: deadline, ..self }
    }
}
