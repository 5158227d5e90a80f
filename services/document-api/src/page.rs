use axum::{
    extract::{FromRequestParts, Query},
    http::request::Parts,
};
use serde::{Deserialize, Serialize};
use url::form_urlencoded;

use crate::{
    App,
    problem::{Kind, Problem},
};

const PAGE_SIZE_MAX: i64 = 200;
/// PostgreSQL walks over what is skipped, so there is an end to it.
const SKIP_MAX: i64 = 1_000_000;

/// `?page=1&page_size=50`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PageRequest {
    page: i64,
    page_size: i64,
}

impl Default for PageRequest {
    fn default() -> Self {
        Self { page: 1, page_size: 50 }
    }
}

impl PageRequest {
    fn is_valid(self) -> bool {
        let most = |size| SKIP_MAX / size + 1;
        (1..=PAGE_SIZE_MAX).contains(&self.page_size) && (1..=most(self.page_size)).contains(&self.page)
    }

    pub fn limit(self) -> i64 {
        self.page_size
    }

    pub fn offset(self) -> i64 {
        (self.page - 1) * self.page_size
    }
}

/// `?q=words&page=1&page_size=50`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default)]
    q: Option<String>,
    // Flattened, its unknown fields would not be refused.
    #[serde(default = "first")]
    page: i64,
    #[serde(default = "usual")]
    page_size: i64,
}

fn first() -> i64 {
    PageRequest::default().page
}

fn usual() -> i64 {
    PageRequest::default().page_size
}

/// A listing that can be searched.
#[derive(Debug)]
pub(crate) struct SearchRequest {
    /// As it was sent.
    pub q: Option<String>,
    pub page: PageRequest,
}

impl FromRequestParts<App> for SearchRequest {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, Problem> {
        let Query(Asked { q, page, page_size }) =
            Query::<Asked>::try_from_uri(&parts.uri).map_err(|_| Problem::of(Kind::InvalidPage))?;
        let page = PageRequest { page, page_size };
        if page.is_valid() { Ok(Self { q, page }) } else { Err(Problem::of(Kind::InvalidPage)) }
    }
}

impl FromRequestParts<App> for PageRequest {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, Problem> {
        match Query::<Self>::try_from_uri(&parts.uri) {
            Ok(Query(page)) if page.is_valid() => Ok(page),
            // The reason is not repeated: it would quote what the client sent.
            _ => Err(Problem::of(Kind::InvalidPage)),
        }
    }
}

/// One page of a listing.
#[derive(Debug, Serialize)]
pub(crate) struct Page<T> {
    items: Vec<T>,
    page: i64,
    page_size: i64,
    total: i64,
    links: Links,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Links {
    #[serde(rename = "self")]
    this: String,
    first: String,
    prev: Option<String>,
    next: Option<String>,
    last: String,
}

impl<T> Page<T> {
    /// `total` counts all items there are, `path` is where the listing lies.
    pub fn new(items: Vec<T>, request: PageRequest, total: i64, path: &str) -> Self {
        Self::found(items, request, total, path, None)
    }

    /// Of a listing that was searched: its links go on searching.
    pub fn found(items: Vec<T>, request: PageRequest, total: i64, path: &str, q: Option<&str>) -> Self {
        let PageRequest { page, page_size } = request;
        Self { items, page, page_size, total, links: links(request, total, path, q) }
    }
}

fn links(PageRequest { page, page_size }: PageRequest, total: i64, path: &str, q: Option<&str>) -> Links {
    let q = q.map(|q| format!("&q={}", form_urlencoded::byte_serialize(q.as_bytes()).collect::<String>()));
    let q = q.unwrap_or_default();
    let to = |page: i64| format!("{path}?page={page}&page_size={page_size}{q}");
    // Rounded up; the first page exists even when it is empty. Only what can be reached is linked.
    let last = ((total + page_size - 1) / page_size).clamp(1, SKIP_MAX / page_size + 1);
    Links {
        this: to(page),
        first: to(1),
        prev: (page > 1).then(|| to((page - 1).min(last))),
        next: (page < last).then(|| to(page + 1)),
        last: to(last),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(query: &str) -> Option<PageRequest> {
        let uri = format!("/x?{query}").parse().unwrap();
        Query::<PageRequest>::try_from_uri(&uri).ok().map(|Query(page)| page).filter(|page| page.is_valid())
    }

    #[test]
    fn only_sensible_pages_are_read() {
        assert_eq!(of(""), Some(PageRequest { page: 1, page_size: 50 }));
        assert_eq!(of("page=3&page_size=200"), Some(PageRequest { page: 3, page_size: 200 }));
        assert!(of("page=1000001&page_size=1").is_some());
        for bad in [
            "page=0",
            "page=-1",
            "page=a",
            "page=",
            "page=1.5",
            "page_size=0",
            "page_size=201",
            "page=1&page=2",
            "limit=5",
            "page=1000002&page_size=1",
            "page=9223372036854775807",
            "page=99999999999999999999",
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn links_lead_through_all_pages_and_nowhere_else() {
        let at = |page, total| links(PageRequest { page, page_size: 2 }, total, "/x", None);
        let link = |page: i64| format!("/x?page={page}&page_size=2");
        assert_eq!(at(1, 5), Links { this: link(1), first: link(1), prev: None, next: Some(link(2)), last: link(3) });
        assert_eq!((at(3, 5).prev, at(3, 5).next), (Some(link(2)), None));
        assert_eq!((at(1, 0).next, at(1, 0).last), (None, link(1)));
        let searched = links(PageRequest::default(), 1, "/x", Some("a&b c/ä"));
        assert_eq!(searched.this, "/x?page=1&page_size=50&q=a%26b+c%2F%C3%A4");
        // A page beyond the end leads back to the last one.
        assert_eq!((at(9, 5).prev, at(9, 5).next), (Some(link(3)), None));
        // A listing longer than what can be skipped does not link to what is refused.
        assert_eq!(at(1, 10_000_000).last, link(500_001));
    }
}
