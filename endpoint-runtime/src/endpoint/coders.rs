//! The coders that an endpoint may list: separate types that decode messages into objects and encode objects into
//! messages.
//!
//! Each connection has its own coders, so a coder may keep state between messages, and has hooks for the connection's
//! start and end. A type that needs none of that implements [`DecodeText`](crate::DecodeText),
//! [`DecodeBinary`](crate::DecodeBinary) and [`Encode`](crate::Encode) itself.

use crate::error::Error;
use crate::session::Session;
use endpoint_wire::message::Binary;
use endpoint_wire::text::Text;

/// Decodes text messages into objects (Jakarta's `Decoder.Text`).
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
/// Each connection has its own decoder, made by `Default` when the connection opens. [`init`](Self::init) is called
/// before `on_open`, [`destroy`](Self::destroy) after `on_close` in every case, even if `on_open` failed.
///
/// If several decoders make the same type, the first in the list that [will](Self::will_decode) decode a message does.
/// If it fails, its error goes to `on_error`, and no other decoder is tried. If all decline, the type decodes itself
/// if it can; otherwise `on_error` receives an error, and the session goes on.
///
/// [`max_nesting`](crate::ContainerBuilder::max_nesting) applies to decoding with [`Json`](crate::Json), `MessagePack`,
/// `Cbor` or `Protobuf`. Any other recursive parser needs its own depth limit.
#[diagnostic::on_unimplemented(message = "`{Self}` does not implement `TextDecoder`", label = "cannot decode text")]
pub trait TextDecoder: Default + Send + 'static {
    /// The type of the decoded objects.
    type Object: Send + 'static;

    /// Called when the connection has opened, before `on_open`.
    fn init(&mut self, session: &Session) {
        let _ = session;
    }

    /// Whether the decoder accepts this message. If not, the next decoder of the list is tried. Accepts all by default.
    fn will_decode(&mut self, text: &str) -> bool {
        let _ = text;
        true
    }

    /// Decodes a message into an object.
    ///
    /// # Errors
    /// [`Error::decode`], with the text; any other error reaches `on_error` unchanged.
    fn decode(&mut self, text: Text) -> Result<Self::Object, Error>;

    /// Called when the connection has ended, after `on_close`.
    fn destroy(&mut self) {}
}

/// Decodes binary messages into objects (Jakarta's `Decoder.Binary`). Like a [`TextDecoder`], for
/// `#[on_message(binary)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not implement `BinaryDecoder`",
    label = "cannot decode binary data"
)]
pub trait BinaryDecoder: Default + Send + 'static {
    /// The type of the decoded objects.
    type Object: Send + 'static;

    /// Called when the connection has opened, before `on_open`.
    fn init(&mut self, session: &Session) {
        let _ = session;
    }

    /// Whether the decoder accepts this message. If not, the next decoder of the list is tried. Accepts all by default.
    fn will_decode(&mut self, data: &[u8]) -> bool {
        let _ = data;
        true
    }

    /// Decodes a message into an object.
    ///
    /// # Errors
    /// [`Error::decode`], with the data; any other error reaches `on_error` unchanged.
    fn decode(&mut self, data: Binary) -> Result<Self::Object, Error>;

    /// Called when the connection has ended, after `on_close`.
    fn destroy(&mut self) {}
}

/// Encodes objects into text messages (Jakarta's `Encoder.Text`). See [`TextDecoder`] for how coders are listed, made
/// and destroyed.
///
/// A listed encoder takes precedence over a type's own [`Encode`](crate::Encode), for numbers and text as well. Only
/// the first encoder in the list for a type is used. It encodes the replies of handlers whose return type is written
/// as `T`, `Option<T>` or `Result<T, E>`, and what `send_object` sends: see [`Object`](crate::Object). A type that has its
/// own `Encode` asks for the listed encoder in [`Encode::encode_for`](crate::Encode::encode_for).
///
/// One task at a time calls an encoder; other tasks wait. So an encoder must not send on its own session.
#[diagnostic::on_unimplemented(message = "`{Self}` does not implement `TextEncoder`", label = "cannot encode as text")]
pub trait TextEncoder: Default + Send + 'static {
    /// The type of the objects to encode.
    type Object: 'static;

    /// Called when the connection has opened, before `on_open`.
    fn init(&mut self, session: &Session) {
        let _ = session;
    }

    /// Encodes an object into a message.
    ///
    /// # Errors
    /// [`Error::encode`], with the reason. For a reply, `on_error` receives it; for `send_object`, the caller does.
    fn encode(&mut self, object: &Self::Object) -> Result<Text, Error>;

    /// Called when the connection has ended, after `on_close`.
    fn destroy(&mut self) {}
}

