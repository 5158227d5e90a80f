use serde_json::{Value, json};

use crate::{
    fleet::{Ended, Fleet},
    ledger::Ledger,
    worker::{self, Worker},
};

/// Two documents, done everywhere, and what the consumers say of themselves.
async fn done() -> (Fleet, Ledger) {
    let fleet = Fleet::fresh().await;
    let ledger = Ledger::good(&fleet).await;
    ledger
        .sql(
            r"INSERT INTO pipeline.declarations (consumer, no_replay, needs_events)
              VALUES ('av-scan', NULL, false), ('webhook-dispatcher', NULL, false), ('ocr', NULL, true),
                     ('projection-builder', 'its view counts; `docfleet projections rebuild`', false)",
        )
        .await;
    (fleet, ledger)
}

const WINDOW: [&str; 6] = ["--from", "1h", "--to", "2999-01-01T00:00:00Z", "--why", "INC-51"];

async fn replay(fleet: &Fleet, consumer: &str, version: &str, more: &[&str]) -> Ended {
    fleet.run(&[&["replay", consumer, "--as", version, "--json", "--no-canary"], &WINDOW[..], more].concat()).await
}

async fn numbers(ledger: &Ledger, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(&ledger.pool).await.unwrap()
}

const SENT: &str = "SELECT count(*) FROM pipeline.outbox_events WHERE kind = 'retry'";

#[tokio::test]
async fn a_window_is_fed_to_one_consumer_under_its_version_and_the_audit_stays_green() {
    let (fleet, ledger) = done().await;
    let planned = replay(&fleet, "av-scan", "v2", &["--dry-run"]).await;
    assert_eq!((planned.code, &planned.json()["planned"], &planned.json()["replay"]), (0, &2.into(), &Value::Null));
    assert_eq!(numbers(&ledger, "SELECT count(*) FROM pipeline.replays").await, 0, "a dry run leaves nothing");

    let sent = replay(&fleet, "av-scan", "v2", &["--emit", "new"]).await;
    let report = sent.json();
    assert_eq!((sent.code, &report["sent"], &report["on_their_way"]), (0, &2.into(), &2.into()), "{}", sent.stderr);
    assert_eq!(ledger.inbox("av-scan@v2", ledger.uploaded[0]).await, ("retrying".to_owned(), 1));
    assert_eq!(ledger.inbox("av-scan", ledger.uploaded[0]).await, ("done".to_owned(), 0), "the first outcome stays");
    let (topic, consumer, same, headers): (String, String, bool, Value) = sqlx::query_as(
        r"SELECT r.topic, r.consumer, r.key = o.key AND r.payload = o.payload AND EXISTS (SELECT FROM pipeline.outbox_unpublished u WHERE u.id = r.id), r.headers
            FROM pipeline.outbox_events r JOIN pipeline.outbox_events o ON o.event_id = r.event_id AND o.kind = 'event'
           WHERE r.kind = 'retry' LIMIT 1",
    )
    .fetch_one(&ledger.pool)
    .await
    .unwrap();
    assert_eq!((topic, consumer, same), (format!("{}av-scan.retry.10s", fleet.prefix), "av-scan@v2".to_owned(), true));
    for header in [["docfleet_attempt", "1"], ["docfleet_replay", "v2"], ["docfleet_replay_emits", "new"]] {
        assert!(headers.as_array().unwrap().contains(&json!(header)), "{headers}");
    }
    worker::step(&ledger.pool, "av-scan@v2", "false").await;
    let audit = fleet.run(&["audit", "--json"]).await;
    assert_eq!(audit.code, 0, "{}", audit.stdout);
    let listed = fleet.run(&["replay", "--list", "--json"]).await.json();
    let listed = &listed["replays"][0];
    assert_eq!(
        (&listed["state"], &listed["counts"]["done"], &listed["who"]),
        (&"done".into(), &2.into(), &"tester".into())
    );
    let on_record = "SELECT count(*) FROM pipeline.operator_actions WHERE action = 'replay' AND why LIKE 'replay % of av-scan@v2, emits new: INC-51'";
    assert_eq!(numbers(&ledger, on_record).await, 1);
}

#[tokio::test]
async fn a_consumer_that_can_not_be_fed_again_is_refused_with_what_to_do_instead() {
    let (fleet, ledger) = done().await;
    let before = ledger.everything().await;
    for (consumer, says) in [
        ("projection-builder", "projections rebuild"),
        ("ocr", "needs --emit new"),
        ("dedup", "has not said"),
        ("nobody", "Is the name right?"),
    ] {
        let refused = replay(&fleet, consumer, "v2", &[]).await;
        assert!(refused.code == 2 && refused.stderr.contains(says), "{consumer}: {}", refused.stderr);
    }
    assert_eq!(ledger.everything().await, before);
}

