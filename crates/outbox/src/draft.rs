use time::OffsetDateTime;
use uuid::Uuid;

use crate::{Error, Event, EventMeta, Registry, codec, derived_event_id};

type Encode = Box<dyn FnOnce(&Registry, &EventMeta) -> Result<Vec<u8>, Error> + Send + Sync>;

/// An event that waits for its version: everything is known but what the lock on its aggregate will say.
#[must_use = "a draft that is not appended is a lost event"]
pub struct Draft {
    pub(crate) meta: EventMeta,
    pub(crate) event_type: &'static str,
    pub(crate) topic: &'static str,
    pub(crate) encode: Encode,
}

impl Draft {
    /// The first event of a chain: it follows from a request, not from another event.
    pub fn first<E: Event>(event: E, tenant: &str, region: &str, traceparent: Option<String>) -> Self {
        Self::new(event, Uuid::now_v7(), tenant, region, None, traceparent)
    }

    /// What `consumer` makes out of `cause`. `ordinal` counts its events for that cause from 0.
    pub fn following<E: Event>(
        event: E,
        cause: &EventMeta,
        consumer: &str,
        ordinal: u32,
        traceparent: Option<String>,
    ) -> Self {
        let event_id = derived_event_id(cause.event_id, consumer, ordinal);
        let traceparent = traceparent.or_else(|| cause.traceparent.clone());
        Self::new(event, event_id, &cause.tenant, &cause.region, Some(cause.event_id), traceparent)
    }

    /// What a task of a stage finds out, long after the event that it goes back to. The caller derives `event_id` from
    /// what was found, so that a repetition makes the same id.
    pub fn from_task<E: Event>(event: E, event_id: Uuid, cause: Uuid, (tenant, region): (&str, &str)) -> Self {
        Self::new(event, event_id, tenant, region, Some(cause), None)
    }

    fn new<E: Event>(
        event: E,
        event_id: Uuid,
        tenant: &str,
        region: &str,
        cause: Option<Uuid>,
        traceparent: Option<String>,
    ) -> Self {
        let meta = EventMeta {
            event_id,
            // Both are filled in under the lock on the aggregate.
            occurred_at: OffsetDateTime::UNIX_EPOCH,
            aggregate_version: 0,
            aggregate_type: E::AGGREGATE_TYPE.to_owned(),
            aggregate_id: event.aggregate_id(),
            tenant: tenant.to_owned(),
            region: region.to_owned(),
            cause,
            traceparent,
        };
        let encode: Encode = Box::new(move |registry, meta| {
            let id = registry.pinned::<E>().ok_or_else(|| {
                Error::RegistryUnavailable(format!("the schema of {} was not pinned at start", E::NAME))
            })?;
            codec::encode(id, meta, &event)
        });
        Self { meta, event_type: E::NAME, topic: E::TOPIC, encode }
    }

    pub fn event_id(&self) -> Uuid {
        self.meta.event_id
    }
}
