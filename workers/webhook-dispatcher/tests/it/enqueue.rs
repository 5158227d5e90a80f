use std::time::Duration;

use sqlx::Row;
use webhook_dispatcher::deliveries::{delivery_id, enqueue};

use crate::rig::{Rig, TENANT, announcement};

const URL: &str = "https://partner.example/";

#[tokio::test]
async fn an_event_becomes_one_delivery_for_each_subscription_of_its_tenant_and_type() {
    let rig = Rig::fresh().await;
    let all = rig.subscribe_to(TENANT, URL, &[]).await;
    let texts = rig.subscribe_to(TENANT, URL, &["document.text_extracted", "document.deduplicated"]).await;
    let stranger = rig.subscribe_to("other", URL, &[]).await;
    let (upload, text) = (announcement(TENANT, "document.uploaded"), announcement(TENANT, "document.text_extracted"));

    assert_eq!(rig.enqueue(&[&upload, &text]).await, 3);

    let has = async |event, subscription| rig.state(event, subscription).await.is_some();
    assert!(has(upload.event_id, all).await && has(text.event_id, all).await && has(text.event_id, texts).await);
    assert!(!has(upload.event_id, texts).await && !has(upload.event_id, stranger).await);
    let row = sqlx::query("SELECT * FROM webhooks.deliveries WHERE id = $1")
        .bind(delivery_id(text.event_id, texts))
        .fetch_one(&rig.pool)
        .await
        .expect("the id is derived in the same way on both sides");
    assert_eq!(row.get::<String, _>("body"), text.body);
    assert_eq!(row.get::<Option<String>, _>("traceparent"), text.traceparent);
    assert_eq!(row.get::<uuid::Uuid, _>("document_id"), text.document_id);
    assert_eq!(row.get::<String, _>("tenant"), TENANT);
}

#[tokio::test]
async fn the_same_event_again_changes_nothing() {
    let rig = Rig::fresh().await;
    let subscription = rig.subscribe(URL).await;
    let event = announcement(TENANT, "document.uploaded");
    assert_eq!(rig.enqueue(&[&event]).await, 1);
    sqlx::query("UPDATE webhooks.deliveries SET status = 'delivered'").execute(&rig.pool).await.expect("update");
    assert_eq!(rig.enqueue(&[&event]).await, 0);
    assert_eq!(rig.count(subscription, "delivered").await, 1);
}

#[tokio::test]
async fn who_subscribes_later_is_not_told_of_what_was_before() {
    let rig = Rig::fresh().await;
    assert_eq!(rig.enqueue(&[&announcement(TENANT, "document.uploaded")]).await, 0);
    let subscription = rig.subscribe(URL).await;
    assert_eq!(rig.count(subscription, "pending").await, 0);
    assert_eq!(rig.enqueue(&[]).await, 0);
}

#[tokio::test]
async fn a_subscription_that_is_just_being_removed_does_not_break_the_settlement() {
    let rig = Rig::fresh().await;
    let (going, staying) = (rig.subscribe(URL).await, rig.subscribe(URL).await);
    let event = announcement(TENANT, "document.uploaded");
    let mut deleting = rig.pool.begin().await.expect("begin");
    sqlx::query("DELETE FROM webhooks.subscriptions WHERE id = $1")
        .bind(going)
        .execute(&mut *deleting)
        .await
        .expect("delete");

    let (pool, announced) = (rig.pool.clone(), event.clone());
    let enqueuing = tokio::spawn(async move {
        let mut settlement = pool.begin().await?;
        let count = enqueue(&mut settlement, &[&announced], Duration::ZERO).await?;
        settlement.commit().await.map(|()| count)
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!enqueuing.is_finished(), "it waits for the outcome of the removal");
    deleting.commit().await.expect("commit");

    assert_eq!(enqueuing.await.expect("no panic").expect("no error"), 1);
    assert!(rig.state(event.event_id, staying).await.is_some());
}
