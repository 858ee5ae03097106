//! Selects the proxy for a server, from explicit configuration or the environment. Pure, except for a log line.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use http::header::HeaderValue;

use super::uri::{Target, basic};
use crate::error::{Error, Kind};
use crate::handshake::request::Authority;

/// The proxy that a [`ClientContainer`](crate::ClientContainer) connects through. Default: [`Proxy::from_env`].
///
/// The client asks the proxy for a tunnel to the server (`CONNECT`, RFC 9110 §9.3.6), for `ws://` and `wss://`. The
/// proxy resolves the server's name; with `wss://` it sees nothing else. It is an HTTP proxy, reached without TLS:
/// `http://proxy.example.org:3128`, or `http://user:password@…` for basic authentication.
#[derive(Clone)]
pub struct Proxy(Rules);

#[derive(Clone)]
enum Rules {
    Direct,
    All(Way),
    Environment { plain: Option<Way>, secure: Option<Way>, except: Vec<Except> },
}

/// A proxy's URL, or what is wrong with it; a wrong URL is an error, not a direct connection.
type Way = Result<Hop, String>;

/// Address and credentials of a proxy.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Hop {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) authorization: Option<HeaderValue>,
}

impl Proxy {
    /// No proxy: connects to every server directly.
    pub fn none() -> Self {
        Self(Rules::Direct)
    }

    /// Uses this proxy for every server.
    ///
    /// # Errors
    /// [`Error::is_handshake`] if `url` is not the URL of an HTTP proxy.
    pub fn all(url: impl AsRef<str>) -> Result<Self, Error> {
        let hop = Hop::parse(url.as_ref()).map_err(|mistake| Error::new(Kind::Handshake, mistake))?;
        Ok(Self(Rules::All(Ok(hop))))
    }

    /// Reads the environment when called: `HTTPS_PROXY` for `wss://`, `HTTP_PROXY` for `ws://`, `ALL_PROXY` for both
    /// where that is not set. Each may be in lower case, which takes precedence.
    ///
    /// `NO_PROXY` lists the exceptions, separated by commas or white space:
    ///
    /// | entry | servers that are connected to directly |
    /// |---|---|
    /// | `*` | all |
    /// | `example.org`, `.example.org`, `example.org.` | `example.org` and everything below it |
    /// | `*.example.org` | everything below `example.org`, not itself |
    /// | `10.1.2.3`, `fd00::1`, `[fd00::1]` | this address |
    /// | `10.0.0.0/8`, `fd00::/8`, `[fd00::]/8` | every address in the range |
    /// | any of these but `*` with a port, as `example.org:8080`, `[fd00::1]:8080`, `10.0.0.0/8:8080` | the same, at this port alone |
    ///
    /// An entry is compared with the host of the URI, without resolving a name. An entry that cannot be parsed is
    /// logged. Connections to this machine are always direct: `localhost`, every name below it, and the loopback
    /// addresses in any notation (`127.1`, `::ffff:127.0.0.1`).
    ///
    /// Where `REQUEST_METHOD` is set, as for a CGI program, `HTTP_PROXY` in capitals is ignored, because there a client
    /// can set it. A value that is not the URL of an HTTP proxy is an error when it would be used.
    pub fn from_env() -> Self {
        Self::from_vars(|name| std::env::var(name).ok())
    }

    /// Same as [`from_env`](Self::from_env), with variables read by `read`.
    pub fn from_vars(read: impl Fn(&str) -> Option<String>) -> Self {
        let variable = |name: &str| read(name).filter(|value| !value.trim().is_empty());
        let either = |name: &str| variable(&name.to_ascii_lowercase()).or_else(|| variable(name));
        let is_cgi = read("REQUEST_METHOD").is_some();
        let plain = if is_cgi { variable("http_proxy") } else { either("HTTP_PROXY") };
        let all = either("ALL_PROXY");
        let way = |url: Option<String>| url.or_else(|| all.clone()).map(|url| Hop::parse(url.trim()));
        let except = either("NO_PROXY").unwrap_or_default();
        Self(Rules::Environment { plain: way(plain), secure: way(either("HTTPS_PROXY")), except: exceptions(&except) })
    }

