use reqwest::Method;
use serde_json::{Value, json};

use crate::service::{Answer, Service, send};

async fn create(service: &Service, body: Value) -> Answer {
    send(service.request(Method::POST, "/v1/webhooks").json(&body)).await
}

async fn raw(service: &Service, mime: &str, body: impl Into<reqwest::Body>) -> Answer {
    send(service.request(Method::POST, "/v1/webhooks").header("content-type", mime).body(body)).await
}

#[tokio::test]
async fn a_subscription_is_made_read_listed_and_ended() {
    let service = Service::start().await;
    let wanted = json!({"url": "https://partner.example/hook", "event_types": ["document.text_extracted"], "description": "KYC"});
    let created = create(&service, wanted).await;
    assert_eq!(created.status, 201, "{}", created.text());
    let path = created.header("location").to_owned();
    let mut webhook = created.json();
    let secret = webhook.as_object_mut().unwrap().remove("secret").unwrap();
    assert!(secret.as_str().is_some_and(|s| s.starts_with("whsec_") && s.len() == 50), "{secret}");
    // The dispatcher signs by what stands in the row; nobody else sees it again.
    let stored: String =
        sqlx::query_scalar("SELECT secret FROM webhooks.subscriptions").fetch_one(&service.pool).await.unwrap();
    assert_eq!(secret, stored);

    assert_eq!(service.get(&path).await.json(), webhook);
    let listed = service.get("/v1/webhooks").await.json();
    assert_eq!((&listed["items"], &listed["total"]), (&json!([webhook]), &1.into()));
    assert_eq!(send(service.request(Method::DELETE, &path)).await.status, 204);
    send(service.request(Method::DELETE, &path)).await.problem(404, "not-found");
    service.get(&path).await.problem(404, "not-found");
    service.get(&format!("{path}/deliveries")).await.problem(404, "not-found");
    let listed = service.get("/v1/webhooks").await.json();
    assert_eq!((&listed["items"], &listed["total"]), (&json!([]), &0.into()));
}

#[tokio::test]
async fn a_subscription_of_another_tenant_does_not_exist() {
    let service = Service::start().await;
    let path = create(&service, json!({"url": "https://a.example/"})).await.header("location").to_owned();
    for (method, path) in
        [(Method::GET, path.clone()), (Method::DELETE, path.clone()), (Method::GET, format!("{path}/deliveries"))]
    {
        send(service.request(method, &path).header("x-tenant-id", "other")).await.problem(404, "not-found");
    }
    assert_eq!(service.count("webhooks.subscriptions").await, 1);
}

#[tokio::test]
async fn deliveries_are_listed_newest_first_without_their_bodies() {
    let service = Service::start().await;
    let created = create(&service, json!({"url": "https://a.example/"})).await;
    let path = format!("{}/deliveries", created.header("location"));
    assert_eq!(service.get(&path).await.json()["total"], 0);
    service
        .sql(
            r"INSERT INTO webhooks.deliveries (id, subscription_id, tenant, region, document_id, event_id, event_type, body, status,
                     attempts, last_status, created_at)
              SELECT gen_random_uuid(), $1, 'default', 'eu-test', gen_random_uuid(), gen_random_uuid(), 'document.uploaded',
                     '{}', status, 1, code, now() + ord * interval '1 second'
                FROM (VALUES ('delivered', 200, 1), ('failed', 500, 2), ('pending', NULL, 3)) AS v (status, code, ord)",
            created.id(),
        )
        .await;
    let page = service.get(&format!("{path}?page_size=2")).await.json();
    assert_eq!((&page["total"], &page["items"][0]["status"]), (&3.into(), &"pending".into()));
    assert!(page["items"][0]["next_attempt_at"].is_string() && page["items"][1]["next_attempt_at"].is_null());
    let rest = service.get(page["links"]["next"].as_str().unwrap()).await.json();
    assert_eq!(rest["items"][0]["last_status"], 200);
    // The rows are the dispatcher's to remove; nobody sees them any more.
    assert_eq!(send(service.request(Method::DELETE, created.header("location"))).await.status, 204);
    service.get(&path).await.problem(404, "not-found");
}

#[tokio::test]
async fn what_can_not_be_subscribed_is_refused() {
    let service = Service::start().await;
    for body in [
        json!({"url": "http://partner.example/"}),
        json!({"url": "https://user:secret@partner.example/"}),
        json!({"url": "https://127.0.0.1/"}),
        json!({"url": "http://127.0.0.1:9/"}),
        json!({"url": "not a url"}),
        json!({"url": format!("https://a.example/{}", "x".repeat(3_000))}),
        json!({"url": "https://a.example/", "event_types": ["document.burned"]}),
        json!({"url": "https://a.example/", "description": "x".repeat(300)}),
    ] {
        let detail = create(&service, body).await.problem(422, "invalid-webhook");
        assert!(!detail.contains("secret"), "{detail}");
    }
    for body in ["", "{", "[]", "null", "{}", r#"{"url": 7}"#, r#"{"url": "https://a.example/", "secret": "mine"}"#] {
        let detail = raw(&service, "application/json", body).await.problem(400, "invalid-json");
        assert!(!detail.contains("mine"), "{detail}");
    }
    raw(&service, "text/plain", "{}").await.problem(415, "not-json");
    raw(&service, "application/json", "x".repeat(70_000)).await.problem(413, "too-large");
    assert_eq!(service.count("webhooks.subscriptions").await, 0);
}

#[tokio::test]
async fn development_may_be_told_on_loopback() {
    let service =
        Service::with("[webhooks]\nallow_loopback = true\nattempt_timeout = 'the dispatcher reads this'").await;
    assert_eq!(create(&service, json!({"url": "http://127.0.0.1:9000/hook"})).await.status, 201);
    create(&service, json!({"url": "http://partner.example/"})).await.problem(422, "invalid-webhook");
}

#[tokio::test]
async fn a_tenant_has_no_end_of_subscriptions_but_a_limit() {
    let service = Service::start().await;
    let filled = "INSERT INTO webhooks.subscriptions (id, tenant, url, secret) SELECT gen_random_uuid(), 'default', 'https://a.example/', $1::text FROM generate_series(1, 100)";
    service.sql(filled, uuid::Uuid::nil()).await;
    create(&service, json!({"url": "https://a.example/"})).await.problem(409, "too-many-webhooks");
    let item = service.get("/v1/webhooks?page_size=1").await.json()["items"][0]["links"]["self"].clone();
    assert_eq!(send(service.request(Method::DELETE, item.as_str().unwrap())).await.status, 204);
    assert_eq!(
        create(&service, json!({"url": "https://a.example/"})).await.status,
        201,
        "a deleted one does not count"
    );
    let other = service.request(Method::POST, "/v1/webhooks").header("x-tenant-id", "other");
    assert_eq!(send(other.json(&json!({"url": "https://a.example/"}))).await.status, 201);
}
