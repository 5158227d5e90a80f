use docfleet_testkit::Database;

use crate::fleet::Fleet;

const OLD_DAY: &str = "SELECT pipeline.add_day('outbox_events', current_date - 60);
    INSERT INTO pipeline.outbox_events (kind, event_id, event_type, consumer, shard, topic, headers, tenant, region, created_at)
    VALUES ('retry', gen_random_uuid(), 'x', 'ocr', 0, 't', '[]', 'acme', 'test', current_date - 60 + interval '1 hour')";

#[tokio::test]
async fn retention_shows_first_and_drops_only_when_told_to() {
    let fleet = Fleet::fresh().await;
    let pool = fleet.database.pool();
    sqlx::raw_sql(OLD_DAY).execute(&pool).await.unwrap();
    let held = fleet.run(&["retention"]).await;
    assert_eq!(held.code, 1, "{}", held.stdout);
    assert!(held.stdout.contains("is held by 1 unpublished row"), "{}", held.stdout);
    assert_eq!(fleet.run(&["retention", "--apply"]).await.code, 1, "and stays");

    sqlx::query("DELETE FROM pipeline.outbox_unpublished").execute(&pool).await.unwrap();
    let shown = fleet.run(&["retention", "--json"]).await.json();
    assert_eq!((&shown["tables"][0]["days"][0]["rows"], &shown["tables"][0]["kept"]), (&1.into(), &().into()));
    let count = "SELECT count(*) FROM pipeline.outbox_events";
    assert_eq!(sqlx::query_scalar::<_, i64>(count).fetch_one(&pool).await.unwrap(), 1);
    let asked = fleet.run(&["retention", "--apply"]).await;
    assert!(asked.code == 2 && asked.stderr.contains("Drop 1 day with 1 row? "), "{}", asked.stderr);
    let applied = fleet.run(&["retention", "--apply", "--yes"]).await;
    assert_eq!(applied.code, 0, "{}", applied.stdout);
    assert!(applied.stdout.contains("1 day dropped"), "{}", applied.stdout);
    assert_eq!(sqlx::query_scalar::<_, i64>(count).fetch_one(&pool).await.unwrap(), 0);
}

#[tokio::test]
async fn an_inbox_that_would_forget_too_soon_is_wrong_configuration() {
    let fleet = Fleet::fresh().await;
    let mut command = fleet.command(&["retention", "--apply"]);
    command.env("DOCFLEET__RETENTION__INBOX", "3days");
    let refused = crate::fleet::end(command).await;
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("inbox is shorter than outbox"), "{}", refused.stderr);
}

#[tokio::test]
async fn setup_installs_an_outbox_in_a_schema_of_another_database() {
    let (fleet, other) = (Fleet::fresh().await, Database::fresh().await);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{}\n", other.url())).unwrap();
    let place = ["--outbox-schema", "billing", "--database-url-file", file.path().to_str().unwrap()];
    for expected in ["applied: billing/0001", "up to date"] {
        let setup = fleet.run(&[&["setup"], &place[..]].concat()).await;
        assert_eq!(setup.code, 0, "{}", setup.stderr);
        assert!(setup.stdout.contains(expected), "{}", setup.stdout);
    }
    let next = "SELECT version FROM billing.next_version('invoice', gen_random_uuid())";
    assert_eq!(sqlx::query_scalar::<_, i64>(next).fetch_one(&other.pool()).await.unwrap(), 1);
    assert_eq!(fleet.run(&[&["retention"], &place[..]].concat()).await.code, 0);
    assert_eq!(fleet.run(&["setup", "--outbox-schema", "x; DROP SCHEMA pipeline"]).await.code, 2);
}
