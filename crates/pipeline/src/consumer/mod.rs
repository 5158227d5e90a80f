//! From records to a committed frontier. `core` takes every decision and does nothing; `ledger`, `budget`, `lanes` and
//! `partition` are its parts. `driver` is the loop around it, between the broker and those who work.

pub mod budget;
pub(crate) mod core;
mod driver;
mod in_flight;
pub mod lanes;
pub mod ledger;
mod partition;
mod presence;
mod progress;
mod watchdog;

pub(crate) use driver::Driver;
#[cfg(test)]
pub(crate) use in_flight::{Done, Ticket};
pub(crate) use in_flight::{Hold, InFlight};
pub(crate) use presence::announce;
pub(crate) use progress::Progress;
pub(crate) use watchdog::watch;
