//! Writing events: from a typed fact to a row of an outbox, inside the caller's own transaction. The fleet's own outbox is
//! in the schema `pipeline`; a service may have one of its own in any schema of any database ([`SchemaName::install`]).
//!
//! Read in the order of the flow: [`Event`] (what a fact is) → [`EventMeta`] (what each carries) → [`codec`] (Avro in
//! Confluent framing) → [`Registry`] (schema ids) → [`Outbox`] (version, encode, insert). This crate knows no Kafka
//! client: a service that only produces events needs nothing else.

pub mod codec;
mod draft;
mod event;
mod input;
mod meta;
mod registry;
pub mod retention;
mod row;
mod schema;
mod write;

pub use draft::Draft;
pub use event::Event;
pub use input::{Input, record_name};
pub use meta::{EventMeta, derived_event_id, micros};
pub use registry::{Registry, RegistryConfig};
pub use retention::RetentionConfig;
pub use row::{Kind, OutboxRow, SHARDS, insert_rows, shard_of};
pub use schema::SchemaName;
pub use write::{Outbox, WAKE_UP_CHANNEL};

// For `define_event!`, so that its users need not depend on Avro themselves.
#[doc(hidden)]
pub use apache_avro;

/// Why an event could not be written or a schema not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registry did not answer, or not sensibly; trying again later may help.
    #[error("the schema registry is unavailable: {0}")]
    RegistryUnavailable(String),
    /// The registry answered, and knows no schema of this id.
    #[error("the schema registry knows no schema with id {0}")]
    UnknownSchema(u32),
    /// The registry refuses our schema: it breaks compatibility with what is registered.
    #[error("the schema registry refuses the schema of {subject}: {detail}")]
    Incompatible { subject: String, detail: String },
    /// The bytes are not in Confluent's wire format (magic byte 0 and a 4-byte schema id).
    #[error("not in Confluent's wire format")]
    NotFramed,
    /// The bytes do not follow their schema, or the schema can not be read as ours.
    #[error("Avro: {0}")]
    Avro(String),
    /// Well-formed, but not an event that this consumer reads.
    #[error("an unexpected event: {0}")]
    UnexpectedEvent(String),
    /// A record too large to be published; Kafka would refuse it for ever.
    #[error("the encoded event has {size_bytes} bytes, the limit is {limit_bytes}")]
    TooLarge { size_bytes: usize, limit_bytes: usize },
    #[error("{0:?} can not name an outbox's schema: lower-case letters, digits and underscores, at most 40")]
    InvalidSchemaName(String),
    #[error("[retention]: {0}")]
    Retention(String),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}
