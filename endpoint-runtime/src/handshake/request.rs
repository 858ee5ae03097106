//! The opening request as configurators, constructors and handlers see it, in a compact form.
//!
//! It is separate from the handshake because a session keeps it. It makes no decisions.

use std::borrow::Cow;
use std::fmt;
use std::io::Write;
use std::net::{SocketAddr, SocketAddrV4};
use std::str::FromStr;
use std::sync::{LazyLock, OnceLock};
use std::time::{Duration, Instant};

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Extensions, Version};
use percent_encoding::percent_decode_str;

use crate::error::excerpt::excerpt;
use crate::error::{BoxError, Error, Kind};
pub(crate) use crate::handshake::authority::{Authority, authority};
use crate::handshake::path::PathParams;

/// The HTTP request that opened a session: its URI, its headers, and the addresses of its connection.
///
/// A session keeps it until the end, so the whole head is in its own compact allocation, which does not hold on to the
/// server's read buffer.
pub struct HandshakeRequest {
    /// The URI and a line feed, then for each header its name, a colon, its value and a line feed. Neither separator
    /// may occur in the part before it (RFC 9110 §5.1, §5.5). Headers that all clients send are abbreviated, see
    /// [`LINES`]. Over HTTP/2 the first line behind the URI is [`OVER_HTTP2`].
    head: Box<[u8]>,
    /// Offset in `head` of the URI's end.
    uri_end: u32,
    /// When it arrived, in [`TICK`]s of the process; it wraps around after 497 days.
    arrived: u32,
    addresses: Addresses,
    path_params: PathParams,
    /// Values of the layers in front; empty once the session is open.
    extensions: Extensions,
    /// Built on first use: a map takes several times the space of its source.
    headers: OnceLock<Box<HeaderMap>>,
}

/// The resolution of a request's age.
const TICK: Duration = Duration::from_millis(10);

/// Properties of the connection that a request arrived on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Transport {
    pub(crate) peer_addr: Option<SocketAddr>,
    pub(crate) local_addr: Option<SocketAddr>,
    /// This server terminates its TLS.
    pub(crate) is_secure: bool,
    /// The listener can be reached only from this machine.
    pub(crate) is_local: bool,
}

/// Headers that every client sends, each kept as one byte: 128 plus its index. No name begins with such a byte.
const LINES: [(&str, &str); 4] =
    [("upgrade", "websocket"), ("connection", "Upgrade"), ("connection", "upgrade"), ("sec-websocket-version", "13")];

/// A `Host` header equal to the authority of the URI.
const SAME_HOST: u8 = 128 + LINES.len() as u8;

/// Header names, each kept as one byte, from [`FIRST_NAME`] on.
const NAMES: [&str; 26] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "authorization",
    "cache-control",
    "connection",
    "cookie",
    "host",
    "origin",
    "pragma",
    "sec-ch-ua",
    "sec-ch-ua-mobile",
    "sec-ch-ua-platform",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "traceparent",
    "user-agent",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-request-id",
];
const FIRST_NAME: u8 = SAME_HOST + 1;

/// A line without a header: the request came over HTTP/2.
const OVER_HTTP2: u8 = FIRST_NAME + NAMES.len() as u8;

/// Extra space for the separators of a head: `://`, a port, a slash, a line feed.
const SPARE: usize = 16;

/// The addresses of both ends. Most are IPv4, which are small.
enum Addresses {
    V4 { peer: SocketAddrV4, local: SocketAddrV4 },
    Other(Box<(Option<SocketAddr>, Option<SocketAddr>)>),
    Unknown,
}

impl Addresses {
    fn of(peer: Option<SocketAddr>, local: Option<SocketAddr>) -> Self {
        match (peer, local) {
            (Some(SocketAddr::V4(peer)), Some(SocketAddr::V4(local))) => Self::V4 { peer, local },
            (None, None) => Self::Unknown,
            other => Self::Other(Box::new(other)),
        }
    }

    fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::V4 { peer, .. } => Some((*peer).into()),
            Self::Other(both) => both.0,
            Self::Unknown => None,
        }
    }

    fn local(&self) -> Option<SocketAddr> {
        match self {
            Self::V4 { local, .. } => Some((*local).into()),
            Self::Other(both) => both.1,
            Self::Unknown => None,
        }
    }
}

