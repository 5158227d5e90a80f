//! The checks, by the walk they belong to. They read the temporary relations that [`super::scope`] makes: `audit_tail`
//! (outbox rows that are not proven), `audit_settled` (inbox rows that are not), `audit_scope` (one row).

mod events;
mod settlements;
mod topics;

pub use events::EVENTS;
pub use settlements::{PARKED, SETTLEMENTS};
pub use topics::TOPICS;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::check::{Check, OFFENDERS_MAX};

    fn all() -> impl Iterator<Item = &'static Check> {
        EVENTS.iter().chain(SETTLEMENTS).chain(PARKED).chain(TOPICS)
    }

    #[test]
    fn checks_have_distinct_names_and_name_as_many_offenders_as_promised() {
        let names: std::collections::BTreeSet<&str> = all().map(|check| check.name).collect();
        assert_eq!(names.len(), all().count());
        assert!(all().all(|check| check.sql.ends_with(&format!("LIMIT {OFFENDERS_MAX}"))));
    }

    #[test]
    fn every_property_that_sql_can_check_has_a_check() {
        for property in ["L1", "L2", "L3", "L4", "L6", "L7", "L8"] {
            assert!(all().any(|check| check.property == property), "{property}");
        }
    }
}
