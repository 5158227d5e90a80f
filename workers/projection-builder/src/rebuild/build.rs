use std::time::Duration;

use sqlx::{FromRow, PgConnection, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Error, follow::Mark};

/// Renewed while a step works; a replica that died loses the build after it.
pub const LEASE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum State {
    Building,
    Ready,
    Switched,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Wanted {
    Switch,
    Back,
    Compare,
    Drop,
}

#[derive(Debug, FromRow)]
pub struct Build {
    id: i64,
    epoch: i64,
    pub state: State,
    pub wanted: Option<Wanted>,
    pub compare_only: bool,
    pub events_per_second: Option<i32>,
    pub after_document: Option<Uuid>,
    pub filled: bool,
    documents_done: i64,
    pub followed_until: OffsetDateTime,
    pending_until: Option<OffsetDateTime>,
    pending_xmax: Option<i64>,
}

pub struct Step {
    pub last: Option<Uuid>,
    pub documents: i64,
    pub events: i64,
    pub carried: i64,
    pub took: Duration,
    pub filled: bool,
}

/// The build that has not ended, if it is ours or nobody's. Another owner than before gets another epoch.
pub async fn claim(pool: &PgPool, owner: Uuid, lease: Duration) -> Result<Option<Build>, Error> {
    let build = sqlx::query_as(
        r"UPDATE pipeline.projection_builds
             SET epoch = epoch + CASE WHEN owner IS DISTINCT FROM $1 THEN 1 ELSE 0 END, owner = $1,
                 lease_until = clock_timestamp() + make_interval(secs => $2)
           WHERE projection = 'document_view' AND ended_at IS NULL AND (owner IS NOT DISTINCT FROM $1 OR lease_until < clock_timestamp())
          RETURNING id, epoch, state, wanted, compare_only, events_per_second, after_document, filled, documents_done,
                    followed_until, pending_until, pending_xmax",
    )
    .bind(owner)
    .bind(lease.as_secs_f64())
    .fetch_optional(pool)
    .await?;
    Ok(build)
}

/// Ours for a lease from now.
pub async fn renew(pool: &PgPool, (id, epoch): (i64, i64), lease: Duration) -> Result<(), Error> {
    // Of a build that a step has just ended as well: the step is about to say so.
    let renewed = sqlx::query(
        "UPDATE pipeline.projection_builds SET lease_until = clock_timestamp() + make_interval(secs => $3) WHERE id = $1 AND epoch = $2",
    )
    .bind(id)
    .bind(epoch)
    .bind(lease.as_secs_f64())
    .execute(pool)
    .await?;
    held(renewed.rows_affected())
}

impl Build {
    /// Also of its owner: another one has another epoch.
    pub fn identity(&self) -> (i64, i64) {
        (self.id, self.epoch)
    }

    /// Nothing of it is there yet.
    pub fn is_new(&self) -> bool {
        self.documents_done == 0 && self.after_document.is_none()
    }

    pub fn pending(&self) -> Option<Mark> {
        self.pending_until.zip(self.pending_xmax).map(|(time, xmax)| Mark { time, xmax })
    }

    pub async fn advance(&self, connection: &mut PgConnection, step: Step) -> Result<(), Error> {
        let changed = sqlx::query(
            r"UPDATE pipeline.projection_builds
                 SET after_document = coalesce($3, after_document), documents_done = documents_done + $4,
                     events_done = events_done + $5, carried = carried + $6, worked_seconds = worked_seconds + $7,
                     filled = $8, updated_at = clock_timestamp(), problem = NULL,
                     documents_total = CASE WHEN documents_done > 0 THEN documents_total ELSE
                         (SELECT count(*) FROM pipeline.aggregates WHERE aggregate_type = 'document') END
               WHERE id = $1 AND epoch = $2",
        )
        .bind(self.id)
        .bind(self.epoch)
        .bind(step.last)
        .bind(step.documents)
        .bind(step.events)
        .bind(step.carried)
        .bind(step.took.as_secs_f64())
        .bind(step.filled)
        .execute(connection)
        .await?;
        held(changed.rows_affected())
    }

    pub async fn followed(
        &self,
        connection: &mut PgConnection,
        until: OffsetDateTime,
        pending: Mark,
    ) -> Result<(), Error> {
        let changed = sqlx::query(
            r"UPDATE pipeline.projection_builds
                 SET followed_until = $3, pending_until = $4, pending_xmax = $5, updated_at = clock_timestamp(), problem = NULL
               WHERE id = $1 AND epoch = $2",
        )
        .bind(self.id)
        .bind(self.epoch)
        .bind(until)
        .bind(pending.time)
        .bind(pending.xmax)
        .execute(connection)
        .await?;
        held(changed.rows_affected())
    }

    /// `fulfilled`: the wish that led here.
    pub async fn enter(
        &self,
        connection: &mut PgConnection,
        state: State,
        fulfilled: Option<Wanted>,
    ) -> Result<(), Error> {
        let changed = sqlx::query(
            r"UPDATE pipeline.projection_builds
                 SET state = $3, wanted = CASE WHEN wanted = $4 THEN NULL ELSE wanted END, updated_at = clock_timestamp(), problem = NULL
               WHERE id = $1 AND epoch = $2",
        )
        .bind(self.id)
        .bind(self.epoch)
        .bind(state)
        .bind(fulfilled)
        .execute(connection)
        .await?;
        held(changed.rows_affected())
    }

    pub async fn end(&self, connection: &mut PgConnection) -> Result<(), Error> {
        let changed = sqlx::query(
            r"UPDATE pipeline.projection_builds
                 SET state = CASE WHEN state = 'switched' THEN 'finished' WHEN compare_only AND compared_at IS NOT NULL THEN 'compared'
                                  ELSE 'cancelled' END,
                     wanted = NULL, owner = NULL, ended_at = clock_timestamp(), updated_at = clock_timestamp(), problem = NULL
               WHERE id = $1 AND epoch = $2",
        )
        .bind(self.id)
        .bind(self.epoch)
        .execute(connection)
        .await?;
        held(changed.rows_affected())
    }

    pub async fn compared(&self, connection: &mut PgConnection, of: &super::compare::Compared) -> Result<(), Error> {
        let changed = sqlx::query(
            r"UPDATE pipeline.projection_builds
                 SET compared_at = clock_timestamp(), rows_compared = $3, rows_differing = $4, live_hash = $5, standby_hash = $6,
                     differing = $7, updated_at = clock_timestamp(), problem = NULL
               WHERE id = $1 AND epoch = $2",
        )
        .bind(self.id)
        .bind(self.epoch)
        .bind(of.rows)
        .bind(of.differing)
        .bind(&of.live_hash)
        .bind(&of.standby_hash)
        .bind(&of.first)
        .execute(connection)
        .await?;
        held(changed.rows_affected())
    }
}

fn held(rows: u64) -> Result<(), Error> {
    if rows == 1 { Ok(()) } else { Err(Error::LeaseLost) }
}

/// A hint for operators; a database that is away has nobody to tell.
pub async fn complain(pool: &PgPool, owner: Uuid, problem: &Error) {
    let written = sqlx::query(
        "UPDATE pipeline.projection_builds SET problem = $2, updated_at = clock_timestamp() WHERE owner = $1 AND ended_at IS NULL",
    )
    .bind(owner)
    .bind(problem.to_string())
    .execute(pool)
    .await;
    if let Err(error) = written {
        tracing::debug!(%error, "the problem could not be written down");
    }
}

/// Another replica need not wait for the lease.
pub async fn let_go(pool: &PgPool, owner: Uuid) {
    let released = sqlx::query("UPDATE pipeline.projection_builds SET lease_until = '-infinity' WHERE owner = $1")
        .bind(owner)
        .execute(pool)
        .await;
    if let Err(error) = released {
        tracing::debug!(%error, "the lease ends by itself");
    }
}
