use std::{sync::Arc, time::Duration};

use anyhow::Context;
use docfleet_events::DocumentEvent;
use docfleet_pipeline::{
    Classify, Handler, Message, Outcome, Policy, Recorded, Settlement, Setup, WorkContext, Worked, of_database,
};
use tokio::sync::Notify;

use crate::{Courier, Dispatcher, WebhooksConfig, announcement::Announcement, deliveries, egress, schedule::Schedule};

/// Turns events into deliveries. Which event of a document comes first does not matter: each is announced on its own,
/// with its version.
pub struct WebhookDispatcher {
    first_wait: Duration,
    wake: Arc<Notify>,
}

impl WebhookDispatcher {
    /// Starts the dispatcher beside the handler.
    ///
    /// # Errors
    /// A refused configuration, or a host that can not do TLS.
    pub async fn new(setup: Setup) -> anyhow::Result<Self> {
        let config: WebhooksConfig = setup.section("webhooks")?;
        config.validate()?;
        if config.allow_loopback {
            tracing::warn!("webhooks may go to loopback addresses: for development only");
        }
        let courier = Courier::new(&config, egress::system_lookup())
            .context("TLS can not be set up; are trusted certificates installed (ca-certificates)?")?;
        let wake = Arc::new(Notify::new());
        let dispatcher = Dispatcher::new(setup.pool.clone(), courier, &config, Arc::clone(&wake));
        setup.spawn("deliveries", dispatcher.run(setup.shutdown.clone()));
        Ok(Self { first_wait: Schedule::from(&config).first(), wake })
    }
}

impl Handler for WebhookDispatcher {
    type In = DocumentEvent;
    type Finding = Announcement;

    /// Again, as for a subscription that came later: a delivery that is there stays as it is.
    const POLICY: Policy = Policy::UNORDERED.repeatable("partners are told once more, under new ids");

    async fn work(&self, message: &Message<DocumentEvent>, _context: &WorkContext) -> Outcome<Announcement> {
        Announcement::of(&message.meta, &message.event, message.traceparent.clone()).poison("unspeakable")
    }

    async fn record(&self, batch: &[Worked<DocumentEvent, Announcement>], settlement: &mut Settlement<'_>) -> Recorded {
        let announcements: Vec<&Announcement> = batch.iter().map(|worked| &worked.finding).collect();
        deliveries::enqueue(settlement.connection(), &announcements, self.first_wait)
            .await
            .map_err(|e| of_database(&e))?;
        Ok(())
    }

    async fn committed(&self, _batch: &[Worked<DocumentEvent, Announcement>]) {
        self.wake.notify_one();
    }
}
