//! Converts between messages and handler types: decodes parameters, encodes returned values.

#[cfg(feature = "cbor")]
pub(crate) mod cbor;
pub(crate) mod error_kind;
#[cfg(feature = "json")]
pub(crate) mod event;
#[cfg(feature = "json")]
pub(crate) mod json;
#[cfg(feature = "msgpack")]
pub(crate) mod msgpack;
#[cfg(feature = "json")]
pub(crate) mod negotiated;
pub(crate) mod nesting;
pub(crate) mod presence_meta;
#[cfg(feature = "protobuf")]
pub(crate) mod protobuf;
pub(crate) mod session_coders;
pub(crate) mod shared_value;
#[cfg(any(feature = "json", feature = "msgpack", feature = "cbor", feature = "protobuf"))]
pub(crate) mod wrapper;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use crate::codec::session_coders::EncodeContext;
use crate::error::{BoxError, Error};
use endpoint_wire::message::{Binary, Message};
use endpoint_wire::text::Text;

/// A type that an `#[on_message]` handler can take from a text message.
///
/// ```
/// use endpoint_runtime::{DecodeText, Error, Text};
///
/// struct Point(i32, i32);
///
/// impl DecodeText for Point {
///     fn decode_text(text: Text) -> Result<Self, Error> {
///         let Some((x, y)) = text.split_once(',') else { return Err(Error::decode(text, "there is no comma")) };
///         match (x.parse(), y.parse()) {
///             (Ok(x), Ok(y)) => Ok(Self(x, y)),
///             (Err(error), _) | (_, Err(error)) => Err(Error::decode(text, error)),
///         }
///     }
/// }
/// ```
///
/// A handler takes it with `#[on_message(text)]`, since an attribute cannot see how your type is sent.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the payload of an `#[on_message]` handler for text",
    label = "cannot be decoded from text",
    note = "take `Json<{Self}>` to read it from JSON, or implement DecodeText for it, or list a decoder for it on the endpoint",
    note = "a text message is also String, &str, Text, a number, bool or char"
)]
pub trait DecodeText: Sized {
    /// The type takes a message unchanged, so there is no nesting to bound.
    #[doc(hidden)]
    const IS_PLAIN: bool = false;

    /// Decodes an owned message; reuses its buffer where possible.
    ///
    /// # Errors
    /// [`Error::decode`], with the text.
    fn decode_text(text: Text) -> Result<Self, Error>;

    /// Decodes from borrowed text.
    ///
    /// # Errors
    /// Same as [`decode_text`](Self::decode_text).
    fn decode_str(text: &str) -> Result<Self, Error> {
        Self::decode_text(Text::from(text))
    }
}

/// A type that an `#[on_message]` handler can take from a binary message, with `#[on_message(binary)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the payload of an `#[on_message]` handler for binary data",
    label = "cannot be decoded from binary data",
    note = "take `Json<{Self}>` to read it from JSON, or implement DecodeBinary for it, or list a decoder for it on the endpoint",
    note = "a binary message is also Vec<u8>, &[u8], Bytes or Binary; for a text message, remove `binary`"
)]
pub trait DecodeBinary: Sized {
    /// The type takes a message unchanged, so there is no nesting to bound.
    #[doc(hidden)]
    const IS_PLAIN: bool = false;

    /// Decodes an owned message; reuses its buffer where possible.
    ///
    /// # Errors
    /// [`Error::decode`], with the data.
    fn decode_binary(data: Binary) -> Result<Self, Error>;
}

/// A payload that borrows from a message of type `M`. Only for generated code.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot borrow from a message",
    label = "only `Json<T>` borrows from its message",
    note = "own the data, with `String` instead of `&str`; or take the message as `&str` or `&[u8]`, and parse it in the handler"
)]
pub trait BorrowMessage<'m, M: ?Sized>: Sized {
    /// Decodes a borrowed message.
    fn borrow_message(message: &'m M) -> Result<Self, Error>;
}

impl DecodeText for Text {
    const IS_PLAIN: bool = true;

    #[inline]
    fn decode_text(text: Text) -> Result<Self, Error> {
        Ok(text)
    }
}

impl DecodeText for String {
    const IS_PLAIN: bool = true;

    #[inline]
    fn decode_text(text: Text) -> Result<Self, Error> {
        Ok(text.into())
    }
    #[inline]
    fn decode_str(text: &str) -> Result<Self, Error> {
        Ok(text.to_owned())
    }
}

