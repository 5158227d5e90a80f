//! Reads documents: the text layer of a PDF where it is good, OCR for the rest.
//!
//! In the order of the flow: [`Ocr`] (the handler: blob in, text and event out) → [`engine`] (children in a pool, a wall
//! clock over each question) → `protocol` (frames on their standard streams) → [`child`] (the same binary in a jail;
//! the only place where foreign bytes are parsed) → [`reading`] (what came out, as an event).

pub mod child;
mod config;
pub mod engine;
#[cfg(test)]
mod fuzz;
mod handler;
mod kind;
mod language;
mod metric;
pub mod protocol;
pub mod reading;
pub mod searchable;
mod store;
mod unreadable;
pub mod zone;

pub use config::{OcrConfig, Strictness};
pub use docfleet_layout as layout;
pub use engine::CHILD_ARGUMENT;
pub use handler::{Finding, Ocr};
pub use kind::Kind;
pub use unreadable::Unreadable;
