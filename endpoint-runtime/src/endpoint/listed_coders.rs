//! Coders of every kind in the list of a session: the types of coder and object are erased here.

use std::any::{Any, TypeId};
use std::marker::PhantomData;

use super::coders::{
    BinaryDecoder, BinaryEncoder, BinaryStreamDecoder, BinaryStreamEncoder, TextDecoder, TextEncoder,
    TextStreamDecoder, TextStreamEncoder,
};
use crate::codec::Encode;
use crate::codec::session_coders::{EncodeContext, ListedDecoder, ListedEncoder, Part};
use crate::error::Error;
use crate::session::Session;
use endpoint_wire::message::{DataKind, Message};

/// A decoder of any kind. The compiler infers the kind `K` from the trait that the decoder implements.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be listed in `decoders(…)`",
    label = "not a decoder",
    note = "implement TextDecoder, BinaryDecoder, TextStreamDecoder or BinaryStreamDecoder for it; all of them require Default"
)]
pub trait Decoder<K>: Send + 'static {
    /// Makes a coder and adds it to the session's list.
    fn list(session: &Session);
}

/// An encoder of any kind. See [`Decoder`] for `K`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be listed in `encoders(…)`",
    label = "not an encoder",
    note = "implement TextEncoder, BinaryEncoder, TextStreamEncoder or BinaryStreamEncoder for it; all of them require Default"
)]
pub trait Encoder<K>: Send + 'static {
    /// Makes a coder and adds it to the session's list.
    fn list(session: &Session);
}

/// Makes a decoder and adds it to the session's list.
pub fn list_decoder<D: Decoder<K>, K>(session: &Session) {
    D::list(session);
}

/// Makes an encoder and adds it to the session's list.
pub fn list_encoder<E: Encoder<K>, K>(session: &Session) {
    E::list(session);
}

/// Kind of a coder for whole text messages.
#[derive(Debug)]
pub struct OfText;
/// Kind of a coder for whole binary messages.
#[derive(Debug)]
pub struct OfBinary;
/// Kind of a stream coder for text messages.
#[derive(Debug)]
pub struct OfTextStream;
/// Kind of a stream coder for binary messages.
#[derive(Debug)]
pub struct OfBinaryStream;

/// The type that an encoder of kind `K` encodes; the kinds are numbers, so that [`encoder_kind`] can make one of them.
pub trait Encodes<const K: usize> {
    /// The type of the objects.
    type Object: 'static;
}

impl<E: TextEncoder> Encodes<0> for E {
    type Object = E::Object;
}

impl<E: BinaryEncoder> Encodes<1> for E {
    type Object = E::Object;
}

impl<E: TextStreamEncoder> Encodes<2> for E {
    type Object = E::Object;
}

impl<E: BinaryStreamEncoder> Encodes<3> for E {
    type Object = E::Object;
}

/// The object of a type that is no encoder, which is reported elsewhere.
#[derive(Debug)]
pub struct NoObject;

impl<E> Encodes<4> for E {
    type Object = NoObject;
}

/// Whether a type has a property: the inherent constants, or else those of [`HasNot`].
#[derive(Debug)]
pub struct Has<T: ?Sized>(PhantomData<fn() -> T>);

impl<E: TextEncoder> Has<E> {
    /// It is a text encoder.
    pub const TEXT: bool = true;
}

impl<E: BinaryEncoder> Has<E> {
    /// It is a binary encoder.
    pub const BINARY: bool = true;
}

impl<E: TextStreamEncoder> Has<E> {
    /// It is a text stream encoder.
    pub const TEXT_STREAM: bool = true;
}

impl<E: BinaryStreamEncoder> Has<E> {
    /// It is a binary stream encoder.
    pub const BINARY_STREAM: bool = true;
}

impl<T: Encode> Has<T> {
    /// It encodes itself.
    pub const ENCODING: bool = true;
}

impl<T> Has<(T, T)> {
    /// The two types are one.
    pub const SAME: bool = true;
}

/// Fallback constants for a type without a property.
#[allow(missing_docs)]
pub trait HasNot {
    const TEXT: bool = false;
    const BINARY: bool = false;
    const TEXT_STREAM: bool = false;
    const BINARY_STREAM: bool = false;
    const ENCODING: bool = false;
    const SAME: bool = false;
}

impl<T: ?Sized> HasNot for Has<T> {}

/// The kind `K` of [`Encodes`].
pub const fn encoder_kind(text: bool, binary: bool, text_stream: bool, binary_stream: bool) -> usize {
    match (text, binary, text_stream, binary_stream) {
        (true, ..) => 0,
        (_, true, ..) => 1,
        (_, _, true, _) => 2,
        (_, _, _, true) => 3,
        _ => 4,
    }
}

/// One of two types.
#[derive(Debug)]
pub struct If<const IS: bool>;

/// `A` if the condition holds, and `B` otherwise.
pub trait Select<A, B> {
    /// The selected type.
    type Type;
}

impl<A, B> Select<A, B> for If<true> {
    type Type = A;
}

impl<A, B> Select<A, B> for If<false> {
    type Type = B;
}

/// Encodes an object with the session's listed encoder.
///
/// # Errors
/// The encoder's error; or the session's endpoint lists none.
pub fn encode_listed<T: 'static>(object: &T, context: &EncodeContext<'_>) -> Result<Message, Error> {
    context.listed(object).unwrap_or_else(|| {
        let name = std::any::type_name::<T>();
        Err(Error::encode(format!("the session's endpoint lists no encoder for {name}")))
    })
}

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
    ($kind:ident, $trait:ident, $form:ident) => {
        listable!(Decoder, list_decoder, $kind, $trait);

        impl<D: $trait> ListedDecoder for Listed<D, $kind> {
            fn makes(&self, object: TypeId, kind: DataKind) -> bool {
                kind == DataKind::$form && object == TypeId::of::<D::Object>()
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
decoder_of_whole_messages!(OfText, TextDecoder, Text);
decoder_of_whole_messages!(OfBinary, BinaryDecoder, Binary);

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
    ($kind:ident, $trait:ident, $form:ident) => {
        listable!(Decoder, list_decoder, $kind, $trait);

        impl<D: $trait> ListedDecoder for Listed<D, $kind> {
            fn makes(&self, object: TypeId, kind: DataKind) -> bool {
                kind == DataKind::$form && object == TypeId::of::<D::Object>()
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
decoder_of_streams!(OfTextStream, TextStreamDecoder, Text);
decoder_of_streams!(OfBinaryStream, BinaryStreamDecoder, Binary);

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
