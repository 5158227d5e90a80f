use std::collections::{HashMap, VecDeque};

use crate::message::{Record, TopicPartition};

/// Records of retry topics whose time has not come. Their partition is paused, so it holds only what the client had
/// fetched before the pause took effect; other partitions flow.
#[derive(Default)]
pub(crate) struct Waiting(HashMap<TopicPartition, VecDeque<Record>>);

impl Waiting {
    /// Gives the record back when it may be worked on now.
    #[must_use]
    pub fn admit(&mut self, record: Record, now_ms: i64) -> Option<Record> {
        let due = record.not_before_ms().is_none_or(|at| at <= now_ms);
        let queue = self.0.get_mut(&record.source);
        match queue {
            None if due => Some(record),
            None => {
                self.0.insert(record.source.clone(), VecDeque::from([record]));
                None
            }
            // Behind one that waits, everything waits: offsets are charged in order.
            Some(queue) => {
                queue.push_back(record);
                None
            }
        }
    }

    /// Takes out what has become due.
    pub fn due(&mut self, now_ms: i64) -> Vec<Record> {
        let mut due = Vec::new();
        self.0.retain(|_, queue| {
            while queue.front().is_some_and(|record| record.not_before_ms().is_none_or(|at| at <= now_ms)) {
                due.extend(queue.pop_front());
            }
            !queue.is_empty()
        });
        due
    }

    pub fn holds(&self, source: &TopicPartition) -> bool {
        self.0.contains_key(source)
    }

    /// The records will be delivered again to whoever gets the partition.
    pub fn forget(&mut self, source: &TopicPartition) {
        self.0.remove(source);
    }
}
