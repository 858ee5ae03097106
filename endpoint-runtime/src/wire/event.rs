//! What a decoder is told to do with messages, and what it says came.

use crate::wire::close::CloseReason;
use crate::wire::message::Binary;
use crate::wire::text::Text;

/// What becomes of the messages of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    /// Put together, up to so many octets.
    Whole { limit: usize },
    /// Handed on as it comes.
    Parts,
    /// Nobody wants it: checked and dropped.
    Discard,
}

/// How the messages of a connection are taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) text: Take,
    pub(crate) binary: Take,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<'i> {
    Text {
        text: Chars<'i>,
        last: bool,
    },
    Binary {
        data: Octets<'i>,
        last: bool,
    },
    Ping(Binary),
    Pong(Binary),
    Close(CloseReason),
    /// A message of a kind that is discarded came to its end.
    Unwanted {
        text: bool,
    },
}

/// Text, in the input or put together.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Chars<'i> {
    Borrowed(&'i str),
    Owned(Text),
}

/// Octets, in the input or put together.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Octets<'i> {
    Borrowed(&'i [u8]),
    Owned(Binary),
}

impl Event<'_> {
    /// The same, out of the input.
    pub(crate) fn into_owned(self) -> Event<'static> {
        match self {
            Self::Text { text, last } => Event::Text { text: Chars::Owned(text.into_text()), last },
            Self::Binary { data, last } => Event::Binary { data: Octets::Owned(data.into_binary()), last },
            Self::Ping(data) => Event::Ping(data),
            Self::Pong(data) => Event::Pong(data),
            Self::Close(reason) => Event::Close(reason),
            Self::Unwanted { text } => Event::Unwanted { text },
        }
    }
}

impl Chars<'_> {
    #[inline]
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Owned(text) => text,
        }
    }

    #[inline]
    pub(crate) fn into_text(self) -> Text {
        match self {
            Self::Borrowed(text) => text.into(),
            Self::Owned(text) => text,
        }
    }
}

impl Octets<'_> {
    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Borrowed(data) => data,
            Self::Owned(data) => data,
        }
    }

    #[inline]
    pub(crate) fn into_binary(self) -> Binary {
        match self {
            Self::Borrowed(data) => data.into(),
            Self::Owned(data) => data,
        }
    }
}
