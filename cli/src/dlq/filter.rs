use clap::Args;
use humantime_serde::re::humantime::parse_duration;
use serde::Serialize;
use sqlx::{PgConnection, Postgres, postgres::PgArguments, query::QueryAs};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

use crate::Error;

/// Which dead letters. Each option narrows the choice further.
#[derive(Args, Clone, Default, Serialize)]
pub struct Filter {
    /// Only those of this consumer
    #[arg(long, value_name = "NAME")]
    pub consumer: Option<String>,
    /// Only those that died of this
    #[arg(long, value_name = "REASON")]
    pub reason: Option<String>,
    /// Only those whose error says the same; as `groups` names it
    #[arg(long, value_name = "HEX")]
    pub fingerprint: Option<String>,
    /// Only these events; repeatable
    #[arg(long = "event-id", value_name = "UUID")]
    pub event_ids: Vec<Uuid>,
    /// Only those of this tenant
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
    /// Only those of this record key, such as a document's id; bytes as 0x…
    #[arg(long, value_name = "KEY", value_parser = parse_key)]
    pub key: Option<Key>,
    /// Only those that died at this time or later: 2026-05-12T03:00:00Z, or 1h for an hour ago
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    pub since: Option<Moment>,
    /// Only those that died before this time
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    pub until: Option<Moment>,
}

/// Seconds: of Unix time, or, negative, before now by the database's clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment(f64);

impl Moment {
    pub fn seconds(self) -> f64 {
        self.0
    }
}

impl Serialize for Moment {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[allow(clippy::cast_possible_truncation)]
        let at = OffsetDateTime::from_unix_timestamp_nanos((self.0 * 1e9) as i128).ok().filter(|_| self.0 > 0.0);
        match at.and_then(|at| at.format(&Rfc3339).ok()) {
            Some(text) => serializer.serialize_str(&text),
            None => serializer.serialize_str(&format!("{} s ago", -self.0)),
        }
    }
}

/// A record's key, as hex in reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(pub Vec<u8>);

impl Serialize for Key {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&readable(&self.0))
    }
}

/// UTF-8 where it is, else hex: what [`parse_key`] reads.
pub fn readable(key: &[u8]) -> String {
    let hex = || format!("0x{}", key.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    std::str::from_utf8(key).map_or_else(|_| hex(), str::to_owned)
}

pub fn parse_key(text: &str) -> Result<Key, String> {
    let Some(digits) = text.strip_prefix("0x") else { return Ok(Key(text.as_bytes().to_vec())) };
    let pair = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..digits.len()).step_by(2).map(pair).collect();
    bytes.map(Key).ok_or_else(|| "0x is followed by pairs of hex digits".to_owned())
}

pub fn parse_moment(text: &str) -> Result<Moment, String> {
    if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) {
        let seconds = at.unix_timestamp_nanos() as f64 / 1e9;
        return if seconds > 0.0 { Ok(Moment(seconds)) } else { Err("a time after 1970, please".to_owned()) };
    }
    let ago = parse_duration(text).map_err(|e| format!("neither like 2026-05-12T03:00:00Z nor like 1h ({e})"))?;
    Ok(Moment(-ago.as_secs_f64()))
}

/// What every query about dead letters reads, with the filter's parameters `$1` to `$8`.
///
/// The attempt ties the two: an event that was replayed and died again has a dead letter of each time, of which only
/// the last is current.
macro_rules! from_letters {
    ($outcome:literal) => {
        concat!(
            r" FROM pipeline.inbox i
               JOIN pipeline.outbox_events o
                 ON o.kind = 'dead_letter' AND o.consumer = i.consumer AND o.event_id = i.event_id AND o.attempt = i.attempt
              WHERE i.outcome = '",
            $outcome,
            r"' AND ($1::text IS NULL OR (i.consumer = $1 AND o.consumer = $1))
                AND ($2::text IS NULL OR i.reason = $2)
                AND ($3::text IS NULL OR o.fingerprint = $3)
                AND ($4::uuid[] IS NULL OR (i.event_id = ANY ($4) AND o.event_id = ANY ($4)))
                AND ($5::text IS NULL OR (md5(o.tenant) = md5($5) AND o.tenant = $5))
                AND ($6::bytea IS NULL OR (md5(o.key) = md5($6) AND o.key = $6))
                AND ($7::float8 IS NULL OR i.settled_at >=
                     CASE WHEN $7 > 0 THEN to_timestamp($7) ELSE now() + make_interval(secs => $7) END)
                AND ($8::float8 IS NULL OR i.settled_at <
                     CASE WHEN $8 > 0 THEN to_timestamp($8) ELSE now() + make_interval(secs => $8) END) "
        )
    };
}
pub(super) use from_letters;

impl Filter {
    pub fn is_empty(&self) -> bool {
        self.consumer.is_none()
            && self.reason.is_none()
            && self.fingerprint.is_none()
            && self.event_ids.is_empty()
            && self.tenant.is_none()
            && self.key.is_none()
            && self.since.is_none()
            && self.until.is_none()
    }

    /// The same choice with ages as instants: what takes long must not choose by another hour at its end.
    pub async fn fixed(&self, connection: &mut PgConnection) -> Result<Self, Error> {
        let now: f64 =
            sqlx::query_scalar("SELECT extract(epoch FROM clock_timestamp())::float8").fetch_one(connection).await?;
        let fix = |moment: Moment| if moment.0 > 0.0 { moment } else { Moment(now + moment.0) };
        Ok(Self { since: self.since.map(fix), until: self.until.map(fix), ..self.clone() })
    }

    /// `$1` to `$8` of [`from_letters!`].
    pub fn bind<'q, O>(&self, query: QueryAs<'q, Postgres, O, PgArguments>) -> QueryAs<'q, Postgres, O, PgArguments> {
        query
            .bind(self.consumer.clone())
            .bind(self.reason.clone())
            .bind(self.fingerprint.clone())
            .bind((!self.event_ids.is_empty()).then(|| self.event_ids.clone()))
            .bind(self.tenant.clone())
            .bind(self.key.clone().map(|key| key.0))
            .bind(self.since.map(|since| since.0))
            .bind(self.until.map(|until| until.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_an_instant_or_an_age() {
        assert_eq!(parse_moment("1970-01-01T00:00:10Z"), Ok(Moment(10.0)));
        assert_eq!(parse_moment("1h"), Ok(Moment(-3600.0)));
        assert!(parse_moment("yesterday").is_err() && parse_moment("1960-01-01T00:00:00Z").is_err());
    }

    #[test]
    fn a_key_that_is_shown_can_be_asked_for() {
        for key in [b"abc".to_vec(), vec![0xff, 0x00], Vec::new()] {
            assert_eq!(parse_key(&readable(&key)), Ok(Key(key)));
        }
        assert!(parse_key("0xabc").is_err() && parse_key("0xäö").is_err());
    }
}
