use docfleet_testkit::Database;
use reqwest::Method;

use crate::{
    form,
    proxy::{Proxy, Wire},
    service::{Service, send},
};

async fn behind_a_wire() -> (Service, Proxy) {
    behind_a_wire_with("acquire_timeout = '1s'").await
}

async fn behind_a_wire_with(postgres: &str) -> (Service, Proxy) {
    let database = Database::fresh().await;
    let mut url = url::Url::parse(database.url()).unwrap();
    let server = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5432));
    let proxy = Proxy::to(server).await;
    url.set_host(Some("127.0.0.1")).unwrap();
    url.set_port(Some(proxy.port)).unwrap();
    let service = Service::on(&database, url.as_str(), postgres, "").await;
    (service, proxy)
}

#[tokio::test]
async fn without_the_database_nothing_is_accepted_and_nothing_is_lost() {
    let (service, wire) = behind_a_wire().await;
    service.accepted("before.pdf", b"x").await;
    wire.set(Wire::Cut);
    for request in [
        service.form(form::file("during.pdf", b"x")),
        service.form(form::file("during.pdf", b"x")).header("idempotency-key", "k"),
        service.request(Method::GET, "/v1/documents"),
        service.request(Method::GET, "/v1/webhooks"),
    ] {
        let answer = send(request).await;
        answer.problem(503, "unavailable");
        assert_eq!(answer.header("retry-after"), "5");
    }
    wire.set(Wire::Whole);
    let retried = send(service.form(form::file("during.pdf", b"x")).header("idempotency-key", "k")).await;
    assert_eq!((retried.status.as_u16(), retried.header("idempotency-replayed")), (201, ""));
    assert_eq!((service.count("documents.documents").await, service.count("pipeline.outbox_events").await), (2, 2));
    assert_eq!(service.blobs().len(), 1, "all have the same bytes");
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_keeps_its_bytes_and_can_be_asked_again() {
    let (service, wire) = behind_a_wire().await;
    let request = || service.form(form::file("a.pdf", b"precious")).header("idempotency-key", "k");
    wire.set(Wire::CutAfterCommit);
    let detail = send(request()).await.problem(503, "unavailable");
    assert!(detail.contains("Idempotency-Key"), "{detail}");

    let again = send(request()).await;
    assert_eq!((again.status.as_u16(), again.header("idempotency-replayed")), (201, "true"));
    assert_eq!(service.content(b"precious"), b"precious");
    assert_eq!((service.count("documents.documents").await, service.count("pipeline.outbox_events").await), (1, 1));
}

#[tokio::test]
async fn an_event_that_can_not_be_written_takes_its_document_with_it() {
    let service = Service::start().await;
    let refuse = "ALTER TABLE pipeline.outbox_events ADD CONSTRAINT refuse CHECK (topic = '')";
    sqlx::query(refuse).execute(&service.pool).await.unwrap();
    let request = || service.form(form::file("a.pdf", b"x")).header("idempotency-key", "k");
    send(request()).await.problem(500, "internal");
    assert_eq!((service.count("documents.documents").await, service.count("documents.audit_trail").await), (0, 0));
    assert_eq!(service.count("documents.blobs").await, 0, "its bytes are nobody's");
    sqlx::query("ALTER TABLE pipeline.outbox_events DROP CONSTRAINT refuse").execute(&service.pool).await.unwrap();
    assert_eq!(send(request()).await.status, 201);
}

#[tokio::test]
async fn half_open_connections_are_given_up_and_replaced() {
    let (service, wire) = behind_a_wire_with("max_connections = 2").await;
    service.accepted("before.pdf", b"x").await;
    wire.set(Wire::HalfOpen);
    // Each finds a dead connection at most once, and does not wait for it longer than for a free one.
    let upload = || service.form(form::file("after.pdf", b"x")).header("idempotency-key", "k");
    docfleet_testkit::eventually("an upload is accepted", 45, || async {
        (send(upload()).await.status == 201).then_some(())
    })
    .await;
    assert_eq!((service.count("documents.documents").await, service.count("pipeline.outbox_events").await), (2, 2));
}

#[tokio::test]
async fn an_upload_whose_connection_dies_in_silence_is_answered_and_keeps_its_bytes_and_can_be_repeated() {
    let (service, wire) = behind_a_wire().await;
    wire.set(Wire::HalfOpenAtInsert);
    let request = || service.form(form::file("a.pdf", b"precious")).header("idempotency-key", "k");
    let detail = send(request()).await.problem(503, "unavailable");
    assert!(detail.contains("Idempotency-Key"), "{detail}");
    assert_eq!(service.blobs().len(), 1, "nobody knows whether it was accepted");

    docfleet_testkit::eventually("its repetition is accepted", 45, || async {
        (send(request()).await.status == 201).then_some(())
    })
    .await;
    assert_eq!((service.count("documents.documents").await, service.count("pipeline.outbox_events").await), (1, 1));
}
