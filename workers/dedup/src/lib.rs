//! Says of each clean document what it is, and whether its tenant has it already.
//!
//! In the order of the flow: [`Dedup`] (the handler) → [`identify`] (one pass over the bytes: SHA-256 and [`sniff`]) →
//! [`claim`] (does the type keep what name and sender promise?) → [`contents`] (the first document of a content, decided
//! by PostgreSQL) → [`Cache`] (what Redis remembers of it, believed by nobody).

mod cache;
pub mod claim;
pub mod contents;
#[cfg(test)]
mod fuzz;
mod handler;
pub mod identify;
mod metric;
pub mod sniff;

pub use cache::{Cache, Lookup, RedisConfig};
pub use handler::{Dedup, Finding};
