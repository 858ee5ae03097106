//! Selects the coder that decodes a payload or encodes a reply: a coder that the endpoint lists, or the type itself.
//! The selection happens at compile time, where a handler is expanded.
//!
//! A list of coders is a type, `(A, (B, ()))`. A choice is a zero-sized value that has a method only if the first coder
//! of its list fits; otherwise the compiler follows `Deref` to the choice among the rest. The list ends with `()`. Its
//! method exists for every type and requires the type's own implementation. So generated code is the same for every
//! endpoint. Without listed coders it calls the type's own function. A type that nothing can decode does not compile.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use super::coders::{
    BinaryDecoder, BinaryEncoder, BinaryStreamDecoder, BinaryStreamEncoder, TextDecoder, TextEncoder,
    TextStreamDecoder, TextStreamEncoder,
};
use crate::codec::session_coders::Feed;
use crate::codec::{DecodeBinary, DecodeText, IntoError, IntoReply};
use crate::endpoint::replies::reply_with_each;
use crate::error::Error;
use crate::session::Session;
use endpoint_wire::message::{Binary, Message};
use endpoint_wire::text::Text;

type Reply = Result<Option<Message>, Error>;

/// A type's own decoding functions, if any: the inherent constants, or else those of [`NotByItself`].
#[derive(Debug)]
pub struct ByItself<T>(PhantomData<T>);

impl<T: DecodeText> ByItself<T> {
    /// Decodes from text.
    pub const TEXT: Option<fn(Text) -> Result<T, Error>> = Some(T::decode_text);
}

impl<T: DecodeBinary> ByItself<T> {
    /// Decodes from binary data.
    pub const BINARY: Option<fn(Binary) -> Result<T, Error>> = Some(T::decode_binary);
}

/// Fallback constants for a type that does not decode itself.
pub trait NotByItself<T> {
    /// Always `None`.
    const TEXT: Option<fn(Text) -> Result<T, Error>> = None;
    /// Always `None`.
    const BINARY: Option<fn(Binary) -> Result<T, Error>> = None;
}

impl<T> NotByItself<T> for ByItself<T> {}

/// The coder types of a list: `(A, (B, ()))`.
pub struct List<L>(PhantomData<fn() -> L>);

impl<L> List<L> {
    /// The value of this list.
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
            /// The choice among all coders of a list.
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
    /// Selects the decoder that makes a `T` of text.
    DecoderOfText
);
choice!(
    /// Like [`DecoderOfText`], for stream decoders.
    DecoderOfTextStream
);
otherwise!(DecoderOfText => DecoderOfTextStream, among the same);
otherwise!(DecoderOfTextStream => DecoderOfText, among the rest);

impl<D: TextStreamDecoder<Object = T>, L, T: 'static> DecoderOfTextStream<(D, L), T> {
    /// Takes the object that was decoded while the message arrived.
    pub fn text(self, session: &Session, text: Text, _: Option<fn(Text) -> Result<T, Error>>) -> Result<T, Error> {
        session.coders().and_then(|coders| coders.take()).ok_or_else(|| no_decoder(text.into()))
    }

    /// Like [`text`](Self::text), for a borrowed message.
    pub fn str(self, session: &Session, text: &str, _: Option<fn(Text) -> Result<T, Error>>) -> Result<T, Error> {
        self.text(session, text.into(), None)
    }

    /// The decoder takes messages in parts.
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
            (None, _, message) => Err(no_decoder(message)),
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

    /// The decoder takes whole messages.
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

    /// The decoder takes whole messages.
    pub fn taking(self) -> Whole {
        Whole
    }
}

choice!(
    /// Selects the decoder that makes a `T` of binary data.
    DecoderOfBinary
);
choice!(
    /// Like [`DecoderOfBinary`], for stream decoders.
    DecoderOfBinaryStream
);
otherwise!(DecoderOfBinary => DecoderOfBinaryStream, among the same);
otherwise!(DecoderOfBinaryStream => DecoderOfBinary, among the rest);

impl<D: BinaryStreamDecoder<Object = T>, L, T: 'static> DecoderOfBinaryStream<(D, L), T> {
    /// Takes the object that was decoded while the message arrived.
    pub fn binary(
        self,
        session: &Session,
        data: Binary,
        _: Option<fn(Binary) -> Result<T, Error>>,
    ) -> Result<T, Error> {
        session.coders().and_then(|coders| coders.take()).ok_or_else(|| no_decoder(data.into()))
    }

    /// The decoder takes messages in parts.
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
            (None, _, message) => Err(no_decoder(message)),
        })
    }

    /// The decoder takes whole messages.
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

    /// The decoder takes whole messages.
    pub fn taking(self) -> Whole {
        Whole
    }
}

/// How a decoder takes messages; the type of the choice alone determines it.
pub trait Taking {
    /// The function that takes the parts, for a stream decoder.
    const FEED: Option<Feed>;
}

/// Takes whole messages.
#[derive(Clone, Copy, Debug)]
pub struct Whole;

impl Taking for Whole {
    const FEED: Option<Feed> = None;
}

/// Takes messages in parts as they arrive.
#[derive(Clone, Copy, Debug)]
pub struct AsItComes<T>(PhantomData<fn() -> T>);

impl<T: Send + 'static> Taking for AsItComes<T> {
    const FEED: Option<Feed> = Some(|coders, part, last, limit| coders.feed::<T>(part, last, limit));
}

