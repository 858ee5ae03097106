//! What a decoder is told to do with messages, and what it says came.

use crate::close::CloseReason;
use crate::message::Binary;
use crate::text::Text;

/// What becomes of the messages of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Put together, up to so many bytes.
    Whole {
        /// The most bytes.
        limit: usize,
    },
    /// Handed on as it comes.
    Parts,
    /// Nobody wants it: checked and dropped.
    Discard,
}

/// How the messages of a connection are taken.
#[derive(Clone, Copy, Debug)]
pub struct DecodeOptions {
    /// Messages of text.
    pub text: Delivery,
    /// Binary messages.
    pub binary: Delivery,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'i> {
    /// Text: a whole message, or a part of one.
    Text {
        /// Valid UTF-8; a part ends between characters.
        text: Utf8Chunk<'i>,
        /// Whether the message ends with it.
        last: bool,
    },
    /// Binary data: a whole message, or a part of one.
    Binary {
        /// The bytes.
        data: ByteChunk<'i>,
        /// Whether the message ends with it.
        last: bool,
    },
    /// A ping (RFC 6455 §5.5.2), with its payload.
    Ping(Binary),
    /// A pong (RFC 6455 §5.5.3), with its payload.
    Pong(Binary),
    /// A close frame (RFC 6455 §5.5.1).
    Close(CloseReason),
    /// A message of a kind that is discarded came to its end.
    Unwanted {
        /// Whether it was a message of text.
        text: bool,
    },
}

/// Text, in the input or put together.
#[derive(Debug, PartialEq, Eq)]
pub enum Utf8Chunk<'i> {
    /// In the input.
    Borrowed(&'i str),
    /// Put together.
    Owned(Text),
}

/// ByteChunk, in the input or put together.
#[derive(Debug, PartialEq, Eq)]
pub enum ByteChunk<'i> {
    /// In the input.
    Borrowed(&'i [u8]),
    /// Put together.
    Owned(Binary),
}

impl Event<'_> {
    /// The same, out of the input.
    pub fn into_owned(self) -> Event<'static> {
        match self {
            Self::Text { text, last } => Event::Text { text: Utf8Chunk::Owned(text.into_text()), last },
            Self::Binary { data, last } => Event::Binary { data: ByteChunk::Owned(data.into_binary()), last },
            Self::Ping(data) => Event::Ping(data),
            Self::Pong(data) => Event::Pong(data),
            Self::Close(reason) => Event::Close(reason),
            Self::Unwanted { text } => Event::Unwanted { text },
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

    /// The text, out of the input.
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

    /// The bytes, out of the input.
    #[inline]
    pub fn into_binary(self) -> Binary {
        match self {
            Self::Borrowed(data) => data.into(),
            Self::Owned(data) => data,
        }
    }
}
