/// Bugs that others have shipped, planted to see that the simulation finds them. They exist in this module only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    /// A message counts as settled as soon as it is handed out.
    CommitBeforeEffect,
    /// The effect is written without asking who was first.
    SkipInbox,
    /// The relay reads what follows the last id that it has seen.
    CursorRelay,
    /// Relays take any rows that the other one has not locked.
    SkipLocked,
    /// A "seen" key, written when the work is done, decides that there is nothing left to do.
    RedisAsTruth,
    /// The inbox says dead first, and the dead letter is written after it.
    DeadLetterAfterCommit,
    /// Partitions that are revoked go on being worked on and committed.
    IgnoredRevoke,
}

pub(super) const ALL: [Bug; 7] = [
    Bug::CommitBeforeEffect,
    Bug::SkipInbox,
    Bug::CursorRelay,
    Bug::SkipLocked,
    Bug::RedisAsTruth,
    Bug::DeadLetterAfterCommit,
    Bug::IgnoredRevoke,
];
