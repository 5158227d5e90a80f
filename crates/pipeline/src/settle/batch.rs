use std::collections::HashSet;

use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::{
    Class, Failure, Handler, Record, Worked,
    consumer::InFlight,
    fate::Fate,
    gate::CommandId,
    message::{Identity, PLACE_DAY},
    parked::{self, Turn, Wish},
    process::{Conclusion, Finished, TOO_OLD},
    replay::Replay,
};

/// What a message was, beside its id. Nothing for one that is only a place: what stands there may change.
pub(crate) type Digest = Option<[u8; 16]>;

/// The first 16 bytes of the SHA-256 of the record's value.
pub(crate) fn digest_of(record: &Record, identity: &Identity) -> Digest {
    let payload = record.payload.as_deref().filter(|_| identity.event_day != PLACE_DAY)?;
    Sha256::digest(payload).first_chunk().copied()
}

pub(super) enum End {
    /// Its finding is in [`Batch::worked`].
    Worked,
    Failed(Failure, Fate),
    /// Not tried, as its key seemed to be parked. Goes back by this way when it is not.
    Behind(oneshot::Sender<(InFlight, Record)>),
    /// Not tried, as this command discards it.
    Dropped(CommandId),
}

/// A message on the way into the inbox.
pub(super) struct Item {
    pub in_flight: InFlight,
    pub record: Record,
    pub identity: Identity,
    pub digest: Digest,
    pub end: End,
}

impl Item {
    pub fn wish(&self) -> Wish {
        match &self.end {
            End::Worked => Wish::Settle,
            End::Behind(_) => Wish::Behind,
            // Without an effect there is no place in the order.
            End::Dropped(_) => Wish::Unreadable,
            _ if self.identity.replay.is_some() => Wish::Unreadable,
            // What the inbox has forgotten may have had its effect: it must not get another one from behind a parked key.
            End::Failed(failure, _) if failure.reason == TOO_OLD => Wish::Unreadable,
            End::Failed(_, Fate::Park | Fate::DeadLetterAndHold) => Wish::CloseKey,
            End::Failed(..) if self.identity.event_day == PLACE_DAY => Wish::Unreadable,
            End::Failed(..) => Wish::Settle,
        }
    }

    fn collided(&mut self, fate: Fate) {
        let detail = format!("another payload has the event id {}", self.identity.event_id);
        self.identity = Identity::of_place(&self.record);
        self.digest = None;
        self.end = End::Failed(Failure::poison("id-collision", detail), fate);
    }
}

/// What a transaction decided about its batch.
#[derive(Default)]
pub(super) struct Settled {
    /// The events whose outcome it was to decide. The others had one before.
    pub claimed: HashSet<Uuid>,
    /// All of the batch was claimed, and nothing went elsewhere: the sets need not be asked.
    pub all: bool,
    /// They went behind their parked keys.
    pub appended: HashSet<Uuid>,
    /// Their keys are not parked any more: to be worked on.
    pub freed: HashSet<Uuid>,
}

impl Settled {
    pub fn claimed(&self, event_id: &Uuid) -> bool {
        self.all || self.claimed.contains(event_id)
    }

    /// Whether what was found out about the event counts.
    pub fn counts(&self, event_id: &Uuid) -> bool {
        self.all || (self.claimed.contains(event_id) && !self.appended.contains(event_id))
    }

    pub fn take_turns(&mut self, items: &[Item], turns: &[Turn]) {
        for (item, turn) in items.iter().zip(turns) {
            match turn {
                Turn::Own => continue,
                Turn::Append => self.appended.insert(item.identity.event_id),
                Turn::Work => self.freed.insert(item.identity.event_id),
            };
        }
    }
}

/// Messages that are settled in one transaction, each event once.
pub(super) struct Batch<H: Handler> {
    pub items: Vec<Item>,
    /// Of the items without a failure.
    pub worked: Vec<Worked<H::In, H::Finding>>,
}

impl<H: Handler> Default for Batch<H> {
    fn default() -> Self {
        Self { items: Vec::new(), worked: Vec::new() }
    }
}

