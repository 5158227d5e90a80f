//! Letters of a parked key, or of a group that died together, go back behind their key, all of one key at once: the
//! runtime's own function puts them in order before what waits there. No record is sent.

use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::send::Step;
use crate::Error;

/// `object_in_use`: the key is held by another letter, or being buried.
const IN_USE: &str = "55006";

pub async fn repark(connection: &mut PgConnection, redrive: i64, positions: &[i64]) -> Result<Step, Error> {
    let keys: Vec<(String, Vec<i64>, Vec<Uuid>)> = sqlx::query_as(
        r"SELECT consumer, array_agg(position ORDER BY position), array_agg(event_id ORDER BY position)
            FROM pipeline.redrive_items
           WHERE redrive_id = $1 AND position = ANY ($2) AND state = 'planned' AND park_key IS NOT NULL
           GROUP BY consumer, park_key ORDER BY consumer, park_key",
    )
    .bind(redrive)
    .bind(positions)
    .fetch_all(&mut *connection)
    .await?;
    let mut step = Step::default();
    for (consumer, positions, events) in keys {
        // A key that refuses must not take the others' step with it.
        let mut attempt = connection.begin().await?;
        let moved =
            sqlx::query("SELECT pipeline.repark($1, $2)").bind(consumer).bind(events).execute(&mut *attempt).await;
        match moved {
            Ok(_) => attempt.commit().await?,
            Err(error) if error.as_database_error().and_then(|e| e.code()).as_deref() == Some(IN_USE) => {
                attempt.rollback().await?;
                step.refused += refuse(connection, redrive, &positions).await?;
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        let (sent, gone) = mark(connection, redrive, &positions).await?;
        step.sent += sent;
        step.gone += gone;
    }
    Ok(step)
}

async fn refuse(connection: &mut PgConnection, redrive: i64, positions: &[i64]) -> Result<i64, Error> {
    let refused = sqlx::query(
        "UPDATE pipeline.redrive_items SET state = 'refused' WHERE redrive_id = $1 AND position = ANY ($2) AND state = 'planned'",
    );
    let refused = refused.bind(redrive).bind(positions).execute(connection).await?.rows_affected();
    Ok(i64::try_from(refused).unwrap_or(i64::MAX))
}

/// The inbox says which of them are parked now, under the attempt after the one that died.
async fn mark(connection: &mut PgConnection, redrive: i64, positions: &[i64]) -> Result<(i64, i64), Error> {
    let marked = sqlx::query_as(
        r"WITH marked AS (
              UPDATE pipeline.redrive_items t
                 SET state = CASE WHEN i.outcome = 'parked' AND i.attempt = t.attempt + 1 THEN 'sent' ELSE 'gone' END,
                     sent_attempt = t.attempt + 1, sent_at = clock_timestamp()
                FROM pipeline.inbox i
               WHERE t.redrive_id = $1 AND t.position = ANY ($2) AND t.state = 'planned'
                 AND i.consumer = t.consumer AND i.event_id = t.event_id AND i.event_day = t.event_day
           RETURNING t.state)
          SELECT count(*) FILTER (WHERE state = 'sent'), count(*) FILTER (WHERE state = 'gone') FROM marked",
    );
    Ok(marked.bind(redrive).bind(positions).fetch_one(connection).await?)
}
