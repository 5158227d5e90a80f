use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, RwLock},
    time::Duration,
};

use apache_avro::Schema;
use schema_registry_converter::{
    async_impl::schema_registry::{SrSettings, get_schema_by_id, post_schema},
    error::SRCError,
    schema_registry_common::{SchemaType, SuppliedSchema},
};
use serde::Deserialize;

use crate::{Error, Event};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegistryConfig {
    /// Base of a Confluent-compatible API, such as `http://host:8081` or `…/apis/ccompat/v7`.
    pub url: String,
    /// Where schemas are kept over restarts, so that a process starts and reads while the registry is away. None: nowhere.
    pub cache_dir: Option<PathBuf>,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self { url: "http://127.0.0.1:8081".to_owned(), cache_dir: None }
    }
}

const TIMEOUT: Duration = Duration::from_secs(10);

/// Schema ids of what we write, schemas of what we read. Cheap to clone; both caches live for the process.
///
/// Ids are immutable in a registry, so a positive answer is kept for ever. A negative one is never kept: an id that
/// is unknown now may be a registry that lags behind or was restored.
#[derive(Clone)]
pub struct Registry {
    settings: Arc<SrSettings>,
    by_id: Arc<RwLock<HashMap<u32, Arc<Schema>>>>,
    ids: Arc<RwLock<HashMap<&'static str, u32>>>,
}

impl Registry {
    pub fn new(config: &RegistryConfig) -> Result<Self, Error> {
        let settings = SrSettings::new_builder(config.url.trim_end_matches('/').to_owned())
            .set_timeout(TIMEOUT)
            .no_proxy()
            .build()
            .map_err(|e| Error::RegistryUnavailable(e.to_string()))?;
        Ok(Self { settings: Arc::new(settings), by_id: Arc::default(), ids: Arc::default() })
    }

    /// The id under which `E`'s schema is registered, registering it when it is new.
    ///
    /// Call it for every event that a process writes before it takes work: an incompatible schema must stop a
    /// deployment, not a settlement.
    pub async fn pin<E: Event>(&self) -> Result<u32, Error> {
        if let Some(id) = self.pinned::<E>() {
            return Ok(id);
        }
        let subject = format!("{}-value", E::TOPIC);
        let supplied = SuppliedSchema::new(None, SchemaType::Avro, E::AVSC.to_owned());
        let registered = post_schema(&self.settings, subject.clone(), supplied).await.map_err(|e| {
            if e.retriable || is_unreachable(&e) {
                Error::RegistryUnavailable(e.to_string())
            } else {
                Error::Incompatible { subject, detail: e.to_string() }
            }
        })?;
        if let Ok(mut ids) = self.ids.write() {
            ids.insert(E::NAME, registered.id);
        }
        Ok(registered.id)
    }

    /// The id that [`pin`](Self::pin) found earlier.
    pub fn pinned<E: Event>(&self) -> Option<u32> {
        self.ids.read().ok()?.get(E::NAME).copied()
    }

    /// The schema that a record was written with.
    pub async fn schema(&self, id: u32) -> Result<Arc<Schema>, Error> {
        if let Some(schema) = self.by_id.read().ok().and_then(|known| known.get(&id).cloned()) {
            return Ok(schema);
        }
        let registered = get_schema_by_id(id, &self.settings).await.map_err(|e| {
            // The crate calls a definite 404 (error code 40403) not retriable; all else is weather.
            if is_not_found(&e) { Error::UnknownSchema(id) } else { Error::RegistryUnavailable(e.to_string()) }
        })?;
        let schema = Arc::new(Schema::parse_str(&registered.schema).map_err(|e| Error::Avro(e.to_string()))?);
        if let Ok(mut known) = self.by_id.write() {
            known.insert(id, Arc::clone(&schema));
        }
        Ok(schema)
    }
}

fn is_not_found(error: &SRCError) -> bool {
    error.to_string().contains("40403")
}

fn is_unreachable(error: &SRCError) -> bool {
    error.to_string().contains("http call to schema registry failed")
}
