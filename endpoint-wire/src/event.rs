//! The decoder's options and its events.

use crate::binary::Binary;
use crate::close::CloseReason;
use crate::message::DataKind;
use crate::text::Text;

/// How the messages of one kind are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery {
    /// Assembled, up to `limit` bytes.
    Whole {
        /// Maximum size of a message, in bytes.
        limit: usize,
    },
    /// Delivered in parts as the bytes arrive.
    Parts,
    /// Checked and dropped.
    Discard,
}

/// How the messages of a connection are decoded. The options may change between two calls of the decoder; a message
/// keeps the delivery it began with.
#[derive(Clone, Copy, Debug)]
pub struct DecodeOptions {
    /// Text messages.
    pub text: Delivery,
    /// Binary messages.
    pub binary: Delivery,
}

/// A decoded message, part or control frame.
///
/// Exhaustive on purpose: a new event must not compile until each `match` handles it.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'i> {
    /// Text: a whole message, or a part of one.
    Text {
        /// Valid UTF-8; a part ends between characters.
        text: Utf8Chunk<'i>,
        /// Whether this is the end of the message.
        last: bool,
    },
    /// Binary data: a whole message, or a part of one.
    Binary {
        /// The bytes.
        data: ByteChunk<'i>,
        /// Whether this is the end of the message.
        last: bool,
    },
    /// A ping (RFC 6455 §5.5.2), with its payload of at most 125 bytes.
    Ping(Binary),
    /// A pong (RFC 6455 §5.5.3), with its payload of at most 125 bytes.
    Pong(Binary),
    /// A close frame (RFC 6455 §5.5.1): 1005 if it carries no code.
    Close(CloseReason),
    /// The end of a message whose kind is discarded.
    Discarded {
        /// The kind of the message.
        kind: DataKind,
    },
}

/// Text, borrowed from the input or assembled. Exhaustive, like [`Cow`](std::borrow::Cow).
#[derive(Debug, PartialEq, Eq)]
pub enum Utf8Chunk<'i> {
    /// Borrowed from the input.
    Borrowed(&'i str),
    /// Assembled.
    Owned(Text),
}

/// Bytes, borrowed from the input or assembled. Exhaustive, like [`Cow`](std::borrow::Cow).
#[derive(Debug, PartialEq, Eq)]
pub enum ByteChunk<'i> {
    /// Borrowed from the input.
    Borrowed(&'i [u8]),
    /// Assembled.
    Owned(Binary),
}

impl Event<'_> {
    /// Copies the event out of the input.
    pub fn into_owned(self) -> Event<'static> {
        match self {
            Self::Text { text, last } => Event::Text { text: Utf8Chunk::Owned(text.into_text()), last },
            Self::Binary { data, last } => Event::Binary { data: ByteChunk::Owned(data.into_binary()), last },
            Self::Ping(data) => Event::Ping(data),
            Self::Pong(data) => Event::Pong(data),
            Self::Close(reason) => Event::Close(reason),
            Self::Discarded { kind } => Event::Discarded { kind },
        }
    }
}

impl Utf8Chunk<'_> {
    /// The text.
    #[inline]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Owned(text) => text,
        }
    }

    /// The text, copied out of the input if borrowed.
    #[inline]
    pub fn into_text(self) -> Text {
        match self {
            Self::Borrowed(text) => text.into(),
            Self::Owned(text) => text,
        }
    }
}

impl ByteChunk<'_> {
    /// The bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Borrowed(data) => data,
            Self::Owned(data) => data,
        }
    }

    /// The bytes, copied out of the input if borrowed.
    #[inline]
    pub fn into_binary(self) -> Binary {
        match self {
            Self::Borrowed(data) => data.into(),
            Self::Owned(data) => data,
        }
    }
}
