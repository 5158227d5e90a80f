//! Commands at run time: `docfleet pause`, `drain`, `throttle`, `drop`, `let-fail`, `resume`, `commands list`. Rows of
//! `pipeline.commands`, which every replica reads: [`target`] (of whom, for which messages) → [`issue`] (write one) →
//! [`wait`] (a drain) and [`resume`] (end it), [`list`] (what is in force).

mod backlog;
mod issue;
mod list;
mod resume;
mod target;
mod wait;

use std::time::Duration;

use clap::{Args, Subcommand};
use humantime_serde::re::humantime::parse_duration;

use crate::{
    Config, Error,
    output::{self, Exit},
    servers,
};
use issue::{Action, IssueArgs};
use target::{Inside, Selection};

const PAUSE_EXAMPLES: &str = "\
Examples:
  docfleet pause --consumer ocr --tenant acme --for 30m --why 'INC-42: their scans crash the reader'
  docfleet pause --consumer dedup --topic documents.virus-scanned.v1 --partition 3 --why 'looking at offset 4711'
  docfleet pause --all-consumers --tenant acme --dry-run

Nothing new starts of what is selected; what is at work ends. Every replica obeys within 5 s. It ends by itself after --for.
A paused tenant or key is held in memory: when its messages fill the budget, others of the consumer wait as well.";

const DRAIN_EXAMPLES: &str = "\
Examples:
  docfleet drain --consumer ocr --why 'upgrade of Tesseract' --wait 10m
  docfleet drain --consumer webhook-dispatcher --tenant acme --for 2h --why 'their endpoint moves'

As a pause, and --wait tells when all that was at work before is finished. Exit code 1 when it is not in that time.";

const THROTTLE_EXAMPLES: &str = "\
Examples:
  docfleet throttle --consumer ocr --per-second 5 --why 'the database is busy' --for 1h
  docfleet throttle --consumer dedup --tenant acme --per-second 0.5 --why 'bulk import'

The rate is that of all replicas together. Of several throttles on one message all count.";

const DROP_EXAMPLES: &str = "\
Examples:
  docfleet drop --consumer ocr --header producer=importer-7 --dry-run
  docfleet drop --consumer ocr --header producer=importer-7 --why 'INC-42: test data' --yes
  docfleet drop --consumer dedup --field data.declared_mime=application/x-evil --for 2h --why 'INC-43' --yes

A kill switch: what matches is settled as `discarded`, on record with the command, its author and reason. It has no effect
and is not worked on later: for that, pause.";

const LET_FAIL_EXAMPLES: &str = "\
Example:
  docfleet let-fail --consumer ocr --for 15m --why 'these messages are bad, INC-44'

The breaker of the consumer does not hold failed messages back meanwhile: they die, or go to their retry topics.";

const RESUME_EXAMPLES: &str = "\
Examples:
  docfleet resume --id 12 --why 'mended'
  docfleet resume --consumer ocr --tenant acme --why 'mended'
  docfleet resume --consumer ocr --everything --dry-run

Ends commands of every kind: by id, or with just these selectors. Exit code 1 when none is in force.";

const LIST_EXAMPLES: &str = "\
Examples:
  docfleet commands list
  docfleet commands list --consumer ocr --all
  docfleet commands list --json | jq '.commands[] | select(.obeyed_by < .members)'";

#[derive(Args)]
#[command(after_help = PAUSE_EXAMPLES)]
pub struct PauseArgs {
    #[command(flatten)]
    issue: IssueArgs,
}

#[derive(Args)]
#[command(after_help = DRAIN_EXAMPLES)]
pub struct DrainArgs {
    #[command(flatten)]
    issue: IssueArgs,
    /// Wait until it is drained, at most so long
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    wait: Option<Duration>,
}

#[derive(Args)]
#[command(after_help = THROTTLE_EXAMPLES)]
pub struct ThrottleArgs {
    /// Messages per second, of all replicas together
    #[arg(long, value_name = "RATE", value_parser = rate)]
    per_second: f64,
    #[command(flatten)]
    issue: IssueArgs,
}

