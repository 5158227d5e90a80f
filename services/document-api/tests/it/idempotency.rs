use docfleet_testkit::eventually;
use futures::StreamExt;
use reqwest::Body;
use tokio::sync::mpsc;

use crate::{
    form,
    service::{Answer, Service, send},
};

/// A body that is sent as it is fed; it ends with its feed.
pub fn slow_body() -> (mpsc::Sender<Vec<u8>>, Body) {
    let (feed, pieces) = mpsc::channel::<Vec<u8>>(1);
    let pieces = futures::stream::unfold(pieces, async |mut pieces| pieces.recv().await.map(|piece| (piece, pieces)));
    (feed, Body::wrap_stream(pieces.map(Ok::<_, String>).boxed()))
}

async fn upload(service: &Service, key: &str, body: Vec<u8>) -> Answer {
    send(service.form(body).header("idempotency-key", key)).await
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_answer_and_does_nothing() {
    let service = Service::start().await;
    let first = upload(&service, "k-1", form::file("a.pdf", b"same")).await;
    assert_eq!((first.status.as_u16(), first.header("idempotency-replayed")), (201, ""));
    // What became of the document since does not show in the repeated answer.
    service
        .sql("INSERT INTO views.document_view (document_id, tenant, region, version, updated_at, verdict) VALUES ($1, 'default', 'eu-test', 2, now(), 'clean')", first.id())
        .await;
    let second = upload(&service, "k-1", form::file("a.pdf", b"same")).await;
    assert_eq!((second.status.as_u16(), second.header("idempotency-replayed")), (201, "true"));
    assert_eq!((second.json(), second.header("location")), (first.json(), first.header("location")));
    assert_eq!((service.count("documents.documents").await, service.count("pipeline.outbox_events").await), (1, 1));
    assert_eq!(service.blobs().len(), 1);
}

#[tokio::test]
async fn another_file_under_the_same_key_is_refused() {
    let service = Service::start().await;
    assert_eq!(upload(&service, "k", form::file("a.pdf", b"one")).await.status, 201);
    upload(&service, "k", form::file("a.pdf", b"two")).await.problem(422, "idempotency-key-reused");
    upload(&service, "k", form::file("b.pdf", b"one")).await.problem(422, "idempotency-key-reused");
    upload(&service, "k", form::named("filename=\"a.pdf\"", "text/plain", b"one"))
        .await
        .problem(422, "idempotency-key-reused");
    upload(&service, "k", form::part("Content-Disposition: form-data; name=\"file\"", b"one"))
        .await
        .problem(400, "invalid-multipart");
    assert_eq!((service.count("documents.documents").await, service.blobs().len()), (1, 1));
}

#[tokio::test]
async fn keys_belong_to_their_tenant_and_to_no_request_without_one() {
    let service = Service::start().await;
    let body = || form::file("a.pdf", b"same");
    let mut ids = vec![upload(&service, "k", body()).await.id(), service.upload(body()).await.id()];
    ids.push(send(service.form(body()).header("idempotency-key", "k").header("x-tenant-id", "other")).await.id());
    ids.push(upload(&service, "K", body()).await.id());
    ids.dedup();
    assert_eq!((ids.len(), service.count("documents.documents").await), (4, 4));
}

#[tokio::test]
async fn a_key_that_is_worked_on_is_told_apart_from_one_that_is_done() {
    let service = Service::start().await;
    let whole = form::file("a.pdf", b"slow");
    let (first, second) = form::halves(&whole);
    let (feed, body) = slow_body();
    let slow = tokio::spawn(send(service.form(body).header("idempotency-key", "k")));
    feed.send(first).await.unwrap();
    eventually("the key is claimed", 10, async || {
        (service.count("documents.idempotency_keys").await == 1).then_some(())
    })
    .await;
    let concurrent = upload(&service, "k", whole.clone()).await;
    concurrent.problem(409, "request-in-progress");
    assert_eq!(concurrent.header("retry-after"), "1");
    feed.send(second).await.unwrap();
    drop(feed);
    let first = slow.await.unwrap();
    assert_eq!(first.status, 201);
    let repeated = upload(&service, "k", whole).await;
    assert_eq!((repeated.json(), repeated.header("idempotency-replayed")), (first.json(), "true"));
}

#[tokio::test]
async fn of_many_requests_at_once_under_one_key_one_is_accepted() {
    let service = Service::start().await;
    let all = (0..20).map(|_| upload(&service, "k", form::file("a.pdf", b"same")));
    let answers = futures::future::join_all(all).await;
    let accepted: Vec<_> = answers.iter().filter(|answer| answer.status == 201).collect();
    assert_eq!(accepted.iter().filter(|answer| answer.header("idempotency-replayed").is_empty()).count(), 1);
    assert!(accepted.iter().all(|answer| answer.json() == accepted[0].json()));
    answers
        .iter()
        .filter(|answer| answer.status != 201)
        .for_each(|answer| drop(answer.problem(409, "request-in-progress")));
    assert_eq!((service.count("documents.documents").await, service.count("pipeline.outbox_events").await), (1, 1));
    assert_eq!(service.blobs().len(), 1);
}

#[tokio::test]
async fn a_request_whose_claim_was_taken_over_does_not_commit() {
    let service = Service::start().await;
    let whole = form::file("a.pdf", b"slow");
    let (first, second) = form::halves(&whole);
    let (feed, body) = slow_body();
    let slow = tokio::spawn(send(service.form(body).header("idempotency-key", "k")));
    feed.send(first).await.unwrap();
    eventually("the claim has run out", 10, async || {
        let aged = sqlx::query("UPDATE documents.idempotency_keys SET claimed_until = now() - interval '1 second'");
        (aged.execute(&service.pool).await.unwrap().rows_affected() == 1).then_some(())
    })
    .await;
    let taker = upload(&service, "k", whole.clone()).await;
    assert_eq!(taker.status, 201);
    feed.send(second).await.unwrap();
    drop(feed);
    slow.await.unwrap().problem(409, "request-in-progress");
    assert_eq!(upload(&service, "k", whole).await.json(), taker.json());
    assert_eq!((service.count("documents.documents").await, service.count("pipeline.outbox_events").await), (1, 1));
    assert_eq!(service.blobs().len(), 1);
}

#[tokio::test]
async fn a_refused_request_leaves_its_key_free() {
    let service = Service::start().await;
    upload(&service, "k", form::end()).await.problem(400, "missing-file");
    assert_eq!(upload(&service, "k", form::file("a.pdf", b"x")).await.status, 201);
}

#[tokio::test]
async fn a_key_must_be_sensible() {
    let service = Service::start().await;
    for key in ["", " ", "a b", &"k".repeat(256)] {
        upload(&service, key, form::file("a", b"b")).await.problem(400, "invalid-idempotency-key");
    }
    let twice = service.form(form::file("a", b"b")).header("idempotency-key", "a").header("idempotency-key", "b");
    send(twice).await.problem(400, "invalid-idempotency-key");
    assert_eq!(upload(&service, &"k".repeat(255), form::file("a", b"b")).await.status, 201);
}

#[tokio::test]
async fn only_old_keys_are_forgotten() {
    let service = Service::with("[api]\nidempotency_keys_kept = '100h 30m'").await;
    let filled = sqlx::query(
        r"INSERT INTO documents.idempotency_keys (tenant, key, claim, claimed_until, created_at)
          SELECT 't', n::text, gen_random_uuid(), now(), now() - make_interval(hours => n) FROM generate_series(0, 2500) n",
    );
    filled.execute(&service.pool).await.unwrap();
    assert_eq!(service.app.expire_idempotency_keys().await.unwrap(), 2_400);
    assert_eq!(service.count("documents.idempotency_keys").await, 101);
}

#[tokio::test]
async fn a_key_that_is_worked_under_is_not_forgotten_however_old() {
    let service = Service::start().await;
    let filled = sqlx::query(
        r"INSERT INTO documents.idempotency_keys (tenant, key, claim, claimed_until, created_at)
          SELECT 'default', key, gen_random_uuid(), now() + lease, now() - interval '1 year'
            FROM (VALUES ('live', interval '1 hour'), ('dead', interval '-1 second')) AS k (key, lease)",
    );
    filled.execute(&service.pool).await.unwrap();
    assert_eq!(service.app.expire_idempotency_keys().await.unwrap(), 1);
    upload(&service, "live", form::file("a.pdf", b"x")).await.problem(409, "request-in-progress");
}

#[tokio::test]
async fn a_key_that_was_taken_over_is_kept_from_then_on() {
    let service = Service::start().await;
    let dead = sqlx::query(
        r"INSERT INTO documents.idempotency_keys (tenant, key, claim, claimed_until, created_at)
          VALUES ('default', 'k', gen_random_uuid(), now() - interval '1 second', now() - interval '1 year')",
    );
    dead.execute(&service.pool).await.unwrap();
    let first = upload(&service, "k", form::file("a.pdf", b"x")).await;
    assert_eq!(service.app.expire_idempotency_keys().await.unwrap(), 0);
    let again = upload(&service, "k", form::file("a.pdf", b"x")).await;
    assert_eq!((again.id(), again.header("idempotency-replayed")), (first.id(), "true"));
}
