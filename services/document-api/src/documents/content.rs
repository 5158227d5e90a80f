use std::time::Duration;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use docfleet_blobs::BlobReader;

use super::{file_name::disposition, id::DocumentId, read::find};
use crate::{
    App,
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
    row.content_opened().map_err(|kind| match kind {
        Kind::NotScannedYet => Problem::of(kind).retry_after(Duration::from_secs(2)),
        for_ever => Problem::of(for_ever),
    })?;
    let blob = app.blobs.open(&row.blob_key).await?;
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
    let key = row.text_key.ok_or_else(|| Problem::of(Kind::NoText))?;
    let blob = app.blobs.open(&key).await?;
    Ok(streamed(blob, HeaderValue::from_static("text/plain; charset=utf-8")))
}

fn streamed(blob: BlobReader, mime: HeaderValue) -> Response {
    let headers = [(header::CONTENT_TYPE, mime), (header::CONTENT_LENGTH, HeaderValue::from(blob.size_bytes))];
    (headers, Body::from_stream(blob.bytes)).into_response()
}
