use docfleet_events::{DocumentUploaded, Event};
use docfleet_outbox::{Input, Registry, RegistryConfig, codec};
use docfleet_testkit::{Servers, eventually};
use serde_json::Value;
use sqlx::Row;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{
    form,
    service::{Service, content_key, send},
};

#[tokio::test]
async fn an_upload_is_stored_answered_and_announced() {
    let service = Service::start().await;
    let answer = send(service.form(form::file("letter.pdf", b"%PDF-1.7 hello")).header("x-tenant-id", "acme")).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let (id, document) = (answer.id(), answer.json());
    assert_eq!(answer.header("location"), format!("/v1/documents/{id}"));
    assert_eq!((&document["tenant"], &document["region"]), (&"acme".into(), &"eu-test".into()));
    assert_eq!((&document["file_name"], &document["size_bytes"]), (&"letter.pdf".into(), &14.into()));
    assert_eq!((&document["state"], &document["version"]), (&"processing".into(), &0.into()));
    let key = content_key("acme", b"%PDF-1.7 hello");
    assert_eq!(service.blob(&key), b"%PDF-1.7 hello");

    let row = sqlx::query("SELECT * FROM pipeline.outbox_events").fetch_one(&service.pool).await.unwrap();
    assert_eq!(row.get::<&str, _>("topic"), "it.documents.uploaded.v1");
    assert_eq!(row.get::<&str, _>("kind"), "event");
    assert_eq!(row.get::<i64, _>("aggregate_version"), 1);
    assert_eq!(row.get::<&[u8], _>("key"), id.to_string().as_bytes());
    let headers: Vec<(String, String)> = serde_json::from_value(row.get::<Value, _>("headers")).unwrap();
    assert!(!headers.iter().any(|(_, value)| value.contains("letter")), "a file name is no header: {headers:?}");

    let registry =
        Registry::new(&RegistryConfig { url: Servers::running().registry_url(), ..Default::default() }).unwrap();
    let (schema_id, datum) = codec::unframe(row.get("payload")).unwrap();
    let schema = registry.schema(schema_id).await.unwrap();
    let (meta, event) = <DocumentUploaded as Input>::decode(&schema, datum).unwrap();
    assert_eq!((meta.event_id, meta.aggregate_id), (row.get("event_id"), id));
    assert_eq!((meta.aggregate_type.as_str(), meta.aggregate_version), (DocumentUploaded::AGGREGATE_TYPE, 1));
    assert_eq!((meta.tenant.as_str(), meta.region.as_str(), meta.cause), ("acme", "eu-test", None));
    assert!(meta.traceparent.is_some());
    assert_eq!((event.document_id, event.file_name.as_str()), (id, "letter.pdf"));
    assert_eq!(event.declared_mime.as_deref(), Some("application/pdf"));
    assert!(key.ends_with(&event.sha256.unwrap()));
    assert_eq!((event.blob.key, event.blob.size_bytes), (key, 14));
}

#[tokio::test]
async fn an_empty_file_is_a_document_too() {
    let service = Service::start().await;
    let answer = service.upload(form::file("empty.pdf", b"")).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["size_bytes"]), (201, &0.into()));
    assert_eq!(service.content(b""), b"");
    assert_eq!(service.count("pipeline.outbox_events").await, 1);
}

#[tokio::test]
async fn a_file_is_taken_up_to_the_limit_and_not_beyond() {
    let service = Service::with("[api]\nupload_bytes_max = 100000").await;
    service.accepted("fits.bin", &[7; 100_000]).await;
    let detail = service.upload(form::file("large.bin", &[7; 100_001])).await.problem(413, "too-large");
    assert!(detail.contains("100000"), "{detail}");
    // Told by its Content-Length already, and read on for a while so that the answer arrives.
    service.upload(form::file("huge.bin", &vec![7; 6_000_000])).await.problem(413, "too-large");
    // Without a Content-Length.
    let chunks = form::file("streamed.bin", &[7; 300_000])
        .chunks(10_000)
        .map(|c| Ok::<_, String>(c.to_vec()))
        .collect::<Vec<_>>();
    let body = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
    service.upload(body).await.problem(413, "too-large");
    assert_eq!((service.blobs().len(), service.count("documents.documents").await), (1, 1));
}

