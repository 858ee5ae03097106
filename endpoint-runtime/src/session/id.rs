//! The identity of a session.

use std::error::Error as StdError;
use std::fmt;
use std::str::FromStr;

/// The identity of a session: 128 random bits, unique and unguessable.
///
/// As text it has 32 hexadecimal digits: `Display` writes them, `FromStr` reads them. With a feature that brings serde
/// (`json`, `msgpack`, `cbor`) it is serialized as this text.
///
/// ```
/// use endpoint_runtime::SessionId;
///
/// let id: SessionId = "00c0ffee00c0ffee00c0ffee00c0ffee".parse()?;
/// assert_eq!(id.to_string(), "00c0ffee00c0ffee00c0ffee00c0ffee");
/// # Ok::<(), endpoint_runtime::InvalidSessionId>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId([u64; 2]);

/// Hexadecimal digits of half of an ID.
const HALF: usize = 16;

impl SessionId {
    pub(super) fn random() -> Self {
        // the thread's generator is cryptographic, seeded by the operating system
        Self([rand::random(), rand::random()])
    }

    pub(crate) fn from_bits(bits: u128) -> Self {
        // the upper half, then the lower
        Self([(bits >> 64) as u64, bits as u64])
    }

    pub(crate) fn to_bits(self) -> u128 {
        u128::from(self.0[0]) << 64 | u128::from(self.0[1])
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.0[0], self.0[1])
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not a [`SessionId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidSessionId;

impl fmt::Display for InvalidSessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a session ID has 32 hexadecimal digits")
    }
}

impl StdError for InvalidSessionId {}

impl FromStr for SessionId {
    type Err = InvalidSessionId;

    fn from_str(text: &str) -> Result<Self, InvalidSessionId> {
        // `from_str_radix` would allow a sign
        if text.len() != 2 * HALF || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidSessionId);
        }
        let half = |digits| u64::from_str_radix(digits, 16).map_err(|_| InvalidSessionId);
        Ok(Self([half(&text[..HALF])?, half(&text[HALF..])?]))
    }
}

#[cfg(any(feature = "json", feature = "msgpack", feature = "cbor"))]
impl serde::Serialize for SessionId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(any(feature = "json", feature = "msgpack", feature = "cbor"))]
impl<'de> serde::Deserialize<'de> for SessionId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits;
        impl serde::de::Visitor<'_> for Digits {
            type Value = SessionId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&InvalidSessionId, f)
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<SessionId, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Digits)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn id_is_read_back_from_its_text(halves: [u64; 2]) {
            let id = SessionId(halves);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            prop_assert_eq!(id.to_string().to_uppercase().parse(), Ok(id));
        }

        #[test]
        fn no_other_text_is_an_id(text in "\\PC{0,40}") {
            let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            prop_assert_eq!(text.parse::<SessionId>().is_ok(), digits);
        }
    }

    #[test]
    fn a_sign_is_not_a_digit() {
        assert_eq!("+0c0ffee00c0ffee-0c0ffee00c0ffee".parse::<SessionId>(), Err(InvalidSessionId));
        assert_eq!("é0c0ffee00c0ffee00c0ffee00c0ffe".parse::<SessionId>(), Err(InvalidSessionId));
    }
}
