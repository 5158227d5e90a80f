use docfleet_events::DocumentEvent;
use docfleet_pipeline::{
    Handler, Message, Outcome, Policy, Recorded, Settlement, Setup, WorkContext, Worked, of_database,
};

use crate::{
    rebuild,
    table::Table,
    view::{self, Fact},
};

/// All of its job is SQL, so all of it is in `record`.
pub struct ProjectionBuilder;

impl ProjectionBuilder {
    pub async fn new(setup: Setup) -> anyhow::Result<Self> {
        let builder = rebuild::Builder::new(setup.pool.clone(), setup.registry.clone());
        setup.spawn("rebuild", builder.run(setup.shutdown.clone()));
        Ok(Self)
    }
}

impl Handler for ProjectionBuilder {
    type In = DocumentEvent;
    type Finding = ();

    /// No stage needs the order, but its readers do: with a document's event missing, what is later must not be shown.
    const POLICY: Policy = Policy::ORDERED.never_again(
        "its view counts events, and each would count twice; `docfleet projections rebuild` makes it anew",
    );

    async fn work(&self, _message: &Message<DocumentEvent>, _context: &WorkContext) -> Outcome<()> {
        Ok(())
    }

    async fn record(&self, batch: &[Worked<DocumentEvent, ()>], settlement: &mut Settlement<'_>) -> Recorded {
        let facts: Vec<Fact<'_>> =
            batch.iter().map(|w| Fact { meta: &w.message.meta, event: &w.message.event }).collect();
        view::apply(settlement.connection(), Table::LIVE, &facts).await.map_err(|e| of_database(&e))
    }
}
