//! The view built anew beside the live one, while that goes on: blue and green.
//!
//! The row of a document is a function of its events that are *done* here. So the standby is filled document by document,
//! each folded from all its events at once, and follows by folding again those documents that were touched since. Nothing
//! has to be applied exactly once, so a crash, a takeover and a repeated step cost time only.
//!
//! In the order of the flow: [`build`] (the row of the build, its lease) → [`read`] (events of whole documents) → [`fold`]
//! (rows of the standby) → [`follow`] (catch up) → [`compare`] → [`standby`] (make, switch, drop).

mod build;
mod compare;
mod fold;
mod follow;
mod read;
mod search;
mod standby;

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use docfleet_blobs::Blobs;
use docfleet_outbox::Registry;
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use build::{Build, State, Wanted};
use read::Facts;
use search::Texts;

/// Between looks for something to do.
const IDLE: Duration = Duration::from_secs(2);
/// Of a step, whose texts may come slowly and whose indexes may be large. What takes longer does not end.
const STEP_MAX: Duration = Duration::from_secs(3_600);
/// Documents in one step: some thousand events, in one statement for each kind.
const STEP_DOCUMENTS: i64 = 2_000;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Database(#[from] sqlx::Error),
    #[error("a text: {0}")]
    Text(#[from] docfleet_blobs::Error),
    #[error("row {row} of the outbox: {error}")]
    Event { row: i64, error: docfleet_outbox::Error },
    #[error("another replica took the build over")]
    LeaseLost,
    #[error("a step did not end within an hour")]
    TooSlow,
    /// The switch would hold writers up for too long; it is tried again when the standby is nearer.
    #[error("the standby is {documents} documents behind")]
    Behind { documents: usize },
    #[error("decoding ended in a panic")]
    Panicked,
}

/// Runs in every replica; the lease lets one of them work.
pub struct Builder {
    pool: PgPool,
    registry: Registry,
    blobs: Blobs,
    owner: Uuid,
    step_documents: i64,
    lease: Duration,
    /// Read while the step before is written.
    ahead: Mutex<Option<Ahead>>,
}

/// The documents that follow `after`, on their way.
struct Ahead {
    of_build: (i64, i64),
    after: Option<Uuid>,
    since: Instant,
    reading: JoinHandle<Result<Next, Error>>,
}

/// Some documents, read and decoded.
struct Next {
    last: Option<Uuid>,
    documents: i64,
    facts: Facts,
}

/// What was read earlier is read again: it may have lain there while nothing worked.
const AHEAD_FOR: Duration = Duration::from_secs(60);

impl Builder {
    pub fn new(pool: PgPool, registry: Registry, blobs: Blobs) -> Self {
        Self {
            pool,
            registry,
            blobs,
            owner: Uuid::new_v4(),
            step_documents: STEP_DOCUMENTS,
            lease: build::LEASE,
            ahead: Mutex::new(None),
        }
    }

    /// Smaller steps than usual, for tests that end between two.
    #[must_use]
    pub fn with_step(self, documents: i64) -> Self {
        Self { step_documents: documents, ..self }
    }

    /// A shorter one than usual, for tests that see it renewed.
    #[must_use]
    pub fn with_lease(self, lease: Duration) -> Self {
        Self { lease, ..self }
    }

    /// Until `shutdown`. What fails is written down where operators look, and tried again.
    ///
    /// # Errors
    /// None: a build that fails must not take the live view's builder down.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        while !shutdown.is_cancelled() {
            let pause = match self.step().await {
                Ok(Some(pause)) => pause,
                Ok(None) => IDLE,
                Err(error) => {
                    tracing::warn!(detail = %error, "the build of a view waits");
                    build::complain(&self.pool, self.owner, &error).await;
                    IDLE
                }
            };
            if !pause.is_zero() && shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                break;
            }
        }
        build::let_go(&self.pool, self.owner).await;
        Ok(())
    }

    /// One step of the build there is: how long to pause after it, or none when there was nothing to do.
    ///
    /// # Errors
    /// What is away, or can not be read. The step has left no trace.
    pub async fn step(&self) -> Result<Option<Duration>, Error> {
        let Some(build) = build::claim(&self.pool, self.owner, self.lease).await? else { return Ok(None) };
        let identity = build.identity();
        tokio::select! {
            biased;
            done = self.work(build) => done,
            lost = self.keep(identity) => Err(lost),
        }
    }

    /// Renews the lease beside the work. Not between two pieces of it: a single text or index may take longer than a lease, and a
    /// renewal may wait for the row that the work has locked.
    async fn keep(&self, identity: (i64, i64)) -> Error {
        let begun = Instant::now();
        while begun.elapsed() < STEP_MAX {
            tokio::time::sleep(self.lease / 3).await;
            match build::renew(&self.pool, identity, self.lease).await {
                Ok(()) => {}
                Err(Error::LeaseLost) => return Error::LeaseLost,
                Err(error) => tracing::debug!(detail = %error, "the lease is renewed a moment later"),
            }
        }
        Error::TooSlow
    }

    async fn work(&self, mut build: Build) -> Result<Option<Duration>, Error> {
        if build.wanted == Some(Wanted::Drop) {
            standby::end(&self.pool, &build).await?;
            return Ok(Some(Duration::ZERO));
        }
        match build.state {
            State::Building if build.is_new() && !follow::begin(&self.pool, &build).await? => Ok(None),
            State::Building if !build.filled => self.fill(&build).await.map(Some),
            State::Building => {
                let behind = follow::once(&self.pool, &self.registry, &self.blobs, &mut build).await?;
                if behind <= follow::NEAR_DOCUMENTS {
                    compare::run(&self.pool, &build, State::Ready).await?;
                }
                Ok(Some(Duration::ZERO))
            }
            State::Ready | State::Switched => {
                follow::once(&self.pool, &self.registry, &self.blobs, &mut build).await?;
                match build.wanted {
                    Some(Wanted::Switch | Wanted::Back) => {
                        standby::switch(&self.pool, &self.registry, &build).await?;
                    }
                    Some(Wanted::Compare) => compare::run(&self.pool, &build, build.state).await?,
                    Some(Wanted::Drop) | None => return Ok(None),
                }
                Ok(Some(Duration::ZERO))
            }
        }
    }

    /// The next documents in the order of their ids.
    async fn fill(&self, build: &Build) -> Result<Duration, Error> {
        let started = Instant::now();
        let Next { last, documents, facts } = self.next(build).await?;
        let filled = documents < self.step_documents;
        if !filled {
            self.read_ahead(build, last);
        }
        let mut transaction = self.pool.begin().await?;
        if build.is_new() {
            standby::make(&mut transaction).await?;
        }
        let events = i64::try_from(facts.events.len()).unwrap_or(i64::MAX);
        let carried = fold::fill(&mut transaction, &facts, Texts::Blobs(&self.blobs)).await?;
        let took = started.elapsed();
        if filled {
            standby::index(&mut transaction).await?;
        }
        build.advance(&mut transaction, build::Step { last, documents, events, carried, took, filled }).await?;
        transaction.commit().await?;
        let due = build.events_per_second.map_or(Duration::ZERO, |rate| due(events, rate));
        Ok(due.saturating_sub(started.elapsed()))
    }

    /// As it is now, or as it was a moment ago: what has changed since the build began is folded again when it follows.
    async fn next(&self, build: &Build) -> Result<Next, Error> {
        let ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner).take();
        match ahead {
            Some(ahead) if ahead.is_for(build) => ahead.reading.await.map_err(|_| Error::Panicked)?,
            _ => next(self.pool.clone(), self.registry.clone(), build.after_document, self.step_documents).await,
        }
    }

    fn read_ahead(&self, build: &Build, after: Option<Uuid>) {
        let reading = next(self.pool.clone(), self.registry.clone(), after, self.step_documents);
        let ahead = Ahead { of_build: build.identity(), after, since: Instant::now(), reading: tokio::spawn(reading) };
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) = Some(ahead);
    }
}

impl Ahead {
    fn is_for(&self, build: &Build) -> bool {
        self.of_build == build.identity() && self.after == build.after_document && self.since.elapsed() < AHEAD_FOR
    }
}

async fn next(pool: PgPool, registry: Registry, after: Option<Uuid>, documents: i64) -> Result<Next, Error> {
    let mut connection = pool.acquire().await?;
    let page = read::after(&mut connection, after, documents).await?;
    drop(connection);
    Ok(Next { last: page.last, documents: page.documents, facts: page.decode(&registry).await? })
}

/// How long so many events may take.
#[allow(clippy::cast_precision_loss)]
fn due(events: i64, per_second: i32) -> Duration {
    Duration::from_secs_f64(events.max(0) as f64 / f64::from(per_second.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_takes_as_long_as_its_events_may() {
        assert_eq!(due(5_000, 1_000), Duration::from_secs(5));
        assert_eq!(due(0, 1), Duration::ZERO);
        assert_eq!(due(1, 0), Duration::from_secs(1), "a rate of nothing is refused by the table");
    }
}
