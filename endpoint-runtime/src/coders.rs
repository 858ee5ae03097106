//! The coders that an endpoint may list: types of their own that make objects of messages, and messages of objects.
//!
//! A coder may keep what it needs between two messages, since each connection has its own, and says what it does when
//! the connection begins and ends. What needs none of that implements [`DecodeText`](crate::DecodeText),
//! [`DecodeBinary`](crate::DecodeBinary) and [`Encode`](crate::Encode) itself.

pub(crate) mod choice;

use std::any::{Any, TypeId};
use std::marker::PhantomData;

use crate::error::Error;
use crate::listed::{ListedDecoder, ListedEncoder};
use crate::message::{Binary, Message};
use crate::session::Session;
use crate::text::Text;

/// Makes objects of text messages (Jakarta's `Decoder.Text`).
///
/// ```
/// use endpoint_runtime::prelude::*;
/// use endpoint_runtime::{TextDecoder, TextEncoder};
///
/// struct Point(i32, i32);
///
/// #[derive(Default)]
/// struct PointDecoder {
///     decoded: usize,
/// }
///
/// impl TextDecoder for PointDecoder {
///     type Object = Point;
///
///     fn decode(&mut self, text: Text) -> Result<Point, Error> {
///         let Some((x, y)) = text.split_once(',') else { return Err(Error::decode(text, "there is no comma")) };
///         let (Ok(x), Ok(y)) = (x.parse(), y.parse()) else { return Err(Error::decode(text, "no two numbers")) };
///         self.decoded += 1;
///         Ok(Point(x, y))
///     }
/// }
///
/// #[derive(Default)]
/// struct PointEncoder;
///
/// impl TextEncoder for PointEncoder {
///     type Object = Point;
///
///     fn encode(&mut self, point: &Point) -> Result<Text, Error> {
///         Ok(format!("{},{}", point.0, point.1).into())
///     }
/// }
///
/// #[server_endpoint("/plane", decoders(PointDecoder), encoders(PointEncoder))]
/// #[derive(Default)]
/// struct Plane;
///
/// impl Plane {
///     #[on_message(text)]
///     fn mirror(&mut self, Point(x, y): Point) -> Point {
///         Point(y, x)
///     }
/// }
/// ```
///
/// Each connection has a value of its own, made by `Default` when it opens. [`init`](Self::init) is called before
/// `on_open`, [`destroy`](Self::destroy) after `on_close`, whatever happened between, and also if `on_open` failed.
///
/// Of several decoders for one type the order of the list decides: the first that [will](Self::will_decode) decode a
/// message does. If it fails, its error goes to `on_error`, and no other is asked. If none is willing the type decodes
/// itself, if it can; or else `on_error` is told, and the session goes on.
#[diagnostic::on_unimplemented(message = "`{Self}` is no decoder of text messages", label = "does not decode text")]
pub trait TextDecoder: Default + Send + 'static {
    /// What it makes.
    type Object: Send + 'static;

    /// The connection has opened; `on_open` has not been called yet.
    fn init(&mut self, session: &Session) {
        let _ = session;
    }

    /// Whether this message is one for it. If not, the next decoder of the list is asked.
    fn will_decode(&mut self, text: &str) -> bool {
        let _ = text;
        true
    }

    /// Makes the object.
    ///
    /// # Errors
    /// [`Error::decode`], with the text; any other error reaches `on_error` as it is.
    fn decode(&mut self, text: Text) -> Result<Self::Object, Error>;

    /// The connection has ended, and `on_close` has returned.
    fn destroy(&mut self) {}
}

/// Makes objects of binary messages (Jakarta's `Decoder.Binary`). As a [`TextDecoder`], for `#[on_message(binary)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no decoder of binary messages",
    label = "does not decode binary data"
)]
pub trait BinaryDecoder: Default + Send + 'static {
    /// What it makes.
    type Object: Send + 'static;

    /// The connection has opened; `on_open` has not been called yet.
    fn init(&mut self, session: &Session) {
        let _ = session;
    }

    /// Whether this message is one for it. If not, the next decoder of the list is asked.
    fn will_decode(&mut self, data: &[u8]) -> bool {
        let _ = data;
        true
    }

    /// Makes the object.
    ///
    /// # Errors
    /// [`Error::decode`], with the data; any other error reaches `on_error` as it is.
    fn decode(&mut self, data: Binary) -> Result<Self::Object, Error>;

    /// The connection has ended, and `on_close` has returned.
    fn destroy(&mut self) {}
}

