//! The hosts that requests may be for: protects against DNS rebinding.
//!
//! Anyone can let a name of theirs resolve to 127.0.0.1. In a browser, a page of that name then has the same origin as
//! the server on the visitor's own machine, so it may read and send everything there. Only the `Host` header, which a
//! page cannot forge, shows which name the browser asked for.

use std::net::Ipv4Addr;

use http::header::{self, HeaderMap};
use http::{Uri, Version};

use crate::error::{Error, Kind};
use crate::handshake::http2;
use crate::handshake::refusal::Refusal;
use crate::handshake::request;
use crate::handshake::request::{Authority, Transport};

/// The hosts that requests may be for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hosts(Rule);

#[derive(Clone, Debug, Default)]
enum Rule {
    /// Every host; on a listener that only this machine reaches, only hosts that no one else can own.
    #[default]
    Safe,
    Any,
    List(Box<[Entry]>),
}

/// One entry of a list.
#[derive(Clone, Debug)]
struct Entry {
    host: HostPattern,
    port: Option<u16>,
}

/// A host, or all subdomains of a host.
#[derive(Clone, Debug)]
pub(crate) struct HostPattern {
    /// Begins with the dot if it stands for subdomains.
    host: Box<str>,
    subdomains: bool,
}

impl Hosts {
    /// Admits exactly these hosts.
    ///
    /// # Errors
    /// [`Error::is_deployment`], naming every entry that is not a host.
    pub(crate) fn list<I>(hosts: I) -> Result<Self, Error>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let mut entries = Vec::new();
        let mut mistakes = Vec::new();
        let mut any = false;
        for host in hosts {
            match host.as_ref() {
                "*" => any = true,
                text => match Entry::parse(text) {
                    Some(entry) => entries.push(entry),
                    None => mistakes.push(format!(
                        "the allowed host {text:?} must have the form \"example.org\", \"example.org:8443\" or \
                         \"*.example.org\""
                    )),
                },
            }
        }
        if !mistakes.is_empty() {
            return Err(Error::new(Kind::Deploy, mistakes.join("; ")));
        }
        Ok(Self(if any { Rule::Any } else { Rule::List(entries.into()) }))
    }

    /// Admits a request for `host`, or refuses it.
    pub(crate) fn check(&self, host: Authority<'_>, transport: Transport) -> Result<(), Refusal> {
        let Authority { host: name, port } = host;
        // RFC 1034 §3.1: a name with the root's trailing dot is the same name
        let name = name.strip_suffix('.').unwrap_or(name);
        let admitted = match &self.0 {
            Rule::Any => true,
            Rule::Safe => !transport.is_local || is_address(name) || is_localhost(name),
            Rule::List(entries) => entries.iter().any(|entry| entry.admits(name, port, transport.is_secure)),
        };
        if admitted { Ok(()) } else { Err(Refusal::unknown_host(&host.to_string())) }
    }

    /// Admits a request that is not a handshake, or refuses it. HTTP/1.0 may omit `Host`; browsers never do.
    pub(crate) fn check_page(
        &self,
        uri: &Uri,
        version: Version,
        headers: &HeaderMap,
        transport: Transport,
    ) -> Result<(), Refusal> {
        let is_open = match &self.0 {
            Rule::Any => true,
            Rule::Safe => !transport.is_local,
            Rule::List(_) => false,
        };
        if is_open || (version < Version::HTTP_11 && !headers.contains_key(header::HOST)) {
            return Ok(());
        }
        let host = if version >= Version::HTTP_2 {
            http2::page_host(uri, headers)?
        } else {
            request::authority(uri, headers).ok_or_else(Refusal::missing_host)?
        };
        self.check(host, transport)
    }
}

impl Entry {
    fn parse(text: &str) -> Option<Self> {
        let subdomains = text.starts_with("*.");
        let Authority { host, port } = Authority::parse(if subdomains { &text[2..] } else { text })?;
        if text.ends_with(':') {
            return None;
        }
        let host = host.strip_suffix('.').unwrap_or(host);
        Some(Self { host: HostPattern::new(host, subdomains)?, port })
    }

    fn admits(&self, host: &str, port: Option<u16>, is_secure: bool) -> bool {
        let port_fits = match (self.port, port) {
            (None, _) => true,
            (Some(own), Some(port)) => own == port,
            // a proxy may terminate TLS, so the port may be 443 even without TLS here
            (Some(own), None) => own == 443 || (own == 80 && !is_secure),
        };
        port_fits && self.host.admits(host)
    }
}

impl HostPattern {
    /// `None` if there is a `*` other than in front.
    pub(crate) fn new(host: &str, subdomains: bool) -> Option<Self> {
        if host.is_empty() || host.contains('*') || (subdomains && host.starts_with(['.', '['])) {
            return None;
        }
        let dot = if subdomains { "." } else { "" };
        Some(Self { host: format!("{dot}{host}").into(), subdomains })
    }

    pub(crate) fn admits(&self, host: &str) -> bool {
        let (host, own) = (host.as_bytes(), self.host.as_bytes());
        if self.subdomains {
            // matches at a label boundary, because `own` begins with the dot
            host.len() > own.len() && host[host.len() - own.len()..].eq_ignore_ascii_case(own)
        } else {
            host.eq_ignore_ascii_case(own)
        }
    }
}

