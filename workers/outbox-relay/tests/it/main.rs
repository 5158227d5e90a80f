//! Two relay processes on the real servers, killed and stopped by signals.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod processes;

use std::{collections::HashMap, time::Duration};

use docfleet_events::{BlobRef, DocumentUploaded, Event};
use docfleet_outbox::{Draft, Outbox, Registry, RegistryConfig};
use docfleet_testkit::{Database, Servers, Topics, eventually, unique_name};
use nix::sys::signal::Signal;
use processes::Relay;
use uuid::Uuid;

const DOCUMENTS: i64 = 60;

struct Bench {
    database: Database,
    topics: Topics,
    outbox: Outbox,
    config: tempfile::NamedTempFile,
}

impl Bench {
    async fn new() -> Self {
        let prefix = format!("{}.", unique_name());
        let topics = Topics::create(&prefix, &[DocumentUploaded::TOPIC], 4).await;
        let database = Database::fresh().await;
        let registry =
            Registry::new(&RegistryConfig { url: Servers::running().registry_url(), ..Default::default() }).unwrap();
        registry.pin::<DocumentUploaded>().await.unwrap();
        let config = tempfile::NamedTempFile::new().unwrap();
        let toml = Servers::running().toml_for(&database, &prefix, "[relay]\nlease = '1500ms'\nbatch_rows = 50\n");
        std::fs::write(config.path(), toml).unwrap();
        Self { outbox: Outbox::new(registry, &prefix), topics, database, config }
    }

    fn relay(&self) -> Relay {
        Relay::start(self.config.path())
    }

    /// Appends one event to each document, a transaction each.
    async fn append_round(&self) {
        for document in 0..DOCUMENTS {
            let event = DocumentUploaded {
                document_id: Uuid::from_u128(document.unsigned_abs().into()),
                file_name: "x".into(),
                declared_mime: None,
                blob: BlobRef { key: "k".into(), size_bytes: 1 },
                searchable_pdf: false,
                sha256: None,
            };
            let mut transaction = self.database.pool().begin().await.unwrap();
            self.outbox.append(&mut transaction, vec![Draft::first(event, "acme", "test", None)]).await.unwrap();
            transaction.commit().await.unwrap();
        }
        self.outbox.wake_relays(&self.database.pool()).await.unwrap();
    }

    async fn unpublished(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM pipeline.outbox_events WHERE published_at IS NULL")
            .fetch_one(&self.database.pool())
            .await
            .unwrap()
    }

    async fn all_are_published(&self) {
        eventually("all rows are published", 60, || async { (self.unpublished().await == 0).then_some(()) }).await;
    }

    /// Nothing is lost, and the first occurrence of each event is in the order of versions.
    async fn the_topic_is_right(&self, versions: i64) -> usize {
        let mut next: HashMap<Vec<u8>, i64> = HashMap::new();
        let records = self.topics.read(DocumentUploaded::TOPIC).await;
        for record in &records {
            let version: i64 = record.headers["aggregate_version"].parse().unwrap();
            let expected = next.entry(record.key.clone().unwrap()).or_insert(1);
            assert!(version <= *expected, "version {version} occurs before {expected}");
            *expected += i64::from(version == *expected);
        }
        assert_eq!(next.len(), usize::try_from(DOCUMENTS).unwrap());
        assert!(next.values().all(|next| *next == versions + 1), "a version is missing");
        records.len()
    }
}

#[tokio::test]
async fn relays_killed_under_load_lose_nothing_and_keep_the_order() {
    let bench = Bench::new().await;
    let mut relays = [bench.relay(), bench.relay()];
    let rounds = 24;
    for round in 0..rounds {
        bench.append_round().await;
        if round % 3 == 1 {
            let victim = &mut relays[round % 2];
            victim.signal(Signal::SIGKILL);
            *victim = bench.relay();
        }
    }
    bench.all_are_published().await;
    drop(relays);
    bench.the_topic_is_right(i64::try_from(rounds).unwrap()).await;
}

#[tokio::test]
async fn a_relay_stopped_longer_than_its_lease_can_repeat_but_not_reorder() {
    let bench = Bench::new().await;
    let relays = [bench.relay(), bench.relay()];
    let rounds = 20;
    for round in 0..rounds {
        bench.append_round().await;
        let victim = &relays[(round / 5) % 2];
        match round % 5 {
            1 => victim.signal(Signal::SIGSTOP),
            // The other one has taken over by now; the zombie wakes up in the middle of its batch.
            4 => {
                tokio::time::sleep(Duration::from_millis(2_500)).await;
                victim.signal(Signal::SIGCONT);
            }
            _ => {}
        }
    }
    bench.all_are_published().await;
    drop(relays);
    bench.the_topic_is_right(i64::try_from(rounds).unwrap()).await;
}

#[tokio::test]
async fn an_orderly_end_is_quick_and_successful_and_repeats_nothing() {
    let bench = Bench::new().await;
    let mut relay = bench.relay();
    bench.append_round().await;
    bench.all_are_published().await;
    relay.signal(Signal::SIGTERM);
    assert!(relay.exit_within(Duration::from_secs(10)).await.success());
    bench.append_round().await;
    let second = bench.relay();
    bench.all_are_published().await;
    drop(second);
    assert_eq!(bench.the_topic_is_right(2).await, usize::try_from(2 * DOCUMENTS).unwrap());
}
