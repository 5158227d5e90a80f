//! Streams each uploaded document through ClamAV and says what came of it. It fails closed: only the literal clean
//! answer of an engine that has just shown that it sees is `clean`.
//!
//! In the order of the flow: [`AvScan`] (the handler) → [`Engine`] (an engine that has proved itself) → [`Clamd`] (the
//! protocol) → [`reply`] (what an answer means) → [`archive`] (where a clean answer proves nothing).

pub mod archive;
mod clamd;
mod config;
mod engine;
#[cfg(test)]
mod fuzz;
mod handler;
mod metric;
pub mod reply;

pub use clamd::{Clamd, Error, Version};
pub use config::{Address, ClamdConfig};
pub use engine::Engine;
pub use handler::{AvScan, Finding};
