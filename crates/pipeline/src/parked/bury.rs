use std::{
    collections::HashSet,
    fmt::{self, Display},
};

use docfleet_outbox::insert_rows;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::{
    lease::{Lease, Parked},
    outcomes::Outcomes,
    stored::{Stored, stored_columns},
};
use crate::{
    Class, Failure, Handler, ParkedConfig, header,
    settle::{Settler, TRANSACTION_TIMEOUT, Why, settled_in_time},
};

/// Messages in one transaction: with the largest payloads some 50 MB.
const CHUNK: i64 = 100;

/// How far a group has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Buried {
    /// The key is not ours any more; nothing was done.
    Fenced,
    Partly,
    /// All of the key are dead letters, and it is free.
    Wholly,
}

/// Of those that stood behind the one that failed.
const BEHIND: &str = "behind-dead-head";

/// Which bound a key is beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    Messages,
    Age,
    Attempts,
    /// It was begun before, or an operator asked for it.
    Begun,
}

impl Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Messages => "too many messages waited behind it",
            Self::Age => "it waited for too long",
            Self::Attempts => "it failed too often",
            Self::Begun => "its key was given up",
        })
    }
}

/// What is to be done next with a key that is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Try,
    Bury(Bound),
    /// An operator decides.
    Leave,
}

impl Parked {
    pub fn step(&self, config: &ParkedConfig) -> Step {
        match self.state.as_str() {
            "burying" => Step::Bury(Bound::Begun),
            _ if self.messages > i64::from(config.messages_max) => Step::Bury(Bound::Messages),
            "held" => Step::Leave,
            _ if self.head_age_seconds > config.age_max.as_secs_f64() => Step::Bury(Bound::Age),
            _ if i64::from(self.attempts) >= i64::from(config.attempts_max) => Step::Bury(Bound::Attempts),
            _ => Step::Try,
        }
    }
}

impl<H: Handler> Settler<H> {
    /// Makes the next messages of the key dead letters of one group, in their order. In small transactions: until the last
    /// one the key stays parked and what arrives joins the group.
    pub(super) async fn bury(&self, lease: &Lease, bound: Bound) -> Result<Buried, Failure> {
        let mut connection = self.pool.acquire().await.map_err(|e| crate::of_database(&e))?;
        let answered = tokio::time::timeout(TRANSACTION_TIMEOUT, self.bury_in(&mut connection, lease, bound)).await;
        settled_in_time(answered, connection)
    }

    async fn bury_in(&self, connection: &mut PgConnection, lease: &Lease, bound: Bound) -> Result<Buried, Failure> {
        let database = |error: sqlx::Error| crate::of_database(&error);
        let mut transaction = connection.begin().await.map_err(database)?;
        let Some(parked) = lease.lock(&mut transaction, self.consumer).await.map_err(database)? else {
            return Ok(Buried::Fenced);
        };
        let chunk = self.chunk(&mut transaction, lease).await.map_err(database)?;
        let group = parked.group_id.unwrap_or_else(Uuid::now_v7);
        self.to_letters(&mut transaction, lease, &parked, group, bound, chunk).await.map_err(database)?;
        let ended = sqlx::query(
            r"DELETE FROM pipeline.parked_keys k
               WHERE k.consumer = $1 AND k.key = $2
                 AND NOT EXISTS (SELECT FROM pipeline.parked_messages m WHERE m.consumer = $1 AND m.key = $2)",
        )
        .bind(self.consumer)
        .bind(&lease.key)
        .execute(&mut *transaction)
        .await
        .map_err(database)?;
        transaction.commit().await.map_err(database)?;
        Ok(if ended.rows_affected() > 0 { Buried::Wholly } else { Buried::Partly })
    }

