use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, RwLock},
    time::{Duration, Instant},
};

use apache_avro::Schema;
use schema_registry_converter::{
    async_impl::schema_registry::{SrSettings, get_schema_by_id, post_schema},
    error::SRCError,
    schema_registry_common::{SchemaType, SuppliedSchema},
};
use serde::Deserialize;

use disk::DiskCache;

use crate::{Error, Event};

mod depth;
mod disk;

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
/// How long an id that the registry does not know is not asked for again. A registry that lags behind or was restored knows it
/// soon, so this is short; every message of such an id asks, so it is not nothing.
const UNKNOWN_FOR: Duration = Duration::from_secs(10);
const UNKNOWN_MAX: usize = 1_000;

/// Schema ids of what we write, schemas of what we read. Cheap to clone.
///
/// An id means the same for ever, so a positive answer is kept for the process's life, and on disk if there is a directory for
/// it: a restart while the registry is away then costs nothing for what was known before.
#[derive(Clone)]
pub struct Registry {
    settings: Arc<SrSettings>,
    by_id: Arc<RwLock<HashMap<u32, Arc<Schema>>>>,
    unknown: Arc<RwLock<HashMap<u32, Instant>>>,
    ids: Arc<RwLock<HashMap<&'static str, u32>>>,
    disk: Option<Arc<DiskCache>>,
}

impl Registry {
    pub fn new(config: &RegistryConfig) -> Result<Self, Error> {
        let url = config.url.trim_end_matches('/');
        let settings = SrSettings::new_builder(url.to_owned())
            .set_timeout(TIMEOUT)
            .no_proxy()
            .build()
            .map_err(|e| Error::RegistryUnavailable(e.to_string()))?;
        Ok(Self {
            settings: Arc::new(settings),
            by_id: Arc::default(),
            unknown: Arc::default(),
            ids: Arc::default(),
            disk: config.cache_dir.as_deref().map(|dir| Arc::new(DiskCache::of_registry(dir, url))),
        })
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
        let id = match post_schema(&self.settings, subject.clone(), supplied).await {
            Ok(registered) => {
                self.remember(|disk| disk.keep_pin(&subject, E::AVSC, registered.id));
                registered.id
            }
            Err(e) if e.retriable || is_unreachable(&e) => {
                // It took this very schema before, so it is not incompatible.
                let known = self.disk.as_ref().and_then(|disk| disk.pin(&subject, E::AVSC));
                known.ok_or_else(|| Error::RegistryUnavailable(e.to_string()))?
            }
            Err(e) => return Err(Error::Incompatible { subject, detail: e.to_string() }),
        };
        if let Ok(mut ids) = self.ids.write() {
            ids.insert(E::NAME, id);
        }
        Ok(id)
    }

    /// The id that [`pin`](Self::pin) found earlier.
    pub fn pinned<E: Event>(&self) -> Option<u32> {
        self.ids.read().ok()?.get(E::NAME).copied()
    }

    /// The schema that a record was written with.
    ///
    /// # Errors
    /// [`Error::UnknownSchema`] is what the registry said a moment ago, not for ever; [`Error::RegistryUnavailable`];
    /// [`Error::Avro`] of a schema that is none, or that refers to itself.
    pub async fn schema(&self, id: u32) -> Result<Arc<Schema>, Error> {
        if let Some(schema) = self.by_id.read().ok().and_then(|known| known.get(&id).cloned()) {
            return Ok(schema);
        }
        if let Some(schema) = self.disk.as_ref().and_then(|disk| disk.schema(id)) {
            return Ok(self.keep(id, bounded(schema)?));
        }
        if self.unknown.read().is_ok_and(|unknown| unknown.get(&id).is_some_and(|until| Instant::now() < *until)) {
            return Err(Error::UnknownSchema(id));
        }
        let registered = get_schema_by_id(id, &self.settings).await.map_err(|e| {
            // The crate calls a definite 404 (error code 40403) not retriable; all else is weather.
            if !is_not_found(&e) {
                return Error::RegistryUnavailable(e.to_string());
            }
            self.keep_unknown(id);
            Error::UnknownSchema(id)
        })?;
        let schema = bounded(Schema::parse_str(&registered.schema).map_err(|e| Error::Avro(e.to_string()))?)?;
        self.remember(|disk| disk.keep_schema(id, &registered.schema));
        Ok(self.keep(id, schema))
    }

    fn keep(&self, id: u32, schema: Schema) -> Arc<Schema> {
        let schema = Arc::new(schema);
        if let Ok(mut known) = self.by_id.write() {
            known.insert(id, Arc::clone(&schema));
        }
        schema
    }

    fn keep_unknown(&self, id: u32) {
        if let Ok(mut unknown) = self.unknown.write() {
            let now = Instant::now();
            unknown.retain(|_, until| now < *until);
            // Ids are foreign bytes: a flood of them must not become a flood of memory.
            if unknown.len() < UNKNOWN_MAX {
                unknown.insert(id, now + UNKNOWN_FOR);
            }
        }
    }

    /// A cache that can not be written costs a question after the next restart, no more.
    fn remember(&self, write: impl FnOnce(&DiskCache) -> std::io::Result<()>) {
        if let Some(disk) = &self.disk {
            write(disk).ok();
        }
    }
}

fn bounded(schema: Schema) -> Result<Schema, Error> {
    if depth::is_recursive(&schema) {
        return Err(Error::Avro("the schema refers to itself: its values have no bound of depth".to_owned()));
    }
    Ok(schema)
}

fn is_not_found(error: &SRCError) -> bool {
    error.to_string().contains("40403")
}

fn is_unreachable(error: &SRCError) -> bool {
    error.to_string().contains("http call to schema registry failed")
}
