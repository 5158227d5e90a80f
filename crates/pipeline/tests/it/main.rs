//! The runtime on the real PostgreSQL, Kafka and registry that `./dev test` starts.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bad_messages;
mod collisions;
mod commands;
mod consuming;
mod failures;
mod gate;
mod harness;
mod mock_cluster;
mod parking;
#[cfg(feature = "planted-bugs")]
mod planted;
mod relaying;
mod replaying;
mod taken_back;
