//! Calls a stall of the relay a crash: rows wait, both servers answer, and nothing happens.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{lease::Leases, source::Source, vitals::Vitals};

const ANSWER: Duration = Duration::from_secs(5);

/// The observer's log lines would only repeat the producers'.
struct Quiet;
impl ClientContext for Quiet {}
impl ConsumerContext for Quiet {}

pub(super) struct Watchdog {
    pub source: Source,
    pub kafka: ClientConfig,
    pub leases: watch::Receiver<Arc<Leases>>,
    pub vitals: Arc<Vitals>,
    pub stall_after: Duration,
    pub stop: CancellationToken,
}

impl Watchdog {
    /// # Errors
    /// When the relay stalls. A server that is away is no stall, nor are rows that may not go.
    pub async fn run(self) -> anyhow::Result<()> {
        let mut stall = Stall::default();
        loop {
            tokio::select! {
                () = tokio::time::sleep((self.stall_after / 10).min(ANSWER)) => {}
                () = self.stop.cancelled() => return Ok(()),
            }
            // No answer, no stall.
            let waits = tokio::time::timeout(ANSWER, self.topic_that_waits()).await.ok().and_then(Result::ok).flatten();
            let stands_for = stall.look(waits.is_some(), self.vitals.events(), Instant::now());
            let Some(topic) = waits.filter(|_| stands_for >= self.stall_after) else { continue };
            if self.kafka_answers(topic).await {
                let source = &self.source.name;
                anyhow::bail!("the relay of {source} stands still: rows wait for {stands_for:?}, and nothing happens");
            }
            stall = Stall::default();
        }
    }

    /// Of a row in our shards that may go.
    async fn topic_that_waits(&self) -> Result<Option<String>, sqlx::Error> {
        let (shards, excused) = (self.leases.borrow().shards(), self.vitals.waiting());
        sqlx::query_scalar(
            r"SELECT topic FROM outbox_unpublished u
               CROSS JOIN LATERAL (SELECT topic, aggregate_id FROM outbox_events o
                                    WHERE o.id = u.id AND o.created_at = u.created_at OFFSET 0) AS o
               WHERE shard = ANY($1) AND id NOT IN (SELECT UNNEST($2::bigint[]))
                 AND (aggregate_id IS NULL OR aggregate_id NOT IN (SELECT UNNEST($3::uuid[]))) ORDER BY id LIMIT 1",
        )
        .bind(shards)
        .bind(excused.rows)
        .bind(excused.aggregates)
        .fetch_optional(&self.source.pool)
        .await
    }

    async fn kafka_answers(&self, topic: String) -> bool {
        let kafka = self.kafka.clone();
        // A client of its own: the one that may be stuck is not asked.
        let asking = tokio::task::spawn_blocking(move || {
            let observer: BaseConsumer<Quiet> = kafka.create_with_context(Quiet)?;
            let answer = observer.fetch_metadata(Some(&topic), ANSWER).map(drop);
            std::thread::spawn(move || drop(observer));
            answer
        });
        matches!(asking.await, Ok(Ok(())))
    }
}

/// Since when rows wait and nothing has happened.
#[derive(Debug, Default)]
struct Stall {
    since: Option<(u64, Instant)>,
}

impl Stall {
    fn look(&mut self, waits: bool, events: u64, now: Instant) -> Duration {
        self.since = match self.since {
            _ if !waits => None,
            Some((before, since)) if before == events => Some((before, since)),
            _ => Some((events, now)),
        };
        self.since.map_or(Duration::ZERO, |(_, since)| now.duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_of_a_stall_runs_while_rows_wait_and_nothing_happens() {
        let (mut stall, start) = (Stall::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(stall.look(true, 7, at(0)), Duration::ZERO);
        assert_eq!(stall.look(true, 7, at(90)), Duration::from_secs(90));
        assert_eq!(stall.look(true, 8, at(100)), Duration::ZERO, "something was published, or failed");
        assert_eq!(stall.look(false, 8, at(200)), Duration::ZERO, "nothing waits, or nobody answers");
        assert_eq!(stall.look(true, 8, at(300)), Duration::ZERO, "a row that has just come is not late");
    }
}
