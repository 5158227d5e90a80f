use std::collections::HashMap;

use docfleet_outbox::{Draft, Event};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    Message,
    replay::{self, Replay},
};

/// The transaction in which a batch of messages gets its outcome, as a handler's `record` sees it.
pub struct Settlement<'t> {
    connection: &'t mut PgConnection,
    consumer: &'static str,
    /// Of messages that are fed again.
    replay: Option<Replay>,
    drafts: Vec<Draft>,
    /// How many events each cause has led to so far: a part of their ids.
    ordinals: HashMap<Uuid, u32>,
}

impl<'t> Settlement<'t> {
    pub(crate) fn new(connection: &'t mut PgConnection, consumer: &'static str, replay: Option<Replay>) -> Self {
        Self { connection, consumer, replay, drafts: Vec::new(), ordinals: HashMap::new() }
    }

    /// What follows from `cause`. Written to the outbox at the end of the transaction, in the order of the calls.
    ///
    /// Emit in the same order at each repetition: the event's id is derived from its place in it. When the message is fed
    /// again by an operator, nothing is written, or a new event, as that one chose.
    pub fn emit<I, E: Event>(&mut self, cause: &Message<I>, event: E) {
        if self.replay.as_ref().is_some_and(|replay| !replay.emits()) {
            return;
        }
        let consumer = replay::logical(self.replay.as_ref(), self.consumer);
        let ordinal = self.ordinals.entry(cause.meta.event_id).or_default();
        let traceparent = cause.traceparent.clone();
        self.drafts.push(Draft::following(event, &cause.meta, &consumer, *ordinal, traceparent));
        *ordinal += 1;
    }

    /// For the handler's own effects. Neither commit nor roll back.
    pub fn connection(&mut self) -> &mut PgConnection {
        self.connection
    }

    pub fn consumer(&self) -> &'static str {
        self.consumer
    }

    pub(crate) fn into_drafts(self) -> Vec<Draft> {
        self.drafts
    }
}
