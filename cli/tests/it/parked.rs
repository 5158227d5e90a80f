use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use crate::fleet::Fleet;

/// A key of three messages at an ordered consumer, the head of which failed, and a second key.
async fn parked(fleet: &Fleet, state: &str) -> (PgPool, Vec<Uuid>) {
    let pool = fleet.database.pool();
    let mut ids = Vec::new();
    for (key, n) in [("doc-1", 0), ("doc-1", 1), ("doc-1", 2), ("doc-2", 3)] {
        let id = Uuid::now_v7();
        sqlx::query(
            r#"WITH inboxed AS (
                   INSERT INTO pipeline.inbox (consumer, event_id, event_day, outcome, reason, topic, partition, "offset")
                   VALUES ('indexer', $1, current_date, 'parked', 'engine-crashed', 'documents', 1, $3))
               INSERT INTO pipeline.parked_messages
                      (consumer, key, event_id, event_day, topic, partition, "offset", timestamp_ms, record_key, headers, payload,
                       tenant, region, event_type)
               VALUES ('indexer', $2::text::bytea, $1, current_date, 'documents', 1, $3, 0, $2::text::bytea, '[["event_id", "x"]]', '\x0001',
                       'acme', 'local', 'DocumentUploaded')"#,
        )
        .bind(id)
        .bind(key)
        .bind(n)
        .execute(&pool)
        .await
        .unwrap();
        ids.push(id);
    }
    for (key, head, messages) in [("doc-1", ids[0], 3_i64), ("doc-2", ids[3], 1)] {
        sqlx::query(
            r"INSERT INTO pipeline.parked_keys (consumer, key, state, event_id, reason, detail, attempts, next_try_at, messages)
              VALUES ('indexer', $1::text::bytea, $2, $3, 'engine-crashed', 'child 7 died', 2, now() + interval '1 hour', $4)",
        )
        .bind(key)
        .bind(state)
        .bind(head)
        .bind(messages)
        .execute(&pool)
        .await
        .unwrap();
    }
    (pool, ids)
}

async fn inbox(pool: &PgPool, id: Uuid) -> String {
    sqlx::query_scalar("SELECT outcome FROM pipeline.inbox WHERE event_id = $1").bind(id).fetch_one(pool).await.unwrap()
}

