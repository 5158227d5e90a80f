use crate::{
    database::Pool,
    problem::{Kind, Problem},
    tenant::Tenant,
};

const CHARS_MAX: usize = 200;
/// Each costs the index a look.
const WORDS_MAX: usize = 16;

/// Words to look for in the texts of documents, as people write them for search engines: all of them, `"a phrase"`, `or`, `-not`.
///
/// PostgreSQL's `websearch_to_tsquery` takes anything for a query, so only length and number of words are bounded.
#[derive(Debug)]
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

    /// How many documents can be paged through: of a word that more have, the newest.
    pub async fn count(&self, pool: &Pool, tenant: &Tenant) -> Result<i64, sqlx::Error> {
        const SQL: &str =
            "SELECT count(*) FROM views.hits($1, $2) h JOIN documents.documents d ON d.id = h.document_id";
        sqlx::query_scalar(SQL).bind(tenant.as_str()).bind(self.as_str()).fetch_one(pool).await
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
