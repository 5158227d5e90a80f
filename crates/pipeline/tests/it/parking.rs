//! Ordered consumers: a key whose head fails waits in PostgreSQL, and goes on in order.

use docfleet_testkit::eventually;
use uuid::Uuid;

use crate::harness::{Bench, CONSUMER, Holding, Incoherent, Ordered, QUICK, Running};

const ID: Uuid = Uuid::from_u128(1);
const TOPIC: &str = "tests.counted.v1";
const EFFECTS: &str = "SELECT count(*) FROM effects";
const PARKED: &str = "SELECT count(*) FROM pipeline.inbox WHERE outcome = 'parked'";
const DEAD: &str = "SELECT count(*) FROM pipeline.inbox WHERE outcome = 'dead'";
const KEYS: &str = "SELECT count(*) FROM pipeline.parked_keys";
const MESSAGES: &str = "SELECT count(*) FROM pipeline.parked_messages";

async fn append(bench: &Bench, numbers: std::ops::Range<i64>, head: &str) {
    let first = numbers.start;
    bench.append(numbers.map(|number| (ID, number, if number == first { head } else { "ok" }))).await;
}

/// The numbers of a counter, in the order of their effects.
async fn order(bench: &Bench, counter: Uuid) -> Vec<i64> {
    sqlx::query_scalar("SELECT number FROM effects WHERE counter_id = $1 ORDER BY seq")
        .bind(counter)
        .fetch_all(&bench.database.pool())
        .await
        .unwrap()
}

async fn sql(bench: &Bench, statement: &'static str) {
    sqlx::raw_sql(statement).execute(&bench.database.pool()).await.unwrap();
}

async fn nothing_is_left(bench: &Bench) {
    bench.until("no key is parked", KEYS, 0).await;
    assert_eq!(bench.count(MESSAGES).await, 0);
    assert_eq!(bench.count(PARKED).await, 0);
}

#[tokio::test]
async fn a_key_whose_head_fails_waits_with_its_successors_in_order_and_other_keys_flow() {
    let bench = Bench::new().await;
    let (relay, consumer) = (bench.relay(), bench.consumer_under::<Ordered>());
    append(&bench, 0..51, "sick").await;
    bench.append((0..20).map(|n| (Uuid::from_u128(n + 2), 0, "ok"))).await;
    bench.until("the other keys flow", EFFECTS, 20).await;
    bench.until("the head and 50 successors are parked", MESSAGES, 51).await;
    bench.until_committed(TOPIC).await;
    assert_eq!(bench.count(PARKED).await, 51);
    assert!(bench.handler.tries(ID, 0) >= 3);
    let tried_in_vain: u32 = (1..51).map(|number| bench.handler.tries(ID, number)).sum();
    assert_eq!(tried_in_vain, 0, "what is behind a parked key is not tried");
    bench.handler.heal();
    bench.until("all have their effects", EFFECTS, 71).await;
    nothing_is_left(&bench).await;
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
    assert_eq!(order(&bench, ID).await, (0..51).collect::<Vec<_>>());
    assert_eq!(bench.count("SELECT count(*) FROM pipeline.inbox WHERE outcome = 'done'").await, 71);
    assert_eq!(bench.count("SELECT count(*) FROM pipeline.outbox_events WHERE kind <> 'event'").await, 0);
}

#[tokio::test]
async fn a_parked_key_outlives_its_process_and_takes_up_what_comes_later() {
    let bench = Bench::new().await;
    let relay = bench.relay();
    let consumer = bench.consumer_under::<Ordered>();
    append(&bench, 0..10, "sick").await;
    bench.until("parked", MESSAGES, 10).await;
    consumer.crash();
    append(&bench, 10..20, "ok").await;
    let members = [bench.consumer_under::<Ordered>(), bench.consumer_under::<Ordered>()];
    bench.until("parked behind, by another process", MESSAGES, 20).await;
    bench.handler.heal();
    bench.until("all have their effects", EFFECTS, 20).await;
    append(&bench, 20..25, "ok").await;
    bench.until("the key is free again", EFFECTS, 25).await;
    nothing_is_left(&bench).await;
    for member in members {
        member.stop().await.unwrap();
    }
    relay.stop().await.unwrap();
    assert_eq!(order(&bench, ID).await, (0..25).collect::<Vec<_>>());
}

