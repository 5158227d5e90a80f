//! A fleet of one consumer: its handler does what each event asks it to.

use std::{
    collections::{HashMap, HashSet},
    marker::PhantomData,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use docfleet_outbox::{Draft, Outbox, define_event};
use docfleet_pipeline::{
    Failure, Handler, Message, Outcome, Poisoned, Policy, Recorded, Settlement, Setup, WorkContext, Worked, consume,
    relay::relay,
};
use docfleet_telemetry::Settings;
use docfleet_testkit::{Database, Servers, Topics, unique_name};
use serde::{Deserialize, Serialize};
use tokio::{runtime::Runtime, sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename = "CountedData")]
pub struct Counted {
    pub counter_id: Uuid,
    pub number: i64,
    /// What the handler is to do: see [`Obedient`].
    pub how: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename = "EchoedData")]
pub struct Echoed {
    pub counter_id: Uuid,
    pub number: i64,
    pub how: String,
}

define_event!(Counted, topic: "tests.counted.v1", aggregate: "counter", id: counter_id, schema: "counted.avsc");
define_event!(Echoed, topic: "tests.echoed.v1", aggregate: "counter", id: counter_id, schema: "echoed.avsc");

/// Emits an [`Echoed`] for each [`Counted`] and writes one effect row. `how` may ask for trouble first:
/// `transient:N` or `unavailable:N` for the first N tries, `poison`, `panic`, `slow` (300 ms), `record-poison`,
/// `record-transient:N`; until [`heal`](Self::heal): `sick`, `sick-poison`, and after three failed tries `away` and `gated`,
/// which waits.
#[derive(Clone, Default)]
pub struct Obedient {
    tries: Arc<Mutex<HashMap<(Uuid, i64), u32>>>,
    healed: Arc<AtomicBool>,
    /// Counters whose events are worked on now.
    at_work: Arc<Mutex<HashSet<Uuid>>>,
    overlaps: Arc<AtomicU32>,
}

impl Obedient {
    pub fn heal(&self) {
        self.healed.store(true, Ordering::SeqCst);
    }

    /// How often an event was worked on while another one of its counter was.
    pub fn overlaps(&self) -> u32 {
        self.overlaps.load(Ordering::SeqCst)
    }

    pub fn tries(&self, counter_id: Uuid, number: i64) -> u32 {
        *self.tries.lock().unwrap().get(&(counter_id, number)).unwrap_or(&0)
    }

    fn count(&self, event: &Counted) -> u32 {
        let mut tries = self.tries.lock().unwrap();
        let count = tries.entry((event.counter_id, event.number)).or_default();
        *count += 1;
        *count
    }
}

pub trait Declares: Send + Sync + 'static {
    const POLICY: Policy;
}

pub struct Unordered;
pub struct Ordered;
pub struct Asking;
pub struct Holding;
pub struct Incoherent;

impl Declares for Unordered {
    const POLICY: Policy = Policy { work_deadline: Duration::from_secs(2), ..Policy::UNORDERED };
}

impl Declares for Ordered {
    const POLICY: Policy = Policy { work_deadline: Duration::from_secs(2), ..Policy::ORDERED };
}

impl Declares for Asking {
    const POLICY: Policy = Policy { ask_inbox_first: true, ..Unordered::POLICY };
}

impl Declares for Holding {
    const POLICY: Policy = Policy { poison: Poisoned::DeadLetterAndHoldKey, ..Ordered::POLICY };
}

impl Declares for Incoherent {
    const POLICY: Policy = Policy { tries_in_lane: 0, ..Unordered::POLICY };
}

/// [`Obedient`], under the policy of `D`.
struct Under<D>(Obedient, PhantomData<D>);

impl<D: Declares> Handler for Under<D> {
    type In = Counted;
    type Finding = i64;

    const POLICY: Policy = D::POLICY;

    async fn work(&self, message: &Message<Counted>, _: &WorkContext) -> Outcome<i64> {
        self.0.work(message).await
    }

    async fn record(&self, batch: &[Worked<Counted, i64>], settlement: &mut Settlement<'_>) -> Recorded {
        self.0.record(batch, settlement).await
    }
}

/// Ends with the try, also with one that is given up.
struct AtWork<'a>(&'a Obedient, Uuid);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.at_work.lock().unwrap().remove(&self.1);
    }
}

