//! L9: what the workers count is what the ledger holds. Counters begin with their process and the ledger with the fleet, so
//! two moments are compared: how much each has grown between them.

use std::{collections::BTreeMap, time::Duration};

use sqlx::PgConnection;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::check::{Finding, Offender, Pass};
use crate::{
    Error,
    error::Server,
    output::{self, counted},
};

/// As `docfleet_pipeline::metric` names them.
const OUTCOMES: &str = "docfleet_consumer_outcomes_total";
const RESUMED: &str = "docfleet_parked_resumed_messages_total";

/// From the claim of a settlement, whose time the ledger has, to its counter, after the commit.
const COUNTED_WITHIN: time::Duration = time::Duration::seconds(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Consumer and outcome.
type Key = (String, String);

/// What one process counted.
type Counted = BTreeMap<Key, f64>;

struct Reading {
    /// The counters were read between these two, by the database's clock.
    began: OffsetDateTime,
    ended: OffsetDateTime,
    processes: Vec<Counted>,
}

/// Reads the counters at `urls`, waits, reads again, and compares with the ledger. The processes must be all members of their
/// consumers.
///
/// # Errors
/// A process does not answer, began anew in between, or is missing among `urls`.
pub async fn check(
    connection: &mut PgConnection,
    urls: &[Url],
    wait: Duration,
    stop: &CancellationToken,
) -> Result<Option<Finding>, Error> {
    let http =
        reqwest::Client::builder().no_proxy().timeout(ANSWER_TIMEOUT).build().map_err(|e| unexpected(None, e))?;
    let first = read(connection, &http, urls).await?;
    complete(connection, &first.processes).await?;
    output::note(&format!("counters are read; again in {}", output::age(wait.as_secs_f64())));
    stop.run_until_cancelled(tokio::time::sleep(wait)).await;
    let second = read(connection, &http, urls).await?;
    let grown = grown(&first.processes, &second.processes)
        .ok_or_else(|| Error::Usage("a process began to count anew between the two readings: ask again".to_owned()))?;
    let surely = settled(connection, first.ended, second.began - COUNTED_WITHIN).await?;
    let at_most = settled(connection, first.began - COUNTED_WITHIN, second.ended).await?;
    Ok(differing(&grown, &surely, &at_most))
}

async fn read(connection: &mut PgConnection, http: &reqwest::Client, urls: &[Url]) -> Result<Reading, Error> {
    let began = clock(connection).await?;
    let mut processes = Vec::with_capacity(urls.len());
    for url in urls {
        let answer = http.get(url.clone()).send().await.and_then(reqwest::Response::error_for_status);
        let text = answer.map_err(|e| unexpected(Some(url), e))?.text().await.map_err(|e| unexpected(Some(url), e))?;
        processes.push(parse(&text));
    }
    Ok(Reading { began, ended: clock(connection).await?, processes })
}

async fn clock(connection: &mut PgConnection) -> Result<OffsetDateTime, Error> {
    Ok(sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(connection).await?)
}

fn unexpected(url: Option<&Url>, error: reqwest::Error) -> Error {
    let request = url.map_or_else(|| "counters".to_owned(), Url::to_string);
    Error::Unexpected { server: Server::Worker, request, detail: error.without_url().to_string() }
}

/// The counters of outcomes in Prometheus' text format. What else stands there is no concern.
fn parse(text: &str) -> Counted {
    let mut counted = Counted::new();
    for line in text.lines() {
        let Some((name, rest)) = line.split_once('{') else { continue };
        let Some((labels, value)) = rest.split_once("} ") else { continue };
        if name != OUTCOMES && name != RESUMED {
            continue;
        }
        // Neither a consumer's nor an outcome's name holds a comma or a quote.
        let label = |wanted: &str| {
            let mut pairs = labels.split(',').filter_map(|pair| pair.split_once('='));
            pairs.find(|(name, _)| *name == wanted).map(|(_, value)| value.trim_matches('"').to_owned())
        };
        if let (Some(consumer), Some(outcome), Ok(value)) =
            (label("consumer"), label("outcome"), value.trim().parse::<f64>())
            && matches!(outcome.as_str(), "done" | "dead")
        {
            *counted.entry((consumer, outcome)).or_default() += value;
        }
    }
    counted
}

/// Nothing when one has fallen.
fn grown(first: &[Counted], second: &[Counted]) -> Option<Counted> {
    let mut grown = Counted::new();
    for (before, after) in first.iter().zip(second) {
        if before.iter().any(|(key, value)| after.get(key).is_none_or(|now| now < value)) {
            return None;
        }
        for (key, value) in after {
            *grown.entry(key.clone()).or_default() += value - before.get(key).copied().unwrap_or(0.0);
        }
    }
    Some(grown)
}

/// A member that is not asked would look like counters that lie.
async fn complete(connection: &mut PgConnection, processes: &[Counted]) -> Result<(), Error> {
    let members: Vec<(String, i64)> = sqlx::query_as(
        r"SELECT consumer, count(*) FROM pipeline.consumer_members
           WHERE seen_at > clock_timestamp() - interval '10 seconds' GROUP BY consumer ORDER BY consumer",
    )
    .fetch_all(connection)
    .await?;
    for (consumer, live) in members {
        let asked = processes.iter().filter(|counted| counted.keys().any(|(name, _)| *name == consumer)).count();
        let asked = i64::try_from(asked).unwrap_or(i64::MAX);
        if asked > 0 && asked != live {
            return Err(Error::Usage(format!(
                "{} of {consumer} at work, {asked} of the --counters count for it: name each member's /metrics",
                counted_members(live)
            )));
        }
    }
    Ok(())
}

fn counted_members(live: i64) -> String {
    counted(live, "member")
}

/// Outcomes by consumer that the ledger got in this time. Neither a `done` nor a letter changes later. What an operator or a
/// key that waited too long buried is no worker's outcome of one message; and a logical version counts as its consumer.
async fn settled(connection: &mut PgConnection, from: OffsetDateTime, to: OffsetDateTime) -> Result<Counted, Error> {
    let rows: Vec<(String, String, i64)> = sqlx::query_as(
        r#"SELECT split_part(consumer, '@', 1), 'done', count(*) FROM pipeline.inbox
            WHERE outcome = 'done' AND settled_at > $1 AND settled_at <= $2 GROUP BY 1
           UNION ALL
           SELECT split_part(consumer, '@', 1), 'dead', count(*) FROM pipeline.outbox_events
            WHERE kind = 'dead_letter' AND created_at > $1 AND created_at <= $2
              AND NOT jsonb_path_exists(headers, 'strict $[*] ? (@[0] == "docfleet_group")', '{}', true)
            GROUP BY 1"#,
    )
    .bind(from)
    .bind(to)
    .fetch_all(connection)
    .await?;
    #[allow(clippy::cast_precision_loss)]
    Ok(rows.into_iter().map(|(consumer, outcome, count)| ((consumer, outcome), count as f64)).collect())
}

/// Only of consumers that were asked.
fn differing(grown: &Counted, surely: &Counted, at_most: &Counted) -> Option<Finding> {
    let of = |counted: &Counted, key: &Key| counted.get(key).copied().unwrap_or(0.0);
    let asked = |consumer: &str| grown.keys().any(|(name, _)| name == consumer);
    let keys: std::collections::BTreeSet<&Key> =
        grown.keys().chain(at_most.keys().filter(|(name, _)| asked(name))).collect();
    let lies = |key: &&Key| of(grown, key) < of(surely, key) || of(grown, key) > of(at_most, key);
    let offenders: Vec<Offender> = keys
        .into_iter()
        .filter(lies)
        .map(|key| Offender {
            consumer: Some(key.0.clone()),
            id: None,
            detail: format!(
                "{}: counted {}, the ledger got {} to {}",
                key.1,
                of(grown, key),
                of(surely, key),
                of(at_most, key)
            ),
        })
        .collect();
    (!offenders.is_empty()).then(|| Finding {
        check: "counters-differ",
        property: "L9",
        count: i64::try_from(offenders.len()).unwrap_or(i64::MAX),
        says: "outcomes that the workers count otherwise than the ledger",
        what_to_do: "A commit whose answer was lost is counted as a repeat; a process that ended took its last counts along. \
                     Otherwise somebody wrote to the inbox, or the metrics lie: tell the developers.",
        offenders,
        pass: Pass::Always,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(of: &[(&str, &str, f64)]) -> Counted {
        of.iter().map(|(consumer, outcome, value)| (((*consumer).into(), (*outcome).into()), *value)).collect()
    }

    #[test]
    fn only_outcomes_are_read_and_reasons_and_parked_ones_add_up() {
        let text = "# TYPE docfleet_consumer_outcomes_total counter\n\
                    docfleet_consumer_outcomes_total{consumer=\"ocr\",outcome=\"done\",reason=\"\"} 7\n\
                    docfleet_consumer_outcomes_total{consumer=\"ocr\",outcome=\"dead\",reason=\"a\"} 1\n\
                    docfleet_consumer_outcomes_total{consumer=\"ocr\",outcome=\"dead\",reason=\"b\"} 2\n\
                    docfleet_consumer_outcomes_total{consumer=\"ocr\",outcome=\"duplicate\",reason=\"\"} 9\n\
                    docfleet_parked_resumed_messages_total{consumer=\"ocr\",outcome=\"done\"} 3\n\
                    docfleet_other{consumer=\"ocr\",outcome=\"done\"} 100\nnonsense{ 1\n";
        assert_eq!(parse(text), counted(&[("ocr", "done", 10.0), ("ocr", "dead", 3.0)]));
    }

    #[test]
    fn a_process_that_began_anew_says_nothing() {
        let before = [counted(&[("ocr", "done", 7.0)])];
        assert_eq!(grown(&before, &[counted(&[("ocr", "done", 9.0)])]), Some(counted(&[("ocr", "done", 2.0)])));
        assert_eq!(grown(&before, &[counted(&[("ocr", "done", 6.0)])]), None);
        assert_eq!(grown(&before, &[counted(&[])]), None);
    }

    #[test]
    fn counters_below_what_is_sure_or_above_what_is_possible_are_named() {
        let (surely, at_most) =
            (counted(&[("ocr", "done", 5.0)]), counted(&[("ocr", "done", 8.0), ("dedup", "done", 4.0)]));
        for (value, lies) in [(4.0, true), (5.0, false), (8.0, false), (9.0, true)] {
            assert_eq!(differing(&counted(&[("ocr", "done", value)]), &surely, &at_most).is_some(), lies, "{value}");
        }
    }
}
