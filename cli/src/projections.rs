//! `docfleet projections`: says what is wanted of a view; projection-builder does it. [`build`] (a build's row) →
//! [`report`]; [`follow`] waits for a state and shows the progress.

mod build;
mod follow;
mod report;

use clap::{Args, Subcommand};
use humantime_serde::re::humantime::parse_duration;
use sqlx::PgConnection;
use std::time::Duration;

use crate::{
    Config, Error,
    output::{self, Exit, grouped},
    servers,
};
pub use build::{Build, compare_now};
use report::Builds;

const EXAMPLES: &str = "\
Examples:
  docfleet projections list
  docfleet projections rebuild document_view --dry-run
  docfleet projections rebuild document_view                 # builds beside the live view, until it is ready
  docfleet projections rebuild document_view --rate 5000     # at most 5000 events a second
  docfleet projections compare document_view                 # is the view what its events say? changes nothing
  docfleet projections switch document_view                  # the new one takes the live one's place
  docfleet projections back document_view                    # and back again, as long as the old one is there
  docfleet projections cancel document_view                  # drops whichever of the two is not live

Exit code 1 when a comparison found rows that differ. Ctrl-C ends only the watching: the build goes on.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ProjectionsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Builds and their state, the newest first
    List,
    /// Build a view anew beside the live one, from the outbox
    Rebuild(RebuildArgs),
    /// Put the new view in the live one's place
    Switch(Named),
    /// Put the old view back
    Back(Named),
    /// Compare the live view with one built anew
    Compare(Named),
    /// End a build and drop the view that is not live
    Cancel(Named),
}

#[derive(Args)]
struct Named {
    /// The projection; there is one: document_view
    #[arg(value_parser = ["document_view"])]
    name: String,
    /// Do not wait until it is done
    #[arg(long)]
    detach: bool,
    /// How long to wait
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_duration)]
    timeout: Duration,
}

#[derive(Args)]
struct RebuildArgs {
    #[command(flatten)]
    named: Named,
    /// Events a second at most
    #[arg(long, value_name = "EVENTS", value_parser = clap::value_parser!(i32).range(1..))]
    rate: Option<i32>,
    /// Switch as soon as it is ready
    #[arg(long)]
    switch: bool,
    /// Show what would be built, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Your name, for the record
    #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true, default_value = "unknown")]
    who: String,
}

pub async fn run(config: &Config, args: &ProjectionsArgs, json: bool) -> Result<Exit, Error> {
    let mut connection = servers::postgres(config).await?;
    match &args.command {
        Command::List => output::show(&Builds::of(build::newest(&mut connection).await?, false), json),
        Command::Rebuild(args) => rebuild(&mut connection, args, json).await,
        Command::Switch(named) => {
            wish(&mut connection, named, ("switch", &["building", "ready"], "switched"), json).await
        }
        Command::Back(named) => wish(&mut connection, named, ("back", &["switched"], "ready"), json).await,
        Command::Cancel(named) => {
            wish(&mut connection, named, ("drop", &["building", "ready", "switched"], "ended"), json).await
        }
        Command::Compare(named) => compare(&mut connection, named, json).await,
    }
}

async fn rebuild(connection: &mut PgConnection, args: &RebuildArgs, json: bool) -> Result<Exit, Error> {
    if args.dry_run {
        let (documents, events) = build::extent(connection).await?;
        output::note(&format!(
            "would fold {} events of {} documents into a second table; the live view is not touched",
            grouped(events),
            grouped(documents)
        ));
        return Ok(Exit::Ok);
    }
    let new = build::New { who: &args.who, events_per_second: args.rate, compare_only: false, switch: args.switch };
    let id = build::start(connection, &args.named.name, &new).await?;
    let state = if args.switch { "switched" } else { "ready" };
    follow::until(connection, id, state, &args.named, json).await
}

/// `(wanted, from, to)`: the wish, the states in which it makes sense, the state that fulfils it.
async fn wish(
    connection: &mut PgConnection,
    named: &Named,
    (wanted, from, to): (&str, &[&str], &str),
    json: bool,
) -> Result<Exit, Error> {
    let build = build::open(connection, &named.name).await?.ok_or_else(|| {
        Error::Usage(format!(
            "there is no build of {}; begin one by `docfleet projections rebuild {}`",
            named.name, named.name
        ))
    })?;
    if !from.contains(&build.state.as_str()) {
        return Err(Error::Usage(format!(
            "the build is {}, and this takes one that is {}; see `docfleet projections list`",
            build.state,
            from.join(" or ")
        )));
    }
    build::want(connection, build.id, wanted).await?;
    follow::until(connection, build.id, to, named, json).await
}

async fn compare(connection: &mut PgConnection, named: &Named, json: bool) -> Result<Exit, Error> {
    let id = match build::open(connection, &named.name).await? {
        // What stands beside the live view is compared again.
        Some(build) if matches!(build.state.as_str(), "ready" | "switched") => {
            build::want(connection, build.id, "compare").await?;
            return follow::until(connection, build.id, "compared again", named, json).await;
        }
        Some(build) => build.id,
        None => {
            let new = build::New { who: "compare", events_per_second: None, compare_only: true, switch: false };
            build::start(connection, &named.name, &new).await?
        }
    };
    follow::until(connection, id, "compared", named, json).await
}
