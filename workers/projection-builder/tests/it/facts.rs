use docfleet_events::{
    BlobRef, DedupOutcome, DocumentDeduplicated, DocumentErased, DocumentEvent, DocumentInfectionFound,
    DocumentTextExtracted, DocumentUploaded, DocumentVirusScanned, EventMeta, MrzOutcome, PageText, ScanVerdict,
    TextOutcome, TextSource, UnreadPage,
};
use projection_builder::view::Fact;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

pub struct Owned {
    pub meta: EventMeta,
    pub event: DocumentEvent,
}

impl Owned {
    pub fn fact(&self) -> Fact<'_> {
        Fact { meta: &self.meta, event: &self.event, text: None }
    }
}

pub fn meta(document: Uuid, version: i64) -> EventMeta {
    EventMeta {
        event_id: Uuid::new_v5(&document, &version.to_be_bytes()),
        occurred_at: OffsetDateTime::UNIX_EPOCH + Duration::minutes(version),
        aggregate_type: "document".into(),
        aggregate_id: document,
        aggregate_version: version,
        tenant: "acme".into(),
        region: "eu".into(),
        cause: None,
        traceparent: None,
    }
}

pub fn blob() -> BlobRef {
    BlobRef { key: "acme/contents/x".into(), size_bytes: 1_234 }
}

pub fn uploaded(document: Uuid, version: i64, file_name: &str) -> Owned {
    let (file_name, declared_mime) = (file_name.into(), Some("application/pdf".into()));
    let event = DocumentUploaded {
        document_id: document,
        file_name,
        declared_mime,
        blob: blob(),
        sha256: None,
        searchable_pdf: false,
    };
    Owned { meta: meta(document, version), event: DocumentEvent::Uploaded(event) }
}

pub fn scanned(document: Uuid, version: i64, verdict: ScanVerdict) -> Owned {
    let event = DocumentVirusScanned {
        document_id: document,
        verdict,
        signature: (verdict == ScanVerdict::Infected).then(|| "Eicar".into()),
        reason: None,
        engine: "ClamAV 1".into(),
        database: "27500".into(),
        file_name: "letter.pdf".into(),
        declared_mime: None,
        blob: blob(),
        searchable_pdf: false,
    };
    Owned { meta: meta(document, version), event: DocumentEvent::VirusScanned(event) }
}

pub fn found_infected(document: Uuid, version: i64) -> Owned {
    let event = DocumentInfectionFound {
        document_id: document,
        signature: "Late".into(),
        engine: "ClamAV 1".into(),
        database: "27501".into(),
        clean_by: "27500".into(),
        clean_since: 1,
    };
    Owned { meta: meta(document, version), event: DocumentEvent::InfectionFound(event) }
}

pub fn deduplicated(document: Uuid, version: i64) -> Owned {
    let event = DocumentDeduplicated {
        document_id: document,
        outcome: DedupOutcome::Duplicate,
        duplicate_of: Some(Uuid::from_u128(99)),
        reason: None,
        sha256: "ab".repeat(32),
        mime: "application/pdf".into(),
        file_name: "letter.pdf".into(),
        blob: blob(),
        searchable_pdf: false,
    };
    Owned { meta: meta(document, version), event: DocumentEvent::Deduplicated(event) }
}

pub fn read(document: Uuid, version: i64, excerpt: &str) -> Owned {
    let event = DocumentTextExtracted {
        document_id: document,
        outcome: TextOutcome::Extracted,
        reason: None,
        pages: vec![
            PageText { number: 1, source: TextSource::Ocr, confidence: Some(91.5), words: 120 },
            PageText { number: 2, source: TextSource::TextLayer, confidence: None, words: 80 },
        ],
        language: Some("deu+eng".into()),
        confidence: Some(91.5),
        text: Some(BlobRef { key: "acme/texts/x.txt".into(), size_bytes: 10 }),
        excerpt: Some(excerpt.into()),
        engine: Some("tesseract 5".into()),
        unread: vec![UnreadPage { number: 3, reason: "too-slow".into() }],
        mrz: Some(MrzOutcome::Valid),
        layout: Some(BlobRef { key: "acme/layouts/x.json".into(), size_bytes: 10 }),
        searchable: Some(BlobRef { key: "acme/searchable/x.pdf".into(), size_bytes: 10 }),
    };
    Owned { meta: meta(document, version), event: DocumentEvent::TextExtracted(event) }
}

pub fn erased(document: Uuid, version: i64) -> Owned {
    let meta = meta(document, version);
    let event = DocumentErased {
        document_id: document,
        reason: "request".into(),
        erased_at: meta.occurred_at,
        by: "document-api".into(),
    };
    Owned { meta, event: DocumentEvent::Erased(event) }
}

/// With its text where the text of this document lies.
pub fn read_its_own(document: Uuid, version: i64) -> Owned {
    let mut owned = read(document, version, "Dear all");
    if let DocumentEvent::TextExtracted(event) = &mut owned.event {
        event.text = Some(BlobRef { key: docfleet_blobs::text_key("acme", document), size_bytes: 10 });
    }
    owned
}

/// All four stages of a document.
pub fn story(document: Uuid) -> Vec<Owned> {
    vec![
        uploaded(document, 1, "letter.pdf"),
        scanned(document, 2, ScanVerdict::Clean),
        deduplicated(document, 3),
        read(document, 4, "Dear all"),
    ]
}
