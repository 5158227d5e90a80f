use reqwest::Method;
use serde_json::{Value, json};

use crate::service::{Service, send};

const CLEAN: &str =
    "INSERT INTO views.document_view (document_id, tenant, region, version, updated_at, verdict, engine, scanned_at)
                     VALUES ($1, 'default', 'eu-test', 2, now(), 'clean', 'ClamAV 1', now())";

#[tokio::test]
async fn a_document_is_shown_as_far_as_it_is_known() {
    let service = Service::start().await;
    let id = service.accepted("a.pdf", b"x").await;
    let path = format!("/v1/documents/{id}");
    let document = service.get(&path).await.json();
    assert_eq!((&document["version"], &document["state"]), (&0.into(), &"processing".into()));
    assert_eq!((&document["scan"], &document["links"]["content"]), (&Value::Null, &Value::Null));

    service.sql(CLEAN, id).await;
    let document = service.get(&path).await.json();
    assert_eq!((&document["version"], &document["state"]), (&2.into(), &"processing".into()));
    assert_eq!((&document["scan"]["verdict"], &document["finished_at"]), (&"clean".into(), &Value::Null));
    assert_eq!(document["links"]["content"], Value::Null, "dedup may still refuse it");

    service
        .sql(
            r#"UPDATE views.document_view SET version = 4, dedup_outcome = 'unique', sha256 = repeat('0a', 32),
                 mime = 'application/pdf', deduplicated_at = now(), text_outcome = 'extracted', page_count = 2, language = 'deu',
                 pages = '[{"number": 1, "source": "ocr", "confidence": 91.5, "words": 3},
                           {"number": 2, "source": "text_layer", "confidence": null, "words": 0}]',
                 confidence = 91.5, text_key = 'default/texts/x.txt', excerpt = 'Dear', read_at = now()
               WHERE document_id = $1"#,
            id,
        )
        .await;
    let document = service.get(&path).await.json();
    assert_eq!((&document["state"], &document["finished_at"]), (&"finished".into(), &document["text"]["read_at"]));
    assert_eq!(document["text"]["pages"][0], json!({"number": 1, "source": "ocr", "confidence": 91.5, "words": 3}));
    assert_eq!(document["links"]["content"], format!("{path}/content"));
    assert_eq!(document["links"]["text"], format!("{path}/text"));
}

#[tokio::test]
async fn a_document_is_finished_when_no_stage_will_add_anything() {
    let service = Service::start().await;
    for (columns, finished) in [
        ("verdict = 'infected', signature = 'Eicar', scanned_at = now()", true),
        ("verdict = 'unscannable', scan_reason = 'encrypted', scanned_at = now()", true),
        ("verdict = 'clean', dedup_outcome = 'unique', deduplicated_at = now()", false),
        ("verdict = 'clean', dedup_outcome = 'duplicate', duplicate_of = document_id, deduplicated_at = now()", true),
        (
            "verdict = 'clean', dedup_outcome = 'refused', refused_reason = 'type-mismatch', deduplicated_at = now()",
            true,
        ),
        // The topics may arrive in any order.
        ("text_outcome = 'unreadable', text_reason = 'corrupt', read_at = now()", true),
    ] {
        let id = service.accepted("a.pdf", columns.as_bytes()).await;
        let viewed = "INSERT INTO views.document_view (document_id, tenant, region, version, updated_at)
                      VALUES ($1, 'default', 'eu-test', 1, now())";
        service.sql(viewed, id).await;
        let sql = sqlx::AssertSqlSafe(format!("UPDATE views.document_view SET {columns} WHERE document_id = $1"));
        sqlx::query(sql).bind(id).execute(&service.pool).await.unwrap();
        let document = service.get(&format!("/v1/documents/{id}")).await.json();
        assert_eq!(document["state"] == "finished", finished, "{columns}");
        assert_eq!(document["finished_at"].is_string(), finished, "{columns}");
    }
}

#[tokio::test]
async fn what_has_not_changed_is_not_sent_again() {
    let service = Service::start().await;
    let id = service.accepted("a.pdf", b"x").await;
    let path = format!("/v1/documents/{id}");
    let asked = async |etag: &str| send(service.request(Method::GET, &path).header("if-none-match", etag)).await;

    let first = service.get(&path).await;
    assert_eq!((first.header("etag"), first.header("cache-control")), ("\"v0\"", "private, no-cache"));
    let unchanged = asked("\"v0\"").await;
    assert_eq!((unchanged.status.as_u16(), unchanged.header("etag")), (304, "\"v0\""));
    assert_eq!(asked("\"v7\", W/\"v0\"").await.status, 304);

    service.sql(CLEAN, id).await;
    let changed = asked("\"v0\"").await;
    assert_eq!((changed.status.as_u16(), changed.header("etag")), (200, "\"v2\""));

    // A delivery changes what is shown and is no event of the document.
    let subscribed = "INSERT INTO webhooks.subscriptions (id, tenant, url, secret) VALUES ($1, 'default', 'https://a.example/', 's')";
    service.sql(subscribed, id).await;
    let delivery =
        "INSERT INTO webhooks.deliveries (id, subscription_id, tenant, region, document_id, event_id, event_type, body)
                    VALUES ($1, $1, 'default', 'eu-test', $1, $1, 'document.uploaded', '{}')";
    service.sql(delivery, id).await;
    let announced = asked("\"v2\"").await;
    assert_eq!(announced.json()["webhooks"], json!({"pending": 1, "delivered": 0, "failed": 0}));
    service.sql("UPDATE webhooks.deliveries SET status = 'delivered' WHERE id = $1", id).await;
    let delivered = asked(announced.header("etag")).await;
    assert_eq!((delivered.status.as_u16(), &delivered.json()["webhooks"]["delivered"]), (200, &1.into()));
    assert_eq!(asked(delivered.header("etag")).await.status, 304);
}

#[tokio::test]
async fn a_document_of_another_tenant_does_not_exist() {
    let service = Service::start().await;
    let id = service.accepted("a.pdf", b"x").await;
    service.sql(CLEAN, id).await;
    for path in
        [format!("/v1/documents/{id}"), format!("/v1/documents/{id}/content"), format!("/v1/documents/{id}/text")]
    {
        send(service.request(Method::GET, &path).header("x-tenant-id", "other")).await.problem(404, "not-found");
    }
    let listed = send(service.request(Method::GET, "/v1/documents").header("x-tenant-id", "other")).await.json();
    assert_eq!((&listed["total"], &listed["items"]), (&0.into(), &json!([])));
}

#[tokio::test]
async fn what_is_no_id_names_no_document() {
    let service = Service::start().await;
    for id in ["00000000-0000-0000-0000-000000000000", "1", "x%00", "%ff", "..%2f..%2fetc"] {
        service.get(&format!("/v1/documents/{id}")).await.problem(404, "not-found");
    }
}
