use docfleet_outbox::{
    RetentionConfig, SchemaName,
    retention::{Kept, Table, keep, plan},
};
use docfleet_testkit::Database;
use sqlx::{Connection, PgConnection, PgPool};
use time::{Date, Duration, OffsetDateTime};
use tokio_util::sync::CancellationToken;

fn today() -> Date {
    OffsetDateTime::now_utc().date()
}

fn ago(days: i64) -> Date {
    today() - Duration::days(days)
}

/// A database whose tables have a day, so old that it may go, with `rows` in each.
async fn aged(rows: i32) -> PgPool {
    let pool = Database::fresh().await.pool();
    let old = ago(60);
    for table in ["outbox_events", "inbox"] {
        sqlx::query("SELECT pipeline.add_day($1, $2)").bind(table).bind(old).execute(&pool).await.unwrap();
    }
    sqlx::query(
        r"INSERT INTO pipeline.outbox_events (kind, event_id, event_type, consumer, attempt, shard, topic, headers, tenant, region,
                 created_at)
          SELECT 'dead_letter', md5(n::text)::uuid, 'x', 'ocr', 2, 0, 'ocr.dlq', '[]', 'acme', 'test', $1 FROM generate_series(1, $2) AS n",
    )
    .bind(old.midnight().assume_utc())
    .bind(rows)
    .execute(&pool)
    .await
    .unwrap();
    set(&pool, "DELETE FROM pipeline.outbox_unpublished").await;
    sqlx::query(
        r#"INSERT INTO pipeline.inbox (consumer, event_id, event_day, outcome, attempt, topic, partition, "offset", settled_at)
           SELECT 'ocr', md5(n::text)::uuid, $1, 'done', 2, 't', 0, n, $1 FROM generate_series(1, $2) AS n"#,
    )
    .bind(old)
    .bind(rows)
    .execute(&pool)
    .await
    .unwrap();
    pool
}

async fn pass(pool: &PgPool, table: Table) -> Kept {
    let mut connection = pool.acquire().await.unwrap();
    keep(&mut connection, &SchemaName::pipeline(), table, &RetentionConfig::default(), today()).await.unwrap()
}

async fn rows(pool: &PgPool, table: &'static str) -> i64 {
    sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM pipeline.{table}")))
        .fetch_one(pool)
        .await
        .unwrap()
}

async fn set(pool: &PgPool, sql: &'static str) {
    sqlx::raw_sql(sql).execute(pool).await.unwrap();
}

#[tokio::test]
async fn days_are_made_ahead_and_old_ones_go_with_their_rows() {
    let pool = aged(5).await;
    let mut connection = pool.acquire().await.unwrap();
    let schema = SchemaName::pipeline();
    let planned = plan(&mut connection, &schema, Table::Outbox, &RetentionConfig::default(), today()).await.unwrap();
    assert_eq!((planned[0].day, planned[0].rows, planned[0].unpublished), (ago(60), 5, 0));
    assert!(planned[0].from <= today() && planned[1].from > today(), "{planned:?}");
    assert_eq!(rows(&pool, "outbox_events").await, 5, "a plan changes nothing");
    for (table, name) in [(Table::Outbox, "outbox_events"), (Table::Inbox, "inbox")] {
        let kept = pass(&pool, table).await;
        assert_eq!((kept.days_dropped, kept.rows_moved, kept.days_held, kept.busy), (1, 0, 0, 0));
        assert_eq!(rows(&pool, name).await, 0);
        let before = "SELECT before FROM pipeline.dropped_days WHERE parent = $1";
        let before: Date = sqlx::query_scalar(before).bind(name).fetch_one(&pool).await.unwrap();
        assert_eq!(before, ago(59));
        let again = pass(&pool, table).await;
        assert_eq!(again, Kept { oldest_day: again.oldest_day, ..Kept::default() }, "nothing is left to do");
    }
    let days: Vec<Date> =
        sqlx::query_scalar("SELECT day FROM pipeline.days('inbox') AS d (day)").fetch_all(&pool).await.unwrap();
    assert_eq!(days.last(), Some(&(today() + Duration::days(7))));
}

#[tokio::test]
async fn an_unpublished_row_holds_its_day() {
    let pool = aged(5).await;
    set(
        &pool,
        "INSERT INTO pipeline.outbox_unpublished SELECT id, created_at, shard FROM pipeline.outbox_events ORDER BY id DESC LIMIT 1",
    )
    .await;
    let later = "SELECT pipeline.add_day('outbox_events', current_date - 50)";
    set(&pool, later).await;
    let kept = pass(&pool, Table::Outbox).await;
    assert_eq!((kept.days_dropped, kept.days_held), (0, 1), "and those after it, as events may follow each other");
    assert_eq!(rows(&pool, "outbox_events").await, 5);
    assert_eq!(pass(&pool, Table::Inbox).await.days_dropped, 0, "nor do its events lose their outcomes");
    set(&pool, "DELETE FROM pipeline.outbox_unpublished").await;
    assert_eq!(pass(&pool, Table::Outbox).await.days_dropped, 2);
}

