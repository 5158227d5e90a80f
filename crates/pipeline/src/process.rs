//! One message on its way from the broker to the settlement: decode, work, try again in its lane.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use docfleet_outbox::{Error, EventMeta, Input, Registry, RetentionConfig, codec};
use docfleet_telemetry::trace;
use futures::FutureExt;
use sqlx::{PgPool, Postgres, postgres::PgArguments, query::QueryScalar};
use time::Date;
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    Class, Failure, Handler, Message, Outcome, Record, RetryConfig, WorkContext, Worked, clock,
    consumer::{Hold, InFlight, Progress},
    database::{QUESTION_TIMEOUT, in_time},
    failure,
    fate::Fate,
    gate::{self, CommandId, Phase},
    message::{Identity, PLACE_DAY, place_id},
    metric,
    parked::{self, Hints},
    replay,
    settle::digest_of,
};

const UNKNOWN_SCHEMA: &str = "unknown-schema";
const DEADLINE_EXCEEDED: &str = "deadline-exceeded";

/// The reason of an event whose outcome the inbox may have forgotten.
pub(crate) const TOO_OLD: &str = "too-old";

const PLAUSIBLE_YEARS: std::ops::Range<i32> = 2000..3000;

/// A try that is late by more than this is no try any more but a stall.
const EXCUSE_MARGIN: Duration = Duration::from_secs(30);

/// A message whose outcome is to be settled.
pub(crate) struct Finished<H: Handler> {
    pub in_flight: InFlight,
    pub record: Record,
    pub identity: Identity,
    pub conclusion: Conclusion<H>,
}

pub(crate) enum Conclusion<H: Handler> {
    Worked(Worked<H::In, H::Finding>),
    /// Neither with [`Fate::Abandon`] nor with [`Fate::Exit`].
    Failed(Failure, Fate),
    /// Not tried, as its key seems to be parked. Comes back by this way when it is not any more.
    Behind(oneshot::Sender<(InFlight, Record)>),
    /// Not tried, as an operator's command discards it.
    Dropped(CommandId),
}

/// A parked message whose work is done.
pub(crate) struct Tried<H: Handler> {
    /// As it is now: a message may be readable that was not when it was parked.
    pub identity: Identity,
    pub worked: Worked<H::In, H::Finding>,
}

pub(crate) struct Processor<H: Handler> {
    pub handler: Arc<H>,
    pub consumer: &'static str,
    pub registry: Registry,
    pub pool: PgPool,
    /// Held during a try or a question, not during the waits between tries: what waits must not stop the others.
    pub slots: Semaphore,
    pub retry: RetryConfig,
    pub record_bytes_max: usize,
    pub retention: RetentionConfig,
    pub shutdown: CancellationToken,
    /// Told while a message waits for something that is away, so that the watchdog does not take it for a stall.
    pub progress: Progress,
    pub settle: mpsc::Sender<Finished<H>>,
    /// Which keys of an ordered consumer are parked, as this process believes.
    pub parked: Hints,
    pub gate: gate::Handle,
}

impl<H: Handler> Processor<H> {
    pub async fn process(self: Arc<Self>, mut in_flight: InFlight, mut record: Record) {
        let decoded = self.until_available(&record, || self.decode(&record)).await;
        let identity = match &decoded {
            Ok((meta, _)) => Identity::of_event(meta, &record),
            Err(_) => Identity::of_undecodable(&record),
        };
        if let Some(command) = self.dropped_by(&record).await {
            let conclusion = Conclusion::Dropped(command);
            return self.send(Finished { in_flight, record, identity, conclusion }).await;
        }
        let (meta, event) = match decoded {
            Ok(decoded) => decoded,
            Err(failure) if failure.reason == UNKNOWN_SCHEMA => {
                self.count_failed_try(&failure);
                return in_flight.hold(record, Hold::Partition(UNKNOWN_SCHEMA));
            }
            Err(failure) => return self.conclude(in_flight, record, identity, Err(failure)).await,
        };
        if let Err(failure) = replay::refuse(identity.replay.as_ref(), H::POLICY.again) {
            return self.conclude(in_flight, record, identity, Err(failure)).await;
        }
        let parked = match self.is_to_go_behind(&record, &identity).await {
            Ok(parked) => parked,
            Err(failure) => return self.conclude(in_flight, record, identity, Err(failure)).await,
        };
        if parked {
            let Some(back) = self.go_behind(in_flight, record, identity.clone()).await else { return };
            (in_flight, record) = back;
        }
        let span = self.span_of(&record, &identity, &meta);
        let message = message_of(&record, &span, meta, event);
        let outcome = self.work_in_lane(message, &record, &identity).instrument(span).await;
        self.conclude(in_flight, record, identity, outcome).await;
    }

