//! The pages that may open a session: protects against cross-site WebSocket hijacking (RFC 6455 §10.2).
//!
//! Browsers let every page connect everywhere with the visitor's cookies and, unlike for `fetch`, do not ask the server
//! first. A server can tell its own pages from others only by the `Origin` header, which a page cannot forge.

use http::header::{HeaderMap, HeaderValue, ORIGIN};

use crate::error::{Error, Kind};
use crate::handshake::hosts::HostPattern;
use crate::handshake::refusal::Refusal;
use crate::handshake::request::Authority;

/// The origins that may open a session. Default: [`Origins::same_origin`].
///
/// A request without an `Origin` header does not come from a page in a browser, so there are no cookies to misuse, and
/// it is always admitted.
#[derive(Clone, Debug, Default)]
pub struct Origins(Rule);

#[derive(Clone, Debug, Default)]
enum Rule {
    #[default]
    Same,
    Any,
    List(Box<[Pattern]>),
}

/// One entry of a list.
#[derive(Clone, Debug)]
struct Pattern {
    scheme: Box<str>,
    host: HostPattern,
    port: Option<u16>,
}

/// An origin in the browsers' form (RFC 6454 §6.2): exactly `scheme://host` or `scheme://host:port`.
#[derive(Clone, Copy, Debug)]
struct Origin<'a> {
    scheme: &'a str,
    authority: Authority<'a>,
}

impl Origins {
    /// Admits pages that this server itself delivered: the origin's host and port are those of the `Host` header.
    ///
    /// A missing port counts as 80 or 443, by the origin's scheme. So this works behind a proxy that terminates TLS, if
    /// the proxy passes `Host` on unchanged (nginx: `proxy_set_header Host $http_host`), or tells it as one of the
    /// [`trusted_proxies`](crate::ContainerBuilder::trusted_proxies). Where this server terminates TLS itself
    /// ([`ServerBuilder::tls`](crate::Server)), or such a proxy says that it does, the page must have been loaded by
    /// `https`: a page loaded by `http` could have been changed on the way.
    ///
    /// A page whose name was made to resolve to this server has the same origin, too (DNS rebinding): see
    /// [`allowed_hosts`](crate::ContainerBuilder::allowed_hosts).
    pub fn same_origin() -> Self {
        Self(Rule::Same)
    }

    /// Admits every page of every site, including sandboxed pages and those without a valid origin.
    ///
    /// For public data only: any site can then act in the name of a visitor who is logged in, or who merely reaches an
    /// address that the site cannot reach, such as `localhost`.
    pub fn any() -> Self {
        Self(Rule::Any)
    }

    /// Admits exactly these origins, such as `https://example.org`, `http://localhost:3000` or, for all subdomains but
    /// not the domain itself, `https://*.example.org`.
    ///
    /// The server's own origin is admitted only if it is listed.
    ///
    /// # Errors
    /// [`Error::is_deployment`], naming every entry that is not an origin.
    pub fn list<I>(origins: I) -> Result<Self, Error>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let mut patterns = Vec::new();
        let mut mistakes = Vec::new();
        for origin in origins {
            match Pattern::parse(origin.as_ref()) {
                Ok(pattern) => patterns.push(pattern),
                Err(mistake) => mistakes.push(format!("the allowed origin {:?} {mistake}", origin.as_ref())),
            }
        }
        if mistakes.is_empty() {
            Ok(Self(Rule::List(patterns.into())))
        } else {
            Err(Error::new(Kind::Deploy, mistakes.join("; ")))
        }
    }

    /// Admits a request for `host`, or refuses it. `is_secure` means that this server or a trusted proxy terminated its TLS.
    pub(crate) fn check(&self, headers: &HeaderMap, host: Authority<'_>, is_secure: bool) -> Result<(), Refusal> {
        let mut values = headers.get_all(ORIGIN).iter();
        let Some(value) = values.next() else {
            return Ok(());
        };
        let origin = if values.next().is_some() { None } else { Origin::of(value) };
        let admitted = match (&self.0, origin) {
            (Rule::Any, _) => true,
            // "null", malformed or repeated: the origin is unknown
            (_, None) => false,
            (Rule::Same, Some(origin)) if origin.is_of(host) => {
                if is_secure && !origin.scheme.eq_ignore_ascii_case("https") {
                    return Err(Refusal::insecure_origin(&String::from_utf8_lossy(value.as_bytes())));
                }
                true
            }
            (Rule::Same, Some(_)) => false,
            (Rule::List(patterns), Some(origin)) => patterns.iter().any(|pattern| pattern.admits(origin)),
        };
        if admitted {
            return Ok(());
        }
        let all: Vec<_> =
            headers.get_all(ORIGIN).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        Err(Refusal::foreign_origin(&all.join(", "), &host.to_string()))
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, &'static str> {
        if text == "*" {
            return Err("is not an origin: use Origins::any() to admit every origin");
        }
        if text.ends_with('/') {
            return Err("must not end with '/'");
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err("must have the form \"https://example.org\"");
        };
        let subdomains = rest.starts_with("*.");
        let written = if subdomains { &rest[2..] } else { rest };
        let Some(Origin { scheme, authority }) = Origin::parse(scheme, written) else {
            return Err("must have the form \"https://example.org\" or \"https://example.org:8443\"");
        };
        let Some(host) = HostPattern::new(authority.host, subdomains) else {
            return Err("must not contain '*', except for subdomains as in \"https://*.example.org\"");
        };
        Ok(Self { scheme: scheme.into(), host, port: authority.port.or(default_port(scheme)) })
    }

    fn admits(&self, origin: Origin<'_>) -> bool {
        self.host.admits(origin.authority.host)
            && origin.scheme.eq_ignore_ascii_case(&self.scheme)
            && origin.port() == self.port
    }
}

