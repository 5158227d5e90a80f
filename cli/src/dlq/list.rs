use comfy_table::{Cell, CellAlignment};
use serde::Serialize;
use sqlx::PgConnection;

use super::{
    filter::{Filter, from_dead_letters},
    letter::{Group, Letter, group_columns, letter_columns},
};
use crate::{
    Error,
    output::{self, Report, grouped, instant},
};

#[derive(Serialize)]
pub struct Letters {
    total: i64,
    groups: Vec<Group>,
    /// The newest first.
    letters: Vec<Letter>,
}

pub async fn groups(connection: &mut PgConnection, filter: &Filter) -> Result<Vec<Group>, Error> {
    let query = sqlx::query_as(concat!(
        "SELECT",
        group_columns!(),
        from_dead_letters!(),
        "GROUP BY 1, 2 ORDER BY 1, 3 DESC, 2"
    ));
    Ok(filter.bind(query).fetch_all(connection).await?)
}

pub async fn letters(connection: &mut PgConnection, filter: &Filter, limit: i64) -> Result<Vec<Letter>, Error> {
    let query =
        sqlx::query_as(concat!("SELECT", letter_columns!(), from_dead_letters!(), "ORDER BY o.id DESC LIMIT $5"));
    Ok(filter.bind(query).bind(limit).fetch_all(connection).await?)
}

pub async fn list(connection: &mut PgConnection, filter: &Filter, limit: i64) -> Result<Letters, Error> {
    let groups = groups(&mut *connection, filter).await?;
    let letters = letters(connection, filter, limit).await?;
    Ok(Letters { total: groups.iter().map(|group| group.count).sum(), groups, letters })
}

impl Report for Letters {
    fn text(&self) -> String {
        if self.total == 0 {
            return "No dead letters.".to_owned();
        }
        let shown = i64::try_from(self.letters.len()).unwrap_or(i64::MAX);
        let mut text = groups_table(&self.groups);
        text.push_str("\n\n");
        text.push_str(&letters_table(&self.letters));
        if shown < self.total {
            text.push_str(&format!("\nThe newest {} of {}; more by --limit.", grouped(shown), grouped(self.total)));
        }
        text
    }
}

pub fn groups_table(groups: &[Group]) -> String {
    let mut table = output::table(["consumer", "reason", "count", "oldest", "newest"]);
    for group in groups {
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

pub fn letters_table(letters: &[Letter]) -> String {
    let mut table = output::table(["event", "consumer", "reason", "type", "attempt", "died", "read at"]);
    for letter in letters {
        table.add_row([
            Cell::new(letter.event_id),
            Cell::new(&letter.consumer),
            Cell::new(output::plain(&letter.reason, 60)),
            Cell::new(output::plain(&letter.event_type, 40)),
            Cell::new(letter.attempt).set_alignment(CellAlignment::Right),
            Cell::new(instant(letter.died_at)),
            Cell::new(format!("{}[{}]@{}", letter.topic, letter.partition, letter.offset)),
        ]);
    }
    table.to_string()
}