    /// One try of a message that was parked, with its identity as it is now. Waits for nothing but a free slot.
    pub async fn try_parked(&self, record: &Record) -> Outcome<Tried<H>> {
        let (meta, event) = self.decode(record).await?;
        let identity = Identity::of_event(&meta, record);
        let span = self.span_of(record, &identity, &meta);
        let message = message_of(record, &span, meta, event);
        let trying = async {
            let _slot = self.slot().await?;
            self.attempt(&message).await
        };
        let finding = trying.instrument(span).await?;
        Ok(Tried { identity, worked: Worked { message, finding } })
    }

    /// Looks at its age first: what the inbox has forgotten must not be done again, on whatever way.
    async fn is_to_go_behind(&self, record: &Record, identity: &Identity) -> Outcome<bool> {
        self.refuse_too_old(identity, record, clock::today()).await?;
        self.until_available(record, || self.is_parked(record)).await
    }

    /// The command that discards the message, whether it can be decoded or not.
    async fn dropped_by(&self, record: &Record) -> Option<CommandId> {
        let set = Arc::clone(&self.gate.commands.borrow());
        if set.is_empty() {
            return None;
        }
        let now = self.gate.now();
        let framed = record.payload.as_deref().filter(|_| set.looks_into_payloads(now));
        let framed = framed.and_then(|payload| codec::unframe(payload).ok());
        let schema = match framed {
            Some((id, _)) => self.registry.schema(id).await.ok(),
            None => None,
        };
        // As in `decode`: a decoder that panics costs no more than the answer.
        let field = |path: &str| {
            let reading = AssertUnwindSafe(|| gate::of_datum(schema.as_ref()?, framed?.1, path));
            std::panic::catch_unwind(reading).ok().flatten()
        };
        set.drops(now, &record.place(), |name| record.header(name), field)
    }

    /// Nothing when the message has its outcome or its place; itself when its key is free by now.
    async fn go_behind(&self, in_flight: InFlight, record: Record, identity: Identity) -> Option<(InFlight, Record)> {
        let (back, free) = oneshot::channel();
        self.send(Finished { in_flight, record, identity, conclusion: Conclusion::Behind(back) }).await;
        free.await.ok()
    }

    fn span_of(&self, record: &Record, identity: &Identity, meta: &EventMeta) -> tracing::Span {
        let span = tracing::info_span!(
            "work", consumer = self.consumer, event_id = %identity.event_id, event_type = %identity.event_type,
            topic = %record.source.topic, partition = record.source.partition, offset = record.offset,
            attempt = record.attempt(), trace_id = tracing::field::Empty
        );
        trace::adopt(&span, meta.traceparent.as_deref());
        span
    }