#[tokio::test]
async fn what_is_not_a_form_with_one_file_is_refused_and_leaves_nothing() {
    let service = Service::start().await;
    let file = "Content-Disposition: form-data; name=\"file\"; filename=\"a\"";
    let other = "Content-Disposition: form-data; name=\"comment\"";
    let truncated = form::part(file, b"half of it");
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("missing-file", form::end()),
        ("missing-file", [form::part(other, b"x"), form::end()].concat()),
        ("missing-file", [form::part("Content-Disposition: form-data", b"x"), form::end()].concat()),
        ("missing-file", [form::part("X-Nothing: 1", b"x"), form::end()].concat()),
        ("missing-file", [form::part(other, b"x"), form::part(file, b"y"), form::end()].concat()),
        ("too-many-parts", [form::part(file, b"x"), form::part(file, b"y"), form::end()].concat()),
        ("too-many-parts", [form::part(file, b"x"), form::part(other, b"y"), form::end()].concat()),
        ("invalid-multipart", truncated.clone()),
        ("invalid-multipart", truncated[..truncated.len() - 2].to_vec()),
        ("invalid-multipart", b"".to_vec()),
        ("invalid-multipart", b"no form at all".to_vec()),
        ("invalid-multipart", form::part("Content-Disposition", b"x")),
        ("invalid-multipart", [vec![b'x'; 600_000], form::file("a", b"b")].concat()),
        ("invalid-multipart", form::named(&format!("filename=\"{}\"", "n".repeat(600_000)), "a/b", b"")),
    ];
    for (slug, body) in bodies {
        let shown = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
        let answer = service.upload(body).await;
        assert_eq!(answer.status, 400, "{shown}");
        answer.problem(400, slug);
    }
    for mime in ["application/json", "text/plain", "multipart/form-data", "multipart/mixed; boundary=x", ""] {
        let request = service.request(reqwest::Method::POST, "/v1/documents").header("content-type", mime);
        send(request.body(form::file("a", b"b"))).await.problem(415, "not-multipart");
    }
    assert_eq!(service.blobs(), Vec::<std::path::PathBuf>::new());
    assert_eq!(service.count("documents.documents").await + service.count("pipeline.outbox_events").await, 0);
}

#[tokio::test]
async fn hostile_names_become_harmless_ones() {
    let service = Service::start().await;
    for (parameters, kept) in [
        ("filename=\"../../../etc/passwd\"", "passwd"),
        ("filename=\"C:\\\\fakepath\\\\Brief März.pdf\"", "Brief März.pdf"),
        ("filename=\"in\u{1}voice\u{202e}fdp.exe\"", "unnamed-or-clean"),
        ("filename=\"a\\\"; rm -rf ~; \\\".pdf\"", "a\"; rm -rf ~; \".pdf"),
        ("filename=\"..\"", "unnamed"),
        ("filename=\"\"", "unnamed"),
        ("x=y", "unnamed"),
    ] {
        let answer = service.upload(form::named(parameters, "application/pdf", b"x")).await;
        if kept == "unnamed-or-clean" {
            // HTTP forbids most control characters in headers, so the parser may refuse them before we see them.
            let name = answer.json()["file_name"].as_str().unwrap_or_default().to_owned();
            assert!(answer.status == 400 || name == "invoicefdp.exe", "{}", answer.text());
            continue;
        }
        assert_eq!(answer.status, 201, "{parameters}: {}", answer.text());
        assert_eq!(answer.json()["file_name"], kept, "{parameters}");
    }
    let long = service.upload(form::file(&format!("{}.pdf", "x".repeat(5_000)), b"x")).await.json();
    assert_eq!(long["file_name"].as_str().unwrap().len(), 255);
    assert!(long["file_name"].as_str().unwrap().ends_with("x.pdf"));
    // Names name nothing: what they all hold lies under its hash.
    assert_eq!(service.blobs(), [std::path::PathBuf::from(content_key("default", b"x"))]);
}

