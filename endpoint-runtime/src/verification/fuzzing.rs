//! The door for the fuzz targets in `fuzz/` that `endpoint-wire` does not have: the handshake, its paths and its router,
//! without socket, clock or task.
//!
//! It exists only under `cfg(fuzzing)`, adds nothing of its own, and promises nothing to anybody else.

use std::borrow::Cow;
use std::net::SocketAddr;

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
