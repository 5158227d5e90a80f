//! Small secrets of a document, encrypted before they are stored.
//!
//! XChaCha20-Poly1305: its nonces are long enough to be drawn at random, whatever number of processes draws them. What is sealed
//! names its key, so that keys can be replaced; whose it is, tenant and document, is authenticated with it, so that nobody can
//! put one document's secret under another's name.

use std::{fmt, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Generate, Payload},
};

/// Names the form of what follows it.
const MAGIC: &[u8] = b"docfleet sealed 1\n";
const NONCE_BYTES: usize = 24;
const ID_BYTES_MAX: usize = 32;
/// A few keys of a line each.
const FILE_BYTES_MAX: u64 = 64 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the key file can not be read: {0}")]
    File(#[from] std::io::Error),
    /// Without what stands in the line.
    #[error("line {line} of the key file is not `ID KEY`: an id of a-z, 0-9 and - and 32 bytes in base64")]
    Line { line: usize },
    #[error("the key file has no key")]
    NoKey,
    #[error("two keys have the same id")]
    SameId,
    #[error("it is not sealed, or of a newer form")]
    NotSealed,
    #[error("the key {0} is not in the key file")]
    UnknownKey(String),
    #[error("it was changed, or belongs to another document")]
    Forged,
    #[error("the system gives no random bytes")]
    Random,
}

/// The keys of a file. [`fmt::Debug`] shows none of them.
pub struct Keys {
    /// The first one seals; each opens what it sealed.
    keys: Vec<(String, XChaCha20Poly1305)>,
}

/// Whose a secret is.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// What kind of secret, such as `mrz`.
    pub purpose: &'a str,
    pub tenant: &'a str,
    pub document_id: &'a str,
}

impl Owner<'_> {
    /// Lengths keep the fields apart.
    fn authenticated(&self, head: &[u8]) -> Vec<u8> {
        let mut bytes = head.to_vec();
        for field in [self.purpose, self.tenant, self.document_id] {
            bytes.extend((field.len() as u64).to_be_bytes());
            bytes.extend(field.as_bytes());
        }
        bytes
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|(id, _)| id)).finish()
    }
}

impl Keys {
    /// From a file with a key a line: `ID BASE64`; empty lines and such that begin with `#` are passed over.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Line`], [`Error::NoKey`], [`Error::SameId`].
    pub fn read(file: &Path) -> Result<Self, Error> {
        use std::io::Read;
        let mut text = String::new();
        std::fs::File::open(file)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self, Error> {
        let mut keys: Vec<(String, XChaCha20Poly1305)> = Vec::new();
        for (index, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (id, cipher) = key_of(line).ok_or(Error::Line { line: index + 1 })?;
            if keys.iter().any(|(known, _)| *known == id) {
                return Err(Error::SameId);
            }
            keys.push((id, cipher));
        }
        if keys.is_empty() { Err(Error::NoKey) } else { Ok(Self { keys }) }
    }

    /// # Errors
    /// [`Error::Random`].
    pub fn seal(&self, owner: Owner<'_>, secret: &[u8]) -> Result<Vec<u8>, Error> {
        let (id, cipher) = self.keys.first().ok_or(Error::NoKey)?;
        let nonce = XNonce::try_generate().map_err(|_| Error::Random)?;
        let mut sealed = [MAGIC, id.as_bytes(), b"\n"].concat();
        let payload = Payload { msg: secret, aad: &owner.authenticated(&sealed) };
        // It refuses only more bytes than there is memory for.
        let encrypted = cipher.encrypt(&nonce, payload).map_err(|_| Error::Random)?;
        sealed.extend(nonce);
        sealed.extend(encrypted);
        Ok(sealed)
    }

    /// # Errors
    /// [`Error::NotSealed`], [`Error::UnknownKey`], [`Error::Forged`].
    pub fn open(&self, owner: Owner<'_>, sealed: &[u8]) -> Result<Vec<u8>, Error> {
        let rest = sealed.strip_prefix(MAGIC).ok_or(Error::NotSealed)?;
        let end = rest.iter().take(ID_BYTES_MAX + 1).position(|byte| *byte == b'\n').ok_or(Error::NotSealed)?;
        let (id, rest) = rest.split_at(end);
        let id = std::str::from_utf8(id).ok().filter(|id| is_id(id)).ok_or(Error::NotSealed)?;
        let (nonce, encrypted) =
            rest.get(1..).and_then(|rest| rest.split_first_chunk::<NONCE_BYTES>()).ok_or(Error::NotSealed)?;
        let (_, cipher) =
            self.keys.iter().find(|(known, _)| known == id).ok_or_else(|| Error::UnknownKey(id.to_owned()))?;
        let head = sealed.get(..MAGIC.len() + end + 1).ok_or(Error::NotSealed)?;
        let payload = Payload { msg: encrypted, aad: &owner.authenticated(head) };
        cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| Error::Forged)
    }
}

