//! The coders that an endpoint lists, as one connection has them: each made once, asked in their order, destroyed last.
//!
//! Their types are erased here; who makes them knows the types, and so does who asks.

use std::any::{Any, TypeId};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::Error;
use crate::observe::destructors;
use endpoint_wire::message::Message;

/// A decoder of a list. What it makes is put into an `Option<Object>`.
pub(crate) trait ListedDecoder: Send {
    /// Whether it makes objects of this type out of messages of this kind.
    fn makes(&self, object: TypeId, text: bool) -> bool;

    /// `None` if it will not decode the message.
    fn decode(&mut self, message: &Message, object: &mut dyn Any) -> Option<Result<(), Error>>;

    /// A message begins that is handed on as it comes. Asked only of decoders of streams, as the next two.
    fn begin(&mut self) {}

    /// A part of it.
    fn push(&mut self, part: Part<'_>) -> Result<(), Error> {
        let _ = part;
        Ok(())
    }

    /// The end of it.
    fn finish(&mut self, object: &mut dyn Any) -> Result<(), Error> {
        let _ = object;
        Ok(())
    }

    /// The last call.
    fn destroy(&mut self);
}

/// A part of a message.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// Of a text message.
    Text(&'a str),
    /// Of a binary message.
    Binary(&'a [u8]),
}

impl Part<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(data) => data.len(),
        }
    }
}

/// What came of a part.
#[derive(Debug)]
pub enum Fed {
    /// The message goes on, or its rest is dropped.
    More,
    /// The message has ended; its object is there for the handler.
    Ready,
    /// The decoder failed.
    Failed(Error),
    /// The message is beyond its limit.
    TooBig {
        /// It.
        limit: usize,
        /// What is known of the message.
        size: u64,
    },
}

