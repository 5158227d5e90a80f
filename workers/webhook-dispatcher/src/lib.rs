//! Announces what happened to documents to the HTTP endpoints that subscribed, signed after Standard Webhooks.
//!
//! Two halves that share only a table. The handler turns each event into rows of `webhooks.deliveries`, one for each
//! matching subscription, inside the settlement ([`announcement`], [`deliveries::enqueue`]). The [`Dispatcher`] claims
//! due rows, sends them and marks what came of it ([`deliveries::claim`] → [`Courier`] → [`Schedule`] →
//! [`deliveries::mark`]); what it may dial is decided in [`egress`].
//!
//! A delivery goes out at least once, always under the same id and with the same body; more than once only when an
//! attempt failed or what came of it is not known.

pub mod announcement;
mod answer;
mod bulkhead;
mod config;
mod courier;
pub mod deliveries;
mod dispatcher;
pub mod egress;
mod handler;
mod metric;
mod removal;
mod retry_after;
mod schedule;
mod signature;

pub use answer::{Answer, Lost};
pub use config::{ConfigError, WebhooksConfig};
pub use courier::Courier;
pub use dispatcher::Dispatcher;
pub use handler::WebhookDispatcher;
pub use schedule::{Schedule, Step};
pub use signature::{InvalidSecret, SigningKey};