/// How the decoder that `choose` returns takes messages. `choose` is never called: its type is enough.
pub const fn taking<T: Taking, C: Fn() -> T>(choose: &C) -> Option<Feed> {
    let _ = choose;
    T::FEED
}

fn no_decoder(message: Message) -> Error {
    Error::undecodable(message, "has no decoder", "every decoder that the endpoint lists declined it")
}

choice!(
    /// Selects the encoder that makes a message of a returned `T`.
    EncoderOfReply
);
choice!(
    /// Like [`EncoderOfReply`], for binary encoders.
    BinaryEncoderOfReply
);
choice!(
    /// Like [`EncoderOfReply`], for text stream encoders.
    TextStreamEncoderOfReply
);
choice!(
    /// Like [`EncoderOfReply`], for binary stream encoders.
    BinaryStreamEncoderOfReply
);
otherwise!(EncoderOfReply => BinaryEncoderOfReply, among the same);
otherwise!(BinaryEncoderOfReply => TextStreamEncoderOfReply, among the same);
otherwise!(TextStreamEncoderOfReply => BinaryStreamEncoderOfReply, among the same);
otherwise!(BinaryStreamEncoderOfReply => EncoderOfReply, among the rest);

macro_rules! listed_conversion {
    ($choice:ident, $trait:ident) => {
        impl<E: $trait<Object = T>, L, T: 'static> $choice<(E, L), T> {
            /// The listed coders make the message.
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

impl<T: IntoReply> EncoderOfReply<(), T> {
    /// No listed coder fits: the type makes the message itself.
    #[inline]
    pub fn encoder(self) -> OfItself {
        OfItself
    }
}

choice!(
    /// The end of [`EncoderOfReply`] for a type that is no reply: a `Result`, which may be an alias.
    FailedResult
);
choice!(
    /// The end of [`EncoderOfReply`] for a list of replies.
    SeveralReplies
);
choice!(
    /// The end of [`EncoderOfReply`] for every other type that is no reply.
    NoReply
);

impl<T> Deref for EncoderOfReply<(), T> {
    type Target = FailedResult<(), T>;
    fn deref(&self) -> &Self::Target {
        &FailedResult(PhantomData)
    }
}

impl<T> Deref for FailedResult<(), T> {
    type Target = SeveralReplies<(), T>;
    fn deref(&self) -> &Self::Target {
        &SeveralReplies(PhantomData)
    }
}

impl<T> Deref for SeveralReplies<(), T> {
    type Target = NoReply<(), T>;
    fn deref(&self) -> &Self::Target {
        &NoReply(PhantomData)
    }
}

impl<T: IntoReply> SeveralReplies<(), Vec<T>> {
    /// Each element is a reply.
    #[inline]
    pub fn encoder(self) -> OfEach {
        OfEach
    }
}

impl<T: IntoReply, const N: usize> SeveralReplies<(), [T; N]> {
    /// Each element is a reply.
    #[inline]
    pub fn encoder(self) -> OfEach {
        OfEach
    }
}

impl<T, E> FailedResult<(), Result<T, E>> {
    /// Does not compile.
    pub fn encoder(self) -> Nothing
    where
        T: IntoReply,
        E: IntoError,
    {
        Nothing
    }
}

impl<T> NoReply<(), T> {
    /// Does not compile.
    pub fn encoder(self) -> Nothing
    where
        T: IntoReply,
    {
        Nothing
    }
}

/// Encodes no reply. It fits every type, so that the compiler reports a type that is no reply once.
#[derive(Clone, Copy, Debug)]
pub struct Nothing;

impl<T> EncodesReply<T> for Nothing {
    fn conversion(self, _: &Session) -> impl Fn(T) -> Reply + Copy + Send {
        |_| Ok(None)
    }
}

/// A listed coder encodes the reply.
#[derive(Clone, Copy, Debug)]
pub struct ByList;

/// The reply encodes itself.
#[derive(Clone, Copy, Debug)]
pub struct OfItself;

/// Each element of a list encodes itself.
#[derive(Clone, Copy, Debug)]
pub struct OfEach;

impl<T: IntoReply> EncodesReply<Vec<T>> for OfEach {
    fn conversion(self, session: &Session) -> impl Fn(Vec<T>) -> Reply + Copy + Send {
        move |list| reply_with_each(session, list)
    }
}

impl<T: IntoReply, const N: usize> EncodesReply<[T; N]> for OfEach {
    fn conversion(self, session: &Session) -> impl Fn([T; N]) -> Reply + Copy + Send {
        move |list| reply_with_each(session, list)
    }
}

/// Makes replies of handlers' return values.
pub trait EncodesReply<T>: Copy {
    /// The function that makes the reply.
    fn conversion(self, session: &Session) -> impl Fn(T) -> Reply + Copy + Send;
}

impl<T: IntoReply> EncodesReply<T> for OfItself {
    #[inline]
    fn conversion(self, _: &Session) -> impl Fn(T) -> Reply + Copy + Send {
        T::into_reply
    }
}

impl<T: 'static> EncodesReply<T> for ByList {
    fn conversion(self, session: &Session) -> impl Fn(T) -> Reply + Copy + Send {
        move |object: T| match session.encode_context().listed(&object) {
            Some(message) => message.map(Some),
            // coders are listed before any handler runs
            None => Err(Error::encode("the session does not have the endpoint's encoders")),
        }
    }
}
