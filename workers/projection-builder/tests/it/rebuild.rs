//! The view built anew beside the live one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use docfleet_testkit::eventually;
use projection_builder::rebuild::Builder;
use sqlx::{Connection, PgConnection};

use crate::outbox::Fleet;

async fn reaches(fleet: &Fleet, builder: &Builder, build: i64, state: &str) {
    eventually(&format!("the build is {state}"), 60, || async {
        // What is tried again is told in the row; here the state tells.
        builder.step().await.ok();
        (fleet.state(build).await == state).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_view_built_anew_equals_the_live_one_and_takes_its_place() {
    let fleet = Fleet::fresh().await;
    fleet.write(25).await;
    fleet.settle_all().await;
    // As the API has it: a connection with its statements prepared.
    let mut reader = PgConnection::connect_with(&fleet.pool.connect_options()).await.unwrap();
    const READ: &str = "SELECT count(*) FROM views.document_view WHERE verdict = 'clean' AND excerpt = 'Dear all'";
    assert_eq!(sqlx::query_scalar::<_, i64>(READ).fetch_one(&mut reader).await.unwrap(), 25);
    let (build, builder) = (fleet.ask(false).await, fleet.builder());
    reaches(&fleet, &builder, build, "ready").await;
    assert_eq!(fleet.compared(build).await, (25, 0, true));
    assert_eq!(fleet.number("SELECT events_done FROM pipeline.projection_builds").await, 100);
    fleet.want("switch").await;
    reaches(&fleet, &builder, build, "switched").await;
    assert_eq!(sqlx::query_scalar::<_, i64>(READ).fetch_one(&mut reader).await.unwrap(), 25);
    fleet.write(5).await;
    fleet.settle_all().await;
    assert_eq!(sqlx::query_scalar::<_, i64>(READ).fetch_one(&mut reader).await.unwrap(), 30);
    // The old one follows, so the way back is as short.
    fleet.want("back").await;
    reaches(&fleet, &builder, build, "ready").await;
    assert_eq!(sqlx::query_scalar::<_, i64>(READ).fetch_one(&mut reader).await.unwrap(), 30);
    fleet.want("drop").await;
    reaches(&fleet, &builder, build, "cancelled").await;
    assert_eq!(fleet.number("SELECT count(*) FROM pg_tables WHERE schemaname = 'views'").await, 1);
    let names = "SELECT count(*) FROM pg_indexes WHERE schemaname = 'views' AND indexname IN ('document_view_pkey', 'document_view_by_tenant', 'document_view_search')";
    assert_eq!(fleet.number(names).await, 3, "a migration finds the names that it knows");
}

#[tokio::test]
async fn a_later_infection_is_in_a_view_built_anew() {
    let fleet = Fleet::fresh().await;
    let documents = fleet.write(12).await;
    fleet.write_infection(documents[3]).await;
    fleet.settle_all().await;
    let (build, builder) = (fleet.ask(false).await, fleet.builder());
    reaches(&fleet, &builder, build, "ready").await;
    assert_eq!(fleet.compared(build).await, (12, 0, true));
    fleet.want("switch").await;
    reaches(&fleet, &builder, build, "switched").await;
    assert_eq!(fleet.number("SELECT count(*) FROM views.document_view WHERE verdict = 'infected'").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rebuild_under_load_loses_and_doubles_nothing_across_the_switch() {
    let fleet = Arc::new(Fleet::fresh().await);
    fleet.write(60).await;
    fleet.settle(100).await;
    let stop = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn({
        let (fleet, stop) = (Arc::clone(&fleet), Arc::clone(&stop));
        async move {
            while !stop.load(Ordering::Relaxed) {
                fleet.write(1).await;
                // Unaligned with documents, so that stages come in pieces.
                fleet.settle(7).await;
            }
            fleet.settle_all().await;
        }
    });
    let (build, builder) = (fleet.ask(false).await, fleet.builder());
    reaches(&fleet, &builder, build, "ready").await;
    assert_eq!(fleet.compared(build).await.1, 0);
    for (wanted, state) in [("switch", "switched"), ("back", "ready"), ("switch", "switched")] {
        fleet.want(wanted).await;
        reaches(&fleet, &builder, build, state).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    stop.store(true, Ordering::Relaxed);
    load.await.unwrap();
    fleet.want("drop").await;
    reaches(&fleet, &builder, build, "finished").await;
    let events = fleet.number("SELECT count(*) FROM pipeline.outbox_events").await;
    assert_eq!(fleet.number("SELECT sum(version)::bigint FROM views.document_view").await, events);
    let check = fleet.ask(true).await;
    reaches(&fleet, &builder, check, "compared").await;
    let (rows, differing, equal) = fleet.compared(check).await;
    assert!(rows > 60 && differing == 0 && equal, "{rows} rows, {differing} differ");
}

#[tokio::test]
async fn a_crash_in_the_middle_is_taken_over_and_the_dead_can_not_go_on() {
    let fleet = Fleet::fresh().await;
    fleet.write(35).await;
    fleet.settle_all().await;
    let (first, second, build) = (fleet.builder(), fleet.builder(), fleet.ask(false).await);
    eventually("two steps", 60, || async {
        first.step().await.unwrap();
        (fleet.number("SELECT documents_done FROM pipeline.projection_builds").await == 20).then_some(())
    })
    .await;
    assert!(second.step().await.unwrap().is_none(), "the lease is not over");
    fleet.sql("UPDATE pipeline.projection_builds SET lease_until = '-infinity'").await;
    second.step().await.unwrap();
    assert!(first.step().await.unwrap().is_none(), "another has it");
    reaches(&fleet, &second, build, "ready").await;
    assert_eq!(fleet.compared(build).await, (35, 0, true));
    assert_eq!(fleet.number("SELECT documents_done FROM pipeline.projection_builds").await, 35);
}

#[tokio::test]
async fn a_step_that_takes_longer_than_its_lease_keeps_it() {
    let fleet = Fleet::fresh().await;
    fleet.write(25).await;
    fleet.settle_all().await;
    let first = Arc::new(fleet.builder().with_lease(Duration::from_secs(6)));
    let (second, build) = (fleet.builder(), fleet.ask(false).await);
    eventually("a first step", 60, || async {
        first.step().await.unwrap();
        (fleet.number("SELECT documents_done FROM pipeline.projection_builds").await == 10).then_some(())
    })
    .await;
    // As long as this lasts, the next step does not end.
    let mut slow = fleet.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE views.document_view_standby IN ACCESS EXCLUSIVE MODE").execute(&mut *slow).await.unwrap();
    let step = tokio::spawn({
        let first = Arc::clone(&first);
        async move { first.step().await.map(drop) }
    });
    const WAITS: &str =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually("the step waits", 30, || async { (fleet.number(WAITS).await > 0).then_some(()) }).await;
    const UNTIL: &str = "SELECT extract(epoch FROM lease_until)::bigint FROM pipeline.projection_builds";
    let claimed = fleet.number(UNTIL).await;
    eventually("the lease is renewed", 30, || async { (fleet.number(UNTIL).await > claimed).then_some(()) }).await;
    assert!(second.step().await.unwrap().is_none(), "it has an owner");
    slow.rollback().await.unwrap();
    step.await.unwrap().unwrap();
    reaches(&fleet, &first, build, "ready").await;
    assert_eq!(fleet.compared(build).await, (25, 0, true));
}

#[tokio::test]
async fn an_edited_row_is_found_by_the_comparison_and_healed_by_the_switch() {
    let fleet = Fleet::fresh().await;
    let ids = fleet.write(12).await;
    fleet.settle_all().await;
    // What was applied just now is left to the next comparison.
    fleet.sql("UPDATE pipeline.inbox SET settled_at = settled_at - interval '1 min'").await;
    sqlx::query("UPDATE views.document_view SET verdict = 'infected', version = 9 WHERE document_id = $1")
        .bind(ids[3])
        .execute(&fleet.pool)
        .await
        .unwrap();
    sqlx::query("DELETE FROM views.document_view WHERE document_id = $1")
        .bind(ids[5])
        .execute(&fleet.pool)
        .await
        .unwrap();
    fleet.sql("INSERT INTO views.document_view (document_id, tenant, region, version, updated_at) VALUES (gen_random_uuid(), 'x', 'x', 1, now())").await;
    let (build, builder) = (fleet.ask(false).await, fleet.builder());
    reaches(&fleet, &builder, build, "ready").await;
    let (rows, differing, equal) = fleet.compared(build).await;
    assert_eq!((rows, differing, equal), (13, 3, false));
    let named: serde_json::Value =
        sqlx::query_scalar("SELECT differing FROM pipeline.projection_builds").fetch_one(&fleet.pool).await.unwrap();
    let edited = named.as_array().unwrap().iter().find(|row| row["document"] == ids[3].to_string()).unwrap();
    assert_eq!(edited["columns"], serde_json::json!(["verdict", "version"]));
    fleet.want("switch").await;
    reaches(&fleet, &builder, build, "switched").await;
    assert_eq!(
        fleet.number("SELECT count(*) FROM views.document_view WHERE verdict = 'clean' AND version = 4").await,
        12
    );
    fleet.want("back").await;
    reaches(&fleet, &builder, build, "ready").await;
    assert_eq!(fleet.number("SELECT count(*) FROM views.document_view WHERE version = 9").await, 1, "as it was");
}

const FOUND: &str = "SELECT count(*) FROM views.hits('acme', 'Haus rain')";

#[tokio::test]
async fn a_rebuild_makes_the_search_anew_from_the_texts() {
    let fleet = Fleet::fresh().await;
    let ids = fleet.write(21).await;
    fleet.settle_all().await;
    assert_eq!(fleet.number(FOUND).await, 21, "live");
    fleet.sql("UPDATE pipeline.inbox SET settled_at = settled_at - interval '1 min'").await;
    fleet.sql("UPDATE views.document_view SET search = NULL").await;
    // Erased meanwhile: its text is not there any more.
    fleet.blobs.delete(&docfleet_blobs::text_key("acme", ids[7])).await.unwrap();
    let (build, builder) = (fleet.ask(false).await, fleet.builder());
    reaches(&fleet, &builder, build, "ready").await;
    assert_eq!(fleet.compared(build).await.1, 20, "a search that is gone is seen by the comparison");
    fleet.want("switch").await;
    reaches(&fleet, &builder, build, "switched").await;
    assert_eq!(fleet.number(FOUND).await, 20);
    // What comes while writers wait has its words from the live view.
    fleet.write(3).await;
    fleet.settle_all().await;
    assert_eq!(fleet.number(FOUND).await, 23);
    fleet.want("back").await;
    reaches(&fleet, &builder, build, "ready").await;
    assert_eq!(fleet.number(FOUND).await, 3, "as it was, and what came since");
}

#[tokio::test]
async fn a_rebuild_does_not_fill_an_erased_row_whose_text_is_still_there() {
    let fleet = Fleet::fresh().await;
    let ids = fleet.write(12).await;
    fleet.write_erasure(ids[3]).await;
    fleet.settle_all().await;
    let (build, builder) = (fleet.ask(false).await, fleet.builder());
    reaches(&fleet, &builder, build, "ready").await;
    let words = "SELECT count(*) FROM views.document_view_standby WHERE erased_at IS NOT NULL AND search IS NOT NULL";
    assert_eq!(fleet.number(words).await, 0);
    assert_eq!(fleet.compared(build).await, (12, 0, true));
    assert!(fleet.blobs.head(&docfleet_blobs::text_key("acme", ids[3]), 1).await.is_ok(), "its text is there");
}

#[tokio::test]
async fn a_text_that_postgresql_does_not_index_does_not_stop_a_rebuild() {
    let fleet = Fleet::fresh().await;
    let ids = fleet.write(12).await;
    fleet.settle_all().await;
    // What was applied just now is copied from the live view at the switch.
    fleet.sql("UPDATE pipeline.inbox SET settled_at = settled_at - interval '1 min'").await;
    fleet.blobs.put(&docfleet_blobs::text_key("acme", ids[5]), "unheard of".into()).await.unwrap();
    fleet
        .sql(
            r"CREATE OR REPLACE FUNCTION views.search_of(languages text, content text) RETURNS tsvector LANGUAGE plpgsql AS $$
              BEGIN
                  IF content LIKE 'unheard of%' THEN
                      RAISE EXCEPTION 'too slow' USING ERRCODE = 'query_canceled';
                  END IF;
                  RETURN to_tsvector('german', content) || to_tsvector('english', content);
              END $$",
        )
        .await;
    let (build, builder) = (fleet.ask(false).await, fleet.builder());
    reaches(&fleet, &builder, build, "ready").await;
    fleet.want("switch").await;
    reaches(&fleet, &builder, build, "switched").await;
    assert_eq!(fleet.number(FOUND).await, 11);
}

#[tokio::test]
async fn only_the_documents_own_text_in_our_region_is_taken() {
    let fleet = Fleet::fresh().await;
    let ids = fleet.write(1).await;
    let (meta, event) = (crate::facts::read_its_own(ids[0], 4), crate::facts::read_its_own(uuid::Uuid::now_v7(), 4));
    let own = projection_builder::text::of(&fleet.blobs, &meta.meta, &meta.event).await.unwrap();
    assert!(own.is_some_and(|text| text.contains("Häuser")));
    let foreign = docfleet_events::EventMeta { tenant: "b".into(), ..meta.meta.clone() };
    assert_eq!(projection_builder::text::of(&fleet.blobs, &foreign, &meta.event).await.unwrap(), None);
    let elsewhere = docfleet_events::EventMeta { region: "us".into(), ..meta.meta.clone() };
    assert_eq!(projection_builder::text::of(&fleet.blobs, &elsewhere, &meta.event).await.unwrap(), None);
    assert_eq!(projection_builder::text::of(&fleet.blobs, &event.meta, &event.event).await.unwrap(), None, "gone");
}

#[tokio::test]
async fn documents_whose_first_events_are_pruned_are_carried_over() {
    let fleet = Fleet::fresh().await;
    fleet.write(8).await;
    fleet.settle_all().await;
    fleet.sql("DELETE FROM pipeline.outbox_events WHERE aggregate_version <= 2 AND id <= 8").await;
    fleet.sql("DELETE FROM pipeline.outbox_events WHERE id BETWEEN 9 AND 12").await;
    let (build, builder) = (fleet.ask(false).await, fleet.builder());
    reaches(&fleet, &builder, build, "ready").await;
    assert_eq!(fleet.compared(build).await, (8, 0, true));
    assert_eq!(fleet.number("SELECT carried FROM pipeline.projection_builds").await, 3);
}

#[tokio::test]
async fn an_event_that_can_not_be_read_holds_the_build_and_harms_nobody() {
    let fleet = Fleet::fresh().await;
    fleet.write(3).await;
    fleet.settle_all().await;
    fleet.sql("UPDATE pipeline.outbox_events SET payload = '\\x00ff' WHERE id = 2").await;
    let (build, builder) = (fleet.ask(false).await, fleet.builder());
    let error = eventually("it fails", 60, || async { builder.step().await.err() }).await;
    assert!(error.to_string().starts_with("row 2 of the outbox"), "{error}");
    assert_eq!(
        fleet.number("SELECT count(*) FROM pg_tables WHERE schemaname = 'views'").await,
        1,
        "the step left no trace"
    );
    fleet.want("drop").await;
    reaches(&fleet, &builder, build, "cancelled").await;
}
