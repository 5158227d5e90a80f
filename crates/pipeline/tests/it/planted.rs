//! Bugs in the real code, on real servers: each is found, and what finds it is green without the bug. One after the other, as
//! a bug is the whole process's: `cargo test -p docfleet-pipeline --features planted-bugs --test it planted -- --test-threads=1`.

use std::time::Duration;

use docfleet_pipeline::planted::{Planted, plant};
use docfleet_testkit::eventually;
use uuid::Uuid;

use crate::harness::{Bench, CONSUMER};

const TOPIC: &str = "tests.counted.v1";
const DONE: &str = "SELECT count(*) FROM pipeline.inbox WHERE outcome = 'done'";
const UNPUBLISHED: &str = "SELECT count(*) FROM pipeline.outbox_unpublished";

/// Plants a bug until it is dropped.
struct Bug;

impl Bug {
    fn planted(bug: Option<Planted>) -> Self {
        plant(bug);
        Self
    }
}

impl Drop for Bug {
    fn drop(&mut self) {
        plant(None);
    }
}

fn counter(number: u128) -> Uuid {
    Uuid::from_u128(number + 1)
}

/// A consumer dies at work and another one takes over: is what was at work done?
async fn a_crash_at_work(bug: Option<Planted>) -> Result<(), String> {
    let _bug = Bug::planted(bug);
    let bench = Bench::new().await;
    let (relay, consumer) = (bench.relay(), bench.consumer());
    bench.append([(counter(0), 0, "ok")]).await;
    bench.until("it works", DONE, 1).await;
    bench.append([(counter(1), 1, "gated")]).await;
    eventually("it is worked on", 60, || async { (bench.handler.tries(counter(1), 1) > 3).then_some(()) }).await;
    // As long as commits go on as usual.
    bench.append([(counter(2), 2, "ok")]).await;
    bench.until("others go on", DONE, 2).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    consumer.crash();
    bench.handler.heal();
    let second = bench.consumer();
    bench.append([(counter(3), 3, "ok")]).await;
    bench.until_committed(TOPIC).await;
    second.stop().await.unwrap();
    relay.stop().await.unwrap();
    match bench.count(DONE).await {
        4 => Ok(()),
        done => Err(format!("{done} of 4 are done, and all is committed")),
    }
}

/// A record comes twice: does its effect happen once?
async fn a_record_twice(bug: Option<Planted>) -> Result<(), String> {
    let _bug = Bug::planted(bug);
    let bench = Bench::new().await;
    sqlx::query("ALTER TABLE effects DROP CONSTRAINT effects_counter_id_number_key")
        .execute(&bench.database.pool())
        .await
        .unwrap();
    let (relay, consumer) = (bench.relay(), bench.consumer());
    bench.append((0..5).map(|n| (counter(0), n, "ok"))).await;
    bench.until("all are done", DONE, 5).await;
    sqlx::query("INSERT INTO pipeline.outbox_unpublished SELECT id, created_at, shard FROM pipeline.outbox_events WHERE topic LIKE '%counted%'")
        .execute(&bench.database.pool())
        .await
        .unwrap();
    bench.until("all are published again", UNPUBLISHED, 0).await;
    bench.until_committed(TOPIC).await;
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
    match bench.count("SELECT count(*) FROM effects").await {
        5 => Ok(()),
        effects => Err(format!("{effects} effects of 5 events")),
    }
}

/// A transaction takes its ids first and commits last: is what it wrote published?
async fn a_slow_transaction(bug: Option<Planted>) -> Result<(), String> {
    let _bug = Bug::planted(bug);
    let bench = Bench::new().await;
    let relay = bench.relay();
    bench.append([(counter(0), 0, "ok")]).await;
    bench.until("the first is published", UNPUBLISHED, 0).await;
    let mut slow = bench.database.pool().begin().await.unwrap();
    bench.append_in(&mut slow, counter(1), 1).await;
    bench.append([(counter(2), 2, "ok")]).await;
    bench.until("the quick one is published", UNPUBLISHED, 0).await;
    slow.commit().await.unwrap();
    // Many readings.
    let published =
        tokio::time::timeout(Duration::from_secs(8), bench.until("the slow one is published", UNPUBLISHED, 0)).await;
    relay.stop().await.ok();
    published.map_err(|_| "a row that was committed late is never published".to_owned())
}

/// A message dies: is its letter there, whatever becomes of the process?
async fn a_message_dies(bug: Option<Planted>) -> Result<(), String> {
    let bench = Bench::new().await;
    let relay = bench.relay();
    bench.append([(counter(0), 0, "poison")]).await;
    let dead = "SELECT count(*) FROM pipeline.inbox WHERE outcome = 'dead'";
    {
        let _bug = Bug::planted(bug);
        let consumer = bench.consumer();
        bench.until("it is dead", dead, 1).await;
        if bug.is_some() {
            assert!(consumer.ended().await.is_err(), "the process ended there");
        } else {
            consumer.stop().await.unwrap();
        }
    }
    let consumer = bench.consumer();
    bench.until_committed(TOPIC).await;
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
    let letters = "SELECT count(*) FROM pipeline.outbox_events WHERE kind = 'dead_letter'";
    match bench.count(letters).await {
        1 => Ok(()),
        letters => Err(format!("{letters} letters of one dead message at {CONSUMER}")),
    }
}

#[tokio::test]
async fn an_offset_that_is_committed_before_the_effect_is_found() {
    assert_eq!(a_crash_at_work(None).await, Ok(()));
    let found = a_crash_at_work(Some(Planted::CommitBeforeEffect)).await;
    assert!(found.is_err(), "{found:?}");
}

#[tokio::test]
async fn an_effect_without_the_inbox_is_found() {
    assert_eq!(a_record_twice(None).await, Ok(()));
    let found = a_record_twice(Some(Planted::SkipInbox)).await;
    assert!(found.is_err(), "{found:?}");
}

#[tokio::test]
async fn a_relay_that_reads_by_a_cursor_is_found() {
    assert_eq!(a_slow_transaction(None).await, Ok(()));
    let found = a_slow_transaction(Some(Planted::CursorRelay)).await;
    assert!(found.is_err(), "{found:?}");
}

#[tokio::test]
async fn a_dead_letter_that_is_written_after_the_commit_is_found() {
    assert_eq!(a_message_dies(None).await, Ok(()));
    let found = a_message_dies(Some(Planted::DeadLetterAfterCommit)).await;
    assert!(found.is_err(), "{found:?}");
}
