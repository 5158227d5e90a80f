use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use docfleet_testkit::eventually;
use futures::FutureExt;
use tokio::io::AsyncWriteExt;
use webhook_dispatcher::{WebhooksConfig, egress::Lookup};

use crate::{
    endpoint::{Endpoint, RawEndpoint, read_request},
    rig::{Rig, State, quick},
};

/// One attempt, so that a test sees what came of it.
fn one_attempt() -> WebhooksConfig {
    let mut config = quick();
    config.schedule.truncate(1);
    config.request_timeout = Duration::from_millis(1_500);
    config.total_timeout = Duration::from_millis(3_000);
    config
}

/// What becomes of one delivery to `url`.
async fn outcome(url: &str, config: &WebhooksConfig) -> State {
    let rig = Rig::fresh().await;
    let subscription = rig.subscribe(url).await;
    let event = rig.announce().await;
    let running = rig.start(config);
    let state = rig.finished(event, subscription).await;
    running.stop().await;
    state
}

fn lost(error: &str) -> State {
    State { status: "failed".into(), attempts: 1, last_status: None, last_error: Some(error.to_owned()) }
}

#[tokio::test]
async fn an_endpoint_that_hangs_takes_its_own_slots_and_not_the_others() {
    let (rig, hanging, well) = (Rig::fresh().await, RawEndpoint::hanging().await, Endpoint::accepting().await);
    let (stuck, flowing) = (rig.subscribe(&hanging.url).await, rig.subscribe(&well.url).await);
    rig.announce_many(30).await;
    let mut config = quick();
    (config.concurrency, config.per_tenant) = (4, Some(4));
    config.request_timeout = Duration::from_secs(1);
    let started = Instant::now();
    let running = rig.start(&config);
    eventually("the others are delivered", 20, || async {
        (rig.count(flowing, "delivered").await == 30).then_some(())
    })
    .await;
    // Two slots of one second each would have needed fifteen.
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    eventually("the timeouts are written down", 10, || async {
        let sql =
            "SELECT count(*) FROM webhooks.deliveries WHERE subscription_id = $1 AND last_error = 'no answer in time'";
        let timeouts: i64 = sqlx::query_scalar(sql).bind(stuck).fetch_one(&rig.pool).await.expect("count");
        (timeouts >= 2).then_some(())
    })
    .await;
    assert!(hanging.most_at_once() <= 2, "{}", hanging.most_at_once());
    running.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_keeps_failing_gets_a_rest() {
    let (rig, endpoint) = (Rig::fresh().await, Endpoint::answering(|_| StatusCode::BAD_GATEWAY).await);
    let subscription = rig.subscribe(&endpoint.url).await;
    rig.announce_many(30).await;
    let mut config = quick();
    config.rest = Duration::from_secs(60);
    let running = rig.start(&config);
    eventually("it failed often enough", 10, || async { (endpoint.received().len() >= 5).then_some(()) }).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    // Five in a row, and one that was out beside the fifth.
    assert!(endpoint.received().len() <= 6, "{}", endpoint.received().len());
    assert_eq!(rig.count(subscription, "pending").await, 30, "resting burns no attempts");
    running.stop().await;
}

#[tokio::test]
async fn an_endless_answer_is_cut() {
    let sent = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&sent);
    let endpoint = RawEndpoint::behaving(move |mut stream| {
        let sent = Arc::clone(&counted);
        async move {
            read_request(&mut stream).await;
            let head = "HTTP/1.1 200 OK\r\ncontent-length: 10737418240\r\n\r\n";
            stream.write_all(head.as_bytes()).await.ok();
            let chunk = vec![b'x'; 64 * 1024];
            while stream.write_all(&chunk).await.is_ok() {
                sent.fetch_add(chunk.len() as u64, Ordering::SeqCst);
            }
        }
    })
    .await;
    let state = outcome(&endpoint.url, &one_attempt()).await;
    assert_eq!(state, State { status: "delivered".into(), attempts: 1, last_status: Some(200), last_error: None });
    // What was taken, and what the kernel's buffers hold of the rest.
    assert!(sent.load(Ordering::SeqCst) < 32 * 1024 * 1024, "{} bytes went out", sent.load(Ordering::SeqCst));
}

