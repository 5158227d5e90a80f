//! What the runtime's own functions do, said by an operator and on record.

use serde::Serialize;
use sqlx::{Connection, PgConnection};

use super::{
    OneKey,
    list::{KeyFilter, page},
};
use crate::{
    Error,
    dlq::{Decision, filter::readable},
    output::{Exit, Report, counted},
};

/// Keys that are read at once.
const PAGE: i64 = 500;

#[derive(Serialize)]
pub struct Told {
    action: &'static str,
    keys: i64,
    /// Being buried: the drainer is about to make dead letters of them.
    busy: Vec<String>,
    /// One was named, and it is not parked.
    missing: bool,
}

pub async fn resume(connection: &mut PgConnection, filter: &KeyFilter, decision: &Decision) -> Result<Told, Error> {
    let (mut keys, mut busy, mut after) = (0, Vec::new(), None);
    loop {
        let page = page(&mut *connection, filter, after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some((last.consumer.clone(), crate::dlq::filter::Key(last.bytes.clone())));
        for key in page {
            match tell(connection, "SELECT pipeline.resume_key($1, $2)", &key.consumer, &key.bytes, "resume", decision)
                .await?
            {
                Some(true) => keys += 1,
                Some(false) => {}
                None => busy.push(readable(&key.bytes)),
            }
        }
    }
    let missing = filter.key.is_some() && keys == 0 && busy.is_empty();
    Ok(Told { action: "to be tried now", keys, busy, missing })
}

pub async fn bury(connection: &mut PgConnection, one: &OneKey, decision: &Decision) -> Result<Told, Error> {
    let statement = "SELECT pipeline.bury_key($1, $2)";
    let told = tell(connection, statement, &one.consumer, &one.key.0, "bury", decision).await?;
    Ok(Told {
        action: "to become dead letters",
        keys: i64::from(told == Some(true)),
        busy: Vec::new(),
        missing: told == Some(false),
    })
}

/// Whether the key was there; nothing when it is in use.
async fn tell(
    connection: &mut PgConnection,
    statement: &'static str,
    consumer: &str,
    key: &[u8],
    action: &str,
    decision: &Decision,
) -> Result<Option<bool>, Error> {
    let mut transaction = connection.begin().await?;
    let told = sqlx::query_scalar(statement).bind(consumer).bind(key).fetch_one(&mut *transaction).await;
    match told {
        Ok(true) => {
            decision.record(&mut transaction, action, &format!("{consumer} {}", readable(key))).await?;
            transaction.commit().await?;
            Ok(Some(true))
        }
        Ok(false) => Ok(Some(false)),
        Err(error) if error.as_database_error().and_then(|e| e.code()).as_deref() == Some("55006") => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Report for Told {
    fn text(&self) -> String {
        if self.missing {
            return "This key is not parked; see `docfleet parked list`.".to_owned();
        }
        let mut lines = vec![format!("{} {}.", counted(self.keys, "key"), self.action)];
        lines.extend(self.busy.iter().map(|key| format!("{key} is being buried: nothing was done about it.")));
        lines.join("\n")
    }

    fn exit(&self) -> Exit {
        if self.missing || !self.busy.is_empty() { Exit::Problem } else { Exit::Ok }
    }
}
