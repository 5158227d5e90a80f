use std::time::Duration;

use docfleet_testkit::eventually;
use document_api::Error;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    form,
    idempotency::slow_body,
    service::{Service, send},
};

#[tokio::test]
async fn an_orderly_end_answers_what_it_began_and_takes_nothing_new() {
    let service = Service::start().await;
    let (first, second) = form::halves(&form::file("slow.pdf", b"slowly"));
    let (feed, body) = slow_body();
    let slow = tokio::spawn(send(service.form(body)));
    feed.send(first).await.unwrap();
    eventually("the upload runs", 10, async || (!service.blobs().is_empty()).then_some(())).await;

    service.stop.cancel();
    eventually("no connection is taken", 10, async || TcpStream::connect(service.address()).await.err()).await;
    assert!(!service.served.is_finished());
    feed.send(second).await.unwrap();
    drop(feed);
    assert_eq!(slow.await.unwrap().status, 201);
    let Service { served, .. } = service;
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_orderly_end_has_a_deadline() {
    let service = Service::with("[api]\nshutdown_drain = '300ms'").await;
    let (feed, body) = slow_body();
    let hanging = tokio::spawn(service.form(body).send());
    feed.send(form::halves(&form::file("a", b"b")).0).await.unwrap();
    eventually("the upload runs", 10, async || (!service.blobs().is_empty()).then_some(())).await;
    service.stop.cancel();
    let Service { served, .. } = service;
    assert!(matches!(served.await.unwrap(), Err(Error::CutOff)));
    hanging.abort();
}

#[tokio::test]
async fn a_client_that_never_ends_its_headers_is_cut_off() {
    let service = Service::with("[api]\nheader_timeout = '300ms'").await;
    let mut client = TcpStream::connect(service.address()).await.unwrap();
    client.write_all(b"GET /v1/documents HTTP/1.1\r\nHost: x\r\nX-Slow: ").await.unwrap();
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(10), client.read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "the connection is still open");
}

#[tokio::test]
async fn a_configuration_that_can_not_work_is_refused() {
    for bad in ["default_tenant = 'Not A Name'", "uploads_max = 0", "connections_max = 0", "upload_byte_max = 5"] {
        let settings = docfleet_telemetry::Settings::from_toml(&format!("[api]\n{bad}"));
        assert!(document_api::App::open(&settings).is_err(), "{bad}");
    }
}
