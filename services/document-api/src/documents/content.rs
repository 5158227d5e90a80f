use std::time::Duration;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use docfleet_blobs::BlobReader;
use docfleet_events::trail::{self, Action, Entry};
use serde_json::json;

use super::{file_name::disposition, id::DocumentId, read::find, row::DocumentRow};
use crate::{
    ACTOR, App,
    database::in_time,
    problem::{Kind, Problem},
    tenant::Tenant,
};

/// `GET /v1/documents/{id}/content`
pub(crate) async fn content(
    State(app): State<App>,
    tenant: Tenant,
    DocumentId(id): DocumentId,
) -> Result<Response, Problem> {
    let row = find(&app, &tenant, id).await?;
    must_be_open(&row)?;
    let blob = opened(&app, &row, &row.blob_key, Action::ContentRead).await?;
    // What the bytes are, as far as we found out ourselves; never what the client claimed.
    let mime = row.mime.and_then(|mime| HeaderValue::from_str(&mime).ok());
    let mut response = streamed(blob, mime.unwrap_or(HeaderValue::from_static("application/octet-stream")));
    if let Ok(value) = HeaderValue::from_str(&disposition(&row.file_name)) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

/// `GET /v1/documents/{id}/text`
pub(crate) async fn text(
    State(app): State<App>,
    tenant: Tenant,
    DocumentId(id): DocumentId,
) -> Result<Response, Problem> {
    let row = find(&app, &tenant, id).await?;
    row.not_found_infected().map_err(Problem::of)?;
    let key = row.text_key.as_deref().ok_or_else(|| Problem::of(Kind::NoText))?;
    must_be_open(&row)?;
    let blob = opened(&app, &row, key, Action::TextRead).await?;
    Ok(streamed(blob, HeaderValue::from_static("text/plain; charset=utf-8")))
}

/// What was made of a document is given out when the document itself is.
pub(super) fn must_be_open(row: &DocumentRow) -> Result<(), Problem> {
    row.content_opened().map_err(|kind| match kind {
        Kind::NotScannedYet => Problem::of(kind).retry_after(Duration::from_secs(2)),
        for_ever => Problem::of(for_ever),
    })
}

/// What is given out is on record before its first byte goes; what can not be put on record is not given out.
pub(super) async fn opened(app: &App, row: &DocumentRow, key: &str, action: Action) -> Result<BlobReader, Problem> {
    app.blobs.admits(&row.region)?;
    // Keys of the view come from events, and a key in an event is a claim.
    if key.split_once('/').is_none_or(|(tenant, _)| tenant != row.tenant) {
        tracing::error!(document_id = %row.id, "a key names another tenant's bytes");
        return Err(Problem::of(Kind::Internal));
    }
    let blob = app.blobs.open(key).await?;
    let read = Entry {
        region: &row.region,
        tenant: &row.tenant,
        actor: ACTOR,
        action,
        document_id: Some(row.id),
        detail: json!({ "size_bytes": blob.size_bytes }),
    };
    let mut connection = app.pool.acquire().await?;
    in_time(trail::record(&mut connection, &[read])).await.unwrap_or_else(|late| {
        connection.close_on_drop();
        Err(late)
    })?;
    Ok(blob)
}

pub(super) fn streamed(blob: BlobReader, mime: HeaderValue) -> Response {
    let headers = [(header::CONTENT_TYPE, mime), (header::CONTENT_LENGTH, HeaderValue::from(blob.size_bytes))];
    (headers, Body::from_stream(blob.bytes)).into_response()
}
