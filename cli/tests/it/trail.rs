use uuid::Uuid;

use crate::fleet::Fleet;

#[tokio::test]
async fn the_trail_of_a_document_is_shown_a_page_at_a_time_and_the_newest_first() {
    let fleet = Fleet::fresh().await;
    let nothing = fleet.run(&["trail"]).await;
    assert_eq!((nothing.code, nothing.stdout.trim()), (1, "Nothing is on record."));
    let (document, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    for (document, action) in [(document, "accepted"), (other, "accepted"), (document, "content-read")] {
        sqlx::query(
            r#"INSERT INTO documents.audit_trail (region, tenant, actor, action, document_id, detail)
               VALUES ('eu', 'acme', 'document-api', $2, $1, '{"size_bytes": 3}')"#,
        )
        .bind(document)
        .bind(action)
        .execute(&fleet.database.pool())
        .await
        .unwrap();
    }
    let id = document.to_string();
    let page = fleet.run(&["trail", &id, "--limit", "1", "--json"]).await.json();
    assert_eq!((&page["entries"][0]["action"], &page["entries"][0]["region"]), (&"content-read".into(), &"eu".into()));
    let next = page["next"].to_string();
    let page = fleet.run(&["trail", &id, "--before", &next, "--json"]).await.json();
    assert_eq!(page["entries"].as_array().unwrap().len(), 1);
    assert_eq!((&page["entries"][0]["action"], page["next"].is_null()), (&"accepted".into(), true));
    let count = async |args: &[&str]| {
        let args = [&["trail", "--json"], args].concat();
        fleet.run(&args).await.json()["entries"].as_array().unwrap().len()
    };
    assert_eq!(count(&["--tenant", "acme", "--since", "1h", "--region", "eu", "--actor", "document-api"]).await, 3);
    for none in [["--tenant", "other"], ["--region", "us"], ["--action", "erased"], ["--actor", "ocr"]] {
        assert_eq!(count(&none).await, 0, "{none:?}");
    }
    let text = fleet.run(&["trail", "--action", "content-read"]).await;
    assert!(text.code == 0 && text.stdout.contains(&id) && text.stdout.contains("document-api"), "{}", text.stdout);
}
