use std::{collections::HashSet, time::Duration};

use axum::http::StatusCode;
use docfleet_testkit::eventually;
use tokio_util::sync::CancellationToken;
use webhook_dispatcher::{
    Answer, Courier, Lost, Step,
    deliveries::{Claimed, Room, backlog, claim, delivery_id, mark},
    egress::system_lookup,
};

use crate::{
    endpoint::{Endpoint, RawEndpoint},
    rig::{Rig, quick},
};

const LONG: Duration = Duration::from_secs(60);
const URL: &str = "https://partner.example/";
const ACCEPTED: Answer = Answer::Accepted { status: 200 };

fn room(total: i64, per_subscription: i64) -> Room {
    Room { total, per_subscription, per_tenant: i64::MAX, ..Room::default() }
}

async fn claim_one(rig: &Rig, lease: Duration) -> Option<Claimed> {
    claim(&rig.pool, room(1, 1), lease).await.expect("claim").pop()
}

#[tokio::test]
async fn a_dispatcher_that_was_stopped_and_resumed_can_not_mark() {
    let rig = Rig::fresh().await;
    let subscription = rig.subscribe(URL).await;
    let event = rig.announce().await;
    let zombie = claim_one(&rig, LONG).await.expect("due");
    assert!(claim_one(&rig, LONG).await.is_none(), "leased");
    sqlx::query("UPDATE webhooks.deliveries SET next_attempt_at = now()")
        .execute(&rig.pool)
        .await
        .expect("the lease ends");
    let heir = claim_one(&rig, LONG).await.expect("the lease is over");
    assert_eq!((zombie.epoch, heir.epoch), (1, 2));
    assert_eq!((zombie.id, zombie.body.clone()), (heir.id, heir.body.clone()));
    assert!(heir.repeats_unknown && !zombie.repeats_unknown);

    assert!(!mark(&rig.pool, &zombie, &Answer::Lost(Lost::Timeout), Step::Failed).await.expect("mark"));
    assert_eq!(rig.state(event, subscription).await.expect("there").status, "pending");
    assert!(mark(&rig.pool, &heir, &ACCEPTED, Step::Delivered).await.expect("mark"));
    assert!(!mark(&rig.pool, &heir, &Answer::Lost(Lost::Timeout), Step::Failed).await.expect("mark"), "final is final");
    let state = rig.state(event, subscription).await.expect("there");
    assert_eq!((state.status.as_str(), state.attempts, state.last_status), ("delivered", 2, Some(200)));
}

#[tokio::test]
async fn a_crash_between_send_and_mark_sends_again_under_the_same_id() {
    let (rig, endpoint) = (Rig::fresh().await, Endpoint::accepting().await);
    let subscription = rig.subscribe(&endpoint.url).await;
    let event = rig.announce().await;
    // What a dispatcher does up to the point where it is killed.
    let claimed = claim_one(&rig, Duration::from_millis(100)).await.expect("due");
    let courier = Courier::new(&quick(), system_lookup()).expect("TLS");
    assert_eq!(courier.carry(&claimed, None, &CancellationToken::new()).await, Answer::Accepted { status: 204 });
    drop(claimed);

    let running = rig.start(&quick());
    assert_eq!(rig.finished(event, subscription).await.attempts, 2);
    running.stop().await;
    let ids: Vec<String> = endpoint.received().iter().map(|r| r.header("webhook-id").to_owned()).collect();
    let id = delivery_id(event, subscription).to_string();
    assert_eq!(ids, [id.clone(), id]);
}

#[tokio::test]
async fn what_a_killed_dispatcher_had_out_is_taken_over_by_another() {
    let (rig, endpoint) = (Rig::fresh().await, RawEndpoint::hanging().await);
    let subscription = rig.subscribe(&endpoint.url).await;
    let event = rig.announce().await;
    let mut config = quick();
    config.total_timeout = Duration::from_secs(1);
    config.request_timeout = Duration::from_secs(1);
    config.lease = Duration::from_millis(1_500);
    let killed = rig.start(&config);
    eventually("it is out", 10, || async { (endpoint.connections() == 1).then_some(()) }).await;
    killed.kill().await;
    let well = Endpoint::accepting().await;
    sqlx::query("UPDATE webhooks.subscriptions SET url = $1").bind(&well.url).execute(&rig.pool).await.expect("update");
    let running = rig.start(&config);
    let state = rig.finished(event, subscription).await;
    running.stop().await;
    assert_eq!((state.status.as_str(), state.attempts), ("delivered", 2));
}

