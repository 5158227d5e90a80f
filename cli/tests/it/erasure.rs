use docfleet_events::{BlobRef, DocumentUploaded};
use docfleet_outbox::{Draft, Outbox, Registry, RegistryConfig};
use sqlx::PgPool;
use uuid::Uuid;

use crate::fleet::{Fleet, end};

/// Documents as document-api leaves them, so many days old.
async fn document(fleet: &Fleet, tenant: &str, days: i32, content: u8) -> Uuid {
    let pool = fleet.database.pool();
    let registry =
        Registry::new(&RegistryConfig { url: fleet.servers.registry_url(), ..RegistryConfig::default() }).unwrap();
    registry.pin::<DocumentUploaded>().await.unwrap();
    let id = Uuid::now_v7();
    let mut transaction = pool.begin().await.unwrap();
    sqlx::query(
        "INSERT INTO documents.documents (id, tenant, region, file_name, blob_key, sha256, size_bytes, created_at)
         VALUES ($1, $2, 'test', 'Max Mustermann.pdf', 'k', $4, 1, now() - make_interval(days => $3))",
    )
    .bind(id)
    .bind(tenant)
    .bind(days)
    .bind(vec![content; 32])
    .execute(&mut *transaction)
    .await
    .unwrap();
    let event = DocumentUploaded {
        document_id: id,
        file_name: "Max Mustermann.pdf".into(),
        declared_mime: None,
        blob: BlobRef { key: "k".into(), size_bytes: 1 },
        sha256: None,
        searchable_pdf: false,
    };
    Outbox::new(registry, &fleet.prefix)
        .append(&mut transaction, vec![Draft::first(event, tenant, "test", None)])
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    id
}

async fn left(pool: &PgPool) -> Vec<Uuid> {
    sqlx::query_scalar("SELECT id FROM documents.documents ORDER BY created_at").fetch_all(pool).await.unwrap()
}

#[tokio::test]
async fn documents_are_erased_by_name_after_a_look() {
    let fleet = Fleet::fresh().await;
    let (a, twin) = (document(&fleet, "acme", 2, 1).await, document(&fleet, "acme", 1, 1).await);
    let (a_, unknown) = (a.to_string(), Uuid::now_v7().to_string());
    let erase = ["documents", "erase", &a_, "--reason", "gdpr-request"];
    let look = fleet.run(&[&erase[..], &["--dry-run", "--json"]].concat()).await;
    assert_eq!(look.code, 0, "{}", look.stderr);
    assert_eq!(look.json()["documents"][0]["state"], "would-erase");
    assert_eq!(look.json()["documents"][0]["content_stays"], true);
    assert!(!look.stdout.contains("Mustermann"), "{}", look.stdout);
    assert_eq!(fleet.run(&erase).await.code, 2, "there is nobody to ask");
    assert_eq!(left(&fleet.database.pool()).await, [a, twin]);
    let foreign = fleet.run(&[&erase[..], &["--yes", "--tenant", "other"]].concat()).await;
    assert_eq!((foreign.code, left(&fleet.database.pool()).await.len()), (1, 2), "{}", foreign.stdout);
    let done = fleet.run(&[&erase[..], &["--yes", "--json"]].concat()).await;
    assert_eq!((done.code, &done.json()["documents"][0]["state"]), (0, &"erased".into()), "{}", done.stderr);
    let again = fleet.run(&[&erase[..], &["--yes", "--json", &unknown]].concat()).await;
    assert_eq!((again.code, &again.json()["documents"][0]["state"]), (1, &"already".into()));
    assert_eq!(again.json()["documents"][1]["state"], "unknown");
    let announced: Vec<(i64, String)> = sqlx::query_as(
        "SELECT aggregate_version, topic FROM pipeline.outbox_events WHERE aggregate_id = $1 AND event_type = 'DocumentErased'",
    )
    .bind(a)
    .fetch_all(&fleet.database.pool())
    .await
    .unwrap();
    assert_eq!(announced, [(2, format!("{}documents.erased.v1", fleet.prefix))]);
    let name = fleet.run(&["documents", "erase", &a_, "--reason", "Max Mustermann", "--yes"]).await;
    assert_eq!(name.code, 2, "a reason is a word");
}

