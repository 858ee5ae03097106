//! The server's side of the opening handshake (RFC 6455 §4.2, over HTTP/2 RFC 8441): accepts an HTTP request, or returns
//! one named refusal.
//!
//! Pure: it reads only the head of a request; the caller sends the response and owns the socket.

use std::borrow::Cow;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode, Version};

use crate::config::Compression;
use crate::handshake::accept_key::derive_accept_key;
use crate::handshake::hosts::Hosts;
use crate::handshake::http2;
use crate::handshake::origins::Origins;
use crate::handshake::refusal::Refusal;
use crate::handshake::request;
use crate::handshake::request::{Authority, Transport};
use endpoint_wire::extension::Extension;

/// An accepted handshake, to be answered with 101, over HTTP/2 with 200.
#[derive(Debug)]
pub(crate) struct Accepted<'s> {
    /// `None` over HTTP/2 (RFC 8441 §5).
    accept_key: Option<String>,
    subprotocol: Option<Cow<'s, str>>,
    extension: Option<Extension>,
}

/// A valid request for a session: it names its host, and over HTTP/1.1 has a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sound<'p> {
    key: Option<&'p HeaderValue>,
    pub(crate) host: Authority<'p>,
}

/// Checks a client's request for an endpoint, which was already found by its path.
///
/// `subprotocols` are those of the endpoint. The client's first that is among them is chosen (as Jakarta's
/// `Configurator` and its TCK do; §3.1.2 of the text has it the other way). Without a match, the session has no
/// subprotocol.
pub(crate) fn accept<'s>(
    parts: &Parts,
    transport: Transport,
    hosts: &Hosts,
    origins: &Origins,
    subprotocols: &[&'s str],
    compression: &Compression,
) -> Result<Accepted<'s>, Refusal> {
    let headers = &parts.headers;
    let sound = check(parts)?;
    hosts.check(sound.host, transport)?;
    origins.check(headers, sound.host, transport.is_secure)?;
    let subprotocol = offered_subprotocols(headers)
        .find_map(|offered| subprotocols.iter().copied().find(|spoken| *spoken == offered));
    let extension = crate::handshake::extensions::negotiate(headers, compression);
    Ok(Accepted::new(sound.accept_key(), subprotocol.map(Cow::Borrowed), extension))
}

/// Checks everything that does not depend on the server's settings.
pub(crate) fn check(parts: &Parts) -> Result<Sound<'_>, Refusal> {
    if parts.version >= Version::HTTP_2 {
        return check_http2(parts);
    }
    let headers = &parts.headers;
    if parts.method != Method::GET {
        return Err(Refusal::method_not_allowed());
    }
    if parts.version < Version::HTTP_11 {
        return Err(Refusal::http_version());
    }
    if !has_token(headers, header::CONNECTION, "upgrade") || !has_token(headers, header::UPGRADE, "websocket") {
        return Err(Refusal::upgrade_required());
    }
    if !has_version_13(headers) {
        return Err(Refusal::unsupported_version());
    }
    let key = only(headers, header::SEC_WEBSOCKET_KEY).filter(|key| is_key(key.as_bytes()));
    let key = key.ok_or_else(Refusal::bad_key)?;
    let host = request::authority(&parts.uri, headers).ok_or_else(Refusal::missing_host)?;
    if has_body(headers) {
        return Err(Refusal::body_not_allowed());
    }
    Ok(Sound { key: Some(key), host })
}

/// Checks a request over HTTP/2. There is no key, because no cache or proxy can take an extended CONNECT for something
/// else; one that is sent is ignored (RFC 8441 §5).
fn check_http2(parts: &Parts) -> Result<Sound<'_>, Refusal> {
    http2::check(parts)?;
    if !has_version_13(&parts.headers) {
        return Err(Refusal::version_13_required());
    }
    let host = request::authority(&parts.uri, &parts.headers).ok_or_else(Refusal::missing_host)?;
    if has_body(&parts.headers) {
        return Err(Refusal::body_not_allowed());
    }
    Ok(Sound { key: None, host })
}

impl Sound<'_> {
    /// The value of `Sec-WebSocket-Accept`; `None` over HTTP/2 (RFC 8441 §5).
    pub(crate) fn accept_key(&self) -> Option<String> {
        self.key.map(|key| derive_accept_key(key.as_bytes()))
    }
}

