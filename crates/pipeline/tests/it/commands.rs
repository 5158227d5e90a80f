//! Commands of operators on their way from the table to the replicas.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use docfleet_pipeline::gate::{self, CommandSet, DROPPED, Place, Verdict};
use docfleet_testkit::{Database, eventually};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const CONSUMER: &str = "obedient";
/// Of a clock that nobody asks.
const START: Duration = Duration::from_secs(1_000);
const ACME: Place<'_> = Place { topic: "t", partition: 0, tenant: "acme", key: None };

/// A process that watches, with a pool of its own.
struct Replica {
    origin: Instant,
    commands: watch::Receiver<Arc<CommandSet>>,
    stop: CancellationToken,
}

impl Replica {
    async fn start(database: &Database) -> Self {
        let pool = PgPool::connect(database.url()).await.unwrap();
        let (share, commands) = watch::channel(Arc::default());
        let stop = CancellationToken::new();
        let origin = Instant::now();
        tokio::spawn(gate::watch(pool, CONSUMER, origin, share, stop.clone()));
        Self { origin, commands, stop }
    }

    fn verdict(&self) -> Verdict {
        self.of(&ACME)
    }

    fn of(&self, place: &Place<'_>) -> Verdict {
        self.commands.borrow().verdict(self.origin.elapsed(), place)
    }

