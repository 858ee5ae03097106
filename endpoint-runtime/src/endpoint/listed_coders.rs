//! Coders of every kind in the list of a session: the types of coder and object are erased here.

use std::any::{Any, TypeId};
use std::marker::PhantomData;

use super::coders::{
    BinaryDecoder, BinaryEncoder, BinaryStreamDecoder, BinaryStreamEncoder, TextDecoder, TextEncoder,
    TextStreamDecoder, TextStreamEncoder,
};
use crate::codec::session_coders::{ListedDecoder, ListedEncoder, Part};
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