#[tokio::test]
async fn a_subscription_deleted_while_its_delivery_is_out_takes_it_along() {
    let rig = Rig::fresh().await;
    let endpoint = Endpoint::slow(Duration::from_millis(400), |_| StatusCode::OK).await;
    let going = rig.subscribe(&endpoint.url).await;
    let event = rig.announce().await;
    let running = rig.start(&quick());
    eventually("it is out", 10, || async { (endpoint.received().len() == 1).then_some(()) }).await;
    rig.unsubscribe(going).await;
    // The dispatcher goes on with the others.
    let staying = rig.subscribe(&endpoint.url).await;
    let next = rig.announce().await;
    assert_eq!(rig.finished(next, staying).await.status, "delivered");
    running.stop().await;
    assert_ne!(rig.state(event, going).await.map(|state| state.status).as_deref(), Some("pending"));
    assert_eq!(endpoint.received().len(), 2);
}

#[tokio::test]
async fn claims_at_once_never_meet() {
    let rig = Rig::fresh().await;
    for _ in 0..5 {
        rig.subscribe(URL).await;
    }
    rig.announce_many(20).await;
    let claims = (0..8).map(|_| claim(&rig.pool, room(30, 30), LONG));
    let claimed = futures::future::try_join_all(claims).await.expect("claims").concat();
    let ids: HashSet<_> = claimed.iter().map(|c| c.id).collect();
    assert_eq!(ids.len(), claimed.len());
    let rest = claim(&rig.pool, room(1_000, 1_000), LONG).await.expect("claim");
    assert_eq!(claimed.len() + rest.len(), 100, "and nothing is left out");
}

#[tokio::test]
async fn a_claim_keeps_to_the_room_of_each_subscription_and_takes_the_oldest_first() {
    let rig = Rig::fresh().await;
    let mut subscriptions = Vec::new();
    for _ in 0..3 {
        subscriptions.push(rig.subscribe(URL).await);
    }
    let oldest = rig.announce().await;
    rig.announce_many(9).await;
    let first = claim(&rig.pool, room(2, 1), LONG).await.expect("claim");
    assert_eq!(first.len(), 2);
    assert!(first.iter().all(|c| c.id == delivery_id(oldest, c.subscription_id)), "{first:?}");

    let full = Room { except: (vec![subscriptions[0], subscriptions[1]], vec![0, 3]), ..room(10, 2) };
    let second = claim(&rig.pool, full, LONG).await.expect("claim");
    let of = |id| second.iter().filter(|c| c.subscription_id == id).count();
    assert_eq!(subscriptions.iter().map(|id| of(*id)).collect::<Vec<_>>(), [0, 3, 2]);
}

#[tokio::test]
async fn the_backlog_is_what_is_due_and_not_what_is_out_or_done() {
    let rig = Rig::fresh().await;
    rig.subscribe(URL).await;
    assert_eq!(backlog(&rig.pool).await.expect("backlog").due_rows, 0);
    rig.announce_many(3).await;
    let claimed = claim_one(&rig, LONG).await.expect("due");
    tokio::time::sleep(Duration::from_millis(60)).await;
    let now = backlog(&rig.pool).await.expect("backlog");
    assert_eq!(now.due_rows, 2);
    assert!(now.oldest_due_seconds >= 0.05, "{now:?}");
    mark(&rig.pool, &claimed, &ACCEPTED, Step::Again(LONG)).await.expect("mark");
    assert_eq!(backlog(&rig.pool).await.expect("backlog").due_rows, 2);
}

#[tokio::test]
async fn what_is_claimed_can_be_logged_without_telling() {
    let rig = Rig::fresh().await;
    rig.subscribe("https://partner.example/?token=canary").await;
    rig.announce().await;
    let claimed = claim_one(&rig, LONG).await.expect("due");
    let logged = format!("{claimed:?}");
    for canary in ["canary", "whsec", "document_id"] {
        assert!(!logged.contains(canary), "{logged}");
    }
}
