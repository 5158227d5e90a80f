//! Telemetry is installed once in a process, so this is one test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::mpsc,
    time::Duration,
};

use docfleet_telemetry::{TelemetryConfig, install, trace};

/// Answers one request; gives its head and body on.
fn collector() -> (String, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sender, received) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut request = Vec::new();
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut chunk) {
            request.extend_from_slice(&chunk[..count]);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
        sender.send(request).unwrap();
    });
    (address, received)
}

#[test]
fn spans_reach_the_collector_under_the_trace_that_the_header_names() {
    let (otlp_endpoint, received) = collector();
    let config = TelemetryConfig { otlp_endpoint, ..TelemetryConfig::default() };
    let guard = install("the-service", &config).unwrap();
    let span = tracing::info_span!("the-work", trace_id = tracing::field::Empty);
    trace::adopt(&span, Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
    let handed_on = trace::traceparent_of(&span).unwrap();
    assert_eq!(trace::trace_id(&handed_on), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
    assert!(!handed_on.contains("00f067aa0ba902b7"), "the span is a child, not the parent itself");
    drop(span);
    drop(guard);
    let request = received.recv_timeout(Duration::from_secs(10)).expect("the collector is called");
    assert!(request.starts_with(b"POST /v1/traces "));
    let contains = |needle: &[u8]| request.windows(needle.len()).any(|window| window == needle);
    let trace_id = u128::from_str_radix("4bf92f3577b34da6a3ce929d0e0e4736", 16).unwrap().to_be_bytes();
    assert!(contains(b"the-work") && contains(b"the-service") && contains(&trace_id));
}
