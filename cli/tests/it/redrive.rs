use serde_json::{Value, json};

use crate::{
    fleet::Fleet,
    ledger::Ledger,
    worker::{self, Worker},
};

/// Two documents, each dead at two consumers.
async fn dead() -> (Fleet, Ledger) {
    let fleet = Fleet::fresh().await;
    let ledger = Ledger::good(&fleet).await;
    for event_id in ledger.uploaded {
        ledger.kill(&fleet, "av-scan", event_id, "blob-gone", 3).await;
        ledger.kill(&fleet, "projection-builder", event_id, "undecodable", 0).await;
    }
    (fleet, ledger)
}

const AV_SCAN: [&str; 8] = ["dlq", "replay", "--consumer", "av-scan", "--no-canary", "--why", "blob is back", "--json"];

#[tokio::test]
async fn a_plan_says_what_would_be_sent_in_which_order_and_what_is_done_already() {
    let (fleet, ledger) = dead().await;
    let plan = ["dlq", "plan", "--consumer", "av-scan", "--since", "1h", "--rate", "1/s", "--why", "INC-42", "--json"];
    let plan = fleet.run(&plan).await.json();
    assert_eq!((&plan["planned"], &plan["left_out"], &plan["seconds_expected"]), (&2.into(), &0.into(), &2.0.into()));
    assert_eq!(
        plan["groups"],
        json!([{"consumer": "av-scan", "reason": "blob-gone", "tenant": "acme", "count": 2, "keys": 2}])
    );
    let order: Vec<&str> =
        plan["first"].as_array().unwrap().iter().map(|letter| letter["event_id"].as_str().unwrap()).collect();
    assert_eq!(order, ledger.uploaded.map(|id| id.to_string()));
    let done = json!([{"consumer": "webhook-dispatcher", "count": 2}]);
    assert_eq!(plan["done_elsewhere"], done, "the other letters are dead at projection-builder");
    assert_eq!(ledger.inbox("av-scan", ledger.uploaded[0]).await, ("dead".to_owned(), 3), "a plan does nothing");

    let id = plan["redrive"].to_string();
    let shown = fleet.run(&["dlq", "redrives", &id, "--json"]).await.json();
    let shown = &shown["redrives"][0];
    assert_eq!((&shown["state"], &shown["to_send"]), (&"planned".into(), &2.into()));
    assert_eq!((&shown["who"], &shown["why"]), (&"tester".into(), &"INC-42".into()));
    assert_eq!(shown["chosen_by"]["consumer"], "av-scan");
    assert!(shown["chosen_by"]["since"].as_str().unwrap().ends_with('Z'), "an hour ago stays that hour");
    let applied = fleet.run(&["dlq", "replay", "--resume", &id, "--no-canary", "--json"]).await;
    assert_eq!((applied.code, &applied.json()["sent"]), (0, &2.into()), "{}", applied.stderr);
    assert_eq!(fleet.run(&["dlq", "replay", "--resume", &id]).await.code, 2, "it is done");
    assert_eq!(fleet.run(&["dlq", "replay", "--resume", "999"]).await.code, 2);
    assert_eq!(fleet.run(&["dlq", "redrives", "999"]).await.code, 1);
    let text = fleet.run(&["dlq", "redrives"]).await.stdout;
    assert!(text.contains("done") && text.contains("INC-42"), "{text}");
}

