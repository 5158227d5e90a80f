//! Several clamd hosts: which one a document goes to, and which is left alone for a while.

use std::{
    ops::Deref,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use time::OffsetDateTime;
use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use crate::{Address, ClamdConfig, Engine, Error, Version, engine::Vouched, metric};

/// How often each host is looked at when no document does.
const CHECK_EVERY: Duration = Duration::from_secs(60);

pub struct Engines {
    hosts: Vec<Host>,
    states: Mutex<Vec<State>>,
    freed: Notify,
    in_flight_max: usize,
    rest: Duration,
}

struct Host {
    /// As it stands in the configuration; a label.
    name: String,
    engine: Engine,
}

#[derive(Debug, Clone, Default)]
struct State {
    in_flight: usize,
    /// Given so many documents; of two with the same load the one with fewer is next.
    served: u64,
    resting_until: Option<Instant>,
    stale: bool,
    version: Option<Version>,
}

/// Who asks for an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Fresh,
    /// A document that has a verdict: it takes half of the slots at most, and waits for no host that rests.
    Again,
}

/// A slot at one host, free again when dropped.
pub struct Lease<'a> {
    engines: &'a Engines,
    host: usize,
    since: Instant,
}

impl Engines {
    /// Connects to nothing yet.
    pub fn new(config: &ClamdConfig) -> Self {
        let host = |address: &String| Host {
            name: address.clone(),
            engine: Engine::new(Address::from(address.as_str()), config),
        };
        Self {
            hosts: config.addresses.iter().map(host).collect(),
            states: Mutex::new(vec![State::default(); config.addresses.len()]),
            freed: Notify::new(),
            in_flight_max: config.in_flight_documents_max,
            rest: config.rest,
        }
    }

