//! The door for the measurements in `benches/micro`: the rooms of the wire one by one, and sets of sessions, without
//! socket, clock or task.
//!
//! It exists only under `cfg(measuring)`, adds nothing of its own, and promises nothing to anybody else.

use std::sync::Arc;

use crate::config::Limits;
use crate::handshake::path::PathParams;
use crate::handshake::request::{HandshakeRequest, Transport};
use crate::session::{OpenGuard, OpenSet, Session, SessionInit};
use endpoint_wire::decode;
use endpoint_wire::event::{DecodeOptions, Delivery, Event};
use endpoint_wire::frame::{self, OpCode};
use endpoint_wire::role::Role;
use endpoint_wire::{encode, mask, utf8};

/// The length of the header at the front of `input`, and that of its payload.
pub fn header(input: &[u8]) -> Option<(usize, u64)> {
    let header = frame::parse(input, Role::Server, false).ok()??;
    Some((header.len, header.payload))
}

/// Unmasks a payload in place.
pub fn unmask(payload: &mut [u8], key: [u8; 4]) {
    mask::apply(payload, key, 0);
}

/// Whether a whole payload is UTF-8.
pub fn is_utf8(payload: &[u8]) -> bool {
    utf8::whole(payload).is_some()
}

/// Appends a final text frame.
pub fn encode(out: &mut Vec<u8>, payload: &[u8]) {
    encode::frame(out, true, OpCode::Text, payload);
}

/// The decoder of an endpoint that takes text and binary data whole.
#[derive(Debug)]
pub struct Decoder(decode::Decoder, DecodeOptions);

impl Decoder {
    /// With a limit for messages.
    pub fn new(limit: usize) -> Self {
        Self(
            decode::Decoder::default(),
            DecodeOptions { text: Delivery::Whole { limit }, binary: Delivery::Whole { limit } },
        )
    }

    /// Decodes a read buffer as the connection does: how many bytes of messages were in it; `None` for a violation.
    pub fn bytes(&mut self, mut input: &mut [u8]) -> Option<usize> {
        let mut bytes = 0;
        while !input.is_empty() {
            let (used, event) = self.0.next(&self.1, input).ok()?;
            bytes += match event {
                Some(Event::Text { text, .. }) => text.as_str().len(),
                Some(Event::Binary { data, .. }) => data.as_slice().len(),
                _ => 0,
            };
            input = &mut input[used..];
        }
        Some(bytes)
    }
}

/// An endpoint whose sessions have no socket.
#[derive(Debug)]
pub struct Endpoint(Arc<OpenSet>);

impl Endpoint {
    /// One without sessions.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self(Arc::new(OpenSet::new("/", "Measured", Limits::default())))
    }

    /// A session that has not entered it yet.
    pub fn session(&self) -> Entry {
        let parts = http::Request::new(()).into_parts().0;
        let request = HandshakeRequest::new(&parts, PathParams::default(), Transport::default());
        let (response, subprotocol, deflation, rare) = <_>::default();
        let init = SessionInit { request, response, subprotocol, deflation, endpoint: self.0.clone(), rare };
        let session = Session::new(init, None);
        Entry(OpenGuard::of(&session), session)
    }
}

/// A session of an [`Endpoint`]; it leaves when this is dropped.
#[allow(missing_debug_implementations)]
pub struct Entry(OpenGuard, Session);

impl Entry {
    /// Enters the open sessions of its endpoint.
    pub fn enter(&self) {
        self.0.take();
    }

    /// The session.
    pub fn session(&self) -> &Session {
        &self.1
    }
}
