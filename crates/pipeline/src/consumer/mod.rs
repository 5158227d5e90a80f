//! From records to a committed frontier. `ledger`, `budget`, `lanes` and `waiting` are pure; `driver` is the loop that
//! owns them and the only place where they meet.

pub mod budget;
mod driver;
mod in_flight;
pub mod lanes;
pub mod ledger;
mod partition;
mod presence;
mod progress;
mod waiting;
mod watchdog;

pub(crate) use driver::Driver;
pub(crate) use in_flight::InFlight;
#[cfg(test)]
pub(crate) use in_flight::{Lane, Ticket};
pub(crate) use presence::announce;
pub(crate) use progress::Progress;
pub(crate) use watchdog::watch;
