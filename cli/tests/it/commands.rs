use serde_json::{Value, json};

use crate::{
    fleet::{Ended, Fleet, end},
    ledger::Ledger,
};

const WHY: [&str; 2] = ["--why", "INC-42"];

/// A command with a reason and JSON.
async fn give(fleet: &Fleet, args: &[&str]) -> Ended {
    fleet.run(&[args, &WHY, &["--json"]].concat()).await
}

async fn in_force(fleet: &Fleet) -> Vec<Value> {
    fleet.run(&["commands", "list", "--json"]).await.json()["commands"].as_array().unwrap().clone()
}

async fn commands_and_actions(fleet: &Fleet) -> (i64, i64) {
    sqlx::query_as("SELECT (SELECT count(*) FROM pipeline.commands), (SELECT count(*) FROM pipeline.operator_actions)")
        .fetch_one(&fleet.database.pool())
        .await
        .unwrap()
}

async fn sql(fleet: &Fleet, statement: &'static str) {
    sqlx::raw_sql(statement).execute(&fleet.database.pool()).await.unwrap();
}

#[tokio::test]
async fn wrong_usage_gives_no_command() {
    let fleet = Fleet::fresh().await;
    for wrong in [
        vec!["pause"],
        vec!["pause", "--consumer", "ocrr"],
        vec!["pause", "--consumer", "ocr", "--all-consumers"],
        vec!["pause", "--consumer", "ocr", "--partition", "3"],
        vec!["pause", "--consumer", "ocr", "--topic", "t", "--tenant", "acme"],
        vec!["pause", "--consumer", "ocr", "--key", "a", "--key-hex", "6b"],
        vec!["pause", "--consumer", "ocr", "--key-hex", "xyz"],
        vec!["pause", "--consumer", "ocr", "--for", "8days"],
        vec!["pause", "--consumer", "ocr", "--for", "0s"],
        vec!["pause", "--consumer", "ocr", "--header", "a=b"],
        vec!["throttle", "--consumer", "ocr"],
        vec!["throttle", "--consumer", "ocr", "--per-second", "0"],
        vec!["throttle", "--consumer", "ocr", "--per-second", "NaN"],
        vec!["drop", "--consumer", "ocr", "--yes"],
        vec!["drop", "--consumer", "ocr", "--header", "producer", "--yes"],
        vec!["drop", "--consumer", "ocr", "--header", "producer=bad"],
        vec!["let-fail", "--consumer", "ocr", "--tenant", "acme"],
        vec!["resume"],
        vec!["resume", "--id", "1", "--consumer", "ocr"],
    ] {
        let ended = give(&fleet, &wrong).await;
        assert_eq!(ended.code, 2, "{wrong:?}: {}{}", ended.stdout, ended.stderr);
    }
    for no_reason in [vec!["pause", "--consumer", "ocr"], vec!["pause", "--consumer", "ocr", "--why", " "]] {
        assert_eq!(fleet.run(&no_reason).await.code, 2);
    }
    let slip = give(&fleet, &["pause", "--consumer", "ocrr"]).await;
    assert!(slip.stderr.contains("there are av-scan, dedup, ocr"), "{}", slip.stderr);
    let unasked = give(&fleet, &["drop", "--consumer", "ocr", "--header", "producer=bad"]).await;
    assert!(unasked.stderr.contains("--yes"), "{}", unasked.stderr);
    assert_eq!(commands_and_actions(&fleet).await, (0, 0));
}

#[tokio::test]
async fn a_topic_that_the_consumer_does_not_read_is_refused() {
    let fleet = Fleet::fresh().await;
    Ledger::good(&fleet).await;
    let wrong = give(&fleet, &["pause", "--consumer", "dedup", "--topic", "documents.uploaded.v1"]).await;
    assert_eq!(wrong.code, 2);
    assert!(wrong.stderr.contains("documents.virus-scanned.v1"), "{}", wrong.stderr);
    for topic in ["documents.virus-scanned.v1", "dedup.retry.10s"] {
        let paused = give(&fleet, &["pause", "--consumer", "dedup", "--topic", topic, "--partition", "3"]).await;
        let expected = json!({"topic": format!("{}{topic}", fleet.prefix), "partition": 3});
        assert_eq!(paused.json()["commands"][0]["selector"], expected, "{}", paused.stderr);
    }
}

