use std::time::Duration;

use clap::Args;
use humantime_serde::re::humantime::parse_duration;
use serde::Serialize;
use serde_json::Value;
use sqlx::{Connection, PgConnection};
use time::OffsetDateTime;

use super::{
    backlog,
    target::{Place, Scope, Selection, Whom, told},
    wait::{self, Drained},
};
use crate::{
    Config, Error,
    output::{Exit, Report, age, counted, instant},
};

/// So that none is forgotten.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);

#[derive(Args)]
pub struct IssueArgs {
    #[command(flatten)]
    pub whom: Whom,
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub order: Order,
}

/// For what can only be said of a whole consumer.
#[derive(Args)]
pub struct Whole {
    #[command(flatten)]
    pub whom: Whom,
    #[command(flatten)]
    pub order: Order,
}

impl Whole {
    pub fn selection(&self) -> Selection<'_> {
        Selection { whom: &self.whom, place: None, inside: None }
    }
}

/// For how long, who, why.
#[derive(Args)]
pub struct Order {
    /// It ends by itself after this time; at most 7 days
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = lifetime)]
    lasts: Duration,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Goes on record with your name
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    why: Option<String>,
    /// Your name, for the record
    #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true, default_value = "unknown")]
    who: String,
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let lasts = parse_duration(text).map_err(|e| e.to_string())?;
    if lasts < Duration::from_secs(1) || lasts > LONGEST {
        return Err("from 1s to 7days: what should last longer is a change of the deployment".to_owned());
    }
    Ok(lasts)
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Action {
    Pause,
    Drain,
    Throttle(f64),
    Drop,
    LetFail,
}

impl Action {
    fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Drain => "drain",
            Self::Throttle(_) => "throttle",
            Self::Drop => "drop",
            Self::LetFail => "let-fail",
        }
    }

    fn per_second(self) -> Option<f64> {
        match self {
            Self::Throttle(rate) => Some(rate),
            _ => None,
        }
    }
}

/// What would be issued.
pub struct Plan {
    scope: Scope,
    commands: Vec<Planned>,
}

#[derive(Serialize)]
struct Planned {
    /// Absent in a dry run.
    id: Option<i64>,
    action: &'static str,
    consumer: String,
    scope: &'static str,
    selector: Value,
    per_second: Option<f64>,
    lasts_seconds: u64,
    #[serde(with = "time::serde::rfc3339::option")]
    expires_at: Option<OffsetDateTime>,
    /// Of what waits in the outbox's topics for this consumer; absent when it can not be told.
    backlog_messages: Option<i64>,
    /// Replicas that live.
    members: i64,
}

/// # Errors
/// For a selection that names nobody, or everything where that is not meant to be.
pub async fn plan(
    config: &Config,
    connection: &mut PgConnection,
    selection: &Selection<'_>,
    order: &Order,
    action: Action,
) -> Result<Plan, Error> {
    if !order.dry_run && order.why().trim().is_empty() {
        return Err(Error::Usage("--why is empty: the next operator needs a reason".to_owned()));
    }
    let scope = selection.scope(&config.topic_prefix);
    if action == Action::Drop && scope == Scope::All {
        let usage = "choose what to drop: --header, --field, --tenant, --key or --topic; for everything, pause";
        return Err(Error::Usage(usage.to_owned()));
    }
    let mut commands = Vec::new();
    for consumer in selection.whom.consumers(connection).await? {
        scope.check(config, connection, &consumer).await?;
        commands.push(Planned {
            id: None,
            action: action.as_str(),
            scope: scope.name(),
            selector: scope.selector(),
            per_second: action.per_second(),
            lasts_seconds: order.lasts.as_secs(),
            expires_at: None,
            backlog_messages: backlog::matching(connection, &consumer, &scope).await?,
            members: wait::members(connection, &consumer).await?,
            consumer,
        });
    }
    Ok(Plan { scope, commands })
}

impl Order {
    pub fn why(&self) -> &str {
        self.why.as_deref().unwrap_or_default()
    }
}

