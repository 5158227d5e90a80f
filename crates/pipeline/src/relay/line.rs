//! What was read and is not published yet: which row may go now. Pure, no I/O.

use std::collections::{BTreeMap, HashMap, VecDeque};

use time::OffsetDateTime;
use uuid::Uuid;

/// An aggregate: a hash of its type, and its id.
pub(super) type Aggregate = (u64, Uuid);

/// A row without its contents.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub id: i64,
    /// Aggregate and version; retries and dead letters have none and go alone.
    pub version: Option<(Aggregate, i64)>,
    pub shard: i16,
    /// Of the lease under which it was read.
    pub epoch: i64,
    pub created_at: OffsetDateTime,
    pub size_bytes: usize,
}

/// Rows of one aggregate go one after the other, by version, each only when the one before is acknowledged; those of
/// different aggregates at once.
pub(super) struct Line<B> {
    slots: Vec<Option<(Place, B)>>,
    free: Vec<usize>,
    chains: HashMap<Aggregate, Chain>,
    ready: VecDeque<usize>,
    in_flight: usize,
    len: usize,
    size_bytes: usize,
}

#[derive(Debug, Default)]
struct Chain {
    /// Version and slot of the one that is ready or in flight.
    going: Option<(i64, usize)>,
    /// By version; and by id, as a version may be there twice when nobody's constraint forbids it.
    waiting: BTreeMap<(i64, i64), usize>,
}

impl<B> Default for Line<B> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            chains: HashMap::new(),
            ready: VecDeque::new(),
            in_flight: 0,
            len: 0,
            size_bytes: 0,
        }
    }
}

