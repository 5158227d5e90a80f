//! What can be typed after `docfleet dlq`.

use clap::{Args, Subcommand};
use uuid::Uuid;

use super::{
    action::{Choice, Decision},
    filter::Filter,
    redrive::pace::Pace,
};

const LIST_EXAMPLES: &str = "\
Examples:
  docfleet dlq list
  docfleet dlq list --consumer ocr --since 1h
  docfleet dlq list --tenant acme --since 2026-05-12T02:00:00Z --until 2026-05-12T03:30:00Z
  docfleet dlq list --json --limit 1000 --after 81234 | jq '.next'";

const GROUPS_EXAMPLES: &str = "\
Examples:
  docfleet dlq groups
  docfleet dlq groups --consumer ocr --since 1h
  docfleet dlq replay --fingerprint 5f1c0a9b33d2 --dry-run

A group is what died at one consumer, of one reason, with an error that says the same when ids, paths, quoted words and
numbers are left out. `held` counts messages parked behind the keys of a group.";

const SHOW_EXAMPLES: &str = "\
Example:
  docfleet dlq show 01997c1e-5a53-7c43-a2d8-0a4b4a6b1c2d

A payload holds personal data, such as file names: do not paste it into a ticket. Text shows the first bytes of it, --json all.";

const PLAN_EXAMPLES: &str = "\
Examples:
  docfleet dlq plan --consumer ocr --reason blob-gone --why 'blob store restored, INC-42'
  docfleet dlq replay --resume 7

A plan keeps what was chosen: what dies later is not part of it.";

const REPLAY_EXAMPLES: &str = "\
Examples:
  docfleet dlq replay --consumer ocr --reason blob-gone --dry-run
  docfleet dlq replay --consumer ocr --reason blob-gone --why 'blob store restored, INC-42'
  docfleet dlq replay --fingerprint 5f1c0a9b33d2 --rate 20/s --why 'fixed in 1.4.2'
  docfleet dlq replay --resume 7
  docfleet dlq replay --abort 7 --why 'wrong tenant'

A replay goes to the consumer that failed and to no other, under the event's own id. Repeating it is harmless: only a
message that is still dead is sent. One letter of each consumer goes first; the others follow when it was worked on.
Ctrl-C ends it between two steps, and --resume goes on. It stops by itself when letters die again.
Letters of a parked key go back behind it, in order; of a group that died together all, also when one was named.

Exit code 1 when it stopped before its end, or when an event that was named is not dead.";

const REDRIVES_EXAMPLES: &str = "\
Examples:
  docfleet dlq redrives
  docfleet dlq redrives 7 --json | jq '.redrives[0].died_again'";

const UNDO_EXAMPLES: &str = "\
Example:
  docfleet dlq undo 7 --why 'the fix is not deployed'

Ends the redrive, and makes dead again what its consumer has not worked on. What was not published is deleted; what is on
its way finds no attempt to settle and is dropped. What was worked on, or failed once more, stays as it is.";

const PURGE_EXAMPLES: &str = "\
Examples:
  docfleet dlq purge --consumer dedup --reason undecodable --dry-run
  docfleet dlq purge --consumer dedup --reason undecodable --why 'test traffic of 12 May'

A purged message is never worked on. Its row and its bytes stay in the archive as long as others, and the decision on
record; until then `docfleet dlq restore` takes it back.";

const RESTORE_EXAMPLES: &str = "\
Examples:
  docfleet dlq restore --event-id 01997c1e-5a53-7c43-a2d8-0a4b4a6b1c2d --why 'purged by mistake'
  docfleet dlq restore --consumer dedup --since 10m --why 'wrong reason' --dry-run

It is dead again, with its letter; --since and --until mean the time of the purge.";

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
        /// Go on after this letter: `next` of the page before
        #[arg(long, value_name = "ID")]
        after: Option<i64>,
    },
    /// Group dead letters by what they died of
    #[command(after_help = GROUPS_EXAMPLES)]
    Groups {
        #[command(flatten)]
        filter: Filter,
        /// How many groups to show
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
    },
    /// Show one dead letter: why it died, each attempt, its headers, its payload decoded and as bytes
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        event_id: Uuid,
        /// When it died at several
        #[arg(long)]
        consumer: Option<String>,
    },
    /// Write a plan to send dead letters once more, and do nothing yet
    #[command(after_help = PLAN_EXAMPLES)]
    Plan(PlanArgs),
    /// Send dead letters to their consumers once more: a canary first, then at a rate
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay(Box<ReplayArgs>),
    /// Show what was planned and sent, by whom and why, and what came of it
    #[command(after_help = REDRIVES_EXAMPLES)]
    Redrives {
        /// Only this one
        redrive: Option<i64>,
        /// How many to show, the newest first
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(i64).range(1..=1_000))]
        limit: i64,
    },
    /// Take back what a replay sent and nobody has worked on yet
    #[command(after_help = UNDO_EXAMPLES)]
    Undo {
        redrive: i64,
        #[command(flatten)]
        decision: Decision,
    },
    /// Give dead letters up
    #[command(after_help = PURGE_EXAMPLES)]
    Purge(ChangeArgs),
    /// Take a purge back
    #[command(after_help = RESTORE_EXAMPLES)]
    Restore(ChangeArgs),
}

#[derive(Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub choice: Choice,
    #[command(flatten)]
    pub decision: Decision,
    #[command(flatten)]
    pub guard: Guard,
    #[command(flatten)]
    pub pace: Pace,
}

#[derive(Args)]
pub struct ReplayArgs {
    #[command(flatten)]
    pub plan: PlanArgs,
    /// Show the plan, and do nothing
    #[arg(long, conflicts_with_all = ["resume", "abort"])]
    pub dry_run: bool,
    /// Apply a plan, or go on with one that was stopped
    #[arg(long, value_name = "REDRIVE", conflicts_with_all = ["abort", "consumer", "reason", "fingerprint", "event_ids", "tenant", "key", "since", "until", "all"])]
    pub resume: Option<i64>,
    /// End a redrive for good, wherever it runs; what is on its way goes on
    #[arg(long, value_name = "REDRIVE")]
    pub abort: Option<i64>,
}

/// Against letters that are sent and die for ever.
#[derive(Args)]
pub struct Guard {
    /// Leave out letters that were sent so often before
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(i64).range(1..=1_000))]
    pub replays_max: i64,
    /// Take them along
    #[arg(long)]
    pub force: bool,
}

impl Guard {
    pub fn limit(&self) -> Option<i64> {
        (!self.force).then_some(self.replays_max)
    }
}

#[derive(Args)]
pub struct ChangeArgs {
    #[command(flatten)]
    pub choice: Choice,
    #[command(flatten)]
    pub decision: Decision,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}
