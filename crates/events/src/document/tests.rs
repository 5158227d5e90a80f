#![allow(clippy::unwrap_used)]
use docfleet_outbox::{Event, EventMeta, codec};
use time::OffsetDateTime;

use super::*;

fn meta() -> EventMeta {
    EventMeta {
        event_id: Uuid::from_u128(7),
        occurred_at: OffsetDateTime::from_unix_timestamp_nanos(1_700_000_000_123_456_000).unwrap(),
        aggregate_type: "document".into(),
        aggregate_id: Uuid::from_u128(9),
        aggregate_version: 3,
        tenant: "acme".into(),
        region: "eu".into(),
        cause: Some(Uuid::from_u128(8)),
        traceparent: None,
    }
}

fn round_trips<E: Event + PartialEq + std::fmt::Debug>(event: E) {
    let bytes = codec::encode(42, &meta(), &event).unwrap();
    let (id, datum) = codec::unframe(&bytes).unwrap();
    assert_eq!(id, 42);
    assert_eq!(codec::decode::<E>(E::schema(), datum).unwrap(), (meta(), event));
}

fn blob() -> BlobRef {
    BlobRef { key: "a/b".into(), size_bytes: 12 }
}

fn uploaded() -> DocumentUploaded {
    DocumentUploaded {
        document_id: Uuid::from_u128(9),
        file_name: "ä.pdf".into(),
        declared_mime: None,
        blob: blob(),
        searchable_pdf: true,
        sha256: Some("00".into()),
    }
}

#[test]
fn every_event_survives_its_schema() {
    round_trips(uploaded());
    round_trips(DocumentErased {
        document_id: Uuid::from_u128(9),
        reason: "request".into(),
        erased_at: meta().occurred_at,
        by: "document-api".into(),
    });
    for verdict in [ScanVerdict::Clean, ScanVerdict::Infected, ScanVerdict::Unscannable] {
        round_trips(DocumentVirusScanned {
            document_id: Uuid::from_u128(9),
            verdict,
            signature: Some("Eicar".into()),
            reason: None,
            engine: "1".into(),
            database: "2".into(),
            file_name: "x".into(),
            declared_mime: Some("application/pdf".into()),
            blob: blob(),
            searchable_pdf: true,
        });
    }
    for outcome in [DedupOutcome::Unique, DedupOutcome::Duplicate, DedupOutcome::Refused] {
        round_trips(DocumentDeduplicated {
            document_id: Uuid::from_u128(9),
            outcome,
            duplicate_of: Some(Uuid::from_u128(1)),
            reason: Some("type-mismatch".into()),
            sha256: "00".into(),
            mime: "image/png".into(),
            file_name: "x".into(),
            blob: blob(),
            searchable_pdf: true,
        });
    }
    for (outcome, source, mrz) in [
        (TextOutcome::Extracted, TextSource::Ocr, MrzOutcome::Valid),
        (TextOutcome::Extracted, TextSource::Ocr, MrzOutcome::Invalid),
        (TextOutcome::Unreadable, TextSource::TextLayer, MrzOutcome::Absent),
    ] {
        round_trips(DocumentTextExtracted {
            document_id: Uuid::from_u128(9),
            outcome,
            reason: None,
            pages: vec![PageText { number: 1, source, confidence: Some(91.5), words: 4 }],
            language: Some("eng".into()),
            confidence: None,
            text: Some(blob()),
            excerpt: Some("first words".into()),
            engine: None,
            unread: vec![UnreadPage { number: 2, reason: "too-slow".into() }],
            mrz: Some(mrz),
            layout: Some(blob()),
            searchable: None,
        });
    }
    round_trips(DocumentInfectionFound {
        document_id: Uuid::from_u128(9),
        signature: "Eicar".into(),
        engine: "1".into(),
        database: "3".into(),
        clean_by: "2".into(),
        clean_since: 1_700_000_000_123_456,
    });
}

#[test]
fn truncated_and_padded_datums_are_refused() {
    let bytes = codec::encode(1, &meta(), &uploaded()).unwrap();
    let (_, datum) = codec::unframe(&bytes).unwrap();
    for end in 0..datum.len() {
        assert!(codec::decode::<DocumentUploaded>(DocumentUploaded::schema(), &datum[..end]).is_err(), "cut at {end}");
    }
    let mut padded = datum.to_vec();
    padded.push(0);
    assert!(codec::decode::<DocumentUploaded>(DocumentUploaded::schema(), &padded).is_err());
    assert!(codec::unframe(&[]).is_err());
    assert!(codec::unframe(&[1, 0, 0, 0, 1, 2]).is_err());
}

#[test]
fn a_newer_writer_that_added_a_field_with_a_default_is_read() {
    let newer = DocumentUploaded::AVSC.replace(
        r#""name": "file_name","#,
        r#""name": "colour", "type": ["null", "string"], "default": null},
           {"name": "file_name","#,
    );
    let newer = apache_avro::Schema::parse_str(&newer).unwrap();
    let bytes = codec::encode(1, &meta(), &uploaded()).unwrap();
    let mut value = apache_avro::reader::datum::GenericDatumReader::builder(DocumentUploaded::schema())
        .build()
        .unwrap()
        .read_value(&mut &bytes[5..])
        .unwrap();
    value = value.resolve(&newer).unwrap();
    let written = apache_avro::writer::datum::GenericDatumWriter::builder(&newer).build().unwrap();
    let datum = written.write_value_to_vec(value).unwrap();
    assert_eq!(codec::decode::<DocumentUploaded>(&newer, &datum).unwrap(), (meta(), uploaded()));
}

proptest::proptest! {
    /// Whatever stands on a topic: an error, never a panic and never a large allocation.
    #[test]
    fn hostile_bytes_are_an_error(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400), cut in 0_usize..400) {
        for schema in [DocumentUploaded::schema(), DocumentTextExtracted::schema()] {
            DocumentEvent::decode(schema, &bytes).ok();
        }
        let mut good = codec::encode(1, &meta(), &uploaded()).unwrap().split_off(5);
        let changed = cut.min(good.len() - 1);
        good.splice(changed.., bytes);
        DocumentEvent::decode(DocumentUploaded::schema(), &good).ok();
    }
}
