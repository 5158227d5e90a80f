use docfleet_events::ScanVerdict;
use docfleet_testkit::Database;
use projection_builder::{
    Table, text,
    view::{Fact, apply},
};
use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::facts::{Owned, deduplicated, erased, found_infected, read, scanned, story, uploaded};

async fn applied(pool: &PgPool, facts: &[&Owned]) {
    let mut transaction = pool.begin().await.unwrap();
    let facts: Vec<_> = facts.iter().map(|owned| owned.fact()).collect();
    apply(&mut transaction, Table::LIVE, &facts).await.unwrap();
    transaction.commit().await.unwrap();
}

/// Without the time of the last change.
async fn row(pool: &PgPool, document: Uuid) -> Value {
    let mut transaction = pool.begin().await.unwrap();
    sqlx::query("SET LOCAL TIME ZONE 'UTC'").execute(&mut *transaction).await.unwrap();
    sqlx::query_scalar(
        "SELECT to_jsonb(v) - 'updated_at' - 'document_id' FROM views.document_view v WHERE document_id = $1",
    )
    .bind(document)
    .fetch_one(&mut *transaction)
    .await
    .unwrap()
}

#[tokio::test]
async fn each_stage_writes_its_columns() {
    let (pool, document) = (Database::fresh().await.pool(), Uuid::from_u128(1));
    applied(&pool, &story(document).iter().collect::<Vec<_>>()).await;
    let expected = json!({
        "tenant": "acme", "region": "eu", "version": 4,
        "file_name": "letter.pdf", "size_bytes": 1_234, "blob_key": "acme/contents/x", "declared_mime": "application/pdf",
        "uploaded_at": "1970-01-01T00:01:00+00:00",
        "verdict": "clean", "signature": null, "scan_reason": null, "engine": "ClamAV 1/27500",
        "scanned_at": "1970-01-01T00:02:00+00:00",
        "dedup_outcome": "duplicate", "duplicate_of": Uuid::from_u128(99), "refused_reason": null, "sha256": "ab".repeat(32),
        "mime": "application/pdf", "deduplicated_at": "1970-01-01T00:03:00+00:00",
        "text_outcome": "extracted", "text_reason": null, "page_count": 2, "language": "deu+eng", "confidence": 91.5,
        "pages": [{"number": 1, "source": "ocr", "confidence": 91.5, "words": 120},
                  {"number": 2, "source": "text_layer", "confidence": null, "words": 80}],
        "text_key": "acme/texts/x.txt", "excerpt": "Dear all", "read_at": "1970-01-01T00:04:00+00:00",
        "erased_at": null,
        "text_engine": "tesseract 5", "unread": [{"number": 3, "reason": "too-slow"}], "mrz": "valid",
        "layout_key": "acme/layouts/x.json", "searchable_key": "acme/searchable/x.pdf", "search": null,
    });
    assert_eq!(row(&pool, document).await, expected);
}

#[tokio::test]
async fn a_scan_that_arrives_before_the_upload_waits_for_nothing() {
    let (pool, document) = (Database::fresh().await.pool(), Uuid::from_u128(1));
    applied(&pool, &[&scanned(document, 2, ScanVerdict::Infected)]).await;
    let early = row(&pool, document).await;
    assert_eq!(
        (&early["verdict"], &early["signature"], &early["version"]),
        (&json!("infected"), &json!("Eicar"), &json!(1))
    );
    assert_eq!((&early["file_name"], &early["tenant"]), (&Value::Null, &json!("acme")));
    applied(&pool, &[&uploaded(document, 1, "a.pdf")]).await;
    let whole = row(&pool, document).await;
    assert_eq!(
        (&whole["verdict"], &whole["file_name"], &whole["version"]),
        (&json!("infected"), &json!("a.pdf"), &json!(2))
    );
}

#[tokio::test]
async fn of_an_erased_document_the_row_keeps_ids_only_whatever_comes_late() {
    let pool = Database::fresh().await.pool();
    for place in 0..=4 {
        for together in [true, false] {
            let document = Uuid::now_v7();
            let mut facts = story(document);
            facts.insert(place, erased(document, 5));
            if together {
                applied(&pool, &facts.iter().collect::<Vec<_>>()).await;
            } else {
                for fact in &facts {
                    applied(&pool, &[fact]).await;
                }
            }
            let row = row(&pool, document).await;
            let left: serde_json::Map<String, Value> = row
                .as_object()
                .unwrap()
                .iter()
                .filter(|(_, v)| !v.is_null())
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect();
            let expected =
                json!({"tenant": "acme", "region": "eu", "version": 5, "erased_at": "1970-01-01T00:05:00+00:00"});
            assert_eq!(Value::Object(left), expected, "erased as number {place}, in one batch: {together}");
        }
    }
}

/// As long as texts that are searched are. A parser that needs the square of the length needs hours for each.
#[tokio::test]
async fn a_text_without_blanks_is_indexed_before_the_statement_times_out() {
    let pool = Database::fresh().await.pool();
    let mut transaction = pool.begin().await.unwrap();
    sqlx::query("SET LOCAL statement_timeout = '15s'").execute(&mut *transaction).await.unwrap();
    for unit in
        ["a_", "a-", "a-a.", "a/", "a@", "~a", "-1", "./", "\u{e4}-", "\u{a0}a_", "<a ", "<!-- ", "<a b='", "&#1"]
    {
        let text = unit.repeat(text::SEARCHED_BYTES_MAX as usize / unit.len());
        let owned = read(Uuid::now_v7(), 4, "Dear all");
        apply(&mut transaction, Table::LIVE, &[Fact { text: Some(&text), ..owned.fact() }])
            .await
            .unwrap_or_else(|error| panic!("{unit}: {error}"));
    }
}