    /// The host with the fewest documents among those that are well and not in `tried`; a stale one only when there is no
    /// other, one that rests only then. None when all were tried.
    ///
    /// # Errors
    /// [`Error::Busy`] when no slot became free until `deadline`.
    pub async fn lease(
        &self,
        tried: &[usize],
        purpose: Purpose,
        deadline: Instant,
    ) -> Result<Option<Lease<'_>>, Error> {
        loop {
            // Made before the look, so that a slot that becomes free in between is not missed.
            let freed = self.freed.notified();
            match self.choose(tried, purpose) {
                Choice::Host(host) => return Ok(Some(Lease { engines: self, host, since: Instant::now() })),
                Choice::None => return Ok(None),
                Choice::AllBusy => tokio::time::timeout_at(deadline, freed).await.map_err(|_| Error::Busy)?,
            }
        }
    }

    fn choose(&self, tried: &[usize], purpose: Purpose) -> Choice {
        let mut states = self.states();
        let now = Instant::now();
        let rank = |state: &State| match state.resting_until {
            Some(until) if until > now => 2,
            _ => u8::from(state.stale),
        };
        let untried = || states.iter().enumerate().filter(|(host, _)| !tried.contains(host));
        let Some(best) = untried().map(|(_, state)| rank(state)).min() else { return Choice::None };
        if purpose == Purpose::Again && best > 0 {
            return Choice::None;
        }
        let slots = match purpose {
            Purpose::Fresh => self.in_flight_max,
            Purpose::Again => (self.in_flight_max / 2).max(1),
        };
        let least = untried()
            .filter(|(_, state)| rank(state) == best && state.in_flight < slots)
            .min_by_key(|(_, state)| (state.in_flight, state.served))
            .map(|(host, _)| host);
        let Some((host, state)) = least.and_then(|host| Some((host, states.get_mut(host)?))) else {
            return Choice::AllBusy;
        };
        state.in_flight += 1;
        state.served += 1;
        self.gauge_in_flight(host, state.in_flight);
        Choice::Host(host)
    }

    /// The oldest signatures among the hosts that are well: a clean verdict by older ones is worth another look, whichever
    /// host takes it. None while no host is well, or its database has no number.
    pub fn database_number(&self) -> Option<i64> {
        let (states, now) = (self.states(), Instant::now());
        let well = states.iter().filter(|s| !s.stale && s.resting_until.is_none_or(|until| until <= now));
        well.filter_map(|s| s.version.as_ref()).map(Version::database_number).min().filter(|number| *number > 0)
    }

    /// Looks at each host now and every minute, so that metrics and self-tests do not depend on documents.
    pub async fn watch(&self, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(CHECK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = shutdown.cancelled() => return,
            }
            self.look().await;
        }
    }

    /// Asks each host for its version, and for the test file where that is due.
    pub async fn look(&self) {
        futures::future::join_all((0..self.hosts.len()).map(|host| self.check(host))).await;
    }

    async fn check(&self, host: usize) {
        let Some(of) = self.hosts.get(host) else { return };
        match of.engine.vouched().await {
            Ok(vouched) => self.is_well(host, &vouched),
            Err(error) => self.failed(host, &error),
        }
    }

    fn is_well(&self, host: usize, Vouched { version, fresh }: &Vouched) {
        let mut states = self.states();
        let (Some(state), Some(of)) = (states.get_mut(host), self.hosts.get(host)) else { return };
        if let (Err(stale), false) = (fresh, state.stale) {
            tracing::error!(host = %of.name, reason = "engine-stale", %stale, "its clean answers do not count");
        }
        state.resting_until = None;
        state.stale = fresh.is_err();
        state.version = Some(version.clone());
        gauge(metric::ENGINE_UP, &of.name, 1.0);
        gauge(metric::ENGINE_STALE, &of.name, f64::from(u8::from(state.stale)));
        if let Some(age) = version.database_age(OffsetDateTime::now_utc()) {
            gauge(metric::DATABASE_AGE_SECONDS, &of.name, age.as_secs_f64());
        }
    }

    fn failed(&self, host: usize, error: &Error) {
        let mut states = self.states();
        let (Some(state), Some(of)) = (states.get_mut(host), self.hosts.get(host)) else { return };
        let reason = error.reason();
        metrics::counter!(metric::ENGINE_FAILURES_TOTAL, "host" => of.name.clone(), "reason" => reason).increment(1);
        // It answered, and is no worse than before.
        if matches!(error, Error::Stale(_)) {
            state.stale = true;
            gauge(metric::ENGINE_STALE, &of.name, 1.0);
            return;
        }
        if state.resting_until.is_none() {
            tracing::warn!(host = %of.name, reason, detail = %error, "clamd is left alone for a while");
        }
        state.resting_until = Some(Instant::now() + self.rest);
        gauge(metric::ENGINE_UP, &of.name, 0.0);
    }

    fn gauge_in_flight(&self, host: usize, documents: usize) {
        if let Some(of) = self.hosts.get(host) {
            gauge(metric::ENGINE_IN_FLIGHT_DOCUMENTS, &of.name, documents as f64);
        }
    }

    fn states(&self) -> std::sync::MutexGuard<'_, Vec<State>> {
        // Numbers only: there is nothing that a panic could have left half done.
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Choice {
    Host(usize),
    AllBusy,
    None,
}

fn gauge(name: &'static str, host: &str, value: f64) {
    metrics::gauge!(name, "host" => host.to_owned()).set(value);
}

impl Lease<'_> {
    pub fn host(&self) -> usize {
        self.host
    }

    /// What came of the scan, before the slot is given back.
    pub fn judge<T>(&self, scanned: &Result<T, Error>) {
        let Some(of) = self.engines.hosts.get(self.host) else { return };
        match scanned {
            Ok(_) => {
                let mut states = self.engines.states();
                if let Some(state) = states.get_mut(self.host) {
                    state.resting_until = None;
                }
                let seconds = self.since.elapsed().as_secs_f64();
                metrics::histogram!(metric::ENGINE_SCAN_SECONDS, "host" => of.name.clone()).record(seconds);
            }
            Err(error) if error.is_engines() => self.engines.failed(self.host, error),
            Err(_) => {}
        }
    }
}

impl Deref for Lease<'_> {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        // Only `choose` makes the number, out of the hosts that there are.
        &self.engines.hosts[self.host].engine
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut states = self.engines.states();
        if let Some(state) = states.get_mut(self.host) {
            state.in_flight = state.in_flight.saturating_sub(1);
            self.engines.gauge_in_flight(self.host, state.in_flight);
        }
        drop(states);
        // One is enough for one slot, but who was woken may want another host.
        self.engines.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
