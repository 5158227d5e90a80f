//! The two halves against the real PostgreSQL and receivers on loopback, kind ones and hostile ones.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod delivery;
mod endpoint;
mod enqueue;
mod fairness;
mod hostile;
mod lease;
mod removal;
mod rig;
