use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;
use uuid::Uuid;

use super::{BreakerConfig, Cause, CommandSet, Judgement, Note, Notes, Phase, Signals, Turn, Verdict, key_text};
use crate::{ConsumerConfig, Failure, Policy, Record, fate::Fate};

/// What those who work and settle have of the gate, beside the driver, which owns the admission.
#[derive(Clone)]
pub(crate) struct Handle {
    pub signals: Signals,
    /// Why those who wait do so.
    pub notes: Notes,
    pub commands: watch::Receiver<Arc<CommandSet>>,
    /// All times of the gate count from it.
    pub origin: Instant,
}

impl Handle {
    /// The commands' sender is for [`watch`](super::watch).
    pub fn new(
        consumer: &'static str,
        breaker: BreakerConfig,
        config: &ConsumerConfig,
        policy: &Policy,
    ) -> (Self, watch::Sender<Arc<CommandSet>>) {
        // Where work is cheap, a batch is what makes it so, and the budget is the bound.
        let cap =
            if policy.ask_inbox_first { config.concurrency.saturating_mul(2) } else { config.in_flight_messages_max };
        let signals = Signals::new(consumer, breaker, config.concurrency, cap);
        let (share, commands) = watch::channel(Arc::default());
        (Self { signals, notes: Notes::default(), commands, origin: Instant::now() }, share)
    }

    pub fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Whether the breaker keeps a failed message from its fate. Ask once, before the settlement.
    pub fn holds(&self, turn: Turn, failure: &Failure, fate: Fate) -> bool {
        let ends = matches!(fate, Fate::Retry(_) | Fate::Park | Fate::DeadLetter | Fate::DeadLetterAndHold);
        let cause = Cause { class: failure.class, reason: failure.reason };
        ends && self.signals.judge(self.now(), turn, cause) == Judgement::Hold
    }

    /// Whether a pause or a drain selects it. A message that did not come through the admission has to ask.
    pub fn pauses(&self, record: &Record) -> bool {
        matches!(self.commands.borrow().verdict(self.now(), &record.place()), Verdict::Hold(_))
    }

    pub fn unavailable(&self) {
        self.signals.unavailable(self.now());
    }

    pub fn note(&self, record: &Record, phase: Phase) {
        self.notes.write(&record.source, record.offset, note_of(record, phase));
    }

    pub fn erase(&self, record: &Record) {
        self.notes.erase(&record.source, record.offset);
    }
}

/// The id as the header says, since the payload may be unreadable: for people only.
pub(crate) fn note_of(record: &Record, phase: Phase) -> Note {
    let event_id = record.header("event_id").and_then(|id| Uuid::parse_str(id).ok());
    Note { phase, event_id, key: key_text(record.key.as_deref()) }
}
