use reqwest::Method;

use crate::{
    form,
    service::{Service, send},
    telemetry::{log_lines, metrics},
};

#[tokio::test]
async fn every_answer_names_its_request() {
    let service = Service::start().await;
    let given = send(service.request(Method::GET, "/v1/documents").header("x-request-id", "client-7")).await;
    assert_eq!(given.header("x-request-id"), "client-7");
    let unfit = send(service.request(Method::GET, "/v1/documents").header("x-request-id", "a b")).await;
    assert!(uuid::Uuid::parse_str(unfit.header("x-request-id")).is_ok());
    assert!(!service.get("/nowhere").await.header("x-request-id").is_empty());
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_too() {
    let service = Service::start().await;
    service.get("/nowhere").await.problem(404, "not-found");
    service.get("/v1/documents/").await.problem(404, "not-found");
    let refused = send(service.request(Method::PUT, "/v1/documents")).await;
    refused.problem(405, "method-not-allowed");
    assert_eq!(refused.json()["instance"], "/v1/documents");
    let allowed: Vec<_> = refused.header("allow").split(',').map(str::trim).collect();
    assert!(allowed.contains(&"GET") && allowed.contains(&"POST"), "{allowed:?}");
    for (name, value) in
        [("x-content-type-options", "nosniff"), ("cache-control", "no-store"), ("referrer-policy", "no-referrer")]
    {
        assert_eq!(refused.header(name), value);
    }
}

#[tokio::test]
async fn a_trace_goes_on_from_the_request_into_the_event() {
    let service = Service::start().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request =
        service.form(form::file("a.pdf", b"x")).header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"));
    let answer = send(request.header("x-request-id", "traced-upload")).await;
    assert_eq!(answer.status, 201);
    let traceparent: String = sqlx::query_scalar(
        "SELECT header ->> 1 FROM pipeline.outbox_events, jsonb_array_elements(headers) header WHERE header ->> 0 = 'traceparent'",
    )
    .fetch_one(&service.pool)
    .await
    .unwrap();
    assert!(
        traceparent.starts_with(&format!("00-{trace}-")) && !traceparent.contains("00f067aa0ba902b7"),
        "{traceparent}"
    );
    let line = log_lines("traced-upload").into_iter().find(|line| line.contains("\"message\":\"accepted\"")).unwrap();
    assert!(line.contains(trace) && line.contains(&answer.id().to_string()), "{line}");
}

#[tokio::test]
async fn a_hostile_traceparent_does_no_harm() {
    let service = Service::start().await;
    for value in ["", "00", "zz-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", &"0".repeat(5_000)] {
        let answer = send(service.form(form::file("a.pdf", b"x")).header("traceparent", value)).await;
        assert_eq!(answer.status, 201, "{value}");
    }
}

#[tokio::test]
async fn file_names_and_secrets_are_never_logged() {
    let service = Service::start().await;
    let name = "Passport-of-Erika-Mustermann-7731.pdf";
    let uploaded = send(
        service.form(form::file(name, b"x")).header("idempotency-key", "private").header("x-request-id", "seen-1"),
    )
    .await;
    assert_eq!(uploaded.status, 201);
    send(service.form(form::file(name, b"y")).header("idempotency-key", "private"))
        .await
        .problem(422, "idempotency-key-reused");
    service
        .upload([form::part(&format!("Content-Disposition: form-data; name=\"{name}\""), b"x"), form::end()].concat())
        .await
        .problem(400, "missing-file");
    service.get(&format!("/v1/documents/{}", uploaded.id())).await;
    service.get("/v1/documents").await;
    let request = service.request(Method::POST, "/v1/webhooks");
    let secret = send(request.json(&serde_json::json!({"url": "https://a.example/"}))).await.json()["secret"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(!log_lines("seen-1").is_empty(), "the log is read at all");
    assert_eq!(log_lines("Mustermann"), Vec::<String>::new());
    assert_eq!(log_lines(&secret), Vec::<String>::new());
}

#[tokio::test]
async fn requests_are_counted_by_route_and_never_by_path() {
    let service = Service::start().await;
    let id = uuid::Uuid::new_v4();
    service.get(&format!("/v1/documents/{id}")).await.problem(404, "not-found");
    service.get(&format!("/invented/{id}")).await.problem(404, "not-found");
    send(service.request(Method::from_bytes(b"INVENTED").unwrap(), "/v1/documents"))
        .await
        .problem(405, "method-not-allowed");
    let metrics = metrics();
    let has = |name: &str, labels: &[&str]| {
        metrics.lines().any(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label)))
    };
    let found = ["route=\"/v1/documents/{id}\"", "method=\"GET\"", "status=\"404\""];
    assert!(has("docfleet_http_requests_total", &found), "{metrics}");
    assert!(has("docfleet_http_request_duration_seconds_bucket", &found), "{metrics}");
    assert!(has("docfleet_http_requests_total", &["route=\"unmatched\""]), "{metrics}");
    assert!(has("docfleet_http_requests_total", &["method=\"other\"", "status=\"405\""]), "{metrics}");
    assert!(!metrics.contains(&id.to_string()) && !metrics.contains("INVENTED"), "{metrics}");
}
