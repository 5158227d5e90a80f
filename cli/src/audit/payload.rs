//! What each event says of itself: who it is, and what it follows from. Only its Avro payload knows the cause.

use apache_avro::{reader::datum::GenericDatumReader, types::Value};
use docfleet_outbox::{Registry, codec};
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::check::{Finding, OFFENDERS_MAX, Offender, Pass};
use crate::{Config, Error};

const PAGE: i64 = 2_000;

#[derive(FromRow)]
struct Row {
    id: i64,
    event_id: Uuid,
    aggregate_id: Uuid,
    aggregate_version: i64,
    payload: Option<Vec<u8>>,
}

/// The part of `meta` that the ledger repeats in columns, and the cause.
#[derive(Debug, PartialEq, Eq)]
struct Meta {
    event_id: Option<Uuid>,
    aggregate_id: Option<Uuid>,
    aggregate_version: Option<i64>,
    cause: Option<Uuid>,
}

pub struct Read {
    pub findings: Vec<Finding>,
    /// Up to the mark.
    pub events: i64,
}

/// Of the events after the row `after`, in pages, so that a ledger of any size fits.
pub async fn check(
    config: &Config,
    connection: &mut PgConnection,
    mut after: i64,
    mark: i64,
    young: f64,
) -> Result<Read, Error> {
    let registry = Registry::new(&config.registry)?;
    let mut contradictions = Findings::default();
    let mut orphans = Findings::default();
    let mut events = 0;
    loop {
        let page = page(&mut *connection, after, young).await?;
        let Some(last) = page.last() else { break };
        after = last.id;
        events += i64::try_from(page.iter().filter(|row| row.id <= mark).count()).unwrap_or(i64::MAX);
        let mut causes = (Vec::new(), Vec::new());
        for row in &page {
            match meta_of(&registry, row).await? {
                Ok(meta) => {
                    if let Some(cause) = meta.cause {
                        causes.0.push(row.event_id);
                        causes.1.push(cause);
                    }
                }
                Err(detail) => contradictions.add(row.event_id, detail),
            }
        }
        for (event_id, cause) in without_cause(&mut *connection, causes).await? {
            orphans.add(event_id, format!("follows from {cause}, which is not there"));
        }
    }
    let contradictions = contradictions.into_finding(
        ("payload-contradicts-row", "L6"),
        "events whose payload can not be read or says something else than their row",
        "Consumers read the payload: find out who wrote the row by hand.",
    );
    let orphans = orphans.into_finding(
        ("unknown-cause", "L2"),
        "events that follow from an event that the outbox never held",
        "The causing event's row was deleted, or the database was restored to a time between the two.",
    );
    Ok(Read { findings: contradictions.into_iter().chain(orphans).collect(), events })
}

async fn page(connection: &mut PgConnection, after: i64, young: f64) -> Result<Vec<Row>, Error> {
    let rows = sqlx::query_as(
        r"SELECT id, event_id, aggregate_id, aggregate_version, payload FROM pipeline.outbox_events
           WHERE kind = 'event' AND id > $1 AND created_at < now() - make_interval(secs => $2) ORDER BY id LIMIT $3",
    )
    .bind(after)
    .bind(young)
    .bind(PAGE)
    .fetch_all(connection)
    .await?;
    Ok(rows)
}

async fn without_cause(
    connection: &mut PgConnection,
    (events, causes): (Vec<Uuid>, Vec<Uuid>),
) -> Result<Vec<(Uuid, Uuid)>, Error> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let orphans = sqlx::query_as(
        r"SELECT u.event_id, u.cause FROM UNNEST($1::uuid[], $2::uuid[]) AS u (event_id, cause)
           WHERE NOT EXISTS (SELECT FROM pipeline.outbox_events o WHERE o.kind = 'event' AND o.event_id = u.cause)
             -- A pruned cause has left at most its outcomes, of a pruned day.
             AND NOT EXISTS (SELECT FROM audit_scope WHERE pruned AND NOT EXISTS (
                     SELECT FROM pipeline.inbox i WHERE i.event_id = u.cause AND i.event_day >= pruned_before::date))",
    )
    .bind(events)
    .bind(causes)
    .fetch_all(connection)
    .await?;
    Ok(orphans)
}

