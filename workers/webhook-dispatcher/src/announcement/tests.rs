use docfleet_events::{
    BlobRef, DocumentDeduplicated, DocumentErased, DocumentInfectionFound, DocumentTextExtracted, DocumentUploaded,
    DocumentVirusScanned, MrzOutcome, PageText, TextSource,
};
use time::macros::datetime;

use super::*;

/// Personal data, planted wherever an event has room for it.
const CANARY: &str = "passport-of-erika-mustermann.png";
const DOCUMENT: Uuid = Uuid::from_u128(0xd0c);

fn meta() -> EventMeta {
    EventMeta {
        event_id: Uuid::from_u128(7),
        occurred_at: datetime!(2025-03-01 12:30:00.25 UTC),
        aggregate_type: "document".to_owned(),
        aggregate_id: DOCUMENT,
        aggregate_version: 3,
        tenant: "acme".to_owned(),
        region: "eu".to_owned(),
        cause: None,
        traceparent: None,
    }
}

fn blob() -> BlobRef {
    BlobRef { key: CANARY.to_owned(), size_bytes: 1 }
}

fn all() -> [DocumentEvent; 6] {
    let name = || CANARY.to_owned();
    [
        DocumentEvent::Uploaded(DocumentUploaded {
            document_id: DOCUMENT,
            file_name: name(),
            declared_mime: Some("image/png".to_owned()),
            blob: blob(),
            searchable_pdf: false,
            sha256: Some(CANARY.to_owned()),
        }),
        DocumentEvent::VirusScanned(DocumentVirusScanned {
            document_id: DOCUMENT,
            verdict: ScanVerdict::Infected,
            signature: Some("Eicar-Test".to_owned()),
            reason: None,
            engine: "ClamAV".to_owned(),
            database: "1".to_owned(),
            file_name: name(),
            declared_mime: None,
            blob: blob(),
            searchable_pdf: false,
        }),
        DocumentEvent::Deduplicated(DocumentDeduplicated {
            document_id: DOCUMENT,
            outcome: DedupOutcome::Duplicate,
            duplicate_of: Some(Uuid::from_u128(0xf1)),
            reason: None,
            sha256: "00".repeat(32),
            mime: "image/png".to_owned(),
            file_name: name(),
            blob: blob(),
            searchable_pdf: false,
        }),
        DocumentEvent::TextExtracted(DocumentTextExtracted {
            document_id: DOCUMENT,
            outcome: TextOutcome::Extracted,
            reason: None,
            pages: vec![PageText { number: 1, source: TextSource::Ocr, confidence: Some(91.5), words: 4 }],
            language: Some("deu".to_owned()),
            confidence: Some(91.5),
            text: Some(blob()),
            excerpt: Some(name()),
            engine: None,
            unread: vec![],
            mrz: Some(MrzOutcome::Valid),
            layout: Some(blob()),
            searchable: Some(blob()),
        }),
        DocumentEvent::InfectionFound(DocumentInfectionFound {
            document_id: DOCUMENT,
            signature: "Late-Find".to_owned(),
            engine: "ClamAV".to_owned(),
            database: "2".to_owned(),
            clean_by: "1".to_owned(),
            clean_since: 1,
        }),
        DocumentEvent::Erased(DocumentErased {
            document_id: DOCUMENT,
            reason: "gdpr-request".to_owned(),
            erased_at: meta().occurred_at,
            by: "mustermann".to_owned(),
        }),
    ]
}

#[test]
fn bodies_are_frozen_byte_for_byte() {
    let bodies = all().map(|event| Announcement::of(&meta(), &event, None).expect("plain").body);
    let id = DOCUMENT;
    let frame = |kind: &str, facts: &str| {
        format!(
            r#"{{"type":"{kind}","timestamp":"2025-03-01T12:30:00.25Z","data":{{"document_id":"{id}","version":3,{facts}"links":{{"document":"/v1/documents/{id}"}}}}}}"#
        )
    };
    assert_eq!(bodies[0], frame("document.uploaded", ""));
    assert_eq!(
        bodies[1],
        frame("document.virus_scanned", r#""verdict":"infected","signature":"Eicar-Test","reason":null,"#)
    );
    let first = r#""outcome":"duplicate","duplicate_of":"00000000-0000-0000-0000-0000000000f1","reason":null,"mime":"image/png","#;
    assert_eq!(bodies[2], frame("document.deduplicated", first));
    let read =
        r#""outcome":"extracted","reason":null,"page_count":1,"language":"deu","confidence":91.5,"mrz":"valid","#;
    assert_eq!(bodies[3], frame("document.text_extracted", read));
    assert_eq!(bodies[4], frame("document.infection_found", r#""signature":"Late-Find","#));
    assert_eq!(bodies[5], frame("document.erased", r#""reason":"gdpr-request","#));
}

#[test]
fn no_name_no_text_and_no_place_of_the_bytes_is_announced() {
    for event in all() {
        let announced = Announcement::of(&meta(), &event, None).expect("plain");
        assert!(!announced.body.contains("mustermann"), "{}", announced.body);
        assert!(!announced.body.contains("sha256"));
    }
}
