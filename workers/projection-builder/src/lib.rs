//! Builds the query side: one row of `views.document_view` per document, from all of its events.
//!
//! In the order of the flow: [`ProjectionBuilder`] (the handler) → [`view`] (the row, and who owns which column). Beside it
//! [`rebuild`]: the same view once more, from the outbox, to compare or to take its place.

mod handler;
pub mod rebuild;
mod stage;
mod table;
pub mod text;
pub mod view;

pub use handler::ProjectionBuilder;
pub use table::Table;
