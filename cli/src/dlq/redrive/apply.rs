//! Applies a plan: one letter of each consumer first, then the rest at its pace. Every step is a transaction, so it can
//! be stopped after any of them, also by the death of this process.

use std::time::{Duration, Instant};

use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    applied::{Applied, Stop},
    pace::{Pace, dies_again},
    progress::Progress,
    send::{self, Hold},
    watch::{self, Counts, Fortune},
};
use crate::{Error, dlq::Decision};

const LOOK_EVERY: Duration = Duration::from_millis(250);

struct Run<'a> {
    connection: &'a mut PgConnection,
    hold: Hold,
    prefix: &'a str,
    pace: &'a Pace,
    interrupt: &'a CancellationToken,
    counts: Counts,
    progress: Progress,
}

/// Ends with the state of the redrive on record, or with an error: then its lease ends by itself, and it can be resumed.
pub async fn apply(
    connection: &mut PgConnection,
    prefix: &str,
    redrive: i64,
    pace: &Pace,
    decision: &Decision,
    interrupt: &CancellationToken,
) -> Result<Applied, Error> {
    let hold = Hold { redrive, owner: Uuid::new_v4() };
    take(connection, &hold, decision).await?;
    let counts = watch::counts(connection, redrive).await?;
    let mut run = Run { connection, hold, prefix, pace, interrupt, counts, progress: Progress::new(redrive) };
    let went = run.go().await;
    run.progress.end();
    let stopped = went?;
    let Run { connection, hold, counts, .. } = run;
    release(connection, &hold, stopped).await?;
    Ok(Applied::new(redrive, stopped, counts))
}

async fn take(connection: &mut PgConnection, hold: &Hold, decision: &Decision) -> Result<(), Error> {
    let taken = sqlx::query(
        r"UPDATE pipeline.redrives
             SET state = 'running', stop_reason = NULL, lease_owner = $2, lease_until = clock_timestamp() + interval '30 seconds',
                 started_at = clock_timestamp(), ended_at = NULL
           WHERE id = $1 AND (state IN ('planned', 'stopped') OR (state = 'running' AND lease_until < clock_timestamp()))",
    )
    .bind(hold.redrive)
    .bind(hold.owner)
    .execute(&mut *connection)
    .await?;
    if taken.rows_affected() == 1 {
        return decision.record(connection, "replay", &format!("redrive {}", hold.redrive)).await;
    }
    let state: Option<String> = sqlx::query_scalar("SELECT state FROM pipeline.redrives WHERE id = $1")
        .bind(hold.redrive)
        .fetch_optional(connection)
        .await?;
    let id = hold.redrive;
    Err(Error::Usage(match state.as_deref() {
        None => format!("there is no redrive {id}; see `docfleet dlq redrives`"),
        Some("running") => {
            format!("redrive {id} is applied by somebody else; end it by `docfleet dlq replay --abort {id}`")
        }
        Some(state) => format!("redrive {id} is {state}: what is still dead needs a new plan"),
    }))
}

async fn release(connection: &mut PgConnection, hold: &Hold, stopped: Option<Stop>) -> Result<(), Error> {
    sqlx::query(
        r"UPDATE pipeline.redrives
             SET state = CASE WHEN $3::text IS NULL THEN 'done' ELSE 'stopped' END, stop_reason = $3,
                 ended_at = clock_timestamp(), lease_until = '-infinity'
           WHERE id = $1 AND lease_owner = $2 AND state = 'running'",
    )
    .bind(hold.redrive)
    .bind(hold.owner)
    .bind(stopped.map(Stop::as_str))
    .execute(connection)
    .await?;
    Ok(())
}

