//! Documents that go, and what must not come back.

use docfleet_blobs::{layout_key, mrz_key, searchable_key, text_key};
use docfleet_testkit::eventually;
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    bucket::Bucket,
    form,
    service::{Answer, Service, content_key, send},
};

async fn erase(service: &Service, document: Uuid) -> Answer {
    send(service.request(Method::DELETE, &format!("/v1/documents/{document}"))).await
}

fn put_derived(service: &Service, document: Uuid) {
    for key in [text_key, layout_key, searchable_key, mrz_key] {
        service.put_blob(&key("default", document), b"what was read");
    }
}

async fn no_bytes_left(service: &Service) {
    eventually("all bytes are gone", 20, async || service.blobs().is_empty().then_some(())).await;
}

async fn trail(service: &Service, document: Uuid) -> Vec<(String, String, Value)> {
    sqlx::query_as("SELECT action, actor, detail FROM documents.audit_trail WHERE document_id = $1 ORDER BY id")
        .bind(document)
        .fetch_all(&service.pool)
        .await
        .unwrap()
}

/// Whether a settlement may still speak of the document.
async fn is_erased(service: &Service, document: Uuid) -> bool {
    let erased: Vec<Uuid> = sqlx::query_scalar("SELECT documents.erased_of(ARRAY[$1])")
        .bind(document)
        .fetch_all(&service.pool)
        .await
        .unwrap();
    erased == [document]
}

#[tokio::test]
async fn an_erased_document_is_gone_everywhere_and_says_so() {
    let service = Service::start().await;
    let document = service.accepted("Max Mustermann.pdf", b"secret").await;
    put_derived(&service, document);
    assert_eq!(erase(&service, document).await.status, 204);
    for path in ["", "/content", "/text"] {
        service.get(&format!("/v1/documents/{document}{path}")).await.problem(410, "erased");
    }
    assert_eq!(service.get("/v1/documents").await.json()["total"], 0);
    no_bytes_left(&service).await;
    let event: (String, i64, String) = sqlx::query_as(
        "SELECT event_type, aggregate_version, topic FROM pipeline.outbox_events WHERE aggregate_id = $1 ORDER BY id DESC LIMIT 1",
    )
    .bind(document)
    .fetch_one(&service.pool)
    .await
    .unwrap();
    assert_eq!(event, ("DocumentErased".into(), 2, "it.documents.erased.v1".into()));
    // The content's line is written after its bytes are gone.
    let trail = eventually("the trail is whole", 10, async || {
        Some(trail(&service, document).await).filter(|trail| trail.len() == 3)
    })
    .await;
    assert_eq!((trail[1].0.as_str(), trail[1].1.as_str()), ("erased", "document-api"));
    assert_eq!((trail[1].2["reason"].clone(), trail[1].2["size_bytes"].clone()), (json!("request"), json!(6)));
    assert_eq!(trail[2].0, "content-erased");
    assert!(!format!("{trail:?}").contains("Mustermann"), "{trail:?}");
}

#[tokio::test]
async fn erasing_again_is_harmless_and_of_another_tenant_or_nobody_it_is_not_found() {
    let service = Service::start().await;
    let document = service.accepted("a.pdf", b"mine").await;
    let path = format!("/v1/documents/{document}");
    let foreign = send(service.request(Method::DELETE, &path).header("x-tenant-id", "other")).await;
    foreign.problem(404, "not-found");
    assert_eq!(service.get(&path).await.status, 200);
    let answers = join_all((0..6).map(|_| erase(&service, document))).await;
    assert!(answers.iter().all(|answer| answer.status == 204), "{answers:?}");
    assert_eq!(service.count("documents.erasures").await, 1);
    assert_eq!(service.count("pipeline.outbox_events").await, 2, "the upload and one erasure");
    send(service.request(Method::GET, &path).header("x-tenant-id", "other")).await.problem(404, "not-found");
    erase(&service, Uuid::now_v7()).await.problem(404, "not-found");
}

