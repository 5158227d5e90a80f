//! The whole fleet as processes on real servers of its own: what a document goes through, and what it survives.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod chaos;
mod corpus;
mod documents_are_true;
mod guarantees;
mod sources;
