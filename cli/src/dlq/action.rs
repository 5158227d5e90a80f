//! What is said with every change of dead letters: which, who wants it, why.

use clap::Args;
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use super::filter::{Filter, from_letters};
use crate::Error;

/// Letters in one transaction: few enough that a worker never waits for long behind its locks.
pub const BATCH: i64 = 500;

#[derive(Args, Clone)]
pub struct Choice {
    #[command(flatten)]
    pub filter: Filter,
    /// All dead letters there are
    #[arg(long, conflicts_with_all = ["consumer", "reason", "fingerprint", "event_ids", "tenant", "key", "since", "until"])]
    all: bool,
}

#[derive(Args, Clone, Serialize)]
pub struct Decision {
    /// Goes on record with your name
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub why: String,
    /// Your name, for the record
    #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true, default_value = "unknown")]
    pub who: String,
}

impl Choice {
    /// The choice, if there is one, at this moment.
    pub async fn fixed(&self, connection: &mut PgConnection) -> Result<Self, Error> {
        if !self.filter.is_empty() || self.all {
            return Ok(Self { filter: self.filter.fixed(connection).await?, all: self.all });
        }
        let usage = "choose by --consumer, --reason, --fingerprint, --event-id, --tenant, --key, --since or --until, or take --all; \
                     --dry-run shows what would be done";
        Err(Error::Usage(usage.to_owned()))
    }

    /// Events that were named and are dead nowhere, or not where they were said to be.
    pub async fn not_dead(&self, connection: &mut PgConnection) -> Result<Vec<Uuid>, Error> {
        if self.filter.event_ids.is_empty() {
            return Ok(Vec::new());
        }
        let query = sqlx::query_as(concat!("SELECT DISTINCT i.event_id", from_letters!("dead")));
        let dead: Vec<(Uuid,)> = self.filter.bind(query).fetch_all(connection).await?;
        Ok(self.filter.event_ids.iter().copied().filter(|id| !dead.contains(&(*id,))).collect())
    }
}

impl Decision {
    pub fn check(&self) -> Result<(), Error> {
        if self.why.trim().is_empty() {
            return Err(Error::Usage("--why is missing or empty: the next operator needs a reason".to_owned()));
        }
        Ok(())
    }

    /// One line for an action on many letters; what it did to each stands elsewhere.
    pub async fn record(&self, connection: &mut PgConnection, action: &str, about: &str) -> Result<(), Error> {
        sqlx::query("INSERT INTO pipeline.operator_actions (who, action, why) VALUES ($1, $2, $3)")
            .bind(&self.who)
            .bind(action)
            .bind(format!("{about}: {}", self.why))
            .execute(connection)
            .await?;
        Ok(())
    }
}