/// Decodes the first character (Jakarta's rule for `char`).
impl DecodeText for char {
    const IS_PLAIN: bool = true;

    fn decode_text(text: Text) -> Result<Self, Error> {
        text.chars().next().ok_or_else(|| Error::undecodable(text.into(), "is not a char", "it is empty"))
    }
}

macro_rules! decode_by_from_str {
    ($($type:ty)*) => {$(
        impl DecodeText for $type {
            const IS_PLAIN: bool = true;

            fn decode_text(text: Text) -> Result<Self, Error> {
                Self::decode_str(&text)
            }
            fn decode_str(text: &str) -> Result<Self, Error> {
                text.parse().map_err(|error| {
                    Error::undecodable(text.into(), concat!("is not of type ", stringify!($type)), error)
                })
            }
        }
    )*};
}
decode_by_from_str!(i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize f32 f64 bool);

impl DecodeBinary for Binary {
    const IS_PLAIN: bool = true;

    #[inline]
    fn decode_binary(data: Binary) -> Result<Self, Error> {
        Ok(data)
    }
}

impl DecodeBinary for Bytes {
    const IS_PLAIN: bool = true;

    #[inline]
    fn decode_binary(data: Binary) -> Result<Self, Error> {
        Ok(data.into())
    }
}

impl DecodeBinary for Vec<u8> {
    const IS_PLAIN: bool = true;

    #[inline]
    fn decode_binary(data: Binary) -> Result<Self, Error> {
        Ok(data.into())
    }
}

/// An error that a handler may return in its `Result`: any type that converts into a boxed error.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error of a handler's `Result`",
    label = "does not convert into a boxed error",
    note = "implement std::error::Error for it (it must be Send + Sync + 'static), or return endpoint_runtime::Error"
)]
pub trait IntoError {
    /// Converts it into the error that `on_error` receives.
    fn into_error(self) -> Error;
}

#[diagnostic::do_not_recommend]
impl<E: Into<BoxError>> IntoError for E {
    fn into_error(self) -> Error {
        Error::user(self)
    }
}

/// An object that can be sent, or returned as a reply.
///
/// Implemented for text, bytes, numbers, `bool`, `char` and `Json<T>`. For your own type, specify the message it
/// becomes:
///
/// ```
/// use endpoint_runtime::{Encode, Error, Message};
///
/// struct Point(i32, i32);
///
/// impl Encode for Point {
///     fn encode(&self) -> Result<Message, Error> {
///         Ok(format!("{},{}", self.0, self.1).into())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent as a message",
    label = "cannot be encoded as a message",
    note = "send it as JSON with `Json(value)`, or implement Encode for it, or list an encoder for it on the endpoint",
    note = "text, bytes, numbers, bool and char are sent as they are"
)]
pub trait Encode {
    /// Encodes the object as a message.
    ///
    /// # Errors
    /// [`Error::encode`], with the reason.
    fn encode(&self) -> Result<Message, Error>;

    /// Encodes the object for one session, as `send_object` does. A type that encodes itself and for which an endpoint may
    /// list an encoder overrides this; numbers, `bool`, `char`, text and bytes do.
    ///
    /// ```
    /// use endpoint_runtime::{EncodeContext, Encode, Error, Message};
    ///
    /// struct Point(i32, i32);
    ///
    /// impl Encode for Point {
    ///     fn encode(&self) -> Result<Message, Error> {
    ///         Ok(format!("{},{}", self.0, self.1).into())
    ///     }
    ///
    ///     fn encode_for(&self, context: &EncodeContext<'_>) -> Result<Message, Error> {
    ///         context.encode(self)
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// Same as [`encode`](Self::encode).
    #[inline]
    fn encode_for(&self, context: &EncodeContext<'_>) -> Result<Message, Error> {
        let _ = context;
        self.encode()
    }

    /// Encodes an owned object, such as a reply; reuses its buffer where possible.
    ///
    /// # Errors
    /// Same as [`encode`](Self::encode).
    #[inline]
    fn into_message(self) -> Result<Message, Error>
    where
        Self: Sized,
    {
        self.encode()
    }
}