impl Run<'_> {
    /// Nothing when all is sent.
    async fn go(&mut self) -> Result<Option<Stop>, Error> {
        if !self.pace.no_canary {
            for consumer in self.untried().await? {
                if let Some(stop) = self.canary(&consumer).await? {
                    return Ok(Some(stop));
                }
            }
        }
        let (step, every) = self.pace.rate.step();
        let mut quiet_since = Instant::now();
        loop {
            let began = Instant::now();
            if self.look().await? {
                quiet_since = began;
            }
            let (died, settled) = watch::last_outcomes(self.connection, self.hold.redrive).await?;
            if dies_again(died, settled, self.pace.died_max) {
                return Ok(Some(Stop::DiesAgain));
            }
            if self.counts.to_send == 0 {
                return Ok(None);
            }
            let room = self.pace.open_max - self.counts.on_their_way;
            if self.interrupt.is_cancelled() {
                return Ok(Some(Stop::Interrupted));
            }
            if room <= 0 && quiet_since.elapsed() > self.pace.patience {
                return Ok(Some(Stop::NobodyWorks));
            }
            let held = if room > 0 {
                quiet_since = began;
                let positions = self.next(step.min(room)).await?;
                self.send(&positions).await?
            } else {
                send::hold(self.connection, &self.hold).await?
            };
            if !held {
                return Ok(Some(Stop::Ended));
            }
            self.progress.tell(&self.counts, self.pace.rate, "sending");
            self.pause(if room > 0 { every.saturating_sub(began.elapsed()) } else { LOOK_EVERY }).await;
        }
    }

    /// Consumers with letters to send, of which none has worked yet.
    async fn untried(&mut self) -> Result<Vec<String>, Error> {
        let untried = sqlx::query_scalar(
            r"SELECT consumer FROM pipeline.redrive_items WHERE redrive_id = $1 AND state = 'planned'
              EXCEPT
              SELECT consumer FROM pipeline.redrive_items WHERE redrive_id = $1 AND state = 'worked'
              ORDER BY 1",
        );
        Ok(untried.bind(self.hold.redrive).fetch_all(&mut *self.connection).await?)
    }

    /// Sends one letter, or takes one that is on its way, and waits for what becomes of it.
    async fn canary(&mut self, consumer: &str) -> Result<Option<Stop>, Error> {
        let deadline = Instant::now() + self.pace.patience;
        let mut chosen = None;
        loop {
            if self.interrupt.is_cancelled() {
                return Ok(Some(Stop::Interrupted));
            }
            let position = match chosen {
                Some(position) => position,
                None => match self.choose_canary(consumer).await? {
                    Some((position, sent)) => {
                        if !sent && !self.send_with_key(position).await? {
                            return Ok(Some(Stop::Ended));
                        }
                        *chosen.insert(position)
                    }
                    None => return Ok(None),
                },
            };
            self.look().await?;
            match watch::fortune(self.connection, self.hold.redrive, position).await? {
                Fortune::Worked => return Ok(None),
                Fortune::Died => return Ok(Some(Stop::CanaryDied)),
                Fortune::FailedAgain => return Ok(Some(Stop::CanaryFailedAgain)),
                Fortune::Gone => chosen = None,
                Fortune::Waiting if Instant::now() >= deadline => return Ok(Some(Stop::CanaryUnsettled)),
                Fortune::Waiting => {
                    if !send::hold(self.connection, &self.hold).await? {
                        return Ok(Some(Stop::Ended));
                    }
                    self.progress.tell(&self.counts, self.pace.rate, "waiting for the canary");
                    self.pause(LOOK_EVERY).await;
                }
            }
        }
    }

    async fn choose_canary(&mut self, consumer: &str) -> Result<Option<(i64, bool)>, Error> {
        let first = sqlx::query_as(
            r"SELECT position, state = 'sent' FROM pipeline.redrive_items
               WHERE redrive_id = $1 AND consumer = $2 AND state IN ('sent', 'planned') ORDER BY state = 'sent' DESC, position LIMIT 1",
        );
        Ok(first.bind(self.hold.redrive).bind(consumer).fetch_optional(&mut *self.connection).await?)
    }

    async fn send_with_key(&mut self, position: i64) -> Result<bool, Error> {
        let positions = send::with_keys(self.connection, self.hold.redrive, &[position]).await?;
        self.send(&positions).await
    }

    async fn next(&mut self, count: i64) -> Result<Vec<i64>, Error> {
        let next: Vec<i64> = sqlx::query_scalar(
            r"SELECT position FROM pipeline.redrive_items WHERE redrive_id = $1 AND state = 'planned' ORDER BY position LIMIT $2",
        )
        .bind(self.hold.redrive)
        .bind(count)
        .fetch_all(&mut *self.connection)
        .await?;
        send::with_keys(self.connection, self.hold.redrive, &next).await
    }

    async fn send(&mut self, positions: &[i64]) -> Result<bool, Error> {
        let Some(step) = send::send(self.connection, &self.hold, self.prefix, positions).await? else {
            return Ok(false);
        };
        self.counts.to_send -= step.sent + step.gone + step.refused;
        self.counts.on_their_way += step.sent;
        self.counts.gone += step.gone;
        self.counts.refused += step.refused;
        Ok(true)
    }

    async fn look(&mut self) -> Result<bool, Error> {
        watch::watch(self.connection, self.hold.redrive, &mut self.counts).await
    }

    async fn pause(&self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.interrupt.cancelled() => {}
        }
    }
}
