use std::collections::HashMap;

use super::line::Aggregate;

/// The latest version of each aggregate that Kafka has acknowledged to us, so that most successors need no question to
/// the database. Bounded: of two halves the older one is forgotten.
#[derive(Debug, Default)]
pub(super) struct Published {
    young: HashMap<Aggregate, i64>,
    old: HashMap<Aggregate, i64>,
}

const HALF: usize = 20_000;

impl Published {
    pub fn note(&mut self, aggregate: Aggregate, version: i64) {
        if self.young.len() >= HALF {
            self.old = std::mem::take(&mut self.young);
        }
        let latest = self.young.entry(aggregate).or_insert(version);
        *latest = version.max(*latest);
    }

    /// Whether this version is known to be published; versions go in order.
    pub fn has(&self, aggregate: &Aggregate, version: i64) -> bool {
        [&self.young, &self.old].into_iter().any(|half| half.get(aggregate).is_some_and(|latest| *latest >= version))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_latest_are_known_and_memory_is_bounded() {
        let mut published = Published::default();
        let aggregate = |n: usize| (0, Uuid::from_u128(n as u128));
        for n in 0..5 * HALF {
            published.note(aggregate(n), 3);
        }
        assert!(published.has(&aggregate(5 * HALF - 1), 3) && published.has(&aggregate(4 * HALF), 2));
        assert!(!published.has(&aggregate(5 * HALF - 1), 4) && !published.has(&aggregate(0), 3));
        assert!(published.young.len() + published.old.len() <= 2 * HALF);
    }
}
