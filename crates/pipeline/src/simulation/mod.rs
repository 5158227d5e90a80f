//! The whole promise in one thread and on virtual time: the real core of the consumer, the real decisions about failures
//! and waits, and models of what is around them (brokers, the group's coordinator, the database, relays, a hostile
//! network, processes that are killed or stopped). A seed makes a world; the same seed makes the same world.
//!
//! Every step is checked (`check`); a healed world must come to rest. `bug` plants what others have shipped, to see that
//! the checks find it.

#![allow(clippy::print_stderr, clippy::unwrap_used, clippy::panic)]

mod bug;
mod check;
mod client;
mod coordinator;
mod database;
mod faults;
mod gating;
mod kafka;
mod member;
mod parking;
mod plan;
mod random;
mod relay;
mod seeds;
mod settling;
mod tests;
mod world;
