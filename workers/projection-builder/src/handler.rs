use docfleet_blobs::{Blobs, BlobsConfig};
use docfleet_events::DocumentEvent;
use docfleet_pipeline::{
    Failure, Handler, Message, Outcome, Policy, Recorded, Settlement, Setup, WorkContext, Worked, of_database,
};

use crate::{
    rebuild,
    table::Table,
    text,
    view::{self, Fact},
};

/// All of its job is SQL, so all of it is in `record`; only a text for the search is fetched before.
pub struct ProjectionBuilder {
    blobs: Blobs,
}

impl ProjectionBuilder {
    /// # Errors
    /// No blob store.
    pub async fn new(setup: Setup) -> anyhow::Result<Self> {
        let blobs = Blobs::open_store(&setup.section::<BlobsConfig>("blobs")?, &setup.region)?;
        let builder = rebuild::Builder::new(setup.pool.clone(), setup.registry.clone(), blobs.clone());
        setup.spawn("rebuild", builder.run(setup.shutdown.clone()));
        Ok(Self { blobs })
    }
}

impl Handler for ProjectionBuilder {
    type In = DocumentEvent;
    /// The beginning of the text that the event tells of.
    type Finding = Option<String>;

    /// No stage needs the order, but its readers do: with a document's event missing, what is later must not be shown.
    const POLICY: Policy = Policy::ORDERED;

    async fn work(&self, message: &Message<DocumentEvent>, _context: &WorkContext) -> Outcome<Option<String>> {
        text::of(&self.blobs, &message.meta, &message.event).await.map_err(of_blobs)
    }

    async fn record(
        &self,
        batch: &[Worked<DocumentEvent, Option<String>>],
        settlement: &mut Settlement<'_>,
    ) -> Recorded {
        let facts: Vec<Fact<'_>> = batch
            .iter()
            .map(|w| Fact { meta: &w.message.meta, event: &w.message.event, text: w.finding.as_deref() })
            .collect();
        view::apply(settlement.connection(), Table::LIVE, &facts).await.map_err(|e| of_database(&e))
    }
}

fn of_blobs(error: docfleet_blobs::Error) -> Failure {
    match error {
        docfleet_blobs::Error::Config(_) => Failure::poison("blob-key-invalid", error),
        docfleet_blobs::Error::StoreOfOtherRegion { .. } => Failure::fatal("store-of-other-region", error),
        docfleet_blobs::Error::Refused(_) => Failure::unavailable("blob-store-refuses", error),
        other => Failure::unavailable("blob-store-unavailable", other),
    }
}
