//! The coders that an endpoint may list: types of their own that make objects of messages, and messages of objects.
//!
//! A coder may keep what it needs between two messages, since each connection has its own, and says what it does when
//! the connection begins and ends. What needs none of that implements [`DecodeText`](crate::DecodeText),
//! [`DecodeBinary`](crate::DecodeBinary) and [`Encode`](crate::Encode) itself.

use std::any::{Any, TypeId};
use std::marker::PhantomData;

use crate::codec::session_coders::{ListedDecoder, ListedEncoder, Part};
use crate::error::Error;
use crate::session::Session;
use endpoint_wire::message::{Binary, Message};
use endpoint_wire::text::Text;

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
///
/// [`max_nesting`](crate::ContainerBuilder::max_nesting) holds for what it decodes with [`Json`](crate::Json), `MessagePack`,
/// `Cbor` or `Protobuf`. A parser of another kind that calls itself must have a bound of its own.
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

/// Makes objects of text messages while they come (Jakarta's `Decoder.TextStream`): nothing is put together for it, so a
/// message may be larger than what one would keep in memory.
///
/// It is taken in parts if it is the first decoder for its type in the list; parts need not be the frames that were
/// sent. The limit for the whole message is the handler's `max_size` or the endpoint's `max_message_size`, as for every
/// message; a larger one ends the session with 1009. Behind another decoder for the same type, which has to see all of a
/// message to say whether it is willing, it gets the whole message as one part.
///
/// ```
/// use endpoint_runtime::prelude::*;
/// use endpoint_runtime::TextStreamDecoder;
///
/// /// How many lines a message has.
/// struct Lines(usize);
///
/// #[derive(Default)]
/// struct LineCounter(usize);
///
/// impl TextStreamDecoder for LineCounter {
///     type Object = Lines;
///
///     fn begin(&mut self) {
///         self.0 = 0;
///     }
///
///     fn push(&mut self, part: &str) -> Result<(), Error> {
///         self.0 += part.matches('\n').count();
///         Ok(())
///     }
///
///     fn finish(&mut self) -> Result<Lines, Error> {
///         Ok(Lines(self.0))
///     }
/// }
///
/// #[server_endpoint("/count", decoders(LineCounter), max_message_size = "1GiB")]
/// #[derive(Default)]
/// struct Count;
///
/// impl Count {
///     #[on_message(text)]
///     fn count(&mut self, Lines(count): Lines) -> usize {
///         count
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(message = "`{Self}` is no decoder of text streams", label = "does not decode text")]
pub trait TextStreamDecoder: Default + Send + 'static {
    /// What it makes.
    type Object: Send + 'static;

    /// The connection has opened; `on_open` has not been called yet.
    fn init(&mut self, session: &Session) {
        let _ = session;
    }

    /// A message begins. What is left of one before, which may have failed, is to be forgotten.
    fn begin(&mut self);

    /// Takes a part, which may be empty.
    ///
    /// # Errors
    /// Any error reaches `on_error` as it is, at once; the rest of the message is dropped.
    fn push(&mut self, part: &str) -> Result<(), Error>;

    /// The message has ended: makes the object.
    ///
    /// # Errors
    /// Any error reaches `on_error` as it is.
    fn finish(&mut self) -> Result<Self::Object, Error>;

    /// The connection has ended, and `on_close` has returned.
    fn destroy(&mut self) {}
}

/// Makes objects of binary messages while they come (Jakarta's `Decoder.BinaryStream`). As a [`TextStreamDecoder`], for
/// `#[on_message(binary)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no decoder of binary streams",
    label = "does not decode binary data"
)]
pub trait BinaryStreamDecoder: Default + Send + 'static {
    /// What it makes.
    type Object: Send + 'static;

    /// The connection has opened; `on_open` has not been called yet.
    fn init(&mut self, session: &Session) {
        let _ = session;
    }

    /// A message begins. What is left of one before, which may have failed, is to be forgotten.
    fn begin(&mut self);

    /// Takes a part, which may be empty.
    ///
    /// # Errors
    /// Any error reaches `on_error` as it is, at once; the rest of the message is dropped.
    fn push(&mut self, part: &[u8]) -> Result<(), Error>;

    /// The message has ended: makes the object.
    ///
    /// # Errors
    /// Any error reaches `on_error` as it is.
    fn finish(&mut self) -> Result<Self::Object, Error>;

    /// The connection has ended, and `on_close` has returned.
    fn destroy(&mut self) {}
}

/// Writes an object into a text message piece by piece (Jakarta's `Encoder.TextStream`). As a [`TextEncoder`], with the
/// buffer of the message in place of a returned one.
///
/// The pieces are put together before anything is sent: a message is one entry of the outbound queue, where messages of
/// other tasks may not come between its parts, and an encoder that fails half-way has sent nothing.
#[diagnostic::on_unimplemented(message = "`{Self}` is no encoder to text streams", label = "does not encode to text")]
pub trait TextStreamEncoder: Default + Send + 'static {
    /// Of what it makes messages.
    type Object: 'static;

    /// The connection has opened; `on_open` has not been called yet.
    fn init(&mut self, session: &Session) {
        let _ = session;
    }

    /// Writes the message; `text` is empty before.
    ///
    /// # Errors
    /// [`Error::encode`], with the reason; then nothing is sent.
    fn encode(&mut self, object: &Self::Object, text: &mut String) -> Result<(), Error>;

    /// The connection has ended, and `on_close` has returned.
    fn destroy(&mut self) {}
}

