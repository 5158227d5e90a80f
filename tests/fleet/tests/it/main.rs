//! The whole fleet as processes on real servers of its own: what a document goes through, and what it survives.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod chaos;
mod documents;
mod documents_are_true;
mod fleet;
mod guarantees;
mod process;
mod receiver;
mod servers;
mod sources;