#[tokio::test]
async fn an_answer_that_drips_is_cut_by_the_clock_and_its_status_counts() {
    let endpoint = RawEndpoint::behaving(|mut stream| async move {
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 1000000\r\n\r\n").await.ok();
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let started = Instant::now();
    let state = outcome(&endpoint.url, &one_attempt()).await;
    assert_eq!((state.status.as_str(), state.last_status), ("delivered", Some(202)));
    assert!(started.elapsed() < Duration::from_secs(8));
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_is_not_followed() {
    let inside = Endpoint::accepting().await;
    for status in [
        StatusCode::MOVED_PERMANENTLY,
        StatusCode::FOUND,
        StatusCode::TEMPORARY_REDIRECT,
        StatusCode::PERMANENT_REDIRECT,
    ] {
        let to = inside.url.clone();
        let endpoint = Endpoint::answering(move |_| (status, [("location", to.clone())])).await;
        let state = outcome(&endpoint.url, &one_attempt()).await;
        let error = Some(format!("answered {}; redirects are not followed", status.as_u16()));
        let code = Some(i32::from(status.as_u16()));
        assert_eq!(state, State { status: "failed".into(), attempts: 1, last_status: code, last_error: error });
    }
    assert!(inside.received().is_empty());
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_a_timeout() {
    let endpoint = RawEndpoint::behaving(|mut stream| async move {
        read_request(&mut stream).await;
        for byte in "HTTP/1.1 200 OK\r\n".bytes().chain(std::iter::repeat(b'x')) {
            if stream.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    })
    .await;
    assert_eq!(outcome(&endpoint.url, &one_attempt()).await, lost("no answer in time"));
}

#[tokio::test]
async fn a_head_without_end_is_cut() {
    let endpoint = RawEndpoint::behaving(|mut stream| async move {
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await.ok();
        let chunk = vec![b'x'; 64 * 1024];
        while stream.write_all(&chunk).await.is_ok() {}
    })
    .await;
    let state = outcome(&endpoint.url, &one_attempt()).await;
    assert_eq!((state.status.as_str(), state.last_status), ("failed", None));
}

#[tokio::test]
async fn a_reset_after_the_accept_is_a_broken_connection() {
    let endpoint = RawEndpoint::behaving(|stream| async move {
        stream.set_zero_linger().expect("linger");
    })
    .await;
    let state = outcome(&endpoint.url, &one_attempt()).await;
    assert_eq!(state, lost("the connection broke before the answer was complete, or the answer is not HTTP"));
}

#[tokio::test]
async fn what_is_not_http_is_not_an_answer() {
    let endpoint = RawEndpoint::behaving(|mut stream| async move {
        read_request(&mut stream).await;
        stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await.ok();
    })
    .await;
    let state = outcome(&endpoint.url, &one_attempt()).await;
    assert_eq!(state, lost("the connection broke before the answer was complete, or the answer is not HTTP"));
}

#[tokio::test]
async fn nobody_at_the_port_is_no_connection() {
    let (listener, address) = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        (listener, address)
    };
    drop(listener);
    let state = outcome(&format!("http://{address}/"), &one_attempt()).await;
    assert_eq!(state, lost("no connection to the endpoint"));
}

#[tokio::test]
async fn plain_http_behind_https_is_a_tls_failure() {
    let endpoint = Endpoint::accepting().await;
    let state = outcome(&endpoint.url.replace("http:", "https:"), &one_attempt()).await;
    assert_eq!(state, lost("the endpoint's certificate was not accepted, or TLS failed"));
    assert!(endpoint.received().is_empty());
}

/// The endpoint got it, we do not know: the one case in which a healthy endpoint sees an id twice.
#[tokio::test]
async fn when_the_answer_is_lost_the_delivery_comes_again_under_the_same_id() {
    let rig = Rig::fresh().await;
    let log = Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = Arc::clone(&log);
    let endpoint = RawEndpoint::behaving(move |mut stream| {
        let log = Arc::clone(&kept);
        async move {
            let request = read_request(&mut stream).await;
            let id = request.lines().find_map(|l| l.strip_prefix("webhook-id: ")).unwrap_or("none").to_owned();
            let before = {
                let mut log = log.lock().unwrap();
                log.push(id);
                log.len() - 1
            };
            if before > 0 {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.ok();
            }
        }
    })
    .await;
    let subscription = rig.subscribe(&endpoint.url).await;
    let event = rig.announce().await;
    let running = rig.start(&quick());
    assert_eq!(rig.finished(event, subscription).await.attempts, 2);
    running.stop().await;
    let ids = log.lock().unwrap().clone();
    let id = webhook_dispatcher::deliveries::delivery_id(event, subscription).to_string();
    assert_eq!(ids, [id.clone(), id]);
}

#[tokio::test]
async fn a_private_address_fails_at_once_and_says_why() {
    for (url, error) in [
        ("http://10.0.0.1/", "refused: the URL's address is not a public one"),
        ("http://169.254.169.254/latest/meta-data/", "refused: the URL's address is not a public one"),
        ("http://[::ffff:169.254.169.254]/", "refused: the URL's address is not a public one"),
        ("http://2852039166/", "refused: the URL's address is not a public one"),
        ("http://user@127.0.0.1/", "refused: the URL has a user name or a password in it"),
        ("file:///etc/passwd", "refused: the URL's scheme is not https"),
    ] {
        // Several attempts are planned: a URL that can not change gets one.
        assert_eq!(outcome(url, &quick()).await, lost(error), "{url}");
    }
}

#[tokio::test]
async fn without_the_development_switch_loopback_and_plain_http_are_refused() {
    let endpoint = RawEndpoint::hanging().await;
    let production = WebhooksConfig { allow_loopback: false, ports: vec![endpoint.address.port()], ..one_attempt() };
    let state = outcome(&endpoint.url, &production).await;
    assert_eq!(state, lost("refused: the URL's scheme is not https"));
    let state = outcome(&endpoint.url.replace("http:", "https:"), &production).await;
    assert_eq!(state, lost("refused: the URL's address is not a public one"));
    assert_eq!(endpoint.connections(), 0);
}

#[tokio::test]
async fn a_name_that_turns_inwards_after_it_was_checked_is_not_dialled() {
    let (rig, inside) = (Rig::fresh().await, RawEndpoint::hanging().await);
    let asked = Arc::new(AtomicUsize::new(0));
    let lookup: Lookup = {
        let asked = Arc::clone(&asked);
        Arc::new(move |_| {
            let first = asked.fetch_add(1, Ordering::SeqCst) == 0;
            let answer = if first { [9, 9, 9, 9] } else { [127, 0, 0, 1] };
            async move { Ok(vec![IpAddr::from(answer)]) }.boxed()
        })
    };
    // The check that an attacker waits for, when the subscription is made.
    assert_eq!(lookup("rebinding.example".to_owned()).await.expect("an answer"), [IpAddr::from([9, 9, 9, 9])]);

    let port = inside.address.port();
    let subscription = rig.subscribe(&format!("https://rebinding.example:{port}/")).await;
    let event = rig.announce().await;
    let production = WebhooksConfig { allow_loopback: false, ports: vec![port], ..quick() };
    let running = rig.start_resolving(&production, lookup);
    let state = rig.finished(event, subscription).await;
    running.stop().await;
    assert_eq!((state.status.as_str(), state.attempts), ("failed", 4), "a name may change back, so it is tried again");
    assert_eq!(state.last_error.as_deref(), Some("refused: the host resolves to no public address"));
    assert_eq!(asked.load(Ordering::SeqCst), 5, "each attempt resolves anew");
    assert_eq!(inside.connections(), 0);
}

/// In a process of its own, as the environment is the whole process's.
#[test]
fn a_proxy_in_the_environment_does_not_dial_for_us() {
    let mut other = std::process::Command::new(std::env::current_exe().expect("this test"));
    other.args(["--exact", "delivery::a_delivery_arrives_once_with_a_signature_that_verifies"]);
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        // Nobody listens there.
        other.env(name, "http://127.0.0.1:9");
    }
    let output = other.env_remove("no_proxy").env_remove("NO_PROXY").output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[tokio::test]
async fn a_name_that_does_not_resolve_says_so() {
    let rig = Rig::fresh().await;
    let subscription = rig.subscribe("https://nowhere.example/").await;
    let event = rig.announce().await;
    let lookup: Lookup = Arc::new(|_| async { Err(std::io::Error::other("no such host")) }.boxed());
    let running = rig.start_resolving(&one_attempt(), lookup);
    assert_eq!(rig.finished(event, subscription).await, lost("the host name could not be resolved"));
    running.stop().await;
}
