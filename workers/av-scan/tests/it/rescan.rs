//! Clean verdicts under new signatures: real engine, real PostgreSQL, real registry.

use std::{sync::Arc, time::Duration};

use av_scan::{ClamdConfig, Engines, Rescan, Scanner, archive::Limits};
use docfleet_blobs::content_key;
use docfleet_events::{DocumentEvent, DocumentInfectionFound};
use docfleet_outbox::{Event, Input, Outbox, Registry, RegistryConfig, codec};
use docfleet_testkit::{Database, Servers, eventually};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{Store, TENANT, own_clamd::OwnClamd};

const CONTENT: &str = "a letter that nobody suspects yet";
const DAY: Duration = Duration::from_secs(86_400);

/// A signature that knows [`CONTENT`].
fn knows_it() -> String {
    let hex: String = CONTENT.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("Late-Find:0:*:{hex}\n")
}

/// Of a content that no other document has; its hash is none.
fn key_of(id: Uuid) -> String {
    content_key(TENANT, &format!("{:064x}", id.as_u128()))
}

struct Rig {
    store: Store,
    pool: PgPool,
    registry: Registry,
    clamd: OwnClamd,
    stop: CancellationToken,
}

impl Rig {
    async fn start(clamd: OwnClamd) -> Self {
        let url = Servers::running().registry_url();
        let registry = Registry::new(&RegistryConfig { url, ..Default::default() }).unwrap();
        registry.pin::<DocumentInfectionFound>().await.unwrap();
        let (store, pool) = (Store::new(), Database::fresh().await.pool());
        Self { store, pool, registry, clamd, stop: CancellationToken::new() }
    }

    /// A document that release 1 of the signatures called clean so long ago.
    async fn clean(&self, content: &str, days_ago: i32) -> Uuid {
        let id = Uuid::now_v7();
        let key = key_of(id);
        self.store.blobs.put(&key, content.to_owned().into()).await.unwrap();
        sqlx::query(
            r"INSERT INTO documents.scans (document_id, tenant, region, blob_key, size_bytes, verdict, engine, database,
                                           database_number, event_id, first_scanned_at)
              VALUES ($1, $2, 'test', $3, $4, 'clean', 'ClamAV', '1/then', 1, $5, now() - make_interval(days => $6))",
        )
        .bind(id)
        .bind(TENANT)
        .bind(key)
        .bind(i64::try_from(content.len()).unwrap())
        .bind(Uuid::now_v7())
        .bind(days_ago)
        .execute(&self.pool)
        .await
        .unwrap();
        id
    }

    /// Starts one more process's task.
    async fn rescan(&self) {
        let config = ClamdConfig { rescans_per_second_max: 1_000.0, ..self.clamd.config() };
        let limits = Limits { member_bytes_max: config.member_bytes_max, total_bytes_max: config.archive_bytes_max };
        let engines = Arc::new(Engines::new(&config));
        engines.look().await;
        let scanner = Scanner { blobs: self.store.blobs.clone(), engines, limits };
        let outbox = Outbox::new(self.registry.clone(), "");
        let rescan = Rescan::new(self.pool.clone(), outbox, "test", scanner, &config);
        tokio::spawn(rescan.run(self.stop.clone()));
    }

    async fn verdict(&self, id: Uuid) -> (String, i64) {
        let read = sqlx::query_as("SELECT verdict, database_number FROM documents.scans WHERE document_id = $1");
        read.bind(id).fetch_one(&self.pool).await.unwrap()
    }

    async fn until(&self, id: Uuid, verdict: &str, number: i64) {
        eventually("the document was scanned again", 60, || async {
            (self.verdict(id).await == (verdict.to_owned(), number)).then_some(())
        })
        .await;
    }

    async fn events(&self, id: Uuid) -> Vec<DocumentInfectionFound> {
        let rows: Vec<Vec<u8>> = sqlx::query_scalar(
            "SELECT payload FROM pipeline.outbox_events WHERE kind = 'event' AND aggregate_id = $1 ORDER BY aggregate_version",
        )
        .bind(id)
        .fetch_all(&self.pool)
        .await
        .unwrap();
        let read = |row: &Vec<u8>| {
            let (_, datum) = codec::unframe(row).unwrap();
            match DocumentEvent::decode(DocumentInfectionFound::schema(), datum).unwrap() {
                (meta, DocumentEvent::InfectionFound(event)) => {
                    assert_eq!((meta.tenant.as_str(), meta.region.as_str()), (TENANT, "test"));
                    event
                }
                other => panic!("{other:?}"),
            }
        };
        rows.iter().map(read).collect()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test]