impl<'a> Origin<'a> {
    fn of(header: &'a HeaderValue) -> Option<Self> {
        let (scheme, authority) = header.to_str().ok()?.split_once("://")?;
        Self::parse(scheme, authority)
    }

    fn parse(scheme: &'a str, authority: &'a str) -> Option<Self> {
        let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if !is_scheme || authority.ends_with(':') {
            return None;
        }
        Some(Self { scheme, authority: Authority::parse(authority)? })
    }

    /// Whether a page of this origin was delivered by the server that the request calls `host`.
    fn is_of(self, host: Authority<'_>) -> bool {
        // only http and https deliver pages of a host; an app's `capacitor://localhost` does not
        let Some(default) = default_port(self.scheme) else {
            return false;
        };
        self.authority.host.eq_ignore_ascii_case(host.host)
            && self.authority.port.unwrap_or(default) == host.port.unwrap_or(default)
    }

    fn port(self) -> Option<u16> {
        self.authority.port.or(default_port(self.scheme))
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    if scheme.eq_ignore_ascii_case("https") {
        Some(443)
    } else if scheme.eq_ignore_ascii_case("http") {
        Some(80)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn admits(origins: &Origins, host: &str, values: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(ORIGIN, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        origins.check(&headers, Authority::parse(host).unwrap(), false).is_ok()
    }

    #[test]
    fn same_origin_with_own_tls_requires_https() {
        let list = Origins::list(["http://a.org"]).unwrap();
        for (origins, origin, host, outcome) in [
            (&Origins::same_origin(), "https://a.org", "a.org", None),
            (&Origins::same_origin(), "HTTPS://a.org:8443", "a.org:8443", None),
            (&Origins::same_origin(), "http://a.org", "a.org", Some("without encryption")),
            (&Origins::same_origin(), "http://a.org:8443", "a.org:8443", Some("without encryption")),
            (&Origins::same_origin(), "http://a.org:8080", "a.org:8443", Some("does not allow")),
            (&list, "http://a.org", "a.org", None),
            (&Origins::any(), "http://a.org", "a.org", None),
        ] {
            let headers = HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static(origin))]);
            let refused = origins.check(&headers, Authority::parse(host).unwrap(), true).err();
            assert_eq!(refused.is_some(), outcome.is_some(), "{origin} at {host}");
            assert!(refused.is_none_or(|it| it.status() == 403 && it.reason().contains(outcome.unwrap())), "{origin}");
        }
    }

    #[test]
    fn same_origin_admits_the_servers_own_pages() {
        for (origin, host) in [
            ("http://mydomain.com", "mydomain.com"),
            ("http://mydomain.com", "mydomain.com:80"),
            ("http://mydomain.com:80", "mydomain.com"),
            ("https://mydomain.com", "mydomain.com"),
            ("https://mydomain.com", "mydomain.com:443"),
            ("https://mydomain.com:443", "mydomain.com"),
            ("https://mydomain.com:9000", "mydomain.com:9000"),
            ("HTTPS://MyDomain.COM", "mydomain.com"),
            ("http://mydomain.com", "MYDOMAIN.com"),
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://[::1]:8080", "[::1]:8080"),
            ("http://[2001:DB8::1]", "[2001:db8::1]"),
            ("http://mydomain.com.", "mydomain.com."),
        ] {
            assert!(admits(&Origins::default(), host, &[origin]), "{origin} at {host}");
        }
    }

