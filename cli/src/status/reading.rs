use std::time::Duration;

use comfy_table::{Cell, CellAlignment};
use serde::Serialize;
use time::OffsetDateTime;

use super::{
    backlog::{Backlog, Command, Dead, Member, Outbox, Parked, Relay, Retries},
    lag::PartitionLag,
    pace::{self, Offsets, Pace, SILENT_SECONDS},
};
use crate::{
    consumer::is_retry_topic,
    output::{self, Report, age, counted, grouped},
};

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
    parked: Vec<Parked>,
    commands: Vec<Command>,
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
    /// Rates since the reading before; absent in the first.
    arrival_per_second: Option<f64>,
    drain_per_second: Option<f64>,
    /// Absent when it is not known, or the queue does not get shorter.
    eta_seconds: Option<f64>,
    /// Why a queue with lag is not shorter, where something says so.
    cause: Option<String>,
    /// Since the last sign of life of a member; absent without one. Lag that nobody reads is seen by it.
    seen_seconds: Option<f64>,
}

impl Reading {
    /// `before`: the offsets of the reading before, and the time between.
    pub fn of(
        read_at: OffsetDateTime,
        took: Duration,
        backlog: Backlog,
        lags: Vec<PartitionLag>,
        before: Option<(&Offsets, Duration)>,
        by_partition: bool,
    ) -> Self {
        let queues = queues(lags, before, by_partition, &backlog);
        let Backlog { members, retries, dead, parked, commands, outbox, relays, shards_unowned } = backlog;
        Self {
            read_at,
            took_seconds: took.as_secs_f64(),
            queues,
            members,
            retries,
            dead,
            parked,
            commands,
            outbox,
            relays,
            shards_unowned,
        }
    }
}

/// Sorted as given: all partitions of a consumer's topic stand together.
fn queues(
    lags: Vec<PartitionLag>,
    before: Option<(&Offsets, Duration)>,
    by_partition: bool,
    backlog: &Backlog,
) -> Vec<Queue> {
    let mut queues: Vec<(Queue, Option<Pace>)> = Vec::new();
    for lag in lags {
        let pace = before.and_then(|(offsets, between)| offsets.pace_to(&lag, between));
        let open = queues
            .last_mut()
            .filter(|(last, _)| !by_partition && last.consumer == lag.consumer && last.topic == lag.topic);
        match open {
            Some((sum, sum_pace)) => {
                sum.lag_messages += lag.messages;
                // The oldest counts. One unknown age leaves the whole unknown: it may be the oldest.
                sum.lag_seconds = sum.lag_seconds.zip(lag.seconds).map(|(a, b)| a.max(b));
                *sum_pace =
                    sum_pace.zip(pace).map(|(a, b)| Pace { arrival: a.arrival + b.arrival, drain: a.drain + b.drain });
            }
            None => {
                let queue = Queue {
                    seen_seconds: pace::seen_seconds(&backlog.members, &lag.consumer),
                    consumer: lag.consumer,
                    topic: lag.topic,
                    partition: by_partition.then_some(lag.partition),
                    lag_messages: lag.messages,
                    lag_seconds: lag.seconds,
                    arrival_per_second: None,
                    drain_per_second: None,
                    eta_seconds: None,
                    cause: None,
                };
                queues.push((queue, pace));
            }
        }
    }
    let finish = |(queue, pace): (Queue, Option<Pace>)| Queue {
        arrival_per_second: pace.map(|pace| pace.arrival),
        drain_per_second: pace.map(|pace| pace.drain),
        eta_seconds: pace.and_then(|pace| pace::eta_seconds(queue.lag_messages, pace)),
        cause: pace::cause(&queue.consumer, &queue.topic, queue.lag_messages, pace, backlog),
        ..queue
    };
    queues.into_iter().map(finish).collect()
}

impl Report for Reading {
    fn text(&self) -> String {
        let parts = [
            format!("Read at {} in {}.", output::instant(self.read_at), age(self.took_seconds)),
            self.queues_text(),
            self.members_text(),
            self.failures_text(),
            self.commands_text(),
            self.outbox_text(),
        ];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n")
    }
}

