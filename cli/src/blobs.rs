//! `docfleet blobs`: what lies in the store of this region against what the database knows. [`orphans`] (bytes without a
//! document), [`verify`] (documents without their bytes).

mod known;
mod orphans;
mod verify;

use clap::{Args, Subcommand};

use crate::{
    Config, Error,
    output::{self, Exit, counted},
};

#[derive(Args)]
pub struct BlobsArgs {
    #[command(subcommand)]
    command: BlobsCommand,
}

#[derive(Subcommand)]
enum BlobsCommand {
    /// List what lies in the store and belongs to no document; --delete removes it
    #[command(after_help = orphans::EXAMPLES)]
    Orphans(orphans::OrphansArgs),
    /// Look whether every document has its bytes; --hash reads them all
    #[command(after_help = verify::EXAMPLES)]
    Verify(verify::VerifyArgs),
}

pub async fn run(config: &Config, args: &BlobsArgs, json: bool) -> Result<Exit, Error> {
    match &args.command {
        BlobsCommand::Orphans(args) => orphans::run(config, args, json).await,
        BlobsCommand::Verify(args) => verify::run(config, args, json).await,
    }
}

/// Where somebody looks on.
fn progress(text: &str) {
    if output::stderr_is_terminal() {
        output::progress(text);
    }
}

fn counted_u64(number: u64, noun: &str) -> String {
    counted(i64::try_from(number).unwrap_or(i64::MAX), noun)
}
