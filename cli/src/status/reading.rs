use std::time::Duration;

use comfy_table::{Cell, CellAlignment};
use serde::Serialize;
use time::OffsetDateTime;

use super::{
    backlog::{Backlog, Dead, Member, Outbox, Relay, Retries},
    lag::PartitionLag,
};
use crate::{
    consumer::is_retry_topic,
    output::{self, Report, age, counted, grouped},
};

/// A member gives a sign of life every 3 s.
const SILENT_SECONDS: f64 = 10.0;

#[derive(Serialize)]
pub struct Reading {
    /// When it began; every number is from then or up to `took_seconds` later.
    #[serde(with = "time::serde::rfc3339")]
    read_at: OffsetDateTime,
    took_seconds: f64,
    queues: Vec<Queue>,
    members: Vec<Member>,
    retries: Vec<Retries>,
    dead: Vec<Dead>,
    outbox: Outbox,
    relays: Vec<Relay>,
    shards_unowned: i64,
}

#[derive(Debug, Serialize, PartialEq)]
struct Queue {
    consumer: String,
    topic: String,
    /// Absent in the sum over a topic.
    partition: Option<i32>,
    lag_messages: i64,
    /// Absent when it is not known.
    lag_seconds: Option<f64>,
}

impl Reading {
    pub fn of(
        read_at: OffsetDateTime,
        took: Duration,
        backlog: Backlog,
        lags: Vec<PartitionLag>,
        by_partition: bool,
    ) -> Self {
        let Backlog { members, retries, dead, outbox, relays, shards_unowned } = backlog;
        Self {
            read_at,
            took_seconds: took.as_secs_f64(),
            queues: queues(lags, by_partition),
            members,
            retries,
            dead,
            outbox,
            relays,
            shards_unowned,
        }
    }
}

/// Sorted as given: all partitions of a consumer's topic stand together.
fn queues(lags: Vec<PartitionLag>, by_partition: bool) -> Vec<Queue> {
    let mut queues: Vec<Queue> = Vec::new();
    for lag in lags {
        let open =
            queues.last_mut().filter(|last| !by_partition && last.consumer == lag.consumer && last.topic == lag.topic);
        match open {
            Some(sum) => {
                sum.lag_messages += lag.messages;
                // The oldest counts. One unknown age leaves the whole unknown: it may be the oldest.
                sum.lag_seconds = sum.lag_seconds.zip(lag.seconds).map(|(a, b)| a.max(b));
            }
            None => queues.push(Queue {
                consumer: lag.consumer,
                topic: lag.topic,
                partition: by_partition.then_some(lag.partition),
                lag_messages: lag.messages,
                lag_seconds: lag.seconds,
            }),
        }
    }
    queues
}

impl Report for Reading {
    fn text(&self) -> String {
        let parts = [
            format!("Read at {} in {}.", output::instant(self.read_at), age(self.took_seconds)),
            self.queues_text(),
            self.members_text(),
            self.failures_text(),
            self.outbox_text(),
        ];
        parts.join("\n\n")
    }
}

impl Reading {
    fn queues_text(&self) -> String {
        if self.queues.is_empty() {
            return "No consumer has started yet: there are no queues.".to_owned();
        }
        let by_partition = self.queues.iter().any(|queue| queue.partition.is_some());
        let place = if by_partition { "topic[partition]" } else { "topic" };
        let mut table = output::table(["consumer", place, "lag", "oldest"]);
        // A fleet has more retry topics than others, and they are empty.
        let (hidden, shown): (Vec<_>, Vec<_>) =
            self.queues.iter().partition(|queue| queue.lag_messages == 0 && is_retry_topic(&queue.topic));
        for queue in shown {
            let topic = queue.partition.map_or_else(|| queue.topic.clone(), |p| format!("{}[{p}]", queue.topic));
            let oldest = match (queue.lag_messages, queue.lag_seconds) {
                (0, _) => "-".to_owned(),
                (_, Some(seconds)) => age(seconds),
                (_, None) => "unknown".to_owned(),
            };
            table.add_row([Cell::new(&queue.consumer), Cell::new(topic), number(queue.lag_messages), right(oldest)]);
        }
        let empty = if hidden.is_empty() {
            String::new()
        } else {
            format!(" {} of retries are empty.", counted(len(&hidden), "queue"))
        };
        let lag: i64 = self.queues.iter().map(|queue| queue.lag_messages).sum();
        format!("{table}\nLag in all: {} (in flight included).{empty}", counted(lag, "message"))
    }

