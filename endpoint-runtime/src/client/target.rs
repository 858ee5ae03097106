//! Where a client connects (RFC 6455 §3): a `ws` or `wss` URI, taken apart. Pure.

use http::Uri;
use http::header::HeaderValue;
use percent_encoding::percent_decode_str;

use crate::base64;
use crate::error::{Error, Kind};

/// What a `ws` or `wss` URI says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) is_secure: bool,
    /// A name or an address; one of IPv6 without its brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Path and query, as the request line has them.
    pub(crate) resource: Uri,
    /// Host and port as the `Host` header has them: without the port if it is the default.
    pub(crate) authority: HeaderValue,
    /// The user and the password of the URI, as an `Authorization` header has them.
    pub(crate) authorization: Option<HeaderValue>,
}

impl Target {
    /// Host and port, as a proxy is told.
    pub(crate) fn place(&self) -> String {
        let (host, port) = (&self.host, self.port);
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        // without the query, which may carry a secret
        let fails = |why: &str| {
            let shown = text.split(['?', '#']).next().unwrap_or_default();
            let shown = shown.rsplit_once('@').map_or(shown, |(_, rest)| rest);
            Error::new(Kind::Handshake, format!("cannot connect to {shown:?}: {why}"))
        };
        if text.contains('#') {
            return Err(fails("a WebSocket URI has no fragment"));
        }
        let uri: Uri = text.parse().map_err(|error| fails(&format!("{error}")))?;
        let is = |scheme: &str| uri.scheme_str().is_some_and(|written| written.eq_ignore_ascii_case(scheme));
        let (is_secure, default_port) = match uri.scheme_str() {
            _ if is("ws") => (false, 80),
            _ if is("wss") => (true, 443),
            Some(_) => return Err(fails("the scheme is neither ws nor wss")),
            None => return Err(fails("write the whole URI, as in ws://example.org/chat")),
        };
        let authority = uri.authority().ok_or_else(|| fails("it has no host"))?;
        let (credentials, place) = match authority.as_str().rsplit_once('@') {
            Some((credentials, place)) => (Some(credentials), place),
            None => (None, authority.as_str()),
        };
        if authority.host().is_empty() {
            return Err(fails("it has no host"));
        }
        let port = match (authority.port_u16(), place.rsplit_once(':')) {
            (Some(0), _) => return Err(fails("there is no port 0")),
            (Some(port), _) => port,
            // an empty port is the default one; `]` ends an address that has colons itself
            (None, Some((_, digits))) if !digits.is_empty() && !digits.ends_with(']') => {
                return Err(fails("the port is no number below 65536"));
            }
            (None, _) => default_port,
        };
        let host = authority.host();
        let shown = if port == default_port { host.to_owned() } else { format!("{host}:{port}") };
        let shown = HeaderValue::try_from(shown).map_err(|_| fails("the host is no name"))?;
        let resource = uri.path_and_query().map_or("/", |resource| resource.as_str());
        // a query may follow the authority at once
        let slash = if resource.starts_with('?') { "/" } else { "" };
        let resource = format!("{slash}{resource}").parse().map_err(|error| fails(&format!("{error}")))?;
        Ok(Self {
            is_secure,
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port,
            resource,
            authority: shown,
            authorization: credentials.map(basic),
        })
    }
}

/// RFC 7617: user and password, which a URI has percent-encoded.
pub(crate) fn basic(credentials: &str) -> HeaderValue {
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let mut pair: Vec<u8> = percent_decode_str(user).collect();
    pair.push(b':');
    pair.extend(percent_decode_str(password));
    // base64 is visible ASCII
    let mut value =
        HeaderValue::try_from(format!("Basic {}", base64::encode(&pair))).unwrap_or(HeaderValue::from_static("Basic"));
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_taken_apart() {
        for (text, is_secure, host, port, resource, authority) in [
            ("ws://example.org", false, "example.org", 80, "/", "example.org"),
            ("ws://example.org:80/chat?a=b", false, "example.org", 80, "/chat?a=b", "example.org"),
            ("wss://example.org/", true, "example.org", 443, "/", "example.org"),
            ("wss://example.org:80/a%2Fb", true, "example.org", 80, "/a%2Fb", "example.org:80"),
            ("ws://[::1]:8080/", false, "::1", 8080, "/", "[::1]:8080"),
            ("ws://[::1]/", false, "::1", 80, "/", "[::1]"),
            ("ws://127.0.0.1:9001?x=1", false, "127.0.0.1", 9001, "/?x=1", "127.0.0.1:9001"),
            ("WS://example.org:/", false, "example.org", 80, "/", "example.org"),
        ] {
            let target = Target::parse(text).unwrap();
            assert_eq!((target.is_secure, target.host.as_str(), target.port), (is_secure, host, port), "{text}");
            assert_eq!(
                (target.resource.to_string(), target.authority.to_str().unwrap()),
                (resource.to_owned(), authority),
                "{text}"
            );
            assert_eq!(target.authorization, None);
        }
        let target = Target::parse("ws://Aladdin:open%20sesame@example.org:81/").unwrap();
        assert_eq!(target.authorization.unwrap(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(
            (target.host.as_str(), target.authority),
            ("example.org", HeaderValue::from_static("example.org:81"))
        );
    }

    #[test]
    fn what_is_no_such_uri_is_refused_without_telling_its_secrets() {
        for (text, about) in [
            ("", ""),
            ("example.org/chat", ""),
            ("/chat", "whole URI"),
            ("http://example.org/", "neither ws nor wss"),
            ("ws:///chat", ""),
            ("ws://example.org/#part", "fragment"),
            ("ws://example.org:0/", "port"),
            ("ws://example.org:99999/", ""),
            ("ws://user:secret@example.org:99999/?key=secret", ""),
            ("ws://example.org/a b", ""),
        ] {
            let error = Target::parse(text).expect_err(text);
            assert!(error.is_handshake(), "{error:?}");
            assert!(error.to_string().contains(about) && !error.to_string().contains("secret"), "{text}: {error}");
        }
    }
}
