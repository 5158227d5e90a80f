//! The built binary against the real servers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod audit;
mod commands;
mod dlq;
mod exit_codes;
mod fake_api;
mod fleet;
mod ledger;
mod listen;
mod relay;
mod retention;
mod setup;
mod status;
mod submit;
mod topic;
