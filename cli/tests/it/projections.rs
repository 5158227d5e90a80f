use crate::{fleet::Fleet, ledger::Ledger};

#[tokio::test]
async fn a_build_is_asked_for_once_watched_and_ended() {
    let fleet = Fleet::fresh().await;
    let ledger = Ledger::good(&fleet).await;
    assert!(fleet.run(&["projections", "list"]).await.stdout.contains("No view was ever built"));
    assert_eq!(fleet.run(&["projections", "rebuild", "nothing"]).await.code, 2);
    for command in ["switch", "back", "cancel"] {
        let ended = fleet.run(&["projections", command, "document_view"]).await;
        assert!(ended.code == 2 && ended.stderr.contains("there is no build"), "{command}: {}", ended.stderr);
    }
    let dry = fleet.run(&["projections", "rebuild", "document_view", "--dry-run"]).await;
    assert!(dry.code == 0 && dry.stderr.contains("4 events of 2 documents"), "{}", dry.stderr);
    let begun = fleet.run(&["projections", "rebuild", "document_view", "--rate", "500", "--detach", "--json"]).await;
    assert_eq!((begun.code, &begun.json()["builds"][0]["events_per_second"]), (0, &500.into()));
    let again = fleet.run(&["projections", "rebuild", "document_view", "--detach"]).await;
    assert!(again.code == 2 && again.stderr.contains("has not ended"), "{}", again.stderr);
    let waits = fleet.run(&["projections", "switch", "document_view", "--timeout", "0s"]).await;
    assert!(waits.code == 2 && waits.stderr.contains("no projection-builder works on it"), "{}", waits.stderr);
    ledger
        .sql(
            r#"UPDATE pipeline.projection_builds SET state = 'ready', wanted = NULL, compared_at = clock_timestamp(), rows_compared = 2,
                      rows_differing = 1, differing = '[{"document": "0190", "columns": ["verdict"]}]'"#,
        )
        .await;
    let list = fleet.run(&["projections", "list"]).await;
    assert!(list.stdout.contains("2 rows, 1 differ") && list.stdout.contains("0190  verdict"), "{}", list.stdout);
    assert_eq!(list.code, 0, "to list is not to judge");
    let compared = fleet.run(&["projections", "compare", "document_view", "--detach"]).await;
    assert_eq!(compared.code, 1, "rows differ");
    let back = fleet.run(&["projections", "back", "document_view"]).await;
    assert!(back.code == 2 && back.stderr.contains("the build is ready"), "{}", back.stderr);
    assert_eq!(fleet.run(&["projections", "cancel", "document_view", "--detach"]).await.code, 0);
    let wanted: Option<String> =
        sqlx::query_scalar("SELECT wanted FROM pipeline.projection_builds").fetch_one(&ledger.pool).await.unwrap();
    assert_eq!(wanted.as_deref(), Some("drop"));
}
