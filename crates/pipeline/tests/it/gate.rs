//! What stands between a message and its start: operators' commands, the breaker, and schemas that are not known yet.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use docfleet_outbox::{EventMeta, codec};
use docfleet_testkit::{Servers, eventually};
use time::OffsetDateTime;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use uuid::Uuid;

use crate::harness::{Bench, Counted, Ordered, QUICK};

const TOPIC: &str = "tests.counted.v1";
const EFFECTS: &str = "SELECT count(*) FROM effects";
const DEAD: &str = "SELECT count(*) FROM pipeline.inbox WHERE outcome = 'dead'";
const OBEYED: &str = "SELECT count(*) FROM pipeline.consumer_members WHERE gate -> 'commands' <> '{}'";
const HELD: &str =
    "SELECT coalesce(sum((gate -> 'held_by_commands')::bigint), 0)::bigint FROM pipeline.consumer_members";
const TRIPPED: &str = "SELECT coalesce(sum((gate -> 'trips')::bigint), 0)::bigint FROM pipeline.consumer_members";
/// A command is obeyed within 5 s, and ends early rather than late.
const SETTLED_MEANWHILE: &str = "SELECT count(*) FROM pipeline.inbox i, pipeline.commands c
    WHERE i.settled_at > c.issued_at + interval '5 s' AND i.settled_at < c.expires_at - interval '2 s'";
const QUICK_BREAKER: &str = "[breaker]\nprobe_interval = '50ms'\nprobe_interval_max = '500ms'\nclose_after = 5\n";
const GARBAGE: Option<&[u8]> = Some(b"garbage");

fn id(number: i64) -> Uuid {
    Uuid::from_u128(u128::from(number.unsigned_abs()) + 1)
}

/// So many events, each of its own counter; every `bad`th is `how`.
async fn append(bench: &Bench, numbers: std::ops::Range<i64>, bad: i64, how: &str) {
    let events: Vec<_> =
        numbers.map(|n| (id(n), n, if bad > 0 && n.rem_euclid(bad) == 0 { how } else { "ok" })).collect();
    for events in events.chunks(1_000) {
        bench.append(events.iter().copied()).await;
    }
}

