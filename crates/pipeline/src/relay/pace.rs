//! Where the next reading begins, and when it is due. Pure, no I/O.

use std::time::{Duration, Instant};

/// First pause after a reading that found nothing; doubles up to `idle_poll`.
const IDLE_FIRST: Duration = Duration::from_millis(10);
/// Ids below the highest one read that every reading looks at again: their transactions may have committed since.
const WINDOW_IDS: i64 = 10_000;
/// A walk from the very beginning takes at most this part of the time, however many dead entries an old snapshot keeps
/// in the index.
const WALK_SHARE: u32 = 10;

/// Readings from the very beginning are the truth. Between them, those from a little below the highest id are a hint:
/// they spare the walk over entries that are published already.
#[derive(Debug)]
pub(super) struct Pace {
    idle_poll: Duration,
    /// A hint only.
    highest_id: i64,
    walk_at: Instant,
    walking_since: Option<Instant>,
    pause: Duration,
    due_at: Instant,
}

impl Pace {
    pub fn new(idle_poll: Duration, now: Instant) -> Self {
        Self { idle_poll, highest_id: 0, walk_at: now, walking_since: None, pause: IDLE_FIRST, due_at: now }
    }

    pub fn due_at(&self) -> Instant {
        self.due_at
    }

    /// Nothing may be read before.
    pub fn postpone(&mut self, until: Instant) {
        self.due_at = until;
    }

    /// A writer has committed.
    pub fn woken(&mut self, now: Instant) {
        self.pause = IDLE_FIRST;
        self.due_at = now;
    }

    /// Other shards are ours: what lies in them may be older than anything seen.
    pub fn start_over(&mut self, now: Instant) {
        self.walk_at = now;
        self.woken(now);
    }

    /// The lowest id of a reading that begins now.
    pub fn begin(&mut self, now: Instant) -> i64 {
        if now >= self.walk_at {
            self.walking_since = Some(now);
            return 0;
        }
        self.walking_since = None;
        self.highest_id.saturating_sub(WINDOW_IDS).max(0)
    }

    /// `full`: there may be more. `last_id`: of the last row, if there was one.
    pub fn ended(&mut self, full: bool, last_id: Option<i64>, now: Instant) {
        if let Some(since) = self.walking_since.take() {
            self.walk_at = now + (now.duration_since(since) * WALK_SHARE).max(self.idle_poll);
        }
        match last_id {
            // Whatever lies above was not looked at: go on from here, also when that is far below.
            Some(id) if full => self.highest_id = id,
            Some(id) => self.highest_id = self.highest_id.max(id),
            None => {}
        }
        self.pause = if last_id.is_some() { IDLE_FIRST } else { (self.pause * 2).min(self.idle_poll) };
        self.due_at = if full { now } else { now + self.pause };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn every_second_a_reading_begins_at_the_beginning() {
        let start = Instant::now();
        let mut pace = Pace::new(SECOND, start);
        assert_eq!(pace.begin(start), 0);
        pace.ended(false, Some(50_000), start);
        assert_eq!(pace.begin(start + SECOND / 2), 40_000);
        pace.ended(false, None, start + SECOND / 2);
        assert_eq!(pace.begin(start + SECOND), 0);
    }

    #[test]
    fn a_walk_that_is_slow_is_rare() {
        let start = Instant::now();
        let mut pace = Pace::new(SECOND, start);
        pace.begin(start);
        pace.ended(false, Some(50_000), start + SECOND);
        assert_ne!(pace.begin(start + 10 * SECOND), 0);
        pace.ended(false, None, start + 10 * SECOND);
        assert_eq!(pace.begin(start + 11 * SECOND), 0);
    }

    #[test]
    fn an_old_backlog_that_comes_with_new_shards_is_read_at_full_speed() {
        let now = Instant::now();
        let mut pace = Pace::new(SECOND, now);
        pace.begin(now);
        pace.ended(false, Some(900_000), now);
        pace.start_over(now);
        assert_eq!(pace.begin(now), 0);
        pace.ended(true, Some(15_000), now);
        assert_eq!((pace.begin(now), pace.due_at()), (5_000, now));
    }

    #[test]
    fn pauses_double_while_there_is_nothing_and_end_with_a_wake_up() {
        let now = Instant::now();
        let mut pace = Pace::new(SECOND, now);
        for _ in 0..20 {
            pace.begin(now);
            pace.ended(false, None, now);
        }
        assert_eq!(pace.due_at(), now + SECOND);
        pace.woken(now);
        assert_eq!(pace.due_at(), now);
    }
}
