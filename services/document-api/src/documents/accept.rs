use docfleet_events::{BlobRef, DocumentUploaded};
use docfleet_outbox::Draft;
use docfleet_telemetry::trace;
use sqlx::{Connection, PgConnection};
use time::OffsetDateTime;
use tracing::Span;
use uuid::Uuid;

use super::represent::AcceptedRow;
use crate::{
    App,
    database::in_time,
    idempotency::Claim,
    problem::{Kind, Problem},
};

/// A document whose bytes are stored, and of which nobody knows yet.
pub(super) struct Stored {
    pub id: Uuid,
    pub tenant: String,
    pub file_name: String,
    pub declared_mime: Option<String>,
    pub blob_key: String,
    pub size_bytes: i64,
    /// Over everything that makes two uploads the same.
    pub fingerprint: Vec<u8>,
}

/// Why there is no `201`.
pub(super) enum NotAccepted {
    /// Nothing was committed.
    Certainly(Problem),
    /// The connection broke while the commit was on its way: the document may be there, so its bytes must stay.
    Perhaps(Problem),
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

/// The document, its key and its first event: one transaction, so that none is ever without the others.
pub(super) async fn accept(app: &App, stored: &Stored, claim: Option<&Claim>) -> Result<AcceptedRow, NotAccepted> {
    let mut connection = app.pool.acquire().await?;
    let answered = in_time(transact(&mut connection, app, stored, claim)).await;
    let created_at = answered.unwrap_or_else(|late| {
        // Nobody knows which statement was the last that arrived.
        connection.close_on_drop();
        Err(perhaps(late))
    })?;
    app.relay_bell.strike();
    Ok(AcceptedRow {
        id: stored.id,
        tenant: stored.tenant.clone(),
        region: app.region.to_string(),
        file_name: stored.file_name.clone(),
        size_bytes: stored.size_bytes,
        declared_mime: stored.declared_mime.clone(),
        created_at,
    })
}

async fn transact(
    connection: &mut PgConnection,
    app: &App,
    stored: &Stored,
    claim: Option<&Claim>,
) -> Result<OffsetDateTime, NotAccepted> {
    let mut transaction = connection.begin().await?;
    let created_at = insert(&mut transaction, app, stored).await?;
    if let Some(claim) = claim {
        claim.settle(&mut transaction, stored.id, &stored.fingerprint).await?;
    }
    let event = DocumentUploaded {
        document_id: stored.id,
        file_name: stored.file_name.clone(),
        declared_mime: stored.declared_mime.clone(),
        blob: BlobRef { key: stored.blob_key.clone(), size_bytes: stored.size_bytes },
    };
    let draft = Draft::first(event, &stored.tenant, &app.region, trace::traceparent_of(&Span::current()));
    app.outbox.append(&mut transaction, vec![draft]).await.map_err(of_outbox)?;
    transaction.commit().await.map_err(perhaps)?;
    Ok(created_at)
}

fn perhaps(error: sqlx::Error) -> NotAccepted {
    drop(Problem::from(error));
    NotAccepted::Perhaps(Problem::new(
        Kind::Unavailable,
        "The connection to the database broke at the last moment, so it is not known whether the document was accepted. \
         Repeating the request with the same Idempotency-Key is safe.",
    ))
}

async fn insert(connection: &mut PgConnection, app: &App, stored: &Stored) -> Result<OffsetDateTime, sqlx::Error> {
    sqlx::query_scalar(
        r"INSERT INTO documents.documents (id, tenant, region, file_name, declared_mime, blob_key, size_bytes)
          VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING created_at",
    )
    .bind(stored.id)
    .bind(&stored.tenant)
    .bind(&*app.region)
    .bind(&stored.file_name)
    .bind(&stored.declared_mime)
    .bind(&stored.blob_key)
    .bind(stored.size_bytes)
    .fetch_one(connection)
    .await
}

fn of_outbox(error: docfleet_outbox::Error) -> Problem {
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