/// Gives a part to the decoder of streams that comes first for a type: session, part, whether it is the last, and the
/// limit of the whole message. A function of this kind knows the type.
pub(crate) type Feed = fn(&Coders, Part<'_>, bool, usize) -> Fed;

/// An encoder of a list.
pub(crate) trait ListedEncoder: Send {
    /// `None` if the object is not of its type.
    fn encode(&mut self, object: &dyn Any) -> Option<Result<Message, Error>>;

    /// The last call.
    fn destroy(&mut self);
}

/// The coders of one connection.
#[derive(Default)]
pub struct Coders {
    decoders: Mutex<Decoders>,
    encoders: Mutex<Encoders>,
}

#[derive(Default)]
struct Decoders {
    list: Vec<Box<dyn ListedDecoder>>,
    /// How a message stands that is decoded as it comes: its bytes so far, and whether its decoder has failed.
    feeding: Option<(u64, bool)>,
    /// What the last such message came to, until its handler takes it.
    ready: Option<Box<dyn Any + Send>>,
}

#[derive(Default)]
struct Encoders {
    list: Vec<Box<dyn ListedEncoder>>,
    /// They have been taken away to be destroyed.
    ended: bool,
}

impl Coders {
    /// Puts a decoder behind the others.
    pub(crate) fn list_decoder(&self, decoder: Box<dyn ListedDecoder>) {
        lock(&self.decoders).list.push(decoder);
    }

    /// Puts an encoder behind the others.
    pub(crate) fn list_encoder(&self, encoder: Box<dyn ListedEncoder>) {
        lock(&self.encoders).list.push(encoder);
    }

    /// The object that the first willing decoder of its type makes of the message; `None` if none is willing.
    pub(crate) fn decode<T: 'static>(&self, message: &Message) -> Option<Result<T, Error>> {
        let text = matches!(message, Message::Text(_));
        let mut object: Option<T> = None;
        let mut decoders = lock(&self.decoders);
        let able = decoders.list.iter_mut().filter(|decoder| decoder.makes(TypeId::of::<T>(), text));
        let decoded = able.into_iter().find_map(|decoder| decoder.decode(message, &mut object))?;
        decoded.map(|()| object).transpose()
    }

    /// Gives a part of a message to the first decoder for a `T`.
    pub(crate) fn feed<T: Send + 'static>(&self, part: Part<'_>, last: bool, limit: usize) -> Fed {
        let text = matches!(part, Part::Text(_));
        let decoders = &mut *lock(&self.decoders);
        let first = decoders.list.iter_mut().find(|decoder| decoder.makes(TypeId::of::<T>(), text));
        let Some(decoder) = first else { return Fed::More };
        let (before, failed) = decoders.feeding.take().unwrap_or_else(|| {
            decoder.begin();
            (0, false)
        });
        let size = before + part.len() as u64;
        if size > limit as u64 {
            return Fed::TooBig { limit, size };
        }
        let pushed = if failed { Ok(()) } else { decoder.push(part) };
        if !last {
            decoders.feeding = Some((size, failed || pushed.is_err()));
        }
        let mut object: Option<T> = None;
        match pushed {
            Err(error) => return Fed::Failed(error),
            Ok(()) if failed || !last => return Fed::More,
            Ok(()) => {}
        }
        match decoder.finish(&mut object) {
            Ok(()) => {
                decoders.ready = object.map(|object| Box::new(object) as Box<dyn Any + Send>);
                Fed::Ready
            }
            Err(error) => Fed::Failed(error),
        }
    }

    /// What the message that was fed came to.
    pub(crate) fn take<T: 'static>(&self) -> Option<T> {
        lock(&self.decoders).ready.take()?.downcast().ok().map(|object| *object)
    }

    /// The message that the first encoder for its type makes of the object; `None` if there is no such encoder.
    pub(crate) fn encode<T: 'static>(&self, object: &T) -> Option<Result<Message, Error>> {
        let mut encoders = lock(&self.encoders);
        if encoders.ended {
            return Some(Err(Error::closed()));
        }
        encoders.list.iter_mut().find_map(|encoder| encoder.encode(object))
    }

    /// Takes all of them away, for their end. After that nothing is encoded any more.
    pub(crate) fn end(&self) -> impl Iterator<Item = Ending> + use<> {
        let Decoders { list: decoders, ready, .. } = std::mem::take(&mut *lock(&self.decoders));
        // an object whose handler was never called
        destructors::run("a decoded object", ready);
        let encoders = {
            let mut encoders = lock(&self.encoders);
            encoders.ended = true;
            std::mem::take(&mut encoders.list)
        };
        decoders.into_iter().map(Ending::Decoder).chain(encoders.into_iter().map(Ending::Encoder))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Coders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coders").finish_non_exhaustive()
    }
}

/// A coder at its end.
pub(crate) enum Ending {
    Decoder(Box<dyn ListedDecoder>),
    Encoder(Box<dyn ListedEncoder>),
}

impl Ending {
    /// The last call to it; then it is dropped.
    pub(crate) fn destroy(&mut self) {
        match self {
            Self::Decoder(decoder) => decoder.destroy(),
            Self::Encoder(encoder) => encoder.destroy(),
        }
    }
}

/// What was agreed on with one peer about the form of messages.
#[derive(Debug)]
pub(crate) struct Agreed {
    pub(crate) subprotocol: Option<Box<str>>,
    /// Only if the endpoint lists any.
    pub(crate) coders: Option<Box<Coders>>,
}

/// What a session speaks: its subprotocol, and the encoders that its endpoint lists.
#[derive(Clone, Copy, Debug)]
pub struct EncodeContext<'a>(pub(crate) &'a Agreed);

impl<'a> EncodeContext<'a> {
    /// The subprotocol both sides agreed on.
    pub fn subprotocol(&self) -> Option<&'a str> {
        self.0.subprotocol.as_deref()
    }

    /// The message that the first listed encoder for a `T` makes of `object`; `None` if none is listed.
    pub(crate) fn listed<T: 'static>(&self, object: &T) -> Option<Result<Message, Error>> {
        self.0.coders.as_ref()?.encode(object)
    }
}