    async fn decode(&self, record: &Record) -> Outcome<(EventMeta, H::In)> {
        if record.size_bytes() > self.record_bytes_max {
            let detail = format!("{} bytes, the limit is {}", record.size_bytes(), self.record_bytes_max);
            return Err(Failure::poison("oversized", detail));
        }
        if record.headers_unreadable {
            return Err(Failure::poison("unreadable-headers", "a header's name is not UTF-8"));
        }
        let payload = record.payload.as_deref().unwrap_or_default();
        if payload.is_empty() {
            return Err(Failure::poison("empty-payload", "the record has no value"));
        }
        let framed = codec::unframe(payload).map_err(|e| Failure::poison("not-framed", e))?;
        let schema = self.registry.schema(framed.0).await.map_err(|error| match error {
            // May be a registry that lags behind or was restored: waiting loses nothing, a dead letter would.
            Error::UnknownSchema(_) => Failure::unavailable(UNKNOWN_SCHEMA, error),
            Error::Avro(_) => Failure::poison("unreadable-schema", format!("schema {}", framed.0)),
            other => Failure::unavailable("registry-unavailable", other),
        })?;
        // A decoder that panics on foreign bytes must cost one message, not the process, again and again.
        let decoded = std::panic::catch_unwind(|| H::In::decode(&schema, framed.1));
        let undecodable = || Failure::poison("undecodable", format!("the datum does not follow schema {}", framed.0));
        let (meta, event) = decoded.map_err(|_| undecodable())?.map_err(|error| match error {
            Error::UnexpectedEvent(_) => Failure::poison("unexpected-event", error),
            // Without the error's text: it may quote the payload.
            _ => undecodable(),
        })?;
        // Its day is a part of the inbox's key, and PostgreSQL knows fewer days than the wire does.
        if !PLAUSIBLE_YEARS.contains(&meta.occurred_at.year()) {
            return Err(Failure::poison("implausible-time", format!("the year {}", meta.occurred_at.year())));
        }
        Ok((meta, event))
    }

    /// The inbox may have forgotten what became of an old event, so it is not worked on. A redriven one is, whatever its age:
    /// its row was kept, and waits for this very attempt.
    async fn refuse_too_old(&self, identity: &Identity, record: &Record, today: Date) -> Outcome<()> {
        if !self.retention.is_too_old(identity.event_day, today)
            || (record.attempt() > 0 && self.until_available(record, || self.is_awaited(identity, record)).await?)
        {
            return Ok(());
        }
        Err(Failure::poison(TOO_OLD, format!("of {}, today is {today}", identity.event_day)))
    }

    /// Tries until something final is known.
    async fn work_in_lane(
        &self,
        message: Message<H::In>,
        record: &Record,
        identity: &Identity,
    ) -> Outcome<Option<Worked<H::In, H::Finding>>> {
        if H::POLICY.ask_inbox_first && self.until_available(record, || self.is_settled(record, identity)).await? {
            return Ok(None);
        }
        let mut tries = 0;
        loop {
            let tried = self.until_available(record, || self.one_try(&message)).await;
            if tries > 0 {
                self.gate.erase(record);
            }
            let failure = match tried {
                Ok(finding) => return Ok(Some(Worked { message, finding })),
                Err(failure) => failure,
            };
            tries += 1;
            if failure.reason == DEADLINE_EXCEEDED {
                self.gate.unavailable();
            }
            if failure.class != Class::Transient || tries >= H::POLICY.tries_in_lane {
                return Err(failure);
            }
            self.count_failed_try(&failure);
            self.gate.note(record, Phase::Retrying { reason: failure.reason, tries });
            tracing::warn!(reason = failure.reason, detail = %failure.detail, tries, "a try failed, trying again");
            self.pause(tries - 1).await?;
        }
    }

    async fn one_try(&self, message: &Message<H::In>) -> Outcome<H::Finding> {
        let _slot = self.slot().await?;
        self.progress.excuse_until((Instant::now() + H::POLICY.work_deadline).into_std() + EXCUSE_MARGIN);
        self.attempt(message).await
    }

