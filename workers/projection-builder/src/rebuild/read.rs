use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use docfleet_events::{DocumentEvent, EventMeta};
use docfleet_outbox::{Input, Registry, apache_avro::Schema, codec};
use sqlx::{FromRow, PgConnection};
use time::{Date, OffsetDateTime};
use uuid::Uuid;

use super::Error;

/// Events of whole documents, as they lie in the outbox.
pub struct Page {
    rows: Vec<Row>,
    pub documents: i64,
    /// The highest id.
    pub last: Option<Uuid>,
}

#[derive(FromRow)]
struct Row {
    document_id: Uuid,
    /// None where the outbox has no event of this document any more.
    row_id: Option<i64>,
    aggregate_version: Option<i64>,
    payload: Option<Vec<u8>>,
    /// None where the live view has not applied it.
    applied_at: Option<OffsetDateTime>,
}

/// What the live view has applied of some documents.
#[derive(Default)]
pub struct Facts {
    pub events: Vec<(EventMeta, DocumentEvent)>,
    /// Each document with at least one such event, and when the last was applied.
    pub applied_at: Vec<(Uuid, OffsetDateTime)>,
    /// Documents whose first events were pruned: the live row is all that is left of them.
    pub pruned: Vec<Uuid>,
}

/// Events of some documents, `docs (aggregate_id)`. Only what is done at the live view: it will apply the rest itself, and after a
/// switch to the new table. An event's day is that of its `occurred_at`, read moments before `created_at`: with the days
/// around it PostgreSQL need not look into every partition.
macro_rules! events_of {
    ($docs:literal) => {
        concat!(
            "WITH docs AS MATERIALIZED (",
            $docs,
            r")
            SELECT d.aggregate_id AS document_id, o.id AS row_id, o.aggregate_version, o.payload, i.settled_at AS applied_at
              FROM docs d
              LEFT JOIN pipeline.outbox_events o
                ON o.aggregate_type = 'document' AND o.aggregate_id = d.aggregate_id AND o.kind = 'event'
              LEFT JOIN pipeline.inbox i
                ON i.consumer = 'projection-builder' AND i.event_id = o.event_id AND i.outcome = 'done'
               AND i.event_day BETWEEN (o.created_at AT TIME ZONE 'UTC')::date - 1 AND (o.created_at AT TIME ZONE 'UTC')::date + 1
             ORDER BY d.aggregate_id, o.aggregate_version"
        )
    };
}

/// The next documents by id.
///
/// In the order of their ids their events lie beside each other in an index, and are read by its range: one question for each
/// document would cost fifteen times as much. What the inbox says of them is asked by the day, since each day is a table.
pub async fn after(connection: &mut PgConnection, after: Option<Uuid>, documents: i64) -> Result<Page, Error> {
    let after = after.unwrap_or(Uuid::nil());
    let ids: Vec<Uuid> = sqlx::query_scalar(
        r"SELECT aggregate_id FROM pipeline.aggregates
           WHERE aggregate_type = 'document' AND aggregate_id > $1 ORDER BY aggregate_id LIMIT $2",
    )
    .bind(after)
    .bind(documents)
    .fetch_all(&mut *connection)
    .await?;
    let Some(last) = ids.last() else { return Ok(Page::of(Vec::new())) };
    let events: Vec<Stored> = sqlx::query_as(
        r"SELECT aggregate_id, id, aggregate_version, payload, event_id, (created_at AT TIME ZONE 'UTC')::date AS day
            FROM pipeline.outbox_events
           WHERE kind = 'event' AND aggregate_type = 'document' AND aggregate_id > $1 AND aggregate_id <= $2
           ORDER BY aggregate_id, aggregate_version",
    )
    .bind(after)
    .bind(last)
    .fetch_all(&mut *connection)
    .await?;
    let applied = applied(connection, &events).await?;
    Ok(Page::of(joined(ids, events, &applied)))
}

#[derive(FromRow)]
struct Stored {
    aggregate_id: Uuid,
    id: i64,
    aggregate_version: i64,
    payload: Option<Vec<u8>>,
    event_id: Uuid,
    day: Date,
}