impl HandshakeRequest {
    /// Copies the parts worth keeping from a request that the handshake accepts.
    pub(crate) fn new(parts: &Parts, path_params: PathParams, transport: Transport) -> Self {
        let (scheme, default_port) = if transport.is_secure { ("wss", 443) } else { ("ws", 80) };
        let authority = authority(&parts.uri, &parts.headers);
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        // an absolute target may have no path, which means the root (RFC 9110 §4.2.3)
        let slash = if target.starts_with('/') { "" } else { "/" };
        let headers_len: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 2).sum();

        let host_len = authority.map_or(0, |authority| authority.host.len());
        let mut head = Vec::with_capacity(scheme.len() + host_len + target.len() + headers_len + SPARE);
        head.extend_from_slice(scheme.as_bytes());
        head.extend_from_slice(b"://");
        let host_start = head.len();
        // writing to a vector cannot fail
        let _ = match (authority, transport.local_addr) {
            (Some(Authority { host, port }), _) => {
                head.extend_from_slice(host.as_bytes());
                port.filter(|port| *port != default_port).map_or(Ok(()), |port| write!(head, ":{port}"))
            }
            // our handshake refuses such a request, but another one may have accepted it
            (None, Some(local)) => write!(head, "{local}"),
            (None, None) => write!(head, "localhost"),
        };
        let path_start = head.len();
        head.extend_from_slice(slash.as_bytes());
        head.extend_from_slice(target.as_bytes());
        let uri_end = head.len();
        head.push(b'\n');
        if parts.version == Version::HTTP_2 {
            head.extend_from_slice(&[OVER_HTTP2, b'\n']);
        }
        for (name, value) in &parts.headers {
            let (name, value) = (name.as_str(), value.as_bytes());
            let known = LINES.iter().position(|line| line.0 == name && line.1.as_bytes() == value);
            if let Some(known) = known {
                head.push(128 + known as u8);
            } else if name == "host" && *value == head[host_start..path_start] {
                head.push(SAME_HOST);
            } else {
                match NAMES.binary_search(&name) {
                    Ok(known) => head.push(FIRST_NAME + known as u8),
                    Err(_) => head.extend_from_slice(name.as_bytes()),
                }
                head.push(b':');
                head.extend_from_slice(value);
            }
            head.push(b'\n');
        }
        Self {
            // copied, not shrunk: a shrunk allocation would leave an unusable gap for as long as the session lasts
            head: Box::from(&*head),
            // HTTP servers limit a request's head to kilobytes
            uri_end: u32::try_from(uri_end).unwrap_or(u32::MAX),
            arrived: ticks(),
            addresses: Addresses::of(transport.peer_addr, transport.local_addr),
            path_params,
            extensions: Extensions::new(),
            headers: OnceLock::new(),
        }
    }

    /// Adds the addresses of the upgraded socket, where the HTTP server in front did not provide them.
    pub(crate) fn learn_addresses(
        &mut self,
        peer: impl FnOnce() -> Option<SocketAddr>,
        local: impl FnOnce() -> Option<SocketAddr>,
    ) {
        let (known_peer, known_local) = (self.peer_addr(), self.local_addr());
        self.addresses = Addresses::of(known_peer.or_else(peer), known_local.or_else(local));
    }

    /// Adds what the request carries while its handshake runs; a session does not keep it.
    pub(crate) fn with_extensions(mut self, extensions: Extensions) -> Self {
        self.extensions = extensions;
        self
    }

    /// Removes the extensions, which the application's values are part of.
    pub(crate) fn take_extensions(&mut self) -> Extensions {
        std::mem::take(&mut self.extensions)
    }

    /// Time since the request arrived, to a hundredth of a second.
    pub(crate) fn age(&self) -> Duration {
        TICK * ticks().wrapping_sub(self.arrived)
    }

    /// The full URI, such as `ws://example.org:8080/chat/blue?name=x`: `wss` if [secure](Self::is_secure), without the
    /// port if it is the scheme's default, path and query as received.
    pub fn uri(&self) -> &str {
        let uri = self.head.get(..self.uri_end as usize).unwrap_or_default();
        // it was copied from strings
        std::str::from_utf8(uri).unwrap_or_default()
    }

    /// The version of HTTP that opened the session: 1.1, or 2 for an extended CONNECT (RFC 8441).
    pub fn http_version(&self) -> Version {
        let lines = self.head.get(self.uri_end as usize..).unwrap_or_default();
        if lines.starts_with(&[b'\n', OVER_HTTP2, b'\n']) { Version::HTTP_2 } else { Version::HTTP_11 }
    }

    /// The path as received: percent-encoded, and not normalised.
    pub fn path(&self) -> &str {
        self.target().0
    }

    /// The query as received, without its `?`; `None` if there is none.
    pub fn query_string(&self) -> Option<&str> {
        self.target().1
    }

    /// Names and values of the query, in order, including repeated names; parsed as browsers write them
    /// (`application/x-www-form-urlencoded`): percent-decoded, with `+` for a space.
    ///
    /// Text that cannot be decoded stays as it is, and bytes that are not UTF-8 become U+FFFD. The variables of the
    /// path are not included; see [`path_params`](Self::path_params).
    pub fn query_params(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        let pairs = self.query_string().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (form_decode(name), form_decode(value))
        })
    }

    /// The first value of the query parameter `name`, decoded as by [`query_params`](Self::query_params).
    pub fn query_param(&self, name: &str) -> Option<Cow<'_, str>> {
        self.query_params().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// Parses the first value of the query parameter `name` as a `T`.
    ///
    /// # Errors
    /// [`Error::is_decode`] if there is no such parameter or its value does not parse.
    pub fn parse_query_param<T: QueryParam>(&self, name: &str) -> Result<T, Error> {
        self.parse_optional_query_param(name)?
            .ok_or_else(|| Error::new(Kind::Decode, format!("the query has no parameter {name:?}")))
    }

    /// Same as [`parse_query_param`](Self::parse_query_param), but `None` if there is no such parameter.
    ///
    /// # Errors
    /// [`Error::is_decode`] if its value does not parse.
    pub fn parse_optional_query_param<T: QueryParam>(&self, name: &str) -> Result<Option<T>, Error> {
        self.query_param(name).map(|value| parse_value(name, &value)).transpose()
    }

    /// Parses every value of the query parameter `name` as a `T`, in order; empty if there is no such parameter.
    ///
    /// # Errors
    /// [`Error::is_decode`] if one of them does not parse.
    pub fn parse_query_params<T: QueryParam>(&self, name: &str) -> Result<Vec<T>, Error> {
        self.query_params().filter(|(key, _)| key == name).map(|(_, value)| parse_value(name, &value)).collect()
    }

    /// The variables of the endpoint's path with their decoded values.
    pub fn path_params(&self) -> &PathParams {
        &self.path_params
    }

    /// All headers. Names are case-insensitive; repeated headers keep their order.
    ///
    /// The map is built on first use and kept, which costs memory on a server with very many sessions: for a single
    /// header, [`header`](Self::header) is cheaper.
    pub fn headers(&self) -> &HeaderMap {
        self.headers.get_or_init(|| {
            let mut headers = HeaderMap::new();
            for (name, value) in self.header_lines() {
                if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                    headers.append(name, value);
                }
            }
            Box::new(headers)
        })
    }

    /// The first value of the header `name`, case-insensitive, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.header_lines();
        let (_, value) = lines.find(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes()))?;
        std::str::from_utf8(value).ok()
    }

    /// The values of a header that are text.
    pub(super) fn header_values(&self, name: &'static str) -> impl Iterator<Item = &str> {
        let lines = self.header_lines().filter(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes()));
        lines.filter_map(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// Address of the peer; `None` if there is no socket. If the peer is one of the
    /// [`trusted_proxies`](crate::ContainerBuilder::trusted_proxies), it is the address of the client that the proxy tells,
    /// with port 0 if the proxy tells none.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.addresses.peer()
    }

    /// Address of this end of the connection; `None` if there is no socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.addresses.local()
    }

    /// Whether the connection is encrypted by this server, or by one of the
    /// [`trusted_proxies`](crate::ContainerBuilder::trusted_proxies), if that says so. `false` behind any other proxy that
    /// terminates TLS.
    pub fn is_secure(&self) -> bool {
        self.head.starts_with(b"wss:")
    }

    /// The extensions of the HTTP request: whatever the `tower` layers in front put there, by type.
    ///
    /// They are available while the handshake runs: to handshake hooks, configurators and constructors. A session does
    /// not keep them, so they are empty in a handler. Copy what a handler needs to
    /// [`HandshakeResponse::properties`](crate::HandshakeResponse::properties). They are empty on the side of the client.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    fn authority(&self) -> &str {
        self.parts().0
    }

    fn target(&self) -> (&str, Option<&str>) {
        let target = self.parts().1;
        target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)))
    }

    /// The authority, and the target, which begins with the first slash behind it.
    fn parts(&self) -> (&str, &str) {
        let uri = self.uri();
        let start = uri.find("://").map_or(0, |scheme| scheme + "://".len());
        let rest = uri.get(start..).unwrap_or_default();
        rest.split_at(rest.find('/').unwrap_or(rest.len()))
    }

    fn header_lines(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let lines = self.head.split(|byte| *byte == b'\n').skip(1);
        lines.filter_map(|line| match line {
            [SAME_HOST] => Some((&b"host"[..], self.authority().as_bytes())),
            [known] => {
                let (name, value) = LINES.get(usize::from(known.checked_sub(128)?))?;
                Some((name.as_bytes(), value.as_bytes()))
            }
            line => {
                let colon = line.iter().position(|byte| *byte == b':')?;
                let name = match &line[..colon] {
                    [known] if *known >= FIRST_NAME => NAMES.get(usize::from(known - FIRST_NAME))?.as_bytes(),
                    name => name,
                };
                Some((name, &line[colon + 1..]))
            }
        })
    }
}

