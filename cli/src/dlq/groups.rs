//! Dead letters by what they died of: one line for each cause, however many died of it.

use comfy_table::{Cell, CellAlignment};
use serde::Serialize;
use sqlx::{FromRow, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

use super::filter::{Filter, from_letters};
use crate::{
    Error,
    output::{self, Report, grouped, instant},
};

/// Tenants named for each group; their count is whole.
const TENANTS_MAX: usize = 5;

#[derive(Serialize)]
pub struct Groups {
    total: i64,
    /// The largest first.
    groups: Vec<Group>,
    /// Groups that are not shown.
    more: i64,
}

#[derive(Serialize, FromRow)]
struct Group {
    consumer: String,
    reason: String,
    fingerprint: String,
    /// What its errors have in common.
    pattern: String,
    count: i64,
    #[serde(with = "time::serde::rfc3339")]
    first_seen: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    last_seen: OffsetDateTime,
    keys: i64,
    /// Messages parked behind those keys at that consumer.
    held_behind: i64,
    tenants: i64,
    tenant_names: Vec<String>,
    example_event: Uuid,
}

pub async fn groups(connection: &mut PgConnection, filter: &Filter, limit: usize) -> Result<Groups, Error> {
    let query = sqlx::query_as(concat!(
        r"WITH letters AS MATERIALIZED (
              SELECT i.consumer, coalesce(i.reason, 'unknown') AS reason, coalesce(o.fingerprint, '') AS fingerprint,
                     i.event_id, i.settled_at, o.id, o.created_at, o.key, o.tenant",
        from_letters!("dead"),
        // Keys and tenants are counted by hashing: `count(DISTINCT …)` would sort all letters.
        r"), grouped AS (
              SELECT consumer, reason, fingerprint, count(*) AS count, min(settled_at) AS first_seen, max(settled_at) AS last_seen,
                     max(id) AS newest
                FROM letters GROUP BY consumer, reason, fingerprint
          ), keys AS (
              SELECT DISTINCT consumer, reason, fingerprint, key FROM letters
          ), counted AS (
              SELECT consumer, reason, fingerprint, count(key) AS keys FROM keys GROUP BY 1, 2, 3
          ), tenants AS (
              SELECT consumer, reason, fingerprint, count(*) AS tenants, (array_agg(tenant ORDER BY n DESC, tenant))[1:$9] AS tenant_names
                FROM (SELECT consumer, reason, fingerprint, tenant, count(*) AS n FROM letters GROUP BY 1, 2, 3, 4) t GROUP BY 1, 2, 3
          ), held AS (
              SELECT k.consumer, l.reason, l.fingerprint, sum(p.messages)::bigint AS messages
                FROM keys l
                JOIN pipeline.parked_keys k ON k.consumer = l.consumer AND k.key = l.key
               CROSS JOIN LATERAL (SELECT count(*) AS messages FROM pipeline.parked_messages m
                                    WHERE m.consumer = k.consumer AND m.key = k.key) p
               GROUP BY 1, 2, 3)
          SELECT g.consumer, g.reason, g.fingerprint, g.count, g.first_seen, g.last_seen, c.keys, t.tenants, t.tenant_names,
                 coalesce(h.messages, 0) AS held_behind, l.event_id AS example_event, pipeline.failure_pattern(o.headers) AS pattern
            FROM grouped g
            JOIN counted c ON (c.consumer, c.reason, c.fingerprint) = (g.consumer, g.reason, g.fingerprint)
            JOIN tenants t ON (t.consumer, t.reason, t.fingerprint) = (g.consumer, g.reason, g.fingerprint)
            JOIN letters l ON l.id = g.newest
            JOIN pipeline.outbox_events o ON o.id = l.id AND o.created_at = l.created_at
            LEFT JOIN held h ON (h.consumer, h.reason, h.fingerprint) = (g.consumer, g.reason, g.fingerprint)
           ORDER BY g.count DESC, g.consumer, g.reason, g.fingerprint"
    ));
    // For this connection: letters by the million are hashed in memory.
    sqlx::query("SET work_mem = '64MB'").execute(&mut *connection).await?;
    let names = i32::try_from(TENANTS_MAX).unwrap_or(i32::MAX);
    let mut groups: Vec<Group> = filter.bind(query).bind(names).fetch_all(connection).await?;
    let total = groups.iter().map(|group| group.count).sum();
    let more = i64::try_from(groups.len().saturating_sub(limit)).unwrap_or(i64::MAX);
    groups.truncate(limit);
    Ok(Groups { total, groups, more })
}

impl Report for Groups {
    fn text(&self) -> String {
        if self.total == 0 {
            return "No dead letters.".to_owned();
        }
        let right = |count: i64| Cell::new(grouped(count)).set_alignment(CellAlignment::Right);
        let mut table = output::table([
            "consumer",
            "reason",
            "fingerprint",
            "count",
            "keys",
            "held",
            "tenants",
            "first",
            "last",
            "error",
        ]);
        for group in &self.groups {
            table.add_row([
                Cell::new(&group.consumer),
                Cell::new(output::plain(&group.reason, 60)),
                Cell::new(&group.fingerprint),
                right(group.count),
                right(group.keys),
                right(group.held_behind),
                right(group.tenants),
                Cell::new(instant(group.first_seen)),
                Cell::new(instant(group.last_seen)),
                Cell::new(output::plain(&group.pattern, 80)),
            ]);
        }
        let mut text = table.to_string();
        if self.more > 0 {
            text.push_str(&format!("\n{} more, smaller ones; see them by --limit.", grouped(self.more)));
        }
        text.push_str("\nOne of a group by `docfleet dlq list --fingerprint HEX --limit 1`, all of it by `docfleet dlq replay --fingerprint HEX`.");
        text
    }
}
