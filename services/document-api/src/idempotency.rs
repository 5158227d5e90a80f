//! `Idempotency-Key`: a repeated request is answered like the first, and never done twice.
//!
//! A request first *claims* its key, for [`LEASE`] and renewed while it runs; a second one finds the claim and is told
//! to wait. The claim is *settled* in the transaction that accepts the document, and only by who still holds it. So a
//! claim is only politeness: were two requests to work under one key, one of them could not commit.

use std::time::Duration;

use axum::{extract::FromRequestParts, http::request::Parts};
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    App,
    database::Pool,
    problem::{Kind, Problem},
    tenant::Tenant,
};

/// How long a key stays claimed after its request died.
const LEASE: Duration = Duration::from_secs(30);
const RENEWAL: Duration = Duration::from_secs(10);

/// The header, when there is one.
pub(crate) struct IdempotencyKey(pub Option<String>);

impl FromRequestParts<App> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, Problem> {
        const CHARS_MAX: usize = 255;
        let mut given = parts.headers.get_all("idempotency-key").iter();
        match (given.next(), given.next()) {
            (None, _) => Ok(Self(None)),
            (Some(value), None)
                if (1..=CHARS_MAX).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic) =>
            {
                Ok(Self(value.to_str().ok().map(str::to_owned)))
            }
            _ => Err(Problem::of(Kind::InvalidIdempotencyKey)),
        }
    }
}

/// What a request finds under its key.
pub(crate) enum Found {
    /// Nobody works under it: now this request does.
    Free(Claim),
    /// A document was accepted under it.
    Settled { document_id: Uuid, fingerprint: Vec<u8> },
}

/// The right to settle a key.
pub(crate) struct Claim {
    tenant: String,
    key: String,
    claim: Uuid,
}

/// # Errors
/// [`Kind::RequestInProgress`] when another request holds the key.
pub(crate) async fn claim(pool: &Pool, tenant: &Tenant, key: &str) -> Result<Found, Problem> {
    let claim = Claim { tenant: tenant.as_str().to_owned(), key: key.to_owned(), claim: Uuid::new_v4() };
    let taken = sqlx::query(
        r"INSERT INTO documents.idempotency_keys AS k (tenant, key, claim, claimed_until)
          VALUES ($1, $2, $3, clock_timestamp() + make_interval(secs => $4))
          ON CONFLICT (tenant, key) DO UPDATE
             SET claim = excluded.claim, claimed_until = excluded.claimed_until, created_at = clock_timestamp()
           WHERE k.document_id IS NULL AND k.claimed_until < clock_timestamp()",
    )
    .bind(&claim.tenant)
    .bind(&claim.key)
    .bind(claim.claim)
    .bind(LEASE.as_secs_f64())
    .execute(pool)
    .await?;
    if taken.rows_affected() == 1 {
        return Ok(Found::Free(claim));
    }
    let settled: Option<(Uuid, Vec<u8>)> = sqlx::query_as(
        r"SELECT document_id, fingerprint FROM documents.idempotency_keys
           WHERE tenant = $1 AND key = $2 AND document_id IS NOT NULL",
    )
    .bind(&claim.tenant)
    .bind(&claim.key)
    .fetch_optional(pool)
    .await?;
    match settled {
        Some((document_id, fingerprint)) => Ok(Found::Settled { document_id, fingerprint }),
        None => Err(in_progress()),
    }
}

fn in_progress() -> Problem {
    Problem::of(Kind::RequestInProgress).retry_after(Duration::from_secs(1))
}

impl Claim {
    /// Runs `work` and renews the claim meanwhile.
    pub async fn while_held<T>(&self, pool: &Pool, work: impl Future<Output = T>) -> T {
        let renewing = async {
            loop {
                tokio::time::sleep(RENEWAL).await;
                if let Err(error) = self.renew(pool).await {
                    // Others may take the key over then; this request will find that out when it settles.
                    tracing::debug!(%error, "the claim was not renewed");
                }
            }
        };
        tokio::select! {
            biased;
            done = work => done,
            () = renewing => std::future::pending().await,
        }
    }

    async fn renew(&self, pool: &Pool) -> Result<(), sqlx::Error> {
        sqlx::query(
            r"UPDATE documents.idempotency_keys SET claimed_until = clock_timestamp() + make_interval(secs => $4)
               WHERE tenant = $1 AND key = $2 AND claim = $3 AND document_id IS NULL",
        )
        .bind(&self.tenant)
        .bind(&self.key)
        .bind(self.claim)
        .bind(LEASE.as_secs_f64())
        .execute(pool)
        .await
        .map(drop)
    }

    /// Binds the key to its document, in the transaction that accepts it.
    ///
    /// # Errors
    /// [`Kind::RequestInProgress`] when another request took the key over.
    pub async fn settle(
        &self,
        connection: &mut PgConnection,
        document_id: Uuid,
        fingerprint: &[u8],
    ) -> Result<(), Problem> {
        let settled = sqlx::query(
            r"UPDATE documents.idempotency_keys SET document_id = $4, fingerprint = $5
               WHERE tenant = $1 AND key = $2 AND claim = $3 AND document_id IS NULL",
        )
        .bind(&self.tenant)
        .bind(&self.key)
        .bind(self.claim)
        .bind(document_id)
        .bind(fingerprint)
        .execute(connection)
        .await?;
        if settled.rows_affected() == 1 { Ok(()) } else { Err(in_progress()) }
    }

    /// Frees the key after a failure, so that the client can put its request right under the same key. A key that was
    /// settled after all stays. Best effort: the lease ends by itself.
    pub async fn release(&self, pool: &Pool) {
        let released = sqlx::query(
            "DELETE FROM documents.idempotency_keys WHERE tenant = $1 AND key = $2 AND claim = $3 AND document_id IS NULL",
        )
        .bind(&self.tenant)
        .bind(&self.key)
        .bind(self.claim)
        .execute(pool)
        .await;
        if let Err(error) = released {
            tracing::debug!(%error, "the claim was not released");
        }
    }
}

/// Forgets keys that are older than `[api].idempotency_keys_kept`, until `stop`.
pub(crate) async fn expire_old_keys(app: App, stop: CancellationToken) {
    const INTERVAL: Duration = Duration::from_secs(600);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        match app.expire_idempotency_keys().await {
            Ok(0) => {}
            Ok(keys) => tracing::info!(keys, "old idempotency keys were deleted"),
            Err(error) => tracing::warn!(%error, "old idempotency keys were not deleted"),
        }
    }
}

impl App {
    /// Deletes old keys and says how many; in small steps, so that no statement holds many locks. A key that is worked
    /// under, however old, is left alone; locked, a row can not become one between being chosen and being deleted.
    pub async fn expire_idempotency_keys(&self) -> Result<u64, sqlx::Error> {
        const STEP: u64 = 1_000;
        let mut expired = 0;
        loop {
            let step = sqlx::query(
                r"DELETE FROM documents.idempotency_keys WHERE (tenant, key) IN (
                    SELECT tenant, key FROM documents.idempotency_keys
                     WHERE created_at < clock_timestamp() - make_interval(secs => $1)
                       AND (document_id IS NOT NULL OR claimed_until < clock_timestamp())
                     ORDER BY created_at LIMIT 1000 FOR UPDATE SKIP LOCKED)",
            )
            .bind(self.api.idempotency_keys_kept.as_secs_f64())
            .execute(&self.pool)
            .await?
            .rows_affected();
            expired += step;
            if step < STEP {
                return Ok(expired);
            }
        }
    }
}
