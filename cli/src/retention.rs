//! `docfleet retention`: which days of outbox and inbox go, and when. The relay does it by itself; this shows it, or does it now.

use clap::Args;
use docfleet_outbox::retention::{self, Day, Kept, Table};
use serde::Serialize;
use time::Date;

use crate::{
    Config, Error,
    outbox::OutboxArgs,
    output::{self, Exit, Report, counted},
};

const EXAMPLES: &str = "\
Examples:
  docfleet retention                            # what would go now, and what goes next; changes nothing
  docfleet retention --apply --yes              # what the relay's housekeeping does every hour, now
  docfleet retention --json | jq '.tables[].days[] | select(.unpublished > 0)'
  docfleet retention --outbox-schema billing --database-url-file /etc/billing/database-url

How long rows are kept stands in [retention] of the configuration. A day with a row that is not published stays. Rows without
a last word (retrying, parked, dead) outlive their day. Exit code 1: a day whose time has come is held, or a lock was not to be had.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct RetentionArgs {
    #[command(flatten)]
    outbox: OutboxArgs,
    /// Make the days to come, drop those whose time has come, delete outliers
    #[arg(long)]
    apply: bool,
    /// Do not ask before days are dropped
    #[arg(long, requires = "apply")]
    yes: bool,
}

#[derive(Serialize)]
pub struct Retention {
    today: Date,
    tables: Vec<Reading>,
}

#[derive(Serialize)]
struct Reading {
    table: Table,
    /// What would go before anything is done, and the day after that.
    days: Vec<Day>,
    /// Only after `--apply`.
    kept: Option<Kept>,
}

pub async fn run(config: &Config, args: &RetentionArgs) -> Result<Retention, Error> {
    let wanted = config.retention.clone().validated().map_err(|e| Error::Config(e.to_string()))?;
    let schema = args.outbox.schema();
    let mut connection = args.outbox.connect(config).await?;
    let today = retention::today(&mut connection).await?;
    let mut plans = Vec::new();
    for table in Table::of(&schema) {
        plans.push((table, retention::plan(&mut connection, &schema, *table, &wanted, today).await?));
    }
    let due = plans.iter().flat_map(|(_, days)| days).filter(|day| day.from <= today && day.unpublished == 0);
    let (days, rows) = due.fold((0, 0), |(days, rows), day| (days + 1, rows + day.rows));
    if args.apply && days > 0 {
        output::confirm(&format!("Drop {} with {}?", counted(days, "day"), counted(rows, "row")), args.yes)?;
    }
    let mut tables = Vec::new();
    for (table, days) in plans {
        let kept = match args.apply {
            true => Some(retention::keep(&mut connection, &schema, *table, &wanted, today).await?),
            false => None,
        };
        tables.push(Reading { table: *table, days, kept });
    }
    Ok(Retention { today, tables })
}

impl Reading {
    fn due(&self, today: Date) -> impl Iterator<Item = &Day> {
        self.days.iter().filter(move |day| day.from <= today)
    }

    fn lines(&self, today: Date) -> Vec<String> {
        let name = format!("{:<7}", self.table.as_str());
        let mut lines: Vec<String> = self.due(today).map(|day| format!("{name}{}", told(day))).collect();
        if let Some(next) = self.days.iter().find(|day| day.from > today) {
            lines.push(format!("{name}{}  {}, goes on {}", next.day, counted(next.rows, "row"), next.from));
        }
        if lines.is_empty() {
            lines.push(format!("{name}has no days yet: --apply makes them"));
        }
        if let Some(kept) = &self.kept {
            lines.push(format!(
                "{name}done: {} dropped, {} held, {} made; {} moved, {} deleted{}",
                counted(kept.days_dropped, "day"),
                kept.days_held,
                kept.days_added,
                counted(kept.rows_moved, "row"),
                counted(kept.rows_swept, "outlier"),
                if kept.busy > 0 {
                    format!("; {} not done for want of a lock, try again", kept.busy)
                } else {
                    String::new()
                }
            ));
        }
        lines
    }
}

/// As `pipeline.drop_day` has it: a day with more of them is for people to look at.
const OUTLIVING_MAX: i64 = 100_000;

fn told(day: &Day) -> String {
    let what = match (day.unpublished, day.outliving) {
        (0, 0) => "may go".to_owned(),
        (0, outliving) if outliving > OUTLIVING_MAX => format!("is held: more than {OUTLIVING_MAX} have no last word"),
        (0, outliving) => format!("may go; {outliving} without a last word move to the outliers"),
        (unpublished, _) => format!("is held by {}: is a relay running?", counted(unpublished, "unpublished row")),
    };
    format!("{}  {}, {what}", day.day, counted(day.rows, "row"))
}

impl Report for Retention {
    fn text(&self) -> String {
        self.tables.iter().flat_map(|table| table.lines(self.today)).collect::<Vec<_>>().join("\n")
    }

    fn exit(&self) -> Exit {
        let held = |table: &Reading| match &table.kept {
            Some(kept) => kept.days_held + kept.busy > 0,
            None => table.due(self.today).any(|day| day.unpublished > 0 || day.outliving > OUTLIVING_MAX),
        };
        if self.tables.iter().any(held) { Exit::Problem } else { Exit::Ok }
    }
}
