use docfleet_outbox::define_event;
use docfleet_pipeline::{Exhausted, Handler, Message, Outcome, Policy, Recorded, Settlement, WorkContext, Worked};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename = "LoadedData")]
pub struct Loaded {
    pub item_id: Uuid,
    pub filling: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename = "PassedData")]
pub struct Passed {
    pub item_id: Uuid,
    pub filling: String,
}

define_event!(Loaded, topic: "load.loaded.v1", aggregate: "item", id: item_id, schema: "../schemas/loaded.avsc");
define_event!(Passed, topic: "load.passed.v1", aggregate: "item", id: item_id, schema: "../schemas/passed.avsc");

/// Emits one event for each: all that is measured is the runtime's own.
pub struct PassOn;

impl Handler for PassOn {
    type In = Loaded;
    type Finding = ();
    /// One retry topic, as idle partitions cost a little.
    const POLICY: Policy = Policy { transient: Exhausted::RetryTopics(&[Policy::TIERS[0]]), ..Policy::UNORDERED };

    async fn work(&self, _: &Message<Loaded>, _: &WorkContext) -> Outcome<()> {
        Ok(())
    }

    async fn record(&self, batch: &[Worked<Loaded, ()>], settlement: &mut Settlement<'_>) -> Recorded {
        for worked in batch {
            let Loaded { item_id, filling } = worked.message.event.clone();
            settlement.emit(&worked.message, Passed { item_id, filling });
        }
        Ok(())
    }
}
