//! Events that are fed to their consumer again, under another logical version.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use docfleet_outbox::{Kind, OutboxRow, insert_rows};
use docfleet_pipeline::{
    Failure, Handler, Message, Outcome, Policy, Recorded, Settlement, WorkContext, Worked, of_database,
};
use sqlx::types::Json;
use uuid::Uuid;

use crate::harness::{Bench, CONSUMER, Counted, Declares, Echoed, Unordered};

/// Notes each event that it reads, as often as it does, and emits.
#[derive(Clone, Default)]
struct Reader {
    sick: Arc<AtomicBool>,
}

impl Handler for Reader {
    type In = Counted;
    type Finding = ();

    const POLICY: Policy = Unordered::POLICY.repeatable("a line is written once more");

    async fn work(&self, _: &Message<Counted>, _: &WorkContext) -> Outcome<()> {
        if self.sick.load(Ordering::SeqCst) { Err(Failure::transient("asked-to", "sick")) } else { Ok(()) }
    }

    async fn record(&self, batch: &[Worked<Counted, ()>], settlement: &mut Settlement<'_>) -> Recorded {
        for worked in batch {
            let Counted { counter_id, number, .. } = worked.message.event;
            sqlx::query("INSERT INTO readings VALUES ($1, $2)")
                .bind(counter_id)
                .bind(number)
                .execute(settlement.connection())
                .await
                .map_err(|e| of_database(&e))?;
            settlement.emit(&worked.message, Echoed { counter_id, number, how: String::new() });
        }
        Ok(())
    }
}

const READINGS: &str = "SELECT count(*) FROM readings";
const ECHOES: &str = "SELECT count(*) FROM pipeline.outbox_events WHERE kind = 'event' AND event_type LIKE '%choed%'";
const DONE_AGAIN: &str = "SELECT count(*) FROM pipeline.inbox WHERE consumer = 'obedient@v2' AND outcome = 'done'";
const DEAD_AGAIN: &str = "SELECT count(*) FROM pipeline.inbox i JOIN pipeline.outbox_events o USING (consumer, event_id)
                           WHERE consumer = 'obedient@v2' AND outcome = 'dead' AND o.kind = 'dead_letter' AND o.topic LIKE '%.obedient.dlq'";
const DONE: &str = "SELECT count(*) FROM pipeline.inbox WHERE consumer = 'obedient' AND outcome = 'done'";

async fn bench() -> Bench {
    let bench = Bench::new().await;
    sqlx::query("CREATE TABLE readings (counter_id uuid, number bigint)")
        .execute(&bench.database.pool())
        .await
        .unwrap();
    bench
}

async fn append(bench: &Bench, count: u128) {
    bench.append((0..count).map(|n| (Uuid::from_u128(n % 3 + 1), i64::try_from(n).unwrap(), "ok"))).await;
}

type Row = (Uuid, String, Option<Vec<u8>>, Json<Vec<(String, String)>>, Option<Vec<u8>>, String);

/// As `docfleet replay` sends them: all that is done.
async fn feed_again(bench: &Bench, prefix: &str, emits: &str) {
    let mut transaction = bench.database.pool().begin().await.unwrap();
    sqlx::query(
        r#"INSERT INTO pipeline.inbox (consumer, event_id, event_day, outcome, attempt, topic, partition, "offset")
           SELECT 'obedient@v2', event_id, event_day, 'retrying', 1, topic, partition, "offset"
             FROM pipeline.inbox WHERE consumer = 'obedient'"#,
    )
    .execute(&mut *transaction)
    .await
    .unwrap();
    let events: Vec<Row> = sqlx::query_as(
        r"SELECT event_id, event_type, key, headers, payload, (created_at AT TIME ZONE 'UTC')::date::text
            FROM pipeline.outbox_events WHERE kind = 'event' AND topic LIKE '%counted%' ORDER BY id",
    )
    .fetch_all(&mut *transaction)
    .await
    .unwrap();
    let rows = events.into_iter().map(|(event_id, event_type, key, Json(mut headers), payload, day)| {
        for (name, value) in [
            ("docfleet_attempt", "1"),
            ("docfleet_replay", "v2"),
            ("docfleet_replay_emits", emits),
            ("docfleet_replay_day", &day),
        ] {
            headers.push((name.to_owned(), value.to_owned()));
        }
        let (consumer, topic) = (Some("obedient@v2".to_owned()), format!("{prefix}{CONSUMER}.retry.10s"));
        let (tenant, region) = ("acme".to_owned(), "test".to_owned());
        OutboxRow {
            kind: Kind::Retry,
            event_id,
            event_type,
            aggregate: None,
            attempt: 1,
            topic,
            consumer,
            key,
            headers,
            payload,
            tenant,
            region,
        }
    });
    insert_rows(&mut transaction, rows.collect()).await.unwrap();
    transaction.commit().await.unwrap();
}

