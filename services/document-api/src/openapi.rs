use axum::{
    Json,
    extract::{Path, rejection::PathRejection},
    http::header,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::problem::{Kind, Problem};

/// The contract travels inside the binary, so that the two are never of different versions.
const OPENAPI: &str = include_str!("../openapi.yaml");

pub(crate) async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/yaml"), (header::CACHE_CONTROL, "public, max-age=300")], OPENAPI)
        .into_response()
}

#[derive(Serialize)]
pub(crate) struct ProblemDescription {
    r#type: String,
    title: &'static str,
    status: u16,
    meaning: &'static str,
}

/// What a `type` leads to when somebody follows it.
pub(crate) async fn problem_type(
    slug: Result<Path<String>, PathRejection>,
) -> Result<Json<ProblemDescription>, Problem> {
    let known = slug.ok().and_then(|Path(slug)| Kind::ALL.iter().copied().find(|kind| kind.slug() == slug));
    let kind = known.ok_or_else(|| Problem::of(Kind::NotFound))?;
    Ok(Json(ProblemDescription {
        r#type: kind.type_reference(),
        title: kind.title(),
        status: kind.status().as_u16(),
        meaning: kind.meaning(),
    }))
}
