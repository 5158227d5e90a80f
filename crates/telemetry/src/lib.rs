//! What every process of the fleet has in common towards the outside: configuration, JSON logs, traces, metrics and
//! the three health pages.

mod config;
mod health;
mod logs;
mod metric;
mod server;
pub mod trace;

pub use config::{ServiceConfig, Settings, TelemetryConfig};
pub use health::Health;
pub use logs::{Guard, install};
pub use metric::Metrics;
pub use server::serve;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("configuration: {0}")]
    Config(String),
    #[error("listening on {address}: {source}")]
    Listen { address: String, source: std::io::Error },
    #[error("telemetry: {0}")]
    Install(String),
}
