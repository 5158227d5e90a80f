//! What may not be. Each check is one statement over the audit's scope that returns its offenders.

use serde::Serialize;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::Error;

/// Offenders named for each finding; their count is always whole.
pub const OFFENDERS_MAX: usize = 20;

/// Of docs/adr/0028.
pub const PROPERTIES: [&str; 9] = ["L1", "L2", "L3", "L4", "L5", "L6", "L7", "L8", "L9"];

/// Which walk over the ledger a check belongs to. A finding keeps the proof of its walk where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// Outbox rows by id.
    Events,
    /// Inbox rows by the time of their settlement.
    Settlements,
    /// Records of the event topics.
    Topics,
    /// All of it each time, by an index or from the list of unfinished rows: what offends today may be well tomorrow.
    Always,
}

pub struct Check {
    pub name: &'static str,
    /// Of docs/adr/0028: L1 to L9.
    pub property: &'static str,
    pub pass: Pass,
    /// Ends the sentence "so many …".
    pub says: &'static str,
    pub what_to_do: &'static str,
    /// `$1`: seconds; what is younger is left out. Returns `total, consumer, id, detail` of [`OFFENDERS_MAX`] at most.
    pub sql: &'static str,
}

#[derive(Debug, Serialize, FromRow, PartialEq, Eq)]
pub struct Offender {
    pub consumer: Option<String>,
    /// Of an event; where the detail says so, of an aggregate.
    pub id: Option<Uuid>,
    pub detail: String,
}

#[derive(Debug, Serialize)]
pub struct Finding {
    pub check: &'static str,
    pub property: &'static str,
    pub count: i64,
    pub says: &'static str,
    pub what_to_do: &'static str,
    /// The first ones.
    pub offenders: Vec<Offender>,
    #[serde(skip)]
    pub pass: Pass,
}

#[derive(FromRow)]
struct Row {
    total: i64,
    #[sqlx(flatten)]
    offender: Offender,
}

pub async fn run(connection: &mut PgConnection, checks: &[Check], young: f64) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    for check in checks {
        let rows: Vec<Row> = sqlx::query_as(check.sql).bind(young).fetch_all(&mut *connection).await?;
        let Some(count) = rows.first().map(|row| row.total) else { continue };
        findings.push(Finding {
            check: check.name,
            property: check.property,
            count,
            says: check.says,
            what_to_do: check.what_to_do,
            offenders: rows.into_iter().map(|row| row.offender).collect(),
            pass: check.pass,
        });
    }
    Ok(findings)
}