    fn members_text(&self) -> String {
        if self.members.is_empty() {
            return "No consumer is running.".to_owned();
        }
        let mut table = output::table(["member of", "", "partitions", "in flight", "seen", ""]);
        for member in &self.members {
            let remark = match (member.seen_seconds > SILENT_SECONDS, member.waits) {
                (true, _) => "silent: gone, or its database is",
                (false, true) => "waits for something that is away; its log says for what",
                (false, false) => "",
            };
            table.add_row([
                Cell::new(&member.consumer),
                Cell::new(output::short(member.member)),
                number(member.partitions.into()),
                number(member.in_flight.into()),
                right(format!("{} ago", age(member.seen_seconds))),
                Cell::new(remark),
            ]);
        }
        table.to_string()
    }

    fn failures_text(&self) -> String {
        let mut lines = Vec::new();
        if self.retries.is_empty() {
            lines.push("No message waits for a retry.".to_owned());
        }
        for retries in &self.retries {
            let oldest = age(retries.oldest_seconds);
            let messages = counted(retries.waiting, "message");
            lines.push(format!("{}: {messages} waiting for a retry, the oldest for {oldest}", retries.consumer));
        }
        if self.dead.is_empty() {
            lines.push("No dead letters.".to_owned());
            return lines.join("\n");
        }
        let mut table = output::table(["dead letters of", "reason", "count", "newest"]);
        for dead in &self.dead {
            let newest = format!("{} ago", age(dead.newest_seconds));
            table.add_row([Cell::new(&dead.consumer), Cell::new(&dead.reason), number(dead.count), right(newest)]);
        }
        lines.push(format!("{table}\nSee them by `docfleet dlq list`."));
        lines.join("\n")
    }

    fn outbox_text(&self) -> String {
        let mut lines = vec![match self.outbox.unpublished {
            0 => "Outbox: all is published.".to_owned(),
            rows => {
                format!("Outbox: waiting {}, the oldest for {}.", counted(rows, "row"), age(self.outbox.oldest_seconds))
            }
        }];
        for relay in &self.relays {
            let lease = if relay.lease_seconds > 0.0 {
                format!("lease ends in {}", age(relay.lease_seconds))
            } else {
                "lease has ended".to_owned()
            };
            let seen = relay
                .seen_seconds
                .map_or_else(|| "signed off".to_owned(), |seconds| format!("seen {} ago", age(seconds)));
            lines.push(format!(
                "Relay {}: {}, {lease}, {seen}.",
                output::short(relay.owner),
                counted(relay.shards, "shard")
            ));
        }
        if self.shards_unowned > 0 {
            lines.push(format!("Without a relay: {}. Their rows wait.", counted(self.shards_unowned, "shard")));
        }
        lines.join("\n")
    }
}

fn len<T>(items: &[T]) -> i64 {
    i64::try_from(items.len()).unwrap_or(i64::MAX)
}

fn number(number: i64) -> Cell {
    right(grouped(number))
}

fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lag(topic: &str, partition: i32, messages: i64, seconds: Option<f64>) -> PartitionLag {
        PartitionLag { consumer: "ocr".into(), topic: topic.into(), partition, messages, seconds, committed: None }
    }

    #[test]
    fn partitions_are_summed_by_topic_and_the_oldest_message_counts() {
        let lags = vec![lag("a", 0, 3, Some(2.0)), lag("a", 1, 4, Some(9.0)), lag("b", 0, 0, Some(0.0))];
        let sums: Vec<_> =
            queues(lags.clone(), false).into_iter().map(|q| (q.topic, q.lag_messages, q.lag_seconds)).collect();
        assert_eq!(sums, [("a".to_owned(), 7, Some(9.0)), ("b".to_owned(), 0, Some(0.0))]);
        let each: Vec<_> = queues(lags, true).into_iter().map(|q| (q.partition, q.lag_messages)).collect();
        assert_eq!(each, [(Some(0), 3), (Some(1), 4), (Some(0), 0)]);
    }

    #[test]
    fn an_unknown_age_is_not_a_lag_of_zero() {
        let sums = queues(vec![lag("a", 0, 3, None), lag("a", 1, 4, Some(9.0))], false);
        assert_eq!(sums.first().map(|q| (q.lag_messages, q.lag_seconds)), Some((7, None)));
    }
}
