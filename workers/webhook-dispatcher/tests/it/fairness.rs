use std::time::{Duration, Instant};

use uuid::Uuid;
use webhook_dispatcher::deliveries::{Claimed, Room, claim};

use crate::{
    endpoint::{Endpoint, RawEndpoint},
    rig::{Rig, announcement, quick},
};

const LONG: Duration = Duration::from_secs(60);
const URL: &str = "https://partner.example/";

async fn announce_to(rig: &Rig, tenant: &str) -> Uuid {
    let event = announcement(tenant, "document.uploaded");
    rig.enqueue(&[&event]).await;
    event.event_id
}

fn of(claimed: &[Claimed], tenant: &str) -> usize {
    claimed.iter().filter(|c| c.tenant == tenant).count()
}

#[tokio::test]
async fn forty_hanging_subscriptions_of_one_tenant_do_not_delay_another_tenant() {
    let (rig, hanging, well) = (Rig::fresh().await, RawEndpoint::hanging().await, Endpoint::accepting().await);
    for _ in 0..40 {
        rig.subscribe_to("stuck", &hanging.url, &[]).await;
    }
    let flowing = rig.subscribe_to("flowing", &well.url, &[]).await;
    for _ in 0..5 {
        announce_to(&rig, "stuck").await;
    }
    let mut config = quick();
    config.request_timeout = Duration::from_secs(6);
    let running = rig.start(&config);
    docfleet_testkit::eventually("the stuck one has all it may have", 10, || async {
        (hanging.connections() >= 5).then_some(())
    })
    .await;

    let started = Instant::now();
    let event = announce_to(&rig, "flowing").await;
    assert_eq!(rig.finished(event, flowing).await.status, "delivered");
    // Before any of those that hang gave back its slot.
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    assert_eq!(hanging.most_at_once(), 5, "half of ten");
    running.stop().await;
}

#[tokio::test]
async fn a_claim_goes_round_by_tenant_and_not_by_age() {
    let rig = Rig::fresh().await;
    for tenant in ["old", "old", "old", "old", "young", "new"] {
        rig.subscribe_to(tenant, URL, &[]).await;
    }
    for tenant in ["old", "old", "old", "young", "young", "young", "new"] {
        announce_to(&rig, tenant).await;
    }
    let room = |total, busy| Room { total, per_subscription: 2, per_tenant: 5, busy, ..Room::default() };
    let claimed = claim(&rig.pool, room(4, (vec![], vec![])), LONG).await.expect("claim");
    assert_eq!([of(&claimed, "old"), of(&claimed, "young"), of(&claimed, "new")], [2, 1, 1]);

    let busy = (vec!["old".to_owned()], vec![4]);
    let claimed = claim(&rig.pool, room(10, busy), LONG).await.expect("claim");
    assert_eq!([of(&claimed, "old"), of(&claimed, "young")], [1, 2], "up to five, up to two of its subscription");

    let more_than_allowed = (vec!["old".to_owned()], vec![7]);
    assert!(claim(&rig.pool, room(10, more_than_allowed), LONG).await.expect("claim").is_empty());
}
