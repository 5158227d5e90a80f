use docfleet_testkit::{Servers, admin::Admin, eventually};
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
    assert_eq!((topics(&first, true), topics(&first, false)), (26, 0));
    let second = fleet.run(&["setup", "--partitions", "3", "--json"]).await;
    assert_eq!(second.code, 0, "{}", second.stderr);
    let second = second.json();
    assert_eq!((topics(&second, true), topics(&second, false)), (0, 26));
    assert_eq!(first["schemas"], second["schemas"]);
    assert_eq!(second["schemas"].as_array().unwrap().len(), 6);
    assert_eq!(second["schemas"][0]["compatibility"], "BACKWARD_TRANSITIVE");
    let text = fleet.run(&["setup", "--partitions", "3"]).await.stdout;
    assert!(text.contains("0 created, 26 existing"), "{text}");
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

#[tokio::test]
async fn partitions_that_somebody_added_are_told_of_until_they_are_accepted() {
    let fleet = Fleet::fresh().await;
    assert_eq!(fleet.run(&["setup", "--partitions", "2", "--wait", "30s"]).await.code, 0);
    let topic = "documents.uploaded.v1";
    let name = format!("{}{topic}", fleet.prefix);
    Admin::new(&Servers::running().brokers(), &fleet.prefix).add_partitions(topic, 3).await;
    let held = format!("{name} has 3 partitions, 2 were agreed to");
    eventually("the partitions are there", 20, || async {
        fleet.run(&["setup"]).await.stdout.contains(&held).then_some(())
    })
    .await;
    let wrong = fleet.run(&["setup", "--accept-partitions", &format!("{name}=4")]).await;
    assert_eq!(wrong.code, 2, "{}", wrong.stderr);
    assert!(wrong.stderr.contains("has 3 partitions, not 4"), "{}", wrong.stderr);
    let accepted = fleet.run(&["setup", "--accept-partitions", &format!("{name}=3")]).await;
    assert_eq!(accepted.code, 0, "{}", accepted.stderr);
    assert!(!accepted.stdout.contains("agreed to"), "{}", accepted.stdout);
}
