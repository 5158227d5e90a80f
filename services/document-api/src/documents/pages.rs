//! The pages of a document that was read.

use axum::{
    Json,
    body::Body,
    extract::{FromRequestParts, Path, State},
    http::{HeaderValue, header, request::Parts},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use docfleet_events::{TextSource, trail::Action};
use futures::{Stream, StreamExt, future::ready};
use serde::Serialize;
use uuid::Uuid;

use super::{
    content::{must_be_open, opened},
    id::{DocumentId, no_such_document},
    read::find,
    represent::path_of,
    row::DocumentRow,
};
use crate::{
    App,
    problem::{Kind, Problem},
    tenant::Tenant,
};

/// Between two pages of a text.
const PAGE_BREAK: u8 = 0x0C;

#[derive(Debug, Serialize)]
pub(crate) struct Pages {
    items: Vec<PageOf>,
}

/// A page that was read, or one that could not be.
#[derive(Debug, Serialize)]
struct PageOf {
    number: i32,
    /// Why it could not be read; the others were.
    unread: Option<String>,
    source: Option<TextSource>,
    confidence: Option<f64>,
    words: i32,
    links: Links,
}

#[derive(Debug, Serialize)]
struct Links {
    text: Option<String>,
}

/// `GET /v1/documents/{id}/pages`
pub(crate) async fn pages(
    State(app): State<App>,
    tenant: Tenant,
    DocumentId(id): DocumentId,
) -> Result<Json<Pages>, Problem> {
    let row = find(&app, &tenant, id).await?;
    if row.text_key.is_none() {
        return Err(Problem::of(Kind::NoText));
    }
    must_be_open(&row)?;
    Ok(Json(Pages { items: items(row) }))
}

fn items(row: DocumentRow) -> Vec<PageOf> {
    let path = path_of(row.id);
    let read = row.pages.into_iter().flat_map(|pages| pages.0).map(|page| PageOf {
        number: page.number,
        unread: None,
        source: Some(page.source),
        confidence: page.confidence,
        words: page.words,
        links: Links { text: Some(format!("{path}/pages/{}/text", page.number)) },
    });
    let unread = row.unread.into_iter().flat_map(|unread| unread.0).map(|page| PageOf {
        number: page.number,
        unread: Some(page.reason),
        source: None,
        confidence: None,
        words: 0,
        links: Links { text: None },
    });
    let mut items: Vec<PageOf> = read.chain(unread).collect();
    items.sort_by_key(|page| page.number);
    items
}

/// A document and the number of a page; what is neither names nothing.
pub(crate) struct PageId {
    document: Uuid,
    number: i32,
}

impl FromRequestParts<App> for PageId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Path((document, number)) =
            Path::<(String, String)>::from_request_parts(parts, app).await.map_err(|_| no_such_document())?;
        let document = document.parse().map_err(|_| no_such_document())?;
        let number = number.parse().ok().filter(|number| *number >= 1).ok_or_else(no_such_page)?;
        Ok(Self { document, number })
    }
}

fn no_such_page() -> Problem {
    Problem::new(Kind::NotFound, "The document has no such page.")
}

/// `GET /v1/documents/{id}/pages/{number}/text`
pub(crate) async fn page_text(
    State(app): State<App>,
    tenant: Tenant,
    PageId { document, number }: PageId,
) -> Result<Response, Problem> {
    let row = find(&app, &tenant, document).await?;
    let key = row.text_key.as_deref().ok_or_else(|| Problem::of(Kind::NoText))?;
    must_be_open(&row)?;
    if row.unread.iter().flat_map(|unread| &unread.0).any(|page| page.number == number) {
        return Err(Problem::new(Kind::NoText, "This page could not be read; the list of pages says why."));
    }
    if !row.pages.iter().flat_map(|pages| &pages.0).any(|page| page.number == number) {
        return Err(no_such_page());
    }
    let blob = opened(&app, &row, key, Action::TextRead).await?;
    let mime = HeaderValue::from_static("text/plain; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, mime)], Body::from_stream(page_of(blob.bytes, number))).into_response())
}

/// One page of a text that comes in chunks; what follows it is not read.
fn page_of<E>(chunks: impl Stream<Item = Result<Bytes, E>>, number: i32) -> impl Stream<Item = Result<Bytes, E>> {
    chunks.scan(1, move |page, chunk| {
        if *page > number {
            return ready(None);
        }
        ready(Some(chunk.map(|chunk| {
            let mut kept = Bytes::new();
            for (nth, part) in chunk.split(|byte| *byte == PAGE_BREAK).enumerate() {
                *page += i32::from(nth > 0);
                if *page == number {
                    kept = chunk.slice_ref(part);
                }
            }
            kept
        })))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures::{TryStreamExt, executor::block_on, stream};

    use super::*;

    fn page(chunks: &[&'static str], number: i32) -> String {
        let chunks: Vec<Result<Bytes, String>> =
            chunks.iter().map(|chunk| Ok(Bytes::from_static(chunk.as_bytes()))).collect();
        let parts: Vec<Bytes> = block_on(page_of(stream::iter(chunks), number).try_collect()).unwrap();
        String::from_utf8(parts.concat()).unwrap()
    }

    #[test]
    fn a_page_is_cut_out_wherever_the_chunks_end() {
        for chunks in
            [&["one\x0ctwo\nlines\x0c\x0cfour"][..], &["one\x0ct", "wo", "\nlines", "\x0c", "\x0c", "", "four"]]
        {
            for (number, text) in [(1, "one"), (2, "two\nlines"), (3, ""), (4, "four"), (5, "")] {
                assert_eq!(page(chunks, number), text, "{number}");
            }
        }
    }
}
