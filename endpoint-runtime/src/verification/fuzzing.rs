//! The door for the fuzz targets in `fuzz/`: the rooms that take what a peer sends, without socket, clock or task.
//!
//! It exists only under `cfg(fuzzing)`, adds nothing of its own, and promises nothing to anybody else.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use http::Response;
use http::request::Parts;

use crate::config::Compression;
use crate::error::Error;
use crate::handshake::hosts::Hosts;
use crate::handshake::origins::Origins;
use crate::handshake::path;
use crate::handshake::path::{ContextPath, PathParams, RequestPath, Segment};
use crate::handshake::refusal::Refusal;
use crate::handshake::request::{HandshakeRequest, Transport};
use crate::handshake::router;
use crate::handshake::router::{Lookup, TrailingSlash};
use crate::handshake::server;
use endpoint_wire::close::{CloseCode, CloseReason};
use endpoint_wire::deflate::{Deflation, Inbound};
use endpoint_wire::event::{ByteChunk, DecodeOptions, Event, Utf8Chunk};
use endpoint_wire::extension::{Extension, Parameter};
use endpoint_wire::frame::OpCode;
use endpoint_wire::message::DataKind;
use endpoint_wire::role::Role;
use endpoint_wire::{Violation, decode, encode, event};

/// What becomes of the messages of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    Whole { limit: usize },
    Parts,
    Discard,
}

/// An event of the decoder, without its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    Text(String, bool),
    Binary(Vec<u8>, bool),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(u16, String),
    Discarded { kind: DataKind },
}

/// Why the decoder rejected the input: a close code and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected(pub u16, pub String);

/// The decoder with the rules of its connection.
#[derive(Debug)]
pub struct Decoder(decode::Decoder, DecodeOptions);

impl Decoder {
    pub fn new(text: Delivery, binary: Delivery) -> Self {
        Self(decode::Decoder::default(), DecodeOptions { text: text.into(), binary: binary.into() })
    }

    /// One of a connection that negotiated compression.
    pub fn inflating(text: Delivery, binary: Delivery, no_context_takeover: bool) -> Self {
        let deflate = Some(Inbound::new(no_context_takeover));
        Self(decode::Decoder::new(Role::Server, deflate), DecodeOptions { text: text.into(), binary: binary.into() })
    }

    /// As the connection calls it with what lies in its read buffer.
    pub fn next(&mut self, input: &mut [u8]) -> Result<(usize, Option<Decoded>), Rejected> {
        let (used, event) = self.0.next(&self.1, input)?;
        Ok((used, event.map(Decoded::from)))
    }

    /// As the connection reads into a large message's own place, if there is one; how much was read.
    pub fn direct(&mut self, input: &[u8]) -> Result<Option<(usize, Option<Decoded>)>, Rejected> {
        let Some((place, room)) = self.0.direct(0) else { return Ok(None) };
        let count = room.min(input.len());
        place.extend_from_slice(&input[..count]);
        Ok(Some((count, self.0.filled(count)?.map(Decoded::from))))
    }

    pub fn is_idle(&self) -> bool {
        self.0.is_idle()
    }

    /// Bytes kept of a data message and of a control frame, and the room reserved for both.
    pub fn kept(&self) -> (usize, usize, usize) {
        self.0.kept()
    }
}

impl From<Delivery> for event::Delivery {
    fn from(take: Delivery) -> Self {
        match take {
            Delivery::Whole { limit } => Self::Whole { limit },
            Delivery::Parts => Self::Parts,
            Delivery::Discard => Self::Discard,
        }
    }
}

impl From<Event<'_>> for Decoded {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Text { text: Utf8Chunk::Borrowed(text), last } => Self::Text(text.to_owned(), last),
            Event::Text { text: Utf8Chunk::Owned(text), last } => Self::Text(text.into(), last),
            Event::Binary { data: ByteChunk::Borrowed(data), last } => Self::Binary(data.to_vec(), last),
            Event::Binary { data: ByteChunk::Owned(data), last } => Self::Binary(data.into(), last),
            Event::Ping(data) => Self::Ping(data.into()),
            Event::Pong(data) => Self::Pong(data.into()),
            Event::Close(reason) => Self::Close(reason.code().as_u16(), reason.reason().to_owned()),
            Event::Discarded { kind } => Self::Discarded { kind },
        }
    }
}

impl From<Violation> for Rejected {
    fn from(violation: Violation) -> Self {
        let reason = violation.close_reason();
        Self(reason.code().as_u16(), reason.reason().to_owned())
    }
}

/// The sending side of a session that negotiated compression.
#[derive(Debug)]
pub struct Deflater(Deflation);

