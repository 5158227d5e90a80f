//! The built binary against the real servers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod audit;
mod blobs;
mod commands;
mod crowd;
mod dlq;
mod dlq_groups;
mod exit_codes;
mod fake_api;
mod fleet;
mod leases;
mod ledger;
mod listen;
mod parked;
mod projections;
mod redrive;
mod redrive_many;
mod redrive_undo;
mod relay;
mod retention;
mod setup;
mod status;
mod submit;
mod topic;
mod trail;
mod worker;
