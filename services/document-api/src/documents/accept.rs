use std::time::Duration;

use docfleet_blobs::{Kept, content_key};
use docfleet_events::{
    BlobRef, DocumentUploaded,
    trail::{self, Action, Entry},
};
use docfleet_outbox::Draft;
use docfleet_telemetry::trace as tracing_context;
use serde_json::json;
use sqlx::{Connection, PgConnection};
use time::OffsetDateTime;
use tokio::time::timeout;
use tracing::Span;
use uuid::Uuid;

use super::represent::AcceptedRow;
use crate::{
    ACTOR, App,
    database::in_time,
    idempotency::Claim,
    problem::{Kind, Problem},
};

/// Of a content whose bytes are being deleted just now; a deletion takes a moment.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);
/// Of the question whether the store still holds the bytes. The transaction waits for it.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);

/// A document whose bytes are on this machine, and of which nobody knows yet.
pub(super) struct Received {
    pub id: Uuid,
    pub tenant: String,
    pub file_name: String,
    pub declared_mime: Option<String>,
    pub received: docfleet_blobs::Received,
    pub size_bytes: i64,
    pub searchable_pdf: bool,
    pub fingerprint: Vec<u8>,
}

/// Why there is no `201`.
pub(super) enum NotAccepted {
    /// Nothing was committed. Its bytes may be in the store; nobody asks for them, and the same upload finds them there.
    Certainly(Problem),
    /// The connection broke while the commit was on its way.
    Perhaps(Problem),
    /// Nothing was committed: the bytes are being deleted, or were since they were put. Once more, from the put.
    Vanished,
}

impl NotAccepted {
    pub fn into_problem(self) -> Problem {
        match self {
            Self::Certainly(problem) | Self::Perhaps(problem) => problem,
            Self::Vanished => Problem::unavailable(),
        }
    }
}

impl From<Problem> for NotAccepted {
    fn from(problem: Problem) -> Self {
        Self::Certainly(problem)
    }
}

impl From<sqlx::Error> for NotAccepted {
    fn from(error: sqlx::Error) -> Self {
        Self::Certainly(error.into())
    }
}

/// The bytes first, then in one transaction the document, its key and its first event: so that none is ever without the
/// others.
pub(super) async fn accept(
    app: &App,
    upload: &Received,
    claim: Option<&Claim>,
) -> Result<(AcceptedRow, Kept), NotAccepted> {
    let mut tries = 0;
    loop {
        let kept = app.blobs.keep(&upload.tenant, &upload.received).await.map_err(Problem::from)?;
        match accept_kept(app, upload, claim, kept).await {
            Err(NotAccepted::Vanished) if tries < TRIES => {
                tries += 1;
                tokio::time::sleep(PAUSE * tries).await;
            }
            answered => return answered.map(|accepted| (accepted, kept)),
        }
    }
}

async fn accept_kept(
    app: &App,
    upload: &Received,
    claim: Option<&Claim>,
    kept: Kept,
) -> Result<AcceptedRow, NotAccepted> {
    let mut connection = app.pool.acquire().await?;
    let answered = in_time(transact(&mut connection, app, upload, claim, kept)).await;
    let created_at = answered.unwrap_or_else(|late| {
        // Nobody knows which statement was the last that arrived.
        connection.close_on_drop();
        Err(perhaps(late))
    })?;
    app.relay_bell.strike();
    Ok(AcceptedRow {
        id: upload.id,
        tenant: upload.tenant.clone(),
        region: app.region.to_string(),
        file_name: upload.file_name.clone(),
        size_bytes: upload.size_bytes,
        declared_mime: upload.declared_mime.clone(),
        created_at,
    })
}

async fn transact(
    connection: &mut PgConnection,
    app: &App,
    upload: &Received,
    claim: Option<&Claim>,
    kept: Kept,
) -> Result<OffsetDateTime, NotAccepted> {
    let mut transaction = connection.begin().await?;
    hold(&mut transaction, app, upload).await?;
    let created_at = insert(&mut transaction, app, upload).await?;
    if let Some(claim) = claim {
        claim.settle(&mut transaction, upload.id, &upload.fingerprint).await?;
    }
    let sha256 = upload.received.sha256_hex();
    let event = DocumentUploaded {
        document_id: upload.id,
        file_name: upload.file_name.clone(),
        declared_mime: upload.declared_mime.clone(),
        blob: BlobRef { key: content_key(&upload.tenant, &sha256), size_bytes: upload.size_bytes },
        sha256: Some(sha256),
        searchable_pdf: upload.searchable_pdf,
    };
    let draft = Draft::first(event, &upload.tenant, &app.region, tracing_context::traceparent_of(&Span::current()));
    app.outbox.append(&mut transaction, vec![draft]).await.map_err(of_outbox)?;
    let accepted = Entry {
        region: &app.region,
        tenant: &upload.tenant,
        actor: ACTOR,
        action: Action::Accepted,
        document_id: Some(upload.id),
        detail: json!({ "size_bytes": upload.size_bytes, "stored": kept == Kept::New }),
    };
    trail::record(&mut transaction, &[accepted]).await?;
    transaction.commit().await.map_err(perhaps)?;
    Ok(created_at)
}

/// Keeps others from deleting the bytes until the commit, and looks whether they did before.
async fn hold(connection: &mut PgConnection, app: &App, upload: &Received) -> Result<(), NotAccepted> {
    let held: bool = sqlx::query_scalar("SELECT documents.hold_blob($1, $2, $3, $4)")
        .bind(&*app.region)
        .bind(&upload.tenant)
        .bind(&upload.received.sha256[..])
        .bind(upload.size_bytes)
        .fetch_one(connection)
        .await?;
    if !held {
        return Err(NotAccepted::Vanished);
    }
    match timeout(LOOK_TIMEOUT, app.blobs.holds(&upload.tenant, &upload.received)).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(NotAccepted::Vanished),
        Ok(Err(error)) => Err(Problem::from(error).into()),
        Err(_) => {
            tracing::warn!("the blob store does not answer");
            Err(Problem::unavailable().into())
        }
    }
}

fn perhaps(error: sqlx::Error) -> NotAccepted {
    drop(Problem::from(error));
    NotAccepted::Perhaps(Problem::new(
        Kind::Unavailable,
        "The connection to the database broke at the last moment, so it is not known whether the document was accepted. \
         Repeating the request with the same Idempotency-Key is safe.",
    ))
}

async fn insert(connection: &mut PgConnection, app: &App, upload: &Received) -> Result<OffsetDateTime, sqlx::Error> {
    sqlx::query_scalar(
        r"INSERT INTO documents.documents (id, tenant, region, file_name, declared_mime, blob_key, size_bytes, sha256)
          VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING created_at",
    )
    .bind(upload.id)
    .bind(&upload.tenant)
    .bind(&*app.region)
    .bind(&upload.file_name)
    .bind(&upload.declared_mime)
    .bind(content_key(&upload.tenant, &upload.received.sha256_hex()))
    .bind(upload.size_bytes)
    .bind(&upload.received.sha256[..])
    .fetch_one(connection)
    .await
}

pub(super) fn of_outbox(error: docfleet_outbox::Error) -> Problem {
    match error {
        docfleet_outbox::Error::Database(error) => error.into(),
        docfleet_outbox::Error::RegistryUnavailable(_) => {
            tracing::warn!("the schema is not registered yet");
            Problem::unavailable()
        }
        // Without the error's text: it may quote the event.
        _ => {
            tracing::error!("the event of an upload can not be written");
            Problem::of(Kind::Internal)
        }
    }
}
