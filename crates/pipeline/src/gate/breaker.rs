use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use super::BreakerConfig;
use crate::Class;

/// It closed in vain when it trips again so soon.
const IN_VAIN: Duration = Duration::from_secs(600);
const REQUIRED_TIMES_MAX: u32 = 8;

/// What the last failures have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cause {
    pub class: Class,
    pub reason: &'static str,
}

/// Why a message was let in. It goes with the message and comes back with what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Turn {
    #[default]
    Normal,
    /// The one message that finds out whether it works again.
    Probe,
    /// The same with a message that failed and was held back.
    Retest,
    /// A message that was held back, now that it works again for others: it may fail for good.
    Second,
}

/// Which message is to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// One that has not been tried since it was delivered.
    Fresh(Turn),
    /// The first of those that failed and are held back.
    Held(Turn),
}

/// What becomes of a message that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Judgement {
    /// It dies, or goes to its retry topic.
    Settle,
    /// It stays unsettled and is tried again later. No attempt is counted.
    Hold,
}

/// When many of the last messages fail alike, the fault is not theirs: a bad deployment, a server that answers nonsense,
/// a broken producer. Then the consumer stops, and what fails is held instead of filling the dead letter topic.
///
/// *Closed*, all flows, and failures settle; the one that makes too many trips it and is held already. *Open*, one message
/// at a time is let in: a fresh one at once after a success and after a growing pause after a failure, so good ones get
/// through; the held ones by turns. The more are held, the longer the pauses between fresh ones: the budget lasts for
/// hours. [`BreakerConfig::close_after`] successes without a failure of a fresh one close it; twice as many when it had
/// closed in vain just before. So does [`rest`](Self::rest), when nothing is held and nothing comes.
/// *Closed again*, what was held is tried once more, but never faster than others succeed: a message that fails while its
/// neighbours pass is bad itself, and may die. So a breaker that closes too early lets little through.
///
/// It looks at classes, not at reasons: one bad producer has many ways to be unreadable, one server many ways to be ill.
///
/// Asked when a message is decided upon, not when it is settled: the bound is exact whatever is still on its way.
#[derive(Debug)]
pub struct Breaker {
    config: BreakerConfig,
    window: Window,
    open: Option<Open>,
    /// Held messages that may be tried for the last time: one for each success since it closed.
    credits: usize,
    /// Then one may be tried even when nothing succeeds, since nothing else comes.
    credit_at: Option<Duration>,
    trips: u64,
    /// Successes that close it this time.
    required: u32,
    closed_at: Option<Duration>,
    lets_fail: bool,
}

/// Since when and why it is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    pub cause: Cause,
    pub since: Duration,
    /// When the next fresh message may be tried.
    pub probe_at: Duration,
    pub successes: u32,
    interval: Duration,
    /// When the next held one may be.
    retest_at: Duration,
    retest_interval: Duration,
    /// So many more that fail, and each of the held ones has had its turn; then the pauses get longer.
    retests_left: usize,
    held: usize,
    /// No outcome has come since then.
    quiet_since: Duration,
    probe_out: bool,
}

impl Breaker {
    pub fn new(config: BreakerConfig) -> Self {
        let window = Window::new(config.window_messages.max(1), config.window);
        let required = config.close_after.max(1);
        Self {
            config,
            window,
            open: None,
            credits: 0,
            credit_at: None,
            trips: 0,
            required,
            closed_at: None,
            lets_fail: false,
        }
    }

    pub fn open(&self) -> Option<&Open> {
        self.open.as_ref()
    }

    /// Since the process started.
    pub fn trips(&self) -> u64 {
        self.trips
    }

    /// An operator overrides it, or does not any more. Returns whether it was open until now.
    pub fn let_fail(&mut self, lets: bool) -> bool {
        self.lets_fail = lets;
        let was_open = lets && self.open.take().is_some();
        if lets {
            self.window.clear();
        }
        was_open
    }

