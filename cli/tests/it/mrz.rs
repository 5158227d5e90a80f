use base64::{Engine as _, engine::general_purpose::STANDARD};
use docfleet_blobs::{Blobs, BlobsConfig, mrz_key};
use docfleet_seal::{Keys, Owner};
use uuid::Uuid;

use crate::fleet::{Fleet, end};

#[tokio::test]
async fn sealed_fields_are_opened_with_the_key_and_on_record_only() {
    let (fleet, directory, document) = (Fleet::fresh().await, tempfile::tempdir().unwrap(), Uuid::from_u128(1));
    let url = format!("file://{}", directory.path().join("blobs").display());
    let blobs = Blobs::open_store(&BlobsConfig::at(url.clone()), "local").unwrap();
    sqlx::query(
        r"INSERT INTO documents.documents (id, tenant, region, file_name, blob_key, sha256, size_bytes)
          VALUES ($1, 'acme', 'local', 'a', '', decode(repeat('ab', 32), 'hex'), 5)",
    )
    .bind(document)
    .execute(&fleet.database.pool())
    .await
    .unwrap();
    let key_file = |name: &str, byte: u8| {
        let file = directory.path().join(name);
        std::fs::write(&file, format!("{name} {}", STANDARD.encode([byte; 32]))).unwrap();
        file
    };
    let (right, wrong) = (key_file("right", 1), key_file("wrong", 2));
    let run = async |file: &std::path::Path| {
        let id = document.to_string();
        let args = ["mrz", &id, "--key-file", file.to_str().unwrap(), "--why", "case 4711", "--by", "auditor"];
        let mut command = fleet.command(&args);
        command.env("DOCFLEET__BLOBS__URL", &url);
        end(command).await
    };
    assert_eq!(run(&right).await.code, 1, "nothing is kept");
    let id = document.to_string();
    let owner = Owner { purpose: "mrz", tenant: "acme", document_id: &id };
    let secret = br#"{"zones": [{"page": 1, "fields": {"document_number": "L898902C3"}}]}"#;
    let sealed = Keys::read(&right).unwrap().seal(owner, secret).unwrap();
    blobs.put(&mrz_key("acme", document), sealed.into()).await.unwrap();
    let refused = run(&wrong).await;
    assert_eq!((refused.code, refused.stdout.contains("L898902C3")), (2, false));
    let count = "SELECT count(*) FROM documents.audit_trail WHERE action = 'mrz-read'";
    let recorded = async || sqlx::query_scalar::<_, i64>(count).fetch_one(&fleet.database.pool()).await.unwrap();
    assert_eq!(recorded().await, 0);
    let opened = run(&right).await;
    assert!(opened.code == 0 && opened.stdout.contains("L898902C3"), "{}", opened.stdout);
    assert_eq!(recorded().await, 1);
}