/// What waits under doc-1, in its order.
async fn waiting(pool: &PgPool) -> Vec<Uuid> {
    sqlx::query_scalar("SELECT event_id FROM pipeline.parked_messages WHERE key = 'doc-1' ORDER BY seq")
        .fetch_all(pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn keys_are_listed_with_what_waits_behind_them_a_page_at_a_time() {
    let fleet = Fleet::fresh().await;
    assert!(fleet.run(&["parked", "list"]).await.stdout.contains("No key is parked."));
    let (_, ids) = parked(&fleet, "retrying").await;
    let page = fleet.run(&["parked", "list", "--limit", "1", "--json"]).await.json();
    assert_eq!((&page["total"], &page["messages"], &page["next"]), (&2.into(), &4.into(), &"indexer:doc-1".into()));
    let key = &page["keys"][0];
    assert_eq!((&key["key"], &key["messages"], &key["attempts"]), (&"doc-1".into(), &3.into(), &2.into()));
    assert_eq!((&key["head"], &key["reason"]), (&ids[0].to_string().into(), &"engine-crashed".into()));
    let page = fleet.run(&["parked", "list", "--after", "indexer:doc-1", "--json"]).await.json();
    assert_eq!((&page["keys"][0]["key"], &page["next"]), (&"doc-2".into(), &Value::Null));
    assert_eq!(fleet.run(&["parked", "list", "--reason", "other", "--json"]).await.json()["total"], 0);
    let text = fleet.run(&["parked", "list"]).await.stdout;
    assert!(text.contains("doc-1") && text.contains("engine-crashed"), "{text}");

    let shown = fleet.run(&["parked", "show", "indexer", "doc-1", "--json"]).await.json();
    let order: Vec<&str> =
        shown["messages"].as_array().unwrap().iter().map(|m| m["event_id"].as_str().unwrap()).collect();
    assert_eq!(order, [0, 1, 2].map(|n| ids[n].to_string()));
    assert_eq!(fleet.run(&["parked", "show", "indexer", "doc-9"]).await.code, 1);
}

#[tokio::test]
async fn a_key_is_resumed_now_with_a_reason_on_record() {
    let fleet = Fleet::fresh().await;
    let (pool, _) = parked(&fleet, "retrying").await;
    assert_eq!(fleet.run(&["parked", "resume", "indexer", "doc-1"]).await.code, 2, "without --why");
    let resumed = fleet.run(&["parked", "resume", "indexer", "doc-1", "--why", "fixed", "--json"]).await;
    assert_eq!((resumed.code, &resumed.json()["keys"]), (0, &1.into()), "{}", resumed.stderr);
    let due = "SELECT array_agg(convert_from(key, 'UTF8')) FROM pipeline.parked_keys WHERE next_try_at <= now() AND attempts = 0";
    let due: Vec<String> = sqlx::query_scalar(due).fetch_one(&pool).await.unwrap();
    assert_eq!(due, ["doc-1"]);
    assert_eq!(fleet.run(&["parked", "resume", "indexer", "doc-9", "--why", "x"]).await.code, 1);
    let all =
        fleet.run(&["parked", "resume", "indexer", "--reason", "engine-crashed", "--why", "back", "--json"]).await;
    assert_eq!(all.json()["keys"], 2);
    let recorded: i64 = sqlx::query_scalar("SELECT count(*) FROM pipeline.operator_actions WHERE action = 'resume'")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(recorded, 3);
}

#[tokio::test]
async fn a_discarded_head_lets_its_key_go_on_and_keeps_its_bytes() {
    let fleet = Fleet::fresh().await;
    let (pool, ids) = parked(&fleet, "retrying").await;
    let discard = ["parked", "discard", "indexer", "doc-1", "--why", "test data", "--json"];
    let looked = fleet.run(&[&discard[..], &["--dry-run"]].concat()).await.json();
    assert_eq!((&looked["messages"], &looked["left"]), (&1.into(), &2.into()));
    assert_eq!(fleet.run(&discard).await.code, 2, "nobody can answer");
    assert_eq!(waiting(&pool).await.len(), 3);
    let discarded = fleet.run(&[&discard[..], &["--yes"]].concat()).await;
    assert_eq!(
        (&discarded.json()["messages"], &discarded.json()["left"]),
        (&1.into(), &2.into()),
        "{}",
        discarded.stderr
    );
    assert_eq!((inbox(&pool, ids[0]).await, inbox(&pool, ids[1]).await), ("discarded".into(), "parked".into()));
    assert_eq!(waiting(&pool).await, ids[1..3]);
    let (head, messages, epoch): (Uuid, i64, i64) =
        sqlx::query_as("SELECT event_id, messages, lease_epoch FROM pipeline.parked_keys WHERE key = 'doc-1'")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!((head, messages), (ids[1], 2));
    assert!(epoch > 0, "a drainer that works on the old head is fenced");
    let restored = fleet.run(&["dlq", "restore", "--event-id", &ids[0].to_string(), "--why", "oh", "--json"]).await;
    assert_eq!(restored.json()["done"], 1, "its letter is in the archive");
    let shown = fleet.run(&["dlq", "show", &ids[0].to_string(), "--json"]).await.json();
    assert_eq!(
        (&shown["letters"][0]["reason"], &shown["letters"][0]["payload"]["hex"]),
        (&"engine-crashed".into(), &"0001".into())
    );
}

#[tokio::test]
async fn a_whole_key_is_discarded_at_once_and_a_replay_brings_it_back_in_its_order() {
    let fleet = Fleet::fresh().await;
    let (pool, ids) = parked(&fleet, "retrying").await;
    let discard = ["parked", "discard", "indexer", "doc-1", "--whole-key", "--why", "test data", "--yes", "--json"];
    assert_eq!(fleet.run(&discard).await.json()["messages"], 3);
    assert!(waiting(&pool).await.is_empty());
    assert_eq!(fleet.run(&discard).await.code, 1, "it is not parked any more");
    assert_eq!(fleet.run(&["parked", "list", "--json"]).await.json()["total"], 1);

    // Letters of a key that is parked again go back before what waits there, all at once and in order.
    let restore = ["dlq", "restore", "--key", "doc-1", "--why", "needed", "--json"];
    assert_eq!(fleet.run(&restore).await.json()["done"], 3);
    sqlx::query(r"UPDATE pipeline.parked_messages SET key = 'doc-1' WHERE key = 'doc-2';")
        .execute(&pool)
        .await
        .unwrap();
    sqlx::query("UPDATE pipeline.parked_keys SET key = 'doc-1' WHERE key = 'doc-2'").execute(&pool).await.unwrap();
    let replay = ["dlq", "replay", "--key", "doc-1", "--rate", "1/s", "--no-canary", "--why", "go", "--json"];
    let replayed = fleet.run(&replay).await;
    assert_eq!((replayed.code, &replayed.json()["sent"]), (0, &3.into()), "{}", replayed.stderr);
    assert_eq!(waiting(&pool).await, ids, "the oldest first, though one a second was asked for");
    assert_eq!(inbox(&pool, ids[0]).await, "parked");
    let retries: i64 = sqlx::query_scalar("SELECT count(*) FROM pipeline.outbox_events WHERE kind = 'retry'")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(retries, 0, "nothing goes through a topic, which would lose the order");
}

#[tokio::test]
async fn letters_that_died_as_a_group_go_back_as_a_group() {
    let fleet = Fleet::fresh().await;
    let (pool, ids) = parked(&fleet, "retrying").await;
    let discard = ["parked", "discard", "indexer", "doc-1", "--whole-key", "--why", "test data", "--yes"];
    assert_eq!(fleet.run(&discard).await.code, 0);
    // As the runtime buries a key.
    sqlx::query(
        r#"UPDATE pipeline.outbox_events SET headers = headers || '[["docfleet_group", "g"], ["docfleet_group_position", "0"]]'"#,
    )
    .execute(&pool)
    .await
    .unwrap();
    sqlx::query("UPDATE pipeline.inbox SET outcome = 'dead' WHERE outcome = 'discarded'").execute(&pool).await.unwrap();
    let second = ids[1].to_string();
    let replay = ["dlq", "replay", "--event-id", &second, "--rate", "1/s", "--no-canary", "--why", "go", "--json"];
    assert_eq!(fleet.run(&replay).await.json()["sent"], 3, "also when one of them was named");
    assert_eq!(waiting(&pool).await, ids[..3]);
    let undone = fleet.run(&["dlq", "undo", "1", "--why", "no", "--json"]).await.json();
    assert_eq!(
        (&undone["parked"], &undone["taken_back_unsent"]),
        (&3.into(), &0.into()),
        "what is parked is not torn out of its order"
    );
}

#[tokio::test]
async fn a_key_that_is_held_by_another_letter_refuses_and_the_others_go() {
    let fleet = Fleet::fresh().await;
    let (pool, ids) = parked(&fleet, "retrying").await;
    for key in ["doc-1", "doc-2"] {
        let discard = ["parked", "discard", "indexer", key, "--whole-key", "--why", "test data", "--yes"];
        assert_eq!(fleet.run(&discard).await.code, 0);
    }
    assert_eq!(fleet.run(&["dlq", "restore", "--all", "--why", "needed", "--json"]).await.json()["done"], 4);
    for (key, state) in [("doc-1", "held"), ("doc-2", "retrying")] {
        sqlx::query(
            r"INSERT INTO pipeline.parked_keys (consumer, key, state, event_id, reason, detail, next_try_at, messages)
              VALUES ('indexer', $1::text::bytea, $2, gen_random_uuid(), 'x', '', now(), 1)",
        )
        .bind(key)
        .bind(state)
        .execute(&pool)
        .await
        .unwrap();
    }
    let replayed = fleet.run(&["dlq", "replay", "--all", "--no-canary", "--why", "go", "--json"]).await;
    let report = replayed.json();
    assert_eq!((replayed.code, &report["sent"], &report["refused"]), (1, &1.into(), &3.into()), "{}", replayed.stderr);
    assert_eq!((inbox(&pool, ids[0]).await, inbox(&pool, ids[3]).await), ("dead".into(), "parked".into()));
}

#[tokio::test]
async fn a_held_key_goes_on_without_its_dead_head() {
    let fleet = Fleet::fresh().await;
    let (pool, ids) = parked(&fleet, "held").await;
    // The head is dead, and not under its key any more.
    sqlx::query("DELETE FROM pipeline.parked_messages WHERE event_id = $1").bind(ids[0]).execute(&pool).await.unwrap();
    sqlx::query("UPDATE pipeline.inbox SET outcome = 'dead' WHERE event_id = $1")
        .bind(ids[0])
        .execute(&pool)
        .await
        .unwrap();
    sqlx::query("UPDATE pipeline.parked_keys SET messages = 2 WHERE key = 'doc-1'").execute(&pool).await.unwrap();
    let discard = ["parked", "discard", "indexer", "doc-1", "--why", "test data", "--yes", "--json"];
    let discarded = fleet.run(&discard).await.json();
    assert_eq!((&discarded["messages"], &discarded["left"]), (&1.into(), &2.into()));
    assert_eq!((inbox(&pool, ids[0]).await, inbox(&pool, ids[1]).await), ("discarded".into(), "parked".into()));
    let state: String = sqlx::query_scalar("SELECT state FROM pipeline.parked_keys WHERE key = 'doc-1'")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(state, "retrying");
    let buried = fleet.run(&["parked", "bury", "indexer", "doc-1", "--why", "later", "--json"]).await;
    assert_eq!((buried.code, &buried.json()["keys"]), (0, &1.into()), "{}", buried.stderr);
    let busy = fleet.run(&["parked", "resume", "indexer", "doc-1", "--why", "no", "--json"]).await;
    assert_eq!((busy.code, &busy.json()["busy"][0]), (1, &"doc-1".into()));
    assert_eq!(fleet.run(&discard).await.code, 2, "the drainer has it");
}
