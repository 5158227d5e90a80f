//! `docfleet documents`: documents that go, and documents that must not. [`erase`] (those that are named), [`retention`] (those
//! whose time is over), [`erasures`] (what is not through yet), [`hold`] (what must stay).

mod erase;
mod erasures;
mod hold;
mod retention;

use clap::{Args, Subcommand};
use docfleet_events::erasure;
use docfleet_outbox::{Outbox, Registry};

use crate::{
    Config, Error,
    output::{self, Exit},
};

#[derive(Args)]
pub struct DocumentsArgs {
    #[command(subcommand)]
    command: DocumentsCommand,
}

#[derive(Subcommand)]
enum DocumentsCommand {
    /// Erase documents everywhere: row, bytes, text, view, what waits or died of them
    #[command(after_help = erase::EXAMPLES)]
    Erase(erase::EraseArgs),
    /// Show which documents are older than they are to be kept; --apply erases them
    #[command(after_help = retention::EXAMPLES)]
    Retention(retention::RetentionArgs),
    /// Show erasures, those first that are not through
    #[command(after_help = erasures::EXAMPLES)]
    Erasures(erasures::ErasuresArgs),
    /// Keep documents from being erased, whatever their sender or their age says
    #[command(after_help = hold::EXAMPLES)]
    Hold(hold::HoldArgs),
    /// End legal holds
    #[command(after_help = hold::EXAMPLES)]
    Release(hold::HoldArgs),
}

pub async fn run(config: &Config, args: &DocumentsArgs, json: bool) -> Result<Exit, Error> {
    match &args.command {
        DocumentsCommand::Erase(args) => output::show(&erase::run(config, args).await?, json),
        DocumentsCommand::Retention(args) => output::show(&retention::run(config, args, json).await?, json),
        DocumentsCommand::Erasures(args) => output::show(&erasures::run(config, args).await?, json),
        DocumentsCommand::Hold(args) => output::show(&hold::place(config, args).await?, json),
        DocumentsCommand::Release(args) => output::show(&hold::release(config, args).await?, json),
    }
}

/// With what an erasure says registered.
async fn outbox(config: &Config) -> Result<Outbox, Error> {
    let registry = Registry::new(&config.registry)?;
    erasure::pin_schemas(&registry).await?;
    Ok(Outbox::new(registry, &config.topic_prefix))
}

/// A word, for what stays for good.
pub(crate) fn reason(text: &str) -> Result<String, String> {
    match erasure::is_reason(text) {
        true => Ok(text.to_owned()),
        false => {
            Err("a reason is a word such as gdpr-request (a-z, 0-9, -): it stays for good, so it names nobody"
                .to_owned())
        }
    }
}
