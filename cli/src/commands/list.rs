use comfy_table::Cell;
use serde::Serialize;
use serde_json::Value;
use sqlx::{FromRow, PgConnection};
use time::OffsetDateTime;

use super::target::told;
use crate::{
    Error,
    output::{self, Report, age, instant, plain},
};

/// Columns of a [`CommandLine`], of a table `c`.
macro_rules! command_columns {
    () => {
        concat!(
            r" c.id, c.action, c.consumer, c.scope, c.selector, c.per_second, c.issued_by, c.why, c.issued_at, c.expires_at,
               c.ended_at, c.ended_by,
               CASE WHEN c.ended_at IS NOT NULL THEN 'ended' WHEN c.expires_at <= clock_timestamp() THEN 'expired'
                    ELSE 'in force' END AS state,
               greatest(extract(epoch FROM c.expires_at - clock_timestamp()), 0)::float8 AS remaining_seconds,
               (SELECT count(*) FROM pipeline.consumer_members m WHERE m.consumer = c.consumer AND m.",
            crate::commands::wait::live!(),
            r") AS members,
               (SELECT count(m.gate #>> ARRAY['commands', c.id::text]) FROM pipeline.consumer_members m
                 WHERE m.consumer = c.consumer AND m.",
            crate::commands::wait::live!(),
            ") AS obeyed_by "
        )
    };
}
pub(super) use command_columns;

const LISTED_MAX: i64 = 200;

#[derive(Debug, Serialize, FromRow)]
pub struct CommandLine {
    pub id: i64,
    action: String,
    consumer: String,
    scope: String,
    selector: Value,
    per_second: Option<f64>,
    issued_by: String,
    why: String,
    #[serde(with = "time::serde::rfc3339")]
    issued_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    expires_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    ended_at: Option<OffsetDateTime>,
    ended_by: Option<String>,
    /// `in force`, `expired` or `ended`, by the database's clock.
    state: String,
    remaining_seconds: f64,
    /// Replicas of the consumer that live, and how many of them have said that they obey.
    members: i64,
    obeyed_by: i64,
}

#[derive(Serialize)]
pub struct Commands {
    commands: Vec<CommandLine>,
    /// With those that are over.
    all: bool,
}

pub async fn list(connection: &mut PgConnection, consumer: Option<&str>, all: bool) -> Result<Commands, Error> {
    let commands = sqlx::query_as(concat!(
        "SELECT",
        command_columns!(),
        r"FROM pipeline.commands c
         WHERE ($1::text IS NULL OR c.consumer = $1)
           AND ($2 OR (c.ended_at IS NULL AND c.expires_at > clock_timestamp()))
         ORDER BY c.ended_at IS NULL AND c.expires_at > clock_timestamp() DESC, c.id DESC LIMIT $3"
    ))
    .bind(consumer)
    .bind(all)
    .bind(LISTED_MAX)
    .fetch_all(connection)
    .await?;
    Ok(Commands { commands, all })
}

impl Report for Commands {
    fn text(&self) -> String {
        if self.commands.is_empty() {
            let hint = if self.all { "" } else { " Those that are over: --all." };
            return format!("No command is in force.{hint}");
        }
        table(&self.commands)
    }
}

pub fn table(commands: &[CommandLine]) -> String {
    let mut table = output::table(["id", "command", "of", "messages", "ends", "replicas", "by", "why"]);
    for command in commands {
        let rate = command.per_second.map(|rate| format!(" {rate}/s")).unwrap_or_default();
        let ends = match (command.state.as_str(), command.ended_at, &command.ended_by) {
            ("in force", ..) => format!("in {}", age(command.remaining_seconds)),
            (_, Some(at), Some(by)) => format!("ended {} by {}", instant(at), plain(by, 40)),
            _ => format!("expired {}", instant(command.expires_at)),
        };
        let obey = match command.state.as_str() {
            "in force" => format!("{} of {} obey", command.obeyed_by, command.members),
            _ => String::new(),
        };
        table.add_row([
            Cell::new(command.id),
            Cell::new(format!("{}{rate}", command.action)),
            Cell::new(&command.consumer),
            Cell::new(told(&command.scope, &command.selector)),
            Cell::new(ends),
            Cell::new(obey),
            Cell::new(plain(&command.issued_by, 40)),
            Cell::new(plain(&command.why, 120)),
        ]);
    }
    table.to_string()
}
