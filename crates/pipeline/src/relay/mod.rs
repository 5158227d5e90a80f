//! Carries outboxes to Kafka. A [`source`] is an outbox; its shards are shared by [`lease`]. A [`publisher`] makes
//! producers, and through each of them goes a [`flow`]: `read` (unpublished rows, oldest first, by `pace`) → `line` (of an
//! aggregate one record at a time) → `record` and `acks` (to Kafka and back) → `store` (marks, fenced by the lease's epoch).
//!
//! Why the first occurrence of each event is in order, even with two relays at work on one shard: each begins with the
//! lowest unpublished version of an aggregate and sends the next only after Kafka has acknowledged it. A relay that was
//! stopped and resumed can therefore repeat, never overtake; leases only save the repetition.

mod acks;
mod alarms;
mod config;
mod flow;
mod gaps;
mod held;
mod lease;
mod line;
mod pace;
mod published;
mod publisher;
mod read;
mod record;
mod session;
mod source;
mod store;
mod topics;
mod vitals;
mod watchdog;

use std::{sync::Arc, time::Duration};

use sqlx::postgres::PgListener;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use self::config::{RelayConfig, SourceConfig};
use self::{
    alarms::Alarms,
    lease::{Keeper, Leases},
    publisher::{Memory, Publisher},
    source::Source,
    topics::{Changed, Topics},
    vitals::Vitals,
    watchdog::Watchdog,
};
use crate::{RetryConfig, Setup, broker::client, housekeeping::keep_house_of};

/// Relays until `setup.shutdown`. Servers that are away are waited for.
///
/// # Errors
/// When the configuration is refused, a database is a standby, or the relay stalls.
pub async fn relay(setup: &Setup) -> anyhow::Result<()> {
    let config: RelayConfig = setup.section("relay")?;
    let outboxes = config.outboxes().map_err(anyhow::Error::msg)?;
    let kafka = client::observer(&setup.kafka()?, "relay-topics").map_err(anyhow::Error::msg)?;
    let topics = Topics::new(setup.pool.clone(), &kafka, setup.shutdown.clone())?;
    let changed = topics.changed();
    topics.first_look().await;
    setup.spawn("topics", topics.run());
    let mut relaying = JoinSet::new();
    for outbox in outboxes {
        let house = outbox.housekeeping.then(|| outbox.schema.clone());
        let source = Source::new(outbox, &config, &setup.section("postgres")?, setup.name)?;
        if let Some(schema) = house {
            setup.spawn("housekeeping", keep_house_of(setup, source.pool.clone(), &schema)?);
        }
        let (setup, config, changed) = (setup.clone(), config.clone(), changed.clone());
        relaying.spawn(async move { relay_source(&setup, &config, source, changed).await });
    }
    setup.health.set_ready(true);
    while let Some(ended) = relaying.join_next().await {
        // The first failure ends the process, and with it the others.
        ended??;
    }
    setup.health.set_ready(false);
    Ok(())
}

async fn relay_source(
    setup: &Setup,
    config: &RelayConfig,
    source: Source,
    changed: watch::Receiver<Changed>,
) -> anyhow::Result<()> {
    let kafka = setup.kafka()?;
    let retry: RetryConfig = setup.section("retry")?;
    source.until_primary(&retry, &setup.shutdown).await?;
    let owner = Uuid::new_v4();
    let (keeping, leases) = watch::channel(Arc::new(Leases::default()));
    // Renewed until the last mark is made, not only until the shutdown begins.
    let published = CancellationToken::new();
    let _published = published.clone().drop_guard();
    let keeper = Keeper { source: source.clone(), owner, ttl: config.lease };
    setup.spawn("leases", keeper.keep(keeping, published));
    let (wake, woken) = watch::channel(());
    setup.spawn("listen", listen(source.clone(), wake, setup.shutdown.clone()));
    let vitals = Arc::new(Vitals::default());
    let alarms = Alarms {
        source: source.clone(),
        leases: leases.clone(),
        vitals: Arc::clone(&vitals),
        stop: setup.shutdown.clone(),
    };
    setup.spawn("alarms", alarms.run());
    let watchdog = Watchdog {
        source: source.clone(),
        kafka: client::observer(&kafka, "relay-watchdog").map_err(anyhow::Error::msg)?,
        leases: leases.clone(),
        vitals: Arc::clone(&vitals),
        stall_after: config.stall_after,
        stop: setup.shutdown.clone(),
    };
    setup.spawn("watchdog", watchdog.run());
    let mut publishers = JoinSet::new();
    for number in 0..config.publishers {
        let publisher = Publisher {
            source: source.clone(),
            kafka: client::producer(&kafka).map_err(anyhow::Error::msg)?,
            config: config.clone(),
            retry: retry.clone(),
            owner,
            number,
            leases: leases.clone(),
            woken: woken.clone(),
            stop: setup.shutdown.clone(),
            vitals: Arc::clone(&vitals),
            changed: changed.clone(),
            memory: Memory::default(),
        };
        publishers.spawn(publisher.run());
    }
    let mut first = Ok(());
    while let Some(ended) = publishers.join_next().await {
        first = first.and(ended.map_err(anyhow::Error::from).and_then(std::convert::identity));
        if first.is_err() {
            break;
        }
    }
    first
}

/// Hands the wake-ups of writers on. Only a hint: without it the relay is as right, and slower.
async fn listen(source: Source, wake: watch::Sender<()>, shutdown: CancellationToken) -> anyhow::Result<()> {
    let listening = async {
        loop {
            if let Err(error) = listen_once(&source, &wake).await {
                tracing::debug!(%error, "listening for wake-ups");
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        () = listening => Ok(()),
        () = shutdown.cancelled() => Ok(()),
    }
}

async fn listen_once(source: &Source, wake: &watch::Sender<()>) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(&source.pool).await?;
    listener.listen(docfleet_outbox::WAKE_UP_CHANNEL).await?;
    loop {
        listener.recv().await?;
        wake.send_replace(());
    }
}