/// The time since the process first asked, in [`TICK`]s.
fn ticks() -> u32 {
    static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
    // wraps around, as the difference of two does
    (BEGUN.elapsed().as_millis() / TICK.as_millis()) as u32
}

fn parse_value<T: QueryParam>(name: &str, value: &str) -> Result<T, Error> {
    T::parse_value(value).map_err(|error| {
        // omits the value, which may be a secret
        let (type_name, reason) = (std::any::type_name::<T>(), excerpt(&error));
        let text = format!("the query parameter {name:?} is not of type {type_name}: {reason}");
        Error::with_source(Kind::Decode, text, error)
    })
}

/// A type that a query parameter can be parsed into: every `FromStr` whose error can be boxed.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a `#[query_param]`",
    label = "cannot be parsed from a query",
    note = "a query parameter needs a type that implements FromStr (as String and numbers do) with an error that converts into a boxed error, or Option<T> or Vec<T> of such a type"
)]
pub trait QueryParam: Sized {
    /// Parses a decoded value.
    fn parse_value(value: &str) -> Result<Self, BoxError>;
}

#[diagnostic::do_not_recommend]
impl<T> QueryParam for T
where
    T: FromStr,
    T::Err: Into<BoxError>,
{
    fn parse_value(value: &str) -> Result<Self, BoxError> {
        value.parse().map_err(Into::into)
    }
}

