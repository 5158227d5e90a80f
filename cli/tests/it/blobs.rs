use std::time::{Duration, SystemTime};

use docfleet_blobs::{Blobs, BlobsConfig, content_key, text_key};
use uuid::Uuid;

use crate::fleet::{Ended, Fleet, end};

/// A fleet with a store in a directory, all of whose objects are two days old.
struct Store {
    fleet: Fleet,
    directory: tempfile::TempDir,
    blobs: Blobs,
}

impl Store {
    async fn fresh() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = BlobsConfig::at(format!("file://{}", directory.path().display()));
        let blobs = Blobs::open_store(&config, "local").unwrap();
        Self { fleet: Fleet::fresh().await, directory, blobs }
    }

    async fn put(&self, key: &str, age: Duration) {
        self.blobs.put(key, "bytes".into()).await.unwrap();
        let file = std::fs::File::options().write(true).open(self.directory.path().join(key)).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    }

    async fn run(&self, args: &[&str]) -> Ended {
        let mut command = self.fleet.command(&[&["blobs", "orphans"], args].concat());
        command.env("DOCFLEET__BLOBS__URL", format!("file://{}", self.directory.path().display()));
        end(command).await
    }

    fn is_there(&self, key: &str) -> bool {
        self.directory.path().join(key).exists()
    }
}

const DAYS: Duration = Duration::from_secs(48 * 3_600);

#[tokio::test]
async fn orphans_are_found_and_deleted_and_nothing_else_is() {
    let store = Store::fresh().await;
    let (document, erased) = (Uuid::from_u128(1), Uuid::from_u128(2));
    sqlx::query(
        r"INSERT INTO documents.documents (id, tenant, region, file_name, blob_key, sha256, size_bytes)
          VALUES ($1, 'acme', 'local', 'a', '', decode(repeat('ab', 32), 'hex'), 5)",
    )
    .bind(document)
    .execute(&store.fleet.database.pool())
    .await
    .unwrap();
    let kept = [content_key("acme", &"ab".repeat(32)), text_key("acme", document)];
    let orphans =
        [content_key("other", &"ab".repeat(32)), content_key("acme", &"cd".repeat(32)), text_key("acme", erased)];
    let (foreign, young) = ("acme/backup.tar", content_key("acme", &"ef".repeat(32)));
    for key in kept.iter().chain(&orphans).map(String::as_str).chain([foreign]) {
        store.put(key, DAYS).await;
    }
    store.put(&young, Duration::ZERO).await;

    let found = store.run(&["--json"]).await;
    assert_eq!(found.code, 1, "{}", found.stderr);
    let found = found.json();
    assert_eq!((&found["orphans"], &found["bytes"], &found["foreign"]), (&3.into(), &15.into(), &1.into()));
    assert_eq!((&found["looked_at"], &found["deleted"]), (&7.into(), &0.into()));
    let unsaid = store.run(&["--delete", "--why", "sweep"]).await;
    assert!(unsaid.code == 2 && unsaid.stderr.contains("--yes"), "{}", unsaid.stderr);

    let deleted = store.run(&["--delete", "--why", "sweep", "--yes", "--json"]).await;
    assert_eq!((deleted.code, &deleted.json()["deleted"]), (0, &3.into()), "{}", deleted.stderr);
    assert!(orphans.iter().all(|key| !store.is_there(key)));
    assert!(kept.iter().map(String::as_str).chain([foreign, &young]).all(|key| store.is_there(key)));
    let recorded: Vec<(String, String)> = sqlx::query_as("SELECT actor, action FROM documents.audit_trail")
        .fetch_all(&store.fleet.database.pool())
        .await
        .unwrap();
    assert_eq!(recorded, vec![("tester".to_owned(), "content-erased".to_owned()); 3]);
    assert_eq!(store.run(&[]).await.code, 0);
}

#[tokio::test]
async fn what_may_be_on_its_way_is_not_looked_at() {
    let store = Store::fresh().await;
    let refused = store.run(&["--older-than", "1min"]).await;
    assert!(refused.code == 2 && refused.stderr.contains("30min"), "{}", refused.stderr);
    store.put(&content_key("acme", &"ab".repeat(32)), Duration::from_secs(3_600)).await;
    assert_eq!(store.run(&["--json"]).await.json()["orphans"], 0);
    assert_eq!(store.run(&["--older-than", "30min", "--json"]).await.json()["orphans"], 1);
}

#[tokio::test]
async fn a_store_of_another_region_is_not_swept() {
    let store = Store::fresh().await;
    std::fs::write(store.directory.path().join(".docfleet-region"), "elsewhere").unwrap();
    let refused = store.run(&[]).await;
    assert!(refused.code == 2 && refused.stderr.contains("elsewhere"), "{}", refused.stderr);
}
