//! Documents with all their events, done at two consumers as in a fleet that has worked for a while.

use docfleet_events::{DocumentDeduplicated, DocumentTextExtracted, DocumentUploaded, DocumentVirusScanned};
use docfleet_outbox::{Draft, EventMeta, Outbox};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

pub const OF_DOCUMENT: u32 = 4;
const DOCUMENTS_AT_ONCE: u32 = 500;

pub async fn write(pool: &PgPool, outbox: &Outbox, documents: u32) -> anyhow::Result<()> {
    let registry = outbox.registry();
    registry.pin::<DocumentUploaded>().await?;
    registry.pin::<DocumentVirusScanned>().await?;
    registry.pin::<DocumentDeduplicated>().await?;
    registry.pin::<DocumentTextExtracted>().await?;
    let mut left = documents;
    while left > 0 {
        let now = left.min(DOCUMENTS_AT_ONCE);
        let mut drafts = Vec::new();
        for _ in 0..now {
            of_document(&mut drafts)?;
        }
        let mut transaction = pool.begin().await?;
        outbox.append(&mut transaction, drafts).await?;
        transaction.commit().await?;
        left -= now;
    }
    for consumer in ["webhook-dispatcher", "projection-builder"] {
        sqlx::query(
            r#"INSERT INTO pipeline.inbox (consumer, event_id, event_day, outcome, topic, partition, "offset")
               SELECT $1, event_id, (created_at AT TIME ZONE 'UTC')::date, 'done', topic, 0, id
                 FROM pipeline.outbox_events WHERE kind = 'event' ORDER BY id"#,
        )
        .bind(consumer)
        .execute(pool)
        .await?;
    }
    sqlx::query("TRUNCATE pipeline.outbox_unpublished").execute(pool).await?;
    sqlx::query("VACUUM (ANALYZE)").execute(pool).await?;
    sqlx::query("CHECKPOINT").execute(pool).await?;
    Ok(())
}

/// From JSON, so that a field that may be absent is.
fn event<E: DeserializeOwned>(value: Value) -> anyhow::Result<E> {
    Ok(serde_json::from_value(value)?)
}

fn of_document(drafts: &mut Vec<Draft>) -> anyhow::Result<()> {
    let document = Uuid::now_v7();
    let blob = json!({ "key": format!("acme/documents/{document}"), "size_bytes": 48_211 });
    let file = json!({ "document_id": document, "file_name": "Kontoauszug 2026-05.pdf", "declared_mime": "application/pdf", "blob": blob });
    let with = |more: Value| {
        let mut all = file.clone();
        if let (Some(all), Value::Object(more)) = (all.as_object_mut(), more) {
            all.extend(more);
        }
        all
    };
    let upload = Draft::first(event::<DocumentUploaded>(file.clone())?, "acme", "eu", None);
    let cause = |id: Uuid| EventMeta {
        event_id: id,
        occurred_at: OffsetDateTime::UNIX_EPOCH,
        aggregate_type: "document".into(),
        aggregate_id: document,
        aggregate_version: 1,
        tenant: "acme".into(),
        region: "eu".into(),
        cause: None,
        traceparent: None,
    };
    let scanned: DocumentVirusScanned =
        event(with(json!({ "verdict": "clean", "engine": "ClamAV 1.4.3", "database": "27800" })))?;
    let scan = Draft::following(scanned, &cause(upload.event_id()), "av-scan", 0, None);
    let unique: DocumentDeduplicated =
        event(with(json!({ "outcome": "unique", "sha256": "e3b0".repeat(16), "mime": "application/pdf" })))?;
    let dedup = Draft::following(unique, &cause(scan.event_id()), "dedup", 0, None);
    let page = json!({ "number": 1, "source": "ocr", "confidence": 91.5, "words": 212 });
    let read: DocumentTextExtracted = event(json!({
        "document_id": document, "outcome": "extracted", "pages": [page], "language": "deu+eng", "confidence": 91.5,
        "text": { "key": format!("acme/texts/{document}.txt"), "size_bytes": 3_660 },
        "excerpt": "Kontoauszug Nr. 5 vom 12.05.2026", "engine": "tesseract 5.3.0",
    }))?;
    let text = Draft::following(read, &cause(dedup.event_id()), "ocr", 0, None);
    drafts.extend([upload, scan, dedup, text]);
    Ok(())
}