/// The subprotocols that a client offers, in its order of preference (RFC 6455 §4.1).
pub(crate) fn offered_subprotocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    elements(headers, header::SEC_WEBSOCKET_PROTOCOL)
}

impl<'s> Accepted<'s> {
    /// Completes a handshake with the chosen subprotocol and extension.
    pub(crate) fn new(
        accept_key: Option<String>,
        subprotocol: Option<Cow<'s, str>>,
        extension: Option<Extension>,
    ) -> Self {
        Self { accept_key, subprotocol, extension }
    }

    /// The chosen subprotocol, if client and endpoint have one in common.
    pub(crate) fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// The chosen subprotocol, by value.
    pub(crate) fn into_subprotocol(self) -> Option<Cow<'s, str>> {
        self.subprotocol
    }

    /// The chosen extension, if the client offers one that the endpoint allows.
    pub(crate) fn extension(&self) -> Option<Extension> {
        self.extension
    }

    /// Removes the extension from the response, which declines it (RFC 6455 §9.1).
    pub(crate) fn decline_extension(&mut self) {
        self.extension = None;
    }

    /// The response, after which the connection carries frames: 101 (RFC 6455 §4.2.2), over HTTP/2 200 (RFC 8441 §5).
    pub(crate) fn response<B: Default>(&self) -> Response<B> {
        let mut response = Response::new(B::default());
        if let Some(key) = &self.accept_key {
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let headers = response.headers_mut();
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
            // this and the values below are visible ASCII: base64, text parsed from a request header, and constants
            if let Ok(key) = HeaderValue::from_str(key) {
                headers.insert(header::SEC_WEBSOCKET_ACCEPT, key);
            }
        }
        let headers = response.headers_mut();
        if let Some(Ok(subprotocol)) = self.subprotocol().map(HeaderValue::from_str) {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, subprotocol);
        }
        let extension = self.extension.map(|extension| HeaderValue::from_str(&extension.to_string()));
        if let Some(Ok(extension)) = extension {
            headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, extension);
        }
        response
    }
}

/// The value of a header that may occur once; `None` if it is missing or repeated.
pub(super) fn only(headers: &HeaderMap, name: HeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// The elements of a list, over all lines of the header (RFC 9110 §5.6.1). A line that is not ASCII has none.
pub(super) fn elements(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(|element| element.trim_matches([' ', '\t'])).filter(|e| !e.is_empty())
}

pub(super) fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    elements(headers, name).any(|element| element.eq_ignore_ascii_case(token))
}

