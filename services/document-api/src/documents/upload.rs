use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{
        DefaultBodyLimit, FromRequest, Multipart, Query, Request, State, multipart::Field, rejection::QueryRejection,
    },
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use docfleet_blobs::Kept;
use futures::TryStreamExt;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tracing::Instrument;
use uuid::Uuid;

use super::{
    accept::{NotAccepted, Received, accept},
    file_name::{harmless, media_type},
    intake::{Intake, OVERHEAD_BYTES_MAX},
    represent::{AcceptedRow, Document, path_of},
};
use crate::{
    App,
    idempotency::{self, Claim, Found, IdempotencyKey},
    metric,
    problem::{Kind, Problem},
    tenant::Tenant,
};

/// `POST /v1/documents`
pub(crate) async fn upload(
    State(app): State<App>,
    tenant: Tenant,
    IdempotencyKey(key): IdempotencyKey,
    wishes: Result<Query<Wishes>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    app.blobs.admits_tenant(tenant.as_str())?;
    // The reason is not repeated: it would quote what the client sent.
    let Query(wishes) = wishes.map_err(|_| {
        Problem::new(Kind::BadRequest, "searchable_pdf is true or false, and there are no other parameters.")
    })?;
    let busy = |_| Problem::of(Kind::Busy).retry_after(Duration::from_secs(2));
    let slot = Arc::clone(&app.upload_slots).try_acquire_owned().map_err(busy)?;
    let uploads = app.uploads.clone();
    let upload = Upload::of(app, tenant, wishes, request).await?;
    // A task of its own: when the client leaves, this handler is dropped wherever it stands, and there is a claim to be
    // tidied up.
    let running = uploads.spawn(
        async move {
            let answer = upload.answer(key).await;
            drop(slot);
            answer
        }
        .in_current_span(),
    );
    running.await.unwrap_or_else(|_| Err(Problem::of(Kind::Internal)))
}

/// What is to be made of the document.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Wishes {
    searchable_pdf: bool,
}

struct Upload {
    app: App,
    tenant: Tenant,
    wishes: Wishes,
    intake: Intake,
    form: Multipart,
}

/// What the client says about its file.
struct Claimed {
    file_name: String,
    declared_mime: Option<String>,
}

