use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use sha2::Sha256;

const PREFIX: &str = "whsec_";
/// As Standard Webhooks has it.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The secret of one subscription, ready to sign.
pub struct SigningKey(SecretSlice<u8>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the secret is not `whsec_` and base64 of 24 to 64 bytes")]
pub struct InvalidSecret;

impl SigningKey {
    pub fn parse(secret: &SecretString) -> Result<Self, InvalidSecret> {
        let text = secret.expose_secret();
        let key = STANDARD.decode(text.strip_prefix(PREFIX).unwrap_or(text)).map_err(|_| InvalidSecret)?;
        let key = SecretSlice::from(key);
        if KEY_BYTES.contains(&key.expose_secret().len()) { Ok(Self(key)) } else { Err(InvalidSecret) }
    }

    /// The value of `webhook-signature`: `v1,` and base64 of HMAC-SHA256 over `id.timestamp.body`. `timestamp` is Unix
    /// time in seconds.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> Result<String, InvalidSecret> {
        // HMAC takes keys of any length; the error is only in the signature of the trait.
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose_secret()).map_err(|_| InvalidSecret)?;
        mac.update(id.as_bytes());
        mac.update(format!(".{timestamp}.").as_bytes());
        mac.update(body);
        Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey([redacted])")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The example that the specification and its libraries publish.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;

    fn key(secret: &str) -> Result<SigningKey, InvalidSecret> {
        SigningKey::parse(&SecretString::from(secret))
    }

    #[test]
    fn the_published_example_has_the_published_signature() {
        let signature = key(SECRET).and_then(|key| key.sign(ID, 1_614_265_330, BODY));
        assert_eq!(signature.as_deref(), Ok("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
    }

    #[test]
    fn a_secret_that_is_no_key_is_refused() {
        for bad in
            ["", "whsec_", "whsec_!!!", "whsec_c2hvcnQ=", "hunter2", &format!("whsec_{}", STANDARD.encode([7; 65]))]
        {
            assert_eq!(key(bad).map(|_| ()), Err(InvalidSecret), "{bad}");
        }
    }

    #[test]
    fn debug_output_does_not_show_the_key() {
        assert_eq!(format!("{:?}", key(SECRET)), "Ok(SigningKey([redacted]))");
    }

    proptest! {
        #[test]
        fn id_time_and_body_are_all_signed(
            secret in proptest::collection::vec(any::<u8>(), 24..=64), id in "[a-z0-9-]{1,40}", at in 0..=i64::MAX / 2,
            body in proptest::collection::vec(any::<u8>(), 0..300), flip in any::<prop::sample::Index>(),
        ) {
            let key = key(&format!("whsec_{}", STANDARD.encode(secret))).unwrap();
            let signed = key.sign(&id, at, &body).unwrap();
            prop_assert_eq!(&key.sign(&id, at, &body).unwrap(), &signed);
            prop_assert_ne!(&key.sign(&format!("{id}x"), at, &body).unwrap(), &signed);
            prop_assert_ne!(&key.sign(&id, at + 1, &body).unwrap(), &signed);
            let mut other = body;
            if other.is_empty() { other.push(0) } else { let at = flip.index(other.len()); other[at] ^= 1 }
            prop_assert_ne!(&key.sign(&id, at, &other).unwrap(), &signed);
        }
    }
}
