use std::future::Future;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{Input, Message, Outcome, Policy, Recorded, Settlement};

/// A worker's job on one kind of message, in two steps.
pub trait Handler: Send + Sync + 'static {
    type In: Input;
    /// What the work found out, and the record needs.
    type Finding: Send + Sync + 'static;

    const POLICY: Policy;

    /// Slow: talks to engines and blob stores; holds no transaction. May run several times for one message, also at
    /// once in two processes; its effects must be repeatable.
    fn work(
        &self,
        message: &Message<Self::In>,
        context: &WorkContext,
    ) -> impl Future<Output = Outcome<Self::Finding>> + Send;

    /// Fast: SQL only, inside the settlement's transaction; runs to a commit exactly once per message. `batch` holds
    /// each event at most once; prefer one statement for all of them. A failure of one is isolated by the runtime: the
    /// batch is rolled back and each message settled alone.
    fn record(
        &self,
        batch: &[Worked<Self::In, Self::Finding>],
        settlement: &mut Settlement<'_>,
    ) -> impl Future<Output = Recorded> + Send;

    /// After the commit. A crash may skip it: for caches and hints only.
    fn committed(&self, batch: &[Worked<Self::In, Self::Finding>]) -> impl Future<Output = ()> + Send {
        let _ = batch;
        async {}
    }
}

/// A message whose work is done.
pub struct Worked<I, F> {
    pub message: Message<I>,
    pub finding: F,
}

/// What a try may know beside its message.
#[derive(Clone)]
pub struct WorkContext {
    /// The try is abandoned at this time.
    pub deadline: Instant,
    /// Cancelled when the process is to end; long work may stop early, the message will come again.
    pub shutdown: CancellationToken,
}

/// The input of handlers in tests that never get as far as to decode.
#[cfg(test)]
pub(crate) struct Nothing;

#[cfg(test)]
impl Input for Nothing {
    fn topics() -> Vec<&'static str> {
        vec!["t"]
    }

    fn decode(
        _: &docfleet_outbox::apache_avro::Schema,
        _: &[u8],
    ) -> Result<(docfleet_outbox::EventMeta, Self), docfleet_outbox::Error> {
        Err(docfleet_outbox::Error::NotFramed)
    }
}