/// When each event was applied by the live view; those that were not are absent. An event's day is that of its `occurred_at`,
/// read moments before `created_at`.
async fn applied(
    connection: &mut PgConnection,
    events: &[Stored],
) -> Result<HashMap<Uuid, OffsetDateTime>, sqlx::Error> {
    let mut by_day: BTreeMap<Date, Vec<Uuid>> = BTreeMap::new();
    for event in events {
        by_day.entry(event.day).or_default().push(event.event_id);
    }
    let mut applied = HashMap::with_capacity(events.len());
    for (day, ids) in by_day {
        let done: Vec<(Uuid, OffsetDateTime)> = sqlx::query_as(
            r"SELECT event_id, settled_at FROM pipeline.inbox
               WHERE consumer = 'projection-builder' AND outcome = 'done' AND event_day BETWEEN $1 AND $2 AND event_id = ANY ($3)",
        )
        .bind(day.previous_day().unwrap_or(day))
        .bind(day.next_day().unwrap_or(day))
        .bind(ids)
        .fetch_all(&mut *connection)
        .await?;
        applied.extend(done);
    }
    Ok(applied)
}

/// All documents, in order, with their events; one without any has one row that says so. Events of a document that came in
/// between are left out: it is folded when the build follows.
fn joined(documents: Vec<Uuid>, events: Vec<Stored>, applied: &HashMap<Uuid, OffsetDateTime>) -> Vec<Row> {
    let mut rows = Vec::with_capacity(events.len());
    let mut events = events.into_iter().peekable();
    for document_id in documents {
        while events.next_if(|event| event.aggregate_id < document_id).is_some() {}
        let before = rows.len();
        while let Some(event) = events.next_if(|event| event.aggregate_id == document_id) {
            rows.push(Row {
                document_id,
                row_id: Some(event.id),
                aggregate_version: Some(event.aggregate_version),
                payload: event.payload,
                applied_at: applied.get(&event.event_id).copied(),
            });
        }
        if rows.len() == before {
            rows.push(Row { document_id, row_id: None, aggregate_version: None, payload: None, applied_at: None });
        }
    }
    rows
}

pub async fn of(connection: &mut PgConnection, documents: &[Uuid]) -> Result<Page, Error> {
    let rows: Vec<Row> = sqlx::query_as(events_of!("SELECT DISTINCT UNNEST($1::uuid[]) AS aggregate_id"))
        .bind(documents)
        .fetch_all(connection)
        .await?;
    Ok(Page::of(rows))
}

impl Page {
    fn of(rows: Vec<Row>) -> Self {
        let mut documents = 0;
        let mut last = None;
        for row in &rows {
            if last != Some(row.document_id) {
                documents += 1;
                last = Some(row.document_id);
            }
        }
        Self { rows, documents, last }
    }

    pub async fn decode(self, registry: &Registry) -> Result<Facts, Error> {
        let mut schemas: Vec<(u32, Arc<Schema>)> = Vec::new();
        for row in &self.rows {
            let (Some(id), Some(payload), Some(_)) = (row.row_id, &row.payload, row.applied_at) else { continue };
            let (schema, _) = codec::unframe(payload).map_err(|error| Error::Event { row: id, error })?;
            if !schemas.iter().any(|(known, _)| *known == schema) {
                let writer = registry.schema(schema).await.map_err(|error| Error::Event { row: id, error })?;
                schemas.push((schema, writer));
            }
        }
        // Milliseconds of pure work: the live view's loop runs on the same threads.
        tokio::task::spawn_blocking(move || self.facts(&schemas)).await.map_err(|_| Error::Panicked)?
    }

    fn facts(self, schemas: &[(u32, Arc<Schema>)]) -> Result<Facts, Error> {
        let mut facts = Facts { events: Vec::with_capacity(self.rows.len()), ..Facts::default() };
        let mut rows = self.rows.into_iter().peekable();
        while let Some(first) = rows.next() {
            let document = first.document_id;
            let pruned = first.aggregate_version != Some(1);
            if pruned {
                facts.pruned.push(document);
            }
            let mut of_document = Some(first);
            while let Some(row) = of_document.take() {
                if let (false, Some(applied_at)) = (pruned, row.applied_at) {
                    facts.events.push(decoded(&row, schemas)?);
                    match facts.applied_at.last_mut().filter(|(known, _)| *known == document) {
                        Some((_, latest)) => *latest = applied_at.max(*latest),
                        None => facts.applied_at.push((document, applied_at)),
                    }
                }
                of_document = rows.next_if(|row| row.document_id == document);
            }
        }
        Ok(facts)
    }
}

fn decoded(row: &Row, schemas: &[(u32, Arc<Schema>)]) -> Result<(EventMeta, DocumentEvent), Error> {
    let failed = |error| Error::Event { row: row.row_id.unwrap_or_default(), error };
    let (id, datum) = codec::unframe(row.payload.as_deref().unwrap_or_default()).map_err(failed)?;
    let known = schemas.iter().find(|(known, _)| *known == id);
    let (_, writer) = known.ok_or_else(|| failed(docfleet_outbox::Error::UnknownSchema(id)))?;
    DocumentEvent::decode(writer, datum).map_err(failed)
}
