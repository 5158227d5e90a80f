//! The table `webhooks.deliveries`: how rows come into it, are claimed and marked. Plain functions over a connection.

mod backlog;
mod claim;
mod enqueue;
mod mark;

pub use backlog::{Backlog, backlog};
pub use claim::{Claimed, Room, claim};
pub use enqueue::{delivery_id, enqueue};
pub use mark::mark;
