use docfleet_outbox::{Draft, Outbox, Registry, RegistryConfig, SchemaName, define_event, shard_of};
use docfleet_testkit::{Database, Servers};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename = "InvoiceSentData")]
pub struct InvoiceSent {
    invoice_id: Uuid,
    cents: i64,
}

define_event!(InvoiceSent, topic: "tests.invoice-sent.v1", aggregate: "invoice", id: invoice_id, schema: "invoice.avsc");

fn sent(invoice_id: Uuid) -> Draft {
    Draft::first(InvoiceSent { invoice_id, cents: 1_99 }, "acme", "test", None)
}

/// A service's own database with its outbox in the schema `billing`, beside what docfleet keeps in `pipeline`.
async fn service() -> (PgPool, Outbox) {
    let pool = Database::fresh().await.pool();
    let billing: SchemaName = "billing".parse().unwrap();
    let mut connection = pool.acquire().await.unwrap();
    billing.install(&mut connection).await.unwrap();
    billing.install(&mut connection).await.expect("a second time changes nothing");
    sqlx::query("CREATE TABLE billing.invoices (id uuid PRIMARY KEY)").execute(&pool).await.unwrap();
    let registry =
        Registry::new(&RegistryConfig { url: Servers::running().registry_url(), ..Default::default() }).unwrap();
    registry.pin::<InvoiceSent>().await.unwrap();
    (pool, Outbox::new(registry, "").in_schema(billing))
}

/// Versions and row ids of an aggregate, in the order of the rows.
async fn versions(pool: &PgPool, id: Uuid) -> Vec<i64> {
    let versions = "SELECT aggregate_version FROM billing.outbox_events WHERE aggregate_id = $1 ORDER BY id";
    sqlx::query_scalar(versions).bind(id).fetch_all(pool).await.unwrap()
}

async fn append_in_sql(connection: &mut PgConnection, id: Uuid, version: i64) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        r"SELECT id FROM billing.append_event(gen_random_uuid(), 'InvoiceSent', 'invoice', $1, $2,
                 'tests.invoice-sent.v1', '\x00000000010203', 'acme', 'test')",
    )
    .bind(id)
    .bind(version)
    .fetch_one(connection)
    .await
}

async fn next_version(connection: &mut PgConnection, id: Uuid) -> i64 {
    let next = "SELECT version FROM billing.next_version('invoice', $1)";
    sqlx::query_scalar(next).bind(id).fetch_one(connection).await.unwrap()
}

fn code(error: &sqlx::Error) -> String {
    error.as_database_error().and_then(|e| e.code()).unwrap_or_default().into_owned()
}

#[tokio::test]
async fn an_event_appears_with_the_services_own_transaction_or_not_at_all() {
    let (pool, outbox) = service().await;
    let (kept, undone) = (Uuid::now_v7(), Uuid::now_v7());
    for (invoice, commits) in [(kept, true), (undone, false)] {
        let mut transaction = pool.begin().await.unwrap();
        sqlx::query("INSERT INTO billing.invoices VALUES ($1)").bind(invoice).execute(&mut *transaction).await.unwrap();
        outbox.append(&mut transaction, vec![sent(invoice), sent(invoice)]).await.unwrap();
        if commits {
            transaction.commit().await.unwrap();
        } else {
            transaction.rollback().await.unwrap();
        }
    }
    assert_eq!(versions(&pool, kept).await, [1, 2]);
    assert!(versions(&pool, undone).await.is_empty());
    let fleets: i64 = sqlx::query_scalar("SELECT count(*) FROM pipeline.outbox_events").fetch_one(&pool).await.unwrap();
    assert_eq!(fleets, 0, "the fleet's own outbox is another one");
}

