//! The whole fleet as processes on servers of its own, and everything that can go wrong with it. The short rotation is
//! `tests/it/chaos.rs`; all faults one by one are the program `fleet-chaos`, by `./dev chaos`.
//!
//! [`rig`] (fleet, links and load) ← [`fault`] (what a nemesis is) ← [`faults`] (one file a family) ← [`run`] (inject,
//! hold, heal, check) → [`record`] (what came out).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

pub mod checks;
pub mod corpus;
pub mod documents;
pub mod fault;
pub mod faults;
pub mod fleet;
pub mod links;
pub mod load;
pub mod process;
pub mod receiver;
pub mod record;
pub mod rig;
pub mod run;
pub mod servers;