#[tokio::test]
async fn successors_that_arrive_while_a_key_is_drained_and_released_never_pass_or_vanish() {
    let bench = Bench::new().await;
    let relay = bench.relay();
    let members = [bench.consumer_under::<Ordered>(), bench.consumer_under::<Ordered>()];
    // Each tenth fails four times: three in the lane, once or more while it is parked.
    for tens in 0..12_i64 {
        append(&bench, tens * 10..tens * 10 + 10, "transient:4").await;
    }
    bench.until("all have their effects", EFFECTS, 120).await;
    nothing_is_left(&bench).await;
    for member in members {
        member.stop().await.unwrap();
    }
    relay.stop().await.unwrap();
    assert_eq!(order(&bench, ID).await, (0..120).collect::<Vec<_>>());
    assert_eq!(bench.handler.overlaps(), 0);
}

#[tokio::test]
async fn two_members_never_work_on_one_key_at_once() {
    let bench = Bench::new().await;
    let relay = bench.relay();
    let members = [bench.consumer_under::<Ordered>(), bench.consumer_under::<Ordered>()];
    bench.append((0..12).flat_map(|n| (0..5).map(move |number| (Uuid::from_u128(n + 1), number, "sick")))).await;
    bench.until("all are parked", MESSAGES, 60).await;
    bench.until("many were tried", "SELECT (min(attempts) > 3)::int::bigint FROM pipeline.parked_keys", 1).await;
    bench.handler.heal();
    bench.until("all have their effects", EFFECTS, 60).await;
    nothing_is_left(&bench).await;
    for member in members {
        member.stop().await.unwrap();
    }
    relay.stop().await.unwrap();
    assert_eq!(bench.handler.overlaps(), 0);
    for n in 0..12 {
        assert_eq!(order(&bench, Uuid::from_u128(n + 1)).await, [0, 1, 2, 3, 4]);
    }
}

#[tokio::test]
async fn a_drainer_that_lost_its_key_changes_nothing() {
    // Renewed every 15 s: the drainer does not notice in time, so only the fence is between it and the key.
    let slow = QUICK.replace("backoff_max = '100ms'\nlease = '2s'", "backoff_max = '100ms'\nlease = '60s'");
    let bench = Bench::with(&slow, 4).await;
    let (relay, consumer) = (bench.relay(), bench.consumer_under::<Ordered>());
    append(&bench, 0..3, "gated").await;
    bench.until("parked", MESSAGES, 3).await;
    eventually("the drainer is at work", 30, || async { (bench.handler.tries(ID, 0) > 3).then_some(()) }).await;
    sql(
        &bench,
        "UPDATE pipeline.parked_keys SET lease_owner = gen_random_uuid(), lease_until = clock_timestamp() + interval '1 hour',
                lease_epoch = nextval('pipeline.parked_lease_epochs')",
    )
    .await;
    bench.handler.heal();
    consumer.stop().await.unwrap();
    assert_eq!(bench.count(EFFECTS).await, 0);
    assert_eq!(bench.count(MESSAGES).await, 3);
    assert_eq!(bench.count("SELECT attempts::bigint FROM pipeline.parked_keys").await, 0);
    // The thief is gone as well.
    sql(&bench, "UPDATE pipeline.parked_keys SET lease_until = '-infinity'").await;
    let consumer = bench.consumer_under::<Ordered>();
    bench.until("somebody goes on", EFFECTS, 3).await;
    nothing_is_left(&bench).await;
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
    assert_eq!(order(&bench, ID).await, [0, 1, 2]);
}

/// A relay, and `count` messages of one key that are parked, without a consumer.
async fn parked(count: i64) -> (Bench, Running) {
    let bench = Bench::new().await;
    let (relay, consumer) = (bench.relay(), bench.consumer_under::<Ordered>());
    append(&bench, 0..count, "sick").await;
    bench.until("parked", MESSAGES, count).await;
    consumer.stop().await.unwrap();
    sql(&bench, "UPDATE pipeline.parked_keys SET attempts = 0").await;
    (bench, relay)
}

