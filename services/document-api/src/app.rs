use std::sync::Arc;

use docfleet_blobs::Blobs;
use docfleet_events::{
    DocumentUploaded,
    erasure::{self, ErasureConfig},
};
use docfleet_outbox::{Outbox, Registry};
use docfleet_telemetry::{ServiceConfig, Settings};
use tokio::sync::{Notify, Semaphore};
use tokio_util::task::TaskTracker;

use crate::{
    ApiConfig, Error,
    config::{TopicsConfig, WebhooksConfig},
    database::{self, Pool},
    relay_bell::RelayBell,
};

/// Each holds some 100 MB for a document with as many words as are kept.
const CONVERSIONS_MAX: usize = 4;
/// Each takes a connection and a core of the database.
const SEARCHES_MAX: usize = 4;

/// What the handlers work with. Cheap to clone.
#[derive(Clone)]
pub struct App {
    pub(crate) pool: Pool,
    pub(crate) blobs: Blobs,
    pub(crate) outbox: Outbox,
    pub(crate) relay_bell: RelayBell,
    /// Struck when a document is erased.
    pub(crate) eraser_bell: Arc<Notify>,
    pub(crate) erasure: Arc<ErasureConfig>,
    /// Where the data of accepted documents lies.
    pub(crate) region: Arc<str>,
    pub(crate) api: Arc<ApiConfig>,
    pub(crate) webhooks: WebhooksConfig,
    pub(crate) upload_slots: Arc<Semaphore>,
    /// Layouts, and what was made of them, that are in memory at once.
    pub(crate) conversions: Arc<Semaphore>,
    pub(crate) searches: Arc<Semaphore>,
    /// Uploads run here: they outlive the connection they came on, to tidy up after themselves.
    pub(crate) uploads: TaskTracker,
}

impl App {
    /// Reads the configuration. Connects to nothing yet, so that servers that are away do not keep it from starting.
    pub fn open(settings: &Settings) -> Result<Self, Error> {
        let api: ApiConfig = settings.section("api")?;
        api.validate()?;
        let registry = Registry::new(&settings.section("registry")?)?;
        let topics: TopicsConfig = settings.section("kafka")?;
        let region = settings.section::<ServiceConfig>("service")?.region;
        Ok(Self {
            pool: database::pool(&settings.section("postgres")?)?,
            blobs: Blobs::open_store(&settings.section("blobs")?, &region)?,
            outbox: Outbox::new(registry, &topics.topic_prefix),
            relay_bell: RelayBell::default(),
            eraser_bell: Arc::default(),
            erasure: Arc::new(settings.section("erasure")?),
            region: region.into(),
            conversions: Arc::new(Semaphore::new(CONVERSIONS_MAX)),
            searches: Arc::new(Semaphore::new(SEARCHES_MAX)),
            upload_slots: Arc::new(Semaphore::new(api.uploads_max)),
            api: Arc::new(api),
            webhooks: settings.section("webhooks")?,
            uploads: TaskTracker::new(),
        })
    }

    /// Registers the schemas of the events that uploads and erasures write. Must succeed before the first request: an incompatible
    /// schema has to stop a deployment, not an upload.
    ///
    /// # Errors
    /// [`docfleet_outbox::Error::RegistryUnavailable`] when trying again may help.
    pub async fn pin_schemas(&self) -> Result<(), docfleet_outbox::Error> {
        self.outbox.registry().pin::<DocumentUploaded>().await?;
        erasure::pin_schemas(self.outbox.registry()).await
    }
}
