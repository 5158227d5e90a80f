//! Reads documents: the text layer of a PDF where it is good, OCR for the rest.
//!
//! In the order of the flow: [`Ocr`] (the handler: blob in, text and event out) → [`engine`] (children in a pool, a wall
//! clock over each question) → `protocol` (frames on their standard streams) → [`child`] (the same binary under limits;
//! the only place where foreign bytes are parsed) → [`reading`] (what came out, as an event).

pub mod child;
mod config;
pub mod engine;
mod handler;
mod kind;
mod language;
pub mod layout;
mod metric;
pub mod protocol;
pub mod reading;
mod unreadable;

pub use config::OcrConfig;
pub use engine::CHILD_ARGUMENT;
pub use handler::{Finding, Ocr};
pub use kind::Kind;
pub use unreadable::Unreadable;
