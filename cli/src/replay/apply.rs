//! Applies a plan: one event first, then the rest at its pace. Every step is a transaction, so it can be stopped after any of
//! them, also by the death of this process.

use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    report::{self, Applied, Stop},
    send::{self, COLUMNS, Running, Step},
};
use crate::{
    Error,
    dlq::{
        Decision,
        pace::{Pace, dies_again},
    },
    output::{self, age, grouped},
};

const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Ends with the state of the replay on record, or with an error: then its lease ends by itself, and it can be resumed.
pub async fn apply(
    connection: &mut PgConnection,
    prefix: &str,
    replay: i64,
    pace: &Pace,
    decision: &Decision,
    interrupt: &CancellationToken,
) -> Result<Applied, Error> {
    let mut running = take(connection, replay, decision).await?;
    let went = go(connection, &mut running, prefix, pace, interrupt).await;
    if output::stderr_is_terminal() {
        output::progress("");
    }
    let stopped = went?;
    sqlx::query(
        r"UPDATE pipeline.replays
             SET state = CASE WHEN $3::text IS NULL THEN 'done' ELSE 'stopped' END, stop_reason = $3,
                 ended_at = clock_timestamp(), lease_until = '-infinity'
           WHERE id = $1 AND lease_owner = $2 AND state = 'running'",
    )
    .bind(running.id)
    .bind(running.owner)
    .bind(stopped.map(Stop::as_str))
    .execute(&mut *connection)
    .await?;
    Ok(Applied::new(replay, &running, stopped, report::counts(connection, &running.logical()).await?))
}

/// No step of it follows. What is sent is worked on all the same.
pub async fn abort(connection: &mut PgConnection, replay: i64, decision: &Decision) -> Result<(), Error> {
    let mut transaction = connection.begin().await?;
    let ended = sqlx::query(
        r"UPDATE pipeline.replays SET state = 'aborted', stop_reason = NULL, ended_at = clock_timestamp(), lease_until = '-infinity'
           WHERE id = $1 AND state IN ('planned', 'running', 'stopped')",
    );
    if ended.bind(replay).execute(&mut *transaction).await?.rows_affected() == 0 {
        return Err(refusal(&mut transaction, replay).await?);
    }
    decision.record(&mut transaction, "abort", &format!("replay {replay}")).await?;
    Ok(transaction.commit().await?)
}

async fn take(connection: &mut PgConnection, replay: i64, decision: &Decision) -> Result<Running, Error> {
    let mut transaction = connection.begin().await?;
    // The columns are a constant.
    let taking = sqlx::AssertSqlSafe(format!(
        r"UPDATE pipeline.replays
             SET state = 'running', stop_reason = NULL, lease_owner = $2, lease_until = clock_timestamp() + interval '30 seconds',
                 ended_at = NULL
           WHERE id = $1 AND (state IN ('planned', 'stopped') OR (state = 'running' AND lease_until < clock_timestamp()))
       RETURNING {COLUMNS}"
    ));
    let taken: Option<Running> =
        sqlx::query_as(taking).bind(replay).bind(Uuid::new_v4()).fetch_optional(&mut *transaction).await?;
    let Some(running) = taken else { return Err(refusal(&mut transaction, replay).await?) };
    let about = format!("replay {replay} of {}, emits {}", running.logical(), running.emits);
    decision.record(&mut transaction, "replay", &about).await?;
    transaction.commit().await?;
    Ok(running)
}

async fn refusal(connection: &mut PgConnection, replay: i64) -> Result<Error, Error> {
    let state: Option<String> = sqlx::query_scalar("SELECT state FROM pipeline.replays WHERE id = $1")
        .bind(replay)
        .fetch_optional(connection)
        .await?;
    Ok(Error::Usage(match state.as_deref() {
        None => format!("there is no replay {replay}; see `docfleet replay --list`"),
        Some("running") => {
            format!("replay {replay} is applied by somebody else; end it by `docfleet replay --abort {replay}`")
        }
        Some(state) => format!("replay {replay} is {state}: feed again under another version"),
    }))
}

/// Nothing when all is sent.
async fn go(
    connection: &mut PgConnection,
    running: &mut Running,
    prefix: &str,
    pace: &Pace,
    interrupt: &CancellationToken,
) -> Result<Option<Stop>, Error> {
    let logical = running.logical();
    let (step, every) = pace.rate.step();
    let (mut quiet_since, mut open_before) = (Instant::now(), 0);
    loop {
        let began = Instant::now();
        let (open, died) = report::open(connection, &logical).await?;
        if open != open_before {
            (quiet_since, open_before) = (began, open);
        }
        if interrupt.is_cancelled() {
            return Ok(Some(Stop::Interrupted));
        }
        let settled = running.sent - open;
        let is_canary = !pace.no_canary && settled == 0;
        let all_died = !pace.no_canary && died > 0 && died == settled;
        if all_died || dies_again(died, settled, pace.died_max) {
            return Ok(Some(Stop::Dies));
        }
        let room = if is_canary { 1 - open } else { (pace.open_max - open).min(step) };
        let pause = if room > 0 {
            match send::send(connection, running, prefix, room).await? {
                Step::Sent(sent) => running.sent += sent,
                Step::End => return Ok(None),
                Step::Lost => return Ok(Some(Stop::Ended)),
            }
            quiet_since = began;
            every.saturating_sub(began.elapsed())
        } else if quiet_since.elapsed() > pace.patience {
            return Ok(Some(Stop::NobodyWorks));
        } else {
            LOOK_EVERY
        };
        tell(running, open, died, pace);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = interrupt.cancelled() => {}
        }
    }
}

fn tell(running: &Running, open: i64, died: i64, pace: &Pace) {
    let line = format!(
        "replay {} of {}: {} of {} sent, {} on their way, {} died, {} to go",
        running.id,
        running.logical(),
        grouped(running.sent),
        grouped(running.planned),
        grouped(open),
        grouped(died),
        age(pace.rate.seconds_for(running.planned - running.sent))
    );
    if output::stderr_is_terminal() {
        output::progress(&line);
    }
}
