use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use docfleet_pipeline::{Class, of_database};
use docfleet_telemetry::trace;
use sqlx::PgPool;
use tokio::{
    sync::Notify,
    task::{Id, JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use uuid::Uuid;

use crate::{
    Answer, Courier, Schedule, Step, WebhooksConfig,
    bulkhead::Bulkheads,
    deliveries::{self, Claimed, Room},
    metric,
    removal::remove_deleted,
};

/// Sends what is due. Any number of dispatchers, in any number of processes, may share a database.
pub struct Dispatcher {
    desk: Arc<Desk>,
    bulkheads: Bulkheads,
    concurrency: usize,
    per_tenant: usize,
    poll_interval: Duration,
    /// A hint that there are new deliveries; polling is the truth.
    wake: Arc<Notify>,
}

/// What every attempt needs.
struct Desk {
    pool: PgPool,
    courier: Courier,
    schedule: Schedule,
    lease: Duration,
    total_timeout: Duration,
}

/// Attempts that are out, and to whom.
#[derive(Default)]
struct Out {
    tasks: JoinSet<bool>,
    addressees: HashMap<Id, (Uuid, String)>,
}

const BACKLOG_INTERVAL: Duration = Duration::from_secs(5);

impl Dispatcher {
    pub fn new(pool: PgPool, courier: Courier, config: &WebhooksConfig, wake: Arc<Notify>) -> Self {
        let (lease, total_timeout) = (config.lease, config.total_timeout);
        Self {
            desk: Arc::new(Desk { pool, courier, schedule: Schedule::from(config), lease, total_timeout }),
            bulkheads: Bulkheads::new(config),
            concurrency: config.concurrency,
            per_tenant: config.per_tenant(),
            poll_interval: config.poll_interval,
            wake,
        }
    }

    /// Until `shutdown`; then nothing is claimed any more, and what is out is finished and marked.
    ///
    /// # Errors
    /// When the database refuses the statements themselves: a deployment is wrong. One that is away is waited for.
    pub async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let (pool, ended) = (self.desk.pool.clone(), shutdown.clone());
        let beside =
            tokio::spawn(async move { tokio::join!(watch_backlog(&pool, &ended), remove_deleted(&pool, &ended)) });
        let mut out = Out::default();
        let mut claim_at = Instant::now();
        while !shutdown.is_cancelled() {
            if claim_at <= Instant::now() {
                match self.claim(&mut out, &shutdown).await {
                    Ok(()) => {}
                    Err(failure) if failure.class == Class::Fatal => anyhow::bail!(failure),
                    Err(failure) => {
                        tracing::warn!(reason = failure.reason, detail = %failure.detail, "claiming deliveries failed");
                        claim_at = Instant::now() + self.poll_interval;
                    }
                }
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(ended) = out.tasks.join_next_with_id() => self.take_back(&mut out, ended),
                () = self.wake.notified() => {}
                () = tokio::time::sleep(self.poll_interval) => {}
            }
        }
        while let Some(ended) = out.tasks.join_next_with_id().await {
            self.take_back(&mut out, ended);
        }
        beside.await?;
        Ok(())
    }

    async fn claim(&mut self, out: &mut Out, shutdown: &CancellationToken) -> Result<(), docfleet_pipeline::Failure> {
        let free = self.concurrency.saturating_sub(out.tasks.len());
        if free == 0 {
            return Ok(());
        }
        // Before the statement: by our clock, the lease ends no later than by the database's.
        let lease_ends = Instant::now() + self.desk.lease;
        let room = Room {
            total: i64::try_from(free).unwrap_or(i64::MAX),
            per_subscription: self.bulkheads.room(),
            except: self.bulkheads.rooms(Instant::now()),
            per_tenant: i64::try_from(self.per_tenant).unwrap_or(i64::MAX),
            busy: self.bulkheads.busy(),
        };
        let claimed = deliveries::claim(&self.desk.pool, room, self.desk.lease).await.map_err(|e| of_database(&e))?;
        for delivery in claimed {
            let (subscription, tenant) = (delivery.subscription_id, delivery.tenant.clone());
            self.bulkheads.enter(subscription, &tenant);
            let attempt = Arc::clone(&self.desk).attempt(delivery, lease_ends, shutdown.clone());
            out.addressees.insert(out.tasks.spawn(attempt).id(), (subscription, tenant));
        }
        metrics::gauge!(metric::IN_FLIGHT).set(gauge(out.tasks.len()));
        Ok(())
    }

    fn take_back(&mut self, out: &mut Out, ended: Result<(Id, bool), JoinError>) {
        let (id, strained) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                // Its lease ends by itself, and the delivery is attempted again.
                tracing::error!(%error, "an attempt broke");
                (error.id(), true)
            }
        };
        if let Some((subscription, tenant)) = out.addressees.remove(&id) {
            self.bulkheads.leave(subscription, &tenant, strained, Instant::now());
        }
        metrics::gauge!(metric::IN_FLIGHT).set(gauge(out.tasks.len()));
    }
}