    #[test]
    fn same_origin_refuses_other_origins() {
        for (origin, host) in [
            ("http://amydomain.com", "mydomain.com"),
            ("http://mydomain.com", "amydomain.com"),
            ("http://sub.mydomain.com", "mydomain.com"),
            ("http://mydomain.com", "sub.mydomain.com"),
            ("http://mydomain.com.evil.com", "mydomain.com"),
            ("http://mydomain.co", "mydomain.com"),
            ("http://mydomain.comx", "mydomain.com"),
            ("http://evil.com", "mydomain.com"),
            ("http://mydomain.com:90000", "mydomain.com"),
            ("http://mydomain.com:90000", "mydomain.com:9000"),
            ("http://mydomain.com:9000", "mydomain.com:9001"),
            ("http://mydomain.com:9000", "mydomain.com"),
            ("http://mydomain.com", "mydomain.com:9000"),
            ("http://mydomain.com:443", "mydomain.com"),
            ("https://mydomain.com", "mydomain.com:80"),
            ("https://mydomain.com:80", "mydomain.com"),
            ("http://mydomain.com:", "mydomain.com"),
            ("http://mydomain.com:+80", "mydomain.com"),
            ("http://mydomain.com:80:80", "mydomain.com"),
            ("http://mydomain.com.", "mydomain.com"),
            ("http://mydomain.com", "mydomain.com."),
            ("http://user@mydomain.com", "mydomain.com"),
            ("http://mydomain.com@evil.com", "mydomain.com"),
            ("http://evil.com@mydomain.com", "mydomain.com"),
            ("http://user:80@mydomain.com", "mydomain.com"),
            ("http://mydomain.com/", "mydomain.com"),
            ("http://mydomain.com/path", "mydomain.com"),
            ("http://mydomain.com?q", "mydomain.com"),
            ("http://mydomain.com#f", "mydomain.com"),
            ("http://evil.com/http://mydomain.com", "mydomain.com"),
            ("http://evil.com\\mydomain.com", "mydomain.com"),
            ("http://mydomain.com http://mydomain.com", "mydomain.com"),
            ("http://mydomain.com, http://evil.com", "mydomain.com"),
            (" http://mydomain.com", "mydomain.com"),
            ("http://mydomain.com ", "mydomain.com"),
            ("http://[::1", "[::1]"),
            ("http://[::2]", "[::1]"),
            ("http://::1", "[::1]"),
            ("http://[::1]:81", "[::1]:80"),
            ("http://[::1]x", "[::1]"),
            ("http://[::1%25eth0]", "[::1]"),
            ("null", "mydomain.com"),
            ("null", "null"),
            ("", "mydomain.com"),
            ("http://", "mydomain.com"),
            ("http://:80", "mydomain.com"),
            ("mydomain.com", "mydomain.com"),
            ("//mydomain.com", "mydomain.com"),
            ("://mydomain.com", "mydomain.com"),
            ("http:mydomain.com", "mydomain.com"),
            ("http:/mydomain.com", "mydomain.com"),
            ("1http://mydomain.com", "mydomain.com"),
            ("file://", "mydomain.com"),
            ("ftp://mydomain.com", "mydomain.com"),
            ("capacitor://localhost", "localhost"),
            ("http://mydömain.com", "mydomain.com"),
            ("http://mydomain%2ecom", "mydomain.com"),
        ] {
            assert!(!admits(&Origins::default(), host, &[origin]), "{origin} at {host}");
        }
    }

    #[test]
    fn a_repeated_origin_is_refused_and_an_absent_one_admitted() {
        let list = Origins::list(["http://a.org"]).unwrap();
        for origins in [&Origins::same_origin(), &list] {
            assert!(!admits(origins, "a.org", &["http://a.org", "http://a.org"]));
            assert!(!admits(origins, "a.org", &["http://a.org", "http://evil.com"]));
            assert!(admits(origins, "a.org", &[]));
        }
    }

    #[test]
    fn any_admits_every_origin() {
        for values in [&["null"][..], &["http://evil.com"], &["", "x"], &["é"], &[]] {
            assert!(admits(&Origins::any(), "a.org", values));
        }
    }

