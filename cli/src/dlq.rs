//! `docfleet dlq`: the rows in PostgreSQL are the dead letters, the topic holds a copy. [`filter`] (which) →
//! [`letter`] (what they are) → [`list`], [`show`], [`replay`], [`purge`].

mod action;
mod filter;
mod letter;
mod list;
mod payload;
mod purge;
mod replay;
mod show;

use clap::{Args, Subcommand};
use uuid::Uuid;

use crate::{
    Config, Error,
    output::{self, Exit},
    servers,
};
use action::ActionArgs;
use filter::Filter;

const LIST_EXAMPLES: &str = "\
Examples:
  docfleet dlq list
  docfleet dlq list --consumer ocr --since 1h
  docfleet dlq list --json | jq '.groups'";

const SHOW_EXAMPLES: &str = "\
Example:
  docfleet dlq show 01997c1e-5a53-7c43-a2d8-0a4b4a6b1c2d

A payload holds personal data, such as file names: do not paste it into a ticket.";

const REPLAY_EXAMPLES: &str = "\
Examples:
  docfleet dlq replay --consumer ocr --reason blob-gone --dry-run
  docfleet dlq replay --consumer ocr --reason blob-gone --why 'blob store restored, INC-42'
  docfleet dlq replay --event-id 01997c1e-5a53-7c43-a2d8-0a4b4a6b1c2d --why 'fixed in 1.4.2'

A replay goes to the consumer that failed and to no other, under the event's own id. Repeating it is harmless: only a
message that is still dead is sent. Exit code 1 when an event that was named is not dead.";

const PURGE_EXAMPLES: &str = "\
Examples:
  docfleet dlq purge --consumer dedup --reason undecodable --dry-run
  docfleet dlq purge --consumer dedup --reason undecodable --why 'test traffic of 12 May'

A purged message is never worked on. Its row and its bytes stay in the archive, and the decision on record.";

#[derive(Args)]
pub struct DlqArgs {
    #[command(subcommand)]
    pub command: DlqCommand,
}

#[derive(Subcommand)]
pub enum DlqCommand {
    /// Count dead letters by consumer and reason, and list the newest
    #[command(after_help = LIST_EXAMPLES)]
    List {
        #[command(flatten)]
        filter: Filter,
        /// How many to list; the counts are always of all
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(i64).range(0..=100_000))]
        limit: i64,
    },
    /// Show one dead letter: why it died, its headers, its payload decoded and as bytes
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        event_id: Uuid,
        /// When it died at several
        #[arg(long)]
        consumer: Option<String>,
    },
    /// Send dead letters to their consumers once more
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay {
        #[command(flatten)]
        action: ActionArgs,
    },
    /// Give dead letters up for good
    #[command(after_help = PURGE_EXAMPLES)]
    Purge {
        #[command(flatten)]
        action: ActionArgs,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

pub async fn run(config: &Config, command: &DlqCommand, json: bool) -> Result<Exit, Error> {
    let mut connection = servers::postgres(config).await?;
    match command {
        DlqCommand::List { filter, limit } => output::show(&list::list(&mut connection, filter, *limit).await?, json),
        DlqCommand::Show { event_id, consumer } => {
            output::show(&show::show(config, &mut connection, *event_id, consumer.clone()).await?, json)
        }
        DlqCommand::Replay { action } => {
            let plan = action.plan(&mut connection).await?;
            if action.dry_run {
                return output::show(&plan.into_report("would be replayed", None), json);
            }
            let replayed = replay::replay(&mut connection, &config.topic_prefix, action, &plan).await?;
            output::show(&plan.into_report("replayed", Some(replayed)), json)
        }
        DlqCommand::Purge { action, yes } => {
            let plan = action.plan(&mut connection).await?;
            if action.dry_run {
                return output::show(&plan.into_report("would be purged", None), json);
            }
            if plan.total > 0 {
                output::confirm(&format!("Give up {} dead letters for good?", output::grouped(plan.total)), *yes)?;
            }
            let purged = purge::purge(&mut connection, action, &plan).await?;
            output::show(&plan.into_report("purged", Some(purged)), json)
        }
    }
}
