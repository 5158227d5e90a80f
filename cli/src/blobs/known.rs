//! Whether anybody knows an object of the store.

use std::collections::HashSet;

use docfleet_blobs::{Listed, content_hash, layout_key, mrz_key, searchable_key, text_key};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Error;

/// What one of our keys names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Kind {
    Content {
        tenant: String,
        sha256: Vec<u8>,
    },
    /// Made of a document: a text, a layout, …
    OfDocument {
        tenant: String,
        document: Uuid,
    },
}

impl Kind {
    pub fn tenant(&self) -> &str {
        match self {
            Self::Content { tenant, .. } | Self::OfDocument { tenant, .. } => tenant,
        }
    }

    pub fn document(&self) -> Option<Uuid> {
        match self {
            Self::Content { .. } => None,
            Self::OfDocument { document, .. } => Some(*document),
        }
    }
}

/// None for a key that we never give.
pub fn kind_of(key: &str) -> Option<Kind> {
    let (tenant, _) = key.split_once('/')?;
    if let Some(hash) = content_hash(tenant, key) {
        return Some(Kind::Content { tenant: tenant.to_owned(), sha256: bytes_of(hash)? });
    }
    let name = key.rsplit('/').next()?;
    let document = name.split_once('.').map_or(name, |(stem, _)| stem).parse().ok()?;
    [text_key, layout_key, searchable_key, mrz_key]
        .iter()
        .any(|key_of| key_of(tenant, document) == key)
        .then(|| Kind::OfDocument { tenant: tenant.to_owned(), document })
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    digits.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}

/// Those of `objects` that no document of this region has, and those that are none of ours.
pub async fn strangers<'o>(
    connection: &mut PgConnection,
    region: &str,
    objects: &[&'o Listed],
) -> Result<Vec<&'o Listed>, Error> {
    let kinds: Vec<Kind> = objects.iter().filter_map(|object| kind_of(&object.key)).collect();
    let (mut tenants, mut hashes, mut documents) = (Vec::new(), Vec::new(), Vec::new());
    for kind in &kinds {
        match kind {
            Kind::Content { tenant, sha256 } => {
                tenants.push(tenant.as_str());
                hashes.push(sha256.as_slice());
            }
            Kind::OfDocument { document, .. } => documents.push(*document),
        }
    }
    let contents: Vec<(String, Vec<u8>)> = sqlx::query_as(
        r"SELECT DISTINCT d.tenant, d.sha256
            FROM UNNEST($2::text[], $3::bytea[]) AS u (tenant, sha256)
            JOIN documents.documents d ON d.region = $1 AND d.tenant = u.tenant AND d.sha256 = u.sha256",
    )
    .bind(region)
    .bind(tenants)
    .bind(hashes)
    .fetch_all(&mut *connection)
    .await?;
    let living: Vec<(String, Uuid)> =
        sqlx::query_as("SELECT tenant, id FROM documents.documents WHERE region = $1 AND id = ANY ($2)")
            .bind(region)
            .bind(documents)
            .fetch_all(connection)
            .await?;
    let contents = contents.into_iter().map(|(tenant, sha256)| Kind::Content { tenant, sha256 });
    let living = living.into_iter().map(|(tenant, document)| Kind::OfDocument { tenant, document });
    let known: HashSet<Kind> = contents.chain(living).collect();
    let is_known = |object: &&Listed| kind_of(&object.key).is_some_and(|kind| known.contains(&kind));
    Ok(objects.iter().filter(|object| !is_known(object)).copied().collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn our_keys_are_told_from_all_others() {
        let document = Uuid::from_u128(7);
        let content = format!("acme/contents/{}", "ab".repeat(32));
        let kind = Kind::Content { tenant: "acme".into(), sha256: vec![0xab; 32] };
        assert_eq!(kind_of(&content), Some(kind));
        for key in [text_key("acme", document), layout_key("acme", document), mrz_key("acme", document)] {
            assert_eq!(kind_of(&key), Some(Kind::OfDocument { tenant: "acme".into(), document }), "{key}");
        }
        let foreign =
            ["", "acme", "acme/contents/ab", "acme/other/x", "acme/texts/x.txt", "backup.tar"].map(str::to_owned);
        for key in foreign.into_iter().chain([format!("{content}.bak"), format!("acme/texts/{document}.pdf")]) {
            assert_eq!(kind_of(&key), None, "{key}");
        }
    }
}
