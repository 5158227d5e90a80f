//! `docfleet dlq`: the rows in PostgreSQL are the dead letters, the topic holds a copy. [`command`] (what can be typed),
//! [`filter`] (which) → [`letter`] (what they are) → [`list`], [`groups`], [`show`] (look), [`redrive`] (once more),
//! [`purge`] (never more).

mod action;
mod attempt;
mod command;
pub mod filter;
mod groups;
mod letter;
mod list;
mod payload;
mod purge;
mod redrive;
mod show;

use sqlx::{Connection, PgConnection};

pub use action::Decision;
pub use command::DlqArgs;
use command::{ChangeArgs, DlqCommand, PlanArgs, ReplayArgs};
pub use redrive::pace;
use redrive::{apply, forecast, history, plan, undo};

use crate::{
    Config, Error, interrupt,
    output::{self, Exit},
    servers,
};

pub async fn run(config: &Config, args: &DlqArgs, json: bool) -> Result<Exit, Error> {
    let mut connection = servers::postgres(config).await?;
    let connection = &mut connection;
    match &args.command {
        DlqCommand::List { filter, limit, after } => {
            output::show(&list::list(connection, filter, *after, *limit).await?, json)
        }
        DlqCommand::Groups { filter, limit } => output::show(&groups::groups(connection, filter, *limit).await?, json),
        DlqCommand::Show { event_id, consumer } => {
            output::show(&show::show(config, connection, *event_id, consumer.clone()).await?, json)
        }
        DlqCommand::Plan(args) => {
            args.decision.check()?;
            output::show(&write_plan(connection, args, false).await?, json)
        }
        DlqCommand::Replay(args) => replay(config, connection, args, json).await,
        DlqCommand::Redrives { redrive, limit } => {
            output::show(&history::history(connection, *redrive, *limit).await?, json)
        }
        DlqCommand::Undo { redrive, decision } => {
            decision.check()?;
            output::show(&undo::undo(connection, *redrive, decision).await?, json)
        }
        DlqCommand::Purge(args) => purge(connection, args, json).await,
        DlqCommand::Restore(args) => restore(connection, args, json).await,
    }
}

/// A plan in a transaction of its own, which a dry run rolls back: both say the same.
async fn write_plan(
    connection: &mut PgConnection,
    args: &PlanArgs,
    dry_run: bool,
) -> Result<forecast::Forecast, Error> {
    let mut transaction = connection.begin().await?;
    let choice = args.choice.fixed(&mut transaction).await?;
    let redrive = plan::write(&mut transaction, &choice, &args.decision, args.guard.limit()).await?;
    let mut plan = forecast::describe(&mut transaction, redrive, args.guard.limit(), args.pace.rate).await?;
    plan.not_dead = choice.not_dead(&mut transaction).await?;
    if dry_run || plan.planned == 0 {
        transaction.rollback().await?;
        return Ok(plan.dry());
    }
    args.decision.record(&mut transaction, "plan", &format!("redrive {redrive}")).await?;
    transaction.commit().await?;
    Ok(plan)
}

async fn replay(config: &Config, connection: &mut PgConnection, args: &ReplayArgs, json: bool) -> Result<Exit, Error> {
    let decision = &args.plan.decision;
    if let Some(redrive) = args.abort {
        decision.check()?;
        return output::show(&undo::abort(connection, redrive, decision).await?, json);
    }
    if args.resume.is_none() && !args.dry_run {
        decision.check()?;
    }
    let (redrive, not_dead) = match args.resume {
        Some(redrive) => (redrive, Vec::new()),
        None => {
            let plan = write_plan(connection, &args.plan, args.dry_run).await?;
            match plan.redrive {
                Some(redrive) => (redrive, plan.not_dead),
                None => return output::show(&plan, json),
            }
        }
    };
    let interrupt = interrupt::token()?;
    let applied = apply::apply(connection, &config.topic_prefix, redrive, &args.plan.pace, decision, &interrupt).await;
    if applied.is_err() && args.resume.is_none() {
        output::note(&format!(
            "docfleet: redrive {redrive} stopped in the middle; go on by `docfleet dlq replay --resume {redrive}`"
        ));
    }
    output::show(&applied?.naming(not_dead), json)
}

async fn purge(connection: &mut PgConnection, args: &ChangeArgs, json: bool) -> Result<Exit, Error> {
    let choice = args.choice.fixed(connection).await?;
    let found = purge::dead(connection, &choice).await?;
    if args.dry_run {
        return output::show(&found.into_report("would be purged", None), json);
    }
    args.decision.check()?;
    if found.total > 0 {
        output::confirm(&format!("Give up {}?", output::counted(found.total, "dead letter")), args.yes)?;
    }
    let purged = purge::purge(connection, &choice, &args.decision, &found).await?;
    output::show(&found.into_report("purged", Some(purged)), json)
}

async fn restore(connection: &mut PgConnection, args: &ChangeArgs, json: bool) -> Result<Exit, Error> {
    let choice = args.choice.fixed(connection).await?;
    let found = purge::purged(connection, &choice).await?;
    if args.dry_run {
        return output::show(&found.into_report("would be dead again", None), json);
    }
    args.decision.check()?;
    let restored = purge::restore(connection, &choice, &args.decision, &found).await?;
    output::show(&found.into_report("dead again", Some(restored)), json)
}
