use std::time::Duration;

use reqwest::Method;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    form,
    service::{Service, send},
};

const OPENED: &str =
    "INSERT INTO views.document_view (document_id, tenant, region, version, updated_at, verdict, dedup_outcome)
     VALUES ($1, 'default', 'eu-test', 3, now(), 'clean', 'unique')";

async fn viewed(service: &Service, verdict: Option<&str>, outcome: Option<&str>) -> String {
    let answer = service.upload(form::file("Brief \u{201e}März\u{201c}.pdf", b"<script>alert(1)</script>")).await;
    let view = sqlx::query(
        r"INSERT INTO views.document_view (document_id, tenant, region, version, updated_at, verdict, dedup_outcome)
          VALUES ($1, 'default', 'eu-test', 2, now(), $2, $3)",
    );
    view.bind(answer.id()).bind(verdict).bind(outcome).execute(&service.pool).await.unwrap();
    format!("/v1/documents/{}", answer.id())
}

#[tokio::test]
async fn nothing_is_given_out_before_the_verdict() {
    let service = Service::start().await;
    let id = service.accepted("a.pdf", b"x").await;
    let unseen = service.get(&format!("/v1/documents/{id}/content")).await;
    unseen.problem(409, "not-scanned-yet");
    assert_eq!(unseen.header("retry-after"), "2");
    let path = viewed(&service, None, None).await;
    service.get(&format!("{path}/content")).await.problem(409, "not-scanned-yet");
}

#[tokio::test]
async fn only_the_word_clean_opens_a_document() {
    let service = Service::start().await;
    for verdict in ["infected", "unscannable", "CLEAN", "clean ", "", "unknown"] {
        let path = viewed(&service, Some(verdict), Some("unique")).await;
        service.get(&format!("{path}/content")).await.problem(409, "not-clean");
    }
}

#[tokio::test]
async fn what_dedup_refused_or_has_not_judged_is_not_given_out() {
    let service = Service::start().await;
    for (verdict, outcome, slug) in [
        (Some("clean"), None, "not-scanned-yet"),
        (None, Some("unique"), "not-scanned-yet"),
        (Some("clean"), Some("refused"), "refused"),
        (None, Some("refused"), "refused"),
        (Some("clean"), Some("UNIQUE"), "refused"),
        (Some("clean"), Some(""), "refused"),
        (Some("infected"), None, "not-clean"),
        (Some("infected"), Some("refused"), "not-clean"),
    ] {
        let path = viewed(&service, verdict, outcome).await;
        let answer = service.get(&format!("{path}/content")).await;
        answer.problem(409, slug);
        assert_eq!(answer.header("retry-after").is_empty(), slug != "not-scanned-yet", "{verdict:?} {outcome:?}");
    }
    for outcome in ["unique", "duplicate"] {
        let path = viewed(&service, Some("clean"), Some(outcome)).await;
        assert_eq!(service.get(&format!("{path}/content")).await.status, 200, "{outcome}");
    }
}

#[tokio::test]
async fn a_clean_document_is_given_out_as_an_attachment() {
    let service = Service::start().await;
    let path = viewed(&service, Some("clean"), Some("unique")).await;
    let answer = service.get(&format!("{path}/content")).await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "<script>alert(1)</script>"));
    assert_eq!(answer.header("content-type"), "application/octet-stream");
    assert_eq!(answer.header("content-length"), "25");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(answer.header("content-security-policy").contains("sandbox"));
    assert_eq!(
        answer.header("content-disposition"),
        "attachment; filename=\"Brief _M_rz_.pdf\"; filename*=UTF-8''Brief%20%E2%80%9EM%C3%A4rz%E2%80%9C.pdf"
    );
    sqlx::query("UPDATE views.document_view SET mime = 'application/pdf'").execute(&service.pool).await.unwrap();
    assert_eq!(service.get(&format!("{path}/content")).await.header("content-type"), "application/pdf");
    let head = send(service.request(Method::HEAD, &format!("{path}/content"))).await;
    assert_eq!((head.status.as_u16(), head.header("content-length"), head.body.len()), (200, "25", 0));
}

#[tokio::test]
async fn a_text_is_given_out_once_there_is_one() {
    let service = Service::start().await;
    let path = viewed(&service, Some("clean"), Some("unique")).await;
    service.get(&format!("{path}/text")).await.problem(404, "no-text");
    service.put_blob("default/texts/t.txt", "Grüße\u{c}page 2".as_bytes());
    sqlx::query("UPDATE views.document_view SET text_outcome = 'extracted', text_key = 'default/texts/t.txt'")
        .execute(&service.pool)
        .await
        .unwrap();
    let answer = service.get(&format!("{path}/text")).await;
    assert_eq!(answer.text(), "Grüße\u{c}page 2");
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
}

