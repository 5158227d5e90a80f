//! The built binary against the real servers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod audit;
mod dlq;
mod exit_codes;
mod fake_api;
mod fleet;
mod leases;
mod ledger;
mod listen;
mod projections;
mod setup;
mod status;
mod submit;
mod topic;
