use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// A message older or newer than this may be a replay (Standard Webhooks: five minutes).
const TOLERANCE_SECONDS: i64 = 300;

/// A subscription's signing key. No `Debug`: it is never shown.
pub struct Secret(Vec<u8>);

#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    TooOldOrNew,
    NoMatch,
}

impl Refusal {
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::TooOldOrNew => "timestamp is off by more than 5 minutes",
            Self::NoMatch => "signature does not match",
        }
    }
}

/// What is signed, as it came over the wire.
pub struct Signed<'a> {
    pub id: &'a str,
    /// Unix seconds, as text.
    pub timestamp: &'a str,
    /// Space-separated `v1,<base64>`; several while a secret is being changed.
    pub signatures: &'a str,
    pub body: &'a [u8],
}

impl Secret {
    /// `whsec_` and base64.
    pub fn parse(text: &str) -> Option<Self> {
        STANDARD.decode(text.strip_prefix("whsec_")?).ok().filter(|key| !key.is_empty()).map(Self)
    }

    pub fn verify(&self, signed: &Signed<'_>, now_seconds: i64) -> Result<(), Refusal> {
        let at: i64 = signed.timestamp.parse().map_err(|_| Refusal::TooOldOrNew)?;
        if now_seconds.abs_diff(at) > TOLERANCE_SECONDS.unsigned_abs() {
            return Err(Refusal::TooOldOrNew);
        }
        let candidates = signed.signatures.split(' ').filter_map(|one| STANDARD.decode(one.strip_prefix("v1,")?).ok());
        for candidate in candidates {
            // Compares in constant time.
            if self.mac(signed).is_some_and(|mac| mac.verify_slice(&candidate).is_ok()) {
                return Ok(());
            }
        }
        Err(Refusal::NoMatch)
    }

    fn mac(&self, signed: &Signed<'_>) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        for part in [signed.id.as_bytes(), b".", signed.timestamp.as_bytes(), b".", signed.body] {
            mac.update(part);
        }
        Some(mac)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The example of the Standard Webhooks specification's reference libraries.
    const SIGNED: Signed<'static> = Signed {
        id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp: "1614265330",
        signatures: "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        body: br#"{"test": 2432232314}"#,
    };

    fn secret() -> Secret {
        Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap()
    }

    #[test]
    fn the_specification_s_example_verifies() {
        assert_eq!(secret().verify(&SIGNED, 1_614_265_330), Ok(()));
        let rotated = format!("v1,AAAA v2,xyz {}", SIGNED.signatures);
        assert_eq!(secret().verify(&Signed { signatures: &rotated, ..SIGNED }, 1_614_265_330), Ok(()));
    }

    #[test]
    fn a_changed_body_another_id_and_an_old_message_are_refused() {
        let now = 1_614_265_330;
        assert_eq!(secret().verify(&Signed { body: b"{}", ..SIGNED }, now), Err(Refusal::NoMatch));
        assert_eq!(secret().verify(&Signed { id: "msg_x", ..SIGNED }, now), Err(Refusal::NoMatch));
        assert_eq!(secret().verify(&Signed { signatures: "", ..SIGNED }, now), Err(Refusal::NoMatch));
        assert_eq!(secret().verify(&SIGNED, now + 301), Err(Refusal::TooOldOrNew));
        assert_eq!(secret().verify(&Signed { timestamp: "soon", ..SIGNED }, now), Err(Refusal::TooOldOrNew));
    }

    #[test]
    fn a_secret_without_its_prefix_or_content_is_none() {
        assert!(Secret::parse("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").is_none());
        assert!(Secret::parse("whsec_").is_none());
        assert!(Secret::parse("whsec_%%%").is_none());
    }
}
