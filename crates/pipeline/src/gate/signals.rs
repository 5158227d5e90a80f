use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{Breaker, BreakerConfig, Cause, Judgement, Ramp, Start, Turn};
use crate::metric;

/// What those who work and settle tell the gate, and the driver asks: the breaker and the ramp of one consumer.
#[derive(Clone)]
pub struct Signals {
    consumer: &'static str,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// What is asked for each message, without the lock: as the last change left it.
    limit: AtomicUsize,
    closed: AtomicBool,
}

struct State {
    breaker: Breaker,
    ramp: Ramp,
}

impl Signals {
    /// `floor` and `cap`: how many messages may be out at once after a start, and at most.
    pub fn new(consumer: &'static str, config: BreakerConfig, floor: usize, cap: usize) -> Self {
        let state = State { breaker: Breaker::new(config), ramp: Ramp::new(floor, cap) };
        let limit = AtomicUsize::new(state.ramp.limit());
        let shared = Shared { state: Mutex::new(state), limit, closed: AtomicBool::new(true) };
        Self { consumer, shared: Arc::new(shared) }
    }

    /// Messages of this turn ended well: after the commit of their settlement.
    pub fn succeeded(&self, now: Duration, turn: Turn, count: usize) {
        let closed = self.with(|state| {
            state.ramp.succeeded(count);
            let closed = state.breaker.succeeded(now, turn, count);
            if closed {
                state.ramp.restart();
            }
            closed
        });
        if closed {
            tracing::warn!(consumer = self.consumer, "the breaker closed");
        }
    }

    /// A message is about to be settled as dead, or for a retry topic: before it is given to the settlers.
    pub fn judge(&self, now: Duration, turn: Turn, cause: Cause) -> Judgement {
        let (judgement, tripped, trips) = self.with(|state| {
            let before = state.breaker.trips();
            let judgement = state.breaker.judge(now, turn, cause);
            (judgement, state.breaker.trips() > before, state.breaker.trips())
        });
        if tripped {
            let labels = [("consumer", self.consumer), ("class", cause.class.as_str()), ("reason", cause.reason)];
            metrics::counter!(metric::BREAKER_TRIPS_TOTAL, &labels).increment(1);
            tracing::error!(
                consumer = self.consumer,
                class = cause.class.as_str(),
                reason = cause.reason,
                trips,
                "the breaker tripped: many messages fail alike; they are held, and one at a time is tried"
            );
        }
        judgement
    }

    /// Something that everybody needs is away, or too slow.
    pub fn unavailable(&self, now: Duration) {
        self.with(|state| state.ramp.failed(now));
    }

    /// A message that was started is withdrawn, abandoned, or settled in a way that says nothing (a duplicate).
    pub fn gave_up(&self, turn: Turn) {
        if matches!(turn, Turn::Normal | Turn::Second) {
            return;
        }
        self.with(|state| state.breaker.gave_up(turn));
    }

    /// As [`Breaker::start`].
    pub fn start(&self, now: Duration, fresh: bool, held: usize) -> Option<Start> {
        if held == 0 && self.is_closed() {
            return fresh.then_some(Start::Fresh(Turn::Normal));
        }
        self.with(|state| state.breaker.start(now, fresh, held))
    }

    /// As [`Breaker::rest`].
    pub fn rest(&self, now: Duration) {
        if self.is_closed() {
            return;
        }
        let closed = self.with(|state| {
            let closed = state.breaker.rest(now);
            if closed {
                state.ramp.restart();
            }
            closed
        });
        if closed {
            tracing::warn!(consumer = self.consumer, "the breaker closed: nothing is held and nothing comes");
        }
    }

    /// How many messages may be out at once.
    pub fn limit(&self) -> usize {
        self.shared.limit.load(Ordering::Relaxed)
    }

    /// Whether the breaker lets everything pass.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Relaxed)
    }

    /// Whether a command overrides the breaker.
    pub fn let_fail(&self, lets: bool) {
        if self.with(|state| state.breaker.let_fail(lets)) {
            tracing::warn!(consumer = self.consumer, "the breaker is overridden by a command");
        }
    }

    /// Copies of what can be shown.
    pub fn look(&self) -> (Option<super::Open>, u64, usize) {
        self.with(|state| (state.breaker.open().cloned(), state.breaker.trips(), state.ramp.limit()))
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = act(&mut state);
        self.shared.limit.store(state.ramp.limit(), Ordering::Relaxed);
        self.shared.closed.store(state.breaker.open().is_none(), Ordering::Relaxed);
        answer
    }
}
