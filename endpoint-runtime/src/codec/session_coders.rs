//! One connection's instances of the listed coders: each is created once, called in list order, destroyed last.
//!
//! Their types are erased here; the code that creates them, and the code that calls them, know the types.

use std::any::{Any, TypeId};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::Error;
use crate::observe::destructors;
use endpoint_wire::message::{DataKind, Message};

/// A listed decoder. Its result is put into an `Option<Object>`.
pub(crate) trait ListedDecoder: Send {
    /// Whether it decodes messages of this kind into objects of this type.
    fn makes(&self, object: TypeId, kind: DataKind) -> bool;

    /// Decodes `message`; `None` if the decoder is not willing to.
    fn decode(&mut self, message: &Message, object: &mut dyn Any) -> Option<Result<(), Error>>;

    /// Starts a message that is decoded as it arrives. Called only on stream decoders, like the next two methods.
    fn begin(&mut self) {}

    /// Passes a part of the message.
    fn push(&mut self, part: Part<'_>) -> Result<(), Error> {
        let _ = part;
        Ok(())
    }

    /// Ends the message.
    fn finish(&mut self, object: &mut dyn Any) -> Result<(), Error> {
        let _ = object;
        Ok(())
    }

    /// Destroys the decoder; the last call.
    fn destroy(&mut self);
}

/// A part of a message.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// Part of a text message.
    Text(&'a str),
    /// Part of a binary message.
    Binary(&'a [u8]),
}

impl Part<'_> {
    fn kind(&self) -> DataKind {
        match self {
            Self::Text(_) => DataKind::Text,
            Self::Binary(_) => DataKind::Binary,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(data) => data.len(),
        }
    }
}

/// The result of feeding a part.
#[derive(Debug)]
pub enum Fed {
    /// The message continues, or its rest is dropped.
    More,
    /// The message has ended; its object is ready for the handler.
    Ready,
    /// The decoder failed.
    Failed(Error),
    /// The message exceeds its limit.
    TooBig {
        /// Maximum size of the message.
        limit: usize,
        /// Size of the message so far.
        size: u64,
    },
}

/// Feeds a part to the first stream decoder for a type: session, part, whether it is the last, and the limit of the
/// whole message. A function of this kind knows the type.
pub(crate) type Feed = fn(&Coders, Part<'_>, bool, usize) -> Fed;

/// A listed encoder.
pub(crate) trait ListedEncoder: Send {
    /// Encodes `object`; `None` if it is not of the encoder's type.
    fn encode(&mut self, object: &dyn Any) -> Option<Result<Message, Error>>;

    /// Destroys the encoder; the last call.
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
    /// State of a message that is decoded as it arrives: its bytes so far, and whether its decoder has failed.
    feeding: Option<(u64, bool)>,
    /// The object of the last such message, until its handler takes it.
    ready: Option<Box<dyn Any + Send>>,
}

#[derive(Default)]
struct Encoders {
    list: Vec<Box<dyn ListedEncoder>>,
    /// The encoders have been removed to be destroyed.
    ended: bool,
}

impl Coders {
    /// Appends a decoder.
    pub(crate) fn list_decoder(&self, decoder: Box<dyn ListedDecoder>) {
        lock(&self.decoders).list.push(decoder);
    }

    /// Appends an encoder.
    pub(crate) fn list_encoder(&self, encoder: Box<dyn ListedEncoder>) {
        lock(&self.encoders).list.push(encoder);
    }

    /// Decodes the message with the first willing decoder for `T`; `None` if none is willing.
    pub(crate) fn decode<T: 'static>(&self, message: &Message) -> Option<Result<T, Error>> {
        let kind = match message {
            Message::Text(_) => DataKind::Text,
            Message::Binary(_) => DataKind::Binary,
        };
        let mut object: Option<T> = None;
        let mut decoders = lock(&self.decoders);
        let able = decoders.list.iter_mut().filter(|decoder| decoder.makes(TypeId::of::<T>(), kind));
        let decoded = able.into_iter().find_map(|decoder| decoder.decode(message, &mut object))?;
        decoded.map(|()| object).transpose()
    }

    /// Feeds a part of a message to the first decoder for a `T`.
    pub(crate) fn feed<T: Send + 'static>(&self, part: Part<'_>, last: bool, limit: usize) -> Fed {
        let kind = part.kind();
        let decoders = &mut *lock(&self.decoders);
        let first = decoders.list.iter_mut().find(|decoder| decoder.makes(TypeId::of::<T>(), kind));
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

    /// Takes the object of the message that was fed.
    pub(crate) fn take<T: 'static>(&self) -> Option<T> {
        lock(&self.decoders).ready.take()?.downcast().ok().map(|object| *object)
    }

    /// Encodes the object with the first encoder for its type; `None` if there is none.
    pub(crate) fn encode<T: 'static>(&self, object: &T) -> Option<Result<Message, Error>> {
        let mut encoders = lock(&self.encoders);
        if encoders.ended {
            return Some(Err(Error::closed()));
        }
        encoders.list.iter_mut().find_map(|encoder| encoder.encode(object))
    }

    /// Removes all coders, to be destroyed. Nothing is encoded after that.
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

/// A removed coder, to be destroyed.
pub(crate) enum Ending {
    Decoder(Box<dyn ListedDecoder>),
    Encoder(Box<dyn ListedEncoder>),
}

impl Ending {
    /// Destroys the coder, which is the last call to it; then it is dropped.
    pub(crate) fn destroy(&mut self) {
        match self {
            Self::Decoder(decoder) => decoder.destroy(),
            Self::Encoder(encoder) => encoder.destroy(),
        }
    }
}

/// The message format agreed on with one peer.
#[derive(Debug)]
pub(crate) struct Agreed {
    pub(crate) subprotocol: Option<Box<str>>,
    /// `None` if the endpoint lists no coders.
    pub(crate) coders: Option<Box<Coders>>,
}

/// How a session encodes objects: its subprotocol, and the encoders that its endpoint lists.
#[derive(Clone, Copy, Debug)]
pub struct EncodeContext<'a>(pub(crate) &'a Agreed);

impl<'a> EncodeContext<'a> {
    /// The agreed subprotocol.
    pub fn subprotocol(&self) -> Option<&'a str> {
        self.0.subprotocol.as_deref()
    }

    /// Encodes `object` with the first listed encoder for a `T`; `None` if none is listed.
    pub(crate) fn listed<T: 'static>(&self, object: &T) -> Option<Result<Message, Error>> {
        self.0.coders.as_ref()?.encode(object)
    }
}