    async fn slot(&self) -> Outcome<tokio::sync::SemaphorePermit<'_>> {
        self.slots.acquire().await.map_err(|e| Failure::fatal("shutting-down", e))
    }

    async fn attempt(&self, message: &Message<H::In>) -> Outcome<H::Finding> {
        let started = Instant::now();
        let deadline = started + H::POLICY.work_deadline;
        let context = WorkContext { deadline, shutdown: self.shutdown.clone() };
        // A panic is a failed try of this message, not the end of the others.
        let work = AssertUnwindSafe(self.handler.work(message, &context)).catch_unwind();
        let outcome = match tokio::time::timeout_at(deadline, work).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(Failure::transient("panicked", "the handler panicked; see the process's standard error")),
            Err(_) => Err(Failure::transient(DEADLINE_EXCEEDED, format!("no answer in {:?}", H::POLICY.work_deadline))),
        };
        metrics::histogram!(metric::WORK_SECONDS, "consumer" => self.consumer).record(started.elapsed());
        outcome
    }

    /// Not so when the outcome was given to another payload: the settlement will say that of it.
    async fn is_settled(&self, record: &Record, identity: &Identity) -> Outcome<bool> {
        let digest = digest_of(record, identity);
        self.ask(
            sqlx::query_scalar(
                r"SELECT EXISTS (SELECT FROM pipeline.inbox
                   WHERE consumer = $1 AND event_id = $2 AND event_day = $3 AND NOT (outcome = 'retrying' AND attempt = $4)
                     AND (digest = $5 OR digest = ''))",
            )
            .bind(identity.consumer(self.consumer))
            .bind(identity.event_id)
            .bind(identity.event_day)
            .bind(record.attempt())
            .bind(digest.as_ref().map_or(&[][..], |digest| digest.as_slice())),
        )
        .await
    }

    /// Whether the inbox waits for this very attempt, under the id of the event or, if it could not be decoded when it
    /// died, under that of its place.
    async fn is_awaited(&self, identity: &Identity, record: &Record) -> Outcome<bool> {
        self.ask(
            sqlx::query_scalar(
                r"SELECT EXISTS (SELECT FROM pipeline.inbox
                   WHERE consumer = $1 AND (event_id, event_day) IN (($2, $3), ($4, $5)) AND outcome = 'retrying' AND attempt = $6)",
            )
            .bind(identity.consumer(self.consumer))
            .bind(identity.event_id)
            .bind(identity.event_day)
            .bind(place_id(record))
            .bind(PLACE_DAY)
            .bind(record.attempt()),
        )
        .await
    }

    /// With a slot: lanes outnumber the pool's connections by far, and their questions would starve the settlements.
    async fn ask(&self, question: QueryScalar<'_, Postgres, bool, PgArguments>) -> Outcome<bool> {
        let _slot = self.slot().await?;
        let mut connection = self.pool.acquire().await.map_err(|e| failure::of_database(&e))?;
        let answered = tokio::time::timeout(QUESTION_TIMEOUT, question.fetch_one(&mut *connection)).await;
        in_time(answered, connection).map_err(|e| failure::of_database(&e))
    }

    /// Whether the message's key waits. Where work is cheap the memory's word is enough, as the settlement knows; where it
    /// costs seconds the table is asked as well.
    async fn is_parked(&self, record: &Record) -> Outcome<bool> {
        if !H::POLICY.is_ordered() {
            return Ok(false);
        }
        let key = parked::key_of(record);
        if self.parked.seems_parked(&key) || !H::POLICY.ask_inbox_first {
            return Ok(self.parked.seems_parked(&key));
        }
        self.ask(
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM pipeline.parked_keys WHERE consumer = $1 AND key = $2)")
                .bind(self.consumer)
                .bind(&*key),
        )
        .await
    }

    /// Repeats while something that everybody needs is away. The message is not to blame: no attempt is counted, and
    /// only the end of the process ends the waiting.
    async fn until_available<T, F: Future<Output = Outcome<T>>>(
        &self,
        record: &Record,
        mut step: impl FnMut() -> F,
    ) -> Outcome<T> {
        let mut waits = 0;
        loop {
            let failure = match step().await {
                // Only its producer needs that schema: the others are not to wait for it.
                Err(failure) if failure.class == Class::Unavailable && failure.reason != UNKNOWN_SCHEMA => failure,
                other => {
                    if waits > 0 {
                        self.gate.erase(record);
                    }
                    return other;
                }
            };
            self.gate.unavailable();
            self.gate.note(record, Phase::Waiting { reason: failure.reason });
            self.progress.held_up_until(std::time::Instant::now() + self.retry.backoff_max + EXCUSE_MARGIN);
            self.count_failed_try(&failure);
            tracing::warn!(consumer = self.consumer, reason = failure.reason, detail = %failure.detail, waits, "waiting");
            self.pause(waits).await.inspect_err(|_| self.gate.erase(record))?;
            waits += 1;
        }
    }

    /// # Errors
    /// [`Class::Unavailable`] when the process is to end: the message is abandoned and will be delivered again.
    async fn pause(&self, nth: u32) -> Outcome<()> {
        tokio::select! {
            () = tokio::time::sleep(self.retry.wait(nth, rand::random())) => Ok(()),
            () = self.shutdown.cancelled() => Err(Failure::unavailable("shutting-down", "abandoned")),
        }
    }

    pub fn count_failed_try(&self, failure: &Failure) {
        let labels = [("consumer", self.consumer), ("class", failure.class.as_str()), ("reason", failure.reason)];
        metrics::counter!(metric::FAILED_TRIES_TOTAL, &labels).increment(1);
    }

    async fn conclude(
        &self,
        in_flight: InFlight,
        record: Record,
        identity: Identity,
        outcome: Outcome<Option<Worked<H::In, H::Finding>>>,
    ) {
        let conclusion = match outcome {
            Ok(Some(worked)) => Conclusion::Worked(worked),
            Ok(None) => {
                let labels = [("consumer", self.consumer), ("outcome", "duplicate"), ("reason", "")];
                metrics::counter!(metric::OUTCOMES_TOTAL, &labels).increment(1);
                self.gate.signals.gave_up(in_flight.turn());
                return in_flight.settled();
            }
            Err(failure) => match H::POLICY.fate(failure.class, record.attempt()) {
                Fate::Abandon => return in_flight.abandon(),
                Fate::Exit => return in_flight.fatal(failure),
                fate if self.gate.holds(in_flight.turn(), &failure, fate) => {
                    self.count_failed_try(&failure);
                    return in_flight.hold(record, Hold::Breaker(failure.reason));
                }
                fate @ (Fate::Retry(_) | Fate::Park | Fate::DeadLetter | Fate::DeadLetterAndHold) => {
                    Conclusion::Failed(failure, fate)
                }
            },
        };
        self.send(Finished { in_flight, record, identity, conclusion }).await;
    }

    async fn send(&self, finished: Finished<H>) {
        // The settlers end after the last processor, so a closed channel means that the process is ending in disorder.
        if let Err(mpsc::error::SendError(finished)) = self.settle.send(finished).await {
            finished.in_flight.abandon();
        }
    }
}

