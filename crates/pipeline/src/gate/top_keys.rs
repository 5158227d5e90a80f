use std::collections::HashMap;

/// The keys that come most often, in the memory of a few: the space-saving sketch (Metwally and others, 2005).
///
/// Whatever comes more often than once in `capacity` is in it. A count is never below the true one, and above it by
/// `error` at most. For logs and `docfleet status`; a key is never a metric's label.
#[derive(Debug)]
pub struct TopKeys {
    capacity: usize,
    counts: HashMap<Box<[u8]>, Count>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    pub count: u64,
    /// What the key it replaced had.
    pub error: u64,
}

impl TopKeys {
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), counts: HashMap::new() }
    }

    pub fn seen(&mut self, key: &[u8]) {
        if let Some(known) = self.counts.get_mut(key) {
            known.count += 1;
            return;
        }
        let mut fresh = Count { count: 1, error: 0 };
        if self.counts.len() >= self.capacity
            && let Some(rarest) = self.counts.iter().min_by_key(|(_, c)| c.count).map(|(k, _)| k.clone())
            && let Some(gone) = self.counts.remove(&rarest)
        {
            fresh = Count { count: gone.count + 1, error: gone.count };
        }
        self.counts.insert(key.into(), fresh);
    }

    /// The most frequent first.
    pub fn top(&self, k: usize) -> Vec<(&[u8], Count)> {
        let mut all: Vec<_> = self.counts.iter().map(|(key, count)| (key.as_ref(), *count)).collect();
        all.sort_by(|(a, x), (b, y)| y.count.cmp(&x.count).then_with(|| a.cmp(b)));
        all.truncate(k);
        all
    }

    /// Call it now and then, so that what was hot an hour ago does not hide what is hot now.
    pub fn fade(&mut self) {
        for count in self.counts.values_mut() {
            *count = Count { count: count.count / 2, error: count.error / 2 };
        }
        self.counts.retain(|_, count| count.count > 0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The two promises of the sketch, against true counts.
        #[test]
        fn what_is_frequent_is_in_it_and_counts_are_right_within_their_error(
            keys in prop::collection::vec(0_u8..40, 1..600), capacity in 1_usize..20,
        ) {
            let mut sketch = TopKeys::new(capacity);
            let mut truth: HashMap<u8, u64> = HashMap::new();
            for key in &keys {
                sketch.seen(&[*key]);
                *truth.entry(*key).or_default() += 1;
            }
            let found: HashMap<u8, Count> = sketch.top(usize::MAX).into_iter().map(|(k, c)| (k[0], c)).collect();
            prop_assert!(found.len() <= capacity);
            for (key, count) in &found {
                prop_assert!(truth[key] <= count.count && truth[key] >= count.count - count.error);
            }
            for (key, count) in truth {
                prop_assert!(count * capacity as u64 <= keys.len() as u64 || found.contains_key(&key));
            }
        }
    }

    #[test]
    fn an_old_favourite_fades() {
        let mut sketch = TopKeys::new(2);
        (0..100).for_each(|_| sketch.seen(b"old"));
        (0..5).for_each(|_| sketch.fade());
        (0..10).for_each(|_| sketch.seen(b"new"));
        assert_eq!(sketch.top(1)[0].0, b"new");
        (0..10).for_each(|_| sketch.fade());
        assert!(sketch.top(9).is_empty());
    }
}