#[tokio::test]
async fn what_has_no_last_word_outlives_its_day_until_it_has_one() {
    let pool = aged(4).await;
    set(
        &pool,
        r"UPDATE pipeline.inbox SET outcome = CASE WHEN n = 1 THEN 'dead' WHEN n = 2 THEN 'retrying' ELSE 'parked' END
            FROM generate_series(1, 3) AS n WHERE event_id = md5(n::text)::uuid;
          -- The letter of an earlier death: an undo would go back to it.
          UPDATE pipeline.outbox_events SET attempt = 1 WHERE event_id = md5('3')::uuid",
    )
    .await;
    assert_eq!(pass(&pool, Table::Outbox).await.rows_moved, 3);
    assert_eq!(pass(&pool, Table::Inbox).await.rows_moved, 3);
    assert_eq!((rows(&pool, "outbox_outliers").await, rows(&pool, "inbox_outliers").await), (3, 3));
    // Settled today: the row of such an old event is kept for as long again, its letter is not needed any more.
    set(&pool, "UPDATE pipeline.inbox SET outcome = 'done', settled_at = clock_timestamp()").await;
    assert_eq!((pass(&pool, Table::Inbox).await.rows_swept, pass(&pool, Table::Outbox).await.rows_swept), (0, 3));
    set(&pool, "UPDATE pipeline.inbox SET settled_at = settled_at - interval '40 days'").await;
    assert_eq!(pass(&pool, Table::Inbox).await.rows_swept, 3);
}

#[tokio::test]
async fn rows_that_came_before_their_day_was_made_move_into_it() {
    let pool = aged(0).await;
    let late = today() + Duration::days(30);
    sqlx::query(r#"INSERT INTO pipeline.inbox (consumer, event_id, event_day, outcome, topic, partition, "offset") VALUES ('ocr', gen_random_uuid(), $1, 'done', 't', 0, 0)"#)
        .bind(late)
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(rows(&pool, "inbox_outliers").await, 1);
    let mut connection = pool.acquire().await.unwrap();
    let later = today() + Duration::days(25);
    let kept =
        keep(&mut connection, &SchemaName::pipeline(), Table::Inbox, &RetentionConfig::default(), later).await.unwrap();
    assert!(kept.days_added > 0 && kept.rows_swept == 0, "{kept:?}");
    assert_eq!((rows(&pool, "inbox_outliers").await, rows(&pool, "inbox").await), (0, 1));
}

#[tokio::test]
async fn a_housekeeper_that_dies_between_its_steps_leaves_nothing_half_done() {
    let pool = aged(3).await;
    set(&pool, "UPDATE pipeline.inbox SET outcome = 'dead'").await;
    let mut connection = pool.acquire().await.unwrap();
    let mut dying = connection.begin().await.unwrap();
    let moved: i64 =
        sqlx::query_scalar("SELECT pipeline.drop_day('inbox', $1)").bind(ago(60)).fetch_one(&mut *dying).await.unwrap();
    sqlx::query("SELECT pipeline.add_day('inbox', $1)").bind(ago(50)).execute(&mut *dying).await.unwrap();
    assert_eq!(moved, 3);
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut *dying).await.unwrap();
    sqlx::query("SELECT pg_terminate_backend($1)").bind(pid).execute(&pool).await.unwrap();
    drop(dying);
    assert_eq!((rows(&pool, "inbox").await, rows(&pool, "inbox_outliers").await), (3, 0));
    pass(&pool, Table::Outbox).await;
    assert_eq!(pass(&pool, Table::Inbox).await.rows_moved, 3);
    assert_eq!((rows(&pool, "inbox").await, rows(&pool, "inbox_outliers").await), (3, 3));
}

#[tokio::test]
async fn a_lock_that_is_not_to_be_had_is_left_for_the_next_pass() {
    let pool = aged(3).await;
    pass(&pool, Table::Outbox).await;
    let mut reader = pool.begin().await.unwrap();
    sqlx::query("SELECT FROM pipeline.inbox").execute(&mut *reader).await.unwrap();
    let kept = pass(&pool, Table::Inbox).await;
    assert_eq!((kept.days_dropped, kept.busy), (0, 1));
    reader.rollback().await.unwrap();
    assert_eq!(pass(&pool, Table::Inbox).await.days_dropped, 1);
}

#[tokio::test]
async fn writers_and_readers_go_on_while_days_come_and_go() {
    let pool = aged(50).await;
    let stop = CancellationToken::new();
    let mut writers = tokio::task::JoinSet::new();
    for writer in ["w0", "w1", "w2"] {
        let (pool, stop) = (pool.clone(), stop.clone());
        writers.spawn(async move {
            let mut written = 0_i64;
            while !stop.is_cancelled() {
                let today = r#"INSERT INTO pipeline.inbox (consumer, event_id, event_day, outcome, topic, partition, "offset")
                               VALUES ($1, gen_random_uuid(), current_date, 'done', 't', 0, 0), ($1, gen_random_uuid(), '1970-01-01', 'dead', 't', 0, 0)"#;
                sqlx::query(today).bind(writer).execute(&pool).await.unwrap();
                // Each its own rows: two that update the same ones, in no order, are each other's deadlock.
                let again = "UPDATE pipeline.inbox SET reason = 'r' WHERE consumer = $1 AND outcome = 'dead'";
                sqlx::query(again).bind(writer).execute(&pool).await.unwrap();
                written += 2;
            }
            written
        });
    }
    let mut connection = PgConnection::connect_with(&pool.connect_options()).await.unwrap();
    let schema = SchemaName::pipeline();
    for round in 0..10 {
        let later = today() + Duration::days(round);
        let kept = keep(&mut connection, &schema, Table::Inbox, &RetentionConfig::default(), later).await.unwrap();
        assert!(kept.busy <= 3, "{kept:?}");
    }
    stop.cancel();
    let mut written = 0;
    while let Some(writer) = writers.join_next().await {
        written += writer.expect("no writer fails");
    }
    let found: i64 = sqlx::query_scalar("SELECT count(*) FROM pipeline.inbox WHERE consumer LIKE 'w_'")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(found, written);
}
