//! The door of the fleet: takes documents in and shows what became of them. The contract is `openapi.yaml`.
//!
//! In the order of a request: `server` (connections, deadlines, drain) → `observe` (request id, trace, metrics, the
//! body of problems) → `router` (the table of routes) → `documents` and `webhooks` (what is asked for) → [`App`]
//! (what they work with).
//!
//! The promise of `POST /v1/documents`: the client gets `201` only after one transaction has committed the document's
//! row, its idempotency key and its first event, and after the bytes were stored durably. Whatever fails before leaves
//! at most bytes behind that no document has.

mod app;
mod config;
mod database;
mod documents;
mod idempotency;
mod json;
pub mod metric;
mod observe;
mod openapi;
mod page;
mod problem;
mod relay_bell;
mod request_id;
mod router;
mod run;
mod server;
mod tenant;
mod webhooks;
mod write_timeout;

pub use app::App;
pub use config::ApiConfig;
pub use problem::Kind as ProblemKind;
pub use router::routes;
pub use run::{run, serve};

/// This process in the audit trail.
pub(crate) const ACTOR: &str = "document-api";

/// Why the process can not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Telemetry(#[from] docfleet_telemetry::Error),
    #[error(transparent)]
    Blobs(#[from] docfleet_blobs::Error),
    #[error(transparent)]
    Outbox(#[from] docfleet_outbox::Error),
    /// Without the parser's text, which could repeat the password.
    #[error("[postgres].url is not a PostgreSQL URL")]
    PostgresUrl,
    #[error("{0}")]
    Config(&'static str),
    #[error("listening on {address}: {source}")]
    Listen { address: String, source: std::io::Error },
    #[error("signals: {0}")]
    Signals(#[source] std::io::Error),
    #[error("the shutdown's deadline passed while requests were still running")]
    CutOff,
}
