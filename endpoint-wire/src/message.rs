//! Data messages and pongs. [`Binary`] is in a separate file, because [`Text`] contains one.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

pub use crate::binary::{Binary, INLINE};
use crate::text::Text;

/// A received pong with its application data, at most 125 bytes (RFC 6455 §5.5.3; Jakarta's `PongMessage`).
///
/// `#[on_message]` receives pongs that answer a ping you sent, and unsolicited ones. It does not receive answers to the
/// connection's own pings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pong(Binary);

impl Pong {
    /// A pong with this application data.
    pub fn new(data: Binary) -> Self {
        Self(data)
    }

    /// The application data: in an answer, the data of the ping.
    pub fn data(&self) -> &[u8] {
        &self.0
    }
}

/// The kind of a data message: the opcode of its first frame (RFC 6455 §5.6).
///
/// Exhaustive, because the RFC defines no third: the opcodes 3 to 7 are reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataKind {
    /// Text: UTF-8.
    Text,
    /// Binary data.
    Binary,
}

/// A whole data message: the result of encoding an object, and the input of decoding one.
///
/// Exhaustive, as [`DataKind`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Text.
    Text(Text),
    /// Binary data.
    Binary(Binary),
}

macro_rules! message_from {
    ($($variant:ident: $($type:ty)*;)*) => {$($(
        impl From<$type> for Message {
            #[inline]
            fn from(source: $type) -> Self {
                Self::$variant(source.into())
            }
        }
    )*)*};
}
message_from! {
    Text: Text String &str &String &Text Cow<'_, str> Arc<str> Box<str>;
    Binary: Binary Bytes Vec<u8> &[u8] &Vec<u8> &Binary &Bytes Cow<'_, [u8]> Arc<[u8]> Box<[u8]>;
}

impl<const N: usize> From<[u8; N]> for Message {
    fn from(source: [u8; N]) -> Self {
        Self::Binary(source.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_stay_small() {
        assert_eq!(size_of::<Text>(), 40);
        assert!(size_of::<Option<Message>>() <= 48);
    }
}