fn has_version_13(headers: &HeaderMap) -> bool {
    only(headers, header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13")
}

/// Whether `key` is base64 of 16 bytes (RFC 6455 §4.2.1): 22 digits and the padding.
fn is_key(key: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == 24 && key.ends_with(b"==") && key[..22].iter().all(is_digit)
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get_all(header::CONTENT_LENGTH).iter().any(|length| length != "0")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The headers of the example in RFC 6455 §1.2, without origin and subprotocols.
    const HEADERS: [(&str, &str); 5] = [
        ("host", "server.example.com"),
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
    ];

    /// The example request with the headers in `replaced`; an empty value omits the header.
    fn request(replaced: &[(&str, &str)]) -> Parts {
        let kept = HEADERS.iter().filter(|(name, _)| !replaced.iter().any(|(other, _)| other == name));
        let mut request = http::Request::builder().uri("/chat");
        for (name, value) in kept.chain(replaced).filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        request.body(()).unwrap().into_parts().0
    }

    fn outcome(parts: &Parts) -> Result<(), String> {
        accept(parts, Transport::default(), &Hosts::default(), &Origins::same_origin(), &[], &Compression::OFF)
            .map(drop)
            .map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn rfc_example_is_accepted() {
        let parts = request(&[("origin", "http://server.example.com"), ("sec-websocket-protocol", "chat, superchat")]);
        let accepted = accept(
            &parts,
            Transport::default(),
            &Hosts::default(),
            &Origins::same_origin(),
            &["superchat", "chat"],
            &Compression::OFF,
        )
        .unwrap();
        assert_eq!(accepted.subprotocol(), Some("chat"));
        let response: Response<()> = accepted.response();
        assert_eq!(response.status(), 101);
        assert_eq!(response.headers().len(), 4);
        for (name, value) in [
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            ("sec-websocket-protocol", "chat"),
        ] {
            assert_eq!(response.headers()[name], value);
        }
    }

    #[test]
    fn header_variants_of_clients_are_accepted() {
        for replaced in [
            &[][..],
            &[("connection", "keep-alive, Upgrade")],
            &[("connection", "keep-alive"), ("connection", "UPGRADE")],
            &[("connection", "close,,upgrade ,\tx")],
            &[("upgrade", "WebSocket")],
            &[("upgrade", "h2c, websocket")],
            &[("upgrade", "h2c"), ("upgrade", "websocket")],
            &[("content-length", "0")],
            &[("host", "127.0.0.1:8080")],
            &[("host", "[::1]:8080")],
            &[("sec-websocket-extensions", "permessage-deflate; client_max_window_bits, x-unknown")],
        ] {
            assert_eq!(outcome(&request(replaced)), Ok(()), "{replaced:?}");
        }
    }

    #[test]
    fn each_defect_has_its_refusal() {
        for (replaced, refusal) in [
            (&[("connection", "")][..], Refusal::upgrade_required()),
            (&[("connection", "keep-alive")], Refusal::upgrade_required()),
            (&[("connection", "xupgrade, upgrade2")], Refusal::upgrade_required()),
            (&[("connection", "keep-alive Upgrade")], Refusal::upgrade_required()),
            (&[("upgrade", "")], Refusal::upgrade_required()),
            (&[("upgrade", "h2c")], Refusal::upgrade_required()),
            (&[("upgrade", "websocket/13")], Refusal::upgrade_required()),
            (&[("upgrade", "websockets")], Refusal::upgrade_required()),
            (&[("upgrade", "é, websocket")], Refusal::upgrade_required()),
            (&[("sec-websocket-version", "")], Refusal::unsupported_version()),
            (&[("sec-websocket-version", "8")], Refusal::unsupported_version()),
            (&[("sec-websocket-version", "013")], Refusal::unsupported_version()),
            (&[("sec-websocket-version", "13, 8")], Refusal::unsupported_version()),
            (&[("sec-websocket-version", "13"), ("sec-websocket-version", "13")], Refusal::unsupported_version()),
            (&[("sec-websocket-key", "")], Refusal::bad_key()),
            (&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=")], Refusal::bad_key()),
            (&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ")], Refusal::bad_key()),
            (&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZTE=")], Refusal::bad_key()),
            (&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZTEy")], Refusal::bad_key()),
            (&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25j-_==")], Refusal::bad_key()),
            (&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZ===")], Refusal::bad_key()),
            (&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==AAAA")], Refusal::bad_key()),
            (
                &[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")],
                Refusal::bad_key(),
            ),
            (&[("host", "")], Refusal::missing_host()),
            (&[("host", "a"), ("host", "a")], Refusal::missing_host()),
            (&[("host", "user@a")], Refusal::missing_host()),
            (&[("host", "a:90000")], Refusal::missing_host()),
            (&[("host", "a/b")], Refusal::missing_host()),
            (&[("host", "é")], Refusal::missing_host()),
            (&[("content-length", "1")], Refusal::body_not_allowed()),
            (&[("content-length", "x")], Refusal::body_not_allowed()),
            (&[("content-length", "0"), ("content-length", "5")], Refusal::body_not_allowed()),
            (&[("transfer-encoding", "chunked")], Refusal::body_not_allowed()),
            (&[("origin", "https://evil.com")], Refusal::foreign_origin("https://evil.com", "server.example.com")),
            (&[("origin", "null")], Refusal::foreign_origin("null", "server.example.com")),
        ] {
            assert_eq!(outcome(&request(replaced)), Err(refusal.to_string()), "{replaced:?}");
        }
    }

    #[test]
    fn method_and_version_are_checked_first() {
        let bad = [
            ("connection", ""),
            ("sec-websocket-version", ""),
            ("sec-websocket-key", ""),
            ("host", ""),
            ("content-length", "1"),
            ("origin", "null"),
        ];
        let refusals = [
            Refusal::upgrade_required(),
            Refusal::unsupported_version(),
            Refusal::bad_key(),
            Refusal::missing_host(),
            Refusal::body_not_allowed(),
            Refusal::foreign_origin("null", "server.example.com"),
        ];
        for (first, refusal) in refusals.iter().enumerate() {
            assert_eq!(outcome(&request(&bad[first..])), Err(refusal.to_string()));
        }
        let mut parts = request(&bad);
        parts.version = Version::HTTP_10;
        assert_eq!(outcome(&parts), Err(Refusal::http_version().to_string()));
        for method in [Method::POST, Method::HEAD, Method::OPTIONS, Method::CONNECT] {
            parts.method = method;
            assert_eq!(outcome(&parts), Err(Refusal::method_not_allowed().to_string()));
        }
    }

    #[test]
    fn host_of_an_absolute_target_takes_precedence() {
        let mut parts = request(&[("origin", "http://target.org")]);
        parts.uri = "http://target.org/chat".parse().unwrap();
        assert_eq!(outcome(&parts), Ok(()));
        parts = request(&[("origin", "http://server.example.com")]);
        parts.uri = "http://target.org/chat".parse().unwrap();
        assert!(outcome(&parts).is_err());
    }

    #[test]
    fn an_absolute_target_does_not_replace_the_host() {
        for replaced in [&[("host", "")][..], &[("host", "a"), ("host", "a")], &[("host", "a b")]] {
            let mut parts = request(replaced);
            parts.uri = "http://target.org/chat".parse().unwrap();
            assert_eq!(outcome(&parts), Err(Refusal::missing_host().to_string()), "{replaced:?}");
        }
    }

    #[test]
    fn clients_first_supported_subprotocol_is_selected() {
        for (offered, spoken, chosen) in [
            (&["0, 2, 4"][..], &["1", "3", "5", "4", "2"][..], Some("2")),
            (&["0", "4,2"], &["2", "4"], Some("4")),
            (&["a"], &["b"], None),
            (&["a"], &[], None),
            (&[], &["a"], None),
            (&["A"], &["a"], None),
            (&["ab, , b"], &["a", "b"], Some("b")),
            (&["é, a", "b"], &["a", "b"], Some("b")),
        ] {
            let lines: Vec<_> = offered.iter().map(|line| ("sec-websocket-protocol", *line)).collect();
            let accepted = accept(
                &request(&lines),
                Transport::default(),
                &Hosts::default(),
                &Origins::same_origin(),
                spoken,
                &Compression::OFF,
            )
            .unwrap();
            assert_eq!(accepted.subprotocol(), chosen, "{offered:?}");
            let response: Response<()> = accepted.response();
            let header = response.headers().get(header::SEC_WEBSOCKET_PROTOCOL);
            assert_eq!(header.map(|value| value.to_str().unwrap()), chosen);
            assert!(!response.headers().contains_key(header::SEC_WEBSOCKET_EXTENSIONS));
        }
    }

    proptest! {
        #[test]
        fn no_headers_make_the_handshake_panic(
            lines in prop::collection::vec((0..10usize, prop::collection::vec(any::<u8>(), 0..40)), 0..8),
        ) {
            let names = [
                "host", "origin", "upgrade", "connection", "sec-websocket-key", "sec-websocket-version",
                "sec-websocket-protocol", "sec-websocket-extensions", "content-length", "transfer-encoding",
            ];
            let mut parts = request(&[]);
            for (name, value) in lines {
                if let Ok(value) = HeaderValue::from_bytes(&value) {
                    // half of the names replace valid headers, so that the later checks are reached as well
                    if value.len() % 2 == 0 {
                        parts.headers.insert(names[name], value);
                    } else {
                        parts.headers.append(names[name], value);
                    }
                }
            }
            let subprotocols = ["a", "b"];
            match accept(&parts, Transport::default(), &Hosts::default(), &Origins::same_origin(), &subprotocols, &Compression::ON) {
                Ok(accepted) => prop_assert_eq!(accepted.response::<()>().status(), 101),
                Err(refusal) => prop_assert!(refusal.status().is_client_error()),
            }
        }

        #[test]
        fn subprotocol_that_was_not_offered_is_never_selected(
            offered in prop::collection::vec("[abc, ]{0,6}", 0..4),
            spoken in prop::collection::vec("[abc]{1,2}", 0..4),
        ) {
            let lines: Vec<_> = offered.iter().map(|line| ("sec-websocket-protocol", line.as_str())).collect();
            let spoken: Vec<_> = spoken.iter().map(String::as_str).collect();
            let parts = request(&lines);
            let all: Vec<_> = offered.iter().flat_map(|line| line.split(',')).map(str::trim).collect();
            let expected = all.iter().copied().find(|offered| spoken.contains(offered));
            let accepted = accept(&parts, Transport::default(), &Hosts::default(), &Origins::any(), &spoken, &Compression::OFF).unwrap();
            prop_assert_eq!(accepted.subprotocol(), expected);
        }
    }
}
