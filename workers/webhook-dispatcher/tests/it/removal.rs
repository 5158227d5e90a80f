use std::time::Duration;

use docfleet_testkit::eventually;
use uuid::Uuid;
use webhook_dispatcher::deliveries::{
    Room, claim, deleted_subscriptions, enqueue, remove_deliveries, remove_subscription,
};

use crate::{
    endpoint::Endpoint,
    rig::{Rig, TENANT, announcement, quick},
};

const URL: &str = "https://partner.example/";

async fn exists(rig: &Rig, subscription: Uuid) -> bool {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM webhooks.subscriptions WHERE id = $1)")
        .bind(subscription)
        .fetch_one(&rig.pool)
        .await
        .expect("select")
}

/// `count` deliveries, every tenth one pending and due.
async fn fill(rig: &Rig, subscription: Uuid, count: i32) {
    sqlx::query(
        r"INSERT INTO webhooks.deliveries (id, subscription_id, tenant, region, document_id, event_id, event_type, body, status)
          SELECT gen_random_uuid(), $1, $2, 'local', gen_random_uuid(), gen_random_uuid(), 'document.uploaded', '{}',
                 CASE WHEN n % 10 = 0 THEN 'pending' ELSE 'delivered' END
            FROM generate_series(1, $3) AS n",
    )
    .bind(subscription)
    .bind(TENANT)
    .bind(count)
    .execute(&rig.pool)
    .await
    .expect("insert");
}

#[tokio::test]
async fn a_busy_subscription_that_is_deleted_is_removed_and_nothing_of_it_is_sent_any_more() {
    let (rig, endpoint) = (Rig::fresh().await, Endpoint::accepting().await);
    let (going, staying) = (rig.subscribe(&endpoint.url).await, rig.subscribe(&endpoint.url).await);
    fill(&rig, going, 2_500).await;
    rig.unsubscribe(going).await;
    let event = rig.announce().await;
    assert!(rig.state(event, going).await.is_none(), "what comes after is not for it");

    let running = rig.start(&quick());
    eventually("it is removed", 20, || async { (!exists(&rig, going).await).then_some(()) }).await;
    assert_eq!(rig.finished(event, staying).await.status, "delivered");
    running.stop().await;
    assert_eq!(endpoint.received().len(), 1, "of the other one");
    assert!(exists(&rig, staying).await);
}

#[tokio::test]
async fn deliveries_are_removed_in_steps_and_the_pending_ones_first() {
    let rig = Rig::fresh().await;
    let subscription = rig.subscribe(URL).await;
    fill(&rig, subscription, 100).await;
    assert_eq!(deleted_subscriptions(&rig.pool).await.expect("list"), Vec::<Uuid>::new());
    assert!(!remove_subscription(&rig.pool, subscription).await.expect("remove"), "nobody deleted it");
    rig.unsubscribe(subscription).await;
    assert_eq!(deleted_subscriptions(&rig.pool).await.expect("list"), [subscription]);

    let room = Room { total: 10, per_subscription: 10, per_tenant: 10, ..Room::default() };
    assert!(claim(&rig.pool, room, Duration::from_secs(60)).await.expect("claim").is_empty());
    assert_eq!(remove_deliveries(&rig.pool, subscription, 10).await.expect("remove"), 10);
    assert_eq!(rig.count(subscription, "pending").await, 0, "no document is being announced to it");
    assert_eq!(rig.count(subscription, "delivered").await, 90);
    assert!(!remove_subscription(&rig.pool, subscription).await.expect("remove"), "some are left");
    assert_eq!(remove_deliveries(&rig.pool, subscription, 1_000).await.expect("remove"), 90);
    assert!(remove_subscription(&rig.pool, subscription).await.expect("remove"));
    assert!(!exists(&rig, subscription).await);
}

#[tokio::test]
async fn a_settlement_that_saw_the_subscription_alive_is_not_broken_and_what_it_wrote_is_removed() {
    let rig = Rig::fresh().await;
    let subscription = rig.subscribe(URL).await;
    let event = announcement(TENANT, "document.uploaded");
    let mut settlement = rig.pool.begin().await.expect("begin");
    assert_eq!(enqueue(&mut settlement, &[&event], Duration::ZERO).await.expect("enqueue"), 1);
    // The API does not wait for it, and the removal does not either.
    rig.unsubscribe(subscription).await;
    assert!(!remove_subscription(&rig.pool, subscription).await.expect("remove"));
    settlement.commit().await.expect("commit");

    assert!(!remove_subscription(&rig.pool, subscription).await.expect("remove"), "one delivery came to it");
    assert_eq!(remove_deliveries(&rig.pool, subscription, 10).await.expect("remove"), 1);
    assert!(remove_subscription(&rig.pool, subscription).await.expect("remove"));
}
