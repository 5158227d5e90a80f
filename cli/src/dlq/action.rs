//! What replay and purge have in common: what is chosen, who wants it, why; a plan first, then small transactions.

use clap::Args;
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    filter::{Filter, from_dead_letters},
    letter::{Group, Letter},
    list,
};
use crate::{
    Error,
    output::{Exit, Report, grouped},
};

/// Letters in one transaction: few enough that a worker never waits for long behind its locks.
pub const BATCH: i64 = 500;
/// Letters shown by a plan.
const SAMPLE: i64 = 20;

#[derive(Args)]
pub struct ActionArgs {
    #[command(flatten)]
    pub filter: Filter,
    /// All dead letters there are
    #[arg(long, conflicts_with_all = ["consumer", "reason", "event_ids", "since"])]
    all: bool,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Goes on record with your name
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    why: Option<String>,
    /// Your name, for the record
    #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true, default_value = "unknown")]
    pub who: String,
}

/// What an action found when it began.
pub struct Plan {
    pub total: i64,
    groups: Vec<Group>,
    sample: Vec<Letter>,
    not_dead: Vec<Uuid>,
    /// The newest dead letter of the plan. What dies while the action runs is not part of it: a message that dies
    /// again and again would be replayed for ever.
    pub last_row: i64,
}

impl ActionArgs {
    pub async fn plan(&self, connection: &mut PgConnection) -> Result<Plan, Error> {
        if self.filter.is_empty() && !self.all {
            let usage = "choose by --consumer, --reason, --event-id or --since, or take --all; --dry-run shows what would be done";
            return Err(Error::Usage(usage.to_owned()));
        }
        if !self.dry_run && self.why().trim().is_empty() {
            return Err(Error::Usage("--why is empty: the next operator needs a reason".to_owned()));
        }
        let query = sqlx::query_as(concat!("SELECT coalesce(max(o.id), 0)", from_dead_letters!()));
        let (last_row,): (i64,) = self.filter.bind(query).fetch_one(&mut *connection).await?;
        let groups = list::groups(&mut *connection, &self.filter).await?;
        let sample = list::letters(&mut *connection, &self.filter, SAMPLE).await?;
        let not_dead = self.not_dead(connection).await?;
        Ok(Plan { total: groups.iter().map(|group| group.count).sum(), groups, sample, not_dead, last_row })
    }

    pub fn why(&self) -> &str {
        self.why.as_deref().unwrap_or_default()
    }

    /// Events that were named and are dead nowhere, or not where they were said to be.
    async fn not_dead(&self, connection: &mut PgConnection) -> Result<Vec<Uuid>, Error> {
        let query = sqlx::query_as(concat!("SELECT DISTINCT i.event_id", from_dead_letters!()));
        let dead: Vec<(Uuid,)> = self.filter.bind(query).fetch_all(connection).await?;
        Ok(self.filter.event_ids.iter().copied().filter(|id| !dead.contains(&(*id,))).collect())
    }
}

impl Plan {
    /// `done`: what became of it; nothing for a plan alone.
    pub fn into_report(self, verb: &'static str, done: Option<i64>) -> ActionReport {
        ActionReport {
            action: verb,
            dry_run: done.is_none(),
            planned: self.total,
            done: done.unwrap_or(0),
            groups: self.groups,
            letters: self.sample,
            not_dead: self.not_dead,
        }
    }
}

#[derive(Serialize)]
pub struct ActionReport {
    action: &'static str,
    dry_run: bool,
    planned: i64,
    done: i64,
    groups: Vec<Group>,
    /// The newest of them.
    letters: Vec<Letter>,
    /// Named, but not dead: nothing is done about them.
    not_dead: Vec<Uuid>,
}

impl Report for ActionReport {
    fn text(&self) -> String {
        let mut lines = Vec::new();
        if self.planned == 0 {
            lines.push("No dead letter matches.".to_owned());
        } else {
            lines.push(list::groups_table(&self.groups));
            if self.dry_run {
                lines.push(list::letters_table(&self.letters));
            }
            let count = if self.dry_run { self.planned } else { self.done };
            lines.push(format!("{} {}.", grouped(count), self.action));
            if !self.dry_run && self.done < self.planned {
                lines.push(format!("{} had been taken by somebody else meanwhile.", grouped(self.planned - self.done)));
            }
        }
        lines.extend(self.not_dead.iter().map(|id| format!("{id} is not dead: nothing was done about it.")));
        lines.join("\n")
    }

    fn exit(&self) -> Exit {
        if self.not_dead.is_empty() { Exit::Ok } else { Exit::Problem }
    }
}