#[tokio::test]
async fn writers_of_one_aggregate_go_one_after_the_other_from_its_first_event_on() {
    let (pool, outbox) = service().await;
    let invoice = Uuid::now_v7();
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..12 {
        let (pool, outbox) = (pool.clone(), outbox.clone());
        writers.spawn(async move {
            let mut transaction = pool.begin().await.unwrap();
            if n % 2 == 0 {
                outbox
                    .append(&mut transaction, vec![sent(invoice), sent(Uuid::now_v7()), sent(invoice)])
                    .await
                    .unwrap();
            } else {
                // A service in another language.
                for _ in 0..2 {
                    let version = next_version(&mut transaction, invoice).await;
                    append_in_sql(&mut transaction, invoice, version).await.unwrap();
                }
            }
            transaction.commit().await.unwrap();
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    assert_eq!(
        versions(&pool, invoice).await,
        (1..=24).collect::<Vec<_>>(),
        "version order is row order, without gaps"
    );
}

#[tokio::test]
async fn gaps_and_repeats_and_events_without_a_lock_are_refused() {
    let (pool, _) = service().await;
    let (invoice, stranger) = (Uuid::now_v7(), Uuid::now_v7());
    let mut connection = pool.acquire().await.unwrap();
    assert_eq!(next_version(&mut connection, invoice).await, 1);
    assert_eq!(next_version(&mut connection, invoice).await, 1, "a version that nobody wrote leaves no gap");
    for (aggregate, version, why) in [
        (invoice, 2, "a gap at the start"),
        (invoice, 0, "before the start"),
        (stranger, 1, "an aggregate that was never locked"),
    ] {
        let error = append_in_sql(&mut connection, aggregate, version).await.unwrap_err();
        assert_eq!(code(&error), "OX001", "{why}: {error}");
        assert!(error.to_string().contains(&aggregate.to_string()), "{error}");
    }
    append_in_sql(&mut connection, invoice, 1).await.unwrap();
    assert_eq!(code(&append_in_sql(&mut connection, invoice, 1).await.unwrap_err()), "OX001", "a repeat");
    assert_eq!(code(&append_in_sql(&mut connection, invoice, 3).await.unwrap_err()), "OX001", "a gap");
    assert_eq!(versions(&pool, invoice).await, [1]);
}

/// The order of rows decides the order on the topic, so a row may not be older than the one of the version before.
#[tokio::test]
async fn a_row_that_was_inserted_before_its_predecessor_is_refused() {
    let (pool, _) = service().await;
    let invoice = Uuid::now_v7();
    let mut proper = pool.acquire().await.unwrap();
    next_version(&mut proper, invoice).await;
    // It locks nothing and guesses well: version 1 will be there when it is done. Its row has its id before.
    let mut gate = pool.begin().await.unwrap();
    sqlx::query("SELECT pg_advisory_xact_lock(42)").execute(&mut *gate).await.unwrap();
    let hasty = {
        let pool = pool.clone();
        tokio::spawn(async move {
            sqlx::query(
                r"INSERT INTO billing.outbox_events (kind, event_id, event_type, aggregate_type, aggregate_id, aggregate_version,
                         shard, topic, headers, tenant, region)
                  VALUES ('event', gen_random_uuid(), 'InvoiceSent', 'invoice', $1, 2,
                         0, 't', jsonb_build_array(pg_advisory_xact_lock(42)::text), 'acme', 'test')",
            )
            .bind(invoice)
            .execute(&pool)
            .await
        })
    };
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    docfleet_testkit::eventually("it waits with its id", 20, || async {
        (sqlx::query_scalar::<_, i64>(waits).fetch_one(&pool).await.unwrap() == 1).then_some(())
    })
    .await;
    assert!(append_in_sql(&mut proper, invoice, 1).await.unwrap() > 1, "the hasty one has the smaller id");
    gate.rollback().await.unwrap();
    let error = hasty.await.unwrap().unwrap_err();
    assert_eq!(code(&error), "OX001", "{error}");
    assert_eq!(versions(&pool, invoice).await, [1]);
}

#[tokio::test]
async fn a_statement_with_rows_out_of_order_is_refused_as_a_whole() {
    let (pool, _) = service().await;
    let (first, second) = (Uuid::now_v7(), Uuid::now_v7());
    let mut connection = pool.acquire().await.unwrap();
    next_version(&mut connection, first).await;
    next_version(&mut connection, second).await;
    for versions_of_first in [[2, 1], [1, 1], [1, 3]] {
        let inserted = sqlx::query(
            r"INSERT INTO billing.outbox_events (kind, event_id, event_type, aggregate_type, aggregate_id, aggregate_version,
                     shard, topic, headers, tenant, region)
              SELECT 'event', gen_random_uuid(), 'InvoiceSent', 'invoice', i, v, 0, 't', '[]', 'acme', 'test'
                FROM UNNEST($1::uuid[], $2::bigint[]) WITH ORDINALITY AS u (i, v, n) ORDER BY n",
        )
        .bind([second, first, first])
        .bind([1, versions_of_first[0], versions_of_first[1]])
        .execute(&mut *connection)
        .await;
        assert_eq!(code(&inserted.unwrap_err()), "OX001", "{versions_of_first:?}");
    }
    assert!(versions(&pool, first).await.is_empty() && versions(&pool, second).await.is_empty());
}

#[tokio::test]
async fn sql_refuses_a_payload_that_no_consumer_could_read() {
    let (pool, _) = service().await;
    let mut connection = pool.acquire().await.unwrap();
    let invoice = Uuid::now_v7();
    for (payload, expected) in [(br"{}".to_vec(), "OX002"), (vec![0; 300_000], "OX003")] {
        next_version(&mut connection, invoice).await;
        let appended = sqlx::query(
            "SELECT billing.append_event(gen_random_uuid(), 'X', 'invoice', $1, 1, 't', $2, 'acme', 'test')",
        )
        .bind(invoice)
        .bind(payload)
        .execute(&mut *connection)
        .await;
        assert_eq!(code(&appended.unwrap_err()), expected);
    }
}

#[tokio::test]
async fn sql_and_rust_agree_on_the_shard_of_every_id() {
    let pool = Database::fresh().await.pool();
    let edges = [Uuid::nil(), Uuid::max(), Uuid::from_u128(1), Uuid::from_u128(u128::MAX << 64)];
    let ids: Vec<Uuid> = edges.into_iter().chain((0..1_000).flat_map(|_| [Uuid::new_v4(), Uuid::now_v7()])).collect();
    let shards: Vec<i16> = sqlx::query_scalar(
        "SELECT pipeline.shard_of(i) FROM UNNEST($1::uuid[]) WITH ORDINALITY AS u (i, n) ORDER BY n",
    )
    .bind(&ids)
    .fetch_all(&pool)
    .await
    .unwrap();
    assert_eq!(shards, ids.iter().copied().map(shard_of).collect::<Vec<_>>());
}