#[tokio::test]
async fn a_content_lives_as_long_as_one_document_has_it() {
    let service = Service::start().await;
    let (first, second) = (service.accepted("a.pdf", b"shared").await, service.accepted("b.pdf", b"shared").await);
    assert_eq!(erase(&service, first).await.status, 204);
    eventually("the first erasure is through", 20, async || {
        let gone: bool = sqlx::query_scalar("SELECT bytes_gone_at IS NOT NULL FROM documents.erasures")
            .fetch_one(&service.pool)
            .await
            .unwrap();
        gone.then_some(())
    })
    .await;
    assert_eq!(service.content(b"shared"), b"shared");
    assert_eq!(erase(&service, second).await.status, 204);
    no_bytes_left(&service).await;
    let third = service.accepted("c.pdf", b"shared").await;
    assert_eq!(service.content(b"shared"), b"shared", "{third} has its own");
}

#[tokio::test]
async fn a_legal_hold_keeps_a_document() {
    let service = Service::start().await;
    let document = service.accepted("a.pdf", b"evidence").await;
    service.sql("INSERT INTO documents.legal_holds VALUES ($1, '7 O 12/26', 'alice')", document).await;
    erase(&service, document).await.problem(409, "legal-hold");
    assert_eq!(service.get(&format!("/v1/documents/{document}")).await.status, 200);
    service.sql("DELETE FROM documents.legal_holds WHERE document_id = $1", document).await;
    assert_eq!(erase(&service, document).await.status, 204);
}

#[tokio::test]
async fn the_key_of_an_erased_document_does_not_bring_it_back() {
    let service = Service::start().await;
    let upload = || send(service.form(form::file("a.pdf", b"once")).header("idempotency-key", "k"));
    let document = upload().await.id();
    erase(&service, document).await;
    upload().await.problem(410, "erased");
    assert_eq!(service.count("documents.documents").await, 0);
}

#[tokio::test]
async fn what_is_stored_late_is_looked_for_once_more() {
    let service = Service::start().await;
    let document = service.accepted("a.pdf", b"slow to read").await;
    assert!(!is_erased(&service, document).await);
    erase(&service, document).await;
    no_bytes_left(&service).await;
    // A reader that was at work stores its text, and asks before it speaks.
    put_derived(&service, document);
    assert!(is_erased(&service, document).await);
    no_bytes_left(&service).await;
    // Until nobody looks: what is put beneath a look could be taken for what it finds.
    eventually("the look is over", 20, async || {
        let rests: bool =
            sqlx::query_scalar("SELECT next_try_at > now() + interval '20 minutes' FROM documents.erasures")
                .fetch_one(&service.pool)
                .await
                .unwrap();
        rests.then_some(())
    })
    .await;
    // One that died in between asks nobody: the second look finds it, when its time has come.
    put_derived(&service, document);
    service
        .sql("UPDATE documents.erasures SET erased_at = erased_at - interval '2 hours', next_try_at = now() WHERE document_id = $1", document)
        .await;
    no_bytes_left(&service).await;
    let finished = eventually("the erasure is finished", 20, async || {
        sqlx::query_scalar::<_, Option<Vec<u8>>>("SELECT sha256 FROM documents.erasures WHERE finished_at IS NOT NULL")
            .fetch_optional(&service.pool)
            .await
            .unwrap()
    })
    .await;
    assert_eq!(finished, None, "nothing tells what the content was");
}

#[tokio::test]
async fn a_settlement_that_asked_first_keeps_the_erasure_waiting() {
    let service = Service::start().await;
    let document = service.accepted("a.pdf", b"race").await;
    let mut settlement = service.pool.begin().await.unwrap();
    let erased: Vec<Uuid> = sqlx::query_scalar("SELECT documents.erased_of(ARRAY[$1])")
        .bind(document)
        .fetch_all(&mut *settlement)
        .await
        .unwrap();
    assert!(erased.is_empty());
    let path = format!("/v1/documents/{document}");
    let erasure = tokio::spawn(send(service.request(Method::DELETE, &path)));
    eventually("the erasure waits for the settlement", 10, async || {
        let waits: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .fetch_one(&service.pool)
        .await
        .unwrap();
        (waits > 0).then_some(())
    })
    .await;
    settlement.commit().await.unwrap();
    assert_eq!(erasure.await.unwrap().status, 204);
    assert!(is_erased(&service, document).await);
}

