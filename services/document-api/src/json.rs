use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{StatusCode, header},
    response::IntoResponse,
};
use serde::de::DeserializeOwned;

use crate::{
    App,
    problem::{Kind, Problem},
};

/// For every body that is not an upload.
pub(crate) const BODY_BYTES_MAX: usize = 64 * 1024;

/// A JSON body. Its problems name a place, never a value: bodies hold secrets and personal data.
pub(crate) struct JsonBody<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let content_type =
            request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            return Err(Problem::of(Kind::NotJson));
        }
        let bytes =
            Bytes::from_request(request, app).await.map_err(|rejection| match rejection.into_response().status() {
                StatusCode::PAYLOAD_TOO_LARGE => {
                    Problem::new(Kind::TooLarge, format!("The body has more than {BODY_BYTES_MAX} bytes."))
                }
                _ => Problem::new(Kind::BadRequest, "The body broke off."),
            })?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            let what = if error.is_data() { "is not of the shape that the operation takes" } else { "is not JSON" };
            let place = format!("line {}, column {}", error.line(), error.column());
            Problem::new(Kind::InvalidJson, format!("The body {what}: {place}."))
        })
    }
}
