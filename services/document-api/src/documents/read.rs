use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{
    erase::gone_or_unknown,
    id::DocumentId,
    represent::{Document, etag_of},
    row::DocumentRow,
};
use crate::{App, problem::Problem, tenant::Tenant};

/// `GET /v1/documents/{id}`
pub(crate) async fn read(
    State(app): State<App>,
    tenant: Tenant,
    DocumentId(id): DocumentId,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let row = find(&app, &tenant, id).await?;
    let etag = etag_of(&row);
    // May be kept by the client alone, and is asked for again each time.
    let caching = [(header::ETAG, etag.clone()), (header::CACHE_CONTROL, "private, no-cache".to_owned())];
    if holds(&headers, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, caching).into_response());
    }
    Ok((caching, Json(Document::from(row))).into_response())
}

pub(super) async fn find(app: &App, tenant: &Tenant, id: uuid::Uuid) -> Result<DocumentRow, Problem> {
    match DocumentRow::find(&app.pool, tenant, id).await? {
        Some(row) => Ok(row),
        None => Err(gone_or_unknown(app, tenant, id).await?),
    }
}

/// If-None-Match (RFC 9110 §13.1.2): a list, compared weakly. Our tags hold no comma.
fn holds(headers: &HeaderMap, etag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_list_of_tags_is_compared_weakly() {
        let sent = |value: &str| HeaderMap::from_iter([(header::IF_NONE_MATCH, value.parse().unwrap())]);
        for held in ["\"v3\"", "*", "W/\"v3\"", "\"v1\", \"v3\"", "\"v1\",W/\"v3\" "] {
            assert!(holds(&sent(held), "\"v3\""), "{held}");
        }
        for other in ["", "\"v31\"", "v3", "\"v2\", \"v4\"", "\"v3"] {
            assert!(!holds(&sent(other), "\"v3\""), "{other}");
        }
        assert!(!holds(&HeaderMap::new(), "\"v3\""));
    }
}