/// The events of two documents in any order, cut into batches anywhere.
fn deliveries() -> impl Strategy<Value = (Vec<usize>, Vec<bool>)> {
    (Just((0..8).collect::<Vec<usize>>()).prop_shuffle(), proptest::collection::vec(any::<bool>(), 8))
}

#[tokio::test(flavor = "multi_thread")]
async fn any_order_in_any_batches_gives_the_same_rows() {
    let pool = Database::fresh().await.pool();
    let straight = [Uuid::now_v7(), Uuid::now_v7()];
    for document in straight {
        applied(&pool, &story(document).iter().collect::<Vec<_>>()).await;
    }
    let expected = [row(&pool, straight[0]).await, row(&pool, straight[1]).await];
    let runtime = tokio::runtime::Handle::current();
    let property = move |(order, cuts): (Vec<usize>, Vec<bool>)| {
        let documents = [Uuid::now_v7(), Uuid::now_v7()];
        let events: Vec<Owned> = documents.iter().flat_map(|document| story(*document)).collect();
        let found = runtime.block_on(async {
            let mut batch = Vec::new();
            for (nth, cut) in order.into_iter().zip(cuts) {
                batch.push(&events[nth]);
                if cut {
                    applied(&pool, &std::mem::take(&mut batch)).await;
                }
            }
            applied(&pool, &batch).await;
            [row(&pool, documents[0]).await, row(&pool, documents[1]).await]
        });
        prop_assert_eq!(&found, &expected);
        Ok(())
    };
    let check = move || {
        TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })
            .run(&deliveries(), property)
    };
    tokio::task::spawn_blocking(check).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_older_event_of_a_stage_counts_and_changes_nothing() {
    let pool = Database::fresh().await.pool();
    let (old, new) = (|id| scanned(id, 2, ScanVerdict::Unscannable), |id| scanned(id, 5, ScanVerdict::Clean));
    for document in [Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3)] {
        let (old, new) = (old(document), new(document));
        match document.as_u128() {
            1 => {
                applied(&pool, &[&new]).await;
                applied(&pool, &[&old]).await;
            }
            2 => applied(&pool, &[&new, &old]).await,
            _ => applied(&pool, &[&old, &new]).await,
        }
        let found = row(&pool, document).await;
        assert_eq!((&found["verdict"], &found["version"]), (&json!("clean"), &json!(2)), "{document}");
    }
}

#[tokio::test]
async fn a_later_infection_takes_the_verdict_back_in_whatever_order_the_topics_come() {
    let pool = Database::fresh().await.pool();
    let orders: [&[&[usize]]; 4] = [&[&[0], &[1]], &[&[1], &[0]], &[&[0, 1]], &[&[1, 0]]];
    for (nth, batches) in (1..).zip(orders) {
        let document = Uuid::from_u128(nth);
        let events = [scanned(document, 2, ScanVerdict::Clean), found_infected(document, 5)];
        for batch in batches {
            applied(&pool, &batch.iter().map(|event| &events[*event]).collect::<Vec<_>>()).await;
        }
        let found = row(&pool, document).await;
        assert_eq!((&found["verdict"], &found["signature"]), (&json!("infected"), &json!("Late")), "{batches:?}");
        assert_eq!((&found["engine"], &found["version"]), (&json!("ClamAV 1/27501"), &json!(2)), "{batches:?}");
    }
}

#[tokio::test]
async fn text_with_nul_characters_is_kept_without_them() {
    let (pool, document) = (Database::fresh().await.pool(), Uuid::from_u128(1));
    applied(&pool, &[&uploaded(document, 1, "a\0b.pdf"), &read(document, 4, "\0Dear\0")]).await;
    let found = row(&pool, document).await;
    let event = read(document, 5, "x");
    let fact = Fact { text: Some("Dear\0all"), ..event.fact() };
    let mut transaction = pool.begin().await.unwrap();
    apply(&mut transaction, Table::LIVE, &[fact]).await.unwrap();
    transaction.commit().await.unwrap();
    let words: String =
        sqlx::query_scalar("SELECT search::text FROM views.document_view").fetch_one(&pool).await.unwrap();
    assert!(words.contains("'dear'") && words.contains("'all'"), "{words}");
    assert_eq!((&found["file_name"], &found["excerpt"]), (&json!("a\u{fffd}b.pdf"), &json!("\u{fffd}Dear\u{fffd}")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn settlements_over_the_same_documents_neither_deadlock_nor_lose_a_count() {
    let pool = Database::fresh().await.pool();
    let documents: Vec<Uuid> = (1..=30).map(Uuid::from_u128).collect();
    let workers: Vec<_> = (0..4_usize)
        .map(|stage| {
            let (pool, documents) = (pool.clone(), documents.clone());
            tokio::spawn(async move {
                // Each worker carries other stages in another order of documents.
                for round in 0..10 {
                    let mut events: Vec<Owned> = documents
                        .iter()
                        .enumerate()
                        .map(|(nth, id)| match (nth + stage) % 4 {
                            0 => uploaded(*id, 1, "a.pdf"),
                            1 => scanned(*id, 2, ScanVerdict::Clean),
                            2 => deduplicated(*id, 3),
                            _ => read(*id, 4, "x"),
                        })
                        .collect();
                    events.rotate_left((round * 3 + stage * 7) % 30);
                    applied(&pool, &events.iter().collect::<Vec<_>>()).await;
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    let versions: Vec<i64> =
        sqlx::query_scalar("SELECT version FROM views.document_view").fetch_all(&pool).await.unwrap();
    assert_eq!(versions, vec![40; 30]);
}