async fn prefix(bench: &Bench) -> String {
    let topic: String =
        sqlx::query_scalar("SELECT topic FROM pipeline.subscriptions WHERE consumer = 'obedient' LIMIT 1")
            .fetch_one(&bench.database.pool())
            .await
            .unwrap();
    topic.strip_suffix("tests.counted.v1").unwrap().to_owned()
}

#[tokio::test]
async fn what_is_fed_again_has_its_effect_once_more_however_often_it_comes_and_is_silent() {
    let bench = bench().await;
    let (relay, consumer) = (bench.relay(), bench.consumer_with(Reader::default()));
    append(&bench, 12).await;
    bench.until("all are read", READINGS, 12).await;
    let prefix = prefix(&bench).await;
    feed_again(&bench, &prefix, "none").await;
    bench.until("all are read again", DONE_AGAIN, 12).await;
    // As after a crash of the relay, and as from somebody who copies topics.
    sqlx::query("INSERT INTO pipeline.outbox_unpublished SELECT id, created_at, shard FROM pipeline.outbox_events ON CONFLICT DO NOTHING").execute(&bench.database.pool()).await.unwrap();
    let published = "SELECT count(*) FROM pipeline.outbox_unpublished";
    bench.until("all is published once more", published, 0).await;
    bench.until_committed(&format!("{CONSUMER}.retry.10s")).await;
    bench.until_committed("tests.counted.v1").await;
    assert_eq!((bench.count(READINGS).await, bench.count(ECHOES).await, bench.count(DONE).await), (24, 12, 12));
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn what_follows_may_become_new_events_with_ids_and_versions_of_their_own() {
    let bench = bench().await;
    let (relay, consumer) = (bench.relay(), bench.consumer_with(Reader::default()));
    append(&bench, 12).await;
    bench.until("all have followed", ECHOES, 12).await;
    let prefix = prefix(&bench).await;
    feed_again(&bench, &prefix, "new").await;
    bench.until("all follow again", ECHOES, 24).await;
    let distinct = "SELECT count(DISTINCT event_id) FROM pipeline.outbox_events WHERE kind = 'event'";
    assert_eq!(bench.count(distinct).await, 36);
    let gaps = "SELECT count(*) FROM (SELECT 1 FROM pipeline.outbox_events WHERE kind = 'event' GROUP BY aggregate_id
                 HAVING count(*) <> max(aggregate_version) OR min(aggregate_version) <> 1) AS gaps";
    assert_eq!(bench.count(gaps).await, 0);
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn what_fails_when_it_is_fed_again_is_retried_and_dies_under_its_version_and_the_first_outcome_stays() {
    let mut bench = bench().await;
    bench.configure("[breaker]\nenabled = false\n");
    let reader = Reader::default();
    let (relay, consumer) = (bench.relay(), bench.consumer_with(reader.clone()));
    append(&bench, 3).await;
    bench.until("all are read", READINGS, 3).await;
    reader.sick.store(true, Ordering::SeqCst);
    let prefix = prefix(&bench).await;
    feed_again(&bench, &prefix, "new").await;
    bench.until("all are dead", DEAD_AGAIN, 3).await;
    assert_eq!((bench.count(READINGS).await, bench.count(ECHOES).await, bench.count(DONE).await), (3, 3, 3));
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
}

/// An older or a newer program may run than the one that declared itself.
#[tokio::test]
async fn a_consumer_whose_effects_can_not_be_repeated_refuses_and_does_nothing() {
    let bench = bench().await;
    let (relay, consumer) = (bench.relay(), bench.consumer());
    append(&bench, 3).await;
    bench.until("all are done", DONE, 3).await;
    let prefix = prefix(&bench).await;
    feed_again(&bench, &prefix, "new").await;
    bench.until("all are refused", DEAD_AGAIN, 3).await;
    let reasons = "SELECT count(*) FROM pipeline.inbox WHERE reason = 'replay-refused'";
    let effects = "SELECT count(*) FROM effects";
    assert_eq!((bench.count(reasons).await, bench.count(effects).await, bench.count(ECHOES).await), (3, 3, 3));
    let declared = "SELECT count(*) FROM pipeline.declarations WHERE consumer = 'obedient' AND no_replay IS NOT NULL";
    assert_eq!(bench.count(declared).await, 1);
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
}
