//! The opening handshake over HTTP/2: an extended CONNECT (RFC 8441). Gives its head the form of HTTP/1.1, which the rest
//! of the handshake, and the application, read.

use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Extensions, Method, Request, Uri, Version};

use crate::handshake::refusal::Refusal;
use crate::handshake::request;
use crate::handshake::request::Authority;

/// The value of `:protocol` that asks for a WebSocket (RFC 8441 §5.1).
#[cfg(feature = "http2")]
const WEBSOCKET: &[u8] = b"websocket";

/// The kinds of requests that a WebSocket endpoint gets over HTTP/2.
enum Asked {
    #[cfg_attr(not(feature = "http2"), allow(dead_code))]
    WebSocket,
    /// An extended CONNECT for something else.
    OtherProtocol,
    /// Not an extended CONNECT.
    Page,
}

#[cfg(feature = "http2")]
fn asked(method: &Method, extensions: &Extensions) -> Asked {
    if method != Method::CONNECT {
        return Asked::Page;
    }
    match extensions.get::<hyper::ext::Protocol>() {
        // RFC 9110 §7.8: the names of protocols are compared without regard to case
        Some(protocol) if protocol.as_ref().eq_ignore_ascii_case(WEBSOCKET) => Asked::WebSocket,
        Some(_) => Asked::OtherProtocol,
        None => Asked::Page,
    }
}

/// Without the feature every `:protocol` that the server in front admits is unknown.
#[cfg(not(feature = "http2"))]
fn asked(method: &Method, _extensions: &Extensions) -> Asked {
    if method == Method::CONNECT { Asked::OtherProtocol } else { Asked::Page }
}

/// Checks that a request over HTTP/2 asks for a WebSocket.
pub(super) fn check(parts: &Parts) -> Result<(), Refusal> {
    match asked(&parts.method, &parts.extensions) {
        Asked::WebSocket => Ok(()),
        Asked::OtherProtocol => Err(Refusal::unknown_protocol()),
        Asked::Page => Err(Refusal::extended_connect_required()),
    }
}

/// Gives the head of a request over HTTP/2 the form of HTTP/1.1: `:authority` is also the header `Host`, and cookies are
/// one header (RFC 9113 §8.2.3, §8.3.1). Other requests stay as they are.
///
/// # Errors
/// The request has a `Host` that differs from its `:authority`, so two parties could understand it differently.
pub(crate) fn unify(parts: &mut Parts) -> Result<(), Refusal> {
    if parts.version != Version::HTTP_2 {
        return Ok(());
    }
    if let Some(authority) = parts.uri.authority() {
        check_hosts(authority.as_str(), &parts.headers)?;
        // visible ASCII, as every authority
        if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
            parts.headers.insert(header::HOST, host);
        }
    }
    join_cookies(&mut parts.headers);
    Ok(())
}

/// The host that a request for a page is for.
///
/// # Errors
/// As [`unify`]; also if neither `:authority` nor `Host` is a host.
pub(super) fn page_host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Result<Authority<'a>, Refusal> {
    let host = match uri.authority() {
        Some(authority) => {
            check_hosts(authority.as_str(), headers)?;
            Authority::parse(authority.as_str())
        }
        None => request::authority(uri, headers),
    };
    host.ok_or_else(Refusal::missing_host)
}

fn check_hosts(authority: &str, headers: &HeaderMap) -> Result<(), Refusal> {
    let is_same = |host: &HeaderValue| host.as_bytes().eq_ignore_ascii_case(authority.as_bytes());
    if headers.get_all(header::HOST).iter().all(is_same) { Ok(()) } else { Err(Refusal::conflicting_hosts()) }
}

fn join_cookies(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes);
    let Some(first) = lines.next() else { return };
    let mut joined = first.to_vec();
    let mut is_split = false;
    for line in lines {
        is_split = true;
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(line);
    }
    if is_split {
        // what is joined is valid, because its parts are
        if let Ok(cookies) = HeaderValue::from_bytes(&joined) {
            headers.insert(header::COOKIE, cookies);
        }
    }
}

/// Whether a request asks for a tunnel to another server, as of a proxy (RFC 9110 §9.3.6).
pub(crate) fn is_tunnel<B>(request: &Request<B>) -> bool {
    request.method() == Method::CONNECT
        && request.version() == Version::HTTP_2
        && request.uri().path_and_query().is_none()
}

/// Whether a request asks for a WebSocket, right or wrong.
pub(crate) fn is_handshake<B>(request: &Request<B>) -> bool {
    request.headers().contains_key(header::UPGRADE)
        || matches!(asked(request.method(), request.extensions()), Asked::WebSocket)
}

#[cfg(test)]
#[cfg(feature = "http2")]
mod tests {

    use http::Response;
    use hyper::ext::Protocol;
    use proptest::prelude::*;

