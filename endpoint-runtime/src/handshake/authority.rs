//! The host that a request is for, and its port.

use std::fmt;
use std::net::Ipv6Addr;

use http::Uri;
use http::header::{self, HeaderMap};

/// A host and its port, if there is one: the value of `Host`, or of `Origin` after its scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Authority<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Parses `host`, `host:` and `host:port` (RFC 3986 §3.2, RFC 9110 §7.2): without a user, an IPv6 address in
    /// brackets, a port below 65536.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let host_end = if text.starts_with('[') { text.find(']')? + 1 } else { text.find(':').unwrap_or(text.len()) };
        let (host, port) = text.split_at(host_end);
        let is_host = match host.strip_prefix('[') {
            Some(address) => address.strip_suffix(']')?.parse::<Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.bytes().all(is_name),
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            Some("") => None,
            // digits only: `parse` would accept a sign
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
            _ => return None,
        };
        is_host.then_some(Self { host, port })
    }
}

impl fmt::Display for Authority<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// The authority a request is for: that of its target, else that of its `Host` header. `None` unless that header occurs
/// once and is valid, which every target requires (RFC 9112 §3.2, RFC 6455 §4.2.1).
pub(crate) fn authority<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<Authority<'a>> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = Authority::parse(hosts.next()?.to_str().ok()?)?;
    if hosts.next().is_some() {
        return None;
    }
    match uri.authority() {
        Some(target) => Authority::parse(target.as_str()),
        None => Some(host),
    }
}

/// Whether a registered name may contain `byte` (RFC 3986 §3.2.2).
fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(&byte)
}
