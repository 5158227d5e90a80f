//! Rows whose predecessor is not published: they wait, and an operator is told. Pure, no I/O.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use uuid::Uuid;

/// What the database says of the version before a row's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Predecessor {
    Published,
    /// It is there and was not read yet: ids ran against versions, or Kafka refuses it.
    Unpublished,
    /// It is not there, and nothing older of the aggregate is: dropped with its day, long after it was published.
    Pruned,
    /// It is not there, and something older of the aggregate is: days are dropped oldest first, so nobody pruned it.
    Missing,
}

impl Predecessor {
    pub fn lets_go(self) -> bool {
        matches!(self, Self::Published | Self::Pruned)
    }
}

/// How soon a row that waits is looked at again; doubles up to a minute.
const FIRST_LOOK: Duration = Duration::from_millis(200);
const LAST_LOOK: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Gap {
    kind: String,
    aggregate: Uuid,
    version: i64,
    since: Instant,
    pause: Duration,
    look_at: Instant,
    told_at: Option<Instant>,
}

/// By the waiting row's id: its whole aggregate must not be left out, as its predecessor may come.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    rows: HashMap<i64, Gap>,
}

impl Gaps {
    pub fn hold(&mut self, id: i64, (kind, aggregate, version): (String, Uuid, i64), now: Instant) {
        let gap = self.rows.entry(id).or_insert(Gap {
            kind,
            aggregate,
            version,
            since: now,
            pause: FIRST_LOOK / 2,
            look_at: now,
            told_at: None,
        });
        gap.pause = (gap.pause * 2).min(LAST_LOOK);
        gap.look_at = now + gap.pause;
    }

    /// It went.
    pub fn release(&mut self, id: i64) {
        self.rows.remove(&id);
    }

    /// Rows to leave out of a reading.
    pub fn ids(&self, now: Instant) -> impl Iterator<Item = i64> {
        self.rows.iter().filter(move |(_, gap)| gap.look_at > now).map(|(id, _)| *id)
    }

    /// Forgets rows that nobody finds any more.
    pub fn expire(&mut self, now: Instant) {
        self.rows.retain(|_, gap| now.duration_since(gap.look_at.min(now)) < 3 * LAST_LOOK);
    }

    pub fn all_ids(&self) -> impl Iterator<Item = i64> {
        self.rows.keys().copied()
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn oldest(&self, now: Instant) -> Duration {
        self.rows.values().map(|gap| now.duration_since(gap.since)).max().unwrap_or_default()
    }

    /// Aggregates and versions to tell of: they have waited for `alarm` since the last word about them.
    pub fn tell_due(&mut self, alarm: Duration, now: Instant) -> Vec<(String, Uuid, i64)> {
        let due = self.rows.values_mut().filter(|gap| now.duration_since(gap.told_at.unwrap_or(gap.since)) >= alarm);
        due.map(|gap| {
            gap.told_at = Some(now);
            (gap.kind.clone(), gap.aggregate, gap.version)
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(version: i64) -> (String, Uuid, i64) {
        ("counter".to_owned(), Uuid::from_u128(1), version)
    }

    #[test]
    fn a_row_that_waits_is_looked_at_ever_more_rarely_and_told_of_once_an_alarm() {
        let (mut gaps, now) = (Gaps::default(), Instant::now());
        gaps.hold(3, event(3), now);
        assert_eq!(gaps.ids(now).collect::<Vec<_>>(), [3]);
        assert_eq!(gaps.ids(now + FIRST_LOOK).count(), 0, "it may be read again");
        gaps.hold(3, event(3), now + FIRST_LOOK);
        assert_eq!(gaps.ids(now + FIRST_LOOK * 2).count(), 1, "and later the second time");
        let alarm = Duration::from_secs(60);
        assert!(gaps.tell_due(alarm, now + alarm / 2).is_empty());
        assert_eq!(gaps.tell_due(alarm, now + alarm).len(), 1);
        assert!(gaps.tell_due(alarm, now + alarm + FIRST_LOOK).is_empty());
        assert_eq!(gaps.oldest(now + alarm), alarm);
    }

    #[test]
    fn what_went_or_vanished_is_no_gap() {
        let (mut gaps, now) = (Gaps::default(), Instant::now());
        gaps.hold(3, event(3), now);
        gaps.hold(4, event(4), now);
        gaps.release(3);
        assert_eq!(gaps.len(), 1);
        gaps.expire(now + 4 * LAST_LOOK);
        assert_eq!(gaps.len(), 0);
    }
}
