//! `docfleet parked`: keys of ordered consumers that wait for their first message, which failed. [`list`], [`show`] (look),
//! [`resume`] (try now), [`discard`] (never more).

mod discard;
mod list;
mod resume;
mod show;

use clap::{Args, Subcommand};

use crate::{
    Config, Error,
    dlq::{
        Decision,
        filter::{Key, parse_key, readable},
    },
    output::{self, Exit, counted},
    servers,
};

const LIST_EXAMPLES: &str = "\
Examples:
  docfleet parked list
  docfleet parked list --consumer indexer --reason engine-crashed
  docfleet parked list --json --limit 1000 | jq -r '.keys[].key'";

const SHOW_EXAMPLES: &str = "\
Example:
  docfleet parked show indexer 01997c1e-5a53-7c43-a2d8-0a4b4a6b1c2d";

const RESUME_EXAMPLES: &str = "\
Examples:
  docfleet parked resume indexer 01997c1e-5a53-7c43-a2d8-0a4b4a6b1c2d --why 'fixed in 1.4.2'
  docfleet parked resume indexer --reason engine-crashed --why 'engine is back'

The drainer tries the key again at once, from the front. A held key goes on without its dead head; to take that along,
replay it: `docfleet dlq replay --event-id HEAD`.";

const DISCARD_EXAMPLES: &str = "\
Examples:
  docfleet parked discard indexer 01997c1e-5a53-7c43-a2d8-0a4b4a6b1c2d --why 'test traffic' --dry-run
  docfleet parked discard indexer 01997c1e-5a53-7c43-a2d8-0a4b4a6b1c2d --whole-key --why 'test traffic' --yes

The head is given up and the key goes on with what follows it; with --whole-key all of it is given up. Rows and bytes
stay in the archive as dead letters that were purged: `docfleet dlq restore` takes them back.";

const BURY_EXAMPLES: &str = "\
Example:
  docfleet parked bury indexer 01997c1e-5a53-7c43-a2d8-0a4b4a6b1c2d --why 'other documents first'

The drainer turns all that waits under the key into dead letters of one group, soon. `docfleet dlq replay` brings them back in order.";

#[derive(Args)]
pub struct ParkedArgs {
    #[command(subcommand)]
    command: ParkedCommand,
}

#[derive(Subcommand)]
enum ParkedCommand {
    /// List the parked keys: since when, why, what waits behind, when they are tried next
    #[command(after_help = LIST_EXAMPLES)]
    List {
        #[command(flatten)]
        filter: list::KeyFilter,
        /// How many to list; the count is always of all
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(i64).range(0..=100_000))]
        limit: i64,
        /// Go on after this key: `next` of the page before
        #[arg(long, value_name = "CONSUMER:KEY", value_parser = list::parse_after)]
        after: Option<(String, Key)>,
    },
    /// Show one key and the messages that wait under it, in their order
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        #[command(flatten)]
        key: OneKey,
        /// How many messages to show
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(i64).range(0..=100_000))]
        limit: i64,
    },
    /// Try keys now
    #[command(after_help = RESUME_EXAMPLES)]
    Resume {
        consumer: String,
        /// Without one: all of the consumer
        #[arg(value_parser = parse_key)]
        key: Option<Key>,
        /// Only those that wait because of this
        #[arg(long, value_name = "REASON", conflicts_with = "key")]
        reason: Option<String>,
        #[command(flatten)]
        decision: Decision,
    },
    /// Give the head of a key up, or all of it
    #[command(after_help = DISCARD_EXAMPLES)]
    Discard {
        #[command(flatten)]
        key: OneKey,
        /// All that waits under the key
        #[arg(long)]
        whole_key: bool,
        #[command(flatten)]
        decision: Decision,
        /// Show what would be done, and do nothing
        #[arg(long)]
        dry_run: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Turn all that waits under a key into dead letters
    #[command(after_help = BURY_EXAMPLES)]
    Bury {
        #[command(flatten)]
        key: OneKey,
        #[command(flatten)]
        decision: Decision,
    },
}

#[derive(Args)]
pub struct OneKey {
    pub consumer: String,
    /// A record's key, such as a document's id; bytes as 0x…
    #[arg(value_parser = parse_key)]
    pub key: Key,
}

pub async fn run(config: &Config, args: &ParkedArgs, json: bool) -> Result<Exit, Error> {
    let mut connection = servers::postgres(config).await?;
    let connection = &mut connection;
    match &args.command {
        ParkedCommand::List { filter, limit, after } => {
            output::show(&list::list(connection, filter, after.as_ref(), *limit).await?, json)
        }
        ParkedCommand::Show { key, limit } => output::show(&show::show(connection, key, *limit).await?, json),
        ParkedCommand::Resume { consumer, key, reason, decision } => {
            decision.check()?;
            let filter = list::KeyFilter { consumer: Some(consumer.clone()), reason: reason.clone(), key: key.clone() };
            output::show(&resume::resume(connection, &filter, decision).await?, json)
        }
        ParkedCommand::Discard { key, whole_key, decision, dry_run, yes } => {
            let found = discard::find(connection, key, *whole_key).await?;
            if *dry_run {
                return output::show(&found, json);
            }
            decision.check()?;
            if found.messages > 0 {
                let what = counted(found.messages, "message");
                output::confirm(&format!("Give up {what} of {} at {}?", readable(&key.key.0), key.consumer), *yes)?;
            }
            output::show(&discard::discard(connection, &config.topic_prefix, key, &found, decision).await?, json)
        }
        ParkedCommand::Bury { key, decision } => {
            decision.check()?;
            output::show(&resume::bury(connection, key, decision).await?, json)
        }
    }
}
