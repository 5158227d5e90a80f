//! The runtime of a worker: it knows Kafka, Avro and the settlement in PostgreSQL, and no business event.
//!
//! In the order of the flow:
//! [`broker`] (records in, commands out) → `consumer` (ledger, budget, lanes, the driver's loop) → `process` (decode,
//! work, retry in the lane) → `settle` (the one decision, the one transaction) → back to the driver, which commits the
//! contiguous frontier. Beside it: `parked`, which brings the waiting keys of ordered consumers on, [`relay`], which carries the outbox to Kafka, and [`run`], which wires it all.

pub mod broker;
mod clock;
mod config;
pub mod consumer;
mod database;
mod failure;
mod fate;
pub mod gate;
mod handler;
pub mod header;
mod housekeeping;
mod message;
pub mod metric;
mod parked;
#[cfg(feature = "planted-bugs")]
pub mod planted;
#[cfg(not(feature = "planted-bugs"))]
mod planted;
mod policy;
mod process;
pub mod relay;
mod replay;
mod run;
mod settle;
mod setup;
#[cfg(test)]
mod simulation;

pub use config::{ConsumerConfig, KafkaConfig, ParkedConfig, PostgresConfig, RetryConfig};
pub use docfleet_outbox::{Draft, Event, EventMeta, Input};
pub use failure::{Class, Classify, Failure, Outcome, Recorded, of_database};
pub use handler::{Handler, WorkContext, Worked};
pub use message::{Message, Record};
pub use policy::{Again, Away, Exhausted, Incoherent, Poisoned, Policy, Tier};
pub use run::{consume, run, run_relay};
pub use settle::Settlement;
pub use setup::Setup;
