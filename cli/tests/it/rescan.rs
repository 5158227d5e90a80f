use uuid::Uuid;

use crate::fleet::Fleet;

const SCAN: &str = r"INSERT INTO documents.scans (document_id, tenant, region, blob_key, size_bytes, verdict, engine, database,
                                                  database_number, event_id, first_scanned_at, failures)
    VALUES ($1, $2, 'test', 'k', 1, $3, 'ClamAV', '27500/then', 27500, $1, now() - make_interval(days => $4), 5)";

async fn scanned(fleet: &Fleet, tenant: &str, verdict: &str, days_ago: i32) -> Uuid {
    let id = Uuid::now_v7();
    let insert = sqlx::query(SCAN).bind(id).bind(tenant).bind(verdict).bind(days_ago);
    insert.execute(&fleet.database.pool()).await.unwrap();
    id
}

async fn requested(fleet: &Fleet) -> Vec<Uuid> {
    let read = "SELECT document_id FROM documents.scans WHERE requested AND failures = 0 ORDER BY document_id";
    sqlx::query_scalar(read).fetch_all(&fleet.database.pool()).await.unwrap()
}

#[tokio::test]
async fn a_rescan_shows_first_and_asks_only_for_the_clean_ones_that_were_chosen() {
    let fleet = Fleet::fresh().await;
    assert!(fleet.run(&["rescan"]).await.stdout.contains("no clean verdicts"));
    let old = scanned(&fleet, "acme", "clean", 100).await;
    let new = scanned(&fleet, "acme", "clean", 10).await;
    let other = scanned(&fleet, "b", "clean", 10).await;
    scanned(&fleet, "acme", "infected", 1).await;
    let rests = "UPDATE documents.scans SET rescan_problem = 'limits-exceeded', leased_until = now() + interval '1 day' WHERE document_id = $1";
    sqlx::query(rests).bind(new).execute(&fleet.database.pool()).await.unwrap();

    let shown = fleet.run(&["rescan", "--json"]).await.json();
    let database = &shown["databases"][0];
    assert_eq!((&database["clean"], &database["failed"], &shown["chosen"]), (&3.into(), &3.into(), &().into()));
    assert_eq!(database["unscannable"], 1);
    let dry = fleet.run(&["rescan", "--since", "30d", "--dry-run"]).await;
    assert!(dry.stdout.contains("2 documents would be asked for"), "{}{}", dry.stdout, dry.stderr);
    assert_eq!(requested(&fleet).await, [] as [Uuid; 0]);

    assert_eq!(fleet.run(&["rescan", "--since", "30d", "--tenant", "acme"]).await.code, 0);
    assert_eq!(requested(&fleet).await, [new]);
    let resting = "SELECT count(*) FROM documents.scans WHERE leased_until IS NOT NULL";
    let resting: i64 = sqlx::query_scalar(resting).fetch_one(&fleet.database.pool()).await.unwrap();
    assert_eq!(resting, 0, "what is asked for rests no longer");
    let document = other.to_string();
    let one = fleet.run(&["rescan", "--document", &document, "--json"]).await.json();
    assert_eq!(one["chosen"], 1);
    assert_eq!(requested(&fleet).await, [new, other]);
    let all = fleet.run(&["rescan", "--all"]).await;
    assert!(all.stdout.contains("1 document asked for"), "only what was not asked for before: {}", all.stdout);
    assert_eq!(requested(&fleet).await, [old, new, other]);
}

#[tokio::test]
async fn a_rescan_without_a_choice_changes_nothing() {
    let fleet = Fleet::fresh().await;
    scanned(&fleet, "acme", "clean", 1).await;
    for wrong in [&["rescan", "--dry-run"][..], &["rescan", "--tenant", "acme"], &["rescan", "--all", "--since", "1d"]]
    {
        assert_eq!(fleet.run(wrong).await.code, 2, "{wrong:?}");
    }
    assert_eq!(requested(&fleet).await, [] as [Uuid; 0]);
}