    /// The proxy for `target`; `None` for a direct connection.
    pub(crate) fn before(&self, target: &Target) -> Result<Option<&Hop>, Error> {
        let way = match &self.0 {
            Rules::Direct => None,
            Rules::All(way) => Some(way),
            Rules::Environment { plain, secure, except } => {
                let way = if target.is_secure { secure } else { plain };
                let is_excepted = is_here(&target.host) || except.iter().any(|except| except.has(target));
                way.as_ref().filter(|_| !is_excepted)
            }
        };
        way.map(|way| way.as_ref().map_err(|mistake| Error::new(Kind::Handshake, mistake.clone()))).transpose()
    }
}

/// Omits the password.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |way: &Way| match way {
            Ok(hop) => format!("{}:{}", hop.host, hop.port),
            Err(mistake) => mistake.clone(),
        };
        match &self.0 {
            Rules::Direct => f.write_str("Proxy(none)"),
            Rules::All(way) => write!(f, "Proxy({})", shown(way)),
            Rules::Environment { plain, secure, .. } => f
                .debug_struct("Proxy")
                .field("ws", &plain.as_ref().map(shown))
                .field("wss", &secure.as_ref().map(shown))
                .finish_non_exhaustive(),
        }
    }
}

impl Hop {
    fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let rest = rest.split(['/', '?', '#']).next().unwrap_or_default();
        // the last `@`: a password may contain one, though it should not
        let (credentials, place) = match rest.rsplit_once('@') {
            Some((credentials, place)) => (Some(credentials), place),
            None => (None, rest),
        };
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(format!("the proxy {scheme}://{place} is not supported: use http://"));
        }
        let authority = Authority::parse(place).ok_or_else(|| format!("{place:?} is not a valid proxy address"))?;
        Ok(Self {
            host: authority.host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: authority.port.unwrap_or(80),
            authorization: credentials.map(basic),
        })
    }
}

/// Parses the entries of `NO_PROXY`.
fn exceptions(list: &str) -> Vec<Except> {
    let entries = list.split(|c: char| c == ',' || c.is_whitespace()).filter(|entry| !entry.is_empty());
    entries
        .filter_map(|entry| {
            let except = Except::parse(entry);
            if except.is_none() {
                tracing::warn!(entry, "invalid entry in NO_PROXY: ignored");
            }
            except
        })
        .collect()
}

/// An entry of `NO_PROXY`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Except {
    All,
    Range {
        network: IpAddr,
        bits: u8,
        port: Option<u16>,
    },
    Name {
        /// Lower case, without a leading or trailing dot.
        name: String,
        is_below_only: bool,
        port: Option<u16>,
    },
}

impl Except {
    fn parse(entry: &str) -> Option<Self> {
        if entry == "*" {
            return Some(Self::All);
        }
        if let Some((address, behind)) = entry.split_once('/') {
            let (bits, port) = behind.split_once(':').unwrap_or((behind, ""));
            return Some(Self::range(bare(address).parse().ok()?, bits.parse().ok()?, port_of(port)?));
        }
        let (host, port) = match entry.rfind(':') {
            // the colons of an IPv6 address without brackets
            Some(_) if entry.parse::<Ipv6Addr>().is_ok() => (entry, ""),
            Some(colon) if !entry.ends_with(']') => (&entry[..colon], &entry[colon + 1..]),
            _ => (entry, ""),
        };
        let port = port_of(port)?;
        if let Ok(address) = bare(host).parse::<IpAddr>() {
            return Some(Self::range(address, if address.is_ipv4() { 32 } else { 128 }, port));
        }
        let (name, is_below_only) = match host.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (host.strip_prefix('.').unwrap_or(host), false),
        };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let is_name = !name.contains('*') && Authority::parse(&name).is_some_and(|authority| authority.port.is_none());
        is_name.then_some(Self::Name { name, is_below_only, port })
    }

    fn range(network: IpAddr, bits: u8, port: Option<u16>) -> Self {
        match network.to_canonical() {
            // IPv4 addresses written as IPv6
            canonical if canonical != network && bits >= 96 => {
                Self::Range { network: canonical, bits: bits - 96, port }
            }
            _ => Self::Range { network, bits, port },
        }
    }

    fn has(&self, target: &Target) -> bool {
        let is_at = |port: &Option<u16>| port.is_none_or(|port| port == target.port);
        match self {
            Self::All => true,
            Self::Range { network, bits, port } => {
                is_at(port) && address_of(&target.host).is_some_and(|address| is_within(address, *network, *bits))
            }
            Self::Name { name, is_below_only, port } => {
                let host = target.host.strip_suffix('.').unwrap_or(&target.host).to_ascii_lowercase();
                let below = host.strip_suffix(name.as_str());
                is_at(port) && below.is_some_and(|below| below.ends_with('.') || below.is_empty() && !is_below_only)
            }
        }
    }
}