/// Encodes objects into binary messages (Jakarta's `Encoder.Binary`). Like [`TextEncoder`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not implement `BinaryEncoder`",
    label = "cannot encode as binary data"
)]
pub trait BinaryEncoder: Default + Send + 'static {
    /// The type of the objects to encode.
    type Object: 'static;

    /// Called when the connection has opened, before `on_open`.
    fn init(&mut self, session: &Session) {
        let _ = session;
    }

    /// Encodes an object into a message.
    ///
    /// # Errors
    /// [`Error::encode`], with the reason. For a reply, `on_error` receives it; for `send_object`, the caller does.
    fn encode(&mut self, object: &Self::Object) -> Result<Binary, Error>;

    /// Called when the connection has ended, after `on_close`.
    fn destroy(&mut self) {}
}

/// Decodes text messages into objects while they arrive (Jakarta's `Decoder.TextStream`). Messages are not reassembled,
/// so a message may be larger than the memory you would spend on it.
///
/// A stream decoder receives parts if it is the first decoder for its type in the list; parts need not match the frames
/// that were sent. The limit for the whole message is the handler's `max_size` or the endpoint's `max_message_size`, as
/// for every message; a larger message ends the session with 1009. Behind another decoder for the same type, which must
/// see the whole message to accept it, a stream decoder receives the whole message as one part.
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
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not implement `TextStreamDecoder`",
    label = "cannot decode text"
)]
pub trait TextStreamDecoder: Default + Send + 'static {
    /// The type of the decoded objects.
    type Object: Send + 'static;

    /// Called when the connection has opened, before `on_open`.
    fn init(&mut self, session: &Session) {
        let _ = session;
    }

    /// Starts a message. Discard any state of a previous message, which may have failed.
    fn begin(&mut self);

    /// Takes a part of the message, which may be empty.
    ///
    /// # Errors
    /// Any error reaches `on_error` unchanged, at once; the rest of the message is dropped.
    fn push(&mut self, part: &str) -> Result<(), Error>;

    /// Makes the object when the message has ended.
    ///
    /// # Errors
    /// Any error reaches `on_error` unchanged.
    fn finish(&mut self) -> Result<Self::Object, Error>;

    /// Called when the connection has ended, after `on_close`.
    fn destroy(&mut self) {}
}

/// Decodes binary messages into objects while they arrive (Jakarta's `Decoder.BinaryStream`). Like
/// [`TextStreamDecoder`], for `#[on_message(binary)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not implement `BinaryStreamDecoder`",
    label = "cannot decode binary data"
)]
pub trait BinaryStreamDecoder: Default + Send + 'static {
    /// The type of the decoded objects.
    type Object: Send + 'static;

    /// Called when the connection has opened, before `on_open`.
    fn init(&mut self, session: &Session) {
        let _ = session;
    }

    /// Starts a message. Discard any state of a previous message, which may have failed.
    fn begin(&mut self);

    /// Takes a part of the message, which may be empty.
    ///
    /// # Errors
    /// Any error reaches `on_error` unchanged, at once; the rest of the message is dropped.
    fn push(&mut self, part: &[u8]) -> Result<(), Error>;

    /// Makes the object when the message has ended.
    ///
    /// # Errors
    /// Any error reaches `on_error` unchanged.
    fn finish(&mut self) -> Result<Self::Object, Error>;

    /// Called when the connection has ended, after `on_close`.
    fn destroy(&mut self) {}
}

/// Writes an object into a text message piece by piece (Jakarta's `Encoder.TextStream`). Like [`TextEncoder`], but it
/// writes into the message's buffer instead of returning a message.
///
/// The whole message is buffered before anything is sent. So it is one entry of the send queue, messages of other tasks
/// cannot come between its parts, and an encoder that fails half-way has sent nothing.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not implement `TextStreamEncoder`",
    label = "cannot encode as text"
)]
pub trait TextStreamEncoder: Default + Send + 'static {
    /// The type of the objects to encode.
    type Object: 'static;

    /// Called when the connection has opened, before `on_open`.
    fn init(&mut self, session: &Session) {
        let _ = session;
    }

    /// Writes the message into `text`, which is empty at first.
    ///
    /// # Errors
    /// [`Error::encode`], with the reason; nothing is sent then.
    fn encode(&mut self, object: &Self::Object, text: &mut String) -> Result<(), Error>;

    /// Called when the connection has ended, after `on_close`.
    fn destroy(&mut self) {}
}

/// Writes an object into a binary message piece by piece (Jakarta's `Encoder.BinaryStream`). See [`TextStreamEncoder`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not implement `BinaryStreamEncoder`",
    label = "cannot encode as binary data"
)]
pub trait BinaryStreamEncoder: Default + Send + 'static {
    /// The type of the objects to encode.
    type Object: 'static;

    /// Called when the connection has opened, before `on_open`.
    fn init(&mut self, session: &Session) {
        let _ = session;
    }

    /// Writes the message into `data`, which is empty at first.
    ///
    /// # Errors
    /// [`Error::encode`], with the reason; nothing is sent then.
    fn encode(&mut self, object: &Self::Object, data: &mut Vec<u8>) -> Result<(), Error>;

    /// Called when the connection has ended, after `on_close`.
    fn destroy(&mut self) {}
}