#[tokio::test]
async fn retention_looks_first_and_erases_what_is_too_old_and_not_held() {
    let fleet = Fleet::fresh().await;
    let pool = fleet.database.pool();
    let mut ids = Vec::new();
    for (tenant, days) in [("acme", 40), ("acme", 30), ("beta", 29), ("beta", 20), ("acme", 5)] {
        ids.push(document(&fleet, tenant, days, u8::try_from(ids.len()).unwrap()).await);
    }
    let held = fleet.run(&["documents", "hold", &ids[1].to_string(), "--why", "file 7 O 12/26"]).await;
    assert_eq!(held.code, 0, "{}", held.stderr);
    let run = async |args: &[&str]| {
        let mut command = fleet.command(&[&["documents", "retention", "--json"], args].concat());
        command
            .env("DOCFLEET__ERASURE__DOCUMENTS_KEPT", "25days")
            .env("DOCFLEET__ERASURE__TENANTS__BETA__DOCUMENTS_KEPT", "10days");
        end(command).await
    };
    let nothing = fleet.run(&["documents", "retention", "--apply"]).await;
    assert_eq!((nothing.code, left(&pool).await.len()), (0, 5), "{}", nothing.stderr);
    let look = run(&[]).await;
    assert_eq!(look.code, 0, "{}", look.stderr);
    let of = |n: usize, what: &str| look.json()["tenants"][n][what].as_i64().unwrap();
    assert_eq!([of(0, "due"), of(0, "held"), of(1, "due"), of(1, "held")], [1, 1, 2, 0]);
    assert_eq!(left(&pool).await.len(), 5);
    let unsaid = run(&["--apply"]).await;
    assert!(
        unsaid.code == 2 && unsaid.stderr.contains("3 documents") && unsaid.stderr.contains("--yes"),
        "{}",
        unsaid.stderr
    );
    assert!(unsaid.stderr.contains("acme") && unsaid.stderr.contains("beta"), "each tenant's: {}", unsaid.stderr);
    assert_eq!(left(&pool).await.len(), 5, "there is nobody to ask");
    assert_eq!(run(&["--apply", "--yes", "--limit", "1"]).await.json()["erased"], 1);
    assert_eq!(left(&pool).await, ids[1..], "the oldest first");
    assert_eq!(run(&["--apply", "--yes"]).await.json()["erased"], 2);
    assert_eq!(left(&pool).await, [ids[1], ids[4]]);
    assert_eq!(run(&["--apply"]).await.json()["erased"], 0, "nothing to ask for");
    let release = fleet.run(&["documents", "release", &ids[1].to_string(), "--why", "closed"]).await;
    assert_eq!(release.code, 0, "{}", release.stderr);
    assert_eq!(run(&["--apply", "--yes"]).await.json()["erased"], 1);
}

#[tokio::test]
async fn erasures_whose_bytes_stay_are_a_problem() {
    let fleet = Fleet::fresh().await;
    let id = document(&fleet, "acme", 1, 1).await.to_string();
    assert_eq!(fleet.run(&["documents", "erase", &id, "--reason", "request", "--yes"]).await.code, 0);
    let young = fleet.run(&["documents", "erasures", "--json"]).await;
    assert_eq!(
        (young.code, &young.json()["erasures"][0]["bytes_gone_at"]),
        (0, &serde_json::Value::Null),
        "{}",
        young.stderr
    );
    sqlx::query(
        "UPDATE documents.erasures SET erased_at = now() - interval '20 minutes', problem = 'the blob store: away'",
    )
    .execute(&fleet.database.pool())
    .await
    .unwrap();
    let overdue = fleet.run(&["documents", "erasures"]).await;
    assert_eq!(overdue.code, 1, "{}", overdue.stdout);
    assert!(overdue.stdout.contains("still there") && overdue.stdout.contains("blob store"), "{}", overdue.stdout);
    sqlx::query("UPDATE documents.erasures SET bytes_gone_at = now()").execute(&fleet.database.pool()).await.unwrap();
    assert_eq!(fleet.run(&["documents", "erasures"]).await.code, 0);
}