fn key_of(line: &str) -> Option<(String, XChaCha20Poly1305)> {
    let (id, key) = line.split_once(char::is_whitespace)?;
    let key = STANDARD.decode(key.trim()).ok()?;
    let cipher = XChaCha20Poly1305::new_from_slice(&key).ok()?;
    is_id(id).then(|| (id.to_owned(), cipher))
}

fn is_id(id: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const OWNER: Owner<'static> = Owner { purpose: "mrz", tenant: "acme", document_id: "d" };

    fn key(byte: u8) -> String {
        STANDARD.encode([byte; 32])
    }

    fn keys(text: &str) -> Keys {
        Keys::parse(text).unwrap()
    }

    #[test]
    fn what_is_sealed_is_opened_by_its_key_also_when_another_seals_by_now() {
        let old = keys(&format!("2026-a {}", key(1)));
        let sealed = old.seal(OWNER, b"L898902C3").unwrap();
        assert!(!sealed.windows(4).any(|window| window == b"L898"));
        assert_eq!(old.open(OWNER, &sealed).unwrap(), b"L898902C3");
        assert_ne!(old.seal(OWNER, b"L898902C3").unwrap(), sealed, "another nonce each time");
        let rotated = keys(&format!("# newest first\n2026-b {}\n\n2026-a {}\n", key(2), key(1)));
        assert_eq!(rotated.open(OWNER, &sealed).unwrap(), b"L898902C3");
        let by_new = rotated.seal(OWNER, b"x").unwrap();
        assert!(matches!(old.open(OWNER, &by_new), Err(Error::UnknownKey(id)) if id == "2026-b"));
    }

    #[test]
    fn nobody_puts_one_documents_secret_under_anothers_name() {
        let keys = keys(&format!("a {}", key(1)));
        let sealed = keys.seal(OWNER, b"secret").unwrap();
        for other in [
            Owner { tenant: "acm", document_id: "ed", ..OWNER },
            Owner { document_id: "e", ..OWNER },
            Owner { purpose: "other", ..OWNER },
        ] {
            assert!(matches!(keys.open(other, &sealed), Err(Error::Forged)), "{other:?}");
        }
    }

    #[test]
    fn a_file_that_is_not_of_keys_is_refused_without_its_words() {
        for wrong in ["a", "a AAAA", "A/B x", "ä x", &format!("{} {}", "a".repeat(33), key(1)), "a  !"] {
            let error = Keys::parse(&format!("# x\n{wrong}")).unwrap_err();
            assert!(matches!(error, Error::Line { line: 2 }), "{wrong}: {error}");
        }
        assert!(matches!(Keys::parse("\n# only\n"), Err(Error::NoKey)));
        assert!(matches!(Keys::parse(&format!("a {}\na {}", key(1), key(2))), Err(Error::SameId)));
        assert!(matches!(Keys::read(Path::new("/nowhere/at/all")), Err(Error::File(_))));
        assert_eq!(format!("{:?}", keys(&format!("a {}", key(1)))), r#"["a"]"#);
    }

    proptest! {
        #[test]
        fn whatever_was_changed_is_not_opened(secret: Vec<u8>, at: prop::sample::Index, to: u8) {
            let keys = keys(&format!("a {}", key(1)));
            let mut sealed = keys.seal(OWNER, &secret).unwrap();
            prop_assert_eq!(&keys.open(OWNER, &sealed).unwrap(), &secret);
            let at = at.index(sealed.len());
            prop_assume!(sealed[at] != to);
            sealed[at] = to;
            prop_assert!(keys.open(OWNER, &sealed).is_err());
            sealed.truncate(at);
            prop_assert!(keys.open(OWNER, &sealed).is_err());
            keys.open(OWNER, &secret).ok();
        }
    }
}
