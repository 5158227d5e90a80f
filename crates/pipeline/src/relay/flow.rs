//! The flow through one producer: read | send | mark, side by side. One task owns all of it; the database answers in
//! tasks of its own, Kafka on the client's thread.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use time::OffsetDateTime;

use super::{
    acks::{Acks, Trouble},
    line::{Line, Place},
    pace::Pace,
    publisher::{Broken, Client, Publisher},
    read::{Read, aggregate_of, read},
    record::{self, NotSent},
    session::Session,
    store::{self, Contents, Wanted},
    vitals::Waiting,
};
use crate::{database::ANSWER_TIMEOUT, metric};

/// Acknowledged rows wait so long for others to be marked with; a crash meanwhile repeats them.
const GATHER: Duration = Duration::from_millis(10);
/// Until the client is asked again whether it has room.
const NO_ROOM: Duration = Duration::from_millis(5);
/// Until leases are looked for again.
const NO_LEASE: Duration = Duration::from_millis(200);
const TICK: Duration = Duration::from_secs(1);

pub(super) struct Flow<'a> {
    publisher: &'a mut Publisher,
    client: Client,
    acks: Arc<Acks>,
    line: Line<Contents>,
    pace: Pace,
    reader: Session<Vec<Read>>,
    /// The leases under which the reading runs.
    read_under: BTreeMap<i16, i64>,
    /// The highest id that was read before: what lies above was never read by us.
    fresh_above: i64,
    marker: Session<usize>,
    /// Acknowledged, and not with the marker yet.
    acknowledged: Vec<Place>,
    gathering_since: Option<Instant>,
    /// With the marker.
    marking: Vec<Place>,
    no_room: bool,
    ticked_at: Instant,
    stopping: bool,
    progressed: bool,
    broken: Option<Broken>,
    delay: metrics::Histogram,
}

enum Event {
    Acks,
    Read(Result<Vec<Read>, sqlx::Error>),
    Marked(Result<usize, sqlx::Error>),
    Leases,
    Woken,
    Time,
    Stop,
}

impl<'a> Flow<'a> {
    pub async fn new(publisher: &'a mut Publisher, client: Client, acks: Arc<Acks>) -> Result<Self, sqlx::Error> {
        let pool = &publisher.source.pool;
        let (reader, marker) = (Session::new(pool.acquire().await?), Session::new(pool.acquire().await?));
        let pace = Pace::new(publisher.config.idle_poll, Instant::now());
        let delay = metrics::histogram!(metric::RELAY_DELAY_SECONDS, "source" => publisher.source.name.clone());
        Ok(Self {
            publisher,
            client,
            acks,
            line: Line::default(),
            pace,
            reader,
            read_under: BTreeMap::new(),
            fresh_above: i64::MAX,
            marker,
            acknowledged: Vec::new(),
            gathering_since: None,
            marking: Vec::new(),
            no_room: false,
            ticked_at: Instant::now(),
            stopping: false,
            progressed: false,
            broken: None,
            delay,
        })
    }