/// Removes the brackets of an address.
fn bare(address: &str) -> &str {
    address.strip_prefix('[').and_then(|address| address.strip_suffix(']')).unwrap_or(address)
}

/// Parses a port that may be empty; `None` if `digits` is not a port.
fn port_of(digits: &str) -> Option<Option<u16>> {
    match digits {
        "" => Some(None),
        // `parse` would accept a sign
        _ if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok().map(Some),
        _ => None,
    }
}

fn is_within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    // both addresses as 128-bit numbers, aligned at their first bit
    let wide = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
        IpAddr::V6(address) => u128::from(address),
    };
    let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
    address.is_ipv4() == network.is_ipv4() && wide(address) & mask == wide(network) & mask
}

/// Whether a host is this machine (RFC 6761 §6.3 for the names).
fn is_here(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    name.rsplit('.').next().is_some_and(|last| last.eq_ignore_ascii_case("localhost"))
        || address_of(host).is_some_and(|address| address.is_loopback())
}

/// The address that `host` denotes; an IPv4 address may be written as IPv6.
fn address_of(host: &str) -> Option<IpAddr> {
    host.parse().ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::uri::Values;

    fn proxy(vars: &[(&str, &str)], uri: &str) -> Result<Option<String>, String> {
        let read = |name: &str| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let proxy = Proxy::from_vars(read);
        let hop = proxy.before(&Target::parse(uri, &Values::default()).unwrap()).map_err(|error| error.to_string())?;
        Ok(hop.map(|hop| format!("{}:{}", hop.host, hop.port)))
    }

    #[test]
    fn environment_selects_the_proxy() {
        const WS: &str = "ws://example.org/";
        const WSS: &str = "wss://example.org/";
        for (vars, uri, expected) in [
            (&[][..], WS, None),
            (&[("HTTP_PROXY", "http://p:1")], WS, Some("p:1")),
            (&[("HTTP_PROXY", "http://p:1")], WSS, None),
            (&[("HTTPS_PROXY", "http://p:1")], WS, None),
            (&[("HTTPS_PROXY", "http://p:1/")], WSS, Some("p:1")),
            (&[("ALL_PROXY", "p:1")], WS, Some("p:1")),
            (&[("ALL_PROXY", "p:1"), ("https_proxy", "q")], WSS, Some("q:80")),
            (&[("HTTP_PROXY", "http://P:1"), ("http_proxy", "http://[::1]:2")], WS, Some("::1:2")),
            (&[("HTTP_PROXY", " ")], WS, None),
            (&[("HTTP_PROXY", "http://p:1"), ("REQUEST_METHOD", "GET")], WS, None),
            (&[("http_proxy", "http://p:1"), ("REQUEST_METHOD", "GET")], WS, Some("p:1")),
            (&[("HTTP_PROXY", "p:1")], "ws://localhost/", None),
            (&[("HTTP_PROXY", "p:1")], "ws://127.3.4.5/", None),
            (&[("HTTP_PROXY", "p:1")], "ws://[::1]:8080/", None),
            (&[("HTTP_PROXY", "p:1")], "ws://[::ffff:127.0.0.1]/", None),
            (&[("HTTP_PROXY", "p:1")], "ws://app.localhost/", None),
            (&[("HTTP_PROXY", "p:1")], "ws://LOCALHOST./", None),
            (&[("HTTP_PROXY", "p:1")], "ws://localhost.example.org/", Some("p:1")),
            (&[("HTTP_PROXY", "p:1")], "ws://notlocalhost/", Some("p:1")),
            (&[("HTTP_PROXY", "p:1")], "ws://127.1/", None),
            (&[("HTTP_PROXY", "p:1")], "ws://0x7f.0.1/", None),
            (&[("HTTP_PROXY", "p:1")], "ws://2130706433/", None),
            (&[("HTTP_PROXY", "p:1")], "ws://128.1/", Some("p:1")),
        ] {
            assert_eq!(proxy(vars, uri), Ok(expected.map(str::to_owned)), "{vars:?} {uri}");
        }
    }

    #[test]
    fn exceptions_are_names_addresses_ranges_and_ports() {
        for (except, host, direct) in [
            ("*", "example.org", true),
            ("example.org", "example.org", true),
            ("Example.ORG", "EXAMPLE.org", true),
            ("example.org", "a.b.example.org", true),
            (".example.org", "a.example.org", true),
            ("example.org", "badexample.org", false),
            ("example.org:80", "example.org", true),
            ("example.org:81", "example.org", false),
            ("other.org, example.org", "example.org", true),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.30", false),
            ("10.0.0.0/8", "10.200.1.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "11.0.0.1", true),
            ("fd00::/8", "[fd12::1]", true),
            ("fd00::/8", "10.0.0.1", false),
            ("10.0.0.0/99", "10.0.0.0", true),
            (",, /, a b/", "example.org", false),
            ("example.org.", "example.org", true),
            ("example.org.", "a.example.org.", true),
            ("example.org", "example.org.", true),
            ("*.example.org", "a.example.org", true),
            ("*.example.org", "a.b.example.org", true),
            ("*.example.org", "example.org", false),
            ("*.example.org", "badexample.org", false),
            ("*.example.org:80", "a.example.org", true),
            ("*.example.org:81", "a.example.org", false),
            (".example.org", "example.org", true),
            (".example.org:81", "a.example.org", false),
            ("example.org:", "example.org", true),
            ("other.org\texample.org", "example.org", true),
            ("other.org\t,\n example.org\t", "example.org", true),
            ("other.org\u{a0}example.org", "example.org", true),
            ("10.0.0.0/8:80", "10.1.2.3", true),
            ("10.0.0.0/8:81", "10.1.2.3", false),
            ("10.1.2.3:80", "10.1.2.3", true),
            ("10.1.2.3:81", "10.1.2.3", false),
            ("10.0.0.0/8", "10.1", true),
            ("10.0.0.0/8", "[::ffff:10.1.2.3]", true),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "11.1.2.3", false),
            ("[fd00::]/8", "[fd12::1]", true),
            ("[fd00::]/8", "[fe12::1]", false),
            ("[fd00::]/8:80", "[fd12::1]", true),
            ("[fd00::]/8:81", "[fd12::1]", false),
            ("fd00::1", "[fd00:0:0::1]", true),
            ("[fd00::1]", "[fd00::1]", true),
            ("[fd00::1]:80", "[fd00::1]", true),
            ("[fd00::1]:81", "[fd00::1]", false),
            ("::/0", "[fd00::1]", true),
            ("127.1", "127.1", true),
            ("10.0.0.0/8", "10.example.org", false),
        ] {
            let vars = [("ALL_PROXY", "p:1"), ("NO_PROXY", except)];
            let expected = (!direct).then(|| "p:1".to_owned());
            assert_eq!(proxy(&vars, &format!("ws://{host}/")), Ok(expected), "{except} {host}");
        }
    }

    #[test]
    fn invalid_no_proxy_entries_are_ignored() {
        for entry in [
            "/",
            "b/",
            "10.0.0.0/x",
            "10.0.0.0/8:x",
            "a:b",
            "a:+1",
            "a:99999",
            "192.168.*",
            "*:80",
            "*",
            "[fd00::",
            ".",
        ] {
            assert_eq!(Except::parse(entry).is_some(), entry == "*", "{entry}");
        }
    }

    #[test]
    fn other_proxy_schemes_are_errors_and_not_bypassed() {
        for url in ["socks5://p:1", "https://p:1", "http://", "http://p:99999", "http://user:secret@p q:1"] {
            let error = proxy(&[("ALL_PROXY", url)], "ws://example.org/").unwrap_err();
            assert!(!error.contains("secret"), "{error}");
            assert!(Proxy::all(url).unwrap_err().is_handshake());
        }
        let hop = Hop::parse("http://user:p%40ss@p:1").unwrap();
        assert_eq!(hop.authorization.unwrap(), "Basic dXNlcjpwQHNz");
        assert!(!format!("{:?}", Proxy::all("http://user:secret@p:1").unwrap()).contains("secret"));
    }
}
