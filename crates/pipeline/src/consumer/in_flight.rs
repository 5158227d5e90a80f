use tokio::{sync::mpsc, time::Instant};

use super::partition::SlotId;
use crate::{
    Failure, Record,
    gate::{Generation, Turn},
};

/// A place in the order: messages of one lane are worked on and settled one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Lane(pub u64);

/// What the core must know to account for a message when it is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    pub slot: SlotId,
    pub offset: i64,
    pub timestamp_ms: i64,
    /// The assignment it was delivered in; a result of an older one changes nothing.
    pub epoch: u64,
    pub bytes: usize,
    pub lane: Lane,
    /// Of its last start, as `generation`.
    pub turn: Turn,
    pub generation: Generation,
}

#[cfg(test)]
impl Ticket {
    /// For tests that only pass it on.
    pub fn of_test(offset: i64) -> Self {
        Self {
            slot: SlotId::default(),
            offset,
            timestamp_ms: 0,
            epoch: 0,
            bytes: 0,
            lane: Lane(0),
            turn: Turn::Normal,
            generation: 0,
        }
    }
}

/// Why a message is tried again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// It failed, and the breaker says when it is tried again.
    Breaker(&'static str),
    /// It waits for something that only its producer needs: its partition waits with it, others flow.
    Partition(&'static str),
}

/// How a message came back.
#[derive(Debug)]
pub(crate) enum Done {
    Settled(Ticket),
    /// Given up without an outcome, as the process ends: it will be delivered again.
    Abandoned(Ticket),
    /// Without an outcome too, and to be tried again later by this process.
    Held(Ticket, Box<Record>, Hold),
    Fatal(String),
    /// A bug: somebody let go of it without a word.
    Dropped(Ticket),
}

/// A message that is out. It must come back through one of the methods; a drop is a bug that ends the process
/// rather than losing a message.
pub(crate) struct InFlight {
    ticket: Option<Ticket>,
    pub delivered_at: Instant,
    done: mpsc::UnboundedSender<Done>,
}

impl InFlight {
    pub fn new(ticket: Ticket, done: mpsc::UnboundedSender<Done>) -> Self {
        Self { ticket: Some(ticket), delivered_at: Instant::now(), done }
    }

    pub fn settled(mut self) {
        self.report(Done::Settled);
    }

    pub fn abandon(mut self) {
        self.report(Done::Abandoned);
    }

    pub fn hold(mut self, record: Record, why: Hold) {
        self.report(|ticket| Done::Held(ticket, Box::new(record), why));
    }

    /// Why it was let in; none after it came back.
    pub fn turn(&self) -> Turn {
        self.ticket.map_or(Turn::Normal, |ticket| ticket.turn)
    }

    pub fn fatal(mut self, failure: Failure) {
        self.report(|_| Done::Fatal(failure.to_string()));
    }

    fn report(&mut self, how: impl FnOnce(Ticket) -> Done) {
        if let Some(ticket) = self.ticket.take() {
            // The driver is gone only when the process ends.
            self.done.send(how(ticket)).ok();
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.report(Done::Dropped);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_message_comes_back_once_and_letting_go_of_it_is_told() {
        let (done, mut told) = mpsc::unbounded_channel();
        InFlight::new(Ticket::of_test(1), done.clone()).settled();
        drop(InFlight::new(Ticket::of_test(2), done));
        assert!(matches!(told.try_recv().unwrap(), Done::Settled(Ticket { offset: 1, .. })));
        assert!(matches!(told.try_recv().unwrap(), Done::Dropped(Ticket { offset: 2, .. })));
        assert!(told.try_recv().is_err());
    }
}