/// An object that `send_object` takes: every [`Encode`], and every type for which an endpoint lists an encoder.
///
/// Not implemented by hand: for your own type, implement [`Encode`], or list an encoder. The compiler infers `By`, except
/// if several endpoints list an encoder for a type that does not implement `Encode`. Then name one of these endpoints, as
/// in `send_object::<_, Chat>(&said)`, or implement `Encode` with [`encode_for`](Encode::encode_for). The encoder is
/// that of the session's own endpoint in every case; if it lists none for the type, sending fails.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent as a message",
    label = "cannot be encoded as a message",
    note = "send it as JSON with `Json(value)`, or implement Encode for it, or list an encoder for it on the endpoint",
    note = "text, bytes, numbers, bool and char are sent as they are"
)]
pub trait Object<By> {
    /// Encodes the object for one session.
    #[doc(hidden)]
    fn message_for(&self, context: &EncodeContext<'_>) -> Result<Message, Error>;
}

/// The object encodes itself.
#[doc(hidden)]
#[derive(Debug)]
pub struct ByItself;

impl<T: Encode + ?Sized> Object<ByItself> for T {
    #[inline]
    fn message_for(&self, context: &EncodeContext<'_>) -> Result<Message, Error> {
        self.encode_for(context)
    }
}

impl EncodeContext<'_> {
    /// Encodes `object` with the first encoder listed for a `T`; without one, with the object's own encoding.
    ///
    /// # Errors
    /// The encoder's error; [`Error::is_closed`] if the session, and so its encoders, have ended.
    #[inline]
    pub fn encode<T: Encode + 'static>(&self, object: &T) -> Result<Message, Error> {
        self.listed(object).unwrap_or_else(|| object.encode())
    }
}

impl<T: Encode + ?Sized> Encode for &T {
    #[inline]
    fn encode(&self) -> Result<Message, Error> {
        (**self).encode()
    }
    #[inline]
    fn encode_for(&self, context: &EncodeContext<'_>) -> Result<Message, Error> {
        (**self).encode_for(context)
    }
}

macro_rules! encode_owned {
    ($($type:ty)*) => {$(
        impl Encode for $type {
            #[inline]
            fn encode(&self) -> Result<Message, Error> {
                Ok(self.clone().into())
            }
            #[inline]
            fn encode_for(&self, context: &EncodeContext<'_>) -> Result<Message, Error> {
                context.encode(self)
            }
            #[inline]
            fn into_message(self) -> Result<Message, Error> {
                Ok(self.into())
            }
        }
    )*};
}
encode_owned!(Message Text Binary Bytes);

macro_rules! encode_copied {
    ($($type:ty)*) => {$(
        impl Encode for $type {
            #[inline]
            fn encode(&self) -> Result<Message, Error> {
                Ok(self[..].into())
            }
            #[inline]
            fn encode_for(&self, context: &EncodeContext<'_>) -> Result<Message, Error> {
                context.encode(self)
            }
            #[inline]
            fn into_message(self) -> Result<Message, Error> {
                Ok(self.into())
            }
        }
    )*};
}
encode_copied!(String Vec<u8>);

macro_rules! encode_unsized {
    ($($type:ty)*) => {$(
        #[diagnostic::do_not_recommend]
        impl Encode for $type {
            #[inline]
            fn encode(&self) -> Result<Message, Error> {
                Ok((**self).into())
            }
            #[inline]
            fn into_message(self) -> Result<Message, Error> {
                Ok(self.into())
            }
        }
    )*};
}
encode_unsized!(Box<str> Arc<str> Cow<'_, str> Box<[u8]> Arc<[u8]> Cow<'_, [u8]>);

impl Encode for str {
    #[inline]
    fn encode(&self) -> Result<Message, Error> {
        Ok(self.into())
    }
}

impl Encode for [u8] {
    #[inline]
    fn encode(&self) -> Result<Message, Error> {
        Ok(self.into())
    }
}

impl<const N: usize> Encode for [u8; N] {
    fn encode(&self) -> Result<Message, Error> {
        Ok(self[..].into())
    }
}

macro_rules! encode_as_text_form {
    ($($type:ty)*) => {$(
        /// Encodes as text, in the standard form.
        impl Encode for $type {
            fn encode(&self) -> Result<Message, Error> {
                Ok(self.to_string().into())
            }
            #[inline]
            fn encode_for(&self, context: &EncodeContext<'_>) -> Result<Message, Error> {
                context.encode(self)
            }
        }
    )*};
}
encode_as_text_form!(i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize f32 f64 bool char);

