//! What was made of a document, in forms that other programs know.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use docfleet_blobs::BlobReader;
use docfleet_events::trail::Action;
use docfleet_layout::DocumentLayout;
use futures::TryStreamExt;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    content::{must_be_open, opened, streamed},
    file_name::disposition,
    id::DocumentId,
    read::find,
};
use crate::{
    App,
    problem::{Kind, Problem},
    tenant::Tenant,
};

/// More than the words that are kept of one document take.
const LAYOUT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// `GET /v1/documents/{id}/hocr`
pub(crate) async fn hocr(
    State(app): State<App>,
    tenant: Tenant,
    DocumentId(id): DocumentId,
) -> Result<Response, Problem> {
    let row = find(&app, &tenant, id).await?;
    let key = row.layout_key.as_deref().ok_or_else(|| Problem::of(Kind::NoSuchForm))?;
    must_be_open(&row)?;
    let internal = || Problem::of(Kind::Internal);
    let permit = Arc::clone(&app.conversions).acquire_owned().await.map_err(|_| internal())?;
    let json = whole(opened(&app, &row, key, Action::LayoutRead).await?).await?;
    // Tens of megabytes in the worst case: not on the threads that answer others. It goes on when the client leaves, so the
    // permit goes with it.
    let html = tokio::task::spawn_blocking(move || {
        let html = serde_json::from_slice::<DocumentLayout>(&json).map(|layout| docfleet_layout::hocr(&layout))?;
        Ok::<_, serde_json::Error>(Counted { html, _permit: permit })
    })
    .await
    .map_err(|_| internal())?
    .map_err(|_| {
        tracing::error!("a stored layout is not understood");
        internal()
    })?;
    let mime = HeaderValue::from_static("application/xhtml+xml; charset=utf-8");
    let response = ([(header::CONTENT_TYPE, mime)], Body::from(Bytes::from_owner(html))).into_response();
    Ok(as_attachment(response, &format!("{}.hocr.html", row.file_name)))
}

/// Counts as long as it is in memory: until its last byte is with the client, or the client is gone.
struct Counted {
    html: String,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        self.html.as_bytes()
    }
}

/// `GET /v1/documents/{id}/searchable.pdf`
pub(crate) async fn searchable_pdf(
    State(app): State<App>,
    tenant: Tenant,
    DocumentId(id): DocumentId,
) -> Result<Response, Problem> {
    let row = find(&app, &tenant, id).await?;
    let key = row.searchable_key.as_deref().ok_or_else(|| Problem::of(Kind::NoSuchForm))?;
    must_be_open(&row)?;
    let blob = opened(&app, &row, key, Action::SearchableRead).await?;
    let response = streamed(blob, HeaderValue::from_static("application/pdf"));
    let stem = row.file_name.strip_suffix(".pdf").unwrap_or(&row.file_name);
    Ok(as_attachment(response, &format!("{stem}.searchable.pdf")))
}

async fn whole(blob: BlobReader) -> Result<Bytes, Problem> {
    if blob.size_bytes > LAYOUT_BYTES_MAX {
        tracing::error!(size_bytes = blob.size_bytes, "a stored layout is too large");
        return Err(Problem::of(Kind::Internal));
    }
    let all = blob.bytes.try_fold(BytesMut::new(), |mut all, chunk| {
        all.extend_from_slice(&chunk);
        futures::future::ready(Ok(all))
    });
    Ok(all.await?.freeze())
}

/// So that a browser saves it and opens nothing that a document wrote.
fn as_attachment(mut response: Response, file_name: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(&disposition(file_name)) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn what_is_given_out_counts_until_its_last_byte_is_gone() {
        let conversions = Arc::new(Semaphore::new(1));
        let permit = Arc::clone(&conversions).acquire_owned().await.unwrap();
        let body = Bytes::from_owner(Counted { html: "<html/>".to_owned(), _permit: permit });
        // As a connection does with what its client does not take.
        let unsent = body.slice(6..);
        drop(body);
        assert_eq!((conversions.available_permits(), &unsent[..]), (0, &b">"[..]));
        drop(unsent);
        assert_eq!(conversions.available_permits(), 1);
    }
}
