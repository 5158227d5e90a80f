use std::collections::BTreeMap;

use crate::planted::{self, Planted};

/// What of one partition's assignment is delivered, settled, and safe to commit.
///
/// Offsets are charged in the order of delivery and settled in any order; [`frontier`](Self::frontier) is the offset
/// to commit: one past the highest settled offset below which nothing is open. Offsets need not be contiguous:
/// compaction and aborted transactions leave holes that will never be delivered.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Open offsets with their record's timestamp.
    open: BTreeMap<i64, i64>,
    /// One past the highest offset charged.
    next: Option<i64>,
    /// Where the client was told to commit last.
    committed: Option<i64>,
}

impl Ledger {
    /// Takes an offset on. Returns false for one that was delivered before in this assignment: the client may repeat
    /// itself after an internal reset, and it is then already accounted for.
    #[must_use]
    pub fn charge(&mut self, offset: i64, timestamp_ms: i64) -> bool {
        if self.next.is_some_and(|next| offset < next) {
            return false;
        }
        self.next = Some(offset + 1);
        self.open.insert(offset, timestamp_ms);
        true
    }

    /// Returns false when the offset was not open.
    pub fn settle(&mut self, offset: i64) -> bool {
        self.open.remove(&offset).is_some()
    }

    /// The offset to commit; none before the first delivery.
    pub fn frontier(&self) -> Option<i64> {
        if planted::is(Planted::CommitBeforeEffect) {
            return self.next;
        }
        self.open.keys().next().copied().or(self.next)
    }

    /// The frontier if it has moved since the last call.
    pub fn take_frontier(&mut self) -> Option<i64> {
        let frontier = self.frontier()?;
        (self.committed != Some(frontier)).then(|| {
            self.committed = Some(frontier);
            frontier
        })
    }

    /// The last commit may have come to nothing: [`take_frontier`](Self::take_frontier) names it again.
    pub fn commit_again(&mut self) {
        self.committed = None;
    }

    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    /// The offset that the frontier waits for.
    pub fn oldest_open(&self) -> Option<i64> {
        self.open.keys().next().copied()
    }

    /// The timestamp of the oldest message that is not settled.
    pub fn oldest_open_ms(&self) -> Option<i64> {
        self.open.values().next().copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_frontier_waits_for_the_lowest_open_offset() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.frontier(), None);
        for offset in [10, 11, 15] {
            assert!(ledger.charge(offset, 0));
        }
        assert!(ledger.settle(11) && ledger.settle(15));
        assert_eq!(ledger.frontier(), Some(10));
        assert!(ledger.settle(10));
        assert_eq!(ledger.take_frontier(), Some(16));
        assert_eq!(ledger.take_frontier(), None);
        ledger.commit_again();
        assert_eq!(ledger.take_frontier(), Some(16));
        assert!(!ledger.charge(12, 0), "an old offset is not taken twice");
    }

    proptest! {
        /// Whatever the order of settling: the frontier never passes an open offset, never goes back, and ends one past
        /// the last.
        #[test]
        fn nothing_open_is_ever_committed(gaps in prop::collection::vec(1_i64..4, 1..60), seed in any::<u64>()) {
            let mut ledger = Ledger::default();
            let mut offset = 0;
            let mut open = Vec::new();
            for gap in gaps {
                offset += gap;
                prop_assert!(ledger.charge(offset, offset));
                open.push(offset);
            }
            let mut state = seed;
            let mut last = 0;
            while !open.is_empty() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let index = usize::try_from(state >> 33).unwrap_or(0) % open.len();
                prop_assert!(ledger.settle(open.swap_remove(index)));
                if let Some(frontier) = ledger.take_frontier() {
                    prop_assert!(open.iter().all(|open| *open >= frontier));
                    prop_assert!(frontier >= last);
                    last = frontier;
                }
            }
            prop_assert_eq!(ledger.frontier(), Some(offset + 1));
            prop_assert_eq!(ledger.open_count(), 0);
        }
    }
}
