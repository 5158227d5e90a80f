use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use uuid::Uuid;

use crate::{
    App,
    problem::{Kind, Problem},
};

/// The `{id}` of a document's path.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DocumentId(pub Uuid);

pub(crate) fn no_such_document() -> Problem {
    Problem::new(Kind::NotFound, "There is no such document.")
}

impl FromRequestParts<App> for DocumentId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        // What is not an id names no document.
        match Path::<Uuid>::from_request_parts(parts, app).await {
            Ok(Path(id)) => Ok(Self(id)),
            Err(_) => Err(no_such_document()),
        }
    }
}