    /// Which message may start now, of those that are `fresh` (whether there is one) and those that are `held` (how many).
    /// Ask again after each. Each start must come back by [`succeeded`](Self::succeeded), [`judge`](Self::judge) or
    /// [`gave_up`](Self::gave_up).
    pub fn start(&mut self, now: Duration, fresh: bool, held: usize) -> Option<Start> {
        if self.is_off() {
            return if held > 0 {
                Some(Start::Held(Turn::Second))
            } else {
                fresh.then_some(Start::Fresh(Turn::Normal))
            };
        }
        let Some(open) = &mut self.open else {
            if held > 0 && self.take_credit(now) {
                return Some(Start::Held(Turn::Second));
            }
            return fresh.then_some(Start::Fresh(Turn::Normal));
        };
        if open.probe_out {
            return None;
        }
        open.held = held;
        let start = if held > 0 && now >= open.retest_at {
            Start::Held(Turn::Retest)
        } else if fresh && now >= open.probe_at {
            Start::Fresh(Turn::Probe)
        } else {
            return None;
        };
        open.probe_out = true;
        Some(start)
    }

    /// Nothing is held, out or ready. When it stays so, there is nothing left to protect. Returns whether that closed it.
    pub fn rest(&mut self, now: Duration) -> bool {
        let rested = |open: &Open| now.saturating_sub(open.quiet_since) >= self.config.probe_interval_max;
        let closes = self.open.as_ref().is_some_and(rested);
        if closes {
            self.close(now);
        }
        closes
    }

    /// Messages ended well. Returns whether that closed it.
    pub fn succeeded(&mut self, now: Duration, turn: Turn, count: usize) -> bool {
        if self.is_off() {
            return false;
        }
        let Some(open) = &mut self.open else {
            self.window.push(now, None, count);
            if matches!(turn, Turn::Normal | Turn::Second) {
                // Not saved up: what is held must not die at once after a long good time.
                self.credits = self.credits.saturating_add(count).min(self.config.failures_min);
            }
            return false;
        };
        if !matches!(turn, Turn::Probe | Turn::Retest) {
            return false;
        }
        open.probe_out = false;
        open.quiet_since = now;
        open.successes = open.successes.saturating_add(1);
        if turn == Turn::Probe {
            open.interval = (open.interval / 2).max(self.config.probe_interval);
            open.probe_at = now;
        } else {
            open.retest_interval = self.config.probe_interval;
            open.retests_left = 0;
            open.retest_at = now;
        }
        let enough = open.successes >= self.required;
        if enough {
            self.close(now);
            // One of the held has just succeeded: the next may go at once, and as long as they do.
            self.credits = usize::from(turn == Turn::Retest);
        }
        enough
    }

    /// A message failed for good as far as it goes: what becomes of it?
    pub fn judge(&mut self, now: Duration, turn: Turn, cause: Cause) -> Judgement {
        if self.is_off() {
            return Judgement::Settle;
        }
        if let Some(open) = &mut self.open {
            let (first, longest) = (self.config.probe_interval, self.config.probe_interval_max);
            open.quiet_since = now;
            match turn {
                Turn::Probe => {
                    let held = u32::try_from(open.held / self.config.failures_min.max(1)).unwrap_or(u32::MAX);
                    open.successes = 0;
                    open.interval = (open.interval * 2).min(longest);
                    open.probe_at = now + open.interval.max(first.saturating_mul(held.saturating_add(1))).min(longest);
                    open.probe_out = false;
                }
                Turn::Retest => {
                    // The others may be well: each has its turn before the pause grows, or the last one would wait for hours.
                    let left = if open.retests_left == 0 { open.held } else { open.retests_left };
                    open.retests_left = left.saturating_sub(1);
                    if open.retests_left == 0 {
                        open.retest_interval = (open.retest_interval * 2).min(longest);
                    }
                    open.retest_at = now + open.retest_interval;
                    open.probe_out = false;
                }
                Turn::Normal | Turn::Second => {}
            }
            return Judgement::Hold;
        }
        match turn {
            // It works for the others.
            Turn::Second => Judgement::Settle,
            Turn::Retest => Judgement::Hold,
            Turn::Normal | Turn::Probe => self.count(now, cause),
        }
    }

    /// A message was withdrawn without an outcome.
    pub fn gave_up(&mut self, turn: Turn) {
        if let Some(open) = self.open.as_mut().filter(|_| matches!(turn, Turn::Probe | Turn::Retest)) {
            open.probe_out = false;
        }
    }

