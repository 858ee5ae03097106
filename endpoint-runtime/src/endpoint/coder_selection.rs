//! Who decodes a payload and who encodes a reply: one of the coders that the endpoint lists, or the type itself. Chosen
//! at compile time, where a handler is expanded.
//!
//! A list of coders is a type, `(A, (B, ()))`. A choice is a value without size that has a method only if the first of
//! its list can do what is asked; otherwise the compiler follows `Deref` to the choice among the rest. At the end stands
//! `()`, whose method is there for every type and asks for the type's own implementation. So generated code is the same
//! for every endpoint; for one that lists nothing it is the call of the type's own function; and what nobody can decode
//! does not compile.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use super::coders::{
    BinaryDecoder, BinaryEncoder, BinaryStreamDecoder, BinaryStreamEncoder, TextDecoder, TextEncoder,
    TextStreamDecoder, TextStreamEncoder,
};
use crate::codec::session_coders::Feed;
use crate::codec::{DecodeBinary, DecodeText, IntoReply};
use crate::error::Error;
use crate::session::Session;
use endpoint_wire::message::{Binary, Message};
use endpoint_wire::text::Text;

type Reply = Result<Option<Message>, Error>;

/// How a type decodes itself, if it does: the inherent constants, or else those of [`NotByItself`].
#[derive(Debug)]
pub struct ByItself<T>(PhantomData<T>);

impl<T: DecodeText> ByItself<T> {
    /// From text.
    pub const TEXT: Option<fn(Text) -> Result<T, Error>> = Some(T::decode_text);
}

impl<T: DecodeBinary> ByItself<T> {
    /// From binary data.
    pub const BINARY: Option<fn(Binary) -> Result<T, Error>> = Some(T::decode_binary);
}

/// The answer for a type that does not decode itself.
pub trait NotByItself<T> {
    /// None.
    const TEXT: Option<fn(Text) -> Result<T, Error>> = None;
    /// None.
    const BINARY: Option<fn(Binary) -> Result<T, Error>> = None;
}

impl<T> NotByItself<T> for ByItself<T> {}

/// The types of a list: `(A, (B, ()))`.
pub struct List<L>(PhantomData<fn() -> L>);

impl<L> List<L> {
    /// It.
    pub const NEW: Self = Self(PhantomData);
}

impl<L> fmt::Debug for List<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("List")
    }
}

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub struct $name<L, T>(PhantomData<fn() -> (L, PhantomData<T>)>);

        impl<L, T> $name<L, T> {
            /// The choice among all of a list.
            #[inline]
            pub const fn among(_: List<L>) -> Self {
                Self(PhantomData)
            }
        }

        impl<L, T> Clone for $name<L, T> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<L, T> Copy for $name<L, T> {}

        impl<L, T> fmt::Debug for $name<L, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    };
}

macro_rules! otherwise {
    ($from:ident => $to:ident, among the same) => {
        impl<C, L, T> Deref for $from<(C, L), T> {
            type Target = $to<(C, L), T>;
            fn deref(&self) -> &Self::Target {
                &$to(PhantomData)
            }
        }
    };
    ($from:ident => $to:ident, among the rest) => {
        impl<C, L, T> Deref for $from<(C, L), T> {
            type Target = $to<L, T>;
            fn deref(&self) -> &Self::Target {
                &$to(PhantomData)
            }
        }
    };
}

choice!(
    /// Who makes a `T` of text.
    DecoderOfText
);
choice!(
    /// As [`DecoderOfText`].
    DecoderOfTextStream
);
otherwise!(DecoderOfText => DecoderOfTextStream, among the same);
otherwise!(DecoderOfTextStream => DecoderOfText, among the rest);

impl<D: TextStreamDecoder<Object = T>, L, T: 'static> DecoderOfTextStream<(D, L), T> {
    /// What the message came to, which was decoded while it came.
    pub fn text(self, session: &Session, text: Text, _: Option<fn(Text) -> Result<T, Error>>) -> Result<T, Error> {
        session.coders().and_then(|coders| coders.take()).ok_or_else(|| nobody(text.into()))
    }

    /// As [`text`](Self::text).
    pub fn str(self, session: &Session, text: &str, _: Option<fn(Text) -> Result<T, Error>>) -> Result<T, Error> {
        self.text(session, text.into(), None)
    }

    /// It wants messages as they come.
    pub fn taking(self) -> AsItComes<T> {
        AsItComes(PhantomData)
    }
}