#[tokio::test]
async fn an_eraser_that_died_in_the_middle_and_a_store_that_refuses_are_followed_up() {
    let service = Service::start().await;
    let document = service.accepted("a.pdf", b"half deleted").await;
    let text = text_key("default", document);
    // No file: the store can not delete it.
    service.put_blob(&format!("{text}/in the way"), b"");
    erase(&service, document).await;
    let problem: String = eventually("the refusal stands in the row", 20, async || {
        sqlx::query_scalar("SELECT problem FROM documents.erasures WHERE problem IS NOT NULL")
            .fetch_optional(&service.pool)
            .await
            .unwrap()
    })
    .await;
    assert!(problem.contains("blob store"), "{problem}");
    service.remove_blob(&format!("{text}/in the way"));
    std::fs::remove_dir(service.blob_path(&text)).unwrap();
    // Another one has begun with the content, and died a while ago.
    sqlx::query("UPDATE documents.blobs SET erasing_since = now() - interval '16 minutes'")
        .execute(&service.pool)
        .await
        .unwrap();
    service.sql("UPDATE documents.erasures SET next_try_at = now() WHERE document_id = $1", document).await;
    no_bytes_left(&service).await;
    eventually("the row of the bytes is gone", 10, async || {
        (service.count("documents.blobs").await == 0).then_some(())
    })
    .await;
}

/// As av-scan and dedup leave it: the first one's content, and clean scans and duplicates of the others. The view is behind.
async fn deduplicated(service: &Service, first: Uuid) {
    for statement in [
        "INSERT INTO documents.contents (tenant, sha256, first_document)
         SELECT tenant, sha256, id FROM documents.documents WHERE id = $1",
        "INSERT INTO documents.scans (document_id, tenant, region, blob_key, size_bytes, verdict, engine, database, database_number, event_id)
         SELECT id, tenant, region, blob_key, size_bytes, 'clean', 'e', '1', 1, id FROM documents.documents WHERE id >= $1",
        "INSERT INTO documents.duplicates (document_id, tenant, sha256, mime)
         SELECT id, tenant, sha256, 'text/plain' FROM documents.documents WHERE id <> $1",
    ] {
        service.sql(statement, first).await;
    }
}

async fn first_document(service: &Service) -> Option<Uuid> {
    let first = sqlx::query_scalar("SELECT first_document FROM documents.contents");
    first.fetch_optional(&service.pool).await.unwrap()
}