impl<B> Line<B> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// Rows that are here, to leave them out of the next reading.
    pub fn ids(&self) -> impl Iterator<Item = i64> {
        self.slots.iter().flatten().map(|(place, _)| place.id)
    }

    /// Whether this version of the aggregate is here.
    pub fn holds(&self, aggregate: &Aggregate, version: i64) -> bool {
        self.chains.get(aggregate).is_some_and(|chain| {
            chain.going.is_some_and(|(going, _)| going == version)
                || chain.waiting.range((version, i64::MIN)..=(version, i64::MAX)).next().is_some()
        })
    }

    /// Takes the rows of one reading. All at once: within it, ids may run against versions.
    pub fn add(&mut self, rows: impl IntoIterator<Item = (Place, B)>) {
        let mut touched = Vec::new();
        for (place, body) in rows {
            self.len += 1;
            self.size_bytes += place.size_bytes;
            let (id, version) = (place.id, place.version);
            let slot = self.put((place, body));
            match version {
                None => self.ready.push_back(slot),
                Some((aggregate, version)) => {
                    self.chains.entry(aggregate).or_default().waiting.insert((version, id), slot);
                    touched.push(aggregate);
                }
            }
        }
        for aggregate in touched {
            self.promote(aggregate);
        }
    }

    /// The next row to send; it is in flight from now on.
    pub fn next(&mut self) -> Option<(usize, &B)> {
        let slot = self.ready.pop_front()?;
        self.in_flight += 1;
        self.slots.get(slot)?.as_ref().map(|(_, body)| (slot, body))
    }

    /// The client had no room for it.
    pub fn put_back(&mut self, slot: usize) {
        self.in_flight -= 1;
        self.ready.push_front(slot);
    }

    /// Kafka has it: the next one of its aggregate may go.
    pub fn acknowledged(&mut self, slot: usize) -> Option<Place> {
        let (place, _) = self.take_in_flight(slot)?;
        if let Some((aggregate, _)) = place.version {
            if let Some(chain) = self.chains.get_mut(&aggregate) {
                chain.going = None;
            }
            self.promote(aggregate);
        }
        Some(place)
    }

    /// Kafka does not take it: it leaves, and with it what waits for it.
    pub fn refused(&mut self, slot: usize) -> Option<(Place, B)> {
        let row = self.take_in_flight(slot)?;
        if let Some((aggregate, _)) = row.0.version {
            let chain = self.chains.remove(&aggregate).unwrap_or_default();
            for slot in chain.waiting.into_values() {
                self.take(slot);
            }
        }
        Some(row)
    }

    /// Drops what was not sent and is not to be: in the shards of others, or all of it at the end.
    pub fn drop_unsent(&mut self, keep: impl Fn(&Place) -> bool) {
        let mut unsent: Vec<usize> = self.chains.values().flat_map(|chain| chain.waiting.values().copied()).collect();
        unsent.extend(&self.ready);
        for slot in unsent {
            let Some(Some((place, _))) = self.slots.get(slot) else { continue };
            if keep(place) {
                continue;
            }
            if let Some((aggregate, version)) = place.version
                && let Some(chain) = self.chains.get_mut(&aggregate)
            {
                chain.waiting.remove(&(version, place.id));
                chain.going = chain.going.filter(|(_, going)| *going != slot);
                if chain.going.is_none() && chain.waiting.is_empty() {
                    self.chains.remove(&aggregate);
                }
            }
            self.ready.retain(|ready| *ready != slot);
            self.take(slot);
        }
    }

    fn promote(&mut self, aggregate: Aggregate) {
        let Some(chain) = self.chains.get_mut(&aggregate) else { return };
        if chain.going.is_some() {
            return;
        }
        chain.going = chain.waiting.pop_first().map(|((version, _), slot)| (version, slot));
        match chain.going {
            Some((_, slot)) => self.ready.push_back(slot),
            None => drop(self.chains.remove(&aggregate)),
        }
    }

    fn put(&mut self, row: (Place, B)) -> usize {
        if let Some(slot) = self.free.pop()
            && let Some(place) = self.slots.get_mut(slot)
        {
            *place = Some(row);
            return slot;
        }
        self.slots.push(Some(row));
        self.slots.len() - 1
    }

    fn take_in_flight(&mut self, slot: usize) -> Option<(Place, B)> {
        let row = self.take(slot)?;
        self.in_flight -= 1;
        Some(row)
    }

    fn take(&mut self, slot: usize) -> Option<(Place, B)> {
        let row = self.slots.get_mut(slot)?.take()?;
        self.free.push(slot);
        self.len -= 1;
        self.size_bytes -= row.0.size_bytes;
        Some(row)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn row(id: i64, aggregate: u128, version: i64) -> (Place, ()) {
        let version = (aggregate > 0).then(|| ((0, Uuid::from_u128(aggregate)), version));
        let created_at = OffsetDateTime::UNIX_EPOCH;
        (Place { id, version, shard: (aggregate % 4) as i16, epoch: 1, created_at, size_bytes: 10 }, ())
    }

    /// Sends what may go; returns slots and ids.
    fn go(line: &mut Line<()>) -> Vec<(usize, i64)> {
        let mut sent = Vec::new();
        while let Some((slot, ())) = line.next() {
            sent.push((slot, line.slots[slot].as_ref().unwrap().0.id));
        }
        sent
    }

    fn ids(sent: &[(usize, i64)]) -> Vec<i64> {
        sent.iter().map(|(_, id)| *id).collect()
    }

    #[test]
    fn of_an_aggregate_one_row_is_out_and_the_next_goes_after_its_acknowledgement() {
        let mut line = Line::default();
        line.add([row(1, 1, 1), row(2, 0, 0), row(3, 2, 1), row(4, 1, 2), row(5, 0, 0)]);
        let sent = go(&mut line);
        assert_eq!(ids(&sent), [2, 5, 1, 3]);
        // What is read later waits for what is out, too.
        line.add([row(6, 1, 3)]);
        assert!(go(&mut line).is_empty());
        let first = sent.iter().find(|(_, id)| *id == 1).unwrap().0;
        assert_eq!(line.acknowledged(first).unwrap().id, 1);
        let second = go(&mut line);
        assert_eq!(ids(&second), [4]);
        line.acknowledged(second[0].0).unwrap();
        assert_eq!(ids(&go(&mut line)), [6]);
    }

    #[test]
    fn ids_against_versions_go_by_version() {
        let mut line = Line::default();
        line.add([row(7, 1, 3), row(8, 1, 1), row(9, 1, 2)]);
        let mut order = Vec::new();
        while let Some((slot, ())) = line.next() {
            order.push(line.acknowledged(slot).unwrap().id);
        }
        assert_eq!(order, [8, 9, 7]);
        assert_eq!((line.len(), line.size_bytes(), line.in_flight()), (0, 0, 0));
        assert!(line.chains.is_empty());
    }

    #[test]
    fn what_waits_for_a_refused_row_leaves_with_it() {
        let mut line = Line::default();
        line.add([row(1, 1, 1), row(2, 1, 2), row(3, 2, 1)]);
        let sent = go(&mut line);
        assert_eq!(line.refused(sent[0].0).unwrap().0.id, 1);
        assert_eq!(line.ids().collect::<Vec<_>>(), [3]);
        assert!(go(&mut line).is_empty());
    }

    #[test]
    fn what_is_out_stays_when_the_rest_is_dropped() {
        let mut line = Line::default();
        line.add([row(1, 1, 1), row(2, 1, 2)]);
        let sent = go(&mut line);
        line.add([row(3, 2, 1), row(4, 0, 0)]);
        line.drop_unsent(|place| place.shard == 2);
        assert_eq!(line.ids().collect::<Vec<_>>(), [1, 3]);
        assert_eq!(ids(&go(&mut line)), [3]);
        assert_eq!(line.acknowledged(sent[0].0).unwrap().id, 1);
        assert!(!line.holds(&(0, Uuid::from_u128(1)), 2));
        assert_eq!(line.len(), 1);
    }

    #[test]
    fn a_row_without_room_in_the_client_goes_first_next_time() {
        let mut line = Line::default();
        line.add([row(1, 0, 0), row(2, 0, 0)]);
        let (slot, ()) = line.next().unwrap();
        line.put_back(slot);
        assert_eq!((line.in_flight(), ids(&go(&mut line))), (0, vec![1, 2]));
    }

    proptest::proptest! {
        /// Whatever the order of ids, readings and acknowledgements: versions go in order, and nothing is left.
        #[test]
        fn versions_always_go_in_order(
            rows in proptest::collection::vec((1_u128..5, 1_i64..6), 1..40),
            picks in proptest::collection::vec(0_usize..100, 200),
        ) {
            let mut line = Line::default();
            let mut wanted: Vec<(u128, i64)> = rows;
            wanted.sort_unstable();
            wanted.dedup();
            line.add(wanted.iter().enumerate().map(|(n, (aggregate, version))| row(-(n as i64), *aggregate, *version)));
            let mut out: Vec<usize> = Vec::new();
            let mut seen: HashMap<Aggregate, i64> = HashMap::new();
            let mut total = 0;
            for pick in picks {
                out.extend(go(&mut line).iter().map(|(slot, _)| *slot));
                if out.is_empty() { break; }
                let place = line.acknowledged(out.remove(pick % out.len())).unwrap();
                let (aggregate, version) = place.version.unwrap();
                let before = seen.insert(aggregate, version);
                proptest::prop_assert!(before.is_none_or(|before| before < version));
                total += 1;
            }
            proptest::prop_assert_eq!((total, line.len()), (wanted.len(), 0));
        }
    }
}