impl Plan {
    pub fn question(&self) -> String {
        let of: Vec<&str> = self.commands.iter().map(|planned| planned.consumer.as_str()).collect();
        let what = told(self.scope.name(), &self.scope.selector());
        format!("Let {} discard messages for good: {what}?", of.join(", "))
    }

    /// Issues the commands, all or none, each on record; in a dry run, none.
    pub async fn carry_out(mut self, connection: &mut PgConnection, order: &Order) -> Result<IssueReport, Error> {
        if !order.dry_run {
            let mut transaction = connection.begin().await?;
            for planned in &mut self.commands {
                let (id, expires_at) = issue(&mut transaction, planned, order).await?;
                (planned.id, planned.expires_at) = (Some(id), Some(expires_at));
            }
            transaction.commit().await?;
        }
        let dry_run = order.dry_run;
        Ok(IssueReport { dry_run, why: order.why().to_owned(), commands: self.commands, drained: None })
    }
}

async fn issue(
    connection: &mut PgConnection,
    planned: &Planned,
    order: &Order,
) -> Result<(i64, OffsetDateTime), Error> {
    let issued: (i64, OffsetDateTime) = sqlx::query_as(
        r"WITH issued AS (
              INSERT INTO pipeline.commands (action, consumer, scope, selector, per_second, issued_by, why, expires_at)
              VALUES ($1, $2, $3, $4, $5, $6, $7, clock_timestamp() + make_interval(secs => $8))
              RETURNING id, expires_at),
          recorded AS (
              INSERT INTO pipeline.operator_actions (who, action, consumer, why)
              SELECT $6, $1, $2, format('command %s, %s: %s', id, $9, $7) FROM issued)
          SELECT id, expires_at FROM issued",
    )
    .bind(planned.action)
    .bind(&planned.consumer)
    .bind(planned.scope)
    .bind(&planned.selector)
    .bind(planned.per_second)
    .bind(&order.who)
    .bind(order.why())
    .bind(order.lasts.as_secs_f64())
    .bind(told(planned.scope, &planned.selector))
    .fetch_one(connection)
    .await?;
    Ok(issued)
}

#[derive(Serialize)]
pub struct IssueReport {
    dry_run: bool,
    why: String,
    commands: Vec<Planned>,
    /// Only of a drain that was waited for.
    pub drained: Option<Drained>,
}

impl IssueReport {
    pub fn ids(&self) -> Vec<i64> {
        self.commands.iter().filter_map(|planned| planned.id).collect()
    }
}

impl Report for IssueReport {
    fn text(&self) -> String {
        let mut lines = Vec::new();
        for planned in &self.commands {
            let what = told(planned.scope, &planned.selector);
            let rate = planned.per_second.map(|rate| format!(" to {rate} messages/s")).unwrap_or_default();
            let verb = format!("{} {}{rate}: {what}", planned.action, planned.consumer);
            #[allow(clippy::cast_precision_loss)]
            let lasts = age(planned.lasts_seconds as f64);
            lines.push(match (planned.id, planned.expires_at) {
                (Some(id), Some(at)) => format!("Command {id}: {verb}, for {lasts}, until {}.", instant(at)),
                _ => format!("Would {verb}, for {lasts}."),
            });
            lines.push(match planned.backlog_messages {
                Some(messages) => format!("  {} of the backlog match.", counted(messages, "message")),
                None => "  How many of the backlog match can not be told.".to_owned(),
            });
            if planned.members == 0 {
                lines.push(format!("  No replica of {} is running: it waits for one.", planned.consumer));
            }
        }
        match (&self.drained, self.ids().as_slice()) {
            (Some(drained), _) => lines.push(drained.text()),
            (None, []) => {}
            (None, ids) => {
                let ids: Vec<String> = ids.iter().map(|id| format!("--id {id}")).collect();
                lines.push(format!("End it by `docfleet resume {} --why …`.", ids.join(" ")));
            }
        }
        lines.join("\n")
    }

    fn exit(&self) -> Exit {
        match &self.drained {
            Some(drained) if !drained.drained => Exit::Problem,
            _ => Exit::Ok,
        }
    }
}