/// # Errors
/// Outer: the registry is away, so nothing can be said. Inner: what is wrong with this event.
async fn meta_of(registry: &Registry, row: &Row) -> Result<Result<Meta, String>, Error> {
    let (schema_id, mut datum) = match codec::unframe(row.payload.as_deref().unwrap_or_default()) {
        Ok(framed) => framed,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let schema = match registry.schema(schema_id).await {
        Ok(schema) => schema,
        Err(error @ docfleet_outbox::Error::RegistryUnavailable(_)) => return Err(error.into()),
        Err(error) => return Ok(Err(error.to_string())),
    };
    // Without the error's own text: it may quote the payload.
    let value = GenericDatumReader::builder(&schema).build().and_then(|reader| reader.read_value(&mut datum));
    let Ok(value) = value else { return Ok(Err(format!("does not follow schema {schema_id}"))) };
    let meta = Meta::read(&value);
    let expected = (Some(row.event_id), Some(row.aggregate_id), Some(row.aggregate_version));
    if (meta.event_id, meta.aggregate_id, meta.aggregate_version) != expected {
        return Ok(Err("names another event, aggregate or version than its row".to_owned()));
    }
    Ok(Ok(meta))
}

impl Meta {
    fn read(event: &Value) -> Self {
        let meta = field(event, "meta");
        let uuid = |name| meta.and_then(|meta| field(meta, name)).and_then(uuid_of);
        let aggregate_version = match meta.and_then(|meta| field(meta, "aggregate_version")) {
            Some(Value::Long(version)) => Some(*version),
            _ => None,
        };
        Self { event_id: uuid("event_id"), aggregate_id: uuid("aggregate_id"), aggregate_version, cause: uuid("cause") }
    }
}

fn field<'a>(record: &'a Value, name: &str) -> Option<&'a Value> {
    match record {
        Value::Record(fields) => fields.iter().find(|(n, _)| n == name).map(|(_, value)| value),
        _ => None,
    }
}

fn uuid_of(value: &Value) -> Option<Uuid> {
    match value {
        Value::Uuid(id) => Some(*id),
        Value::String(text) => text.parse().ok(),
        Value::Union(_, inner) => uuid_of(inner),
        _ => None,
    }
}

#[derive(Default)]
struct Findings {
    count: i64,
    offenders: Vec<Offender>,
}

impl Findings {
    fn add(&mut self, event_id: Uuid, detail: String) {
        self.count += 1;
        if self.offenders.len() < OFFENDERS_MAX {
            self.offenders.push(Offender { consumer: None, id: Some(event_id), detail });
        }
    }

    fn into_finding(
        self,
        (check, property): (&'static str, &'static str),
        says: &'static str,
        what_to_do: &'static str,
    ) -> Option<Finding> {
        (self.count > 0).then_some(Finding {
            check,
            property,
            count: self.count,
            says,
            what_to_do,
            offenders: self.offenders,
            pass: Pass::Always,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meta_is_read_from_any_event_and_absence_is_no_panic() {
        let id = Uuid::from_u128(7);
        let meta = Value::Record(vec![
            ("event_id".into(), Value::Uuid(id)),
            ("aggregate_id".into(), Value::String(id.to_string())),
            ("aggregate_version".into(), Value::Long(3)),
            ("cause".into(), Value::Union(1, Box::new(Value::Uuid(id)))),
        ]);
        let event = Value::Record(vec![("meta".into(), meta)]);
        let all = Meta { event_id: Some(id), aggregate_id: Some(id), aggregate_version: Some(3), cause: Some(id) };
        assert_eq!(Meta::read(&event), all);
        let none = Meta { event_id: None, aggregate_id: None, aggregate_version: None, cause: None };
        assert_eq!(Meta::read(&Value::Null), none);
    }
}
