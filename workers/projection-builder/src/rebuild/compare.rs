use serde_json::Value;
use sqlx::{AssertSqlSafe, FromRow, PgConnection, PgPool};

use super::{
    Error,
    build::{Build, State, Wanted},
    standby,
};
use crate::table::Table;

#[derive(Debug, FromRow)]
pub struct Compared {
    pub rows: i64,
    pub differing: i64,
    /// Sums of the rows' hashes, so that the order does not matter.
    pub live_hash: String,
    pub standby_hash: String,
    /// At most 20: the document's id and the names of the columns, never their values.
    pub first: Value,
}

/// Both views in one snapshot, row by row, then `next`; a build that is only to compare ends.
pub async fn run(pool: &PgPool, build: &Build, next: State) -> Result<(), Error> {
    let mut transaction = pool.begin().await?;
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").execute(&mut *transaction).await?;
    // Longer than any statement of the live view's.
    sqlx::query("SET LOCAL statement_timeout = '30min'").execute(&mut *transaction).await?;
    let compared = of(&mut transaction, build).await?;
    transaction.rollback().await?;
    let mut transaction = pool.begin().await?;
    build.compared(&mut transaction, &compared).await?;
    build.enter(&mut transaction, next, Some(Wanted::Compare)).await?;
    transaction.commit().await?;
    if build.compare_only {
        standby::end(pool, build).await?;
    }
    Ok(())
}

async fn of(snapshot: &mut PgConnection, build: &Build) -> Result<Compared, Error> {
    let columns: Vec<String> = sqlx::query_scalar(
        r"SELECT column_name::text FROM information_schema.columns
           WHERE table_schema = 'views' AND table_name = 'document_view' AND column_name <> 'updated_at' ORDER BY ordinal_position",
    )
    .fetch_all(&mut *snapshot)
    .await?;
    let row = |alias: &str| {
        let columns: Vec<String> = columns.iter().map(|column| format!("{alias}.{column}")).collect();
        format!("hashtextextended(ROW({})::text, 0)", columns.join(", "))
    };
    let (live, standby, live_row, standby_row) = (Table::LIVE, Table::STANDBY, row("l"), row("s"));
    // When it was applied is no part of what it says. A document that differs and was touched since the mark may only not
    // have been followed yet: it is left to the next comparison.
    let query = format!(
        r"WITH moving AS MATERIALIZED (
              SELECT DISTINCT o.aggregate_id
                FROM pipeline.inbox i JOIN pipeline.outbox_events o ON o.kind = 'event' AND o.event_id = i.event_id
               WHERE i.consumer = 'projection-builder' AND i.settled_at > $1),
          pairs AS (
              SELECT coalesce(l.document_id, s.document_id) AS id, l.document_id IS NULL AS only_standby,
                     s.document_id IS NULL AS only_live, {live_row} AS live, {standby_row} AS standby
                FROM {live} l FULL JOIN {standby} s ON s.document_id = l.document_id),
          decided AS MATERIALIZED (
              SELECT * FROM pairs
               WHERE (NOT only_standby AND NOT only_live AND live = standby) OR id NOT IN (SELECT aggregate_id FROM moving)),
          unequal AS MATERIALIZED (
              SELECT * FROM decided WHERE only_standby OR only_live OR live <> standby),
          named AS (
              SELECT u.id, CASE WHEN only_live THEN jsonb_build_array('only in the live view')
                              WHEN only_standby THEN jsonb_build_array('only in the new one')
                              ELSE (SELECT jsonb_agg(n.key ORDER BY n.key) FROM jsonb_each(to_jsonb(l)) n
                                     WHERE n.key <> 'updated_at' AND n.value IS DISTINCT FROM to_jsonb(s) -> n.key) END AS columns
                FROM (SELECT * FROM unequal ORDER BY id LIMIT 20) u
                LEFT JOIN {live} l ON l.document_id = u.id LEFT JOIN {standby} s ON s.document_id = u.id)
          SELECT p.*, (SELECT count(*) FROM unequal) AS differing,
                 coalesce((SELECT jsonb_agg(jsonb_build_object('document', id, 'columns', columns) ORDER BY id) FROM named), '[]') AS first
            FROM (SELECT count(*) AS rows, coalesce(sum(live) FILTER (WHERE NOT only_standby), 0)::text AS live_hash,
                         coalesce(sum(standby) FILTER (WHERE NOT only_live), 0)::text AS standby_hash FROM decided) p"
    );
    Ok(sqlx::query_as(AssertSqlSafe(query)).bind(build.followed_until).fetch_one(snapshot).await?)
}
