//! How far a redrive has come, and why it does not go on.

use serde::Serialize;
use uuid::Uuid;

use super::watch::Counts;
use crate::output::{Exit, Report, counted};

/// Why a redrive does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stop {
    Interrupted,
    CanaryDied,
    CanaryFailedAgain,
    CanaryUnsettled,
    DiesAgain,
    NobodyWorks,
    /// By another process: it was aborted, undone or taken over.
    Ended,
}

impl Stop {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interrupted => "interrupted",
            Self::CanaryDied => "canary-died",
            Self::CanaryFailedAgain => "canary-failed-again",
            Self::CanaryUnsettled => "canary-unsettled",
            Self::DiesAgain => "dies-again",
            Self::NobodyWorks => "nobody-works",
            Self::Ended => "ended",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Interrupted => "Stopped by a signal; nothing is half done.",
            Self::CanaryDied => {
                "Stopped: the canary died again, so the cause is not mended. See it by `docfleet dlq list`."
            }
            Self::CanaryFailedAgain => "Stopped: the canary failed again and waits for its next try.",
            Self::CanaryUnsettled => "Stopped: nothing has come of the canary. Do the relay and the consumer run?",
            Self::DiesAgain => "Stopped: too many of the last letters died again (--died-max).",
            Self::NobodyWorks => "Stopped: nothing comes of what was sent. Do the relay and the consumer run?",
            Self::Ended => "Ended by somebody else: see `docfleet dlq redrives`.",
        }
    }
}

#[derive(Serialize)]
pub struct Applied {
    redrive: i64,
    stopped: Option<Stop>,
    #[serde(flatten)]
    counts: Counts,
    sent: i64,
    /// Named, but not dead: nothing was done about them.
    not_dead: Vec<Uuid>,
}

impl Applied {
    pub fn new(redrive: i64, stopped: Option<Stop>, counts: Counts) -> Self {
        Self { redrive, stopped, sent: counts.sent(), counts, not_dead: Vec::new() }
    }

    pub fn naming(self, not_dead: Vec<Uuid>) -> Self {
        Self { not_dead, ..self }
    }
}

impl Report for Applied {
    fn text(&self) -> String {
        let id = self.redrive;
        let counts = &self.counts;
        let mut lines = vec![format!(
            "Redrive {id}: {} sent, {} worked, {} died again, {} on their way.",
            counted(self.sent, "letter"),
            counts.worked,
            counts.died_again,
            counts.on_their_way
        )];
        for (count, what) in [
            (counts.to_send, "not sent"),
            (counts.gone, "had been taken by somebody else"),
            (counts.refused, "refused: their key is held by another letter, see `docfleet parked list`"),
            (counts.left_out, "left out by the loop guard"),
        ] {
            if count > 0 {
                lines.push(format!("{} {what}.", counted(count, "letter")));
            }
        }
        if let Some(stop) = self.stopped {
            lines.push(stop.text().to_owned());
            if stop != Stop::Ended {
                lines.push(format!(
                    "Go on by `docfleet dlq replay --resume {id}`, or take it back by `docfleet dlq undo {id}`."
                ));
            }
        } else if counts.on_their_way > 0 {
            lines.push(format!("What comes of it: `docfleet dlq redrives {id}`."));
        }
        lines.extend(self.not_dead.iter().map(|id| format!("{id} is not dead: nothing was done about it.")));
        lines.join("\n")
    }

    fn exit(&self) -> Exit {
        if self.stopped.is_none() && self.not_dead.is_empty() && self.counts.refused == 0 {
            Exit::Ok
        } else {
            Exit::Problem
        }
    }
}
