//! Contents that several documents have, and that somebody deletes meanwhile.

use docfleet_testkit::eventually;
use time::OffsetDateTime;

use crate::{
    form,
    service::{Service, content_key, send},
};

fn sha256(content: &[u8]) -> Vec<u8> {
    <sha2::Sha256 as sha2::Digest>::digest(content).to_vec()
}

/// As the eraser does it: a token, unless it may not.
async fn begin(service: &Service, content: &[u8]) -> Option<OffsetDateTime> {
    let begun = sqlx::query_scalar("SELECT documents.begin_blob_erasure('eu-test', 'default', $1)");
    begun.bind(sha256(content)).fetch_one(&service.pool).await.unwrap()
}

/// Whether it was still the holder's to end.
async fn end(service: &Service, content: &[u8], token: OffsetDateTime) -> bool {
    let ended = sqlx::query_scalar("SELECT documents.end_blob_erasure('eu-test', 'default', $1, $2)");
    ended.bind(sha256(content)).bind(token).fetch_one(&service.pool).await.unwrap()
}

#[tokio::test]
async fn the_same_bytes_are_stored_once_for_a_tenant_and_never_shared_between_two() {
    let service = Service::start().await;
    let first = service.accepted("a.pdf", b"same").await;
    let second = service.accepted("b.pdf", b"same").await;
    assert_ne!(first, second);
    assert_eq!(service.blobs().len(), 1);
    let other = send(service.form(form::file("a.pdf", b"same")).header("x-tenant-id", "other")).await;
    assert_eq!(other.status, 201);
    assert_eq!(service.blob(&content_key("other", b"same")), b"same");
    assert_eq!((service.blobs().len(), service.count("documents.blobs").await), (2, 2));
}

#[tokio::test]
async fn a_content_that_a_document_has_can_not_be_erased() {
    let service = Service::start().await;
    service.accepted("a.pdf", b"kept").await;
    assert_eq!(begin(&service, b"kept").await, None);
    sqlx::query("DELETE FROM documents.documents").execute(&service.pool).await.unwrap();
    let token = begin(&service, b"kept").await.unwrap();
    assert_eq!(begin(&service, b"kept").await, None, "somebody is at it");
    assert!(end(&service, b"kept", token).await);
    assert_eq!(service.count("documents.blobs").await, 0);
}

#[tokio::test]
async fn an_eraser_that_died_is_followed_after_a_while_and_can_not_end_what_its_successor_began() {
    let service = Service::start().await;
    let stopped = begin(&service, b"orphan").await.expect("bytes without a row are taken too");
    let aged = "UPDATE documents.blobs SET erasing_since = now() - interval '16 minutes'";
    sqlx::query(aged).execute(&service.pool).await.unwrap();
    let successor = begin(&service, b"orphan").await.unwrap();
    assert!(!end(&service, b"orphan", stopped).await);
    // The successor's DELETE is on its way: an upload must not be accepted now.
    service.upload(form::file("a.pdf", b"orphan")).await.problem(503, "unavailable");
    assert!(end(&service, b"orphan", successor).await);
    service.accepted("a.pdf", b"orphan").await;
}

#[tokio::test]
async fn an_upload_of_what_is_being_erased_waits_and_puts_its_bytes_anew() {
    let service = Service::start().await;
    service.accepted("a.pdf", b"coming and going").await;
    sqlx::query("DELETE FROM documents.documents").execute(&service.pool).await.unwrap();
    let token = begin(&service, b"coming and going").await.unwrap();
    let upload = tokio::spawn(send(service.form(form::file("b.pdf", b"coming and going"))));
    // It has put its bytes, or found them there, and asks for the row.
    eventually("the upload waits", 10, async || {
        let staged = service.blobs().iter().any(|path| path.starts_with(".incoming"));
        staged.then_some(())
    })
    .await;
    service.remove_blob(&content_key("default", b"coming and going"));
    assert!(end(&service, b"coming and going", token).await);
    // On a machine that is too busy it has given up before: then the same once more.
    let answer = upload.await.unwrap();
    if answer.status != 201 {
        answer.problem(503, "unavailable");
        service.accepted("b.pdf", b"coming and going").await;
    }
    assert_eq!(service.content(b"coming and going"), b"coming and going");
}

#[tokio::test]
async fn an_upload_of_what_is_erased_for_too_long_is_told_to_come_back_and_leaves_nothing() {
    let service = Service::start().await;
    begin(&service, b"stuck").await.unwrap();
    let answer = service.upload(form::file("a.pdf", b"stuck")).await;
    answer.problem(503, "unavailable");
    assert_eq!(service.count("documents.documents").await + service.count("pipeline.outbox_events").await, 0);
}

#[tokio::test]
async fn uploads_and_erasures_of_one_content_never_leave_a_document_without_its_bytes() {
    let service = std::sync::Arc::new(Service::start().await);
    let content = b"contended";
    let eraser = tokio::spawn({
        let service = std::sync::Arc::clone(&service);
        async move {
            for _ in 0..40 {
                sqlx::query("DELETE FROM documents.documents").execute(&service.pool).await.unwrap();
                if let Some(token) = begin(&service, content).await {
                    service.remove_blob(&content_key("default", content));
                    tokio::task::yield_now().await;
                    assert!(end(&service, content, token).await);
                }
            }
        }
    });
    let uploads = futures::future::join_all((0..4).map(async |_| {
        let mut accepted = 0;
        for _ in 0..15 {
            let answer = service.upload(form::file("a.pdf", content)).await;
            match answer.status.as_u16() {
                201 => accepted += 1,
                _ => drop(answer.problem(503, "unavailable")),
            }
        }
        accepted
    }));
    let accepted: i32 = uploads.await.iter().sum();
    eraser.await.unwrap();
    assert!(accepted > 0);
    // The last word was an upload's: whatever the order was, a document that is there has its bytes.
    service.accepted("last.pdf", content).await;
    assert_eq!(service.content(content), content);
    let rows: Vec<bool> =
        sqlx::query_scalar("SELECT erasing_since IS NULL FROM documents.blobs").fetch_all(&service.pool).await.unwrap();
    assert_eq!(rows, [true]);
}

#[tokio::test]
async fn what_lies_under_the_name_of_a_content_and_is_another_is_not_accepted() {
    let service = Service::start().await;
    service.put_blob(&content_key("default", b"true"), b"false");
    service.upload(form::file("a.pdf", b"true")).await.problem(500, "internal");
    assert_eq!(service.count("documents.documents").await, 0);
}