#[tokio::test]
async fn too_many_behind_one_key_die_as_one_group_and_come_back_in_order() {
    // More than one transaction makes of them.
    let (mut bench, relay) = parked(231).await;
    let before = bench.configuration();
    bench.configure_in("parked", "messages_max = 230\n");
    let consumer = bench.consumer_under::<Ordered>();
    bench.until("all of the key is dead", DEAD, 231).await;
    bench.until("the key is free", KEYS, 0).await;
    consumer.stop().await.unwrap();
    // With the same bound it would be given up at once again.
    bench.reset(before);
    let consumer = bench.consumer_under::<Ordered>();
    let letters: Vec<(String, String, String)> = sqlx::query_as(
        r"SELECT (SELECT h ->> 1 FROM jsonb_array_elements(headers) h WHERE h ->> 0 = 'docfleet_group'),
                 (SELECT h ->> 1 FROM jsonb_array_elements(headers) h WHERE h ->> 0 = 'docfleet_group_position'),
                 (SELECT h ->> 1 FROM jsonb_array_elements(headers) h WHERE h ->> 0 = 'docfleet_reason')
            FROM pipeline.outbox_events WHERE kind = 'dead_letter' ORDER BY id",
    )
    .fetch_all(&bench.database.pool())
    .await
    .unwrap();
    let group = letters[0].0.clone();
    for (nth, (of, position, reason)) in letters.iter().enumerate() {
        let expected = if nth == 0 { "asked-to" } else { "behind-dead-head" };
        assert_eq!((of, position.as_str(), reason.as_str()), (&group, (nth + 1).to_string().as_str(), expected));
    }
    bench.handler.heal();
    let back: i64 = sqlx::query_scalar("SELECT pipeline.repark_group($1, $2::uuid)")
        .bind(CONSUMER)
        .bind(group)
        .fetch_one(&bench.database.pool())
        .await
        .unwrap();
    assert_eq!(back, 231);
    bench.until("all have their effects", EFFECTS, 231).await;
    nothing_is_left(&bench).await;
    assert_eq!(bench.count(DEAD).await, 0);
    assert_eq!(order(&bench, ID).await, (0..231).collect::<Vec<_>>());
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn a_head_that_fails_too_often_takes_its_key_along() {
    let (mut bench, relay) = parked(4).await;
    let before = bench.handler.tries(ID, 0);
    bench.configure_in("parked", "attempts_max = 3\n");
    let consumer = bench.consumer_under::<Ordered>();
    bench.until("the whole key is dead", DEAD, 4).await;
    bench.until("the key is free", KEYS, 0).await;
    append(&bench, 4..6, "ok").await;
    bench.until("what comes later passes", EFFECTS, 2).await;
    assert_eq!(bench.handler.tries(ID, 0) - before, 3);
    let behind = "SELECT count(*) FROM pipeline.inbox WHERE outcome = 'dead' AND reason = 'behind-dead-head'";
    assert_eq!(bench.count(behind).await, 3);
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn a_head_that_waits_too_long_takes_its_key_along() {
    let (mut bench, relay) = parked(4).await;
    bench.configure_in("parked", "age_max = '1ms'\n");
    let before = bench.handler.tries(ID, 0);
    let consumer = bench.consumer_under::<Ordered>();
    bench.until("the whole key is dead", DEAD, 4).await;
    bench.until("the key is free", KEYS, 0).await;
    assert_eq!(bench.handler.tries(ID, 0), before);
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn poison_in_an_ordered_consumer_is_dead_at_once_and_its_key_goes_on() {
    let bench = Bench::new().await;
    let (relay, consumer) = (bench.relay(), bench.consumer_under::<Ordered>());
    append(&bench, 0..3, "poison").await;
    bench.until("the others pass", EFFECTS, 2).await;
    // And in the middle of a parked key.
    append(&bench, 3..4, "sick").await;
    append(&bench, 4..6, "poison").await;
    bench.until("parked", MESSAGES, 3).await;
    bench.handler.heal();
    bench.until("the others pass", EFFECTS, 4).await;
    nothing_is_left(&bench).await;
    assert_eq!(bench.count(DEAD).await, 2);
    assert_eq!(order(&bench, ID).await, [1, 2, 3, 5]);
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn a_key_held_behind_its_poison_waits_until_an_operator_decides() {
    let bench = Bench::new().await;
    let (relay, consumer) = (bench.relay(), bench.consumer_under::<Holding>());
    append(&bench, 0..3, "sick-poison").await;
    bench.append([(Uuid::from_u128(2), 0, "ok")]).await;
    bench.until("another key flows", EFFECTS, 1).await;
    bench.until("the successors wait", MESSAGES, 2).await;
    assert_eq!(bench.count(DEAD).await, 1);
    assert_eq!(bench.count("SELECT count(*) FROM pipeline.parked_keys WHERE state = 'held' AND messages = 2").await, 1);
    // On without it.
    sql(&bench, "SELECT pipeline.resume_key(consumer, key) FROM pipeline.parked_keys").await;
    bench.until("the successors have their effects", EFFECTS, 3).await;
    nothing_is_left(&bench).await;
    // Or, the next time, with it, once it was mended.
    append(&bench, 3..6, "sick-poison").await;
    bench.until("the successors wait", MESSAGES, 2).await;
    let refused = sqlx::query(
        "SELECT pipeline.repark($1, array_agg(event_id))
           FROM (SELECT event_id FROM pipeline.inbox WHERE outcome = 'dead' ORDER BY settled_at LIMIT 1) AS older",
    )
    .bind(CONSUMER)
    .execute(&bench.database.pool())
    .await;
    let refused = refused.unwrap_err();
    assert!(refused.to_string().contains("is held by the dead letter"), "{refused}");
    bench.handler.heal();
    sql(&bench, "SELECT pipeline.repark('obedient', array_agg(event_id)) FROM pipeline.parked_keys").await;
    bench.until("all of them have their effects", EFFECTS, 6).await;
    nothing_is_left(&bench).await;
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
    assert_eq!(order(&bench, ID).await, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn an_operator_can_give_a_key_up_and_take_it_back_with_nothing_lost() {
    let bench = Bench::new().await;
    let (relay, consumer) = (bench.relay(), bench.consumer_under::<Ordered>());
    append(&bench, 0..5, "sick").await;
    bench.until("parked", MESSAGES, 5).await;
    sql(&bench, "SELECT pipeline.bury_key(consumer, key) FROM pipeline.parked_keys").await;
    bench.until("dead, as one group", DEAD, 5).await;
    bench.until("the key is free", KEYS, 0).await;
    bench.handler.heal();
    sql(&bench, "SELECT pipeline.repark('obedient', array_agg(event_id)) FROM pipeline.inbox WHERE outcome = 'dead'")
        .await;
    bench.until("all have their effects", EFFECTS, 5).await;
    nothing_is_left(&bench).await;
    assert_eq!(order(&bench, ID).await, [0, 1, 2, 3, 4]);
    assert_eq!(bench.count("SELECT count(*) FROM pipeline.inbox WHERE outcome = 'done' AND attempt = 1").await, 5);
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_away_costs_a_parked_head_no_attempt_and_a_restart_neither() {
    let bench = Bench::new().await;
    let (relay, consumer) = (bench.relay(), bench.consumer_under::<Ordered>());
    append(&bench, 0..2, "away").await;
    bench.until("parked", MESSAGES, 2).await;
    eventually("it was tried again", 30, || async { (bench.handler.tries(ID, 0) > 6).then_some(()) }).await;
    consumer.stop().await.unwrap();
    for _ in 0..3 {
        bench.consumer_under::<Ordered>().stop().await.unwrap();
    }
    assert_eq!(bench.count("SELECT attempts::bigint FROM pipeline.parked_keys").await, 0);
    bench.handler.heal();
    let consumer = bench.consumer_under::<Ordered>();
    bench.until("both have their effects", EFFECTS, 2).await;
    nothing_is_left(&bench).await;
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn dead_letters_of_an_unordered_consumer_come_back_in_order_too() {
    let bench = Bench::new().await;
    let (relay, consumer) = (bench.relay(), bench.consumer());
    bench.append((0..5).map(|number| (ID, number, "sick-poison"))).await;
    bench.until("all are dead", DEAD, 5).await;
    bench.handler.heal();
    sql(&bench, "SELECT pipeline.repark('obedient', array_agg(event_id)) FROM pipeline.inbox WHERE outcome = 'dead'")
        .await;
    bench.until("all have their effects", EFFECTS, 5).await;
    nothing_is_left(&bench).await;
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
    assert_eq!(order(&bench, ID).await, [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn a_policy_that_can_not_be_kept_ends_the_process_before_its_first_message() {
    let bench = Bench::new().await;
    let refused = bench.consumer_under::<Incoherent>().ended().await.unwrap_err();
    assert!(refused.to_string().contains("no message would ever be tried"), "{refused}");
    assert_eq!(bench.count("SELECT count(*) FROM pipeline.subscriptions").await, 0);
}
