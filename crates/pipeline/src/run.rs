//! A process from its first line to its exit code.

use std::{future::Future, sync::Arc, time::Duration};

use docfleet_outbox::{Input, Outbox, RetentionConfig};
use docfleet_telemetry::{Health, Metrics, ServiceConfig, Settings, TelemetryConfig};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{Semaphore, mpsc},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    Again, ConsumerConfig, Handler, ParkedConfig, Setup,
    broker::{self, Connection},
    consumer::{Driver, Progress, announce, watch},
    failure, gate,
    housekeeping::keep_house,
    parked::{Drainer, Hints},
    process::Processor,
    relay,
    settle::{Meters, Settler},
};

/// How long after the drain's own deadline the process ends by force: a client library that hangs in its destructor
/// must not outlive the orchestrator's patience (rust-rdkafka#517, librdkafka#4884).
const HARD_END: Duration = Duration::from_secs(8);

/// Runs a consumer until SIGTERM or SIGINT; a second signal ends it at once.
///
/// # Errors
/// Why the process must exit non-zero: a refused configuration, a fatal failure, a stall. Nothing that was not settled
/// has been committed then.
pub async fn run<H, F>(name: &'static str, build: impl FnOnce(Setup) -> F) -> anyhow::Result<()>
where
    H: Handler,
    F: Future<Output = anyhow::Result<H>>,
{
    process(name, |setup| async move {
        let handler = build(setup.clone()).await?;
        consume(&setup, handler).await
    })
    .await
}

/// Runs an outbox relay, and beside it the housekeeping, until SIGTERM or SIGINT.
///
/// # Errors
/// As [`run`].
pub async fn run_relay(name: &'static str) -> anyhow::Result<()> {
    process(name, |setup| async move {
        setup.spawn("housekeeping", keep_house(&setup)?);
        relay::relay(&setup).await
    })
    .await
}

async fn process<F>(name: &'static str, main: impl FnOnce(Setup) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let settings = Settings::load()?;
    let _guard = docfleet_telemetry::install(name, &settings.section::<TelemetryConfig>("telemetry")?)?;
    let metrics = Metrics::install()?;
    let shutdown = CancellationToken::new();
    let (broken, mut breaks) = mpsc::unbounded_channel();
    let setup = Setup::new(name, settings, shutdown.clone(), broken)?;
    let service: ServiceConfig = setup.section("service")?;
    let drain = setup.section::<ConsumerConfig>("consumer")?.shutdown_drain;
    let serving = CancellationToken::new();
    docfleet_telemetry::serve(&service.listen, setup.health.clone(), metrics, serving.clone()).await?;
    end_on_signals(shutdown.clone(), setup.health.clone(), drain + HARD_END)?;
    tracing::info!(name, region = %setup.region, listen = %service.listen, "started");
    let ended = tokio::select! {
        ended = main(setup.clone()) => ended,
        Some(why) = breaks.recv() => Err(anyhow::anyhow!(why)),
    };
    if let Err(error) = &ended {
        setup.health.set_dead(error.to_string());
        tracing::error!(name, error = format!("{error:#}"), "ended by a failure");
        end_by_force_after(HARD_END);
    }
    // An end of our own accord drains the background tasks just as a signal does.
    shutdown.cancel();
    if tokio::time::timeout(drain, setup.background_ended()).await.is_err() {
        tracing::warn!("background tasks did not end in time");
    }
    serving.cancel();
    tracing::info!(name, "ended");
    ended
}

fn end_on_signals(shutdown: CancellationToken, health: Health, hard_end: Duration) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        health.set_ready(false);
        shutdown.cancel();
        end_by_force_after(hard_end);
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(3);
    });
    Ok(())
}

/// On a thread, as the runtime may be what hangs.
fn end_by_force_after(time: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(time);
        std::process::exit(3);
    });
}

/// Consumes with `handler` until `setup.shutdown`; [`run`] without the process around it.
///
/// # Errors
/// As [`run`].
pub async fn consume<H: Handler>(setup: &Setup, handler: H) -> anyhow::Result<()> {
    H::POLICY.check().map_err(|why| anyhow::anyhow!("the policy of {} can not be kept: {why}", setup.name))?;
    let kafka = setup.kafka()?;
    let config: ConsumerConfig = setup.section("consumer")?;
    if H::POLICY.work_deadline > config.shutdown_drain {
        let (deadline, drain) = (H::POLICY.work_deadline, config.shutdown_drain);
        tracing::info!(?deadline, ?drain, "a try may outlive an orderly end; it is given up then and comes again");
    }
    let topics = topics_of::<H>(setup.name, &kafka.topic_prefix);
    subscribe(setup, &topics[..H::In::topics().len()], H::POLICY.again).await?;
    let connection = broker::kafka::connect(&kafka, setup.name, &topics, &config).map_err(anyhow::Error::msg)?;
    let progress = Progress::default();
    let stop = setup.shutdown.child_token();
    let watching =
        watch(kafka, setup.name, progress.clone(), (config.stall_after, config.accept_lost_records), stop.clone());
    setup.spawn("presence", announce(setup.pool.clone(), setup.name, progress.clone(), setup.shutdown.clone()));
    let driving = drive(setup, handler, connection, config, progress);
    setup.health.set_ready(true);
    let ended = tokio::select! {
        ended = driving => ended,
        Err(stalled) = watching => {
            setup.health.set_dead(&stalled);
            Err(anyhow::anyhow!(stalled))
        }
    };
    stop.cancel();
    setup.health.set_ready(false);
    ended
}