impl Deflater {
    pub fn new(level: u32, window_bits: u8, no_context_takeover: bool) -> Self {
        let parameters = no_context_takeover.then_some(Parameter::ServerNoContextTakeover);
        let parameters = parameters.into_iter().chain([Parameter::ServerMaxWindowBits(window_bits)]);
        let compression = Compression::ON.level(level);
        let budget = Arc::default();
        let deflation = Deflation::new(Extension::permessage_deflate(parameters), Role::Server, &compression, &budget);
        Self(deflation.expect("space in the budget"))
    }

    /// Appends a binary message as a frame; false if it is not worth it.
    pub fn frame(&self, payload: &[u8], out: &mut Vec<u8>) -> bool {
        if self.0.no_context_takeover() {
            return self.0.frame_afresh(OpCode::Binary, payload, out);
        }
        self.0.frame_in_order(OpCode::Binary, payload, out);
        true
    }
}

/// Appends a frame; `opcode` is one that a server sends.
pub fn frame(out: &mut Vec<u8>, fin: bool, opcode: u8, payload: &[u8]) {
    let opcode = match opcode {
        0 => OpCode::Continuation,
        1 => OpCode::Text,
        2 => OpCode::Binary,
        9 => OpCode::Ping,
        _ => OpCode::Pong,
    };
    encode::frame(out, fin, opcode, payload);
}

/// Appends a close frame, the phrase cut to what fits; what it then says.
pub fn close(out: &mut Vec<u8>, code: u16, phrase: &str) -> String {
    let reason = CloseReason::truncating(CloseCode::from(code), phrase);
    encode::close(out, &reason);
    reason.reason().to_owned()
}

/// A template: its segments, with `Err` for a variable's name.
pub fn template(text: &str) -> Result<Vec<Result<String, String>>, Error> {
    let template = path::Template::parse(text)?;
    assert_eq!(template.to_string(), text);
    let segments = template.segments().iter().map(|segment| match segment {
        Segment::Literal(text) => Ok(text.to_string()),
        Segment::Variable(name) => Err(name.to_string()),
    });
    Ok(segments.collect())
}

/// Whether `text` is a context path.
pub fn is_context(text: &str) -> bool {
    ContextPath::parse(text).is_ok()
}

/// The decoded segments of a request's path.
pub fn segments(path: &str) -> Option<Vec<String>> {
    let path = RequestPath::parse(path).ok()?;
    Some(path.segments().map(|segment| segment.into_owned()).collect())
}

/// Whether the compile-time check of `#[path_param]` finds the variable.
pub fn template_has(template: &str, name: &str) -> bool {
    path::template_has(template, name)
}

/// A router that leads to the places of its templates in the list it was made from.
#[derive(Debug)]
pub struct Router(router::Router<usize>);

/// The answer of a router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Template(usize, Vec<(String, String)>),
    Nothing,
    BadPath,
}

impl Router {
    /// All that parse, below a context path that does; else the pairs of places that are in conflict.
    pub fn new(context: &str, ignore_slash: bool, templates: &[&str]) -> Result<Self, Vec<(usize, usize)>> {
        let context = ContextPath::parse(context).unwrap_or_default();
        let policy = if ignore_slash { TrailingSlash::Ignore } else { TrailingSlash::Strict };
        let parsed = templates.iter().enumerate();
        let routes = parsed.filter_map(|(place, text)| Some((path::Template::parse(text).ok()?, place)));
        match router::Router::new(&context, policy, routes) {
            Ok(router) => Ok(Self(router)),
            Err(conflicts) => Err(conflicts.pairs().map(|[(_, first), (_, second)]| (*first, *second)).collect()),
        }
    }

    pub fn find(&self, path: &str) -> Found {
        match self.0.find(path) {
            Lookup::Found { value, params } => {
                let params = params.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
                Found::Template(*value, params.collect())
            }
            Lookup::NotFound => Found::Nothing,
            Lookup::BadPath => Found::BadPath,
        }
    }
}

/// The handshake: the chosen subprotocol and the answer, or the refusal.
pub fn accept<'s>(
    parts: &Parts,
    origins: &Origins,
    subprotocols: &[&'s str],
) -> Result<(Option<&'s str>, Response<()>), Refusal> {
    let accepted =
        server::accept(parts, Transport::default(), &Hosts::default(), origins, subprotocols, &Compression::ON)?;
    let response = accepted.response();
    let subprotocol = match accepted.into_subprotocol() {
        Some(Cow::Borrowed(name)) => Some(name),
        // only a configurator chooses one that is not listed
        Some(Cow::Owned(_)) | None => None,
    };
    Ok((subprotocol, response))
}

/// What a session remembers of its request.
pub fn request(parts: &Parts, is_secure: bool, local_addr: Option<SocketAddr>) -> HandshakeRequest {
    HandshakeRequest::new(parts, PathParams::default(), Transport { local_addr, is_secure, ..Transport::default() })
}
