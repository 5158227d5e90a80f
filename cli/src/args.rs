use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::{
    audit::AuditArgs,
    blobs::BlobsArgs,
    commands::{CommandsArgs, DrainArgs, DropArgs, LetFailArgs, PauseArgs, ResumeArgs, ThrottleArgs},
    dlq::DlqArgs,
    documents::DocumentsArgs,
    leases::LeasesArgs,
    listen::ListenArgs,
    mrz::MrzArgs,
    parked::ParkedArgs,
    projections::ProjectionsArgs,
    relay::RelayArgs,
    replay::ReplayArgs,
    rescan::RescanArgs,
    retention::RetentionArgs,
    setup::SetupArgs,
    status::StatusArgs,
    submit::SubmitArgs,
    trail::TrailArgs,
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
    /// List, group, show, replay or purge dead letters.
    Dlq(DlqArgs),
    /// Erase documents, by name or by age; hold those that must stay.
    Documents(DocumentsArgs),
    /// Show which old rows of outbox and inbox go, and when; --apply does it now.
    Retention(RetentionArgs),
    /// Stop a consumer, or a topic, partition, tenant or key of it, for a while.
    Pause(PauseArgs),
    /// End commands before their time.
    Resume(ResumeArgs),
    /// Slow a consumer, or a part of it, down for a while.
    Throttle(ThrottleArgs),
    /// Stop a consumer, or a part of it, and tell when what is at work is finished.
    Drain(DrainArgs),
    /// Let a consumer discard what matches, for a while: a kill switch.
    Drop(DropArgs),
    /// Override a consumer's breaker for a while.
    LetFail(LetFailArgs),
    /// Show the commands in force.
    Commands(CommandsArgs),
    /// Feed events to one consumer again, under another logical version.
    Replay(Box<ReplayArgs>),
    /// Publish rows of the outbox once more.
    Relay(RelayArgs),
    /// List, resume or discard keys that wait for their first message.
    Parked(ParkedArgs),
    /// Show who owns which shard of the outbox, and what waits behind it.
    Leases(LeasesArgs),
    /// Build a view anew beside the live one, compare the two, switch.
    Projections(ProjectionsArgs),
    /// Show which signatures called documents clean, and scan chosen ones again.
    Rescan(RescanArgs),
    /// Prove that every event has exactly one outcome at every consumer.
    Audit(AuditArgs),
    /// Show who wrote, read or removed what of documents, and in which region.
    Trail(TrailArgs),
    /// Open the encrypted fields of a document's machine-readable zone, on record.
    Mrz(MrzArgs),
    /// Compare what lies in the store with what the database knows.
    Blobs(BlobsArgs),
}
