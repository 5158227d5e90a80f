//! `docfleet replay`: events that a consumer has done are fed to it again, and to nobody else, under a logical version of their
//! own (docs/adr/0037). [`window`] (which) → [`plan`] (may it, how many) → [`apply`] (a canary, then at a pace, by [`send`]);
//! [`report`] says what came of it.

mod apply;
mod plan;
mod report;
mod send;
mod window;

use clap::{Args, ValueEnum};
use sqlx::{Connection, PgConnection};

use crate::{
    Config, Error,
    dlq::{Decision, pace::Pace},
    interrupt,
    output::{self, Exit},
    servers,
};
use window::Window;

const EXAMPLES: &str = "\
Examples:
  docfleet replay ocr --from 2026-05-12T00:00:00Z --to 2026-05-13T00:00:00Z --as engine-5.4 --emit new --dry-run
  docfleet replay ocr --from 2d --to 1h --as engine-5.4 --emit new --rate 20/s --why 'better engine, INC-51'
  docfleet replay webhook-dispatcher --from 7d --to 1h --as partner-x --why 'subscribed late, INC-52'
  docfleet replay ocr --offsets 'documents.deduplicated.v1[3]@1200..1400' --as hole-7 --emit new --why 'look again, INC-53'
  docfleet replay --resume 4
  docfleet replay --abort 4 --why 'wrong day'
  docfleet replay --list

Only events that the consumer has done are fed again; dead ones go by `docfleet dlq replay`. They come from the outbox, so its
retention is the limit. Their outcomes stand in the inbox under CONSUMER@VERSION, each once: a version is used for one window.
--emit none (the default) writes no events; --emit new writes what follows as new events, with new ids and versions, and all
who read them work on them. The consumer's own effect happens in both cases; the dry run says which. A consumer whose effects can
not be repeated refuses; projection-builder's view is made anew by `docfleet projections rebuild`, scans by `docfleet rescan`.

Exit code 1 when it stopped before its end.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ReplayArgs {
    /// Who is fed again
    #[arg(required_unless_present_any = ["resume", "abort", "list"])]
    consumer: Option<String>,
    #[command(flatten)]
    window: Window,
    /// The logical version: lower-case letters, digits, dots, dashes
    #[arg(long = "as", value_name = "VERSION", required_unless_present_any = ["resume", "abort", "list"], value_parser = version)]
    logical_version: Option<String>,
    /// What becomes of the events that follow
    #[arg(long, value_enum, default_value_t = Emit::None)]
    emit: Emit,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Go on with one that was stopped
    #[arg(long, value_name = "NR", conflicts_with_all = ["consumer", "logical_version", "abort", "list", "dry_run"])]
    resume: Option<i64>,
    /// Send nothing more of this one
    #[arg(long, value_name = "NR", conflicts_with_all = ["consumer", "logical_version", "list", "dry_run"])]
    abort: Option<i64>,
    /// Show what was planned and sent, by whom and why, and what came of it
    #[arg(long, conflicts_with_all = ["consumer", "logical_version", "dry_run"])]
    list: bool,
    #[command(flatten)]
    pace: Pace,
    #[command(flatten)]
    decision: Decision,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Emit {
    None,
    New,
}

impl Emit {
    fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::New => "new",
        }
    }
}

/// As the runtime checks it.
fn version(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '-';
    if (1..=32).contains(&text.len()) && text.chars().all(allowed) {
        return Ok(text.to_owned());
    }
    Err("1 to 32 lower-case letters, digits, dots and dashes, as in engine-5.4".to_owned())
}

pub async fn run(config: &Config, args: &ReplayArgs, json: bool) -> Result<Exit, Error> {
    let mut connection = servers::postgres(config).await?;
    let connection = &mut connection;
    if args.list {
        return output::show(&report::history(connection, None).await?, json);
    }
    if !args.dry_run && args.resume.is_none() {
        args.decision.check()?;
    }
    if let Some(replay) = args.abort {
        apply::abort(connection, replay, &args.decision).await?;
        return output::show(&report::history(connection, Some(replay)).await?, json);
    }
    let replay = match args.resume {
        Some(replay) => replay,
        None => {
            let plan = write_plan(config, connection, args).await?;
            match plan.replay {
                Some(replay) => replay,
                None => return output::show(&plan, json),
            }
        }
    };
    let interrupt = interrupt::token()?;
    let applied = apply::apply(connection, &config.topic_prefix, replay, &args.pace, &args.decision, &interrupt).await;
    if applied.is_err() && args.resume.is_none() {
        output::note(&format!(
            "docfleet: replay {replay} stopped in the middle; go on by `docfleet replay --resume {replay}`"
        ));
    }
    output::show(&applied?, json)
}

/// In a transaction, which a dry run rolls back: both say the same.
async fn write_plan(config: &Config, connection: &mut PgConnection, args: &ReplayArgs) -> Result<plan::Plan, Error> {
    let (Some(consumer), Some(version)) = (&args.consumer, &args.logical_version) else {
        return Err(Error::Usage("whom, and --as which version?".to_owned()));
    };
    let mut transaction = connection.begin().await?;
    let window = args.window.fixed(&mut transaction, &config.topic_prefix).await?;
    let mut plan = plan::write(&mut transaction, consumer, version, args.emit, &window, &args.decision).await?;
    plan.seconds_expected = args.pace.rate.seconds_for(plan.planned);
    if args.dry_run || plan.planned == 0 {
        transaction.rollback().await?;
        plan.replay = None;
        return Ok(plan);
    }
    transaction.commit().await?;
    Ok(plan)
}