/// Writes an object into a binary message piece by piece (Jakarta's `Encoder.BinaryStream`). As a [`TextStreamEncoder`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no encoder to binary streams",
    label = "does not encode to binary data"
)]
pub trait BinaryStreamEncoder: Default + Send + 'static {
    /// Of what it makes messages.
    type Object: 'static;

    /// The connection has opened; `on_open` has not been called yet.
    fn init(&mut self, session: &Session) {
        let _ = session;
    }

    /// Writes the message; `data` is empty before.
    ///
    /// # Errors
    /// [`Error::encode`], with the reason; then nothing is sent.
    fn encode(&mut self, object: &Self::Object, data: &mut Vec<u8>) -> Result<(), Error>;

    /// The connection has ended, and `on_close` has returned.
    fn destroy(&mut self) {}
}

/// A coder is of one kind, which is found out from the trait it implements: `K` is inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be listed in `decoders(…)`",
    label = "is no decoder",
    note = "implement TextDecoder, BinaryDecoder, TextStreamDecoder or BinaryStreamDecoder for it; they want Default"
)]
pub trait Decoder<K>: Send + 'static {
    /// Makes one and adds it to the list of the session.
    fn list(session: &Session);
}

/// As [`Decoder`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be listed in `encoders(…)`",
    label = "is no encoder",
    note = "implement TextEncoder, BinaryEncoder, TextStreamEncoder or BinaryStreamEncoder for it; they want Default"
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
/// See [`OfText`].
#[derive(Debug)]
pub struct OfTextStream;
/// See [`OfText`].
#[derive(Debug)]
pub struct OfBinaryStream;

/// A coder with its kind.
struct Listed<C, K>(C, PhantomData<fn() -> K>);

macro_rules! listable {
    ($coder:ident, $list:ident, $kind:ident, $trait:ident) => {
        impl<C: $trait> $coder<$kind> for C {
            fn list(session: &Session) {
                let mut coder = C::default();
                coder.init(session);
                if let Some(coders) = session.coders() {
                    coders.$list(Box::new(Listed(coder, PhantomData::<fn() -> $kind>)));
                }
            }
        }
    };
}

macro_rules! decoder_of_whole_messages {
    ($kind:ident, $trait:ident, $form:ident, $is_text:literal) => {
        listable!(Decoder, list_decoder, $kind, $trait);

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
        listable!(Encoder, list_encoder, $kind, $trait);

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

macro_rules! decoder_of_streams {
    ($kind:ident, $trait:ident, $form:ident, $is_text:literal) => {
        listable!(Decoder, list_decoder, $kind, $trait);

        impl<D: $trait> ListedDecoder for Listed<D, $kind> {
            fn makes(&self, object: TypeId, text: bool) -> bool {
                text == $is_text && object == TypeId::of::<D::Object>()
            }

            fn decode(&mut self, message: &Message, object: &mut dyn Any) -> Option<Result<(), Error>> {
                let Message::$form(message) = message else { return None };
                self.0.begin();
                Some(self.0.push(message).and_then(|()| self.finish(object)))
            }

            fn begin(&mut self) {
                self.0.begin();
            }

            fn push(&mut self, part: Part<'_>) -> Result<(), Error> {
                match part {
                    Part::$form(part) => self.0.push(part),
                    _ => Ok(()),
                }
            }

            fn finish(&mut self, object: &mut dyn Any) -> Result<(), Error> {
                let made = self.0.finish()?;
                if let Some(object) = object.downcast_mut::<Option<D::Object>>() {
                    *object = Some(made);
                }
                Ok(())
            }

            fn destroy(&mut self) {
                self.0.destroy();
            }
        }
    };
}
decoder_of_streams!(OfTextStream, TextStreamDecoder, Text, true);
decoder_of_streams!(OfBinaryStream, BinaryStreamDecoder, Binary, false);

macro_rules! encoder_to_streams {
    ($kind:ident, $trait:ident, $form:ident, $buffer:ty) => {
        listable!(Encoder, list_encoder, $kind, $trait);

        impl<E: $trait> ListedEncoder for Listed<E, $kind> {
            fn encode(&mut self, object: &dyn Any) -> Option<Result<Message, Error>> {
                let object = object.downcast_ref::<E::Object>()?;
                let mut buffer = <$buffer>::new();
                Some(self.0.encode(object, &mut buffer).map(|()| Message::$form(buffer.into())))
            }

            fn destroy(&mut self) {
                self.0.destroy();
            }
        }
    };
}
encoder_to_streams!(OfTextStream, TextStreamEncoder, Text, String);
encoder_to_streams!(OfBinaryStream, BinaryStreamEncoder, Binary, Vec<u8>);