    /// # Errors
    /// Why the producer must not be used any more. What was acknowledged is marked by then, if the database lets us.
    pub async fn run(mut self) -> Result<(), Broken> {
        loop {
            let now = Instant::now();
            self.send();
            self.mark(now);
            if self.is_over() {
                return match self.broken {
                    Some(broken) => Err(Broken { progressed: self.progressed, ..broken }),
                    None => Ok(()),
                };
            }
            self.read(now);
            if now.duration_since(self.ticked_at) >= TICK {
                self.tick(now);
            }
            match self.next_event().await {
                Event::Acks => self.take_acks(),
                Event::Read(rows) => self.take_rows(rows),
                Event::Marked(rows) => self.take_marks(rows),
                Event::Leases => self.keep_ours(),
                Event::Woken => self.pace.woken(Instant::now()),
                Event::Time => {}
                Event::Stop => {
                    self.stopping = true;
                    self.line.drop_unsent(|_| false);
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        let ending = self.broken.is_some() || (self.stopping && self.line.in_flight() == 0);
        ending && self.acknowledged.is_empty() && !self.marker.is_busy()
    }

    async fn next_event(&mut self) -> Event {
        let time = self.next_time();
        let Publisher { leases, woken, stop, .. } = &mut *self.publisher;
        tokio::select! {
            () = self.acks.news() => Event::Acks,
            rows = self.reader.answer() => Event::Read(rows),
            marked = self.marker.answer() => Event::Marked(marked),
            // Fails only when the keeper has ended, and the process with it.
            Ok(()) = leases.changed() => Event::Leases,
            // Fails only when the listener has ended; then the times decide.
            Ok(()) = woken.changed(), if !self.stopping => Event::Woken,
            () = tokio::time::sleep_until(time.into()) => Event::Time,
            () = stop.cancelled(), if !self.stopping => Event::Stop,
        }
    }

    fn next_time(&self) -> Instant {
        let now = Instant::now();
        let gathered = self.gathering_since.filter(|_| !self.marker.is_busy()).map(|since| since + GATHER);
        let read = self.may_read().then(|| self.pace.due_at());
        let room = self.no_room.then(|| now + NO_ROOM);
        [gathered, read, room].into_iter().flatten().fold(now + TICK, Instant::min)
    }

    fn send(&mut self) {
        self.no_room = false;
        while self.broken.is_none()
            && let Some((slot, contents)) = self.line.next()
        {
            match record::send(&self.client, slot, contents) {
                Ok(()) => {}
                Err(NotSent::NoRoom) => {
                    self.line.put_back(slot);
                    self.no_room = true;
                    return;
                }
                Err(NotSent::Trouble(trouble)) => self.trouble(slot, trouble),
            }
        }
    }

    fn take_acks(&mut self) {
        let now = OffsetDateTime::now_utc();
        let published = Arc::clone(&self.publisher.memory.published);
        let mut published = published.lock().unwrap_or_else(PoisonError::into_inner);
        for (slot, told) in self.acks.take() {
            match told {
                Ok(()) => {
                    let Some(place) = self.line.acknowledged(slot) else { continue };
                    self.delay.record((now - place.created_at).as_seconds_f64().max(0.0));
                    if let Some((aggregate, version)) = place.version {
                        published.note(aggregate, version);
                    }
                    self.gathering_since.get_or_insert_with(Instant::now);
                    self.acknowledged.push(place);
                }
                Err(trouble) => self.trouble(slot, trouble),
            }
        }
    }

    fn trouble(&mut self, slot: usize, trouble: Trouble) {
        let publisher = &mut *self.publisher;
        match trouble {
            Trouble::OfTheProducer(detail) => _ = self.broken.get_or_insert_with(|| Broken::delivery(detail)),
            Trouble::OfTheRow(detail) => {
                let Some((place, contents)) = self.line.refused(slot) else { return };
                let source = publisher.source.name.clone();
                metrics::counter!(metric::RELAY_FAILURES_TOTAL, "source" => source, "reason" => "refused").increment(1);
                tracing::error!(
                    source = publisher.source.name,
                    row = place.id,
                    topic = contents.topic().unwrap_or_default(),
                    detail,
                    "Kafka refuses this row; it waits, with what follows it"
                );
                let aggregate = place.version.map(|((_, id), _)| id);
                publisher.memory.refused.hold(place.id, aggregate, publisher.config.hold_refused);
            }
        }
    }

    fn mark(&mut self, now: Instant) {
        let half = self.publisher.config.batch_rows as usize / 2;
        let gathered = self.gathering_since.is_some_and(|since| now.duration_since(since) >= GATHER)
            || self.acknowledged.len() >= half
            || self.stopping
            || self.broken.is_some();
        if self.acknowledged.is_empty() || self.marker.is_busy() || !gathered {
            return;
        }
        self.gathering_since = None;
        self.marking = std::mem::take(&mut self.acknowledged);
        let (owner, leases, rows) = (self.publisher.owner, self.leases(), self.marking.clone());
        let statement = |mut connection: super::session::Connection| async move {
            let marked = store::mark(&mut connection, owner, &leases, &rows).await;
            (connection, marked)
        };
        self.marker.start(statement, ANSWER_TIMEOUT);
    }

    fn take_marks(&mut self, marked: Result<usize, sqlx::Error>) {
        let sent = std::mem::take(&mut self.marking).len();
        let marked = match marked {
            Ok(marked) => marked,
            Err(error) => {
                // Without the marker nothing can be marked any more.
                self.acknowledged.clear();
                self.broken.get_or_insert_with(|| Broken::database(&error));
                return;
            }
        };
        self.progressed |= marked > 0;
        self.publisher.vitals.published(marked);
        let source = self.publisher.source.name.clone();
        metrics::counter!(metric::RELAY_PUBLISHED_TOTAL, "source" => source).increment(sent as u64);
        if marked < sent {
            let (source, repeated) = (&self.publisher.source.name, sent - marked);
            tracing::warn!(source, repeated, "shards were lost on the way; their new owner publishes these once more");
        }
    }

    fn leases(&self) -> BTreeMap<i16, i64> {
        self.publisher.leases.borrow().of_publisher(self.publisher.number, self.publisher.config.publishers)
    }

    /// What lies in shards of others is theirs. Only saves repetitions.
    fn keep_ours(&mut self) {
        let ours = self.leases();
        if ours.iter().any(|lease| self.read_under.get(lease.0) != Some(lease.1)) {
            self.pace.start_over(Instant::now());
        }
        if ours != self.read_under {
            self.line.drop_unsent(|place| ours.get(&place.shard) == Some(&place.epoch));
        }
    }

    fn may_read(&self) -> bool {
        let batch = self.publisher.config.batch_rows as usize;
        !self.reader.is_busy()
            && !self.stopping
            && self.broken.is_none()
            && self.line.len() <= batch
            && self.acknowledged.len() + self.marking.len() <= 2 * batch
            && self.line.size_bytes() < self.publisher.config.batch_bytes_max as usize
    }

    fn read(&mut self, now: Instant) {
        if !self.may_read() || now < self.pace.due_at() {
            return;
        }
        let ours = self.leases();
        if ours.is_empty() {
            self.pace.postpone(now + NO_LEASE);
            return;
        }
        let (config, memory) = (&self.publisher.config, &mut self.publisher.memory);
        memory.refused.expire();
        memory.gaps.expire(now);
        let under_way = self.acknowledged.iter().chain(&self.marking).map(|place| place.id);
        let without = self.line.ids().chain(under_way).chain(memory.refused.ids()).chain(memory.gaps.ids(now));
        let wanted = Wanted {
            shards: ours.keys().copied().collect(),
            from_id: self.pace.begin(now),
            without: without.collect(),
            without_aggregates: memory.refused.aggregates(),
            rows_max: config.batch_rows.into(),
            bytes_max: config.batch_bytes_max.into(),
        };
        self.read_under = ours;
        let published = Arc::clone(&memory.published);
        let fresh_above = self.fresh_above;
        let statement = |mut connection: super::session::Connection| async move {
            let rows = read(&mut connection, wanted, fresh_above, &published).await;
            (connection, rows)
        };
        self.reader.start(statement, ANSWER_TIMEOUT);
    }

    fn take_rows(&mut self, rows: Result<Vec<Read>, sqlx::Error>) {
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) => {
                self.broken.get_or_insert_with(|| Broken::database(&error));
                return;
            }
        };
        let now = Instant::now();
        let size_bytes: usize = rows.iter().map(|(row, _)| row.size_bytes).sum();
        let config = &self.publisher.config;
        let full = rows.len() >= config.batch_rows as usize || size_bytes >= config.batch_bytes_max as usize;
        self.pace.ended(full, rows.last().map(|(row, _)| row.id), now);
        if self.stopping || self.broken.is_some() {
            return;
        }
        let last_id = rows.last().map_or(0, |(row, _)| row.id);
        let going = self.without_gaps(rows, now);
        // Of the first reading nothing is known to be new.
        self.fresh_above = last_id.max(if self.fresh_above == i64::MAX { 0 } else { self.fresh_above });
        self.line.add(going);
    }

    /// Leaves out what must wait for its predecessor, and what belongs to a refused row.
    fn without_gaps(&mut self, rows: Vec<Read>, now: Instant) -> Vec<(Place, Contents)> {
        let (hold, changed) = (self.publisher.config.hold_refused, Arc::clone(&self.publisher.changed.borrow()));
        let memory = &mut self.publisher.memory;
        let published = memory.published.lock().unwrap_or_else(PoisonError::into_inner);
        let refused: HashSet<_> = memory.refused.aggregates().into_iter().collect();
        let mut by_version: Vec<Read> = rows;
        let has_followers = by_version.iter().any(|(row, _)| row.aggregate.as_ref().is_some_and(|(.., v)| *v > 1));
        if has_followers {
            // Predecessors first. Stable: among equals the order of ids stays.
            by_version.sort_by_key(|(row, _)| row.aggregate.as_ref().map(|(.., version)| *version));
        }
        let mut going = Vec::with_capacity(by_version.len());
        let mut here = HashSet::new();
        for (row, said) in by_version {
            let Some(epoch) = self.read_under.get(&row.shard).copied() else { continue };
            let mut version = None;
            if let Some((kind, id, number)) = row.aggregate {
                if refused.contains(&id) {
                    continue;
                }
                if row.contents.topic().is_ok_and(|topic| changed.contains(topic)) {
                    memory.refused.hold(row.id, Some(id), hold);
                    continue;
                }
                let aggregate = aggregate_of(&kind, id);
                let before = number - 1;
                let may_go = number <= 1
                    || here.contains(&(aggregate, before))
                    || said.is_some_and(super::gaps::Predecessor::lets_go)
                    || (row.id > self.fresh_above && published.has(&aggregate, before))
                    || self.line.holds(&aggregate, before);
                if !may_go {
                    memory.gaps.hold(row.id, (kind, id, number), now);
                    continue;
                }
                if has_followers {
                    here.insert((aggregate, number));
                }
                version = Some((aggregate, number));
            }
            memory.gaps.release(row.id);
            let (id, shard, created_at, size_bytes) = (row.id, row.shard, row.created_at, row.size_bytes);
            going.push((Place { id, version, shard, epoch, created_at, size_bytes }, row.contents));
        }
        going
    }

    /// Tells what may not go.
    fn tick(&mut self, now: Instant) {
        self.ticked_at = now;
        let publisher = &mut *self.publisher;
        let gaps = &mut publisher.memory.gaps;
        for (kind, id, version) in gaps.tell_due(publisher.config.gap_alarm, now) {
            let source = &publisher.source.name;
            tracing::error!(source, aggregate_type = kind, aggregate_id = %id, version, "its predecessor is not published; it waits");
        }
        let refused = &publisher.memory.refused;
        let mut rows = refused.ids();
        rows.extend(gaps.all_ids());
        let waiting =
            Waiting { rows, aggregates: refused.aggregates(), gaps: gaps.len(), oldest_gap: gaps.oldest(now) };
        publisher.vitals.set_waiting(publisher.number, waiting);
    }
}
