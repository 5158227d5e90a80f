//! Builds the query side: one row of `views.document_view` per document, from all of its events.
//!
//! In the order of the flow: [`ProjectionBuilder`] (the handler) → [`view`] (the row, and who owns which column).

mod handler;
mod stage;
pub mod view;

pub use handler::ProjectionBuilder;
