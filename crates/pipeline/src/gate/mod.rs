//! Between a message that is ready and its start: commands of operators, the breaker, the ramp, fairness.
//!
//! In the order of the flow: `watch` (reads `pipeline.commands`, shares a set) → `commands` (what the set says of a message)
//! → `admission` (which message starts next: `fairness`, `throttle`) → `signals` (what came of it, told through a `handle`:
//! `breaker`, `ramp`) → `head` (what holds a frontier back) and `report`, which the member's row carries to `docfleet status`. `share` says which
//! partition holds too much of the budget.
//!
//! All but `watch` and `drops` is without I/O and clock: `now` is an argument, the time since some origin of the process that
//! never goes back. The driver, those who work, and the watch count from the same one.

mod admission;
mod breaker;
mod commands;
mod config;
mod drops;
mod fairness;
mod field;
mod handle;
mod head;
mod ramp;
mod report;
mod share;
mod signals;
mod throttle;
mod top_keys;
mod watch;

pub use admission::{Admission, Admitted, Generation, Placed};
pub use breaker::{Breaker, Cause, Judgement, Open, Start, Turn};
pub use commands::{Action, Command, CommandId, CommandRow, CommandSet, Place, Selector, Verdict};
pub use config::BreakerConfig;
pub use drops::{DROPPED, record_drops};
pub use fairness::FairQueue;
pub use field::of_datum;
pub(crate) use handle::{Handle, note_of};
pub use head::{Head, Heads, Note, Notes, Phase, STANDS_AFTER, key_text};
pub use ramp::Ramp;
pub use report::{BreakerReport, GateReport, KeyReport};
pub use share::Share;
pub use signals::Signals;
pub use throttle::Bucket;
pub use top_keys::{Count, TopKeys};
pub use watch::{CHANNEL, active, watch};
