//! What subscribers are told of an event: ids, verdicts and a link. No file name, no text: who may see these asks the
//! API.

use docfleet_events::{DedupOutcome, DocumentEvent, EventMeta, MrzOutcome, ScanVerdict, TextOutcome};
use serde::Serialize;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

/// An event as it is announced, to whoever subscribed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    pub event_id: Uuid,
    pub tenant: String,
    pub region: String,
    pub document_id: Uuid,
    /// Such as `document.uploaded`.
    pub event_type: &'static str,
    /// JSON, made once: what is signed and sent at every attempt.
    pub body: String,
    pub traceparent: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum Unspeakable {
    #[error("the time of the event: {0}")]
    Time(#[from] time::error::Format),
    #[error("the body: {0}")]
    Json(#[from] serde_json::Error),
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'static str,
    timestamp: String,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    document_id: Uuid,
    version: i64,
    #[serde(flatten)]
    facts: Facts<'a>,
    links: Links,
}

#[derive(Serialize)]
struct Links {
    /// Relative to the API.
    document: String,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Facts<'a> {
    Uploaded {},
    Scanned {
        verdict: ScanVerdict,
        signature: Option<&'a str>,
        reason: Option<&'a str>,
    },
    InfectionFound {
        signature: &'a str,
    },
    Erased {
        reason: &'a str,
    },
    Deduplicated {
        outcome: DedupOutcome,
        duplicate_of: Option<Uuid>,
        reason: Option<&'a str>,
        mime: &'a str,
    },
    Read {
        outcome: TextOutcome,
        reason: Option<&'a str>,
        page_count: usize,
        language: Option<&'a str>,
        confidence: Option<f64>,
        mrz: Option<MrzOutcome>,
    },
}

impl Announcement {
    /// `traceparent` is what the endpoint's trace continues.
    pub fn of(meta: &EventMeta, event: &DocumentEvent, traceparent: Option<String>) -> Result<Self, Unspeakable> {
        let (event_type, facts) = facts_of(event);
        let document_id = event.document_id();
        let links = Links { document: format!("/v1/documents/{document_id}") };
        let data = Data { document_id, version: meta.aggregate_version, facts, links };
        let body = Body { r#type: event_type, timestamp: meta.occurred_at.format(&Rfc3339)?, data };
        Ok(Self {
            event_id: meta.event_id,
            tenant: meta.tenant.clone(),
            region: meta.region.clone(),
            document_id,
            event_type,
            body: serde_json::to_string(&body)?,
            traceparent,
        })
    }
}

fn facts_of(event: &DocumentEvent) -> (&'static str, Facts<'_>) {
    match event {
        DocumentEvent::Uploaded(_) => ("document.uploaded", Facts::Uploaded {}),
        DocumentEvent::VirusScanned(e) => (
            "document.virus_scanned",
            Facts::Scanned { verdict: e.verdict, signature: e.signature.as_deref(), reason: e.reason.as_deref() },
        ),
        DocumentEvent::InfectionFound(e) => {
            ("document.infection_found", Facts::InfectionFound { signature: &e.signature })
        }
        DocumentEvent::Deduplicated(e) => (
            "document.deduplicated",
            Facts::Deduplicated {
                outcome: e.outcome,
                duplicate_of: e.duplicate_of,
                reason: e.reason.as_deref(),
                mime: &e.mime,
            },
        ),
        DocumentEvent::Erased(e) => ("document.erased", Facts::Erased { reason: &e.reason }),
        DocumentEvent::TextExtracted(e) => (
            "document.text_extracted",
            Facts::Read {
                outcome: e.outcome,
                reason: e.reason.as_deref(),
                page_count: e.pages.len(),
                language: e.language.as_deref(),
                confidence: e.confidence,
                mrz: e.mrz,
            },
        ),
    }
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests;
