//! The door for the measurements in `benches/micro`: sets of sessions, without socket, clock or task.
//!
//! It exists only under `cfg(measuring)`, adds nothing of its own, and promises nothing to anybody else.

use std::sync::Arc;

use crate::config::Limits;
use crate::handshake::path::PathParams;
use crate::handshake::request::{HandshakeRequest, Transport};
use crate::session::{OpenGuard, OpenSet, Session, SessionInit};

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
