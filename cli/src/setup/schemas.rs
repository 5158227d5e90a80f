use docfleet_events::{
    DocumentDeduplicated, DocumentErased, DocumentInfectionFound, DocumentTextExtracted, DocumentUploaded,
    DocumentVirusScanned, Event,
};
use docfleet_outbox::Registry;
use reqwest::StatusCode;
use serde::Serialize;
use serde_json::json;

use crate::{Config, Error, error::Server, servers};

/// A new schema must read every record that was ever written to its topic.
const COMPATIBILITY: &str = "BACKWARD_TRANSITIVE";

#[derive(Serialize)]
pub struct Subject {
    pub subject: String,
    pub id: u32,
    /// Absent where the registry can not set it for one subject.
    pub compatibility: Option<String>,
}

pub async fn register(config: &Config) -> Result<Vec<Subject>, Error> {
    let registry = Registry::new(&config.registry)?;
    let registered = [
        registered::<DocumentUploaded>(&registry).await?,
        registered::<DocumentVirusScanned>(&registry).await?,
        registered::<DocumentDeduplicated>(&registry).await?,
        registered::<DocumentTextExtracted>(&registry).await?,
        registered::<DocumentErased>(&registry).await?,
        registered::<DocumentInfectionFound>(&registry).await?,
    ];
    let http = servers::http()?;
    let mut subjects = Vec::with_capacity(registered.len());
    for (subject, id) in registered {
        // After the registration: some registries know no settings of a subject that does not exist.
        let compatibility = require_compatibility(&http, config, &subject).await?;
        subjects.push(Subject { subject, id, compatibility });
    }
    Ok(subjects)
}

async fn registered<E: Event>(registry: &Registry) -> Result<(String, u32), Error> {
    Ok((format!("{}-value", E::TOPIC), registry.pin::<E>().await?))
}

async fn require_compatibility(
    http: &reqwest::Client,
    config: &Config,
    subject: &str,
) -> Result<Option<String>, Error> {
    let url = format!("{}/config/{subject}", config.registry.url.trim_end_matches('/'));
    let request = http.put(url).timeout(servers::HTTP_TIMEOUT).json(&json!({ "compatibility": COMPATIBILITY }));
    let response = request.send().await.map_err(|e| Error::from_http(Server::Registry, e))?;
    match response.status() {
        status if status.is_success() => Ok(Some(COMPATIBILITY.to_owned())),
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => Ok(None),
        status => Err(Error::Refused {
            server: Server::Registry,
            request: format!("PUT /config/{subject}"),
            status: status.as_u16(),
            detail: response.text().await.unwrap_or_default(),
        }),
    }
}
