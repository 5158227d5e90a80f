use reqwest::Method;

use crate::{
    form,
    service::{Service, send},
};

async fn viewed(service: &Service, verdict: Option<&str>) -> String {
    let answer = service.upload(form::file("Brief \u{201e}März\u{201c}.pdf", b"<script>alert(1)</script>")).await;
    let view = sqlx::query(
        r"INSERT INTO views.document_view (document_id, tenant, region, version, updated_at, verdict)
          VALUES ($1, 'default', 'eu-test', 2, now(), $2)",
    );
    view.bind(answer.id()).bind(verdict).execute(&service.pool).await.unwrap();
    format!("/v1/documents/{}", answer.id())
}

#[tokio::test]
async fn nothing_is_given_out_before_the_verdict() {
    let service = Service::start().await;
    let id = service.accepted("a.pdf", b"x").await;
    let unseen = service.get(&format!("/v1/documents/{id}/content")).await;
    unseen.problem(409, "not-scanned-yet");
    assert_eq!(unseen.header("retry-after"), "2");
    let path = viewed(&service, None).await;
    service.get(&format!("{path}/content")).await.problem(409, "not-scanned-yet");
}

#[tokio::test]
async fn only_the_word_clean_opens_a_document() {
    let service = Service::start().await;
    for verdict in ["infected", "unscannable", "CLEAN", "clean ", "", "unknown"] {
        let path = viewed(&service, Some(verdict)).await;
        service.get(&format!("{path}/content")).await.problem(409, "not-clean");
    }
}

#[tokio::test]
async fn a_clean_document_is_given_out_as_an_attachment() {
    let service = Service::start().await;
    let path = viewed(&service, Some("clean")).await;
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
    let path = viewed(&service, Some("clean")).await;
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
async fn a_blob_that_is_gone_is_our_failure() {
    let service = Service::start().await;
    let path = viewed(&service, Some("clean")).await;
    sqlx::query("UPDATE documents.documents SET blob_key = 'default/documents/gone'")
        .execute(&service.pool)
        .await
        .unwrap();
    service.get(&format!("{path}/content")).await.problem(500, "internal");
}