/// What was said beside the uploads.
async fn announced(service: &Service) -> Vec<(Uuid, String)> {
    sqlx::query_as(
        "SELECT aggregate_id, event_type FROM pipeline.outbox_events WHERE event_type <> 'DocumentUploaded' ORDER BY id",
    )
    .fetch_all(&service.pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn when_the_first_document_goes_a_duplicate_takes_its_place_and_is_read() {
    let service = Service::start().await;
    let (first, second) = (service.accepted("a.txt", b"twins").await, service.accepted("b.txt", b"twins").await);
    deduplicated(&service, first).await;
    erase(&service, first).await;
    assert_eq!(first_document(&service).await, Some(second));
    assert_eq!(announced(&service).await, [(first, "DocumentErased".into()), (second, "DocumentDeduplicated".into())]);
    assert_eq!(service.count("documents.duplicates").await, 0, "it is the first now");
    erase(&service, second).await;
    assert_eq!(service.count("documents.contents").await, 0);
}

#[tokio::test]
async fn what_was_refused_or_is_not_clean_any_more_or_not_judged_yet_inherits_nothing() {
    let service = Service::start().await;
    let mut documents = Vec::new();
    for name in ["first.txt", "refused.png", "infected.txt", "good.txt", "erased.txt", "fresh.txt"] {
        documents.push(service.accepted(name, b"many").await);
    }
    let [first, refused, infected, good, erased, fresh] = documents[..] else { panic!("{documents:?}") };
    deduplicated(&service, first).await;
    for document in [refused, fresh] {
        service.sql("DELETE FROM documents.duplicates WHERE document_id = $1", document).await;
    }
    service.sql("UPDATE documents.scans SET verdict = 'infected' WHERE document_id = $1", infected).await;
    erase(&service, erased).await;
    erase(&service, first).await;
    assert_eq!(first_document(&service).await, Some(good));
    erase(&service, good).await;
    assert_eq!(first_document(&service).await, None, "dedup finds the next one");
    let said: Vec<Uuid> = announced(&service)
        .await
        .into_iter()
        .filter(|(_, what)| what == "DocumentDeduplicated")
        .map(|(id, _)| id)
        .collect();
    assert_eq!(said, [good]);
    let left: Vec<Uuid> =
        sqlx::query_scalar("SELECT document_id FROM documents.duplicates").fetch_all(&service.pool).await.unwrap();
    assert_eq!(left, [infected]);
}

#[tokio::test]
async fn erasures_of_all_documents_of_a_content_at_once_leave_it_to_nobody() {
    let service = Service::start().await;
    for _ in 0..5 {
        let documents = join_all((0..4).map(|_| service.accepted("a.txt", b"all at once"))).await;
        service
            .sql(
                "INSERT INTO documents.contents (tenant, sha256, first_document)
                 SELECT tenant, sha256, id FROM documents.documents WHERE id = $1",
                documents[0],
            )
            .await;
        let answers = join_all(documents.iter().map(|document| erase(&service, *document))).await;
        assert!(answers.iter().all(|answer| answer.status == 204), "{answers:?}");
        assert_eq!(service.count("documents.contents").await, 0);
    }
    no_bytes_left(&service).await;
}

/// A dead letter, retries and a parked message of a document.
async fn fail(service: &Service, id: Uuid) {
    for statement in [
        r#"INSERT INTO pipeline.inbox (consumer, event_id, event_day, outcome, topic, partition, "offset")
           SELECT 'ocr', $1, current_date, 'dead', 't', 0, 0"#,
        "INSERT INTO pipeline.outbox_events (kind, event_id, event_type, consumer, shard, topic, key, headers, payload, tenant, region)
         VALUES ('dead_letter', $1, 'DocumentDeduplicated', 'ocr', 0, 'ocr.dlq', convert_to($1::text, 'UTF8'), '[]', 'name', 'default', 'eu-test')",
        // A retry that was published, and one that waits for the relay.
        "INSERT INTO pipeline.outbox_events (kind, event_id, event_type, consumer, shard, topic, key, headers, payload, tenant, region)
             VALUES ('retry', $1, 'DocumentUploaded', 'av-scan', 0, 'av-scan.retry', convert_to($1::text, 'UTF8'), '[]', 'name', 'default', 'eu-test')",
        "DELETE FROM pipeline.outbox_unpublished WHERE id = (SELECT max(id) FROM pipeline.outbox_events WHERE event_id = $1 AND kind = 'retry')",
        "INSERT INTO pipeline.outbox_events (kind, event_id, event_type, consumer, shard, topic, key, headers, payload, tenant, region)
             VALUES ('retry', $1, 'DocumentUploaded', 'dedup', 0, 'dedup.retry', convert_to($1::text, 'UTF8'), '[]', 'name', 'default', 'eu-test')",
        "INSERT INTO pipeline.parked_keys (consumer, key, state, event_id, reason, detail, next_try_at, messages)
         VALUES ('projection-builder', convert_to($1::text, 'UTF8'), 'held', $1, 'r', '', now(), 1)",
        r#"INSERT INTO pipeline.inbox (consumer, event_id, event_day, outcome, topic, partition, "offset")
           SELECT 'projection-builder', $1, current_date, 'parked', 't', 0, 0"#,
        r#"INSERT INTO pipeline.parked_messages (consumer, key, event_id, event_day, topic, partition, "offset", timestamp_ms, headers,
                                                payload, tenant, region, event_type)
           VALUES ('projection-builder', convert_to($1::text, 'UTF8'), $1, current_date, 't', 0, 0, 0, '[]', 'name', 'default',
                   'eu-test', 'DocumentUploaded')"#,
    ] {
        service.sql(statement, id).await;
    }
}

/// Consumers whose dead letters and retries of a document still hold something.
async fn holding(service: &Service, document: Uuid) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT consumer FROM pipeline.outbox_events WHERE event_id = $1 AND kind <> 'event' AND payload IS NOT NULL ORDER BY consumer",
    )
    .bind(document)
    .fetch_all(&service.pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn what_waits_or_died_of_an_erased_document_goes_with_it() {
    let service = Service::start().await;
    let (document, other) = (service.accepted("a.pdf", b"a").await, service.accepted("b.pdf", b"b").await);
    for id in [document, other] {
        fail(&service, id).await;
    }
    erase(&service, document).await;
    assert_eq!((service.count("pipeline.parked_keys").await, service.count("pipeline.parked_messages").await), (1, 1));
    assert_eq!(holding(&service, document).await, ["dedup"], "what is on its way arrives");
    assert_eq!(holding(&service, other).await, ["av-scan", "dedup", "ocr"]);
    let outcomes: Vec<(String, String)> =
        sqlx::query_as("SELECT consumer, outcome FROM pipeline.inbox WHERE event_id = $1 ORDER BY consumer")
            .bind(document)
            .fetch_all(&service.pool)
            .await
            .unwrap();
    let discarded = |consumer: &str| (consumer.to_owned(), "discarded".to_owned());
    assert_eq!(outcomes, [discarded("ocr"), discarded("projection-builder")]);
    assert_eq!(service.count("pipeline.operator_actions").await, 2, "each with a decision on record");
}

#[tokio::test]
async fn what_fails_long_after_the_erasure_is_found_and_goes() {
    let service = Service::start().await;
    let (document, other) = (service.accepted("a.pdf", b"a").await, service.accepted("b.pdf", b"b").await);
    erase(&service, document).await;
    service
        .sql(
            "UPDATE documents.erasures SET finished_at = now(), bytes_gone_at = now() WHERE document_id = $1",
            document,
        )
        .await;
    for id in [document, other] {
        fail(&service, id).await;
    }
    sqlx::query(
        "INSERT INTO pipeline.outbox_events (kind, event_id, event_type, consumer, shard, topic, key, headers, payload, tenant, region)
         VALUES ('dead_letter', gen_random_uuid(), 'x', 'x', 0, 'x.dlq', '\\xff00', '[]', 'of nobody', 'default', 'eu-test')",
    )
    .execute(&service.pool)
    .await
    .unwrap();
    service.app.forget_what_failed_late().await.unwrap();
    assert_eq!(holding(&service, document).await, ["dedup"]);
    assert_eq!(holding(&service, other).await, ["av-scan", "dedup", "ocr"]);
    assert_eq!(service.count("pipeline.parked_messages").await, 1);
    // The relay has published the last of them.
    service.sql("DELETE FROM pipeline.outbox_unpublished u USING pipeline.outbox_events o WHERE o.id = u.id AND o.event_id = $1", document).await;
    service.app.forget_what_failed_late().await.unwrap();
    assert_eq!(holding(&service, document).await, [] as [String; 0]);
    assert_eq!(service.app.forget_what_failed_late().await.unwrap(), 0);
}

/// All erasures are due at once, as one batch.
const DUE: &str = "UPDATE documents.erasures SET next_try_at = now() - interval '1 second', finished_at = NULL";

async fn looked_at(service: &Service) {
    eventually("all was looked at", 20, async || {
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM documents.erasures WHERE bytes_gone_at IS NULL")
            .fetch_one(&service.pool)
            .await
            .unwrap();
        (left == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn one_erasure_that_can_not_be_written_down_does_not_strand_the_others() {
    let service = Service::start().await;
    let (bad, good) = (service.accepted("a.pdf", b"bad").await, service.accepted("b.pdf", b"good").await);
    for document in [bad, good] {
        erase(&service, document).await;
    }
    looked_at(&service).await;
    put_derived(&service, good);
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN RAISE EXCEPTION 'no'; END $$;
         CREATE TRIGGER refuse BEFORE UPDATE ON documents.erasures FOR EACH ROW
         WHEN (OLD.document_id = '{bad}' AND OLD.tries > 0) EXECUTE FUNCTION refuse();
         UPDATE documents.erasures SET next_try_at = now() - interval '1 second'
                                       - CASE document_id WHEN '{bad}' THEN interval '1 minute' ELSE '0' END;"
    )))
    .execute(&service.pool)
    .await
    .unwrap();
    no_bytes_left(&service).await;
}

#[tokio::test]
async fn a_stop_gives_the_rest_of_a_batch_back() {
    let service = Service::with("[erasure]\ninterval = '1h'").await;
    let documents = [service.accepted("a.pdf", b"a").await, service.accepted("b.pdf", b"b").await];
    for document in documents {
        erase(&service, document).await;
    }
    looked_at(&service).await;
    for document in documents {
        put_derived(&service, document);
    }
    sqlx::query(DUE).execute(&service.pool).await.unwrap();
    let stopped = CancellationToken::new();
    stopped.cancel();
    assert_eq!(service.app.erase_bytes(&stopped).await.unwrap(), 2);
    assert_eq!(service.blobs().len(), 8, "nothing was begun");
    assert_eq!(service.app.erase_bytes(&CancellationToken::new()).await.unwrap(), 2, "at once");
    assert!(service.blobs().is_empty());
}

#[tokio::test]
async fn a_content_is_on_record_as_erased_once_unless_it_came_again() {
    let service = Service::with("[erasure]\ninterval = '1h'").await;
    let document = service.accepted("a.pdf", b"once").await;
    erase(&service, document).await;
    looked_at(&service).await;
    let erased = async || trail(&service, document).await.iter().filter(|line| line.0 == "content-erased").count();
    let look = async || {
        sqlx::query(DUE).execute(&service.pool).await.unwrap();
        assert_eq!(service.app.erase_bytes(&CancellationToken::new()).await.unwrap(), 1);
    };
    assert_eq!(erased().await, 1);
    look().await;
    assert_eq!(erased().await, 1, "nothing was there");
    // An upload that died before its transaction has left it.
    service.put_blob(&content_key("default", b"once"), b"once");
    look().await;
    assert_eq!((erased().await, service.blobs().len()), (2, 0));
}

#[tokio::test]
async fn a_content_that_somebody_deletes_says_since_when() {
    let service = Service::with("[erasure]\ninterval = '1h'").await;
    let document = service.accepted("a.pdf", b"busy").await;
    erase(&service, document).await;
    looked_at(&service).await;
    let begun: bool = sqlx::query_scalar(
        "SELECT documents.begin_blob_erasure(region, tenant, sha256) IS NOT NULL FROM documents.erasures",
    )
    .fetch_one(&service.pool)
    .await
    .unwrap();
    assert!(begun);
    sqlx::query("UPDATE documents.blobs SET erasing_since = now() - interval '5 minutes'")
        .execute(&service.pool)
        .await
        .unwrap();
    sqlx::query(DUE).execute(&service.pool).await.unwrap();
    service.app.erase_bytes(&CancellationToken::new()).await.unwrap();
    let told: bool = sqlx::query_scalar(
        "SELECT problem LIKE '%since ' || to_char(b.erasing_since AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || 'Z%'
           FROM documents.erasures, documents.blobs b",
    )
    .fetch_one(&service.pool)
    .await
    .unwrap();
    assert!(told);
}

#[tokio::test]
async fn a_store_that_refuses_to_delete_a_content_does_not_keep_uploads_of_it_waiting() {
    let bucket = Bucket::open().await;
    let service = Service::with_blobs(&bucket.section()).await;
    let document = service.accepted("a.pdf", b"refused").await;
    bucket.refuse_deletes();
    erase(&service, document).await;
    let problem: String = eventually("the refusal stands in the row", 20, async || {
        sqlx::query_scalar("SELECT problem FROM documents.erasures WHERE problem IS NOT NULL")
            .fetch_optional(&service.pool)
            .await
            .unwrap()
    })
    .await;
    assert!(problem.contains("refuses"), "{problem}");
    assert_eq!(service.count("documents.blobs").await, 0, "the mark is given back");
    service.accepted("b.pdf", b"refused").await;
}
