//! What the ledger holds, finding or not.

use serde::Serialize;
use sqlx::{FromRow, PgConnection};

use super::check::{Finding, Offender, Pass};
use crate::{Error, consumer::CONSUMERS};

#[derive(Serialize)]
pub struct Totals {
    /// Looked at now.
    pub events: i64,
    /// Proven by earlier audits and not looked at again.
    pub proven_before: i64,
    pub consumers: Vec<OfConsumer>,
    pub dead: Vec<DeadReason>,
    /// Messages that could not be decoded, by consumer: they have an outcome, but no event.
    pub undecodable: i64,
    /// Consumers of this version that never subscribed: what they owe can not be known.
    pub never_started: Vec<&'static str>,
}

#[derive(Serialize, FromRow)]
pub struct OfConsumer {
    pub consumer: String,
    pub owed: i64,
    pub done: i64,
    pub skipped: i64,
    pub dead: i64,
    pub discarded: i64,
    pub retrying: i64,
    pub parked: i64,
    pub missing: i64,
}

#[derive(Serialize, FromRow)]
pub struct DeadReason {
    pub consumer: String,
    pub reason: String,
    pub count: i64,
}

impl Totals {
    /// A consumer writes what it owes at its first start. Before that no check can miss its outcomes, so its absence
    /// is the finding; in a fleet without events nothing is owed yet.
    pub fn absent_consumers(&self) -> Option<Finding> {
        if self.events + self.proven_before == 0 || self.never_started.is_empty() {
            return None;
        }
        let offenders: Vec<Offender> = self
            .never_started
            .iter()
            .map(|name| Offender { consumer: Some((*name).to_owned()), id: None, detail: "no subscription".to_owned() })
            .collect();
        Some(Finding {
            check: "consumer-never-started",
            property: "L1",
            pass: Pass::Events,
            count: i64::try_from(offenders.len()).unwrap_or(i64::MAX),
            says: "consumers of the fleet that never subscribed, while there are events",
            what_to_do: "Start each: it subscribes at its first start and works on all events that its topics still hold.",
            offenders,
        })
    }
}

pub async fn read(connection: &mut PgConnection, proven_before: i64) -> Result<Totals, Error> {
    let events =
        sqlx::query_scalar("SELECT count(*) FROM audit_tail WHERE kind = 'event'").fetch_one(&mut *connection).await?;
    let consumers: Vec<OfConsumer> = sqlx::query_as(
        r"SELECT s.consumer, count(o.event_id) AS owed,
                 count(*) FILTER (WHERE i.outcome = 'done') AS done,
                 count(*) FILTER (WHERE i.outcome = 'skipped') AS skipped,
                 count(*) FILTER (WHERE i.outcome = 'dead') AS dead,
                 count(*) FILTER (WHERE i.outcome = 'discarded') AS discarded,
                 count(*) FILTER (WHERE i.outcome = 'retrying') AS retrying,
                 count(*) FILTER (WHERE i.outcome = 'parked') AS parked,
                 count(o.event_id) FILTER (WHERE i.event_id IS NULL) AS missing
            FROM pipeline.subscriptions s
            LEFT JOIN audit_tail o ON o.topic = s.topic AND o.kind = 'event'
            LEFT JOIN pipeline.inbox i ON i.consumer = s.consumer AND i.event_id = o.event_id
           GROUP BY s.consumer ORDER BY s.consumer",
    )
    .fetch_all(&mut *connection)
    .await?;
    let dead = sqlx::query_as(
        r"SELECT consumer, coalesce(reason, 'unknown') AS reason, count(*) AS count
            FROM pipeline.inbox WHERE outcome = 'dead' GROUP BY 1, 2 ORDER BY 1, 3 DESC, 2",
    )
    .fetch_all(&mut *connection)
    .await?;
    let undecodable = sqlx::query_scalar("SELECT count(*) FROM pipeline.inbox WHERE event_day = DATE '1970-01-01'")
        .fetch_one(connection)
        .await?;
    let started = |name: &str| consumers.iter().any(|of| of.consumer == name);
    let never_started = CONSUMERS.into_iter().filter(|name| !started(name)).collect();
    Ok(Totals { events, proven_before, consumers, dead, undecodable, never_started })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(events: i64, never_started: Vec<&'static str>) -> Totals {
        Totals { events, proven_before: 0, consumers: Vec::new(), dead: Vec::new(), undecodable: 0, never_started }
    }

    #[test]
    fn an_absent_consumer_is_a_finding_as_soon_as_there_are_events() {
        let finding = totals(1, vec!["ocr", "dedup"]).absent_consumers().map(|finding| {
            let names: Vec<Option<String>> = finding.offenders.into_iter().map(|offender| offender.consumer).collect();
            (finding.check, finding.count, names)
        });
        assert_eq!(finding, Some(("consumer-never-started", 2, vec![Some("ocr".into()), Some("dedup".into())])));
        assert!(totals(0, vec!["ocr"]).absent_consumers().is_none(), "nothing is owed yet");
        assert!(totals(1, Vec::new()).absent_consumers().is_none());
    }
}
