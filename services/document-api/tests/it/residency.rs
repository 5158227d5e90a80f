//! Where documents lie, and who touched them.

use docfleet_testkit::Servers;
use sqlx::Row;

use crate::{
    form,
    service::{Service, send},
};

const OPENED: &str =
    "INSERT INTO views.document_view (document_id, tenant, region, version, updated_at, verdict, dedup_outcome)
     VALUES ($1, 'default', 'eu-test', 3, now(), 'clean', 'unique')";

async fn trail(service: &Service) -> Vec<(String, String, String, String)> {
    let sql = "SELECT region, tenant, actor, action FROM documents.audit_trail ORDER BY id";
    let rows = sqlx::query(sql).fetch_all(&service.pool).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect()
}

fn line(action: &str) -> (String, String, String, String) {
    ("eu-test".into(), "default".into(), "document-api".into(), action.into())
}

#[tokio::test]
async fn every_upload_and_download_is_on_record_without_personal_data() {
    let service = Service::start().await;
    let id = service.accepted("Geheim-Müller.pdf", b"secret words").await;
    service.get(&format!("/v1/documents/{id}/content")).await.problem(409, "not-scanned-yet");
    service.sql(OPENED, id).await;
    assert_eq!(service.get(&format!("/v1/documents/{id}/content")).await.status, 200);
    service.put_blob("default/texts/t.txt", b"text");
    service.sql("UPDATE views.document_view SET text_key = 'default/texts/t.txt' WHERE document_id = $1", id).await;
    assert_eq!(service.get(&format!("/v1/documents/{id}/text")).await.status, 200);
    // A refusal reads nothing.
    assert_eq!(trail(&service).await, [line("accepted"), line("content-read"), line("text-read")]);
    let all: Vec<String> =
        sqlx::query_scalar("SELECT (t.*)::text FROM documents.audit_trail t").fetch_all(&service.pool).await.unwrap();
    for word in ["Geheim", "secret", "text.txt"] {
        assert!(all.iter().all(|row| !row.contains(word)), "{word}: {all:?}");
    }
}

#[tokio::test]
async fn nobody_changes_the_trail() {
    let service = Service::start().await;
    service.accepted("a.pdf", b"x").await;
    for change in [
        "UPDATE documents.audit_trail SET actor = 'nobody'",
        "DELETE FROM documents.audit_trail",
        "TRUNCATE documents.audit_trail",
    ] {
        let refused = sqlx::query(change).execute(&service.pool).await.unwrap_err();
        assert!(refused.to_string().contains("append-only"), "{change}: {refused}");
    }
    assert_eq!(trail(&service).await, [line("accepted")]);
}

#[tokio::test]
async fn what_can_not_be_put_on_record_is_not_given_out() {
    let service = Service::start().await;
    let id = service.accepted("a.pdf", b"x").await;
    service.sql(OPENED, id).await;
    let refuse = "ALTER TABLE documents.audit_trail ADD CONSTRAINT refuse CHECK (action = 'accepted')";
    sqlx::query(refuse).execute(&service.pool).await.unwrap();
    service.get(&format!("/v1/documents/{id}/content")).await.problem(500, "internal");
}

#[tokio::test]
async fn a_document_of_another_region_is_not_touched_here() {
    let service = Service::start().await;
    let id = service.accepted("a.pdf", b"x").await;
    service.sql(OPENED, id).await;
    service.sql("UPDATE documents.documents SET region = 'us' WHERE id = $1", id).await;
    let detail = service.get(&format!("/v1/documents/{id}/content")).await.problem(421, "other-region");
    assert!(detail.contains("us"), "{detail}");
    assert_eq!(trail(&service).await, [line("accepted")]);
}

#[tokio::test]
async fn a_tenant_of_another_region_uploads_there_and_not_here() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("data-residency.yaml");
    let stores = format!(
        "regions:\n  eu-test: {{url: 'file://{0}/eu'}}\n  us: {{url: 'file://{0}/us'}}\ntenants: {{acme: us}}\n",
        directory.path().display()
    );
    std::fs::write(&file, stores).unwrap();
    let service = Service::with_blobs(&format!("residency_file = '{}'", file.display())).await;
    let refused = send(service.form(form::file("a.pdf", b"x")).header("x-tenant-id", "acme")).await;
    refused.problem(421, "other-region");
    service.accepted("a.pdf", b"x").await;
    assert!(directory.path().join("eu/default/contents").is_dir());
    assert!(!directory.path().join("us").exists());
}

#[tokio::test]
async fn a_store_of_another_region_is_not_written_to() {
    let service = Service::start().await;
    service.put_blob(".docfleet-region", b"us");
    service.upload(form::file("a.pdf", b"x")).await.problem(500, "internal");
    assert!(service.blobs().is_empty(), "{:?}", service.blobs());
}

#[tokio::test]
async fn documents_lie_in_a_bucket_as_well_and_come_back_from_it() {
    let service = Service::with_blobs(&Servers::running().bucket(None)).await;
    for content in [b"small".to_vec(), vec![7; 6_000_000]] {
        let id = service.accepted("a.pdf", &content).await;
        assert_ne!(service.accepted("b.pdf", &content).await, id, "the same bytes, another document");
        service.sql(OPENED, id).await;
        let answer = service.get(&format!("/v1/documents/{id}/content")).await;
        assert!(answer.status == 200 && answer.body == content);
    }
    assert_eq!(service.count("documents.blobs").await, 2);
}
