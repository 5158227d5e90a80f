use std::{collections::HashSet, time::Duration};

use axum::http::StatusCode;
use base64::{Engine, engine::general_purpose::STANDARD};
use docfleet_testkit::eventually;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use webhook_dispatcher::deliveries::delivery_id;

use crate::{
    endpoint::{Endpoint, Received},
    rig::{Rig, SECRET, State, TRACEPARENT, announcement, quick},
};

/// As a receiver does it, with nothing of ours.
fn verifies(received: &Received) -> bool {
    let key = STANDARD.decode(SECRET.strip_prefix("whsec_").expect("prefix")).expect("base64");
    let signature = received.header("webhook-signature").strip_prefix("v1,").expect("version 1");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any length");
    mac.update(format!("{}.{}.", received.header("webhook-id"), received.header("webhook-timestamp")).as_bytes());
    mac.update(&received.body);
    mac.verify_slice(&STANDARD.decode(signature).expect("base64")).is_ok()
}

#[tokio::test]
async fn a_delivery_arrives_once_with_a_signature_that_verifies() {
    let (rig, endpoint) = (Rig::fresh().await, Endpoint::accepting().await);
    let subscription = rig.subscribe(&endpoint.url).await;
    let event = announcement(crate::rig::TENANT, "document.uploaded");
    rig.enqueue(&[&event]).await;
    let running = rig.start(&quick());

    let state = rig.finished(event.event_id, subscription).await;
    assert_eq!(state, State { status: "delivered".into(), attempts: 1, last_status: Some(204), last_error: None });
    // Long enough for a second attempt, were there one.
    tokio::time::sleep(Duration::from_millis(200)).await;
    running.stop().await;

    let received = endpoint.received();
    assert_eq!(received.len(), 1);
    let request = &received[0];
    assert!(verifies(request));
    assert_eq!(request.body, event.body.as_bytes());
    assert_eq!(request.header("webhook-id"), delivery_id(event.event_id, subscription).to_string());
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(request.header("traceparent"), TRACEPARENT);
    assert!(request.header("user-agent").starts_with("docfleet-webhooks/"));
    assert!(request.headers.get("accept-encoding").is_none());
    let sent: u64 = request.header("webhook-timestamp").parse().expect("seconds");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    assert!(now.abs_diff(sent) < 60);
}

#[tokio::test]
async fn all_attempts_have_one_id_and_one_body_and_each_its_own_signature() {
    let rig = Rig::fresh().await;
    let endpoint =
        Endpoint::answering(|before| if before < 2 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }).await;
    let subscription = rig.subscribe(&endpoint.url).await;
    let event = rig.announce().await;
    let running = rig.start(&quick());

    let state = rig.finished(event, subscription).await;
    running.stop().await;
    assert_eq!(state, State { status: "delivered".into(), attempts: 3, last_status: Some(200), last_error: None });
    let received = endpoint.received();
    assert_eq!(received.len(), 3);
    assert!(received.iter().all(verifies));
    let distinct: HashSet<_> = received.iter().map(|r| (r.header("webhook-id").to_owned(), r.body.clone())).collect();
    assert_eq!(distinct.len(), 1);
}

#[tokio::test]
async fn an_endpoint_that_never_accepts_exhausts_the_schedule() {
    let (rig, endpoint) = (Rig::fresh().await, Endpoint::answering(|_| StatusCode::INTERNAL_SERVER_ERROR).await);
    let subscription = rig.subscribe(&endpoint.url).await;
    let event = rig.announce().await;
    let running = rig.start(&quick());

    let state = rig.finished(event, subscription).await;
    running.stop().await;
    let error = Some("answered 500".to_owned());
    assert_eq!(state, State { status: "failed".into(), attempts: 4, last_status: Some(500), last_error: error });
    assert_eq!(endpoint.received().len(), 4);
}

#[tokio::test]
async fn an_endpoint_can_end_a_message_with_410_or_the_abort_header() {
    let rig = Rig::fresh().await;
    let gone = Endpoint::answering(|_| StatusCode::GONE).await;
    let aborting =
        Endpoint::answering(|_| (StatusCode::INTERNAL_SERVER_ERROR, [("webhook-delivery", "abort-message")])).await;
    let subscriptions = [(rig.subscribe(&gone.url).await, 410), (rig.subscribe(&aborting.url).await, 500)];
    let event = rig.announce().await;
    let running = rig.start(&quick());

    for (subscription, status) in subscriptions {
        let state = rig.finished(event, subscription).await;
        let error = Some(format!("answered {status} and wants no further attempt"));
        assert_eq!(state, State { status: "failed".into(), attempts: 1, last_status: Some(status), last_error: error });
    }
    running.stop().await;
    assert_eq!((gone.received().len(), aborting.received().len()), (1, 1));
}

