use sqlx::{Connection, PgConnection};

use super::{
    action::{ActionArgs, BATCH, Plan},
    filter::from_dead_letters,
};
use crate::Error;

/// Marks the plan's letters as discarded: a last word, on record with who said it and why. No row is deleted.
pub async fn purge(connection: &mut PgConnection, args: &ActionArgs, plan: &Plan) -> Result<i64, Error> {
    let mut purged = 0;
    loop {
        let mut transaction = connection.begin().await?;
        let query = sqlx::query_as(concat!(
            "WITH chosen AS (SELECT i.consumer, i.event_id, i.event_day",
            from_dead_letters!(),
            r"AND o.id <= $5 ORDER BY i.event_id, i.consumer LIMIT $6 FOR UPDATE OF i),
              discarded AS (
                  UPDATE pipeline.inbox i SET outcome = 'discarded', settled_at = clock_timestamp()
                    FROM chosen c
                   WHERE i.consumer = c.consumer AND i.event_id = c.event_id AND i.event_day = c.event_day
               RETURNING i.consumer, i.event_id),
              recorded AS (
                  INSERT INTO pipeline.operator_actions (who, action, consumer, event_id, why)
                  SELECT $7, 'purge', consumer, event_id, $8 FROM discarded ORDER BY event_id, consumer
               RETURNING 1)
              SELECT count(*) FROM recorded"
        ));
        let bound =
            args.filter.bind(query).bind(plan.last_row).bind(BATCH).bind(args.who.clone()).bind(args.why().to_owned());
        let (count,): (i64,) = bound.fetch_one(&mut *transaction).await?;
        transaction.commit().await?;
        if count == 0 {
            return Ok(purged);
        }
        purged += count;
    }
}
