use serde_json::Value;

use crate::fleet::Fleet;

fn topics(report: &Value, created: bool) -> usize {
    report["topics"].as_array().unwrap().iter().filter(|topic| topic["created"] == created).count()
}

#[tokio::test]
async fn setup_creates_what_is_missing_and_may_be_repeated() {
    let fleet = Fleet::fresh().await;
    let first = fleet.run(&["setup", "--partitions", "2", "--wait", "30s", "--json"]).await;
    assert_eq!(first.code, 0, "{}", first.stderr);
    let first = first.json();
    assert_eq!((topics(&first, true), topics(&first, false)), (24, 0));
    let second = fleet.run(&["setup", "--partitions", "3", "--json"]).await;
    assert_eq!(second.code, 0, "{}", second.stderr);
    let second = second.json();
    assert_eq!((topics(&second, true), topics(&second, false)), (0, 24));
    assert_eq!(first["schemas"], second["schemas"]);
    assert_eq!(second["schemas"].as_array().unwrap().len(), 4);
    assert_eq!(second["schemas"][0]["compatibility"], "BACKWARD_TRANSITIVE");
    let text = fleet.run(&["setup", "--partitions", "3"]).await.stdout;
    assert!(text.contains("0 created, 24 existing"), "{text}");
    assert!(text.contains("(2, not 3)"), "existing topics are left alone and named: {text}");
}

#[tokio::test]
async fn an_empty_database_gets_every_migration() {
    let fleet = Fleet::fresh().await;
    sqlx::raw_sql("DROP SCHEMA pipeline, documents, views, webhooks CASCADE; DROP TABLE _sqlx_migrations")
        .execute(&fleet.database.pool())
        .await
        .unwrap();
    let audit = fleet.run(&["audit"]).await;
    assert_eq!(audit.code, 1);
    assert!(audit.stderr.contains("Run `docfleet setup` first"), "{}", audit.stderr);
    let setup = fleet.run(&["setup", "--partitions", "1", "--json"]).await;
    assert_eq!(setup.code, 0, "{}", setup.stderr);
    let applied = setup.json()["migrations"]["applied"].as_array().unwrap().len();
    assert!(applied >= 4, "{applied}");
    assert_eq!(fleet.run(&["audit"]).await.code, 0);
}