impl<H: Handler> Batch<H> {
    fn push(&mut self, finished: Finished<H>) {
        let Finished { in_flight, record, identity, conclusion } = finished;
        let end = match conclusion {
            Conclusion::Worked(worked) => {
                self.worked.push(worked);
                End::Worked
            }
            Conclusion::Failed(failure, fate) => End::Failed(failure, fate),
            Conclusion::Behind(back) => End::Behind(back),
            Conclusion::Dropped(command) => End::Dropped(command),
        };
        let digest = digest_of(&record, &identity);
        self.items.push(Item { in_flight, record, identity, digest, end });
    }

    /// Of all its messages: a batch is of one logical version.
    pub fn replay(&self) -> Option<&Replay> {
        self.items.first().and_then(|item| item.identity.replay.as_ref())
    }

    /// The worked messages that this settlement took, as one slice: the others have an outcome or a place already.
    pub fn fresh(&mut self, settled: &Settled) -> &[Worked<H::In, H::Finding>] {
        if settled.all {
            return &self.worked;
        }
        let counts = |worked: &Worked<H::In, H::Finding>| settled.counts(&worked.message.meta.event_id);
        self.worked.sort_by_key(|worked| !counts(worked));
        let count = self.worked.partition_point(counts);
        self.worked.get(..count).unwrap_or_default()
    }

    /// Of `events` the outcome was given to another payload: dead, each under the identity of its place.
    pub fn collided(&mut self, events: &HashSet<Uuid>) {
        self.worked.retain(|worked| !events.contains(&worked.message.meta.event_id));
        for item in self.items.iter_mut().filter(|item| events.contains(&item.identity.event_id)) {
            item.collided(H::POLICY.fate(Class::Poison, item.record.attempt()));
        }
    }

    /// Two halves, in order. A batch with one bad message among n is so settled in some 2 log n transactions.
    pub fn halves(mut self) -> (Self, Self) {
        let second = self.items.split_off(self.items.len() / 2);
        let of_second: HashSet<Uuid> = second.iter().map(|item| item.identity.event_id).collect();
        let (later, earlier) =
            self.worked.into_iter().partition(|worked| of_second.contains(&worked.message.meta.event_id));
        (Self { items: self.items, worked: earlier }, Self { items: second, worked: later })
    }

    pub fn abandon(self) {
        self.items.into_iter().for_each(|item| item.in_flight.abandon());
    }

    pub fn fatal(self, failure: &Failure) {
        self.items.into_iter().for_each(|item| item.in_flight.fatal(failure.clone()));
    }
}

