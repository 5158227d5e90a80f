//! Which letters, and in what order.

use sqlx::{PgConnection, types::Json};

use crate::{
    Error,
    dlq::{
        action::{Choice, Decision},
        filter::from_letters,
    },
};

/// Writes a plan: the letters in the order in which their events were written, so that of each key the older goes first.
/// Letters that were sent `replays_max` times before are left out: what dies again and again is not helped by sending it.
pub async fn write(
    connection: &mut PgConnection,
    choice: &Choice,
    decision: &Decision,
    replays_max: Option<i64>,
) -> Result<i64, Error> {
    let redrive: i64 =
        sqlx::query_scalar("INSERT INTO pipeline.redrives (who, why, chosen_by) VALUES ($1, $2, $3) RETURNING id")
            .bind(&decision.who)
            .bind(&decision.why)
            .bind(Json(&choice.filter))
            .fetch_one(&mut *connection)
            .await?;
    // The identity of an event's own row is older than that of its letter, and both are of one sequence.
    let query = sqlx::query_as(concat!(
        r#"WITH letters AS (
              SELECT i.consumer, i.event_id, i.event_day, coalesce(i.reason, 'unknown') AS reason, i.attempt,
                     o.id AS letter, o.created_at AS letter_at,
                     CASE WHEN jsonb_path_exists(o.headers, 'strict $[*] ? (@[0] == "docfleet_group")', '{}', true)
                            OR EXISTS (SELECT FROM pipeline.parked_keys k
                                        WHERE k.consumer = i.consumer AND k.key = pipeline.parked_key(o.key, o.headers))
                          THEN pipeline.parked_key(o.key, o.headers) END AS park_key,
                     coalesce((SELECT e.id FROM pipeline.outbox_events e
                                WHERE e.kind = 'event' AND e.event_id = i.event_id LIMIT 1), o.id) AS written"#,
        from_letters!("dead"),
        r"), inserted AS (
              INSERT INTO pipeline.redrive_items
                     (redrive_id, position, consumer, event_id, event_day, reason, attempt, letter, letter_at, park_key, state)
              SELECT $9, row_number() OVER (ORDER BY written, letter), consumer, event_id, event_day, reason, attempt, letter, letter_at, park_key,
                     CASE WHEN $10::bigint <= (SELECT count(*) FROM pipeline.redrive_items p
                                                WHERE p.consumer = l.consumer AND p.event_id = l.event_id
                                                  AND p.state IN ('sent', 'worked', 'died'))
                          THEN 'left_out' ELSE 'planned' END
                FROM letters l
           RETURNING 1)
          SELECT count(*) FROM inserted"
    ));
    let _: (i64,) = choice.filter.bind(query).bind(redrive).bind(replays_max).fetch_one(&mut *connection).await?;
    take_groups_along(connection, redrive).await?;
    Ok(redrive)
}

/// Letters that died as one ordered group go back as one: a part of it that came later would go before what came first.
async fn take_groups_along(connection: &mut PgConnection, redrive: i64) -> Result<(), Error> {
    sqlx::query(
        r#"WITH members AS (
               SELECT DISTINCT t.consumer, t.park_key, o.key,
                      jsonb_path_query_first(o.headers, 'strict $[*] ? (@[0] == "docfleet_group")[1]', '{}', true) AS group_id
                 FROM pipeline.redrive_items t
                 JOIN pipeline.outbox_events o ON o.id = t.letter AND o.created_at = t.letter_at
                WHERE t.redrive_id = $1 AND t.park_key IS NOT NULL AND t.state = 'planned')
           INSERT INTO pipeline.redrive_items
                  (redrive_id, position, consumer, event_id, event_day, reason, attempt, letter, letter_at, park_key)
           SELECT $1, (SELECT max(position) FROM pipeline.redrive_items WHERE redrive_id = $1) + row_number() OVER (ORDER BY o.id),
                  i.consumer, i.event_id, i.event_day, coalesce(i.reason, 'unknown'), i.attempt, o.id, o.created_at, m.park_key
             FROM members m
             JOIN pipeline.outbox_events o
               ON o.kind = 'dead_letter' AND o.consumer = m.consumer AND md5(o.key) = md5(m.key) AND o.key = m.key
              AND jsonb_path_query_first(o.headers, 'strict $[*] ? (@[0] == "docfleet_group")[1]', '{}', true) = m.group_id
             JOIN pipeline.inbox i ON i.consumer = o.consumer AND i.event_id = o.event_id AND i.attempt = o.attempt
            WHERE i.outcome = 'dead'
              AND NOT EXISTS (SELECT FROM pipeline.redrive_items t
                               WHERE t.redrive_id = $1 AND t.consumer = i.consumer AND t.event_id = i.event_id)"#,
    )
    .bind(redrive)
    .execute(connection)
    .await?;
    Ok(())
}
