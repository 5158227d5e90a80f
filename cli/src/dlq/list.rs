use comfy_table::{Cell, CellAlignment};
use serde::Serialize;
use sqlx::PgConnection;

use super::{
    filter::{Filter, from_letters},
    letter::{Count, Letter, count_columns, letter_columns},
};
use crate::{
    Error,
    output::{self, Report, grouped, instant},
};

#[derive(Serialize)]
pub struct Letters {
    total: i64,
    groups: Vec<Count>,
    /// The newest first.
    letters: Vec<Letter>,
    /// For `--after`, when there are more.
    next: Option<i64>,
}

pub async fn counts(connection: &mut PgConnection, filter: &Filter) -> Result<Vec<Count>, Error> {
    let query = sqlx::query_as(concat!(
        "SELECT",
        count_columns!(),
        from_letters!("dead"),
        "GROUP BY 1, 2 ORDER BY 1, 3 DESC, 2"
    ));
    Ok(filter.bind(query).fetch_all(connection).await?)
}

/// A page by the letter's own number: what dies meanwhile moves nothing.
async fn page(
    connection: &mut PgConnection,
    filter: &Filter,
    after: Option<i64>,
    limit: i64,
) -> Result<Vec<Letter>, Error> {
    let query = sqlx::query_as(concat!(
        "SELECT",
        letter_columns!(),
        from_letters!("dead"),
        "AND ($9::bigint IS NULL OR o.id < $9) ORDER BY o.id DESC LIMIT $10"
    ));
    Ok(filter.bind(query).bind(after).bind(limit).fetch_all(connection).await?)
}

pub async fn list(
    connection: &mut PgConnection,
    filter: &Filter,
    after: Option<i64>,
    limit: i64,
) -> Result<Letters, Error> {
    let groups = counts(&mut *connection, filter).await?;
    let letters = page(connection, filter, after, limit).await?;
    let full = i64::try_from(letters.len()).is_ok_and(|found| found == limit);
    let next = letters.last().filter(|_| full).map(|letter| letter.id);
    Ok(Letters { total: groups.iter().map(|group| group.count).sum(), groups, letters, next })
}

impl Report for Letters {
    fn text(&self) -> String {
        if self.total == 0 {
            return "No dead letters.".to_owned();
        }
        let shown = i64::try_from(self.letters.len()).unwrap_or(i64::MAX);
        let mut text = counts_table(&self.groups);
        text.push_str("\n\n");
        text.push_str(&letters_table(&self.letters));
        if let Some(next) = self.next.filter(|_| shown < self.total) {
            let total = grouped(self.total);
            text.push_str(&format!("\n{} of {total}; the next ones by --after {next}.", grouped(shown)));
        }
        text
    }
}

pub fn counts_table(counts: &[Count]) -> String {
    let mut table = output::table(["consumer", "reason", "count", "oldest", "newest"]);
    for group in counts {
        table.add_row([
            Cell::new(&group.consumer),
            Cell::new(output::plain(&group.reason, 60)),
            Cell::new(grouped(group.count)).set_alignment(CellAlignment::Right),
            Cell::new(instant(group.oldest_at)),
            Cell::new(instant(group.newest_at)),
        ]);
    }
    table.to_string()
}

fn letters_table(letters: &[Letter]) -> String {
    let mut table = output::table(["event", "consumer", "reason", "fingerprint", "attempt", "died", "read at"]);
    for letter in letters {
        table.add_row([
            Cell::new(letter.event_id),
            Cell::new(&letter.consumer),
            Cell::new(output::plain(&letter.reason, 60)),
            Cell::new(&letter.fingerprint),
            Cell::new(letter.attempt).set_alignment(CellAlignment::Right),
            Cell::new(instant(letter.died_at)),
            Cell::new(format!("{}[{}]@{}", letter.topic, letter.partition, letter.offset)),
        ]);
    }
    table.to_string()
}