#[tokio::test]
async fn a_dry_run_tells_the_backlog_and_gives_no_command() {
    let fleet = Fleet::fresh().await;
    let ledger = Ledger::good(&fleet).await;
    ledger.sql("DELETE FROM pipeline.inbox WHERE consumer = 'projection-builder'").await;
    ledger.sql("UPDATE pipeline.inbox SET outcome = 'retrying' WHERE consumer = 'dedup'").await;
    let topic = "documents.uploaded.v1";
    for (action, expected) in [
        (vec!["pause", "--consumer", "projection-builder"], json!(4)),
        (vec!["pause", "--consumer", "projection-builder", "--topic", topic], json!(2)),
        (vec!["pause", "--consumer", "projection-builder", "--tenant", "acme"], json!(4)),
        (vec!["pause", "--consumer", "projection-builder", "--tenant", "globex"], json!(0)),
        (vec!["pause", "--consumer", "projection-builder", "--topic", topic, "--partition", "0"], Value::Null),
        (vec!["drop", "--consumer", "projection-builder", "--header", "tenant=acme"], json!(4)),
        (vec!["drop", "--consumer", "projection-builder", "--header", "acme=tenant"], json!(0)),
        (vec!["drop", "--consumer", "projection-builder", "--field", "data.file_name=x"], Value::Null),
        (vec!["throttle", "--consumer", "dedup", "--per-second", "2"], json!(2)),
        (vec!["let-fail", "--consumer", "av-scan"], json!(0)),
    ] {
        let planned = fleet.run(&[&action[..], &["--dry-run", "--json"]].concat()).await;
        assert_eq!(planned.code, 0, "{action:?} {}", planned.stderr);
        let planned = planned.json();
        assert_eq!((&planned["dry_run"], &planned["commands"][0]["id"]), (&json!(true), &Value::Null));
        assert_eq!(planned["commands"][0]["backlog_messages"], expected, "{action:?}");
    }
    assert_eq!(commands_and_actions(&fleet).await, (0, 0));
    let text =
        fleet.run(&["pause", "--consumer", "dedup", "--tenant", "acme", "--for", "30m", "--dry-run"]).await.stdout;
    for part in
        ["Would pause dedup: tenant acme, for 30 min.", "2 messages of the backlog match", "No replica of dedup"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[tokio::test]
async fn a_command_is_given_listed_ended_and_on_record_with_who_and_why() {
    let fleet = Fleet::fresh().await;
    let paused = give(&fleet, &["pause", "--consumer", "ocr", "--tenant", "acme", "--for", "30m"]).await;
    assert_eq!(paused.code, 0, "{}", paused.stderr);
    let id = paused.json()["commands"][0]["id"].as_i64().unwrap();
    give(&fleet, &["throttle", "--consumer", "ocr", "--per-second", "2.5", "--key", "doc-1", "--who", "bob"]).await;
    give(&fleet, &["drop", "--consumer", "ocr", "--field", "data.kind=x", "--yes"]).await;
    give(&fleet, &["let-fail", "--consumer", "dedup"]).await;
    let listed = in_force(&fleet).await;
    let shown = |key: &str| listed.iter().rev().map(|command| command[key].clone()).collect::<Vec<_>>();
    assert_eq!(shown("action"), ["pause", "throttle", "drop", "let-fail"]);
    assert_eq!(shown("scope"), ["tenant", "key", "field", "all"]);
    assert_eq!(shown("issued_by"), ["tester", "bob", "tester", "tester"]);
    assert_eq!(listed[2]["selector"], json!({"key": "646f632d31"}));
    let left = listed[3]["remaining_seconds"].as_f64().unwrap();
    assert!((1_700.0..=1_800.0).contains(&left), "{left}");
    let left = listed[2]["remaining_seconds"].as_f64().unwrap();
    assert!((3_500.0..=3_600.0).contains(&left), "an hour unless said otherwise: {left}");
    let text = fleet.run(&["commands", "list"]).await.stdout;
    for part in ["tenant acme", "key doc-1", "throttle 2.5/s", "field data.kind=x", "0 of 0 obey", "INC-42"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let id = id.to_string();
    let resume = ["resume", "--id", &id];
    let planned = fleet.run(&[&resume[..], &["--dry-run", "--json"]].concat()).await;
    assert_eq!((planned.code, planned.json()["commands"][0]["id"].to_string()), (0, id.clone()));
    assert_eq!(in_force(&fleet).await.len(), 4, "a dry run ends nothing");
    assert_eq!(give(&fleet, &resume).await.code, 0);
    let again = give(&fleet, &resume).await;
    assert_eq!((again.code, &again.json()["not_in_force"][0]), (1, &id.parse::<i64>().unwrap().into()));
    assert_eq!(in_force(&fleet).await.len(), 3);
    let all = fleet.run(&["commands", "list", "--consumer", "ocr", "--all"]).await.stdout;
    assert!(all.contains("by tester") && all.contains("ended"), "{all}");
    let actions: Vec<(String, String, String)> =
        sqlx::query_as("SELECT who, action, why FROM pipeline.operator_actions ORDER BY id")
            .fetch_all(&fleet.database.pool())
            .await
            .unwrap();
    let told: Vec<_> = actions.iter().map(|(who, action, ..)| (who.as_str(), action.as_str())).collect();
    let expected =
        [("tester", "pause"), ("bob", "throttle"), ("tester", "drop"), ("tester", "let-fail"), ("tester", "resume")];
    assert_eq!(told, expected);
    assert_eq!(actions[0].2, format!("command {id}, tenant acme: INC-42"));
    assert_eq!(actions[4].2, format!("command {id}, a pause, ended: INC-42"));
}

#[tokio::test]
async fn resume_ends_what_was_selected_alike_and_nothing_else() {
    let fleet = Fleet::fresh().await;
    for args in [
        vec!["pause", "--consumer", "ocr"],
        vec!["pause", "--consumer", "ocr", "--tenant", "acme"],
        vec!["throttle", "--consumer", "ocr", "--tenant", "acme", "--per-second", "1"],
        vec!["pause", "--consumer", "ocr", "--tenant", "globex"],
        vec!["pause", "--all-consumers", "--key-hex", "ff"],
    ] {
        assert_eq!(give(&fleet, &args).await.code, 0, "{args:?}");
    }
    assert_eq!(in_force(&fleet).await.len(), 9, "one for each of the five consumers");
    assert_eq!(give(&fleet, &["resume", "--consumer", "dedup", "--tenant", "acme"]).await.code, 1);
    let ended = give(&fleet, &["resume", "--consumer", "ocr", "--tenant", "acme"]).await.json();
    assert_eq!(ended["commands"].as_array().unwrap().len(), 2);
    let ended = give(&fleet, &["resume", "--consumer", "ocr"]).await.json();
    assert_eq!(ended["commands"].as_array().unwrap().len(), 1, "the one for all messages, not all commands");
    let ended = give(&fleet, &["resume", "--consumer", "ocr", "--everything"]).await.json();
    assert_eq!(ended["commands"].as_array().unwrap().len(), 2);
    assert_eq!(in_force(&fleet).await.len(), 4);
    sql(&fleet, "UPDATE pipeline.commands SET expires_at = clock_timestamp() WHERE ended_at IS NULL").await;
    assert_eq!(in_force(&fleet).await.len(), 0, "they end by themselves");
    let text = fleet.run(&["commands", "list", "--all"]).await.stdout;
    assert!(text.contains("expired") && text.contains("key 0xff"), "{text}");
    assert_eq!(give(&fleet, &["resume", "--all-consumers", "--everything"]).await.code, 1);
}

/// Members as the runtime writes them.
const MEMBERS: &str = r#"INSERT INTO pipeline.consumer_members (member, consumer, partitions, in_flight, waits, started_at, seen_at, gate)
    SELECT gen_random_uuid(), consumer, 1, 0, false, now(), clock_timestamp() - age::interval, gate::jsonb
      FROM (VALUES ('ocr', '0 s', '{"commands": {"1": 0, "9": 5}}'), ('ocr', '0 s', '{"commands": {"1": 2}}'),
                   ('ocr', '1 min', '{"commands": {"1": 7}}'), ('dedup', '0 s', '{}')) AS m (consumer, age, gate)"#;

#[tokio::test]
async fn a_drain_is_over_when_every_live_replica_has_finished_what_was_before() {
    let fleet = Fleet::fresh().await;
    sql(&fleet, MEMBERS).await;
    let drain = ["drain", "--consumer", "ocr", "--wait", "1s"];
    let waited = give(&fleet, &drain).await;
    assert_eq!(waited.code, 1, "{}", waited.stderr);
    let drained = &waited.json()["drained"];
    assert_eq!(
        [&drained["drained"], &drained["members"], &drained["obeyed_by"], &drained["in_flight"]],
        [&json!(false), &json!(2), &json!(2), &json!(2)],
        "a silent one does not count"
    );
    let text = fleet.run(&["commands", "list"]).await.stdout;
    assert!(text.contains("2 of 2 obey"), "{text}");
    sql(&fleet, r#"UPDATE pipeline.consumer_members SET gate = '{"commands": {"2": 0}}', seen_at = clock_timestamp()"#)
        .await;
    assert_eq!(give(&fleet, &drain).await.json()["drained"]["drained"], true);
    let unseen = give(&fleet, &drain).await;
    assert_eq!((unseen.code, &unseen.json()["drained"]["obeyed_by"]), (1, &json!(0)), "nobody has seen the third yet");
    let nobody = give(&fleet, &["drain", "--consumer", "av-scan", "--wait", "1s"]).await;
    assert_eq!(
        (nobody.code, &nobody.json()["drained"]["drained"]),
        (0, &json!(true)),
        "without a replica nothing is at work"
    );
}

#[tokio::test]
async fn without_the_database_the_exit_code_is_3() {
    let fleet = Fleet::fresh().await;
    let mut command = fleet.command(&["pause", "--consumer", "ocr", "--why", "x"]);
    command.env("DOCFLEET__POSTGRES__URL", "postgres://docfleet@127.0.0.1:1/docfleet");
    assert_eq!(end(command).await.code, 3);
}