impl Obedient {
    async fn work(&self, message: &Message<Counted>) -> Outcome<i64> {
        let event = &message.event;
        if !self.at_work.lock().unwrap().insert(event.counter_id) {
            self.overlaps.fetch_add(1, Ordering::SeqCst);
        }
        let _at_work = AtWork(self, event.counter_id);
        if event.how.starts_with("record-") {
            return Ok(event.number);
        }
        let tries = self.count(event);
        let (how, limit) = event.how.split_once(':').unwrap_or((&event.how, "0"));
        let fails = tries <= limit.parse().unwrap_or(u32::MAX);
        match how {
            "transient" if fails => Err(Failure::transient("asked-to", "a try failed")),
            "unavailable" if fails => Err(Failure::unavailable("asked-to", "away")),
            "sick" | "sick-poison" if self.healed.load(Ordering::SeqCst) => Ok(event.number),
            "sick" => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Err(Failure::transient("asked-to", "sick"))
            }
            "away" | "gated" if tries <= 3 => Err(Failure::transient("asked-to", "sick")),
            "away" if !self.healed.load(Ordering::SeqCst) => Err(Failure::unavailable("asked-to", "away")),
            "gated" => {
                while !self.healed.load(Ordering::SeqCst) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Ok(event.number)
            }
            "sick-poison" => Err(Failure::poison("asked-to", "sick")),
            "poison" => Err(Failure::poison("asked-to", "poison")),
            "panic" => panic!("asked to"),
            "slow" => {
                tokio::time::sleep(Duration::from_millis(300)).await;
                Ok(event.number)
            }
            "hang" => std::future::pending().await,
            _ => Ok(event.number),
        }
    }

    async fn record(&self, batch: &[Worked<Counted, i64>], settlement: &mut Settlement<'_>) -> Recorded {
        for worked in batch {
            let event = &worked.message.event;
            let (how, limit) = event.how.split_once(':').unwrap_or((&event.how, "0"));
            match how {
                "record-poison" => return Err(Failure::poison("asked-to-in-record", "poison")),
                "record-transient" if self.count(event) <= limit.parse().unwrap() => {
                    return Err(Failure::transient("asked-to-in-record", "a try failed"));
                }
                _ => {}
            }
            sqlx::query("INSERT INTO effects (counter_id, number) VALUES ($1, $2)")
                .bind(event.counter_id)
                .bind(worked.finding)
                .execute(settlement.connection())
                .await
                .map_err(|e| docfleet_pipeline::of_database(&e))?;
            let echoed = Echoed { counter_id: event.counter_id, number: event.number, how: String::new() };
            settlement.emit(&worked.message, echoed);
        }
        Ok(())
    }
}

pub const CONSUMER: &str = "obedient";

/// One test's database, topics, outbox and processes.
pub struct Bench {
    pub database: Database,
    pub topics: Topics,
    pub outbox: Outbox,
    pub handler: Obedient,
    /// The processes' configuration, TOML.
    config: String,
}

/// A consumer or a relay, on a runtime of its own, so that a crash takes everything of it along.
pub struct Running {
    stop: CancellationToken,
    runtime: Option<Runtime>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    fn start<F>(bench: &Bench, name: &'static str, main: impl FnOnce(Setup) -> F) -> Self
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let settings = Settings::from_toml(&bench.config);
        let stop = CancellationToken::new();
        let (broken, mut breaks) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let setup = {
            let _inside = runtime.enter();
            Setup::new(name, settings, stop.clone(), broken).unwrap()
        };
        let main = main(setup.clone());
        let task = runtime.spawn(async move {
            let ended = tokio::select! {
                ended = main => ended,
                Some(why) = breaks.recv() => Err(anyhow::anyhow!(why)),
            };
            // An end of its own accord takes the background along, as in a process.
            setup.shutdown.cancel();
            setup.background_ended().await;
            ended
        });
        Self { stop, runtime: Some(runtime), task }
    }

