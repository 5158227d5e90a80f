use clap::Args;
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::{
    Error,
    dlq::filter::{Moment, parse_moment},
};

/// Which events.
#[derive(Args, Clone)]
pub struct Window {
    /// Events that were written at this time or later: 2026-05-12T08:00:00Z, or 2h for two hours ago
    #[arg(long, value_name = "TIME", value_parser = parse_moment, requires = "to")]
    from: Option<Moment>,
    /// … and before this one
    #[arg(long, value_name = "TIME", value_parser = parse_moment, requires = "from")]
    to: Option<Moment>,
    /// Only those of this topic
    #[arg(long, value_name = "TOPIC", conflicts_with = "offsets")]
    topic: Option<String>,
    /// Instead of a time: those that the consumer read at these offsets, without the last one
    #[arg(long, value_name = "TOPIC[PARTITION]@FROM..TO", value_parser = parse_offsets, conflicts_with_all = ["from", "to"])]
    offsets: Option<Offsets>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Offsets {
    topic: String,
    partition: i32,
    from: i64,
    to: i64,
}

fn parse_offsets(text: &str) -> Result<Offsets, String> {
    let parse = || {
        let (place, range) = text.split_once('@')?;
        let (topic, partition) = place.strip_suffix(']')?.split_once('[')?;
        let (from, to) = range.split_once("..")?;
        let partition = partition.parse().ok()?;
        Some(Offsets { topic: topic.to_owned(), partition, from: from.parse().ok()?, to: to.parse().ok()? })
    };
    let offsets = parse().ok_or_else(|| "as in documents.uploaded.v1[3]@1200..1400".to_owned())?;
    if offsets.from < offsets.to { Ok(offsets) } else { Err("the first offset is not below the last".to_owned()) }
}

/// The window by the database's clock, as the plan keeps it.
pub struct Fixed {
    pub from: OffsetDateTime,
    pub to: OffsetDateTime,
    /// By its full name.
    pub topic: Option<String>,
    pub partition: Option<i32>,
    pub offsets: Option<(i64, i64)>,
}

impl Window {
    /// # Errors
    /// None was given; it is empty; or a transaction that may still write into it runs.
    pub async fn fixed(&self, connection: &mut PgConnection, prefix: &str) -> Result<Fixed, Error> {
        let (from, to) = match (&self.offsets, self.from, self.to) {
            (Some(_), ..) => (None, None),
            (None, Some(from), Some(to)) => (Some(from.seconds()), Some(to.seconds())),
            _ => return Err(Error::Usage("which events? --from and --to, or --offsets".to_owned())),
        };
        // A time below 0 is one before now. An event's row has the time of its insert, not of its commit.
        let (from, to, open): (OffsetDateTime, OffsetDateTime, bool) = sqlx::query_as(
            r"WITH given AS (
                  SELECT coalesce(CASE WHEN $1 < 0 THEN now() + make_interval(secs => $1) ELSE to_timestamp($1) END, 'epoch') AS first,
                         least(CASE WHEN $2 < 0 THEN now() + make_interval(secs => $2) ELSE to_timestamp($2) END, now()) AS after)
              SELECT first, after, $2 IS NOT NULL AND EXISTS (
                         SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
                                                        AND backend_xid IS NOT NULL AND xact_start < after)
                FROM given",
        )
        .bind(from)
        .bind(to)
        .fetch_one(connection)
        .await?;
        if from >= to {
            return Err(Error::Usage("--from is not before --to".to_owned()));
        }
        if open {
            return Err(Error::Usage(
                "a transaction that began before --to still runs and may write into the window; take an earlier --to, or wait"
                    .to_owned(),
            ));
        }
        let topic = self.offsets.as_ref().map(|offsets| &offsets.topic).or(self.topic.as_ref());
        Ok(Fixed {
            from,
            to,
            topic: topic
                .map(|topic| if topic.starts_with(prefix) { topic.clone() } else { format!("{prefix}{topic}") }),
            partition: self.offsets.as_ref().map(|offsets| offsets.partition),
            offsets: self.offsets.as_ref().map(|offsets| (offsets.from, offsets.to)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_a_topic_a_partition_and_a_range() {
        let offsets = parse_offsets("documents.uploaded.v1[3]@1200..1400");
        let expected = Offsets { topic: "documents.uploaded.v1".into(), partition: 3, from: 1_200, to: 1_400 };
        assert_eq!(offsets, Ok(expected));
        for bad in ["", "t", "t[1]", "t[1]@5", "t[1]@5..5", "t[1]@9..5", "t[x]@1..2", "t@1..2", "t[1]@a..b"] {
            assert!(parse_offsets(bad).is_err(), "{bad}");
        }
    }
}