/// As many of `waiting`, from the front, as hold each event only once: a statement can not touch an inbox row twice. And as
/// are of one logical version: a transaction settles under one name.
///
/// Of an ordered consumer the batch ends before a message whose key may be closed by an earlier one of the batch: whether
/// that one closes it is known when its claim is.
pub(super) fn take_batch<H: Handler>(waiting: &mut Vec<Finished<H>>) -> Batch<H> {
    let mut batch = Batch::default();
    let mut events = HashSet::with_capacity(waiting.len());
    let mut closing: HashSet<Vec<u8>> = HashSet::new();
    let mut taken = 0;
    for finished in waiting.iter() {
        let other_version = waiting.first().is_some_and(|first| first.identity.replay != finished.identity.replay);
        if other_version || !events.insert(finished.identity.event_id) {
            break;
        }
        if H::POLICY.is_ordered() {
            let key = parked::key_of(&finished.record);
            if closing.contains(key.as_ref()) {
                break;
            }
            if !matches!(finished.conclusion, Conclusion::Worked(_)) {
                closing.insert(key.into_owned());
            }
        }
        taken += 1;
    }
    waiting.drain(..taken).for_each(|finished| batch.push(finished));
    batch
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::sync::mpsc;

    use super::*;
    use crate::{
        Message, Outcome, Policy, Recorded, Settlement, WorkContext, consumer::Ticket, handler::Nothing,
        message::TopicPartition,
    };

    struct InOrder;

    impl Handler for InOrder {
        type In = Nothing;
        type Finding = ();
        const POLICY: Policy = Policy::ORDERED;

        async fn work(&self, _: &Message<Nothing>, _: &WorkContext) -> Outcome<()> {
            Ok(())
        }

        async fn record(&self, _: &[Worked<Nothing, ()>], _: &mut Settlement<'_>) -> Recorded {
            Ok(())
        }
    }

    /// Failed messages at these offsets, each with its key and its fate.
    fn waiting(of: &[(i64, &str, Fate)]) -> Vec<Finished<InOrder>> {
        let (done, _) = mpsc::unbounded_channel();
        let message = |(offset, key, fate): &(i64, &str, Fate)| {
            let source = TopicPartition { topic: "t".into(), partition: 0 };
            let ticket = Ticket::of_test(*offset);
            let record = Record {
                source,
                offset: *offset,
                timestamp_ms: 0,
                key: Some(key.as_bytes().to_vec()),
                payload: None,
                headers: vec![],
                headers_unreadable: false,
            };
            Finished {
                in_flight: InFlight::new(ticket, done.clone()),
                identity: Identity::of_place(&record),
                record,
                conclusion: Conclusion::Failed(Failure::transient("asked-to", ""), *fate),
            }
        };
        of.iter().map(message).collect()
    }

    fn offsets(batch: &Batch<InOrder>) -> Vec<i64> {
        batch.items.iter().map(|item| item.record.offset).collect()
    }

    #[test]
    fn a_batch_holds_each_event_once() {
        let mut open =
            waiting(&[(1, "a", Fate::Park), (2, "b", Fate::Park), (1, "c", Fate::Park), (3, "d", Fate::Park)]);
        assert_eq!(offsets(&take_batch(&mut open)), [1, 2]);
        assert_eq!(offsets(&take_batch(&mut open)), [1, 3]);
    }

    #[test]
    fn a_batch_is_of_one_logical_version() {
        let mut open = waiting(&[(1, "a", Fate::Park), (2, "b", Fate::Park), (3, "c", Fate::Park)]);
        open[1].record.headers.push((crate::header::REPLAY.to_owned(), "v2".to_owned()));
        open[1].identity = Identity::of_place(&open[1].record);
        let batches: Vec<_> = std::iter::repeat_with(|| offsets(&take_batch(&mut open))).take(3).collect();
        assert_eq!(batches, [[1], [2], [3]]);
    }

    #[test]
    fn a_batch_ends_before_a_message_whose_key_an_earlier_one_may_close() {
        let mut open = waiting(&[(1, "a", Fate::Park), (2, "b", Fate::DeadLetter), (3, "a", Fate::DeadLetter)]);
        assert_eq!(offsets(&take_batch(&mut open)), [1, 2]);
        assert_eq!(offsets(&take_batch(&mut open)), [3]);
    }

    proptest! {
        /// As `Settler::settle` does: one bad message among n is found with few transactions, and no other waits for ever.
        #[test]
        fn one_bad_message_is_isolated_in_logarithmic_many_transactions(n in 1_i64..300, bad in 0_i64..300) {
            let bad = bad % n;
            let messages: Vec<(i64, String)> = (0..n).map(|offset| (offset, offset.to_string())).collect();
            let messages: Vec<(i64, &str, Fate)> =
                messages.iter().map(|(offset, key)| (*offset, key.as_str(), Fate::DeadLetter)).collect();
            let mut open = vec![take_batch(&mut waiting(&messages))];
            let (mut settled, mut transactions) = (Vec::new(), 0);
            while let Some(batch) = open.pop() {
                transactions += 1;
                let inside = offsets(&batch);
                if inside.contains(&bad) && inside.len() > 1 {
                    let (first, second) = batch.halves();
                    open.push(second);
                    open.push(first);
                } else {
                    settled.extend(inside);
                }
            }
            prop_assert_eq!(settled, (0..n).collect::<Vec<_>>());
            prop_assert!(transactions <= 2 * (n.ilog2() + 1) + 1, "{} for {}", transactions, n);
        }
    }
}