    /// Waits for an end of its own accord.
    pub async fn ended(mut self) -> anyhow::Result<()> {
        let ended = tokio::time::timeout(Duration::from_secs(60), &mut self.task).await;
        self.stop.cancel();
        ended.expect("it ends by itself").expect("no panic")
    }

    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(30), &mut self.task).await;
        ended.expect("it ends in time").expect("no panic")
    }

    /// As a crash: no drain, no commit, no farewell.
    pub fn crash(self) {
        drop(self);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A runtime may not be dropped inside another one, but it may be sent to its end.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub const QUICK: &str = "[retry]\nbackoff = '10ms'\nbackoff_max = '200ms'\ntier_delay_factor = 0.02\n\
                         [consumer]\ncommit_interval = '50ms'\n\
                         [parked]\npoll = '50ms'\nbackoff = '20ms'\nbackoff_max = '100ms'\nlease = '2s'\n\
                         [relay]\nlease = '2s'\nhold_refused = '1s'\n";

impl Bench {
    pub async fn new() -> Self {
        Self::with(QUICK, 4).await
    }

    pub async fn with(more: &str, partitions: i32) -> Self {
        let prefix = format!("{}.", unique_name());
        let failures = Topics::of_failures(CONSUMER);
        let names: Vec<&str> =
            ["tests.counted.v1", "tests.echoed.v1"].into_iter().chain(failures.iter().map(String::as_str)).collect();
        let topics = Topics::create(&prefix, &names, partitions).await;
        let database = Database::fresh().await;
        let config = Servers::running().toml_for(&database, &prefix, more);
        Self::on(topics, database, &prefix, config).await
    }

    /// On the topics of a mock cluster, which creates them when they are used.
    pub async fn mocked(brokers: &str) -> Self {
        Self::mocked_with(brokers, QUICK).await
    }

    pub async fn mocked_with(brokers: &str, more: &str) -> Self {
        let database = Database::fresh().await;
        let config = Servers::running().toml_for(&database, "", more);
        let config = config.replace(&Servers::running().brokers(), brokers);
        Self::on(Topics::on(brokers, ""), database, "", config).await
    }

    async fn on(topics: Topics, database: Database, prefix: &str, config: String) -> Self {
        // `RUST_LOG=docfleet_pipeline=debug` shows what happens; the first test of the process installs it.
        tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).try_init().ok();
        sqlx::query("CREATE TABLE effects (counter_id uuid, number bigint, seq bigint GENERATED ALWAYS AS IDENTITY, UNIQUE (counter_id, number))")
            .execute(&database.pool())
            .await
            .unwrap();
        let registry = docfleet_outbox::Registry::new(&docfleet_outbox::RegistryConfig {
            url: Servers::running().registry_url(),
            ..Default::default()
        })
        .unwrap();
        registry.pin::<Counted>().await.unwrap();
        let outbox = Outbox::new(registry, prefix);
        Self { database, topics, outbox, handler: Obedient::default(), config }
    }

    /// For the processes that start from now on.
    pub fn configure(&mut self, more: &str) {
        self.config.push_str(more);
    }

    /// As [`configure`](Self::configure), in a section that is there already.
    pub fn configure_in(&mut self, section: &str, more: &str) {
        let header = format!("[{section}]\n");
        assert!(self.config.contains(&header), "{section}");
        self.config = self.config.replace(&header, &format!("{header}{more}"));
    }

    pub fn configuration(&self) -> String {
        self.config.clone()
    }

    pub fn reset(&mut self, configuration: String) {
        self.config = configuration;
    }

    pub fn consumer(&self) -> Running {
        self.consumer_under::<Unordered>()
    }

    pub fn consumer_under<D: Declares>(&self) -> Running {
        self.consumer_with(Under::<D>(self.handler.clone(), PhantomData))
    }

    pub fn consumer_with(&self, handler: impl Handler) -> Running {
        Running::start(self, CONSUMER, |setup| async move {
            setup.pin::<Echoed>().await?;
            consume(&setup, handler).await
        })
    }

    pub fn relay(&self) -> Running {
        Running::start(self, "outbox-relay", |setup| async move { relay(&setup).await })
    }

    /// Appends events in one transaction, as a service does.
    pub async fn append(&self, events: impl IntoIterator<Item = (Uuid, i64, &str)>) {
        self.append_of("acme", events).await;
    }

    pub async fn append_of(&self, tenant: &str, events: impl IntoIterator<Item = (Uuid, i64, &str)>) {
        let drafts = events
            .into_iter()
            .map(|(counter_id, number, how)| {
                Draft::first(Counted { counter_id, number, how: how.to_owned() }, tenant, "test", None)
            })
            .collect();
        let mut transaction = self.database.pool().begin().await.unwrap();
        self.outbox.append(&mut transaction, drafts).await.unwrap();
        transaction.commit().await.unwrap();
        self.outbox.wake_relays(&self.database.pool()).await.unwrap();
    }

    /// One event in a transaction that somebody else commits.
    #[cfg(feature = "planted-bugs")]
    pub async fn append_in(&self, connection: &mut sqlx::PgConnection, counter_id: Uuid, number: i64) {
        let event = Counted { counter_id, number, how: "ok".to_owned() };
        self.outbox.append(connection, vec![Draft::first(event, "acme", "test", None)]).await.unwrap();
    }

    pub async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.database.pool()).await.unwrap()
    }

    pub async fn until(&self, what: &str, sql: &'static str, expected: i64) {
        docfleet_testkit::eventually(what, 45, || async { (self.count(sql).await == expected).then_some(()) }).await;
    }

    /// Until the group has committed everything on the topic.
    pub async fn until_committed(&self, topic: &str) {
        // A member that was thrown out waits for its old session to run out, 15 s.
        docfleet_testkit::eventually("all offsets are committed", 60, || async {
            (self.topics.committed(CONSUMER, topic).await == self.topics.ends(topic).await).then_some(())
        })
        .await;
    }
}