/// A value that an `#[on_message]` handler may return; it is sent back to the peer as a message.
///
/// Implemented for every [`Encode`], `()`, and `Option` and `Result` of these.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be returned from an `#[on_message]` handler",
    label = "cannot be sent as a reply",
    note = "return `Json<{Self}>` to send it as JSON, or implement Encode for it, or list an encoder for it on the endpoint",
    note = "a reply is also (), text, bytes, a number, bool, char, an Option of a reply, or a Result whose error converts into a boxed error; several replies are a Vec<T>, an `impl Iterator<Item = T>` or an `impl Stream<Item = T>`"
)]
pub trait IntoReply {
    /// Converts it into the message to send back, or none.
    ///
    /// # Errors
    /// An error for `#[on_error]`.
    fn into_reply(self) -> Result<Option<Message>, Error>;
}

impl<T: Encode> IntoReply for T {
    #[inline]
    fn into_reply(self) -> Result<Option<Message>, Error> {
        self.into_message().map(Some)
    }
}

impl IntoReply for () {
    #[inline]
    fn into_reply(self) -> Result<Option<Message>, Error> {
        Ok(None)
    }
}

/// `None` sends nothing.
impl<T: IntoReply> IntoReply for Option<T> {
    #[inline]
    fn into_reply(self) -> Result<Option<Message>, Error> {
        self.map_or(Ok(None), IntoReply::into_reply)
    }
}

/// An `Err` goes to `#[on_error]`.
impl<T: IntoReply, E: IntoError> IntoReply for Result<T, E> {
    #[inline]
    fn into_reply(self) -> Result<Option<Message>, Error> {
        self.map_err(IntoError::into_error)?.into_reply()
    }
}

/// A value that an `#[on_close]` or `#[on_error]` handler may return.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be returned from this handler",
    label = "this handler cannot reply by returning a value",
    note = "return () or Result<(), E>; to send a message, call session.basic_remote()"
)]
pub trait IntoOutcome {
    /// `Ok`, or the error for `#[on_error]`.
    fn into_outcome(self) -> Result<(), Error>;
}

impl IntoOutcome for () {
    #[inline]
    fn into_outcome(self) -> Result<(), Error> {
        Ok(())
    }
}

impl<E: IntoError> IntoOutcome for Result<(), E> {
    #[inline]
    fn into_outcome(self) -> Result<(), Error> {
        self.map_err(IntoError::into_error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_bool_and_char_are_read_from_text() {
        assert_eq!(i16::decode_text("32767".into()).unwrap(), 32767);
        assert_eq!(f32::decode_text("1.4E-45".into()).unwrap(), f32::from_bits(1));
        assert_eq!(f64::decode_text("1.7976931348623157E308".into()).unwrap(), f64::MAX);
        assert_eq!(char::decode_text("&x".into()).unwrap(), '&');
        assert!(bool::decode_text("true".into()).unwrap());
        assert!(bool::decode_text("yes".into()).unwrap_err().is_decode());
        let error = u8::decode_text("256".into()).unwrap_err();
        assert!(error.to_string().contains("\"256\" is not of type u8"), "{error}");
        assert_eq!(error.text(), Some("256"));
        assert_eq!(char::decode_text("".into()).unwrap_err().text(), Some(""));
    }

    #[test]
    fn borrowed_and_owned_objects_encode_alike() {
        fn is<T: Encode>(object: T, message: impl Into<Message>) {
            let message = message.into();
            assert_eq!(object.encode().unwrap(), message);
            assert_eq!((&object).into_message().unwrap(), message);
            assert_eq!(object.into_message().unwrap(), message);
        }
        is("a", "a");
        is(String::from("a"), "a");
        is(Text::from("a"), "a");
        is(vec![1u8], vec![1]);
        is(&[1u8][..], vec![1]);
        is([1u8], vec![1]);
        is(Bytes::from_static(b"a"), b"a".to_vec());
        is(Binary::from(b"a"), b"a".to_vec());
        is(Message::from("a"), "a");
        is(-100i8, "-100");
        is(104.5f32, "104.5");
        is(false, "false");
        is('j', "j");
    }

    #[test]
    fn none_and_unit_send_no_reply_and_empty_text_sends_one() {
        assert_eq!(().into_reply().unwrap(), None);
        assert_eq!(None::<String>.into_reply().unwrap(), None);
        assert_eq!(Some("").into_reply().unwrap(), Some(Message::Text(Text::new())));
        assert_eq!((-105.5f64).into_reply().unwrap(), Some(Message::Text("-105.5".into())));
    }
}