#[tokio::test]
async fn a_claimed_type_is_kept_as_a_claim() {
    let service = Service::start().await;
    for (mime, kept) in [("IMAGE/PNG; q=1", "image/png".into()), ("image/svg+xml", "image/svg+xml".into())] {
        let answer = service.upload(form::named("filename=\"a\"", mime, b"x")).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["declared_mime"]), (201, &kept), "{mime}");
    }
    let unclaimed = form::part("Content-Disposition: form-data; name=\"file\"; filename=\"a\"", b"x");
    let answer = service.upload([unclaimed, form::end()].concat()).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["declared_mime"]), (201, &Value::Null));
}

#[tokio::test]
async fn a_tenant_that_is_no_name_is_refused_before_anything_is_stored() {
    let service = Service::start().await;
    for tenant in ["Acme", "../x", "a/b", "-a", "a b", &"a".repeat(64)] {
        send(service.form(form::file("a", b"b")).header("x-tenant-id", tenant)).await.problem(400, "invalid-tenant");
    }
    let twice = service.form(form::file("a", b"b")).header("x-tenant-id", "a").header("x-tenant-id", "b");
    send(twice).await.problem(400, "invalid-tenant");
    assert!(service.blobs().is_empty());
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_leaves_nothing_behind() {
    let service = Service::start().await;
    let body = form::file("half.pdf", &[1; 50_000]);
    let head = format!(
        "POST /v1/documents HTTP/1.1\r\nHost: x\r\nContent-Type: {}\r\nContent-Length: {}\r\nIdempotency-Key: left\r\n\r\n",
        form::CONTENT_TYPE,
        body.len()
    );
    let mut client = TcpStream::connect(service.address()).await.unwrap();
    client.write_all(&[head.as_bytes(), &body[..30_000]].concat()).await.unwrap();
    eventually("the upload runs", 10, async || (!service.blobs().is_empty()).then_some(())).await;
    drop(client);
    eventually("its blob is gone", 10, async || service.blobs().is_empty().then_some(())).await;
    eventually("its key is free again", 10, async || {
        (service.count("documents.idempotency_keys").await == 0).then_some(())
    })
    .await;
    assert_eq!(service.count("documents.documents").await, 0);
}

#[tokio::test]
async fn an_upload_that_falls_silent_is_given_up() {
    let service = Service::with("[api]\nupload_idle_timeout = '300ms'").await;
    let chunks = futures::stream::iter([Ok::<_, String>(form::file("a", &[0; 100])[..150].to_vec())]);
    let body = reqwest::Body::wrap_stream(futures::StreamExt::chain(chunks, futures::stream::pending()));
    service.upload(body).await.problem(408, "upload-too-slow");
    assert!(service.blobs().is_empty());
}

#[tokio::test]
async fn an_upload_that_only_drips_is_given_up_and_makes_room() {
    let service = Service::with("[api]\nuploads_max = 1\nupload_slow_grace = '500ms'").await;
    let (feed, body) = crate::idempotency::slow_body();
    let dripping = tokio::spawn(send(service.form(body)));
    feed.send(form::halves(&form::file("drops.pdf", b"drops")).0).await.unwrap();
    for _ in 0..3 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        feed.send(b".".to_vec()).await.unwrap();
    }
    dripping.await.unwrap().problem(408, "upload-too-slow");
    service.accepted("quick.pdf", b"x").await;
    assert_eq!(service.blobs().len(), 1);
}

#[tokio::test]
async fn more_uploads_at_once_than_allowed_are_told_to_come_back() {
    let service = Service::with("[api]\nuploads_max = 1").await;
    let (feed, body) = crate::idempotency::slow_body();
    let slow = tokio::spawn(send(service.form(body)));
    let (first, second) = form::halves(&form::file("slow.pdf", b"slowly"));
    feed.send(first).await.unwrap();
    eventually("the upload runs", 10, async || (!service.blobs().is_empty()).then_some(())).await;
    let answer = service.upload(form::file("second.pdf", b"x")).await;
    answer.problem(503, "busy");
    assert_eq!(answer.header("retry-after"), "2");
    feed.send(second).await.unwrap();
    drop(feed);
    assert_eq!(slow.await.unwrap().status, 201);
    service.accepted("third.pdf", b"x").await;
}