impl<D: TextDecoder<Object = T>, L, T: 'static> DecoderOfText<(D, L), T> {
    /// Decodes an owned message.
    pub fn text(
        self,
        session: &Session,
        text: Text,
        by_itself: Option<fn(Text) -> Result<T, Error>>,
    ) -> Result<T, Error> {
        let message = Message::Text(text);
        session.decoding(|| match (session.coders().and_then(|coders| coders.decode(&message)), by_itself, message) {
            (Some(decoded), _, _) => decoded,
            (None, Some(decode), Message::Text(text)) => decode(text),
            (None, _, message) => Err(nobody(message)),
        })
    }

    /// Decodes a borrowed message.
    pub fn str(
        self,
        session: &Session,
        text: &str,
        by_itself: Option<fn(Text) -> Result<T, Error>>,
    ) -> Result<T, Error> {
        self.text(session, text.into(), by_itself)
    }

    /// It wants whole messages.
    pub fn taking(self) -> Whole {
        Whole
    }
}

impl<T> DecoderOfText<(), T> {
    /// Decodes an owned message.
    #[inline]
    pub fn text(self, session: &Session, text: Text, _: Option<fn(Text) -> Result<T, Error>>) -> Result<T, Error>
    where
        T: DecodeText,
    {
        if T::IS_PLAIN { T::decode_text(text) } else { session.decoding(|| T::decode_text(text)) }
    }

    /// Decodes a borrowed message.
    #[inline]
    pub fn str(self, session: &Session, text: &str, _: Option<fn(Text) -> Result<T, Error>>) -> Result<T, Error>
    where
        T: DecodeText,
    {
        if T::IS_PLAIN { T::decode_str(text) } else { session.decoding(|| T::decode_str(text)) }
    }

    /// It wants whole messages.
    pub fn taking(self) -> Whole {
        Whole
    }
}

choice!(
    /// Who makes a `T` of binary data.
    DecoderOfBinary
);
choice!(
    /// As [`DecoderOfBinary`].
    DecoderOfBinaryStream
);
otherwise!(DecoderOfBinary => DecoderOfBinaryStream, among the same);
otherwise!(DecoderOfBinaryStream => DecoderOfBinary, among the rest);

impl<D: BinaryStreamDecoder<Object = T>, L, T: 'static> DecoderOfBinaryStream<(D, L), T> {
    /// What the message came to, which was decoded while it came.
    pub fn binary(
        self,
        session: &Session,
        data: Binary,
        _: Option<fn(Binary) -> Result<T, Error>>,
    ) -> Result<T, Error> {
        session.coders().and_then(|coders| coders.take()).ok_or_else(|| nobody(data.into()))
    }

    /// It wants messages as they come.
    pub fn taking(self) -> AsItComes<T> {
        AsItComes(PhantomData)
    }
}

impl<D: BinaryDecoder<Object = T>, L, T: 'static> DecoderOfBinary<(D, L), T> {
    /// Decodes a message.
    pub fn binary(
        self,
        session: &Session,
        data: Binary,
        by_itself: Option<fn(Binary) -> Result<T, Error>>,
    ) -> Result<T, Error> {
        let message = Message::Binary(data);
        session.decoding(|| match (session.coders().and_then(|coders| coders.decode(&message)), by_itself, message) {
            (Some(decoded), _, _) => decoded,
            (None, Some(decode), Message::Binary(data)) => decode(data),
            (None, _, message) => Err(nobody(message)),
        })
    }

    /// It wants whole messages.
    pub fn taking(self) -> Whole {
        Whole
    }
}