impl Desk {
    /// Sends and marks. Returns whether the endpoint failed.
    async fn attempt(self: Arc<Self>, delivery: Claimed, lease_ends: Instant, shutdown: CancellationToken) -> bool {
        let span = tracing::info_span!(
            "deliver", webhook_id = %delivery.id, subscription_id = %delivery.subscription_id,
            event_type = %delivery.event_type, attempt = delivery.attempts, trace_id = tracing::field::Empty
        );
        trace::adopt(&span, delivery.traceparent.as_deref());
        let traceparent = trace::traceparent_of(&span).or_else(|| delivery.traceparent.clone());
        async {
            if delivery.repeats_unknown {
                metrics::counter!(metric::ATTEMPTS_TOTAL, "result" => "unknown").increment(1);
                tracing::warn!("what came of the attempt before is not known; sending again under the same id");
            }
            if lease_ends < Instant::now() + self.total_timeout {
                // This process was stopped for a while. Another one may send it now.
                return false;
            }
            let started = Instant::now();
            let answer = self.courier.carry(&delivery, traceparent.as_deref(), &shutdown).await;
            let result = answer.result();
            metrics::counter!(metric::ATTEMPTS_TOTAL, "result" => result).increment(1);
            metrics::histogram!(metric::ATTEMPT_SECONDS, "result" => result).record(started.elapsed().as_secs_f64());
            let step = self.schedule.after(&answer, delivery.attempts, rand::random());
            let (status, error) = (answer.status(), answer.error());
            tracing::info!(result, status, error, next = ?step, took_seconds = started.elapsed().as_secs_f64(), "attempted");
            self.mark(&delivery, &answer, step, lease_ends).await;
            answer.is_strain()
        }
        .instrument(span)
        .await
    }

    /// Tries until the lease is over: an unmarked success is sent twice.
    async fn mark(&self, delivery: &Claimed, answer: &Answer, step: Step, lease_ends: Instant) {
        const PAUSE: Duration = Duration::from_millis(250);
        loop {
            match deliveries::mark(&self.pool, delivery, answer, step).await {
                Ok(true) => return count_finished(step),
                Ok(false) => {
                    metrics::counter!(metric::FENCED_MARKS_TOTAL).increment(1);
                    return tracing::info!(
                        "nothing to mark: claimed by another dispatcher, or the subscription is gone"
                    );
                }
                Err(error) if Instant::now() + PAUSE < lease_ends => {
                    tracing::warn!(%error, "marking failed, trying again");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return tracing::error!(%error, "marking failed; the delivery will be sent again"),
            }
        }
    }
}

fn count_finished(step: Step) {
    let status = match step {
        Step::Delivered => "delivered",
        Step::Failed => "failed",
        Step::Again(_) => return,
    };
    metrics::counter!(metric::FINISHED_TOTAL, "status" => status).increment(1);
}

async fn watch_backlog(pool: &PgPool, shutdown: &CancellationToken) {
    loop {
        match deliveries::backlog(pool).await {
            Ok(backlog) => {
                #[allow(clippy::cast_precision_loss)]
                metrics::gauge!(metric::DUE_ROWS).set(backlog.due_rows as f64);
                metrics::gauge!(metric::OLDEST_DUE_SECONDS).set(backlog.oldest_due_seconds);
            }
            // The claim says it louder.
            Err(error) => tracing::debug!(%error, "reading the backlog"),
        }
        tokio::select! {
            () = tokio::time::sleep(BACKLOG_INTERVAL) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

#[allow(clippy::cast_precision_loss)]
fn gauge(n: usize) -> f64 {
    n as f64
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests;