#[tokio::test]
async fn a_replay_goes_to_the_failed_consumer_under_the_next_attempt_only_once() {
    let (fleet, ledger) = dead().await;
    let event_id = ledger.uploaded[0];
    let id = event_id.to_string();
    let replay = [&AV_SCAN[..], &["--event-id", &id]].concat();
    let replayed = fleet.run(&replay).await;
    assert_eq!((replayed.code, &replayed.json()["sent"]), (0, &1.into()), "{}", replayed.stderr);
    assert_eq!(ledger.inbox("av-scan", event_id).await, ("retrying".to_owned(), 4));
    assert_eq!(
        ledger.inbox("projection-builder", event_id).await,
        ("dead".to_owned(), 0),
        "the other consumer is not asked again"
    );
    assert_eq!(ledger.inbox("av-scan", ledger.uploaded[1]).await, ("dead".to_owned(), 3));

    let (topic, attempt, same, headers): (String, i32, bool, Value) = sqlx::query_as(
        r"SELECT r.topic, r.attempt, r.key = o.key AND r.payload = o.payload AND EXISTS (SELECT FROM pipeline.outbox_unpublished u WHERE u.id = r.id), r.headers
            FROM pipeline.outbox_events r JOIN pipeline.outbox_events o ON o.event_id = r.event_id AND o.kind = 'event'
           WHERE r.kind = 'retry'",
    )
    .fetch_one(&ledger.pool)
    .await
    .unwrap();
    assert_eq!((topic, attempt, same), (format!("{}av-scan.retry.10s", fleet.prefix), 4, true));
    let headers = headers.as_array().unwrap();
    let attempts: Vec<&Value> = headers.iter().filter(|header| header[0] == "docfleet_attempt").collect();
    assert_eq!(attempts, [&json!(["docfleet_attempt", "4"])]);
    assert!(headers.contains(&json!(["docfleet_original_offset", "7"])));

    let actions: Vec<(String, String, String)> =
        sqlx::query_as("SELECT who, action, why FROM pipeline.operator_actions ORDER BY id")
            .fetch_all(&ledger.pool)
            .await
            .unwrap();
    let action = |action: &str| ("tester".to_owned(), action.to_owned(), "redrive 1: blob is back".to_owned());
    assert_eq!(actions, [action("plan"), action("replay")]);

    let before = ledger.everything().await;
    let repeated = fleet.run(&replay).await;
    assert_eq!(repeated.code, 1, "it was named, and is not dead");
    assert_eq!(repeated.json()["not_dead"][0], id);
    assert_eq!(ledger.everything().await, before, "a repeat is harmless");
}

#[tokio::test]
async fn what_dies_again_can_be_replayed_until_the_loop_guard_leaves_it_out() {
    let (fleet, ledger) = dead().await;
    let guarded = [&AV_SCAN[..], &["--replays-max", "2"]].concat();
    for round in 0..2 {
        let replayed = fleet.run(&guarded).await;
        assert_eq!(replayed.json()["sent"], 2, "{round}: {}", replayed.stderr);
        assert_eq!(fleet.run(&guarded).await.json()["planned"], 0, "they are on their way");
        worker::step(&ledger.pool, "av-scan", "true").await;
        let listed = fleet.run(&["dlq", "list", "--consumer", "av-scan", "--json"]).await.json();
        assert_eq!(listed["total"], 2, "of several letters one is current");
    }
    let refused = fleet.run(&guarded).await.json();
    assert_eq!((&refused["planned"], &refused["left_out"]), (&0.into(), &2.into()));
    let text = fleet.run(&[&AV_SCAN[..7], &["--replays-max", "2", "--dry-run"]].concat()).await.stdout;
    assert!(text.contains("2 letters left out") && text.contains("--force"), "{text}");
    assert_eq!(fleet.run(&[&guarded[..], &["--force"]].concat()).await.json()["sent"], 2);
    assert_eq!(ledger.inbox("av-scan", ledger.uploaded[0]).await, ("retrying".to_owned(), 6));
    let died: Value = fleet.run(&["dlq", "redrives", "--json"]).await.json();
    assert_eq!(died["redrives"][2]["died_again"], 2, "{died}");
}

#[tokio::test]
async fn two_operators_at_once_replay_each_letter_once() {
    let (fleet, ledger) = dead().await;
    let replay = ["dlq", "replay", "--all", "--no-canary", "--why", "race", "--json"];
    let (a, b) = tokio::join!(fleet.run(&replay), fleet.run(&replay));
    let sent = |report: Value| report["sent"].as_i64().unwrap_or(0);
    assert_eq!(sent(a.json()) + sent(b.json()), 4, "{}{}", a.stderr, b.stderr);
    let retries: i64 = sqlx::query_scalar("SELECT count(*) FROM pipeline.outbox_events WHERE kind = 'retry'")
        .fetch_one(&ledger.pool)
        .await
        .unwrap();
    assert_eq!(retries, 4);
}

#[tokio::test]
async fn the_rest_follows_when_the_canary_of_each_consumer_was_worked_on() {
    let (fleet, ledger) = dead().await;
    let _workers =
        [Worker::start(&ledger.pool, "av-scan", "false"), Worker::start(&ledger.pool, "projection-builder", "false")];
    let replayed = fleet.run(&["dlq", "replay", "--all", "--why", "fixed", "--json"]).await;
    assert_eq!((replayed.code, &replayed.json()["sent"]), (0, &4.into()), "{}", replayed.stderr);
    assert!(replayed.json()["worked"].as_i64().unwrap() >= 2);
    assert_eq!(replayed.json()["stopped"], Value::Null);
}