/// Omits query and headers, which carry tokens and cookies.
impl fmt::Debug for HandshakeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uri = self.uri();
        f.debug_struct("HandshakeRequest")
            .field("uri", &uri.split_once('?').map_or(uri, |(uri, _)| uri))
            .field("path_params", &self.path_params)
            .field("peer_addr", &self.peer_addr())
            .field("local_addr", &self.local_addr())
            .field("is_secure", &self.is_secure())
            .finish_non_exhaustive()
    }
}

fn form_decode(encoded: &str) -> Cow<'_, str> {
    if !encoded.contains('+') {
        return percent_decode_str(encoded).decode_utf8_lossy();
    }
    let spaced = encoded.replace('+', " ");
    Cow::Owned(percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(uri: &str, headers: &[(&str, &[u8])]) -> Parts {
        let mut request = http::Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn request(uri: &str, headers: &[(&str, &[u8])]) -> HandshakeRequest {
        HandshakeRequest::new(&parts(uri, headers), PathParams::default(), Transport::default())
    }

    #[test]
    fn the_uri_is_whole_and_without_a_default_port() {
        for (host, target, is_secure, uri) in [
            ("example.org", "/", false, "ws://example.org/"),
            ("example.org:80", "/chat?a=b", false, "ws://example.org/chat?a=b"),
            ("example.org:443", "/chat", false, "ws://example.org:443/chat"),
            ("example.org:443", "/chat", true, "wss://example.org/chat"),
            ("example.org:80", "/chat", true, "wss://example.org:80/chat"),
            ("example.org:8080", "/a%2Fb/?", true, "wss://example.org:8080/a%2Fb/?"),
            ("example.org:", "/a", false, "ws://example.org/a"),
            ("[::1]:8080", "/a", false, "ws://[::1]:8080/a"),
            ("example.org", "http://target.org/a", false, "ws://target.org/a"),
            ("example.org", "http://target.org?a", false, "ws://target.org/?a"),
        ] {
            let transport = Transport { is_secure, ..Transport::default() };
            let parts = parts(target, &[("host", host.as_bytes())]);
            let request = HandshakeRequest::new(&parts, PathParams::default(), transport);
            assert_eq!(request.uri(), uri);
            assert_eq!(request.is_secure(), is_secure);
            assert_eq!(request.path(), parts.uri.path());
            assert_eq!(request.query_string(), parts.uri.query());
        }
    }

    #[test]
    fn a_request_without_a_host_is_named_after_the_socket() {
        let transport = Transport { local_addr: Some(([127, 0, 0, 1], 8080).into()), ..Transport::default() };
        let request = HandshakeRequest::new(&parts("/a", &[]), PathParams::default(), transport);
        assert_eq!(request.uri(), "ws://127.0.0.1:8080/a");
        assert_eq!(self::request("/a", &[("host", b"a b")]).uri(), "ws://localhost/a");
    }

    #[test]
    fn query_parameters_keep_their_order_and_are_decoded() {
        for (query, expected) in [
            ("", &[][..]),
            ("?", &[]),
            ("?a", &[("a", "")]),
            ("?a=1&b=2&a=3", &[("a", "1"), ("b", "2"), ("a", "3")]),
            ("?a=b=c&&=d", &[("a", "b=c"), ("", "d")]),
            ("?a+b=%2B%20+%C3%A9", &[("a b", "+  é")]),
            ("?a=%zz%2&b=%ff", &[("a", "%zz%2"), ("b", "\u{fffd}")]),
            ("?a%26b=c%3Dd%2525", &[("a&b", "c=d%25")]),
            ("?a?b=/", &[("a?b", "/")]),
        ] {
            let request = request(&format!("/x{query}"), &[]);
            let params: Vec<_> = request.query_params().collect();
            assert_eq!(params.iter().map(|(name, value)| (&**name, &**value)).collect::<Vec<_>>(), expected, "{query}");
        }
        assert_eq!(request("/x?a=1&b=2&a=3", &[]).query_param("a").as_deref(), Some("1"));
        assert_eq!(request("/x?a=1", &[]).query_param("c"), None);
    }

    #[test]
    fn headers_are_found_in_any_case_and_keep_their_order() {
        let request = request("/", &[("X-One", b"1"), ("cookie", b"a:b; c"), ("x-one", b"2"), ("X-Raw", b"\xff\t ")]);
        assert_eq!(request.header("COOKIE"), Some("a:b; c"));
        assert_eq!(request.header("X-ONE"), Some("1"));
        assert_eq!(request.header("x-raw"), None);
        assert_eq!(request.header("none"), None);
        assert_eq!(request.headers().get_all("X-oNE").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(request.headers()["x-raw"].as_bytes(), b"\xff\t ");
    }

    #[test]
    fn abbreviated_headers_round_trip() {
        let mut names = NAMES.to_vec();
        names.sort_unstable();
        assert_eq!(names, NAMES, "the headers are found by binary search");
        let mut lines: Vec<_> = NAMES.iter().map(|name| (*name, *name)).collect();
        lines.extend(LINES);
        lines.extend([("upgrade", "Websocket"), ("sec-websocket-version", "8"), ("host", "x:80"), ("host", "x")]);
        for host in ["x", "x:80", "x:8080"] {
            let mut parts = parts("/a", &[("host", host.as_bytes())]);
            for (name, value) in &lines {
                parts.headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            let request = HandshakeRequest::new(&parts, PathParams::default(), Transport::default());
            assert_eq!(request.headers(), &parts.headers);
            assert_eq!(request.header("Host"), Some(host));
            assert_eq!(request.header("Sec-WebSocket-Version"), Some("13"));
        }
    }

    #[test]
    fn addresses_of_either_kind_are_kept_and_learned() {
        let (four, six): (SocketAddr, SocketAddr) = ("127.0.0.1:1".parse().unwrap(), "[::1]:2".parse().unwrap());
        for (peer, local) in [(Some(four), Some(four)), (Some(six), Some(four)), (None, Some(six)), (None, None)] {
            let transport = Transport { peer_addr: peer, local_addr: local, ..Transport::default() };
            let mut request = HandshakeRequest::new(&parts("/", &[]), PathParams::default(), transport);
            assert_eq!((request.peer_addr(), request.local_addr()), (peer, local));
            request.learn_addresses(|| Some(six), || Some(six));
            assert_eq!((request.peer_addr(), request.local_addr()), (peer.or(Some(six)), local.or(Some(six))));
        }
    }

    #[test]
    fn debug_output_contains_no_secrets() {
        let request = request("/a?token=secret", &[("host", b"x"), ("cookie", b"secret")]);
        let printed = format!("{request:?}");
        assert!(printed.contains("ws://x/a") && !printed.contains("secret"), "{printed}");
    }

    #[test]
    fn a_small_request_takes_less_than_200_bytes() {
        let request = request(
            "/websocket/ws",
            &[
                ("host", b"127.0.0.1:8080"),
                ("connection", b"Upgrade"),
                ("upgrade", b"websocket"),
                ("sec-websocket-version", b"13"),
                ("sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
            ],
        );
        let size = size_of::<HandshakeRequest>() + request.head.len();
        assert!(size < 200, "{size}");
    }

    #[test]
    fn authority_is_a_host_and_an_optional_port() {
        for (text, expected) in [
            ("example.org", Some(("example.org", None))),
            ("example.org:80", Some(("example.org", Some(80)))),
            ("example.org:", Some(("example.org", None))),
            ("127.0.0.1:1", Some(("127.0.0.1", Some(1)))),
            ("[::1]", Some(("[::1]", None))),
            ("[::1]:443", Some(("[::1]", Some(443)))),
            ("a_b.c", Some(("a_b.c", None))),
            ("", None),
            (":80", None),
            ("a:b", None),
            ("a:90000", None),
            ("a:+80", None),
            ("a:-1", None),
            ("a:80:80", None),
            ("a b", None),
            ("a/b", None),
            ("user@a", None),
            ("user:1@a", None),
            ("[::1", None),
            ("[::1]x", None),
            ("[x]", None),
            ("[]", None),
            ("::1", None),
            ("é", None),
        ] {
            let parsed = Authority::parse(text).map(|authority| (authority.host, authority.port));
            assert_eq!(parsed, expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_headers_round_trip(
            lines in prop::collection::vec(("[a-zA-Z!#$%&'*+.^_`|~0-9-]{1,9}", "[\\t -~\u{80}-\u{ff}]{0,20}"), 0..12),
        ) {
            let mut parts = parts("/", &[]);
            for (name, value) in &lines {
                parts.headers.append(
                    HeaderName::from_bytes(name.as_bytes()).unwrap(),
                    HeaderValue::from_bytes(value.as_bytes()).unwrap(),
                );
            }
            let request = HandshakeRequest::new(&parts, PathParams::default(), Transport::default());
            prop_assert_eq!(request.headers(), &parts.headers);
        }
    }
}
