//! One reading: rows, and what became of those versions before them that we do not know of.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
};

use sqlx::PgConnection;
use uuid::Uuid;

use crate::planted::{self, Planted};

use super::{
    gaps::Predecessor,
    line::Aggregate,
    published::Published,
    store::{self, Unpublished, Wanted},
};

/// A row, and what the database says of the version before, if it was asked.
pub(super) type Read = (Unpublished, Option<Predecessor>);

/// Of this process only: the hash differs in the next one.
pub(super) fn aggregate_of(kind: &str, id: Uuid) -> Aggregate {
    let mut hasher = DefaultHasher::new();
    kind.hash(&mut hasher);
    (hasher.finish(), id)
}

pub(super) async fn read(
    connection: &mut PgConnection,
    wanted: Wanted,
    fresh_above: i64,
    published: &Arc<Mutex<Published>>,
) -> Result<Vec<Read>, sqlx::Error> {
    let mut rows = store::unpublished(connection, wanted).await?;
    if planted::is(Planted::CursorRelay) {
        rows.retain(|row| row.id > fresh_above || fresh_above == i64::MAX);
    }
    let mut asked = unknown(&rows, fresh_above, &published.lock().unwrap_or_else(PoisonError::into_inner));
    let mut reading: Vec<Read> = rows.into_iter().map(|row| (row, None)).collect();
    if asked.is_empty() {
        return Ok(reading);
    }
    let questions: Vec<(String, Uuid, i64)> =
        asked.iter().filter_map(|index| reading.get(*index)?.0.aggregate.clone()).collect();
    let said = store::predecessors(connection, &questions).await?;
    for (index, said) in asked.drain(..).zip(said) {
        if let Some(read) = reading.get_mut(index) {
            read.1 = Some(said);
        }
    }
    Ok(reading)
}

/// Which rows have a predecessor that is neither in this reading nor known to be published.
///
/// What we remember counts for new rows only: of one that is published again, the predecessor may be about to be as well.
fn unknown(rows: &[Unpublished], fresh_above: i64, published: &Published) -> Vec<usize> {
    let versions =
        |row: &Unpublished| row.aggregate.as_ref().map(|(kind, id, version)| (aggregate_of(kind, *id), *version));
    if !rows.iter().filter_map(versions).any(|(_, version)| version > 1) {
        return Vec::new();
    }
    let here: HashSet<(Aggregate, i64)> = rows.iter().filter_map(versions).collect();
    let is_unknown = |row: &Unpublished| {
        versions(row).is_some_and(|(aggregate, version)| {
            let is_known = row.id > fresh_above && published.has(&aggregate, version - 1);
            version > 1 && !is_known && !here.contains(&(aggregate, version - 1))
        })
    };
    rows.iter().enumerate().filter(|(_, row)| is_unknown(row)).map(|(index, _)| index).collect()
}