    async fn chunk(&self, connection: &mut PgConnection, lease: &Lease) -> Result<Vec<Stored>, sqlx::Error> {
        sqlx::query_as(concat!(
            "SELECT",
            stored_columns!(),
            "FROM pipeline.parked_messages WHERE consumer = $1 AND key = $2 ORDER BY seq LIMIT $3"
        ))
        .bind(self.consumer)
        .bind(&lease.key)
        .bind(CHUNK)
        .fetch_all(connection)
        .await
    }

    async fn to_letters(
        &self,
        connection: &mut PgConnection,
        lease: &Lease,
        parked: &Parked,
        group: Uuid,
        bound: Bound,
        chunk: Vec<Stored>,
    ) -> Result<(), sqlx::Error> {
        let carrier = self.carrier();
        let (mut seqs, mut outcomes, mut letters) = (Vec::new(), Outcomes::default(), Vec::new());
        let size = i64::try_from(chunk.len()).unwrap_or(i64::MAX);
        for (position, stored) in (parked.buried + 1..).zip(chunk) {
            let (seq, record, identity) = stored.into_parts();
            let is_head = identity.event_id == parked.event_id;
            let reason = if is_head { parked.reason.clone() } else { BEHIND.to_owned() };
            let detail = if is_head { format!("{bound}: {}", parked.detail) } else { bound.to_string() };
            let why = Why { class: Class::Transient, reason: &reason, detail: &detail };
            let mut letter = carrier.to_dead_letters(&record, &identity, why);
            letter.headers.push((header::GROUP.to_owned(), group.to_string()));
            letter.headers.push((header::GROUP_POSITION.to_owned(), position.to_string()));
            letters.push(letter);
            seqs.push(seq);
            outcomes.push(&record, &identity, "dead", Some(&reason));
        }
        let died: HashSet<Uuid> = outcomes.claim(&mut *connection, self.consumer).await?.into_iter().collect();
        // Others have an outcome already, by an operator's hand.
        letters.retain(|letter| died.contains(&letter.event_id));
        insert_rows(&mut *connection, letters).await?;
        sqlx::query("DELETE FROM pipeline.parked_messages WHERE consumer = $1 AND key = $2 AND seq = ANY ($3)")
            .bind(self.consumer)
            .bind(&lease.key)
            .bind(seqs)
            .execute(&mut *connection)
            .await?;
        sqlx::query(
            r"UPDATE pipeline.parked_keys SET state = 'burying', group_id = $3, buried = buried + $4, messages = messages - $4
               WHERE consumer = $1 AND key = $2",
        )
        .bind(self.consumer)
        .bind(&lease.key)
        .bind(group)
        .bind(size)
        .execute(connection)
        .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(state: &str, messages: i64, attempts: i32, head_age_seconds: f64) -> Parked {
        let (reason, detail) = (String::new(), String::new());
        let (event_id, group_id, buried) = (Uuid::nil(), None, 0);
        Parked { state: state.into(), reason, detail, attempts, messages, head_age_seconds, event_id, group_id, buried }
    }

    #[test]
    fn a_key_is_tried_up_to_its_bounds_and_then_given_up_as_a_whole() {
        let config = ParkedConfig::default();
        assert_eq!(key("retrying", 10_000, 99, 86_400.0).step(&config), Step::Try);
        assert_eq!(key("retrying", 10_001, 0, 0.0).step(&config), Step::Bury(Bound::Messages));
        assert_eq!(key("retrying", 1, 0, 86_401.0).step(&config), Step::Bury(Bound::Age));
        assert_eq!(key("retrying", 1, 100, 0.0).step(&config), Step::Bury(Bound::Attempts));
        assert_eq!(key("burying", 1, 0, 0.0).step(&config), Step::Bury(Bound::Begun));
    }

    #[test]
    fn a_held_key_waits_for_its_operator_however_long_but_not_with_however_many() {
        let config = ParkedConfig::default();
        assert_eq!(key("held", 10_000, 500, 1e9).step(&config), Step::Leave);
        assert_eq!(key("held", 10_001, 0, 0.0).step(&config), Step::Bury(Bound::Messages));
    }
}