#[tokio::test]
async fn a_wish_for_patience_is_granted() {
    let rig = Rig::fresh().await;
    let endpoint = Endpoint::answering(|before| {
        (if before == 0 { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::OK }, [("retry-after", "1")])
    })
    .await;
    let subscription = rig.subscribe(&endpoint.url).await;
    let event = rig.announce().await;
    let running = rig.start(&quick());
    rig.finished(event, subscription).await;
    running.stop().await;
    let received = endpoint.received();
    assert!(received[1].at - received[0].at >= Duration::from_secs(1));
}

#[tokio::test]
async fn two_dispatchers_share_the_work_and_nothing_arrives_twice() {
    let (rig, endpoint) = (Rig::fresh().await, Endpoint::accepting().await);
    let subscriptions = [rig.subscribe(&endpoint.url).await, rig.subscribe(&endpoint.url).await];
    rig.announce_many(60).await;
    let running = [rig.start(&quick()), rig.start(&quick())];
    for subscription in subscriptions {
        eventually("all are delivered", 30, || async {
            (rig.count(subscription, "delivered").await == 60).then_some(())
        })
        .await;
    }
    for running in running {
        running.stop().await;
    }
    let ids: HashSet<String> = endpoint.received().iter().map(|r| r.header("webhook-id").to_owned()).collect();
    assert_eq!((endpoint.received().len(), ids.len()), (120, 120));
}

#[tokio::test]
async fn a_wake_up_spares_the_wait_for_the_next_poll() {
    let (rig, endpoint) = (Rig::fresh().await, Endpoint::accepting().await);
    let subscription = rig.subscribe(&endpoint.url).await;
    let mut config = quick();
    config.poll_interval = Duration::from_secs(600);
    let running = rig.start(&config);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let event = rig.announce().await;
    running.wake.notify_one();
    rig.finished(event, subscription).await;
    running.stop().await;
}

#[tokio::test]
async fn a_shutdown_finishes_what_is_out_and_begins_nothing() {
    let rig = Rig::fresh().await;
    let swift = Endpoint::slow(Duration::from_millis(300), |_| StatusCode::OK).await;
    let slow = Endpoint::slow(Duration::from_millis(1_500), |_| StatusCode::OK).await;
    let subscriptions = [rig.subscribe(&swift.url).await, rig.subscribe(&slow.url).await];
    rig.announce_many(20).await;
    let mut config = quick();
    (config.concurrency, config.per_tenant) = (4, Some(4));
    let running = rig.start(&config);
    eventually("all slots are out", 10, || async { (slow.received().len() == 2).then_some(()) }).await;
    running.stop().await;
    for (endpoint, subscription) in [(&swift, subscriptions[0]), (&slow, subscriptions[1])] {
        let received = endpoint.received().len() as i64;
        assert_eq!(rig.count(subscription, "delivered").await, received, "what was sent is marked");
        assert_eq!(rig.count(subscription, "pending").await, 20 - received);
    }
    assert_eq!(slow.received().len(), 2);
    let out: i64 = sqlx::query_scalar("SELECT count(*) FROM webhooks.deliveries WHERE claimed_at IS NOT NULL")
        .fetch_one(&rig.pool)
        .await
        .expect("count");
    assert_eq!(out, 0, "nothing is left leased");
}

#[tokio::test]
async fn a_secret_that_is_no_key_is_a_failure_that_says_so_and_nothing_goes_out_unsigned() {
    let (rig, endpoint) = (Rig::fresh().await, Endpoint::accepting().await);
    let subscription = rig.subscribe(&endpoint.url).await;
    sqlx::query("UPDATE webhooks.subscriptions SET secret = 'hunter2'").execute(&rig.pool).await.expect("update");
    let event = rig.announce().await;
    let running = rig.start(&quick());
    let state = rig.finished(event, subscription).await;
    running.stop().await;
    assert_eq!(state.status, "failed");
    assert!(state.last_error.is_some_and(|error| error.contains("whsec_") && !error.contains("hunter2")));
    assert!(endpoint.received().is_empty());
}
