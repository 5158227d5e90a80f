use sqlx::PgConnection;
use uuid::Uuid;

use super::CommandId;

/// The inbox's reason and the metric's label of a message that a command discarded.
pub const DROPPED: &str = "dropped-by-command";

/// Puts each drop on record, with the command, who gave it and why. In the settlement that writes the `discarded` outcome:
/// no message goes without either.
///
/// # Errors
/// As the statement; the settlement is to be repeated.
pub async fn record_drops(
    connection: &mut PgConnection,
    consumer: &str,
    drops: &[(Uuid, CommandId)],
) -> Result<(), sqlx::Error> {
    if drops.is_empty() {
        return Ok(());
    }
    let (events, commands): (Vec<Uuid>, Vec<CommandId>) = drops.iter().copied().unzip();
    // A command's row is never deleted; should it be, the drop is on record all the same.
    sqlx::query(
        r"INSERT INTO pipeline.operator_actions (who, action, consumer, event_id, why)
          SELECT coalesce(c.issued_by, 'unknown'), 'drop', $1, u.event_id, format('command %s: %s', u.command, c.why)
            FROM UNNEST($2::uuid[], $3::bigint[]) AS u (event_id, command)
            LEFT JOIN pipeline.commands c ON c.id = u.command
           ORDER BY u.event_id",
    )
    .bind(consumer)
    .bind(events)
    .bind(commands)
    .execute(connection)
    .await?;
    Ok(())
}
