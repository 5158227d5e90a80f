use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::{
    audit::AuditArgs, dlq::DlqArgs, leases::LeasesArgs, listen::ListenArgs, projections::ProjectionsArgs,
    setup::SetupArgs, status::StatusArgs, submit::SubmitArgs,
};

const AFTER_HELP: &str = "\
Exit codes:
  0  all well
  1  the command found a problem (a document did not finish, a gap in the ledger, a refused replay, …)
  2  wrong usage or configuration
  3  a server is away

Examples:
  docfleet setup --wait 60s
  docfleet submit samples/
  docfleet status --watch
  docfleet dlq list --consumer ocr
  docfleet audit --json";

/// Sets up, feeds, watches and repairs a docfleet.
#[derive(Parser)]
#[command(name = "docfleet", version, about, after_help = AFTER_HELP, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Args)]
pub struct Global {
    /// The fleet's configuration; environment variables such as DOCFLEET__KAFKA__BROKERS go before it.
    #[arg(long, global = true, value_name = "FILE", env = "DOCFLEET_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
    /// Print JSON for programs instead of text for people.
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Subcommand)]
pub enum Command {
    /// Migrate the database, create the topics, register the schemas. May be repeated at any time.
    Setup(SetupArgs),
    /// Upload documents, wait until they are processed, print what became of each.
    Submit(SubmitArgs),
    /// Receive webhooks on this machine, for development.
    Listen(ListenArgs),
    /// Show lag, retries, dead letters and the outbox.
    Status(StatusArgs),
    /// List, show, replay or purge dead letters.
    Dlq(DlqArgs),
    /// Show who owns which shard of the outbox, and what waits behind it.
    Leases(LeasesArgs),
    /// Build a view anew beside the live one, compare the two, switch.
    Projections(ProjectionsArgs),
    /// Prove that every event has exactly one outcome at every consumer.
    Audit(AuditArgs),
}
