use std::fmt;

/// A table of the view's shape. Names are ours, so they need no quoting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table(&'static str);

impl Table {
    /// What everybody reads.
    pub const LIVE: Self = Self("views.document_view");
    /// Beside it: a new view before the switch, the old one after.
    pub const STANDBY: Self = Self("views.document_view_standby");
    /// Temporary: whole documents are folded here and copied as finished rows.
    pub(crate) const FOLDED: Self = Self("pg_temp.document_view_folded");
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}