#[tokio::test]
async fn a_version_is_used_once_and_a_bad_one_or_a_window_that_is_none_is_refused() {
    let (fleet, ledger) = done().await;
    assert_eq!(replay(&fleet, "av-scan", "v2", &[]).await.code, 0);
    let again = replay(&fleet, "av-scan", "v2", &["--emit", "new"]).await;
    assert!(again.code == 2 && again.stderr.contains("--resume 1"), "{}", again.stderr);
    assert_eq!(numbers(&ledger, SENT).await, 2);
    for bad in ["V2", "a@b", "", "a b"] {
        assert_eq!(replay(&fleet, "av-scan", bad, &[]).await.code, 2, "{bad}");
    }
    let no_window = fleet.run(&["replay", "av-scan", "--as", "v3", "--why", "x"]).await;
    assert!(no_window.code == 2 && no_window.stderr.contains("--offsets"), "{}", no_window.stderr);
    let no_reason = fleet.run(&["replay", "av-scan", "--as", "v3", "--from", "1h", "--to", "1s"]).await;
    assert!(no_reason.code == 2 && no_reason.stderr.contains("--why"), "{}", no_reason.stderr);
    let backwards = fleet.run(&["replay", "av-scan", "--as", "v3", "--from", "1h", "--to", "2h", "--why", "x"]).await;
    assert_eq!(backwards.code, 2, "{}", backwards.stderr);
    let empty =
        fleet.run(&["replay", "av-scan", "--as", "v3", "--from", "3h", "--to", "2h", "--why", "x", "--json"]).await;
    assert_eq!((empty.code, &empty.json()["planned"]), (0, &0.into()), "{}", empty.stderr);
}

#[tokio::test]
async fn only_what_is_done_is_fed_again_and_a_window_may_be_one_of_offsets() {
    let (fleet, ledger) = done().await;
    ledger.kill(&fleet, "av-scan", ledger.uploaded[0], "blob-gone", 3).await;
    let offset: i64 =
        sqlx::query_scalar(r#"SELECT "offset" FROM pipeline.inbox WHERE consumer = 'av-scan' AND outcome = 'done'"#)
            .fetch_one(&ledger.pool)
            .await
            .unwrap();
    let planned = replay(&fleet, "av-scan", "v2", &["--dry-run"]).await.json();
    assert_eq!((&planned["planned"], &planned["dead"]), (&1.into(), &1.into()));
    for (from, to, expected) in [(offset, offset + 1, 1), (offset + 1, offset + 9, 0)] {
        let offsets = format!("documents.uploaded.v1[0]@{from}..{to}");
        let args = ["replay", "av-scan", "--as", "v2", "--offsets", &offsets, "--dry-run", "--json"];
        let planned = fleet.run(&args).await;
        assert_eq!(planned.json()["planned"], expected, "{}", planned.stderr);
    }
}

/// The first event is waited for, and when it dies nothing follows; what was stopped goes on, and what was ended does not.
#[tokio::test]
async fn a_canary_that_dies_stops_it_and_it_can_be_resumed_or_aborted() {
    let (fleet, ledger) = done().await;
    let canary = [&["replay", "webhook-dispatcher", "--as", "v2", "--json"], &WINDOW[..]].concat();
    let dies = Worker::start(&ledger.pool, "webhook-dispatcher@v2", "true");
    let stopped = fleet.run(&canary).await;
    assert_eq!((stopped.code, &stopped.json()["stopped"]), (1, &"dies".into()), "{}", stopped.stderr);
    assert_eq!(stopped.json()["sent"], 1);
    drop(dies);
    let resumed = fleet.run(&["replay", "--resume", "1", "--no-canary", "--why", "mended", "--json"]).await;
    assert_eq!((resumed.code, &resumed.json()["sent"]), (0, &4.into()), "{}", resumed.stderr);
    assert_eq!(numbers(&ledger, SENT).await, 4, "each once");
    assert_eq!(fleet.run(&["replay", "--abort", "1", "--why", "x"]).await.code, 2, "it is done");
    let letters = fleet
        .run(&["dlq", "replay", "--consumer", "webhook-dispatcher@v2", "--no-canary", "--why", "x", "--json"])
        .await;
    assert_eq!(letters.json()["sent"], 1, "its dead letter is redriven as others: {}", letters.stderr);
    let topics = "SELECT count(DISTINCT topic) FROM pipeline.outbox_events WHERE kind = 'retry'";
    assert_eq!(numbers(&ledger, topics).await, 1, "to the consumer's own topic");

    let slow = [&["replay", "av-scan", "--as", "v2", "--rate", "1/min", "--no-canary", "--json"], &WINDOW[..]].concat();
    let mut running = fleet.command(&slow).spawn().unwrap();
    docfleet_testkit::eventually("the first is sent", 30, || async {
        (numbers(&ledger, "SELECT sent FROM pipeline.replays ORDER BY id DESC LIMIT 1").await == 1).then_some(())
    })
    .await;
    let aborted = fleet.run(&["replay", "--abort", "2", "--why", "wrong day", "--json"]).await;
    assert_eq!(aborted.json()["replays"][0]["state"], "aborted", "{}", aborted.stderr);
    running.kill().await.unwrap();
    assert_eq!(fleet.run(&["replay", "--resume", "2", "--why", "x"]).await.code, 2);
    assert_eq!(numbers(&ledger, "SELECT sent FROM pipeline.replays WHERE id = 2").await, 1);
}