impl Reading {
    fn queues_text(&self) -> String {
        if self.queues.is_empty() {
            return "No consumer has started yet: there are no queues.".to_owned();
        }
        let by_partition = self.queues.iter().any(|queue| queue.partition.is_some());
        let place = if by_partition { "topic[partition]" } else { "topic" };
        let paced = self.queues.iter().any(|queue| queue.drain_per_second.is_some());
        let rates = if paced { vec!["in/s", "out/s", "empty in"] } else { Vec::new() };
        let header = ["consumer", place, "lag", "oldest"].into_iter().chain(rates).chain(["seen", ""]);
        let mut table = output::table(header);
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
            let mut cells =
                vec![Cell::new(&queue.consumer), Cell::new(topic), number(queue.lag_messages), right(oldest)];
            if paced {
                cells.extend([
                    rate(queue.arrival_per_second),
                    rate(queue.drain_per_second),
                    right(queue.eta_seconds.map_or_else(|| "unknown".to_owned(), age)),
                ]);
            }
            cells.push(right(queue.seen_seconds.map_or_else(|| "never".to_owned(), |s| format!("{} ago", age(s)))));
            cells.push(Cell::new(queue.cause.as_deref().map_or_else(String::new, |cause| output::plain(cause, 80))));
            table.add_row(cells);
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
        let told = self.members.iter().flat_map(|member| member.gate.lines(&member.consumer));
        std::iter::once(table.to_string()).chain(told).collect::<Vec<_>>().join("\n")
    }

    fn failures_text(&self) -> String {
        let mut lines = Vec::new();
        if self.retries.is_empty() {
            lines.push("No message waits for a retry.".to_owned());
        }
        for parked in &self.parked {
            lines.push(format!(
                "{}: {} parked with {}, the first for {}. See them by `docfleet parked list`.",
                parked.consumer,
                counted(parked.keys, "key"),
                counted(parked.messages, "message"),
                age(parked.oldest_seconds)
            ));
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

    fn commands_text(&self) -> String {
        let line = |command: &Command| {
            format!(
                "In force at {}: {} ({}), by {}, ends in {}.",
                command.consumer,
                command.action,
                command.scope,
                output::plain(&command.issued_by, 40),
                age(command.expires_seconds)
            )
        };
        self.commands.iter().map(line).collect::<Vec<_>>().join("\n")
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

fn rate(rate: Option<f64>) -> Cell {
    right(rate.map_or_else(|| "unknown".to_owned(), |rate| format!("{rate:.1}")))
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
        let (consumer, topic) = ("ocr".into(), topic.into());
        PartitionLag { consumer, topic, partition, messages, seconds, committed: None, next: 0, end: messages }
    }

    fn read(lags: Vec<PartitionLag>, before: Option<(&Offsets, Duration)>, by_partition: bool) -> Vec<Queue> {
        let outbox = Outbox { unpublished: 0, oldest_seconds: 0.0 };
        let backlog = Backlog {
            members: Vec::new(),
            retries: Vec::new(),
            dead: Vec::new(),
            parked: Vec::new(),
            commands: Vec::new(),
            outbox,
            relays: Vec::new(),
            shards_unowned: 0,
        };
        queues(lags, before, by_partition, &backlog)
    }

    #[test]
    fn partitions_are_summed_by_topic_and_the_oldest_message_counts() {
        let lags = vec![lag("a", 0, 3, Some(2.0)), lag("a", 1, 4, Some(9.0)), lag("b", 0, 0, Some(0.0))];
        let sums: Vec<_> =
            read(lags.clone(), None, false).into_iter().map(|q| (q.topic, q.lag_messages, q.lag_seconds)).collect();
        assert_eq!(sums, [("a".to_owned(), 7, Some(9.0)), ("b".to_owned(), 0, Some(0.0))]);
        let each: Vec<_> = read(lags, None, true).into_iter().map(|q| (q.partition, q.lag_messages)).collect();
        assert_eq!(each, [(Some(0), 3), (Some(1), 4), (Some(0), 0)]);
    }

    #[test]
    fn an_unknown_age_is_not_a_lag_of_zero() {
        let sums = read(vec![lag("a", 0, 3, None), lag("a", 1, 4, Some(9.0))], None, false);
        assert_eq!(sums.first().map(|q| (q.lag_messages, q.lag_seconds)), Some((7, None)));
    }

    #[test]
    fn rates_are_summed_by_topic_and_one_unknown_leaves_the_sum_unknown() {
        let before = Offsets::of(&[lag("a", 0, 10, None), lag("a", 1, 10, None), lag("b", 0, 10, None)]);
        let now = vec![lag("a", 0, 14, None), lag("a", 1, 16, None), lag("b", 0, 12, None), lag("b", 1, 1, None)];
        let rates: Vec<_> = read(now, Some((&before, Duration::from_secs(2))), false)
            .into_iter()
            .map(|queue| (queue.arrival_per_second, queue.drain_per_second, queue.eta_seconds))
            .collect();
        assert_eq!(rates, [(Some(5.0), Some(0.0), None), (None, None, None)]);
    }
}
