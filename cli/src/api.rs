//! A client of the document API, as its `openapi.yaml` says.

mod document;

use std::{path::Path, time::Duration};

use clap::Args;
pub use document::{Document, Webhooks};
use reqwest::{RequestBuilder, Response, StatusCode, multipart};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;
use time::OffsetDateTime;
use tokio_util::io::ReaderStream;
use url::Url;
use uuid::Uuid;

use crate::{Config, Error, error::Server, servers};

/// Of one upload, however large the file.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(600);

/// The most that the API allows.
const PAGE_SIZE: u32 = 200;

/// Which API, as whom.
#[derive(Args)]
pub struct ApiArgs {
    /// Base of the document API [default: [api].listen of the configuration]
    #[arg(long, value_name = "URL")]
    pub api: Option<Url>,
    /// On whose behalf [default: [api].default_tenant of the service]
    #[arg(long, value_name = "TENANT")]
    pub tenant: Option<String>,
}

pub struct Api {
    http: reqwest::Client,
    base: String,
    tenant: Option<String>,
}

/// A webhook subscription. The secret is told once, at creation.
#[derive(Deserialize)]
pub struct Subscription {
    pub id: Uuid,
    pub url: String,
    #[serde(default)]
    pub event_types: Vec<String>,
    pub description: Option<String>,
    pub secret: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

#[derive(Deserialize)]
struct Page<T> {
    items: Vec<T>,
    links: PageLinks,
}

#[derive(Deserialize)]
struct PageLinks {
    next: Option<String>,
}

/// RFC 9457.
#[derive(Deserialize, Default)]
struct Problem {
    title: Option<String>,
    detail: Option<String>,
}

impl Api {
    pub fn new(config: &Config, args: &ApiArgs) -> Result<Self, Error> {
        let base = args.api.as_ref().map_or(config.api_url.as_str(), Url::as_str).trim_end_matches('/').to_owned();
        if Url::parse(&base).is_err() {
            return Err(Error::Config(format!("[api].listen makes no URL: {base}")));
        }
        Ok(Self { http: servers::http()?, base, tenant: args.tenant.clone() })
    }

    pub fn url_of(&self, document: Uuid) -> String {
        format!("{}/v1/documents/{document}", self.base)
    }

    /// Streams a file. By the key the API recognises a repetition, and answers with the first document.
    pub async fn upload(
        &self,
        path: &Path,
        file_name: &str,
        key: &str,
        searchable_pdf: bool,
    ) -> Result<Document, Error> {
        let of_file = |source| Error::File { path: path.to_owned(), source };
        let file = tokio::fs::File::open(path).await.map_err(of_file)?;
        let size_bytes = file.metadata().await.map_err(of_file)?.len();
        let body = reqwest::Body::wrap_stream(ReaderStream::new(file));
        let part = multipart::Part::stream_with_length(body, size_bytes)
            .file_name(file_name.to_owned())
            .mime_str(declared_mime(path))
            .map_err(|e| Error::from_http(Server::Api, e))?;
        let wish = if searchable_pdf { "?searchable_pdf=true" } else { "" };
        let request = self.http.post(format!("{}/v1/documents{wish}", self.base)).timeout(UPLOAD_TIMEOUT);
        let request = request.header("Idempotency-Key", key).multipart(multipart::Form::new().part("file", part));
        self.json("POST /v1/documents", request).await
    }

    pub async fn document(&self, id: Uuid) -> Result<Document, Error> {
        let request = self.http.get(self.url_of(id)).timeout(servers::HTTP_TIMEOUT);
        self.json("GET /v1/documents/{id}", request).await
    }

    pub async fn subscriptions(&self) -> Result<Vec<Subscription>, Error> {
        let mut all = Vec::new();
        for page in 1.. {
            let url = format!("{}/v1/webhooks?page={page}&page_size={PAGE_SIZE}", self.base);
            let request = self.http.get(url).timeout(servers::HTTP_TIMEOUT);
            let read: Page<Subscription> = self.json("GET /v1/webhooks", request).await?;
            all.extend(read.items);
            if read.links.next.is_none() {
                break;
            }
        }
        Ok(all)
    }

    pub async fn subscribe(&self, url: &str, event_types: &[String], description: &str) -> Result<Subscription, Error> {
        let body = json!({ "url": url, "event_types": event_types, "description": description });
        let request = self.http.post(format!("{}/v1/webhooks", self.base)).timeout(servers::HTTP_TIMEOUT).json(&body);
        self.json("POST /v1/webhooks", request).await
    }

    pub async fn unsubscribe(&self, id: Uuid) -> Result<(), Error> {
        let request = self.http.delete(format!("{}/v1/webhooks/{id}", self.base)).timeout(servers::HTTP_TIMEOUT);
        self.send("DELETE /v1/webhooks/{id}", request).await.map(drop)
    }

    async fn json<T: DeserializeOwned>(&self, what: &str, request: RequestBuilder) -> Result<T, Error> {
        let response = self.send(what, request).await?;
        response.json().await.map_err(|e| Error::from_http(Server::Api, e))
    }

    async fn send(&self, what: &str, request: RequestBuilder) -> Result<Response, Error> {
        let request = match &self.tenant {
            Some(tenant) => request.header("X-Tenant-Id", tenant),
            None => request,
        };
        let response = request.send().await.map_err(|e| Error::from_http(Server::Api, e))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let problem: Problem = response.json().await.unwrap_or_default();
        let detail = problem.detail.or(problem.title).unwrap_or_else(|| "no reason given".to_owned());
        if matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT) {
            return Err(Error::Away { server: Server::Api, detail: format!("{status}: {detail}") });
        }
        Err(Error::Refused { server: Server::Api, request: what.to_owned(), status: status.as_u16(), detail })
    }
}

/// What a browser would declare for the file's name.
fn declared_mime(path: &Path) -> &'static str {
    let extension = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    match extension.as_deref() {
        Some("pdf") => "application/pdf",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("tif" | "tiff") => "image/tiff",
        Some("gif") => "image/gif",
        Some("webp") => "image/webp",
        Some("bmp") => "image/bmp",
        Some("txt") => "text/plain",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_declared_type_follows_the_name_and_never_the_content() {
        assert_eq!(declared_mime(Path::new("a/Letter.PDF")), "application/pdf");
        assert_eq!(declared_mime(Path::new("scan.jpeg")), "image/jpeg");
        assert_eq!(declared_mime(Path::new("README")), "application/octet-stream");
    }
}
