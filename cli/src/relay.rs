//! `docfleet relay`: what operators do to the outbox.

mod republish;

use clap::{Args, Subcommand};

use crate::{
    Config, Error,
    output::{self, Exit},
};
use republish::RepublishArgs;

const REPUBLISH_EXAMPLES: &str = "\
Examples:
  docfleet relay republish --from 2026-05-12T08:00:00Z --to 2026-05-12T09:30:00Z --dry-run
  docfleet relay republish --from 2026-05-12T08:00:00Z --to 2026-05-12T09:30:00Z --why 'broker 2 lost its disk, INC-42'

For records that Kafka acknowledged and then lost. The relays publish the rows of that time again, of each aggregate in
order; inboxes drop what they know. What was interrupted is resumed by the same command with the --after that
it told, and repeats nothing then.";

#[derive(Args)]
pub struct RelayArgs {
    #[command(subcommand)]
    pub command: RelayCommand,
}

#[derive(Subcommand)]
pub enum RelayCommand {
    /// Publish rows of the outbox once more, by the time of their insertion
    #[command(after_help = REPUBLISH_EXAMPLES)]
    Republish(RepublishArgs),
}

pub async fn run(config: &Config, command: &RelayCommand, json: bool) -> Result<Exit, Error> {
    match command {
        RelayCommand::Republish(args) => output::show(&republish::run(config, args).await?, json),
    }
}
