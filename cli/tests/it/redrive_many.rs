use std::process::Stdio;

use docfleet_testkit::eventually;
use serde_json::Value;
use sqlx::PgPool;
use tokio::process::{Child, Command};

use crate::{crowd, fleet::Fleet, worker::Worker};

const REPLAY: [&str; 8] = ["dlq", "replay", "--consumer", "ocr", "--no-canary", "--why", "fixed", "--json"];

async fn count(pool: &PgPool, condition: &'static str) -> i64 {
    let statement = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM pipeline.inbox WHERE {condition}"));
    sqlx::query_scalar(statement).fetch_one(pool).await.unwrap()
}

async fn sent(pool: &PgPool, at_least: i64) {
    let enough = || async { (count(pool, "outcome <> 'dead'").await >= at_least).then_some(()) };
    eventually("letters are sent", 60, enough).await;
}

/// Each letter is dead without a retry, or on its way with exactly one.
async fn assert_consistent(pool: &PgPool) {
    let torn: i64 = sqlx::query_scalar(
        r"SELECT count(*) FROM pipeline.inbox i
            LEFT JOIN pipeline.redrive_items t ON t.consumer = i.consumer AND t.event_id = i.event_id
           WHERE (i.outcome = 'retrying') <> EXISTS (SELECT FROM pipeline.outbox_events r WHERE r.kind = 'retry' AND r.event_id = i.event_id)
              OR (i.outcome = 'retrying') <> (t.state = 'sent')",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!(torn, 0);
}

fn spawn(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

async fn signal(child: &Child, name: &str) {
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args([name, &id]).status().await.unwrap().success());
}

async fn report(child: Child) -> (Option<i32>, Value) {
    let output = child.wait_with_output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {text}")))
}

#[tokio::test]
async fn a_signal_in_the_middle_leaves_it_consistent_and_a_resume_sends_the_rest_once() {
    let fleet = Fleet::fresh().await;
    let pool = crowd::die(&fleet, "ocr", 300).await;
    let replay = spawn(fleet.command(&[&REPLAY[..], &["--rate", "40/s"]].concat()));
    sent(&pool, 10).await;
    signal(&replay, "-INT").await;
    let (code, stopped) = report(replay).await;
    assert_eq!((code, &stopped["stopped"]), (Some(1), &"interrupted".into()), "{stopped}");
    assert_consistent(&pool).await;
    let sent = stopped["sent"].as_i64().unwrap();
    assert!((10..300).contains(&sent), "{sent}");
    assert_eq!(count(&pool, "outcome = 'retrying'").await, sent);

    let resumed = fleet.run(&["dlq", "replay", "--resume", "1", "--no-canary", "--rate", "1000/s", "--json"]).await;
    assert_eq!((resumed.code, &resumed.json()["sent"]), (0, &300.into()), "{}", resumed.stderr);
    assert_consistent(&pool).await;
}

#[tokio::test]
async fn a_process_that_was_killed_is_taken_over_when_its_lease_has_ended() {
    let fleet = Fleet::fresh().await;
    let pool = crowd::die(&fleet, "ocr", 300).await;
    let replay = spawn(fleet.command(&[&REPLAY[..], &["--rate", "40/s"]].concat()));
    sent(&pool, 10).await;
    let second = fleet.run(&["dlq", "replay", "--resume", "1"]).await;
    assert_eq!(second.code, 2, "one process at a time");
    assert!(second.stderr.contains("--abort 1"), "{}", second.stderr);
    signal(&replay, "-KILL").await;
    replay.wait_with_output().await.unwrap();
    assert_consistent(&pool).await;
    assert_eq!(fleet.run(&["dlq", "replay", "--resume", "1"]).await.code, 2, "its lease holds still");
    sqlx::query("UPDATE pipeline.redrives SET lease_until = now()").execute(&pool).await.unwrap();
    let shown = fleet.run(&["dlq", "redrives"]).await.stdout;
    assert!(shown.contains("resume it"), "{shown}");
    let resumed = fleet.run(&["dlq", "replay", "--resume", "1", "--no-canary", "--rate", "1000/s", "--json"]).await;
    assert_eq!((resumed.code, &resumed.json()["sent"]), (0, &300.into()), "{}", resumed.stderr);
    assert_consistent(&pool).await;
}

#[tokio::test]
async fn an_abort_by_another_operator_ends_it_wherever_it_runs() {
    let fleet = Fleet::fresh().await;
    let pool = crowd::die(&fleet, "ocr", 300).await;
    let replay = spawn(fleet.command(&[&REPLAY[..], &["--rate", "20/s"]].concat()));
    sent(&pool, 5).await;
    let aborted = fleet.run(&["dlq", "replay", "--abort", "1", "--why", "wrong tenant", "--json"]).await;
    assert_eq!(aborted.code, 0, "{}", aborted.stderr);
    let at_once = count(&pool, "outcome <> 'dead'").await;
    let (code, ended) = report(replay).await;
    assert_eq!((code, &ended["stopped"]), (Some(1), &"ended".into()), "{ended}");
    assert_eq!(count(&pool, "outcome <> 'dead'").await, at_once, "no step follows an abort");
    assert_consistent(&pool).await;
    assert_eq!(fleet.run(&["dlq", "replay", "--resume", "1"]).await.code, 2, "it is over");
    assert_eq!(fleet.run(&["dlq", "replay", "--abort", "1", "--why", "x"]).await.code, 2);
}

#[tokio::test]
async fn a_redrive_stops_by_itself_when_most_of_the_last_letters_die_again() {
    let fleet = Fleet::fresh().await;
    let pool = crowd::die(&fleet, "ocr", 400).await;
    // The first hundred are fine, three of four of the rest are not.
    let _worker = Worker::start(
        &pool,
        "ocr",
        "right(r.event_id::text, 3)::int > 100 AND right(r.event_id::text, 3)::int % 4 > 0",
    );
    let canary: Vec<&str> = REPLAY.into_iter().filter(|arg| *arg != "--no-canary").collect();
    let replayed = fleet.run(&[&canary[..], &["--rate", "200/s", "--open-max", "50"]].concat()).await;
    let report = replayed.json();
    assert_eq!((replayed.code, &report["stopped"]), (1, &"dies-again".into()), "{report} {}", replayed.stderr);
    let sent = report["sent"].as_i64().unwrap();
    assert!((101..400).contains(&sent), "{report}");
}

#[tokio::test]
async fn not_more_than_allowed_is_on_its_way_and_nobody_working_stops_it() {
    let fleet = Fleet::fresh().await;
    let pool = crowd::die(&fleet, "ocr", 100).await;
    let replayed =
        fleet.run(&[&REPLAY[..], &["--open-max", "30", "--patience", "500ms", "--rate", "1000/s"]].concat()).await;
    let report = replayed.json();
    assert_eq!((&report["stopped"], &report["sent"]), (&"nobody-works".into(), &30.into()), "{}", replayed.stderr);
    assert_eq!(count(&pool, "outcome = 'retrying'").await, 30);
}
