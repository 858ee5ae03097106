//! The door for the fuzz targets in `fuzz/` that `endpoint-wire` does not have: the handshake, its paths and its router,
//! without socket, clock or task; the header of the PROXY protocol; the packets of a cluster and a node that receives them.
//!
//! It exists only under `cfg(fuzzing)`, adds nothing of its own, and promises nothing to anybody else.

use std::borrow::Cow;
use std::net::SocketAddr;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Response};

use crate::cluster::authentication::Key;
use crate::cluster::bare_node;
use crate::cluster::envelope::{self, Entry, PacketWriter, encode};
use crate::cluster::{ClusterCounts, NodeId, Subject};
use crate::config::Compression;
use crate::error::Error;
use crate::handshake::forwarded::{ForwardedHeaders, Told};
use crate::handshake::hosts::Hosts;
use crate::handshake::origins::Origins;
use crate::handshake::path;
use crate::handshake::path::{ContextPath, PathParams, RequestPath, Segment};
use crate::handshake::proxy_protocol;
use crate::handshake::refusal::Refusal;
use crate::handshake::request::{HandshakeRequest, Transport};
use crate::handshake::router;
use crate::handshake::router::{Lookup, TrailingSlash};
use crate::handshake::server;
use crate::handshake::trusted_proxies::TrustedProxies;
use crate::observe::redaction;
use crate::observe::trace_context::TraceContext;

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

/// The trace and the parent of a `traceparent` header.
pub fn trace_context(header: &str) -> Option<(u128, u64)> {
    TraceContext::parse(header).map(|context| (context.trace_id, context.parent_id))
}

/// A text as the traffic log shows it, apart from cutting.
pub fn redacted(text: &str) -> String {
    redaction::redacted(text, &[])
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

/// The header of the PROXY protocol at the beginning of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
#[non_exhaustive]
pub enum ProxyHeader {
    Absent,
    Invalid,
    Incomplete { missing: usize },
    Complete { addresses: Option<(SocketAddr, SocketAddr)>, is_secure: bool, length: usize },
}

/// Reads the header of the PROXY protocol.
pub fn proxy_header(bytes: &[u8]) -> ProxyHeader {
    match proxy_protocol::parse(bytes) {
        Ok(proxy_protocol::Parsed::Absent) => ProxyHeader::Absent,
        Ok(proxy_protocol::Parsed::Incomplete { missing }) => ProxyHeader::Incomplete { missing },
        Ok(proxy_protocol::Parsed::Complete { header, length }) => {
            ProxyHeader::Complete { addresses: header.addresses, is_secure: header.is_secure, length }
        }
        Err(_) => ProxyHeader::Invalid,
    }
}

/// What trusted proxies tell of a client: its address, whether it is secure, its host and port.
pub fn client(
    headers: &HeaderMap,
    which: ForwardedHeaders,
    trusted: &[&str],
) -> (Option<SocketAddr>, Option<bool>, Option<String>, Option<u16>) {
    let trusted = TrustedProxies::list(trusted).unwrap_or_default();
    let Told { addr, is_secure, host, port } = Told::read(headers, which, &trusted);
    (addr, is_secure, host.map(Cow::into_owned), port)
}

/// A packet of another node that was read.
#[derive(Debug, PartialEq)]
pub struct ClusterPacket(NodeId, Vec<Entry>);

impl ClusterPacket {
    /// Reads a packet; `None` if it is rejected.
    pub fn read(subject: Subject, packet: Bytes, secret: Option<&[u8]>) -> Option<Self> {
        let (node, entries) = envelope::read(subject, packet, secret.map(Key::new).as_ref()).ok()?;
        Some(Self(node, entries))
    }

    /// Number of entries.
    pub fn entries(&self) -> usize {
        self.1.len()
    }

    /// The packet as this version writes it.
    pub fn encode(&self, subject: Subject, secret: Option<&[u8]>) -> Bytes {
        let key = secret.map(Key::new);
        let mut writer = PacketWriter::new(subject, self.0, key.as_ref());
        self.1.iter().for_each(|entry| writer.push(&encode(entry)));
        writer.finish(key.as_ref())
    }
}

/// What a node keeps, and has counted.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct ClusterNode {
    pub peers: usize,
    pub outbox: usize,
    pub published: usize,
    pub held: usize,
    pub tasks: usize,
    pub counts: ClusterCounts,
    pub delivered: usize,
    pub present: usize,
}

/// A node after it has received these packets. `history` is what its engine has kept, and `stalls` whether the engine
/// takes no packet.
pub fn cluster_node(
    packets: Vec<(Subject, Bytes)>,
    history: Vec<Bytes>,
    secret: Option<&[u8]>,
    stalls: bool,
) -> ClusterNode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let sizes = runtime.block_on(bare_node::receive(packets, history, secret, stalls));
    let bare_node::Sizes { peers, outbox, published, held, tasks, counts, delivered, present } = sizes;
    ClusterNode { peers, outbox, published, held, tasks, counts, delivered, present }
}
