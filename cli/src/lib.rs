//! The operator's and the developer's tool. One module per command; what they share stands beside them:
//! [`config`] (where the servers are), [`servers`] (connections), [`api`] (the document API), [`output`] (the only
//! module that prints), [`error`] (what went wrong, what to do next, which exit code).

mod api;
mod args;
mod audit;
mod blobs;
mod commands;
mod config;
mod consumer;
mod dlq;
mod documents;
mod error;
mod interrupt;
mod leases;
mod listen;
mod mrz;
mod outbox;
mod output;
mod parked;
mod projections;
mod relay;
mod replay;
mod rescan;
mod retention;
mod servers;
mod setup;
mod status;
mod submit;
mod trail;

use std::process::ExitCode;

pub use args::Cli;
use args::{Command, Global};
use config::Config;
pub use error::Error;
use output::Exit;

/// Runs one command; every error is told on standard error.
pub async fn run(cli: Cli) -> ExitCode {
    match dispatch(cli.global, cli.command).await {
        Ok(exit) => exit.into(),
        Err(error) => {
            output::complain(&error);
            error.exit().into()
        }
    }
}

async fn dispatch(global: Global, command: Command) -> Result<Exit, Error> {
    let config = Config::load(global.config.as_deref())?;
    let json = global.json;
    match command {
        Command::Setup(args) => match args.outbox.outbox_schema {
            Some(_) => output::show(&setup::run_outbox(&config, &args).await?, json),
            None => output::show(&setup::run(&config, &args).await?, json),
        },
        Command::Submit(args) => output::show(&submit::run(&config, &args).await?, json),
        Command::Listen(args) => listen::run(&config, &args, json).await,
        Command::Status(args) => status::run(&config, &args, json).await,
        Command::Documents(args) => documents::run(&config, &args, json).await,
        Command::Retention(args) => output::show(&retention::run(&config, &args).await?, json),
        Command::Pause(args) => commands::pause(&config, &args, json).await,
        Command::Resume(args) => commands::resume(&config, &args, json).await,
        Command::Throttle(args) => commands::throttle(&config, &args, json).await,
        Command::Drain(args) => commands::drain(&config, &args, json).await,
        Command::Drop(args) => commands::drop(&config, &args, json).await,
        Command::LetFail(args) => commands::let_fail(&config, &args, json).await,
        Command::Commands(args) => commands::commands(&config, &args, json).await,
        Command::Replay(args) => replay::run(&config, &args, json).await,
        Command::Relay(args) => relay::run(&config, &args.command, json).await,
        Command::Dlq(args) => dlq::run(&config, &args, json).await,
        Command::Parked(args) => parked::run(&config, &args, json).await,
        Command::Leases(args) => leases::run(&config, &args, json).await,
        Command::Projections(args) => projections::run(&config, &args, json).await,
        Command::Rescan(args) => output::show(&rescan::run(&config, &args).await?, json),
        Command::Audit(args) => output::show(&audit::run(&config, &args).await?, json),
        Command::Mrz(args) => mrz::run(&config, &args, json).await,
        Command::Trail(args) => trail::run(&config, &args, json).await,
        Command::Blobs(args) => blobs::run(&config, &args, json).await,
    }
}
