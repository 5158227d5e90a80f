//! The view on a real PostgreSQL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod facts;
mod outbox;
mod rebuild;
mod view;
