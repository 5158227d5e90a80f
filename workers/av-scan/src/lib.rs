//! Streams each uploaded document through ClamAV and says what came of it. It fails closed: only the literal clean
//! answer of an engine that has just shown that it sees, and whose signatures are fresh, is `clean`.
//!
//! In the order of the flow: [`AvScan`] (the handler) → [`Scanner`] (one document, two engines at most) → [`Engines`]
//! (which host) → [`Engine`] (one that has proved itself) → [`Clamd`] (the protocol) → [`reply`] (what an answer means) →
//! [`archive`] (where a clean answer proves nothing). Beside it [`Rescan`] gives clean verdicts anew.

pub mod archive;
mod clamd;
mod config;
mod engine;
mod engines;
mod failing;
mod handler;
mod metric;
pub mod reply;
mod rescan;
mod scan;
mod scans;
mod version;

pub use clamd::{Clamd, Error};
pub use config::{Address, AgeLimit, ClamdConfig};
pub use engine::Engine;
pub use engines::{Engines, Purpose};
pub use handler::AvScan;
pub use rescan::Rescan;
pub use scan::{Finding, Scanner};
pub use version::{Stale, Version};