/// Makes text messages of objects (Jakarta's `Encoder.Text`). See [`TextDecoder`] for how coders are listed, made and
/// destroyed.
///
/// A listed encoder goes before what a type says of itself by [`Encode`](crate::Encode), for numbers and text as well;
/// the first of the list for a type is asked, and no other. It makes the replies of handlers whose return type is
/// spelled: `T`, `Option<T>`, `Result<T, E>`. For `send_object` see [`Encode::encode_for`](crate::Encode::encode_for).
///
/// An encoder is asked by one task at a time, the others wait for it. So it must not send on its own session.
#[diagnostic::on_unimplemented(message = "`{Self}` is no encoder to text messages", label = "does not encode to text")]
pub trait TextEncoder: Default + Send + 'static {
    /// Of what it makes messages.
    type Object: 'static;

    /// The connection has opened; `on_open` has not been called yet.
    fn init(&mut self, session: &Session) {
        let _ = session;
    }

    /// Makes the message.
    ///
    /// # Errors
    /// [`Error::encode`], with the reason. Of a reply it goes to `on_error`, of `send_object` to its caller.
    fn encode(&mut self, object: &Self::Object) -> Result<Text, Error>;

    /// The connection has ended, and `on_close` has returned.
    fn destroy(&mut self) {}
}

/// Makes binary messages of objects (Jakarta's `Encoder.Binary`). As a [`TextEncoder`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no encoder to binary messages",
    label = "does not encode to binary data"
)]
pub trait BinaryEncoder: Default + Send + 'static {
    /// Of what it makes messages.
    type Object: 'static;

    /// The connection has opened; `on_open` has not been called yet.
    fn init(&mut self, session: &Session) {
        let _ = session;
    }

    /// Makes the message.
    ///
    /// # Errors
    /// [`Error::encode`], with the reason. Of a reply it goes to `on_error`, of `send_object` to its caller.
    fn encode(&mut self, object: &Self::Object) -> Result<Binary, Error>;

    /// The connection has ended, and `on_close` has returned.
    fn destroy(&mut self) {}
}

/// A coder is of one kind, which is found out from the trait it implements: `K` is inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be listed in `decoders(…)`",
    label = "is no decoder",
    note = "implement TextDecoder or BinaryDecoder for it; both want Default"
)]
pub trait Decoder<K>: Send + 'static {
    /// Makes one and adds it to the list of the session.
    fn list(session: &Session);
}

/// As [`Decoder`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be listed in `encoders(…)`",
    label = "is no encoder",
    note = "implement TextEncoder or BinaryEncoder for it; both want Default"
)]
pub trait Encoder<K>: Send + 'static {
    /// Makes one and adds it to the list of the session.
    fn list(session: &Session);
}

/// Lists a decoder.
pub fn list_decoder<D: Decoder<K>, K>(session: &Session) {
    D::list(session);
}

/// Lists an encoder.
pub fn list_encoder<E: Encoder<K>, K>(session: &Session) {
    E::list(session);
}

/// The kinds of coders.
#[derive(Debug)]
pub struct OfText;
/// See [`OfText`].
#[derive(Debug)]
pub struct OfBinary;

/// A coder with its kind.
struct Listed<C, K>(C, PhantomData<fn() -> K>);

macro_rules! decoder_of_whole_messages {
    ($kind:ident, $trait:ident, $form:ident, $is_text:literal) => {
        impl<D: $trait> Decoder<$kind> for D {
            fn list(session: &Session) {
                let mut decoder = D::default();
                decoder.init(session);
                if let Some(coders) = session.coders() {
                    coders.list_decoder(Box::new(Listed(decoder, PhantomData::<fn() -> $kind>)));
                }
            }
        }

        impl<D: $trait> ListedDecoder for Listed<D, $kind> {
            fn makes(&self, object: TypeId, text: bool) -> bool {
                text == $is_text && object == TypeId::of::<D::Object>()
            }

            fn decode(&mut self, message: &Message, object: &mut dyn Any) -> Option<Result<(), Error>> {
                let (Message::$form(message), Some(object)) = (message, object.downcast_mut::<Option<D::Object>>())
                else {
                    return None;
                };
                if !self.0.will_decode(message) {
                    return None;
                }
                Some(self.0.decode(message.clone()).map(|made| *object = Some(made)))
            }

            fn destroy(&mut self) {
                self.0.destroy();
            }
        }
    };
}
decoder_of_whole_messages!(OfText, TextDecoder, Text, true);
decoder_of_whole_messages!(OfBinary, BinaryDecoder, Binary, false);

macro_rules! encoder_to_whole_messages {
    ($kind:ident, $trait:ident, $form:ident) => {
        impl<E: $trait> Encoder<$kind> for E {
            fn list(session: &Session) {
                let mut encoder = E::default();
                encoder.init(session);
                if let Some(coders) = session.coders() {
                    coders.list_encoder(Box::new(Listed(encoder, PhantomData::<fn() -> $kind>)));
                }
            }
        }

        impl<E: $trait> ListedEncoder for Listed<E, $kind> {
            fn encode(&mut self, object: &dyn Any) -> Option<Result<Message, Error>> {
                let object = object.downcast_ref::<E::Object>()?;
                Some(self.0.encode(object).map(Message::$form))
            }

            fn destroy(&mut self) {
                self.0.destroy();
            }
        }
    };
}
encoder_to_whole_messages!(OfText, TextEncoder, Text);
encoder_to_whole_messages!(OfBinary, BinaryEncoder, Binary);
