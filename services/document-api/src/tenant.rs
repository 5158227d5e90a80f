use axum::{extract::FromRequestParts, http::request::Parts};

use crate::{
    App,
    problem::{Kind, Problem},
};

const HEADER: &str = "x-tenant-id";

/// Whose data a request may see. Part of blob keys, so nothing but a harmless name gets here.
#[derive(Debug, Clone)]
pub(crate) struct Tenant(String);

impl Tenant {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `^[a-z0-9][a-z0-9-]{0,62}$`
pub(crate) fn is_valid(name: &str) -> bool {
    let bytes = name.as_bytes();
    (1..=63).contains(&bytes.len())
        && !name.starts_with('-')
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

impl FromRequestParts<App> for Tenant {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let mut given = parts.headers.get_all(HEADER).iter();
        match (given.next(), given.next()) {
            (None, _) => Ok(Self(app.api.default_tenant.clone())),
            (Some(value), None) => match value.to_str() {
                Ok(name) if is_valid(name) => Ok(Self(name.to_owned())),
                _ => Err(Problem::of(Kind::InvalidTenant)),
            },
            (Some(_), Some(_)) => Err(Problem::of(Kind::InvalidTenant)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_valid;

    #[test]
    fn a_tenant_is_a_harmless_name() {
        for good in ["a", "0", "acme-bank", &"a".repeat(63)] {
            assert!(is_valid(good), "{good}");
        }
        for bad in ["", "-a", "Acme", "a/b", "..", "a.b", "a_b", "ä", "a b", "a\u{0}", &"a".repeat(64)] {
            assert!(!is_valid(bad), "{bad}");
        }
    }
}