    fn count(&mut self, now: Duration, cause: Cause) -> Judgement {
        self.window.push(now, Some(cause), 1);
        let failures = self.window.failures(cause.class);
        let many = failures >= self.config.failures_min.max(1);
        let share = u64::from(self.config.failures_percent).saturating_mul(self.window.total as u64);
        if !many || (failures as u64).saturating_mul(100) <= share {
            return Judgement::Settle;
        }
        self.trip(now, cause);
        Judgement::Hold
    }

    fn trip(&mut self, now: Duration, cause: Cause) {
        let (interval, close_after) = (self.config.probe_interval, self.config.close_after.max(1));
        let in_vain = |at: Duration| now.saturating_sub(at) < IN_VAIN;
        self.required = if self.closed_at.is_some_and(in_vain) {
            self.required.saturating_mul(2).min(close_after.saturating_mul(REQUIRED_TIMES_MAX))
        } else {
            close_after
        };
        self.open = Some(Open {
            cause,
            since: now,
            probe_at: now + interval,
            successes: 0,
            interval,
            retest_at: now + interval,
            retest_interval: interval,
            retests_left: 0,
            held: 0,
            quiet_since: now,
            probe_out: false,
        });
        self.trips += 1;
        self.window.clear();
        (self.credits, self.credit_at) = (0, None);
    }

    fn close(&mut self, now: Duration) {
        self.open = None;
        self.window.clear();
        self.closed_at = Some(now);
        self.credits = 0;
        self.credit_at = Some(now + self.config.probe_interval_max);
    }

    fn take_credit(&mut self, now: Duration) -> bool {
        if self.credits > 0 {
            self.credits -= 1;
            return true;
        }
        let due = self.credit_at.is_none_or(|at| now >= at);
        if due {
            self.credit_at = Some(now + self.config.probe_interval_max);
        }
        due
    }

    fn is_off(&self) -> bool {
        !self.config.enabled || self.lets_fail
    }
}

/// The last outcomes: at most so many, none too old. Equal neighbours are one entry.
#[derive(Debug)]
struct Window {
    messages_max: usize,
    age_max: Duration,
    entries: VecDeque<Entry>,
    failures: HashMap<Class, usize>,
    total: usize,
}

#[derive(Debug)]
struct Entry {
    /// Of the first of them.
    at: Duration,
    cause: Option<Cause>,
    count: usize,
}

/// Outcomes so close together share an entry's time.
const GRAIN: Duration = Duration::from_millis(100);

impl Window {
    fn new(messages_max: usize, age_max: Duration) -> Self {
        Self { messages_max, age_max, entries: VecDeque::new(), failures: HashMap::new(), total: 0 }
    }

    fn push(&mut self, now: Duration, cause: Option<Cause>, count: usize) {
        let count = count.min(self.messages_max);
        if count == 0 {
            return;
        }
        match self.entries.back_mut() {
            Some(last) if last.cause == cause && now.saturating_sub(last.at) < GRAIN => last.count += count,
            _ => self.entries.push_back(Entry { at: now, cause, count }),
        }
        self.total += count;
        if let Some(cause) = cause {
            *self.failures.entry(cause.class).or_default() += count;
        }
        self.trim(now);
    }

    fn trim(&mut self, now: Duration) {
        while let Some(first) = self.entries.front_mut() {
            let too_old = now.saturating_sub(first.at) >= self.age_max;
            let surplus = self.total.saturating_sub(self.messages_max);
            let gone = if too_old { first.count } else { first.count.min(surplus) };
            if gone == 0 {
                return;
            }
            first.count -= gone;
            self.total -= gone;
            if let Some(failures) = first.cause.and_then(|cause| self.failures.get_mut(&cause.class)) {
                *failures -= gone;
            }
            if first.count == 0 {
                self.entries.pop_front();
            }
        }
    }

    fn failures(&self, class: Class) -> usize {
        self.failures.get(&class).copied().unwrap_or(0)
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.failures.clear();
        self.total = 0;
    }
}

#[cfg(test)]
mod tests;
