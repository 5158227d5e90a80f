//! The facts of the document flow. Each type is the `data` record of a schema in `schemas/`, checked by a test.

pub mod deletion;
mod document;
pub mod erasure;
pub mod trail;

pub use docfleet_outbox::{Event, EventMeta};
pub use document::{
    BlobRef, DedupOutcome, DocumentDeduplicated, DocumentErased, DocumentEvent, DocumentInfectionFound,
    DocumentTextExtracted, DocumentUploaded, DocumentVirusScanned, MrzOutcome, PageText, ScanVerdict, TextOutcome,
    TextSource, UnreadPage,
};
