use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

/// Order within a key, parallelism over keys: at most one item of a lane is out at a time.
///
/// `push` and `finish` say what may start; nothing is lost in between, whatever the caller's pace.
#[derive(Debug)]
pub struct Lanes<K, T> {
    /// Present = one item of this lane is out; the queue holds its successors.
    busy: HashMap<K, VecDeque<T>>,
    queued: usize,
}

impl<K, T> Default for Lanes<K, T> {
    fn default() -> Self {
        Self { busy: HashMap::new(), queued: 0 }
    }
}

impl<K: Hash + Eq, T> Lanes<K, T> {
    /// Returns the item when its lane is free: it may start now.
    #[must_use]
    pub fn push(&mut self, key: K, item: T) -> Option<T> {
        if let Some(queue) = self.busy.get_mut(&key) {
            queue.push_back(item);
            self.queued += 1;
            return None;
        }
        self.busy.insert(key, VecDeque::new());
        Some(item)
    }

    /// The lane's item is done; returns its successor, which may start now.
    #[must_use]
    pub fn finish(&mut self, key: &K) -> Option<T> {
        let next = self.busy.get_mut(key)?.pop_front();
        if next.is_some() {
            self.queued -= 1;
        } else {
            self.busy.remove(key);
        }
        next
    }

    /// Takes out the queued items that are not wanted any more; the ones that are out are not touched.
    pub fn drain_queued(&mut self, unwanted: impl Fn(&T) -> bool) -> Vec<T> {
        let mut removed = Vec::new();
        for queue in self.busy.values_mut() {
            if !queue.iter().any(&unwanted) {
                continue;
            }
            for item in std::mem::take(queue) {
                if unwanted(&item) { removed.push(item) } else { queue.push_back(item) }
            }
        }
        self.queued -= removed.len();
        removed
    }

    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Whether an item of this lane is out.
    pub fn is_busy(&self, key: &K) -> bool {
        self.busy.contains_key(key)
    }

    /// Lanes with an item out.
    pub fn busy(&self) -> usize {
        self.busy.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Any schedule of pushes and finishes: each key's items start in the order they were pushed, one at a time, and
        /// all of them start.
        #[test]
        fn each_key_keeps_its_order(schedule in prop::collection::vec((0_u8..4, any::<bool>()), 0..200)) {
            let mut lanes = Lanes::default();
            let mut started: HashMap<u8, Vec<usize>> = HashMap::new();
            let mut out: HashMap<u8, usize> = HashMap::new();
            let mut pushed: HashMap<u8, Vec<usize>> = HashMap::new();
            for (number, (key, push)) in schedule.into_iter().enumerate() {
                let start = if push {
                    pushed.entry(key).or_default().push(number);
                    lanes.push(key, number)
                } else if out.remove(&key).is_some() {
                    lanes.finish(&key)
                } else {
                    None
                };
                if let Some(item) = start {
                    prop_assert!(out.insert(key, item).is_none(), "two of key {} are out", key);
                    started.entry(key).or_default().push(item);
                }
            }
            while let Some(key) = out.keys().next().copied() {
                out.remove(&key);
                if let Some(item) = lanes.finish(&key) {
                    out.insert(key, item);
                    started.entry(key).or_default().push(item);
                }
            }
            prop_assert_eq!(started, pushed);
            prop_assert_eq!((lanes.queued(), lanes.busy()), (0, 0));
        }
    }

    #[test]
    fn queued_items_can_be_withdrawn_without_freeing_the_lane() {
        let mut lanes = Lanes::default();
        assert_eq!(lanes.push("k", 1), Some(1));
        assert_eq!(lanes.push("k", 2), None);
        assert_eq!(lanes.push("k", 3), None);
        assert_eq!(lanes.drain_queued(|item| *item == 2), vec![2]);
        assert_eq!(lanes.push("k", 4), None);
        assert_eq!(lanes.finish(&"k"), Some(3));
        assert_eq!(lanes.finish(&"k"), Some(4));
        assert_eq!(lanes.finish(&"k"), None);
        assert_eq!(lanes.busy(), 0);
    }
}
