//! The table `webhooks.deliveries`: how rows come into it, are claimed and marked. Plain functions over a connection.

mod backlog;
mod claim;
mod enqueue;
mod mark;
mod remove;

pub use backlog::{Backlog, backlog};
pub use claim::{Claimed, Room, claim};
pub use enqueue::{delivery_id, enqueue};
pub use mark::mark;
pub use remove::{deleted_subscriptions, remove_deliveries, remove_subscription};
