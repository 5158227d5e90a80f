//! What came of replays: the inbox knows.

use serde::Serialize;
use sqlx::{FromRow, PgConnection};
use time::OffsetDateTime;

use super::send::Running;
use crate::{
    Error,
    output::{self, Exit, Report, counted, grouped, instant},
};

/// Events by what has become of them under the logical version.
#[derive(Debug, Default, Serialize, FromRow)]
pub struct Counts {
    pub on_their_way: i64,
    pub done: i64,
    pub died: i64,
}

pub async fn counts(connection: &mut PgConnection, logical: &str) -> Result<Counts, Error> {
    let counts = sqlx::query_as(
        r"SELECT count(*) FILTER (WHERE outcome = 'retrying') AS on_their_way, count(*) FILTER (WHERE outcome IN ('done', 'skipped')) AS done,
                 count(*) FILTER (WHERE outcome IN ('dead', 'discarded')) AS died
            FROM pipeline.inbox WHERE consumer = $1",
    );
    Ok(counts.bind(logical).fetch_one(connection).await?)
}

/// How many are on their way and how many died: what is asked at each step, from an index of what is not done.
pub async fn open(connection: &mut PgConnection, logical: &str) -> Result<(i64, i64), Error> {
    let open = sqlx::query_as(
        r"SELECT count(*) FILTER (WHERE outcome = 'retrying'), count(*) FILTER (WHERE outcome = 'dead')
            FROM pipeline.inbox WHERE consumer = $1 AND outcome IN ('retrying', 'dead')",
    );
    Ok(open.bind(logical).fetch_one(connection).await?)
}

/// Why a replay does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stop {
    Interrupted,
    Dies,
    NobodyWorks,
    /// By another process: it was aborted or taken over.
    Ended,
}

impl Stop {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interrupted => "interrupted",
            Self::Dies => "dies",
            Self::NobodyWorks => "nobody-works",
            Self::Ended => "ended",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Interrupted => "Stopped by a signal; nothing is half done.",
            Self::Dies => "Stopped: the first event died, or too many did (--died-max). See `docfleet dlq list`.",
            Self::NobodyWorks => "Stopped: nothing comes of what was sent. Do the relay and the consumer run?",
            Self::Ended => "Ended by somebody else: see `docfleet replay --list`.",
        }
    }
}

#[derive(Serialize)]
pub struct Applied {
    replay: i64,
    consumer: String,
    version: String,
    stopped: Option<Stop>,
    planned: i64,
    sent: i64,
    #[serde(flatten)]
    counts: Counts,
}

impl Applied {
    pub fn new(replay: i64, running: &Running, stopped: Option<Stop>, counts: Counts) -> Self {
        let Running { consumer, version, planned, sent, .. } = running;
        let (consumer, version) = (consumer.clone(), version.clone());
        Self { replay, consumer, version, stopped, planned: *planned, sent: *sent, counts }
    }
}

impl Report for Applied {
    fn text(&self) -> String {
        let mut lines = vec![format!(
            "Replay {} of {}@{}: {} of {} sent, {} done, {} died, {} on their way.",
            self.replay,
            self.consumer,
            self.version,
            grouped(self.sent),
            counted(self.planned, "event"),
            grouped(self.counts.done),
            grouped(self.counts.died),
            grouped(self.counts.on_their_way)
        )];
        match self.stopped {
            Some(Stop::Ended) => lines.push(Stop::Ended.text().to_owned()),
            Some(stop) => lines.push(format!("{}\nGo on by `docfleet replay --resume {}`.", stop.text(), self.replay)),
            None if self.counts.on_their_way > 0 => {
                lines.push("What comes of it: `docfleet replay --list`.".to_owned())
            }
            None => {}
        }
        lines.join("\n")
    }

    fn exit(&self) -> Exit {
        if self.stopped.is_none() { Exit::Ok } else { Exit::Problem }
    }
}

#[derive(Serialize)]
pub struct History {
    /// The newest first.
    replays: Vec<Said>,
}

#[derive(Serialize, FromRow)]
struct Said {
    id: i64,
    consumer: String,
    version: String,
    emits: String,
    state: String,
    stop_reason: Option<String>,
    who: String,
    why: String,
    #[serde(with = "time::serde::rfc3339")]
    from_time: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    to_time: OffsetDateTime,
    planned: i64,
    sent: i64,
    #[sqlx(skip)]
    counts: Counts,
}

const SHOWN_MAX: i64 = 100;

pub async fn history(connection: &mut PgConnection, one: Option<i64>) -> Result<History, Error> {
    let mut replays: Vec<Said> = sqlx::query_as(
        r"SELECT id, consumer, version, emits, state, stop_reason, who, why, from_time, to_time, planned, sent
            FROM pipeline.replays WHERE $1::bigint IS NULL OR id = $1 ORDER BY id DESC LIMIT $2",
    )
    .bind(one)
    .bind(SHOWN_MAX)
    .fetch_all(&mut *connection)
    .await?;
    for said in &mut replays {
        said.counts = counts(connection, &format!("{}@{}", said.consumer, said.version)).await?;
    }
    Ok(History { replays })
}

impl Report for History {
    fn text(&self) -> String {
        if self.replays.is_empty() {
            return "Nothing was fed again yet.".to_owned();
        }
        let header = [
            "nr",
            "as",
            "emits",
            "state",
            "from",
            "to",
            "planned",
            "sent",
            "on their way",
            "done",
            "died",
            "who",
            "why",
        ];
        let mut table = output::table(header);
        for said in &self.replays {
            let reason = said.stop_reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
            table.add_row([
                said.id.to_string(),
                format!("{}@{}", said.consumer, said.version),
                said.emits.clone(),
                format!("{}{reason}", said.state),
                instant(said.from_time),
                instant(said.to_time),
                grouped(said.planned),
                grouped(said.sent),
                grouped(said.counts.on_their_way),
                grouped(said.counts.done),
                grouped(said.counts.died),
                output::plain(&said.who, 30),
                output::plain(&said.why, 60),
            ]);
        }
        table.to_string()
    }
}
