//! Ordered consumers: a key whose head failed waits in PostgreSQL, its later messages behind it, and goes on in order.
//!
//! In the order of the flow: [`hints`] (is its key parked? then it is not even tried) → [`turn`] (whose turn it is, inside
//! the settlement) → [`append`] (the rows) → [`drainer`] (due keys, a lease for each) → [`lease`] → [`resume`] (one
//! message: its effect, its outcome and its row in one transaction) or [`bury`] (all of a key, when it waited too long).
//!
//! # Why nobody passes
//!
//! A message of one partition starts only when its predecessor has a committed outcome (`consumer::lanes`, by key over all
//! topics of a member). So when it reaches its settlement, the key's row is either visible or was released again.
//!
//! - *Settlement against drainer.* Both begin with the lock on the key's row. When the settlement is first, it appends, and
//!   the drainer, which looks for further messages in a later statement and so in a later snapshot, sees what was appended.
//!   When the drainer is first and releases the key, the settlement's `FOR UPDATE` waits and then finds no row: a message
//!   that was not tried goes back to be worked on, one that was tried is recorded, after all of its predecessors.
//! - *Two drainers.* A lease per key by the database's clock, and an epoch that is never used twice. Every statement of a
//!   drainer is fenced by it under the row's lock, so one that was stopped and resumed changes nothing.
//! - *A zombie of the group* still settles what it holds while the partition's new owner has it again. Of each event the
//!   inbox's primary key lets one of the two through, whether the outcome is done or parked. Only a message whose claim
//!   won is appended or parks its key, so nothing is parked that somebody else has done, and nothing twice.
//! - *One transaction, several messages of a key* can not be (lanes), but nothing rests on it: `turn` closes a key at its
//!   first failure, and `settle::take_batch` ends the batch there, as that failure's claim may still be lost.
//! - *Members with different topics of one key.* Between topics there is no order to keep. One may park the key while the
//!   other settles; from the commit on, both append.

mod append;
mod bury;
mod drainer;
mod hints;
mod lease;
mod outcomes;
mod resume;
mod stored;
mod turn;

pub(crate) use append::{Parking, append, lock};
pub(crate) use drainer::Drainer;
pub(crate) use hints::Hints;
pub(crate) use turn::{Turn, Wish, turns};

use std::borrow::Cow;

use crate::Record;

/// An index entry of PostgreSQL holds 2.7 kB; a key of this size is none of ours.
const KEY_BYTES_MAX: usize = 512;

/// The name under which a record is parked: its key, or its place when it has none. As `pipeline.parked_key` in the
/// migrations.
pub(crate) fn key_of(record: &Record) -> Cow<'_, [u8]> {
    match record.key.as_deref().filter(|key| key.len() <= KEY_BYTES_MAX) {
        Some(key) => key.into(),
        None => {
            let (topic, partition, offset) = record.origin();
            format!("place:{topic}/{partition}/{offset}").into_bytes().into()
        }
    }
}