#[tokio::test]
async fn a_document_that_turns_out_infected_is_closed_before_the_view_knows() {
    const SCAN: &str = r"INSERT INTO documents.scans (document_id, tenant, region, blob_key, size_bytes, verdict, engine,
                                                      database, database_number, event_id)
        VALUES ($1, 'default', 'eu-test', 'k', 1, 'clean', 'ClamAV', '1', 1, $1)";
    let service = Service::start().await;
    let id = service.accepted("letter.pdf", b"x").await;
    service.sql(OPENED, id).await;
    service.put_blob("default/texts/letter.txt", b"page");
    service
        .sql("UPDATE views.document_view SET text_key = 'default/texts/letter.txt' WHERE document_id = $1", id)
        .await;
    let path = format!("/v1/documents/{id}");
    service.sql(SCAN, id).await;
    for part in ["content", "text"] {
        assert_eq!(service.get(&format!("{path}/{part}")).await.status, 200, "{part}");
    }
    service.sql("UPDATE documents.scans SET verdict = 'infected' WHERE document_id = $1", id).await;
    for part in ["content", "text"] {
        service.get(&format!("{path}/{part}")).await.problem(409, "not-clean");
    }
    // av-scan's own word closes; it opens nothing that the view has closed.
    service.sql("UPDATE documents.scans SET verdict = 'clean' WHERE document_id = $1", id).await;
    service.sql("UPDATE views.document_view SET verdict = 'infected' WHERE document_id = $1", id).await;
    for part in ["content", "text"] {
        service.get(&format!("{path}/{part}")).await.problem(409, "not-clean");
    }
}

#[tokio::test]
async fn bytes_that_are_known_to_be_infected_are_closed_under_every_document_of_the_tenant() {
    const SCAN: &str = r"INSERT INTO documents.scans (document_id, tenant, region, blob_key, size_bytes, verdict, engine,
                                                      database, database_number, event_id)
        SELECT id, tenant, region, blob_key, 1, 'clean', 'ClamAV', '1', 1, id FROM documents.documents WHERE id = $1";
    let service = Service::start().await;
    let (first, sibling) = (service.accepted("a.pdf", b"same").await, service.accepted("b.pdf", b"same").await);
    let other = service.accepted("c.pdf", b"other").await;
    for id in [first, sibling, other] {
        service.sql(OPENED, id).await;
        service.sql(SCAN, id).await;
        assert_eq!(service.get(&format!("/v1/documents/{id}/content")).await.status, 200);
    }
    let open = service.get(&format!("/v1/documents/{sibling}")).await;
    service.sql("UPDATE documents.scans SET verdict = 'infected' WHERE document_id = $1", first).await;
    for id in [first, sibling] {
        service.get(&format!("/v1/documents/{id}/content")).await.problem(409, "not-clean");
    }
    assert_eq!(service.get(&format!("/v1/documents/{other}/content")).await.status, 200);
    // Its representation changed without an event: a client that kept it gets the new one.
    let again = service.request(Method::GET, &format!("/v1/documents/{sibling}"));
    let closed = send(again.header("if-none-match", open.header("etag"))).await;
    assert_eq!((closed.status.as_u16(), &closed.json()["links"]["content"]), (200, &serde_json::Value::Null));
}

#[tokio::test]
async fn a_blob_that_is_gone_is_our_failure() {
    let service = Service::start().await;
    let path = viewed(&service, Some("clean"), Some("unique")).await;
    sqlx::query("UPDATE documents.documents SET blob_key = 'default/documents/gone'")
        .execute(&service.pool)
        .await
        .unwrap();
    service.get(&format!("{path}/content")).await.problem(500, "internal");
}

#[tokio::test]
async fn a_client_that_does_not_take_its_download_loses_its_connection() {
    const LARGE: usize = 10_000_000;
    let service = Service::with("[api]\nwrite_idle_timeout = '500ms'\nconnections_max = 1").await;
    let upload = service.form(form::file("large.pdf", &vec![7; LARGE])).header("connection", "close");
    let id = send(upload).await.id();
    service.sql(OPENED, id).await;

    let mut stalled = TcpStream::connect(service.address()).await.unwrap();
    let request = format!("GET /v1/documents/{id}/content HTTP/1.1\r\nHost: x\r\n\r\n");
    stalled.write_all(request.as_bytes()).await.unwrap();
    let mut begun = [0; 12];
    stalled.read_exact(&mut begun).await.unwrap();
    assert_eq!(&begun, b"HTTP/1.1 200");

    // The only connection is free again for others.
    let other = service.request(Method::GET, &format!("/v1/documents/{id}")).header("connection", "close");
    assert_eq!(timeout(Duration::from_secs(30), send(other)).await.unwrap().status, 200);
    let mut rest = Vec::new();
    // It may end in an end or in a reset.
    drop(timeout(Duration::from_secs(30), stalled.read_to_end(&mut rest)).await.unwrap());
    assert!(rest.len() < LARGE, "{}", rest.len());
}

#[tokio::test]
async fn a_client_that_takes_its_download_slowly_gets_all_of_it() {
    const LARGE: usize = 10_000_000;
    let service = Service::with("[api]\nwrite_idle_timeout = '2s'").await;
    let id = service.accepted("large.pdf", &vec![7; LARGE]).await;
    service.sql(OPENED, id).await;
    let mut client = TcpStream::connect(service.address()).await.unwrap();
    let request = format!("GET /v1/documents/{id}/content HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let (mut piece, mut taken) = (vec![0; 20_000], Vec::new());
    // Some three times as long as it may take nothing.
    for _ in 0..120 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        client.read_exact(&mut piece).await.unwrap();
        taken.extend_from_slice(&piece);
    }
    timeout(Duration::from_secs(30), client.read_to_end(&mut taken)).await.unwrap().unwrap();
    let head = taken.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(taken.len() - head, LARGE);
}
