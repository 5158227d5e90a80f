use std::time::Duration;

use clap::Args;
use humantime_serde::re::humantime::parse_duration;
use sqlx::{Postgres, postgres::PgArguments, query::QueryAs};
use uuid::Uuid;

/// Which dead letters. Each option narrows the choice further.
#[derive(Args, Clone, Default)]
pub struct Filter {
    /// Only those of this consumer
    #[arg(long, value_name = "NAME")]
    pub consumer: Option<String>,
    /// Only those that died of this
    #[arg(long, value_name = "REASON")]
    pub reason: Option<String>,
    /// Only these events; repeatable
    #[arg(long = "event-id", value_name = "UUID")]
    pub event_ids: Vec<Uuid>,
    /// Only those that died within this time
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub since: Option<Duration>,
}

/// What every query about dead letters reads, with the filter's parameters `$1` to `$4`.
///
/// The attempt ties the two: an event that was replayed and died again has a dead letter of each time, of which only
/// the last is current.
macro_rules! from_dead_letters {
    () => {
        r" FROM pipeline.inbox i
           JOIN pipeline.outbox_events o
             ON o.kind = 'dead_letter' AND o.consumer = i.consumer AND o.event_id = i.event_id AND o.attempt = i.attempt
          WHERE i.outcome = 'dead'
            AND ($1::text IS NULL OR i.consumer = $1)
            AND ($2::text IS NULL OR i.reason = $2)
            AND ($3::uuid[] IS NULL OR i.event_id = ANY ($3))
            AND ($4::float8 IS NULL OR i.settled_at >= clock_timestamp() - make_interval(secs => $4)) "
    };
}
pub(super) use from_dead_letters;

impl Filter {
    pub fn is_empty(&self) -> bool {
        self.consumer.is_none() && self.reason.is_none() && self.event_ids.is_empty() && self.since.is_none()
    }

    /// `$1` to `$4` of [`from_dead_letters!`].
    pub fn bind<'q, O>(&self, query: QueryAs<'q, Postgres, O, PgArguments>) -> QueryAs<'q, Postgres, O, PgArguments> {
        query
            .bind(self.consumer.clone())
            .bind(self.reason.clone())
            .bind((!self.event_ids.is_empty()).then(|| self.event_ids.clone()))
            .bind(self.since.map(|since| since.as_secs_f64()))
    }
}