impl<T> DecoderOfBinary<(), T> {
    /// Decodes a message.
    #[inline]
    pub fn binary(self, session: &Session, data: Binary, _: Option<fn(Binary) -> Result<T, Error>>) -> Result<T, Error>
    where
        T: DecodeBinary,
    {
        if T::IS_PLAIN { T::decode_binary(data) } else { session.decoding(|| T::decode_binary(data)) }
    }

    /// It wants whole messages.
    pub fn taking(self) -> Whole {
        Whole
    }
}

/// How a decoder takes messages; known by the type of the choice alone.
pub trait Taking {
    /// What is given the parts, if it takes them as they come.
    const FEED: Option<Feed>;
}

/// Put together.
#[derive(Clone, Copy, Debug)]
pub struct Whole;

impl Taking for Whole {
    const FEED: Option<Feed> = None;
}

/// In parts.
#[derive(Clone, Copy, Debug)]
pub struct AsItComes<T>(PhantomData<fn() -> T>);

impl<T: Send + 'static> Taking for AsItComes<T> {
    const FEED: Option<Feed> = Some(|coders, part, last, limit| coders.feed::<T>(part, last, limit));
}

/// How the decoder that `choose` would choose takes messages. It is not called: its type says so.
pub const fn taking<T: Taking, C: Fn() -> T>(choose: &C) -> Option<Feed> {
    let _ = choose;
    T::FEED
}

fn nobody(message: Message) -> Error {
    Error::undecodable(message, "has no decoder", "none that the endpoint lists is willing")
}

choice!(
    /// Who makes a message of a `T` that is returned.
    EncoderOfReply
);
choice!(
    /// As [`EncoderOfReply`].
    BinaryEncoderOfReply
);
choice!(
    /// As [`EncoderOfReply`].
    TextStreamEncoderOfReply
);
choice!(
    /// As [`EncoderOfReply`].
    BinaryStreamEncoderOfReply
);
otherwise!(EncoderOfReply => BinaryEncoderOfReply, among the same);
otherwise!(BinaryEncoderOfReply => TextStreamEncoderOfReply, among the same);
otherwise!(TextStreamEncoderOfReply => BinaryStreamEncoderOfReply, among the same);
otherwise!(BinaryStreamEncoderOfReply => EncoderOfReply, among the rest);

macro_rules! listed_conversion {
    ($choice:ident, $trait:ident) => {
        impl<E: $trait<Object = T>, L, T: 'static> $choice<(E, L), T> {
            /// Its turn: it makes the message.
            #[inline]
            pub fn encoder(self) -> ByList {
                ByList
            }
        }
    };
}
listed_conversion!(EncoderOfReply, TextEncoder);
listed_conversion!(BinaryEncoderOfReply, BinaryEncoder);
listed_conversion!(TextStreamEncoderOfReply, TextStreamEncoder);
listed_conversion!(BinaryStreamEncoderOfReply, BinaryStreamEncoder);

impl<T> EncoderOfReply<(), T> {
    /// Nobody is listed: the type makes the message itself.
    #[inline]
    pub fn encoder(self) -> OfItself
    where
        T: IntoReply,
    {
        OfItself
    }
}

/// A reply is encoded by a coder that is listed.
#[derive(Clone, Copy, Debug)]
pub struct ByList;

/// A reply encodes itself.
#[derive(Clone, Copy, Debug)]
pub struct OfItself;

/// Makes replies of what handlers return.
pub trait EncodesReply<T>: Copy {
    /// The function that does.
    fn conversion<'s>(self, session: &'s Session) -> impl Fn(T) -> Reply + Copy + Send + use<'s, Self, T>;
}

impl<T: IntoReply> EncodesReply<T> for OfItself {
    #[inline]
    fn conversion<'s>(self, _: &'s Session) -> impl Fn(T) -> Reply + Copy + Send + use<'s, T> {
        T::into_reply
    }
}

impl<T: 'static> EncodesReply<T> for ByList {
    fn conversion<'s>(self, session: &'s Session) -> impl Fn(T) -> Reply + Copy + Send + use<'s, T> {
        move |object: T| match session.dialect().listed(&object) {
            Some(message) => message.map(Some),
            // coders are listed before any handler runs
            None => Err(Error::encode("the endpoint's encoders are not there")),
        }
    }
}