impl Upload {
    async fn of(app: App, tenant: Tenant, wishes: Wishes, request: Request) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let intake = Intake::new(body, &app.api);
        let announced: Option<u64> =
            parts.headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
        if announced.is_some_and(|bytes| bytes > app.api.upload_bytes_max.saturating_add(OVERHEAD_BYTES_MAX as u64)) {
            intake.drain().await;
            return Err(too_large(&app));
        }
        let mut request = Request::from_parts(parts, intake.reader());
        // Files are counted on their way into the store, all else by the intake.
        DefaultBodyLimit::disable().apply(&mut request);
        match Multipart::from_request(request, &()).await {
            Ok(form) => Ok(Self { app, tenant, wishes, intake, form }),
            Err(_) => {
                intake.drain().await;
                Err(Problem::of(Kind::NotMultipart))
            }
        }
    }

    async fn answer(mut self, key: Option<String>) -> Result<Response, Problem> {
        let answer = match key {
            None => self.take_in(None).await,
            Some(key) => self.take_in_under(&key).await,
        };
        if answer.is_err() {
            self.intake.drain().await;
        }
        answer
    }

    async fn take_in_under(&mut self, key: &str) -> Result<Response, Problem> {
        let pool = self.app.pool.clone();
        match idempotency::claim(&pool, &self.tenant, key).await? {
            Found::Free(claim) => {
                let answer = claim.while_held(&pool, self.take_in(Some(&claim))).await;
                if answer.is_err() {
                    claim.release(&pool).await;
                }
                answer
            }
            Found::Settled { document_id, fingerprint } => self.repeat(document_id, &fingerprint).await,
        }
    }

    async fn take_in(&mut self, claim: Option<&Claim>) -> Result<Response, Problem> {
        let upload = self.receive().await?;
        let (accepted, kept) = accept(&self.app, &upload, claim).await.map_err(NotAccepted::into_problem)?;
        let size_bytes = upload.received.size_bytes;
        tracing::info!(document_id = %upload.id, size_bytes, "accepted");
        metrics::counter!(metric::UPLOADED_BYTES_TOTAL).increment(size_bytes);
        let known = kept == Kept::Known;
        metrics::counter!(metric::CONTENTS_TOTAL, "kept" => if known { "known" } else { "new" }).increment(1);
        if known {
            metrics::counter!(metric::KNOWN_CONTENT_BYTES_TOTAL).increment(size_bytes);
        }
        Ok(created(accepted, false))
    }

    /// Streams the file onto this machine, hashing it. It is in no store yet, and gone when it is dropped.
    async fn receive(&mut self) -> Result<Received, Problem> {
        let (claimed, file) = file_of(&mut self.form, &self.intake).await?;
        self.intake.enter_file();
        let received = self.app.blobs.receive(file, self.app.api.upload_bytes_max).await;
        self.intake.leave_file();
        let received = received.map_err(|error| match error {
            docfleet_blobs::Error::TooLarge { .. } => too_large(&self.app),
            docfleet_blobs::Error::BrokenUpload(_) => broken(&self.intake),
            other => other.into(),
        })?;
        self.nothing_more().await?;
        Ok(Received {
            id: Uuid::now_v7(),
            tenant: self.tenant.as_str().to_owned(),
            size_bytes: i64::try_from(received.size_bytes).map_err(|_| too_large(&self.app))?,
            searchable_pdf: self.wishes.searchable_pdf,
            fingerprint: claimed.fingerprint(self.wishes, &received.sha256),
            file_name: claimed.file_name,
            declared_mime: claimed.declared_mime,
            received,
        })
    }

    /// Reads the file only to see whether it is the one that was accepted under the key.
    async fn repeat(&mut self, document_id: Uuid, fingerprint: &[u8]) -> Result<Response, Problem> {
        let (claimed, mut file) = file_of(&mut self.form, &self.intake).await?;
        let mut hasher = Sha256::new();
        let mut size_bytes = 0_u64;
        self.intake.enter_file();
        while let Some(chunk) = file.try_next().await.map_err(|_| broken(&self.intake))? {
            size_bytes += chunk.len() as u64;
            if size_bytes > self.app.api.upload_bytes_max {
                return Err(too_large(&self.app));
            }
            hasher.update(&chunk);
        }
        self.intake.leave_file();
        drop(file);
        self.nothing_more().await?;
        if claimed.fingerprint(self.wishes, &hasher.finalize()) != fingerprint {
            return Err(Problem::of(Kind::IdempotencyKeyReused));
        }
        let accepted = sqlx::query_as(
            r"SELECT id, tenant, region, file_name, size_bytes, declared_mime, created_at
                FROM documents.documents WHERE id = $1",
        );
        match accepted.bind(document_id).fetch_optional(&self.app.pool).await? {
            Some(accepted) => Ok(created(accepted, true)),
            None => Err(Problem::of(Kind::Erased)),
        }
    }

    async fn nothing_more(&mut self) -> Result<(), Problem> {
        match self.form.next_field().await {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(Problem::of(Kind::TooManyParts)),
            Err(_) => Err(broken(&self.intake)),
        }
    }
}

async fn file_of<'f>(form: &'f mut Multipart, intake: &Intake) -> Result<(Claimed, Field<'f>), Problem> {
    match form.next_field().await {
        Ok(Some(part)) if part.name() == Some("file") => {
            let file_name = harmless(part.file_name());
            let declared_mime = media_type(part.content_type());
            Ok((Claimed { file_name, declared_mime }, part))
        }
        Ok(_) => Err(Problem::of(Kind::MissingFile)),
        Err(_) => Err(broken(intake)),
    }
}

impl Claimed {
    /// Over everything that makes two uploads the same. Lengths keep the fields apart.
    fn fingerprint(&self, wishes: Wishes, content: &[u8]) -> Vec<u8> {
        let mut hasher = Sha256::new();
        for field in [self.file_name.as_str(), self.declared_mime.as_deref().unwrap_or_default()] {
            hasher.update((field.len() as u64).to_be_bytes());
            hasher.update(field);
        }
        hasher.update(content);
        // Behind the content, whose length is the same for all: without wishes it is as it always was.
        if wishes.searchable_pdf {
            hasher.update(b"searchable_pdf");
        }
        hasher.finalize().to_vec()
    }
}

fn too_large(app: &App) -> Problem {
    Problem::new(Kind::TooLarge, format!("A file may have at most {} bytes.", app.api.upload_bytes_max))
}

/// The multipart reader gave up: because of the body, or of what stands in it.
fn broken(intake: &Intake) -> Problem {
    intake.fault().map_or_else(|| Problem::of(Kind::InvalidMultipart), Problem::from)
}

fn created(accepted: AcceptedRow, replayed: bool) -> Response {
    let location = [(header::LOCATION, path_of(accepted.id))];
    let mut response = (StatusCode::CREATED, location, Json(Document::from(accepted))).into_response();
    if replayed {
        response.headers_mut().insert("idempotency-replayed", header::HeaderValue::from_static("true"));
    }
    response
}