#[derive(Args)]
#[command(after_help = DROP_EXAMPLES)]
pub struct DropArgs {
    #[command(flatten)]
    issue: IssueArgs,
    #[command(flatten)]
    inside: Inside,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

#[derive(Args)]
#[command(after_help = LET_FAIL_EXAMPLES)]
pub struct LetFailArgs {
    #[command(flatten)]
    issue: issue::Whole,
}

#[derive(Args)]
#[command(after_help = RESUME_EXAMPLES)]
pub struct ResumeArgs {
    #[command(flatten)]
    resume: resume::Resume,
}

#[derive(Args)]
pub struct CommandsArgs {
    #[command(subcommand)]
    command: CommandsCommand,
}

#[derive(Subcommand)]
enum CommandsCommand {
    /// Show the commands in force: who, why, until when, and how many replicas obey
    #[command(after_help = LIST_EXAMPLES)]
    List {
        /// Only those of this consumer
        #[arg(long, value_name = "NAME")]
        consumer: Option<String>,
        /// Those that ended, too; the newest 200
        #[arg(long)]
        all: bool,
    },
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        _ => Err("a number above 0; to stop all, pause".to_owned()),
    }
}

pub async fn pause(config: &Config, args: &PauseArgs, json: bool) -> Result<Exit, Error> {
    issued(config, &args.issue, Action::Pause, &Inside::default(), json).await
}

pub async fn throttle(config: &Config, args: &ThrottleArgs, json: bool) -> Result<Exit, Error> {
    issued(config, &args.issue, Action::Throttle(args.per_second), &Inside::default(), json).await
}

pub async fn let_fail(config: &Config, args: &LetFailArgs, json: bool) -> Result<Exit, Error> {
    let mut connection = servers::postgres(config).await?;
    let selection = args.issue.selection();
    let plan = issue::plan(config, &mut connection, &selection, &args.issue.order, Action::LetFail).await?;
    output::show(&plan.carry_out(&mut connection, &args.issue.order).await?, json)
}

async fn issued(config: &Config, args: &IssueArgs, action: Action, inside: &Inside, json: bool) -> Result<Exit, Error> {
    let mut connection = servers::postgres(config).await?;
    let selection = Selection { whom: &args.whom, place: Some(&args.place), inside: Some(inside) };
    let plan = issue::plan(config, &mut connection, &selection, &args.order, action).await?;
    output::show(&plan.carry_out(&mut connection, &args.order).await?, json)
}

pub async fn drain(config: &Config, args: &DrainArgs, json: bool) -> Result<Exit, Error> {
    let mut connection = servers::postgres(config).await?;
    let selection = Selection { whom: &args.issue.whom, place: Some(&args.issue.place), inside: None };
    let plan = issue::plan(config, &mut connection, &selection, &args.issue.order, Action::Drain).await?;
    let mut report = plan.carry_out(&mut connection, &args.issue.order).await?;
    if let Some(patience) = args.wait.filter(|_| !args.issue.order.dry_run) {
        report.drained = Some(wait::until_drained(&mut connection, &report.ids(), patience).await?);
    }
    output::show(&report, json)
}

pub async fn drop(config: &Config, args: &DropArgs, json: bool) -> Result<Exit, Error> {
    let mut connection = servers::postgres(config).await?;
    let selection = Selection { whom: &args.issue.whom, place: Some(&args.issue.place), inside: Some(&args.inside) };
    let plan = issue::plan(config, &mut connection, &selection, &args.issue.order, Action::Drop).await?;
    if !args.issue.order.dry_run {
        output::confirm(&plan.question(), args.yes)?;
    }
    output::show(&plan.carry_out(&mut connection, &args.issue.order).await?, json)
}

pub async fn resume(config: &Config, args: &ResumeArgs, json: bool) -> Result<Exit, Error> {
    let mut connection = servers::postgres(config).await?;
    output::show(&resume::resume(config, &mut connection, &args.resume).await?, json)
}

pub async fn commands(config: &Config, args: &CommandsArgs, json: bool) -> Result<Exit, Error> {
    let CommandsCommand::List { consumer, all } = &args.command;
    let mut connection = servers::postgres(config).await?;
    output::show(&list::list(&mut connection, consumer.as_deref(), *all).await?, json)
}