/// The driver, the processors and the settlers over one connection to a broker.
pub(crate) async fn drive<H: Handler>(
    setup: &Setup,
    handler: H,
    connection: Connection,
    config: ConsumerConfig,
    progress: Progress,
) -> anyhow::Result<()> {
    let handler = Arc::new(handler);
    let kafka = setup.kafka()?;
    let retry: crate::RetryConfig = setup.section("retry")?;
    let parking: ParkedConfig = setup.section("parked")?;
    let parked = Hints::default();
    let (gate, commands) = gate::Handle::new(setup.name, setup.section("breaker")?, &config, &H::POLICY);
    let watching = gate::watch(setup.pool.clone(), setup.name, gate.origin, commands, setup.shutdown.clone());
    setup.spawn("commands", watching);
    let topic_prefix = kafka.topic_prefix.clone();
    let (settle, finished) = mpsc::channel(config.in_flight_messages_max.max(1));
    let settler = Settler {
        handler: Arc::clone(&handler),
        consumer: setup.name,
        pool: setup.pool.clone(),
        outbox: Outbox::new(setup.registry.clone(), &kafka.topic_prefix),
        topic_prefix: kafka.topic_prefix,
        retry: retry.clone(),
        shutdown: setup.shutdown.clone(),
        progress: progress.clone(),
        wake: setup.relay_waker(),
        parked: parked.clone(),
        park_wait: parking.backoff,
        meters: Meters::of(setup.name),
        gate: gate.clone(),
    };
    let settler = Arc::new(settler);
    let settling = tokio::spawn(Arc::clone(&settler).run(finished, config.batch_messages_max, config.settlers));
    let processor = Processor {
        handler,
        consumer: setup.name,
        registry: setup.registry.clone(),
        pool: setup.pool.clone(),
        slots: Semaphore::new(config.concurrency.max(1)),
        retry,
        record_bytes_max: config.record_bytes_max,
        retention: setup.section::<RetentionConfig>("retention")?.validated()?,
        shutdown: setup.shutdown.clone(),
        progress: progress.clone(),
        settle,
        parked,
        gate,
    };
    let processor = Arc::new(processor);
    let drainer = Drainer { processor: Arc::clone(&processor), settler, config: parking, owner: Uuid::now_v7() };
    setup.spawn("parked-keys", drainer.run());
    let shutdown = setup.shutdown.clone();
    let driver = Driver::new(processor, connection, &config, shutdown, progress, &topic_prefix);
    let ended = driver.run().await.map_err(anyhow::Error::msg);
    if ended.is_ok() {
        // What still runs was not drained in time. Should it settle without its offset being committed, the inbox knows.
        if tokio::time::timeout(Duration::from_secs(1), settling).await.is_err() {
            tracing::warn!("the settlers did not end in time");
        }
    } else {
        settling.abort();
    }
    ended
}

/// The topics a consumer reads: its events', then its own retry topics.
fn topics_of<H: Handler>(consumer: &str, prefix: &str) -> Vec<String> {
    let events = H::In::topics().into_iter().map(|topic| format!("{prefix}{topic}"));
    let retries = H::POLICY.retry_topics().iter().map(|tier| format!("{prefix}{consumer}.retry.{}", tier.name));
    events.chain(retries).collect()
}

/// Writes down which outcomes this consumer owes, for the audit, and whether it may be fed again, for `docfleet replay`. Waits
/// for a database that is away.
async fn subscribe(setup: &Setup, topics: &[String], again: Again) -> anyhow::Result<()> {
    let retry: crate::RetryConfig = setup.section("retry")?;
    let (no_replay, effect, needs_events) = match again {
        Again::Repeatable(effect) => (None, Some(effect), false),
        Again::WithEvents(effect) => (None, Some(effect), true),
        Again::Refused(why) => (Some(why), None, false),
    };
    let writing = async {
        for waits in 0.. {
            let written = sqlx::query(
                r"WITH subscribed AS (
                      INSERT INTO pipeline.subscriptions (consumer, topic) SELECT $1, UNNEST($2::text[]) ON CONFLICT DO NOTHING)
                  INSERT INTO pipeline.declarations AS d (consumer, no_replay, effect, needs_events) VALUES ($1, $3, $4, $5)
                  ON CONFLICT (consumer) DO UPDATE
                      SET no_replay = excluded.no_replay, effect = excluded.effect, needs_events = excluded.needs_events,
                          declared_at = clock_timestamp()
                   WHERE (d.no_replay, d.effect, d.needs_events)
                         IS DISTINCT FROM (excluded.no_replay, excluded.effect, excluded.needs_events)",
            )
            .bind(setup.name)
            .bind(topics)
            .bind(no_replay)
            .bind(effect)
            .bind(needs_events)
            .execute(&setup.pool)
            .await;
            let Err(error) = written else { break };
            let failure = failure::of_database(&error);
            anyhow::ensure!(failure.class == crate::Class::Unavailable, failure);
            tracing::warn!(reason = failure.reason, detail = %failure.detail, "waiting");
            tokio::time::sleep(retry.wait(waits, rand::random())).await;
        }
        Ok(())
    };
    tokio::select! {
        written = writing => written,
        () = setup.shutdown.cancelled() => Ok(()),
    }
}