    #[test]
    fn list_admits_exactly_its_entries() {
        let list = Origins::list([
            "https://example.org",
            "http://localhost:3000",
            "https://*.wild.org",
            "https://*.port.org:8443",
            "capacitor://localhost",
            "HTTPS://UPPER.org",
            "http://[::1]",
        ])
        .unwrap();
        for (origin, admitted) in [
            ("https://example.org", true),
            ("https://example.org:443", true),
            ("HTTPS://EXAMPLE.org", true),
            ("http://example.org", false),
            ("https://example.org:8443", false),
            ("https://a.example.org", false),
            ("https://aexample.org", false),
            ("https://example.org.", false),
            ("https://example.org.evil.com", false),
            ("https://example.org/", false),
            ("https://user@example.org", false),
            ("http://localhost:3000", true),
            ("http://localhost", false),
            ("https://localhost:3000", false),
            ("capacitor://localhost", true),
            ("ionic://localhost", false),
            ("https://upper.org", true),
            ("http://[::1]:80", true),
            ("https://a.wild.org", true),
            ("https://a.b.WILD.org:443", true),
            ("https://wild.org", false),
            ("https://.wild.org", false),
            ("https://awild.org", false),
            ("https://a-wild.org", false),
            ("http://a.wild.org", false),
            ("https://a.wild.org:8443", false),
            ("https://a.wild.org.evil.com", false),
            ("https://evil.com/a.wild.org", false),
            ("https://evil.com#.wild.org", false),
            ("https://evil.com@a.wild.org", false),
            ("https://a.port.org:8443", true),
            ("https://a.port.org", false),
            ("null", false),
            ("", false),
            // the server's own origin is not listed
            ("https://server.net", false),
        ] {
            assert_eq!(admits(&list, "server.net", &[origin]), admitted, "{origin}");
        }
    }

    #[test]
    fn error_lists_every_invalid_origin() {
        for bad in [
            "*",
            "null",
            "",
            "example.org",
            "https://",
            "https://example.org/",
            "https://example.org/a",
            "https://user@example.org",
            "https://example.org:90000",
            "https://example.org:",
            "https://*",
            "https://*.",
            "https://*..org",
            "https://a.*.org",
            "https://*a.org",
            "https://*.*.org",
            "https://*.[::1]",
            "https://a b.org",
        ] {
            let error = Origins::list([bad]).unwrap_err();
            assert!(error.is_deployment());
            assert!(error.to_string().starts_with(&format!("the allowed origin {bad:?} ")), "{error}");
        }
        let error = Origins::list(["*", "https://example.org", "b"]).unwrap_err().to_string();
        assert!(error.contains("\"*\"") && error.contains("\"b\"") && !error.contains("\"https://example.org\" "));
    }

    #[test]
    fn the_refusal_names_origin_and_host() {
        let mut headers = HeaderMap::new();
        headers.append(ORIGIN, HeaderValue::from_static("null"));
        headers.append(ORIGIN, HeaderValue::from_static("http://evil.com"));
        let refusal = Origins::same_origin().check(&headers, Authority::parse("a.org:81").unwrap(), false).unwrap_err();
        assert_eq!(refusal.status(), 403);
        assert!(refusal.reason().contains("\"null, http://evil.com\""), "{refusal}");
        assert!(refusal.reason().contains("\"a.org:81\""), "{refusal}");
    }

    proptest! {
        #[test]
        fn only_the_host_after_the_scheme_is_compared(
            value in "(https?://|HTTP://|x://)?[ab@/:.]{0,3}[ab]?(:80|:443|:8080|:)?[\\t -~\u{80}-\u{ff}]{0,1}",
            port in prop::sample::select(vec!["", ":80", ":443", ":8080"]),
        ) {
            let own = ["http://a", "https://a"].iter().flat_map(|page| match (port, *page) {
                ("", page) | (":80", page @ "http://a") | (":443", page @ "https://a") => {
                    vec![page.to_owned(), format!("{page}{}", if page == "http://a" { ":80" } else { ":443" })]
                }
                (port, page) => vec![format!("{page}{port}")],
            });
            let is_own = own.into_iter().any(|page| page.eq_ignore_ascii_case(&value));
            prop_assert_eq!(admits(&Origins::same_origin(), &format!("a{port}"), &[&value]), is_own);
        }

        #[test]
        fn no_origin_makes_the_check_panic(value in prop::collection::vec(any::<u8>(), 0..40)) {
            let list = Origins::list(["https://*.example.org", "http://a"]).unwrap();
            let _ = Origins::list([String::from_utf8_lossy(&value)]);
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                let headers = HeaderMap::from_iter([(ORIGIN, value)]);
                let _ = list.check(&headers, Authority::parse("a").unwrap(), false);
            }
        }
    }
}
