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

    /// A document of five bytes.
    async fn document(&self, id: Uuid, sha256_hex: &str) {
        sqlx::query(
            r"INSERT INTO documents.documents (id, tenant, region, file_name, blob_key, sha256, size_bytes)
              VALUES ($1, 'acme', 'local', 'a', $2, decode($3, 'hex'), 5)",
        )
        .bind(id)
        .bind(content_key("acme", sha256_hex))
        .bind(sha256_hex)
        .execute(&self.fleet.database.pool())
        .await
        .unwrap();
    }

    async fn run(&self, args: &[&str]) -> Ended {
        self.blobs("orphans", args).await
    }

    async fn blobs(&self, what: &str, args: &[&str]) -> Ended {
        let mut command = self.fleet.command(&[&["blobs", what], args].concat());
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
    store.document(document, &"ab".repeat(32)).await;
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
    let about_a_person = store.run(&["--delete", "--why", "Max Mustermann", "--yes"]).await;
    assert_eq!(about_a_person.code, 2, "a reason is a word");
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

/// Of `bytes`, which is what every object here holds.
const HASH: &str = "277089d91c0bdf4f2e6862ba7e4a07605119431f5d13f726dd352b06f1b206a9";

#[tokio::test]
async fn documents_without_their_bytes_or_with_others_are_named() {
    let store = Store::fresh().await;
    let [whole, missing, short, changed] = [1, 2, 3, 4].map(Uuid::from_u128);
    store.put(&content_key("acme", HASH), DAYS).await;
    store.document(whole, HASH).await;
    let fine = store.blobs("verify", &["--hash", "--json"]).await;
    assert_eq!((fine.code, &fine.json()["documents"], &fine.json()["bytes_read"]), (0, &1.into(), &5.into()));

    store.document(missing, &"ab".repeat(32)).await;
    store.document(changed, &"cd".repeat(32)).await;
    store.put(&content_key("acme", &"cd".repeat(32)), DAYS).await;
    store.document(short, &"ef".repeat(32)).await;
    store.blobs.put(&content_key("acme", &"ef".repeat(32)), "four".into()).await.unwrap();
    let found = store.blobs("verify", &["--json"]).await;
    assert_eq!(found.code, 1, "{}", found.stderr);
    let found = found.json();
    assert_eq!((&found["documents"], &found["missing"], &found["differing"]), (&4.into(), &1.into(), &1.into()));
    assert_eq!(found["shown"][0]["document_id"], missing.to_string());
    // The size of this one is right.
    let read = store.blobs("verify", &["--hash", "--json"]).await.json();
    assert_eq!((&read["missing"], &read["differing"]), (&1.into(), &2.into()));
    let text = store.blobs("verify", &["--hash"]).await.stdout;
    assert!(text.contains(&changed.to_string()) && text.contains("other bytes"), "{text}");
    assert_eq!(store.blobs("verify", &["--since", "1h", "--limit", "0", "--json"]).await.json()["documents"], 4);
}