#[tokio::test]
async fn a_canary_that_dies_again_is_the_only_letter_that_was_sent() {
    let (fleet, ledger) = dead().await;
    let _worker = Worker::start(&ledger.pool, "av-scan", "true");
    let replay = ["dlq", "replay", "--consumer", "av-scan", "--why", "maybe"];
    let replayed = fleet.run(&[&replay[..], &["--json"]].concat()).await;
    let report = replayed.json();
    assert_eq!((replayed.code, &report["stopped"]), (1, &"canary-died".into()), "{}", replayed.stderr);
    assert_eq!((&report["sent"], &report["died_again"], &report["to_send"]), (&1.into(), &1.into(), &1.into()));
    assert_eq!(ledger.inbox("av-scan", ledger.uploaded[1]).await, ("dead".to_owned(), 3));
    let shown = fleet.run(&["dlq", "redrives", "1", "--json"]).await.json();
    assert_eq!(
        (&shown["redrives"][0]["state"], &shown["redrives"][0]["stop_reason"]),
        (&"stopped".into(), &"canary-died".into())
    );
}

#[tokio::test]
async fn a_canary_that_nobody_works_on_stops_the_replay_and_a_resume_waits_for_the_same_one() {
    let (fleet, ledger) = dead().await;
    let replay = ["dlq", "replay", "--consumer", "av-scan", "--patience", "300ms", "--why", "x", "--json"];
    let first = fleet.run(&replay).await;
    assert_eq!((first.code, &first.json()["stopped"]), (1, &"canary-unsettled".into()), "{}", first.stderr);
    let resume = ["dlq", "replay", "--resume", "1", "--patience", "300ms", "--json"];
    let again = fleet.run(&resume).await.json();
    assert_eq!((&again["stopped"], &again["sent"]), (&"canary-unsettled".into(), &1.into()), "no second canary");
    let _worker = Worker::start(&ledger.pool, "av-scan", "false");
    let resumed = fleet.run(&["dlq", "replay", "--resume", "1", "--json"]).await;
    assert_eq!((resumed.code, &resumed.json()["sent"]), (0, &2.into()), "{}", resumed.stderr);
}

#[tokio::test]
async fn a_canary_that_fails_once_more_is_not_followed() {
    let (fleet, ledger) = dead().await;
    let mut replay = fleet.command(&["dlq", "replay", "--consumer", "av-scan", "--why", "x", "--json"]);
    let replay = replay.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let first = ledger.uploaded[0];
    docfleet_testkit::eventually("the canary is sent", 30, || async {
        (ledger.inbox("av-scan", first).await.0 == "retrying").then_some(())
    })
    .await;
    // As a settlement leaves it: the next tier, the next attempt.
    ledger.sql("UPDATE pipeline.inbox SET attempt = attempt + 1 WHERE outcome = 'retrying'").await;
    let output = replay.wait_with_output().await.unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &report["stopped"]), (Some(1), &"canary-failed-again".into()));
    assert_eq!(ledger.inbox("av-scan", ledger.uploaded[1]).await.0, "dead");
}

#[tokio::test]
async fn a_message_that_died_undecodable_and_is_done_by_now_is_told_in_the_plan() {
    let (fleet, ledger) = dead().await;
    ledger.bury_undecoded(&fleet, "ocr", ledger.scanned[0], "o.payload").await;
    let plan = fleet.run(&["dlq", "replay", "--consumer", "ocr", "--dry-run", "--json"]).await.json();
    assert_eq!((&plan["planned"], &plan["done_already"]), (&1.into(), &0.into()));
    sqlx::query(
        r#"INSERT INTO pipeline.inbox (consumer, event_id, event_day, outcome, topic, partition, "offset") VALUES ('ocr', $1, now(), 'done', 't', 0, 0)"#,
    )
    .bind(ledger.scanned[0])
    .execute(&ledger.pool)
    .await
    .unwrap();
    let plan = fleet.run(&["dlq", "replay", "--consumer", "ocr", "--dry-run", "--json"]).await.json();
    assert_eq!(plan["done_already"], 1);
}
