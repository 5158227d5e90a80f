//! The daily partitions of outbox and inbox: made before their day, dropped when it is old (docs/adr/0021).
//!
//! Every step is one transaction that may be cut short and repeated. The steps are SQL functions of the outbox's migrations, so
//! that a database without docfleet's programs can be kept as well.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, Row};
use time::Date;

use crate::{Error, SchemaName};

/// `[retention]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionConfig {
    /// How long published rows of the outbox are kept, in whole days.
    #[serde(with = "humantime_serde")]
    pub outbox: Duration,
    /// How long it is known what became of an event, in whole days. An older event is not worked on any more.
    #[serde(with = "humantime_serde")]
    pub inbox: Duration,
    /// The longest time that a topic of events or retries keeps a record.
    #[serde(with = "humantime_serde")]
    pub topics: Duration,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Beyond the retention: clocks differ, and what was let in at the last moment is still at work.
const MARGIN_DAYS: i64 = 1;
const DAYS_AHEAD: i64 = 7;
const SWEEP_ROWS: i32 = 5_000;
/// Of one pass; the next one goes on.
const SWEEPS_MAX: u32 = 40;

impl Default for RetentionConfig {
    fn default() -> Self {
        Self { outbox: DAY * 14, inbox: DAY * 30, topics: DAY * 7 }
    }
}

impl RetentionConfig {
    /// # Errors
    /// [`Error::Retention`] when a redelivery or a republished row could meet an inbox that has forgotten its event, or a row
    /// be dropped that the topic still shows.
    pub fn validated(self) -> Result<Self, Error> {
        let refuse = |why: &str| Err(Error::Retention(why.to_owned()));
        if self.topics < DAY {
            return refuse("topics is shorter than a day");
        }
        if self.outbox < self.topics {
            return refuse("outbox is shorter than topics: a record that Kafka lost could not be published again");
        }
        if self.inbox < self.outbox {
            return refuse("inbox is shorter than outbox: a row published again would be a new event to its consumers");
        }
        Ok(self)
    }

    /// Whether an event of this day is older than what the inbox remembers for sure.
    pub fn is_too_old(&self, event_day: Date, today: Date) -> bool {
        (today - event_day).whole_days() > days(self.inbox)
    }

    /// The first day that stays.
    fn first_kept(&self, table: Table, today: Date) -> Date {
        let kept = match table {
            Table::Outbox => self.outbox,
            Table::Inbox => self.inbox,
        };
        today.saturating_sub(time::Duration::days(days(kept) + MARGIN_DAYS))
    }
}

fn days(time: Duration) -> i64 {
    // The limit keeps the arithmetic of dates within bounds.
    i64::try_from(time.as_secs().div_ceil(DAY.as_secs())).unwrap_or(i64::MAX).min(100_000)
}

/// A table with a partition for each day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    Outbox,
    /// Only in the fleet's own schema.
    Inbox,
}

impl Table {
    fn name(self) -> &'static str {
        match self {
            Self::Outbox => "outbox_events",
            Self::Inbox => "inbox",
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Outbox => "outbox",
            Self::Inbox => "inbox",
        }
    }

    /// The tables of this kind in a schema.
    pub fn of(schema: &SchemaName) -> &'static [Self] {
        if *schema == SchemaName::pipeline() { &[Self::Outbox, Self::Inbox] } else { &[Self::Outbox] }
    }
}

/// A day whose time has come, or comes next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Day {
    pub table: Table,
    pub day: Date,
    /// When it may go.
    pub from: Date,
    pub rows: i64,
    /// Rows that hold the whole day back: no relay has published them.
    pub unpublished: i64,
    /// Rows without a last word, which move to the outliers when the day goes.
    pub outliving: i64,
}

/// What one pass did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Kept {
    pub days_added: u32,
    pub days_dropped: u32,
    /// Days whose time has come and that stay, for a row that is not published or for too many that outlive it.
    pub days_held: u32,
    /// Rows moved from their day to the outliers.
    pub rows_moved: i64,
    /// Outliers deleted.
    pub rows_swept: i64,
    /// Steps that did not get their lock in time and are left for the next pass.
    pub busy: u32,
    pub oldest_day: Option<Date>,
}

/// Today by the database's clock, UTC.
pub async fn today(connection: &mut PgConnection) -> Result<Date, sqlx::Error> {
    sqlx::query_scalar("SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date").fetch_one(connection).await
}

/// The days that would go on `today`, and the day after them, each with what is in it. Changes nothing.
pub async fn plan(
    connection: &mut PgConnection,
    schema: &SchemaName,
    table: Table,
    config: &RetentionConfig,
    today: Date,
) -> Result<Vec<Day>, sqlx::Error> {
    let first_kept = config.first_kept(table, today);
    let age = today - first_kept;
    let mut plan = Vec::new();
    for day in days_of(connection, schema, table).await? {
        let weighing =
            sqlx::query(schema.statement("SELECT rows, unpublished, outliving FROM pipeline.weigh_day($1, $2)"));
        let weight = weighing.bind(table.name()).bind(day).fetch_one(&mut *connection).await?;
        let (rows, unpublished, outliving) =
            (weight.try_get("rows")?, weight.try_get("unpublished")?, weight.try_get("outliving")?);
        let from = day.saturating_add(age + time::Duration::days(1));
        plan.push(Day { table, day, from, rows, unpublished, outliving });
        if day >= first_kept {
            break;
        }
    }
    Ok(plan)
}