fn message_of<I>(record: &Record, span: &tracing::Span, meta: EventMeta, event: I) -> Message<I> {
    Message { meta, event, attempt: record.attempt(), traceparent: trace::traceparent_of(span) }
}

impl RetryConfig {
    /// The wait after the `nth` failure (from 0): exponential with full jitter, `random` in 0..1.
    ///
    /// Full jitter spreads best (AWS Architecture Blog, "Exponential Backoff And Jitter"); a tenth is kept as a floor so
    /// that a dependency that is down is not hammered.
    pub fn wait(&self, nth: u32, random: f64) -> Duration {
        let ceiling = self.backoff.saturating_mul(2_u32.saturating_pow(nth.min(20))).min(self.backoff_max);
        ceiling.mul_f64(0.1 + 0.9 * random.clamp(0.0, 1.0))
    }

    /// When a message that failed at `now_ms` may be tried again.
    pub(crate) fn not_before_ms(&self, tier: crate::Tier, now_ms: i64) -> i64 {
        let delay = tier.delay.mul_f64(self.tier_delay_factor.max(0.0));
        now_ms.saturating_add(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_maximum_and_never_vanish() {
        let retry = RetryConfig {
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_secs(2),
            tier_delay_factor: 1.0,
        };
        let ceilings: Vec<u128> = (0..7).map(|n| retry.wait(n, 1.0).as_millis()).collect();
        assert_eq!(ceilings, [100, 200, 400, 800, 1_600, 2_000, 2_000]);
        assert_eq!(retry.wait(3, 0.0), Duration::from_millis(80));
        assert_eq!(retry.wait(u32::MAX, 1.0), Duration::from_secs(2));
    }
}
