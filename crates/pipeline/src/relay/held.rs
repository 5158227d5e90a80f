use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use uuid::Uuid;

/// Rows that Kafka does not take (too large, no such topic, no right), and until when they are left out. Without it they
/// would stand at the head of every batch, and enough of them would be the batch.
#[derive(Debug, Default)]
pub(super) struct Held {
    rows: HashMap<i64, Instant>,
    /// What follows a refused event of an aggregate must wait for it.
    aggregates: HashMap<Uuid, Instant>,
}

impl Held {
    pub fn hold(&mut self, row: i64, aggregate: Option<Uuid>, time: Duration) {
        let until = Instant::now() + time;
        match aggregate {
            Some(aggregate) => self.aggregates.insert(aggregate, until),
            None => self.rows.insert(row, until),
        };
    }

    /// Lets those go whose time is over.
    pub fn expire(&mut self) {
        let now = Instant::now();
        self.rows.retain(|_, until| *until > now);
        self.aggregates.retain(|_, until| *until > now);
    }

    pub fn ids(&self) -> Vec<i64> {
        self.rows.keys().copied().collect()
    }

    pub fn aggregates(&self) -> Vec<Uuid> {
        self.aggregates.keys().copied().collect()
    }
}