    async fn says(&self, what: &str, seconds: u64, expected: impl Fn(Verdict) -> bool) {
        eventually(what, seconds, async || expected(self.verdict()).then_some(())).await;
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn sql(pool: &PgPool, statement: &'static str) {
    sqlx::raw_sql(statement).execute(pool).await.unwrap();
}

const PAUSE_ACME: &str = r#"INSERT INTO pipeline.commands (action, consumer, scope, selector, issued_by, why, expires_at)
    VALUES ('pause', 'obedient', 'tenant', '{"tenant": "acme"}', 'tester', 'test', clock_timestamp() + interval '1 hour')"#;

#[tokio::test]
async fn every_replica_sees_a_pause_and_its_end_within_five_seconds() {
    let database = Database::fresh().await;
    let pool = database.pool();
    let replicas = [Replica::start(&database).await, Replica::start(&database).await];
    // Once with the hint, once without.
    for undo_hint in ["SELECT 1", "DROP TRIGGER hint_commands ON pipeline.commands"] {
        sql(&pool, undo_hint).await;
        sql(&pool, PAUSE_ACME).await;
        for replica in &replicas {
            replica.says("the pause is obeyed", 5, |verdict| matches!(verdict, Verdict::Hold(_))).await;
        }
        sql(&pool, "UPDATE pipeline.commands SET ended_at = clock_timestamp(), ended_by = 'tester'").await;
        for replica in &replicas {
            replica.says("the end is obeyed", 5, |verdict| verdict == Verdict::Run).await;
        }
    }
}

#[tokio::test]
async fn the_hint_comes_before_the_next_look() {
    let database = Database::fresh().await;
    let mut listener = sqlx::postgres::PgListener::connect(database.url()).await.unwrap();
    listener.listen(gate::CHANNEL).await.unwrap();
    sql(&database.pool(), PAUSE_ACME).await;
    assert_eq!(listener.recv().await.unwrap().channel(), gate::CHANNEL);
    sql(&database.pool(), "UPDATE pipeline.commands SET ended_at = clock_timestamp(), ended_by = 'tester'").await;
    assert_eq!(listener.recv().await.unwrap().channel(), gate::CHANNEL);
}

#[tokio::test]
async fn a_command_expires_by_the_databases_clock() {
    let database = Database::fresh().await;
    let mut connection = database.pool().acquire().await.unwrap();
    for (expires, obeyed) in [("- interval '1 second'", false), ("+ interval '1 minute'", true)] {
        sql(&database.pool(), "TRUNCATE pipeline.commands").await;
        let insert = PAUSE_ACME.replace("+ interval '1 hour'", expires);
        sqlx::raw_sql(sqlx::AssertSqlSafe(insert)).execute(&mut *connection).await.unwrap();
        let set = gate::active(&mut connection, CONSUMER, START).await.unwrap();
        assert_eq!(set.verdict(START, &ACME) != Verdict::Run, obeyed);
        let over = START + Duration::from_secs(60);
        assert_eq!(set.verdict(over, &ACME), Verdict::Run, "also when nobody asks the database again");
    }
}

#[tokio::test]
async fn while_the_table_can_not_be_read_the_last_commands_stay_until_they_expire() {
    let database = Database::fresh().await;
    let pool = database.pool();
    let replica = Replica::start(&database).await;
    sql(&pool, PAUSE_ACME).await;
    let later = r#"INSERT INTO pipeline.commands (action, consumer, scope, selector, issued_by, why, expires_at)
        VALUES ('pause', 'obedient', 'partition', '{"topic": "t", "partition": 9}', 'tester', 'test', clock_timestamp() + interval '6 s')"#;
    sql(&pool, later).await;
    let nine = Place { partition: 9, tenant: "globex", ..ACME };
    let holds = |place| replica.of(&place) != Verdict::Run;
    eventually("both are obeyed", 5, async || (holds(ACME) && holds(nine)).then_some(())).await;
    sql(&pool, "ALTER TABLE pipeline.commands RENAME TO gone").await;
    eventually("the one that is over is over", 20, async || (!holds(nine)).then_some(())).await;
    assert!(holds(ACME), "the other one stays");
    sql(&pool, "UPDATE pipeline.gone SET ended_at = clock_timestamp(), ended_by = 'tester'").await;
    sql(&pool, "ALTER TABLE pipeline.gone RENAME TO commands").await;
    replica.says("the table is read again", 10, |verdict| verdict == Verdict::Run).await;
}

#[tokio::test]
async fn commands_of_others_and_those_that_are_not_understood_are_not_obeyed() {
    let database = Database::fresh().await;
    let pool = database.pool();
    sql(
        &pool,
        r#"INSERT INTO pipeline.commands (action, consumer, scope, selector, issued_by, why, expires_at)
           SELECT 'pause', consumer, scope, selector::jsonb, 'tester', 'test', clock_timestamp() + interval '1 hour'
             FROM (VALUES ('other', 'all', '{}'), ('obedient', 'tenant', '{"tenannt": "acme"}'),
                          ('obedient', 'topic', '{"topic": ["t"]}')) AS c (consumer, scope, selector)"#,
    )
    .await;
    let mut connection = pool.acquire().await.unwrap();
    let set = gate::active(&mut connection, CONSUMER, START).await.unwrap();
    assert!(set.is_empty());
    sql(&pool, PAUSE_ACME).await;
    let set = gate::active(&mut connection, CONSUMER, START).await.unwrap();
    assert!(matches!(set.verdict(START, &ACME), Verdict::Hold(_)), "the good one next to them is");
}

#[tokio::test]
async fn a_throttle_is_shared_by_the_members_that_live() {
    let database = Database::fresh().await;
    let pool = database.pool();
    sql(
        &pool,
        "INSERT INTO pipeline.commands (action, consumer, scope, per_second, issued_by, why, expires_at)
         VALUES ('throttle', 'obedient', 'all', 12, 'tester', 'test', clock_timestamp() + interval '1 hour')",
    )
    .await;
    let mut connection = pool.acquire().await.unwrap();
    let mut rates = Vec::new();
    for member in [
        "SELECT 1",
        "INSERT INTO pipeline.consumer_members VALUES (gen_random_uuid(), 'obedient', 1, 0, false, now(), clock_timestamp())",
        "INSERT INTO pipeline.consumer_members VALUES (gen_random_uuid(), 'obedient', 1, 0, false, now(), clock_timestamp())",
        "INSERT INTO pipeline.consumer_members VALUES (gen_random_uuid(), 'obedient', 1, 0, false, now(), now() - interval '1 min')",
        "INSERT INTO pipeline.consumer_members VALUES (gen_random_uuid(), 'other', 1, 0, false, now(), clock_timestamp())",
    ] {
        sql(&pool, member).await;
        let set = gate::active(&mut connection, CONSUMER, START).await.unwrap();
        let Verdict::Throttle(throttles) = set.verdict(START, &ACME) else { panic!("it throttles") };
        rates.push(throttles[0].1);
    }
    assert_eq!(rates, [12.0, 12.0, 6.0, 6.0, 6.0]);
}

#[tokio::test]
async fn the_table_refuses_what_nobody_should_command() {
    let database = Database::fresh().await;
    let refused = [
        ("pause", "all", "{}", "NULL", "8 days"),
        ("drop", "all", "{}", "NULL", "1 hour"),
        ("pause", "field", "{}", "NULL", "1 hour"),
        ("let-fail", "tenant", "{}", "NULL", "1 hour"),
        ("throttle", "all", "{}", "NULL", "1 hour"),
        ("throttle", "all", "{}", "0", "1 hour"),
        ("throttle", "all", "{}", "'NaN'", "1 hour"),
        ("pause", "all", "{}", "3", "1 hour"),
        ("stop", "all", "{}", "NULL", "1 hour"),
    ];
    for (action, scope, selector, rate, time) in refused {
        let insert = format!(
            "INSERT INTO pipeline.commands (action, consumer, scope, selector, per_second, issued_by, why, expires_at)
             VALUES ('{action}', 'obedient', '{scope}', '{selector}', {rate}, 'tester', 'test', clock_timestamp() + interval '{time}')"
        );
        let inserted = sqlx::raw_sql(sqlx::AssertSqlSafe(insert.clone())).execute(&database.pool()).await;
        let code = inserted.err().and_then(|e| e.as_database_error()?.code().map(|code| code.into_owned()));
        assert_eq!(code.as_deref(), Some("23514"), "{insert}");
    }
}

#[tokio::test]
async fn a_drop_is_on_record_with_its_command_who_gave_it_and_why() {
    let database = Database::fresh().await;
    let pool = database.pool();
    sql(
        &pool,
        r#"INSERT INTO pipeline.commands (action, consumer, scope, selector, issued_by, why, expires_at)
           VALUES ('drop', 'obedient', 'field', '{"header": "producer", "equals": "bad"}', 'alice', 'INC-7', clock_timestamp() + interval '1 hour')"#,
    )
    .await;
    let (first, second) = (Uuid::now_v7(), Uuid::now_v7());
    let mut connection = pool.acquire().await.unwrap();
    gate::record_drops(&mut connection, CONSUMER, &[]).await.unwrap();
    gate::record_drops(&mut connection, CONSUMER, &[(first, 1), (second, 99)]).await.unwrap();
    let recorded: Vec<(String, String, Option<Uuid>, String)> =
        sqlx::query_as("SELECT who, action, event_id, why FROM pipeline.operator_actions ORDER BY id")
            .fetch_all(&pool)
            .await
            .unwrap();
    let expected = [
        ("alice".to_owned(), "drop".to_owned(), Some(first), "command 1: INC-7".to_owned()),
        ("unknown".to_owned(), "drop".to_owned(), Some(second), "command 99: ".to_owned()),
    ];
    assert_eq!(recorded, expected);
    assert_eq!(DROPPED, "dropped-by-command");
}