/// Whether the host is an address, which cannot be made to resolve to another one.
fn is_address(host: &str) -> bool {
    host.starts_with('[') || host.parse::<Ipv4Addr>().is_ok()
}

/// Whether the host is a name of this machine (RFC 6761 §6.3).
fn is_localhost(host: &str) -> bool {
    const LOCALHOST: &[u8] = b"localhost";
    let host = host.as_bytes();
    let Some(before) = host.len().checked_sub(LOCALHOST.len()) else { return false };
    host[before..].eq_ignore_ascii_case(LOCALHOST) && (before == 0 || (before > 1 && host[before - 1] == b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNKNOWN: Transport = Transport { peer_addr: None, local_addr: None, is_secure: false, is_local: false };
    const LOCAL: Transport = Transport { is_local: true, ..UNKNOWN };

    fn admits(hosts: &Hosts, host: &str, transport: Transport) -> bool {
        hosts.check(Authority::parse(host).unwrap(), transport).is_ok()
    }

    #[test]
    fn loopback_listener_admits_only_local_names() {
        for (host, admitted) in [
            ("127.0.0.1", true),
            ("127.0.0.1:8080", true),
            ("10.1.2.3", true),
            ("[::1]:8080", true),
            ("[2001:db8::1]", true),
            ("localhost", true),
            ("LocalHost:8080", true),
            ("localhost.", true),
            ("app.localhost", true),
            ("a.b.LOCALHOST:1", true),
            (".localhost", false),
            ("evil.example", false),
            ("evil.example:8080", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("evillocalhost", false),
            ("evil-localhost", false),
            ("localhost.localdomain", false),
            ("127.0.0.1.", true),
            ("1.2.3.4.5", false),
            ("localhos", false),
            ("a", false),
        ] {
            assert_eq!(admits(&Hosts::default(), host, LOCAL), admitted, "{host}");
            assert!(admits(&Hosts::default(), host, UNKNOWN), "{host}");
        }
    }

    #[test]
    fn list_admits_exactly_its_entries_on_every_listener() {
        let list = Hosts::list(["example.org", "a.org:8443", "tls.org:443", "plain.org:80", "*.wild.org", "[::1]"]);
        let list = list.unwrap();
        let secure = Transport { is_secure: true, ..LOCAL };
        for (host, admitted) in [
            ("example.org", true),
            ("EXAMPLE.org:1234", true),
            ("example.org.", true),
            ("a.example.org", false),
            ("aexample.org", false),
            ("example.org.evil.example", false),
            ("a.org:8443", true),
            ("a.org", false),
            ("a.org:443", false),
            ("tls.org", true),
            ("tls.org:443", true),
            ("tls.org:80", false),
            ("x.wild.org", true),
            ("x.y.WILD.org:9", true),
            ("wild.org", false),
            (".wild.org", false),
            ("awild.org", false),
            ("[::1]:80", true),
            ("[::2]", false),
            // not listed
            ("localhost", false),
            ("127.0.0.1", false),
        ] {
            for transport in [LOCAL, UNKNOWN, secure] {
                assert_eq!(admits(&list, host, transport), admitted, "{host}");
            }
        }
        for (host, transport, admitted) in
            [("plain.org", LOCAL, true), ("plain.org:80", LOCAL, true), ("plain.org", secure, false)]
        {
            assert_eq!(admits(&list, host, transport), admitted, "{host}");
        }
        let any = Hosts::list(["a.org", "*"]).unwrap();
        assert!(admits(&any, "evil.example", LOCAL));
        assert!(!admits(&Hosts::list([""; 0]).unwrap(), "localhost", LOCAL));
    }

    #[test]
    fn error_lists_every_invalid_host() {
        let bad = [
            "",
            "http://a.org",
            "a.org/",
            "a b",
            "a.*.org",
            "*a.org",
            "**",
            "*.",
            "*.[::1]",
            "a.org:",
            "a:99999",
            "u@a",
        ];
        for text in bad {
            let error = Hosts::list(["fine.org", text]).unwrap_err();
            assert!(error.is_deployment() && error.to_string().contains(&format!("{text:?}")), "{error}");
        }
        let error = Hosts::list(bad).unwrap_err().to_string();
        assert!(bad.iter().all(|text| error.contains(&format!("{text:?}"))), "{error}");
    }

    #[test]
    fn page_request_needs_a_host_if_its_http_version_does() {
        let list = Hosts::list(["a.org"]).unwrap();
        for (hosts, version, sent, outcome) in [
            (&list, Version::HTTP_11, &["a.org"][..], None),
            (&list, Version::HTTP_11, &["b.org"], Some(421)),
            (&list, Version::HTTP_11, &[], Some(400)),
            (&list, Version::HTTP_11, &["a.org", "a.org"], Some(400)),
            (&list, Version::HTTP_10, &[], None),
            (&list, Version::HTTP_10, &["b.org"], Some(421)),
            (&Hosts::default(), Version::HTTP_11, &["b.org"], Some(421)),
            (&Hosts(Rule::Any), Version::HTTP_11, &[], None),
        ] {
            let mut headers = HeaderMap::new();
            for host in sent {
                headers.append(header::HOST, host.parse().unwrap());
            }
            let refused = hosts.check_page(&Uri::from_static("/"), version, &headers, LOCAL).err();
            assert_eq!(refused.map(|refusal| refusal.status().as_u16()), outcome, "{version:?} {sent:?}");
        }
    }
}
