//! The outbox on a real PostgreSQL, in the fleet's schema and in others.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod registry;
mod retention;
mod writing;
