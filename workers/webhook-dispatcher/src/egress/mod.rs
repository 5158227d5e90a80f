//! What the dispatcher may dial. Subscribers choose the URLs, so each is an attempt to reach inside until shown
//! otherwise.
//!
//! The address is checked where it is dialled: names in [`GuardedResolver`], whose answer is what the connector uses, so
//! that a name which changes its mind between check and dial gains nothing; literal addresses, which never reach a
//! resolver, in [`Rules::check`] before every attempt.

mod address;
mod resolver;
mod target;

pub use address::is_public;
pub use resolver::{GuardedResolver, Lookup, NotPublic, system_lookup};
pub use target::{Refusal, Rules};
