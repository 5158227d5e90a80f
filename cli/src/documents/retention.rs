use clap::Args;
use docfleet_events::erasure::{self, ErasureConfig, Request};
use serde::Serialize;
use sqlx::{Connection, FromRow, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

use super::outbox;
use crate::{
    Config, Error, interrupt,
    output::{self, Exit, Report, counted, grouped, instant},
    servers,
};

pub const EXAMPLES: &str = "\
Examples:
  docfleet documents retention                  # what is older than it is to be kept; changes nothing
  docfleet documents retention --apply          # erase it, after a question
  docfleet documents retention --apply --yes --limit 10000 --json   # for a cron job

How long documents are kept stands in [erasure] of the configuration: documents_kept for all, [erasure.tenants.NAME] for one tenant.
Without them nothing is too old. Documents under a legal hold stay, and are counted. It erases one by one, the oldest first, and
may be ended and repeated at any time. Exit code 1 when it was ended before its end.";

/// Chosen at once; each is a transaction of its own.
const PAGE: i64 = 200;

#[derive(Args)]
pub struct RetentionArgs {
    /// Erase what is too old
    #[arg(long)]
    apply: bool,
    /// Do not ask before documents are erased
    #[arg(long, requires = "apply")]
    yes: bool,
    /// At most so many in one run
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    limit: Option<i64>,
}

#[derive(Serialize)]
pub struct Retention {
    applied: bool,
    tenants: Vec<Due>,
    erased: i64,
    /// Ended by a signal.
    interrupted: bool,
}

#[derive(Serialize, FromRow)]
struct Due {
    tenant: String,
    /// Older than they are to be kept, those under a legal hold not counted.
    due: i64,
    held: i64,
    #[serde(with = "time::serde::rfc3339")]
    oldest: OffsetDateTime,
}

/// How long each tenant's documents are kept, as SQL takes it.
struct Kept {
    tenants: Vec<String>,
    seconds: Vec<f64>,
    others: Option<f64>,
    /// The shortest of all: nothing younger is looked at.
    least: f64,
}

impl Kept {
    /// None when nothing is ever too old.
    fn of(config: &ErasureConfig) -> Option<Self> {
        let (tenants, seconds): (Vec<String>, Vec<f64>) =
            config.tenants.iter().map(|(tenant, of)| (tenant.clone(), of.documents_kept.as_secs_f64())).unzip();
        let others = config.documents_kept.map(|kept| kept.as_secs_f64());
        let least = seconds.iter().copied().chain(others).reduce(f64::min)?;
        Some(Self { tenants, seconds, others, least })
    }
}

/// `$1` to `$4` are of [`Kept`].
macro_rules! too_old {
    ($columns:literal, $rest:literal) => {
        concat!(
            "SELECT ",
            $columns,
            r" FROM documents.documents d
               LEFT JOIN documents.legal_holds h ON h.document_id = d.id
               LEFT JOIN UNNEST($1::text[], $2::float8[]) AS t (tenant, seconds) ON t.tenant = d.tenant
              WHERE d.created_at < clock_timestamp() - make_interval(secs => $4)
                AND d.created_at < clock_timestamp() - make_interval(secs => coalesce(t.seconds, $3)) ",
            $rest
        )
    };
}

pub async fn run(config: &Config, args: &RetentionArgs, json: bool) -> Result<Retention, Error> {
    let mut connection = servers::postgres(config).await?;
    let Some(kept) = Kept::of(&config.erasure) else {
        return Ok(Retention { applied: args.apply, tenants: Vec::new(), erased: 0, interrupted: false });
    };
    let tenants = due(&mut connection, &kept).await?;
    let mut report = Retention { applied: args.apply, tenants, erased: 0, interrupted: false };
    if args.apply {
        confirm(&report.tenants, args)?;
        apply(config, args, &mut connection, &kept, &mut report, json).await?;
    }
    Ok(report)
}

async fn due(connection: &mut PgConnection, kept: &Kept) -> Result<Vec<Due>, Error> {
    let due = sqlx::query_as(too_old!(
        "d.tenant, count(*) - count(h.document_id) AS due, count(h.document_id) AS held, min(d.created_at) AS oldest",
        "GROUP BY d.tenant ORDER BY d.tenant"
    ));
    Ok(due.bind(&kept.tenants).bind(&kept.seconds).bind(kept.others).bind(kept.least).fetch_all(connection).await?)
}

/// With the counts of each tenant before the question: a wrong unit in the configuration is seen there, and nowhere later.
fn confirm(tenants: &[Due], args: &RetentionArgs) -> Result<(), Error> {
    let due = tenants.iter().map(|tenant| tenant.due).sum::<i64>().min(args.limit.unwrap_or(i64::MAX));
    if due == 0 {
        return Ok(());
    }
    if !args.yes {
        output::note(&table(tenants));
    }
    output::confirm(&format!("Erase {}? It can not be taken back.", counted(due, "document")), args.yes)
}

async fn apply(
    config: &Config,
    args: &RetentionArgs,
    connection: &mut PgConnection,
    kept: &Kept,
    report: &mut Retention,
    json: bool,
) -> Result<(), Error> {
    let (outbox, stop) = (outbox(config).await?, interrupt::token()?);
    let all = report.tenants.iter().map(|tenant| tenant.due).sum::<i64>().min(args.limit.unwrap_or(i64::MAX));
    loop {
        let page =
            sqlx::query_scalar(too_old!("d.id", "AND h.document_id IS NULL ORDER BY d.created_at, d.id LIMIT $5"));
        let limit = PAGE.min(args.limit.map_or(PAGE, |limit| limit - report.erased));
        let page = page.bind(&kept.tenants).bind(&kept.seconds).bind(kept.others).bind(kept.least).bind(limit);
        let page: Vec<Uuid> = page.fetch_all(&mut *connection).await?;
        if page.is_empty() {
            break;
        }
        for document_id in page {
            if stop.is_cancelled() {
                report.interrupted = true;
                return Ok(());
            }
            let mut transaction = connection.begin().await?;
            let request = Request { document_id, tenant: None, reason: "retention", by: "retention" };
            let erased = erasure::erase(&mut transaction, &outbox, request, None).await?;
            transaction.commit().await?;
            report.erased += i64::from(matches!(erased, erasure::Erased::Now { .. }));
        }
        if !json && output::stderr_is_terminal() {
            output::progress(&format!("{} of {} erased", grouped(report.erased), grouped(all)));
        }
        // Also when somebody else erased them: the next page is another one.
        if args.limit.is_some_and(|limit| report.erased >= limit) {
            break;
        }
    }
    if !json && output::stderr_is_terminal() {
        output::note("");
    }
    Ok(())
}

fn table(tenants: &[Due]) -> String {
    let mut table = output::table(["tenant", "too old", "under a legal hold", "oldest"]);
    for of in tenants {
        table.add_row([of.tenant.clone(), grouped(of.due), grouped(of.held), instant(of.oldest)]);
    }
    table.to_string()
}

impl Report for Retention {
    fn text(&self) -> String {
        if self.tenants.is_empty() {
            return "Nothing is older than it is to be kept.".to_owned();
        }
        let table = table(&self.tenants);
        let done = match (self.applied, self.interrupted) {
            (false, _) => "Nothing was changed; --apply erases them, after a question.".to_owned(),
            (true, false) => format!("{} erased.", counted(self.erased, "document")),
            (true, true) => {
                format!("{} erased, then ended by a signal; repeat it to go on.", counted(self.erased, "document"))
            }
        };
        format!("{table}\n{done}")
    }

    fn exit(&self) -> Exit {
        if self.interrupted { Exit::Problem } else { Exit::Ok }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn nothing_is_too_old_until_somebody_says_so() {
        assert!(Kept::of(&ErasureConfig::default()).is_none());
        let ten = ErasureConfig { documents_kept: Some(Duration::from_secs(10)), ..ErasureConfig::default() };
        assert!(Kept::of(&ten).is_some_and(|kept| kept.others == Some(10.0) && kept.tenants.is_empty()));
    }
}