    use super::*;
    use crate::config::Compression;
    use crate::handshake::hosts::Hosts;
    use crate::handshake::origins::Origins;
    use crate::handshake::path::PathParams;
    use crate::handshake::request::{HandshakeRequest, Transport};
    use crate::handshake::server;

    fn connect(protocol: Option<&str>, headers: &[(&str, &[u8])]) -> Parts {
        let mut request = Request::builder()
            .method(Method::CONNECT)
            .version(Version::HTTP_2)
            .uri("https://server.example.com/chat?x=1");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(protocol) = protocol {
            request = request.extension(Protocol::from(protocol));
        }
        request.body(()).unwrap().into_parts().0
    }

    fn accept(mut parts: Parts) -> Result<Response<()>, Refusal> {
        unify(&mut parts)?;
        let (hosts, origins) = (Hosts::default(), Origins::same_origin());
        let accepted =
            server::accept(&parts, Transport::default(), &hosts, &origins, &["superchat"], &Compression::ON)?;
        Ok(accepted.response())
    }

    /// The headers of the example in RFC 8441 §5.1.
    const HEADERS: [(&str, &[u8]); 4] = [
        ("sec-websocket-protocol", b"chat, superchat"),
        ("sec-websocket-extensions", b"permessage-deflate"),
        ("sec-websocket-version", b"13"),
        ("origin", b"http://server.example.com"),
    ];

    #[test]
    fn rfc_example_is_accepted_with_200_and_without_a_key() {
        let response = accept(connect(Some("websocket"), &HEADERS)).unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["sec-websocket-protocol"], "superchat");
        assert!(response.headers()["sec-websocket-extensions"].to_str().unwrap().starts_with("permessage-deflate"));
        assert_eq!(response.headers().len(), 2);
    }

    #[test]
    fn each_defect_has_its_refusal() {
        let version = HEADERS[2];
        for (parts, refusal) in [
            (connect(None, &HEADERS), Refusal::extended_connect_required()),
            (connect(Some("connect-udp"), &HEADERS), Refusal::unknown_protocol()),
            (connect(Some("websocket"), &[]), Refusal::version_13_required()),
            (connect(Some("websocket"), &[("sec-websocket-version", b"8")]), Refusal::version_13_required()),
            (connect(Some("websocket"), &[version, ("host", b"other.example.com")]), Refusal::conflicting_hosts()),
            (connect(Some("websocket"), &[version, ("content-length", b"1")]), Refusal::body_not_allowed()),
            (
                connect(Some("websocket"), &[version, ("origin", b"https://evil.com")]),
                Refusal::foreign_origin("https://evil.com", "server.example.com"),
            ),
        ] {
            let outcome = accept(parts).map_err(|refusal| refusal.to_string());
            assert_eq!(outcome.map(|response| response.status()), Err(refusal.to_string()));
        }
        let mut get = connect(None, &HEADERS);
        get.method = Method::GET;
        assert_eq!(accept(get).unwrap_err().status(), 405);
    }

    #[test]
    fn key_is_ignored_and_the_name_of_the_protocol_has_no_case() {
        for headers in [&[HEADERS[2]][..], &[HEADERS[2], ("sec-websocket-key", b"junk")]] {
            let response = accept(connect(Some("WebSocket"), headers)).unwrap();
            assert_eq!(response.status(), 200);
            assert!(!response.headers().contains_key("sec-websocket-accept"));
        }
    }

    #[test]
    fn head_looks_as_over_http_1_1() {
        let mut parts = connect(Some("websocket"), &[("cookie", b"a=1"), ("cookie", b"b=2; c=3"), HEADERS[2]]);
        unify(&mut parts).unwrap();
        let transport = Transport { is_secure: true, ..Transport::default() };
        let request = HandshakeRequest::new(&parts, PathParams::default(), transport);
        assert_eq!(request.uri(), "wss://server.example.com/chat?x=1");
        assert_eq!(request.header("host"), Some("server.example.com"));
        assert_eq!(request.header("cookie"), Some("a=1; b=2; c=3"));
        assert_eq!(request.headers().len(), 3);
        assert_eq!(request.http_version(), Version::HTTP_2);
        assert_eq!(request.path(), "/chat");
    }

    proptest! {
        #[test]
        fn no_headers_make_the_handshake_panic(
            lines in prop::collection::vec((0..8usize, prop::collection::vec(any::<u8>(), 0..40)), 0..8),
        ) {
            let names = [
                "host", "origin", "cookie", "sec-websocket-key", "sec-websocket-version", "sec-websocket-protocol",
                "sec-websocket-extensions", "content-length",
            ];
            let mut parts = connect(Some("websocket"), &[HEADERS[2]]);
            for (name, value) in lines {
                if let Ok(value) = HeaderValue::from_bytes(&value) {
                    parts.headers.append(names[name], value);
                }
            }
            match accept(parts) {
                Ok(response) => prop_assert_eq!(response.status(), 200),
                Err(refusal) => prop_assert!(refusal.status().is_client_error()),
            }
        }
    }
}
