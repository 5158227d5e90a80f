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

    /// The view does not depend on the order of events, so a retry topic may break it.
    const POLICY: Policy = Policy::UNORDERED;

    async fn work(&self, _message: &Message<DocumentEvent>, _context: &WorkContext) -> Outcome<()> {
        Ok(())
    }

    async fn record(&self, batch: &[Worked<DocumentEvent, ()>], settlement: &mut Settlement<'_>) -> Recorded {
        let facts: Vec<Fact<'_>> =
            batch.iter().map(|w| Fact { meta: &w.message.meta, event: &w.message.event }).collect();
        view::apply(settlement.connection(), Table::LIVE, &facts).await.map_err(|e| of_database(&e))
    }
}
