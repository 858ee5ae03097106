//! The text message, and the only `unsafe` code: validated bytes become `str` again.
//!
//! Text is validated while it is received, because a bad byte must fail the connection at once (RFC 6455 §8.1). The
//! standard library has no safe way to mark bytes as validated; validating them again would cost each message a second
//! pass. The invariant: a `Text` holds UTF-8. It is made from `str`, from `String`, and, only by the decoder, from
//! bytes that the decoder has just validated.
#![allow(unsafe_code)]

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;

use crate::binary::{Binary, INLINE};

/// A text message: UTF-8, cheap to clone, and without an allocation up to 38 bytes.
///
/// Dereferences to `str`. Converts from and into `String` without copying where it owns a larger buffer.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Text(Binary);

impl Text {
    /// An empty message.
    pub const fn new() -> Self {
        Self(Binary::new())
    }

    /// The text.
    #[inline]
    pub fn as_str(&self) -> &str {
        str_of(&self.0)
    }

    /// The inline storage and the length in bytes, if the text is stored inline. For `endpoint-runtime`, as
    /// [`Binary::inline`].
    #[inline]
    pub fn inline(&self) -> Option<(&[u8; INLINE], usize)> {
        self.0.inline()
    }

    /// Wraps bytes that have passed validation. The connection validates while it receives, so that a bad byte fails
    /// the message at once and no byte is validated twice.
    #[inline]
    pub(crate) fn from_validated(data: Binary) -> Self {
        debug_assert!(std::str::from_utf8(&data).is_ok());
        Self(data)
    }
}

impl Deref for Text {
    type Target = str;
    #[inline]
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        self
    }
}

impl From<&str> for Text {
    #[inline]
    fn from(source: &str) -> Self {
        Self(Binary::from(source.as_bytes()))
    }
}

impl From<&String> for Text {
    fn from(source: &String) -> Self {
        Self::from(source.as_str())
    }
}

impl From<String> for Text {
    fn from(source: String) -> Self {
        Self(Binary::from(source.into_bytes()))
    }
}

impl From<&Text> for Text {
    fn from(source: &Text) -> Self {
        source.clone()
    }
}

impl From<Cow<'_, str>> for Text {
    fn from(source: Cow<'_, str>) -> Self {
        match source {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        }
    }
}

impl From<Box<str>> for Text {
    fn from(source: Box<str>) -> Self {
        String::from(source).into()
    }
}

/// Shares a larger text, without copying it.
impl From<Arc<str>> for Text {
    fn from(source: Arc<str>) -> Self {
        Self(Arc::<[u8]>::from(source).into())
    }
}

impl From<Text> for String {
    fn from(source: Text) -> Self {
        string_of(source.0.into())
    }
}

impl From<Text> for Binary {
    fn from(source: Text) -> Self {
        source.0
    }
}

impl From<Text> for Bytes {
    fn from(source: Text) -> Self {
        source.0.into()
    }
}

impl TryFrom<Vec<u8>> for Text {
    type Error = std::string::FromUtf8Error;
    fn try_from(source: Vec<u8>) -> Result<Self, Self::Error> {
        String::from_utf8(source).map(Self::from)
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        **self == *other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        **self == **other
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// Short text that is pure ASCII; `None` if it needs the full check. It checks a word at a time: for the usual small
/// message that takes a quarter of the instructions of the standard library's check.
#[inline]
pub(crate) fn ascii(data: &[u8]) -> Option<&str> {
    let word = |at: usize| match data.get(at..at + 8).map(<[u8; 8]>::try_from) {
        Some(Ok(word)) => u64::from_ne_bytes(word),
        _ => u64::MAX,
    };
    let all = match data.len() {
        0..8 => data.iter().fold(0, |all, byte| all | u64::from(*byte)),
        // the last word overlaps the one before it
        len => (0..len / 8).fold(word(len - 8), |all, index| all | word(index * 8)),
    };
    // SAFETY: no byte has its highest bit set, so each is a character by itself.
    (all & 0x8080_8080_8080_8080 == 0).then(|| unsafe { std::str::from_utf8_unchecked(data) })
}

fn str_of(data: &[u8]) -> &str {
    debug_assert!(std::str::from_utf8(data).is_ok());
    // SAFETY: only called on the content of a `Text`, which is UTF-8 by this file's invariant.
    unsafe { std::str::from_utf8_unchecked(data) }
}

fn string_of(data: Vec<u8>) -> String {
    debug_assert!(std::str::from_utf8(&data).is_ok());
    // SAFETY: only called on the content of a `Text`, as for `str_of`.
    unsafe { String::from_utf8_unchecked(data) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_read_back_what_went_in() {
        for len in [0, 1, 12, 13, 38, 39, 1000] {
            let text = "言".repeat(len);
            assert_eq!(&*Text::from(text.as_str()), text);
            assert_eq!(String::from(Text::from(text.clone())), text);
        }
    }

    #[test]
    fn a_large_string_is_not_copied_on_its_way_through() {
        let text = "x".repeat(1000);
        let place = text.as_ptr();
        let back = String::from(Text::from(text));
        assert_eq!(back.as_ptr(), place);
    }

    #[test]
    fn ascii_is_told_from_the_rest_at_every_length_and_place() {
        for len in 0..40 {
            assert_eq!(ascii(&vec![0x7f; len]), Some("\x7f".repeat(len).as_str()));
            for place in 0..len {
                let mut data = vec![b'a'; len];
                data[place] = 0x80;
                assert_eq!(ascii(&data), None);
            }
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_refused() {
        assert!(Text::try_from(vec![0xff]).is_err());
    }
}
