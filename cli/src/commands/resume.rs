use clap::Args;
use serde::Serialize;
use sqlx::PgConnection;

use super::{
    list::{CommandLine, command_columns, table},
    target::{Inside, Place, Selection, Whom},
};
use crate::{
    Config, Error,
    output::{Exit, Report, counted},
};

#[derive(Args)]
pub struct Resume {
    /// This command, as `docfleet commands list` shows it; repeatable
    #[arg(long = "id", value_name = "ID", conflicts_with_all = ["consumers", "all_consumers", "topic", "tenant", "key", "key_hex", "header", "field", "everything"])]
    ids: Vec<i64>,
    #[command(flatten)]
    whom: Whom,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    inside: Inside,
    /// Every command of the consumer, whatever it selects
    #[arg(long, conflicts_with_all = ["topic", "tenant", "key", "key_hex", "header", "field"])]
    everything: bool,
    /// Show what would be ended, and end nothing
    #[arg(long)]
    dry_run: bool,
    /// Goes on record with your name
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    why: Option<String>,
    /// Your name, for the record
    #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true, default_value = "unknown")]
    who: String,
}

/// `$1` to `$4`: ids, consumers, scope, selector.
macro_rules! chosen {
    () => {
        r" ended_at IS NULL AND expires_at > clock_timestamp()
             AND ($1::bigint[] IS NULL OR id = ANY ($1)) AND ($2::text[] IS NULL OR consumer = ANY ($2))
             AND ($3::text IS NULL OR (scope = $3 AND selector = $4))"
    };
}

pub async fn resume(config: &Config, connection: &mut PgConnection, args: &Resume) -> Result<ResumeReport, Error> {
    let why = args.why.as_deref().unwrap_or_default();
    if !args.dry_run && why.trim().is_empty() {
        return Err(Error::Usage("--why is empty: the next operator needs a reason".to_owned()));
    }
    if args.ids.is_empty() && args.whom.is_empty() {
        return Err(Error::Usage("choose by --id, or by --consumer and what the command selected".to_owned()));
    }
    let by_id = (!args.ids.is_empty()).then(|| args.ids.clone());
    let consumers = if by_id.is_some() { None } else { Some(args.whom.consumers(connection).await?) };
    let selection = Selection { whom: &args.whom, place: Some(&args.place), inside: Some(&args.inside) };
    let scope = (by_id.is_none() && !args.everything).then(|| selection.scope(&config.topic_prefix));
    let statement = if args.dry_run {
        concat!(
            "SELECT",
            command_columns!(),
            "FROM pipeline.commands c WHERE",
            chosen!(),
            " AND $5::text IS NOT NULL AND $6::text IS NOT NULL ORDER BY id"
        )
    } else {
        concat!(
            "WITH c AS (UPDATE pipeline.commands SET ended_at = clock_timestamp(), ended_by = $5 WHERE",
            chosen!(),
            r" RETURNING *),
               recorded AS (INSERT INTO pipeline.operator_actions (who, action, consumer, why)
                            SELECT $5, 'resume', consumer, format('command %s, a %s, ended: %s', id, action, $6) FROM c)
               SELECT",
            command_columns!(),
            "FROM c ORDER BY id"
        )
    };
    let commands: Vec<CommandLine> = sqlx::query_as(statement)
        .bind(&by_id)
        .bind(consumers)
        .bind(scope.as_ref().map(|scope| scope.name()))
        .bind(scope.as_ref().map(|scope| scope.selector()))
        .bind(&args.who)
        .bind(why)
        .fetch_all(connection)
        .await?;
    let found: Vec<i64> = commands.iter().map(|command| command.id).collect();
    let not_in_force = args.ids.iter().copied().filter(|id| !found.contains(id)).collect();
    Ok(ResumeReport { dry_run: args.dry_run, commands, not_in_force })
}

#[derive(Serialize)]
pub struct ResumeReport {
    dry_run: bool,
    commands: Vec<CommandLine>,
    /// Named, but ended before, or never given.
    not_in_force: Vec<i64>,
}

impl Report for ResumeReport {
    fn text(&self) -> String {
        let mut lines = Vec::new();
        if self.commands.is_empty() {
            lines.push("No command in force matches; `docfleet commands list` shows them.".to_owned());
        } else {
            lines.push(table(&self.commands));
            let count = i64::try_from(self.commands.len()).unwrap_or(i64::MAX);
            let verb = if self.dry_run { "would be ended" } else { "ended. Replicas obey within 5 s" };
            lines.push(format!("{} {verb}.", counted(count, "command")));
        }
        lines.extend(self.not_in_force.iter().map(|id| format!("Command {id} is not in force.")));
        lines.join("\n")
    }

    fn exit(&self) -> Exit {
        if self.commands.is_empty() || !self.not_in_force.is_empty() { Exit::Problem } else { Exit::Ok }
    }
}
