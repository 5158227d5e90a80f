//! The view's table: one row per document, in whatever order its events come.
//!
//! First each event is counted, which makes the rows that are missing and locks all of them in the order of their ids, so
//! that two settlements with the same documents can not deadlock. Then each stage writes its own columns and no others.

use std::collections::{BTreeMap, HashSet};

use docfleet_events::{DocumentEvent, EventMeta};
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use crate::{
    stage::{self, At},
    table::Table,
};

/// An event as it arrived.
#[derive(Debug, Clone, Copy)]
pub struct Fact<'a> {
    pub meta: &'a EventMeta,
    pub event: &'a DocumentEvent,
    /// The beginning of the text that the event tells of; none when it was not read, or is gone.
    pub text: Option<&'a str>,
}

/// Applies each of `facts` once. Within the caller's transaction, which knows what was applied before.
///
/// Statements: one and one more per kind of event in the batch, whatever its size.
pub async fn apply(connection: &mut PgConnection, table: Table, facts: &[Fact<'_>]) -> Result<(), sqlx::Error> {
    let erased = count(connection, table, facts).await?;
    let mut latest = Latest::default();
    facts.iter().filter(|fact| !erased.contains(&fact.event.document_id())).for_each(|fact| latest.add(*fact));
    stage::uploaded(connection, table, &latest.uploaded).await?;
    stage::virus_scanned(connection, table, &latest.virus_scanned).await?;
    stage::infection_found(connection, table, &latest.infection_found).await?;
    stage::deduplicated(connection, table, &latest.deduplicated).await?;
    stage::text_extracted(connection, table, &latest.text_extracted).await?;
    stage::erased(connection, table, &latest.erased).await
}

/// The last event of each kind and document: an UPDATE can not choose between two.
#[derive(Default)]
struct Latest<'a> {
    uploaded: stage::Uploaded<'a>,
    virus_scanned: stage::VirusScanned<'a>,
    infection_found: stage::InfectionFound<'a>,
    deduplicated: stage::Deduplicated<'a>,
    text_extracted: stage::TextExtracted<'a>,
    erased: stage::Erased<'a>,
}

impl<'a> Latest<'a> {
    fn add(&mut self, Fact { meta, event, text }: Fact<'a>) {
        fn keep<'a, E>(of_kind: &mut BTreeMap<Uuid, At<'a, E>>, document: Uuid, at: At<'a, E>) {
            let is_later = |kept: &At<'_, E>| kept.meta.aggregate_version < at.meta.aggregate_version;
            if of_kind.get(&document).is_none_or(is_later) {
                of_kind.insert(document, at);
            }
        }
        let document = event.document_id();
        match event {
            DocumentEvent::Uploaded(event) => keep(&mut self.uploaded, document, At { meta, event, text }),
            DocumentEvent::VirusScanned(event) => keep(&mut self.virus_scanned, document, At { meta, event, text }),
            DocumentEvent::Deduplicated(event) => keep(&mut self.deduplicated, document, At { meta, event, text }),
            DocumentEvent::TextExtracted(event) => keep(&mut self.text_extracted, document, At { meta, event, text }),
            DocumentEvent::InfectionFound(event) => keep(&mut self.infection_found, document, At { meta, event, text }),
            DocumentEvent::Erased(event) => keep(&mut self.erased, document, At { meta, event, text }),
        }
    }
}

/// Returns the documents whose row says already that they are erased: the topics come in any order, and what is late must
/// not fill it again.
async fn count(connection: &mut PgConnection, table: Table, facts: &[Fact<'_>]) -> Result<HashSet<Uuid>, sqlx::Error> {
    let mut documents: BTreeMap<Uuid, (&EventMeta, i64)> = BTreeMap::new();
    for fact in facts {
        documents.entry(fact.event.document_id()).or_insert((fact.meta, 0)).1 += 1;
    }
    if documents.is_empty() {
        return Ok(HashSet::new());
    }
    let counted: Vec<(Uuid, bool)> = sqlx::query_as(AssertSqlSafe(format!(
        r"INSERT INTO {table} AS v (document_id, tenant, region, version, updated_at)
          SELECT u.*, clock_timestamp()
            FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::bigint[]) AS u (document_id, tenant, region, events)
           ORDER BY u.document_id
          ON CONFLICT (document_id) DO UPDATE
             SET version = v.version + excluded.version, updated_at = excluded.updated_at
          RETURNING document_id, erased_at IS NOT NULL"
    )))
    .bind(documents.keys().copied().collect::<Vec<_>>())
    .bind(documents.values().map(|(meta, _)| meta.tenant.as_str()).collect::<Vec<_>>())
    .bind(documents.values().map(|(meta, _)| meta.region.as_str()).collect::<Vec<_>>())
    .bind(documents.values().map(|(_, events)| *events).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    Ok(counted.into_iter().filter_map(|(document, is_erased)| is_erased.then_some(document)).collect())
}