/// One pass over a table: makes days, drops days, deletes outliers. May be called at any time, by several at once.
///
/// # Errors
/// What the database says, except for locks that were not to be had: these are counted.
pub async fn keep(
    connection: &mut PgConnection,
    schema: &SchemaName,
    table: Table,
    config: &RetentionConfig,
    today: Date,
) -> Result<Kept, sqlx::Error> {
    let mut kept = Kept::default();
    for ahead in 0..=DAYS_AHEAD {
        let day = today.saturating_add(time::Duration::days(ahead));
        let adding = sqlx::query_scalar(schema.statement("SELECT pipeline.add_day($1, $2)"));
        let added = adding.bind(table.name()).bind(day).fetch_one(&mut *connection).await;
        kept.days_added += u32::from(unless_busy(added, &mut kept.busy)?.unwrap_or(false));
    }
    let mut first_kept = config.first_kept(table, today);
    if table == Table::Inbox
        && let Some(oldest) = days_of(connection, schema, Table::Outbox).await?.first()
    {
        // Events that are still there keep their outcomes, also when their day is held. An event's own day may be the one
        // before its row's.
        first_kept = first_kept.min(oldest.saturating_sub(time::Duration::days(1)));
    }
    for day in days_of(connection, schema, table).await?.into_iter().filter(|day| *day < first_kept) {
        let dropping = sqlx::query_scalar(schema.statement("SELECT pipeline.drop_day($1, $2)"));
        let moved: Result<Option<i64>, _> = dropping.bind(table.name()).bind(day).fetch_one(&mut *connection).await;
        let moved_of_day = unless_busy(moved, &mut kept.busy)?;
        match moved_of_day {
            Some(Some(moved)) => {
                kept.days_dropped += 1;
                kept.rows_moved += moved;
            }
            Some(None) => kept.days_held += 1,
            None => {}
        }
        // The oldest first, and none past one that stays: a gap in an aggregate's events would be taken for a missing one.
        if table == Table::Outbox && !matches!(moved_of_day, Some(Some(_))) {
            break;
        }
    }
    for _ in 0..SWEEPS_MAX {
        let sweeping = sqlx::query_scalar(schema.statement("SELECT pipeline.sweep_outliers($1, $2, $3)"));
        let swept = sweeping.bind(table.name()).bind(first_kept).bind(SWEEP_ROWS).fetch_one(&mut *connection).await;
        let swept: i64 = unless_busy(swept, &mut kept.busy)?.unwrap_or(0);
        kept.rows_swept += swept;
        if swept < i64::from(SWEEP_ROWS) {
            break;
        }
    }
    kept.oldest_day = days_of(connection, schema, table).await?.first().copied();
    Ok(kept)
}

async fn days_of(connection: &mut PgConnection, schema: &SchemaName, table: Table) -> Result<Vec<Date>, sqlx::Error> {
    let listing = sqlx::query_scalar(schema.statement("SELECT day FROM pipeline.days($1) AS d (day)"));
    listing.bind(table.name()).fetch_all(connection).await
}

/// Counts what did not get its lock (55P03), met another's deadlock (40P01) or another housekeeper (a table that is there
/// already or not any more).
fn unless_busy<T>(result: Result<T, sqlx::Error>, busy: &mut u32) -> Result<Option<T>, sqlx::Error> {
    match result {
        Ok(done) => Ok(Some(done)),
        Err(error) => {
            let code = error.as_database_error().and_then(|e| e.code()).unwrap_or_default().into_owned();
            if !matches!(code.as_str(), "55P03" | "40P01" | "42P07" | "42P01" | "23505") {
                return Err(error);
            }
            *busy += 1;
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn day(n: i32) -> Date {
        Date::from_julian_day(2_461_000 + n).unwrap()
    }

    #[test]
    fn an_inbox_that_forgets_before_the_topics_do_is_refused() {
        let good = RetentionConfig::default();
        assert!(good.clone().validated().is_ok());
        let bad = [
            RetentionConfig { inbox: DAY * 13, ..good.clone() },
            RetentionConfig { topics: DAY * 15, ..good.clone() },
            RetentionConfig { outbox: DAY * 31, ..good.clone() },
            RetentionConfig { topics: Duration::ZERO, ..good },
        ];
        for config in bad {
            assert!(matches!(config.clone().validated(), Err(Error::Retention(_))), "{config:?}");
        }
    }

    #[test]
    fn an_event_is_too_old_before_its_day_may_go() {
        let config = RetentionConfig::default();
        assert!(!config.is_too_old(day(0), day(30)));
        assert!(config.is_too_old(day(0), day(31)));
        assert!(!config.is_too_old(day(5), day(0)), "a day to come");
        assert_eq!(config.first_kept(Table::Inbox, day(31)), day(0), "and it still has its day then");
        let endless = RetentionConfig { inbox: Duration::MAX, ..config };
        assert!(!endless.is_too_old(Date::MIN, day(0)) || days(endless.inbox) == 100_000);
        assert!(endless.first_kept(Table::Inbox, day(0)) < day(0));
    }
}
