use metrics::{Counter, Histogram};

use crate::metric;

/// Handles that are used once a message: a look-up by name and labels costs more than the count itself.
pub(crate) struct Meters {
    pub done: Counter,
    pub duplicate: Counter,
    pub settled_seconds: Histogram,
    pub batch_messages: Histogram,
}

impl Meters {
    /// After the recorder was installed.
    pub fn of(consumer: &'static str) -> Self {
        let outcome = |outcome: &'static str| {
            let labels = [("consumer", consumer), ("outcome", outcome), ("reason", "")];
            metrics::counter!(metric::OUTCOMES_TOTAL, &labels)
        };
        Self {
            done: outcome("done"),
            duplicate: outcome("duplicate"),
            settled_seconds: metrics::histogram!(metric::SETTLE_SECONDS, "consumer" => consumer),
            batch_messages: metrics::histogram!(metric::BATCH_MESSAGES, "consumer" => consumer),
        }
    }
}
