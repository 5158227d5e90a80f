use std::{sync::Arc, time::Duration};

use sqlx::{Connection, PgConnection};
use tokio::time::timeout;
use uuid::Uuid;

use crate::{
    App,
    database::in_time,
    problem::{Kind, Problem},
    tenant::Tenant,
};

const CHARS_MAX: usize = 200;
/// Each costs the index a look.
const WORDS_MAX: usize = 16;
/// For a place among the searches that run.
const PLACE_TIMEOUT: Duration = Duration::from_secs(1);
/// Of one search, at the server: less than other statements have, since anybody may ask anything.
const STATEMENT_TIMEOUT: &str = "SET LOCAL statement_timeout = '3s'";
/// SQLSTATE.
const QUERY_CANCELED: &str = "57014";

/// Words to look for in the texts of documents, as people write them for search engines: all of them, `"a phrase"`, `or`, `-not`.
///
/// PostgreSQL's `websearch_to_tsquery` takes anything for a query, so length and number of words are bounded here. What no
/// index can look up is refused when the search runs: PostgreSQL knows.
#[derive(Debug, Clone)]
pub(super) struct Search(String);

impl Search {
    /// # Errors
    /// [`Kind::InvalidSearch`]
    pub fn parse(q: String) -> Result<Self, Problem> {
        let words = q.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).count();
        let is_fair = q.chars().take(CHARS_MAX + 1).count() <= CHARS_MAX && (1..=WORDS_MAX).contains(&words);
        // PostgreSQL's text holds every character but NUL.
        if is_fair && !q.contains('\0') { Ok(Self(q)) } else { Err(Problem::of(Kind::InvalidSearch)) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// All documents that can be paged through, the best first: of a word that more than a thousand have, the newest of them.
    ///
    /// # Errors
    /// [`Kind::InvalidSearch`] without a word that is wanted; [`Kind::Busy`] and [`Kind::TimedOut`].
    pub async fn run(&self, app: &App, tenant: &Tenant) -> Result<Vec<Uuid>, Problem> {
        let busy = || {
            Problem::new(Kind::Busy, "As many searches are running as are allowed; try again a little later.")
                .retry_after(Duration::from_secs(2))
        };
        let place = timeout(PLACE_TIMEOUT, Arc::clone(&app.searches).acquire_owned()).await.map_err(|_| busy())?;
        let (app, tenant, search) = (app.clone(), tenant.clone(), self.clone());
        // A task of its own: PostgreSQL goes on when the client leaves, and its place is not free before.
        let running = tokio::spawn(async move {
            let found = search.run_in_time(&app, &tenant).await;
            drop(place);
            found
        });
        running.await.unwrap_or_else(|_| Err(Problem::of(Kind::Internal)))
    }

    async fn run_in_time(&self, app: &App, tenant: &Tenant) -> Result<Vec<Uuid>, Problem> {
        let mut connection = app.pool.acquire().await?;
        in_time(self.look_up(&mut connection, tenant)).await.unwrap_or_else(|late| {
            connection.close_on_drop();
            Err(late.into())
        })
    }

    async fn look_up(&self, connection: &mut PgConnection, tenant: &Tenant) -> Result<Vec<Uuid>, Problem> {
        let mut transaction = connection.begin().await?;
        sqlx::query(STATEMENT_TIMEOUT).execute(&mut *transaction).await?;
        let can_be_looked_up: bool =
            sqlx::query_scalar("SELECT views.can_be_looked_up(websearch_to_tsquery('pg_catalog.simple', $1))")
                .bind(self.as_str())
                .fetch_one(&mut *transaction)
                .await?;
        if !can_be_looked_up {
            return Err(Problem::of(Kind::InvalidSearch));
        }
        let found = sqlx::query_scalar(
            r"SELECT d.id FROM views.hits($1, $2) h JOIN documents.documents d ON d.id = h.document_id AND d.tenant = $1
               ORDER BY h.rank DESC, d.created_at DESC, d.id",
        );
        let ids =
            found.bind(tenant.as_str()).bind(self.as_str()).fetch_all(&mut *transaction).await.map_err(too_slow)?;
        transaction.commit().await?;
        Ok(ids)
    }
}

fn too_slow(error: sqlx::Error) -> Problem {
    match error.as_database_error().and_then(|refused| refused.code()) {
        Some(code) if code == QUERY_CANCELED => {
            tracing::warn!("a search took too long");
            Problem::new(Kind::TimedOut, "The search took too long; rarer words, or more of them, are found faster.")
                .retry_after(Duration::from_secs(5))
        }
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_is_short_and_has_a_word() {
        let parsed = |q: &str| Search::parse(q.to_owned()).is_ok();
        for good in ["x", "\"Mit freundlichen Grüßen\" -Rechnung or 4711", "a' & | ! ( :*", &"ä".repeat(200)] {
            assert!(parsed(good), "{good}");
        }
        for bad in ["", " ", "-", "\"\"", "a\0b", &"ä".repeat(201), &"a ".repeat(17), &"a-".repeat(17)] {
            assert!(!parsed(bad), "{bad}");
        }
    }
}