async fn a_later_infection_is_a_verdict_and_one_event_and_what_stays_clean_is_silent() {
    let rig = Rig::start(OwnClamd::dated(2, DAY, &knows_it()).await).await;
    let (bad, good) = (rig.clean(CONTENT, 1).await, rig.clean("harmless", 2).await);
    // Two processes at once: leases share the work between them.
    rig.rescan().await;
    rig.rescan().await;
    rig.until(bad, "infected", 2).await;
    rig.until(good, "clean", 2).await;
    let events = rig.events(bad).await;
    let [event] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((event.document_id, event.clean_by.as_str()), (bad, "1/then"));
    assert!(event.signature.starts_with("Late-Find") && event.database.starts_with("2/"), "{event:?}");
    assert_eq!(rig.events(good).await, []);
}

#[tokio::test]
async fn what_is_older_than_the_window_or_was_judged_by_these_signatures_is_left_alone() {
    let rig = Rig::start(OwnClamd::dated(2, DAY, &knows_it()).await).await;
    let (old, marker) = (rig.clean(CONTENT, 31).await, rig.clean("harmless", 29).await);
    let known = rig.clean(CONTENT, 1).await;
    sqlx::query("UPDATE documents.scans SET database_number = 2 WHERE document_id = $1")
        .bind(known)
        .execute(&rig.pool)
        .await
        .unwrap();
    rig.rescan().await;
    // The pass goes from new to old, so it has been at all the others before.
    rig.until(marker, "clean", 2).await;
    assert_eq!(rig.verdict(old).await, ("clean".to_owned(), 1));
    assert_eq!(rig.verdict(known).await, ("clean".to_owned(), 2));
}

#[tokio::test]
async fn what_is_asked_for_is_scanned_whatever_its_age_and_the_same_content_with_it() {
    // Without a date and a number: nothing is due by itself.
    let rig = Rig::start(OwnClamd::start(&format!("{}{}", SIGHTED.trim_start(), knows_it())).await).await;
    let (one, two) = (rig.clean(CONTENT, 400).await, rig.clean(CONTENT, 3).await);
    sqlx::raw_sql("UPDATE documents.scans SET blob_key = (SELECT min(blob_key) FROM documents.scans)")
        .execute(&rig.pool)
        .await
        .unwrap();
    sqlx::query("UPDATE documents.scans SET requested = true WHERE document_id = $1")
        .bind(one)
        .execute(&rig.pool)
        .await
        .unwrap();
    rig.rescan().await;
    rig.until(one, "infected", 0).await;
    rig.until(two, "infected", 0).await;
    assert_eq!(rig.events(two).await.len(), 1);
}

const SIGHTED: &str = include_str!("../../../../deploy/clamav/docfleet.ndb");

#[tokio::test]
async fn a_document_whose_bytes_are_gone_holds_up_no_other_and_is_given_up() {
    let rig = Rig::start(OwnClamd::dated(2, DAY, &knows_it()).await).await;
    let (gone, bad) = (rig.clean("newest", 0).await, rig.clean(CONTENT, 1).await);
    rig.store.blobs.delete(&key_of(gone)).await.unwrap();
    rig.rescan().await;
    rig.until(bad, "infected", 2).await;
    let (failures, rests): (i16, bool) =
        sqlx::query_as("SELECT failures, leased_until > now() FROM documents.scans WHERE document_id = $1")
            .bind(gone)
            .fetch_one(&rig.pool)
            .await
            .unwrap();
    assert_eq!((failures, rests), (1, true));
    assert_eq!(rig.verdict(gone).await, ("clean".to_owned(), 1));
}

#[tokio::test]
async fn what_is_not_to_be_scanned_any_more_keeps_the_word_of_the_old_signatures_and_is_tried_later() {
    let rig = Rig::start(OwnClamd::dated(2, DAY, &knows_it()).await).await;
    // The beginning of a cabinet, which was taken once and is refused today.
    let (refused, good) = (rig.clean("MSCF\0\0\0\0", 0).await, rig.clean("harmless", 1).await);
    rig.rescan().await;
    rig.until(good, "clean", 2).await;
    assert_eq!(rig.verdict(refused).await, ("clean".to_owned(), 1));
    let row: (Option<String>, i16, bool) = sqlx::query_as(
        "SELECT rescan_problem, failures, leased_until > now() + interval '1 hour' FROM documents.scans WHERE document_id = $1",
    )
    .bind(refused)
    .fetch_one(&rig.pool)
    .await
    .unwrap();
    assert_eq!(row, (Some("archive-not-covered".to_owned()), 1, true));
    // An operator asks after the limits were changed, or the content is what it says.
    rig.store.blobs.put(&key_of(refused), "harmless".to_owned().into()).await.unwrap();
    sqlx::query(
        "UPDATE documents.scans SET requested = true, failures = 0, leased_until = NULL WHERE document_id = $1",
    )
    .bind(refused)
    .execute(&rig.pool)
    .await
    .unwrap();
    rig.until(refused, "clean", 2).await;
    let problem: Option<String> =
        sqlx::query_scalar("SELECT rescan_problem FROM documents.scans WHERE document_id = $1")
            .bind(refused)
            .fetch_one(&rig.pool)
            .await
            .unwrap();
    assert_eq!(problem, None);
}
