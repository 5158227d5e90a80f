//! Bugs that others have shipped, in the real code, to see that its tests find them on real servers. Each is one line at its
//! place, and nothing without the feature `planted-bugs`, which only these tests turn on. The [simulation](crate) plants
//! the same ones, and three more, in its models.

/// Of a process that ends because of one.
pub(crate) const REASON: &str = "planted";

/// One at a time, for the whole process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "planted-bugs"), allow(dead_code))]
pub enum Planted {
    /// What was handed out counts as settled.
    CommitBeforeEffect = 1,
    /// The effect is written without asking who was first.
    SkipInbox,
    /// The relay reads what follows the last id that it has seen.
    CursorRelay,
    /// The inbox says dead first; the process ends before the dead letter is written.
    DeadLetterAfterCommit,
}

#[cfg(feature = "planted-bugs")]
mod on {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::Planted;

    static PLANTED: AtomicU8 = AtomicU8::new(0);

    /// Plants a bug, or none any more.
    pub fn plant(bug: Option<Planted>) {
        PLANTED.store(bug.map_or(0, |bug| bug as u8), Ordering::SeqCst);
    }

    pub(crate) fn is(bug: Planted) -> bool {
        PLANTED.load(Ordering::SeqCst) == bug as u8
    }
}

#[cfg(feature = "planted-bugs")]
pub(crate) use on::is;
#[cfg(feature = "planted-bugs")]
pub use on::plant;

#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn is(_: Planted) -> bool {
    false
}
