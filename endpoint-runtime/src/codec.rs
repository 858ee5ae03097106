//! Between messages and the handler's types: what a parameter is decoded from, what a returned value is encoded to.

use bytes::Bytes;

use crate::error::{BoxError, Error};
use crate::message::{Binary, Message};
use crate::text::Text;

/// A type that an `#[on_message]` handler can take from a text message.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the payload of a text `#[on_message]` handler",
    label = "not decodable from text",
    note = "text payloads are String, &str, Text, numbers, bool and char"
)]
pub trait DecodeText: Sized {
    /// Decodes an owned message; takes the buffer over where it can.
    fn decode_text(text: Text) -> Result<Self, Error>;
    /// Decodes from borrowed text.
    fn decode_str(text: &str) -> Result<Self, Error> {
        Self::decode_text(Text::from(text))
    }
}

/// A type that an `#[on_message]` handler can take from a binary message.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the payload of a binary `#[on_message]` handler",
    label = "not decodable from binary data",
    note = "binary payloads are Vec<u8>, &[u8], Bytes and Binary"
)]
pub trait DecodeBinary: Sized {
    /// Decodes an owned message; takes the buffer over where it can.
    fn decode_binary(data: Binary) -> Result<Self, Error>;
}

impl DecodeText for Text {
    #[inline]
    fn decode_text(text: Text) -> Result<Self, Error> {
        Ok(text)
    }
}

impl DecodeText for String {
    #[inline]
    fn decode_text(text: Text) -> Result<Self, Error> {
        Ok(text.into())
    }
    #[inline]
    fn decode_str(text: &str) -> Result<Self, Error> {
        Ok(text.to_owned())
    }
}

/// The first character (Jakarta's rule for `char`).
impl DecodeText for char {
    fn decode_text(text: Text) -> Result<Self, Error> {
        text.chars().next().ok_or_else(|| Error::decode("an empty text message has no char", "the message is empty"))
    }
}

macro_rules! decode_by_from_str {
    ($($type:ty)*) => {$(
        impl DecodeText for $type {
            fn decode_text(text: Text) -> Result<Self, Error> {
                Self::decode_str(&text)
            }
            fn decode_str(text: &str) -> Result<Self, Error> {
                text.parse().map_err(|error| Error::decode(
                    format!(concat!("the text message {:?} is not of type ", stringify!($type)), excerpt(text)),
                    error,
                ))
            }
        }
    )*};
}
decode_by_from_str!(i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize f32 f64 bool);

/// The first 40 characters, for an error text.
pub(crate) fn excerpt(text: &str) -> &str {
    text.char_indices().nth(40).map_or(text, |(end, _)| &text[..end])
}

impl DecodeBinary for Binary {
    #[inline]
    fn decode_binary(data: Binary) -> Result<Self, Error> {
        Ok(data)
    }
}

impl DecodeBinary for Bytes {
    #[inline]
    fn decode_binary(data: Binary) -> Result<Self, Error> {
        Ok(data.into())
    }
}

impl DecodeBinary for Vec<u8> {
    #[inline]
    fn decode_binary(data: Binary) -> Result<Self, Error> {
        Ok(data.into())
    }
}

/// An error that a handler may return in its `Result`: whatever converts into a boxed error.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error of a handler's `Result`",
    label = "does not convert into a boxed error",
    note = "implement std::error::Error for it (it must be Send + Sync + 'static), or return endpoint_runtime::Error"
)]
pub trait IntoError {
    /// The error as `on_error` gets it.
    fn into_error(self) -> Error;
}

#[diagnostic::do_not_recommend]
impl<E: Into<BoxError>> IntoError for E {
    fn into_error(self) -> Error {
        Error::user(self)
    }
}

/// A value that an `#[on_message]` handler may return: what it becomes is sent back to the peer.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be returned from an `#[on_message]` handler",
    label = "not sendable as a reply",
    note = "return (), text (String, &str, Text), bytes (Vec<u8>, Bytes, Binary), a number, bool, char, an Option of these, or a Result whose error converts into a boxed error"
)]
pub trait IntoReply {
    /// The message to send back, or none.
    fn into_reply(self) -> Result<Option<Message>, Error>;
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

macro_rules! reply_as {
    ($variant:ident: $($type:ty)*) => {$(
        impl IntoReply for $type {
            #[inline]
            fn into_reply(self) -> Result<Option<Message>, Error> {
                Ok(Some(Message::$variant(self.into())))
            }
        }
    )*};
}
reply_as!(Text: Text String &str &String);
reply_as!(Binary: Binary Bytes Vec<u8> &[u8] &Vec<u8>);

impl<const N: usize> IntoReply for [u8; N] {
    fn into_reply(self) -> Result<Option<Message>, Error> {
        Ok(Some(Message::Binary(self.into())))
    }
}

impl IntoReply for Message {
    fn into_reply(self) -> Result<Option<Message>, Error> {
        Ok(Some(self))
    }
}

macro_rules! reply_as_text_form {
    ($($type:ty)*) => {$(
        impl IntoReply for $type {
            fn into_reply(self) -> Result<Option<Message>, Error> {
                self.to_string().into_reply()
            }
        }
    )*};
}
reply_as_text_form!(i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize f32 f64 bool char);

/// What an `#[on_open]`, `#[on_close]` or `#[on_error]` handler may return.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be returned from this handler",
    label = "nothing can be sent from here by returning it",
    note = "return () or Result<(), E>; to send a message call session.basic_remote()"
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
        assert!(u8::decode_text("256".into()).unwrap_err().to_string().contains("\"256\" is not of type u8"));
    }

    #[test]
    fn none_and_unit_reply_nothing_and_empty_text_replies() {
        assert_eq!(().into_reply().unwrap(), None);
        assert_eq!(None::<String>.into_reply().unwrap(), None);
        assert_eq!(Some("").into_reply().unwrap(), Some(Message::Text(Text::new())));
        assert_eq!((-105.5f64).into_reply().unwrap(), Some(Message::Text("-105.5".into())));
    }
}