async fn command(bench: &Bench, action: &str, scope: &str, selector: &str, rate: &str, time: &str) {
    let insert = format!(
        "INSERT INTO pipeline.commands (action, consumer, scope, selector, per_second, issued_by, why, expires_at)
         VALUES ('{action}', 'obedient', '{scope}', '{selector}', {rate}, 'tester', 'test', clock_timestamp() + interval '{time}')"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(insert)).execute(&bench.database.pool()).await.unwrap();
}

async fn end_commands(bench: &Bench) {
    let end = "UPDATE pipeline.commands SET ended_at = clock_timestamp(), ended_by = 'tester'";
    sqlx::raw_sql(end).execute(&bench.database.pool()).await.unwrap();
}

async fn at_least(bench: &Bench, what: &str, sql: &'static str, least: i64) {
    eventually(what, 60, || async { (bench.count(sql).await >= least).then_some(()) }).await;
}

#[tokio::test]
async fn a_pause_stops_the_consumer_and_ends_by_itself() {
    let bench = Bench::new().await;
    let (relay, consumer) = (bench.relay(), bench.consumer());
    append(&bench, 0..10, 0, "").await;
    bench.until("it works", EFFECTS, 10).await;
    command(&bench, "pause", "all", "{}", "NULL", "15 s").await;
    bench.until("the pause is obeyed", OBEYED, 1).await;
    append(&bench, 10..30, 0, "").await;
    bench.until("the pause is over and all are done", EFFECTS, 30).await;
    assert_eq!(bench.count(SETTLED_MEANWHILE).await, 0, "nothing was done while it lasted");
    bench.until_committed(TOPIC).await;
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn a_pause_holds_parked_keys_too_and_is_no_stall_however_long() {
    let impatient = QUICK.replace("commit_interval = '50ms'", "commit_interval = '50ms'\nstall_after = '3s'");
    let bench = Bench::with(&impatient, 4).await;
    let (relay, consumer) = (bench.relay(), bench.consumer_under::<Ordered>());
    append(&bench, 0..1, 1, "sick").await;
    bench.until("parked", "SELECT count(*) FROM pipeline.parked_messages", 1).await;
    command(&bench, "pause", "tenant", r#"{"tenant": "acme"}"#, "NULL", "25 s").await;
    bench.until("the pause is obeyed", OBEYED, 1).await;
    bench.handler.heal();
    append(&bench, 1..20, 0, "").await;
    bench.until("all are done when it is over", EFFECTS, 20).await;
    assert_eq!(bench.count(SETTLED_MEANWHILE).await, 0, "nothing was done while it lasted");
    bench.until_committed(TOPIC).await;
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn a_paused_tenant_waits_and_the_others_flow() {
    let bench = Bench::new().await;
    let (relay, consumer) = (bench.relay(), bench.consumer());
    command(&bench, "pause", "tenant", r#"{"tenant": "acme"}"#, "NULL", "1 hour").await;
    bench.until("the pause is obeyed", OBEYED, 1).await;
    append(&bench, 0..50, 0, "").await;
    bench.until("held", HELD, 50).await;
    bench.append_of("globex", (100..150).map(|n| (id(n), n, "ok"))).await;
    bench.until("the other tenant's are done", EFFECTS, 50).await;
    assert_eq!(bench.count("SELECT count(*) FROM effects WHERE number < 100").await, 0);
    end_commands(&bench).await;
    bench.until("all are done", EFFECTS, 100).await;
    bench.until_committed(TOPIC).await;
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn a_throttle_lets_about_its_rate_through() {
    let bench = Bench::new().await;
    let (relay, consumer) = (bench.relay(), bench.consumer());
    command(&bench, "throttle", "all", "{}", "20", "1 hour").await;
    bench.until("the throttle is obeyed", OBEYED, 1).await;
    append(&bench, 0..120, 0, "").await;
    bench.until("all are done", EFFECTS, 120).await;
    let seconds = "SELECT extract(epoch FROM max(settled_at) - min(settled_at))::bigint FROM pipeline.inbox";
    // 120 at 20 a second, one second's worth of which may come at once.
    assert!(bench.count(seconds).await >= 4);
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn what_a_kill_switch_selects_is_discarded_on_record_and_the_rest_flows() {
    let bench = Bench::new().await;
    let (relay, consumer) = (bench.relay(), bench.consumer());
    command(&bench, "drop", "field", r#"{"path": "data.how", "equals": "poison"}"#, "NULL", "1 hour").await;
    command(&bench, "drop", "field", r#"{"header": "producer", "equals": "bad"}"#, "NULL", "1 hour").await;
    bench
        .until(
            "both are obeyed",
            "SELECT count(*) FROM pipeline.consumer_members, jsonb_object_keys(gate -> 'commands')",
            2,
        )
        .await;
    append(&bench, 0..40, 2, "poison").await;
    bench.topics.produce(TOPIC, "k", GARBAGE, &[("producer", "bad")]).await;
    bench.topics.produce(TOPIC, "k", GARBAGE, &[("producer", "good")]).await;
    bench.until("the good ones are done", EFFECTS, 20).await;
    let discarded = "SELECT count(*) FROM pipeline.inbox i JOIN pipeline.operator_actions a USING (consumer, event_id)
                      WHERE i.outcome = 'discarded' AND i.reason = 'dropped-by-command' AND a.action = 'drop' AND a.who = 'tester'";
    bench.until("the bad ones are discarded, each on record", discarded, 21).await;
    bench.until("another's garbage dies", DEAD, 1).await;
    bench.until_committed(TOPIC).await;
    assert_eq!(bench.count("SELECT count(*) FROM pipeline.operator_actions").await, 21);
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn a_poison_storm_trips_the_breaker_and_when_it_is_over_almost_nothing_has_died() {
    let mut bench = Bench::new().await;
    bench.configure(QUICK_BREAKER);
    append(&bench, 0..20_000, 3, "sick-poison").await;
    let (relay, consumer) = (bench.relay(), bench.consumer());
    at_least(&bench, "the breaker trips", TRIPPED, 1).await;
    // A third of 20,000 would have died without it.
    let dead = bench.count(DEAD).await;
    assert!(dead < 200, "{dead} died before it tripped");
    bench.handler.heal();
    eventually("each has its outcome", 120, || async {
        (bench.count("SELECT count(*) FROM pipeline.inbox").await == 20_000).then_some(())
    })
    .await;
    bench.until_committed(TOPIC).await;
    let dead = bench.count(DEAD).await;
    assert!(dead < 200, "{dead} died");
    assert_eq!(bench.count(EFFECTS).await + dead, 20_000);
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn with_let_fail_what_the_breaker_holds_dies() {
    let mut bench = Bench::new().await;
    bench.configure(QUICK_BREAKER);
    append(&bench, 0..200, 1, "poison").await;
    let (relay, consumer) = (bench.relay(), bench.consumer());
    at_least(&bench, "the breaker trips", TRIPPED, 1).await;
    assert!(bench.count(DEAD).await < 100);
    command(&bench, "let-fail", "all", "{}", "NULL", "1 hour").await;
    bench.until("all are dead", DEAD, 200).await;
    bench.until_committed(TOPIC).await;
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn a_process_that_holds_messages_ends_in_time_and_another_one_finishes_them() {
    let mut bench = Bench::new().await;
    bench.configure(QUICK_BREAKER);
    command(
        &bench,
        "pause",
        "key",
        &format!(r#"{{"key": "{}"}}"#, hex(id(1).to_string().as_bytes())),
        "NULL",
        "1 hour",
    )
    .await;
    append(&bench, 0..300, 2, "sick-poison").await;
    let (relay, consumer) = (bench.relay(), bench.consumer());
    at_least(&bench, "the breaker trips", TRIPPED, 1).await;
    // The rebalances find held messages at both.
    let second = bench.consumer();
    at_least(&bench, "both are there", "SELECT count(*) FROM pipeline.consumer_members WHERE partitions > 0", 2).await;
    consumer.stop().await.unwrap();
    second.stop().await.unwrap();
    assert!(bench.count("SELECT count(*) FROM pipeline.inbox").await < 300);
    bench.handler.heal();
    end_commands(&bench).await;
    let third = bench.consumer();
    bench.until("each has its outcome", "SELECT count(*) FROM pipeline.inbox", 300).await;
    bench.until_committed(TOPIC).await;
    assert_eq!(bench.count(EFFECTS).await + bench.count(DEAD).await, 300);
    third.stop().await.unwrap();
    relay.stop().await.unwrap();
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The registry, which learns of one id late: it is another name of a schema that it has.
struct LateRegistry {
    url: String,
    knows: Arc<AtomicBool>,
}

const LATE: u32 = 2_000_000_000;
const LATE_DONE: &str = "SELECT count(*) FROM effects WHERE counter_id = 'ffffffff-ffff-ffff-ffff-ffffffffffff'";
const LATE_COUNTER: Uuid = Uuid::from_u128(u128::MAX);

impl LateRegistry {
    async fn start(id: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let real = Servers::running().registry_url();
        let real = real.trim_start_matches("http://").split('/').next().unwrap().to_owned();
        let url = Servers::running().registry_url().replace(&real, &listener.local_addr().unwrap().to_string());
        let knows = Arc::new(AtomicBool::new(false));
        let known = Arc::clone(&knows);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, real.clone(), id, Arc::clone(&known)));
            }
        });
        Self { url, knows }
    }
}

/// One request to a connection.
async fn serve(mut client: TcpStream, real: String, id: u32, knows: Arc<AtomicBool>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if client.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let request = String::from_utf8_lossy(&head).into_owned();
    let late = format!("/schemas/ids/{LATE}");
    if request.contains(&late) && !knows.load(Ordering::SeqCst) {
        let body = r#"{"error_code":40403,"message":"Schema not found"}"#;
        let answer = format!(
            "HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        client.write_all(answer.as_bytes()).await?;
        return client.shutdown().await;
    }
    let request =
        request.replace(&late, &format!("/schemas/ids/{id}")).replacen("\r\n", "\r\nConnection: close\r\n", 1);
    let mut server = TcpStream::connect(real).await?;
    server.write_all(request.as_bytes()).await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

fn of_late_schema(number: i64) -> Vec<u8> {
    let meta = EventMeta {
        event_id: Uuid::now_v7(),
        occurred_at: OffsetDateTime::now_utc(),
        aggregate_type: "counter".into(),
        aggregate_id: LATE_COUNTER,
        aggregate_version: number + 1,
        tenant: "acme".into(),
        region: "test".into(),
        cause: None,
        traceparent: None,
    };
    codec::encode(LATE, &meta, &Counted { counter_id: LATE_COUNTER, number, how: "late".into() }).unwrap()
}

#[tokio::test]
async fn thousands_of_messages_with_an_unknown_schema_hold_their_partition_and_no_other_until_it_is_known() {
    let mut bench = Bench::with(QUICK, 4).await;
    let known = bench.outbox.registry().pin::<Counted>().await.unwrap();
    let registry = LateRegistry::start(known).await;
    bench.reset(bench.configuration().replace(&Servers::running().registry_url(), &registry.url));
    for number in 0..2_000 {
        bench.topics.produce(TOPIC, "late", Some(&of_late_schema(number)), &[]).await;
    }
    let (relay, consumer) = (bench.relay(), bench.consumer());
    let held = "SELECT count(*) FROM pipeline.consumer_members WHERE in_flight > 0";
    bench.until("it holds some of them", held, 1).await;
    // As many as the others have room for; those in the partition of the late ones wait with them.
    append(&bench, 0..2_000, 0, "").await;
    at_least(&bench, "the other partitions flow", EFFECTS, 1_000).await;
    assert_eq!(bench.count(LATE_DONE).await, 0);
    registry.knows.store(true, Ordering::SeqCst);
    bench.until("all are done", EFFECTS, 4_000).await;
    bench.until_committed(TOPIC).await;
    let order: Vec<i64> = sqlx::query_scalar("SELECT number FROM effects WHERE counter_id = $1 ORDER BY seq")
        .bind(LATE_COUNTER)
        .fetch_all(&bench.database.pool())
        .await
        .unwrap();
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
    assert_eq!(order, (0..2_000).collect::<Vec<_>>());
    assert_eq!(bench.count(DEAD).await, 0);
}
