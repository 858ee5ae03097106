//! What proxies tell of a client in headers: `X-Forwarded-…`, or `Forwarded` (RFC 7239).
//!
//! Each proxy adds the address that its request came from at the end of a list. So the list is read from its end, as long as
//! the address read last is that of a trusted proxy: whatever stands further left may be an invention of the client.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::header::{FORWARDED, HeaderMap};

use crate::handshake::request::Transport;
use crate::handshake::trusted_proxies::TrustedProxies;

/// The headers in which trusted proxies tell the client's address, scheme and host; see
/// [`ContainerBuilder::forwarded_headers`](crate::ContainerBuilder::forwarded_headers).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForwardedHeaders {
    /// `X-Forwarded-For`, `-Proto`, `-Host` and `-Port`: what nginx, HAProxy and the balancers of clouds set.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Rfc7239,
}

/// The proxies that are believed, and the headers that they set.
#[derive(Debug)]
pub(crate) struct Proxies {
    pub(crate) trusted: TrustedProxies,
    pub(crate) headers: ForwardedHeaders,
}

impl Proxies {
    /// What the peer tells of the client in these headers; `None` if the peer is no trusted proxy.
    pub(crate) fn told<'h>(&self, headers: &'h HeaderMap, peer: Transport) -> Option<Told<'h>> {
        let is_trusted = !self.trusted.is_empty() && self.trusted.contains_peer(peer.peer_addr.map(|addr| addr.ip()));
        is_trusted.then(|| Told::read(headers, self.headers, &self.trusted))
    }
}

/// What the proxies in front tell of the client. Without a value, the request itself tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told<'h> {
    /// The client's address; its port is 0 if it is not told.
    pub(crate) addr: Option<SocketAddr>,
    pub(crate) is_secure: Option<bool>,
    /// Host and port; not checked.
    pub(crate) host: Option<Cow<'h, str>>,
    /// The port that the client connected to, if it is not part of the host.
    pub(crate) port: Option<u16>,
}

impl<'h> Told<'h> {
    /// Reads the headers of a request that came from a trusted proxy.
    pub(crate) fn read(headers: &'h HeaderMap, which: ForwardedHeaders, trusted: &TrustedProxies) -> Self {
        match which {
            ForwardedHeaders::XForwarded => Self::x_forwarded(headers, trusted),
            ForwardedHeaders::Rfc7239 => Self::rfc7239(headers, trusted),
        }
    }

    /// The transport of the client, who reaches this server through `peer`.
    pub(crate) fn transport(&self, peer: Transport) -> Transport {
        let (peer_addr, is_secure) = (self.addr.or(peer.peer_addr), self.is_secure.unwrap_or(peer.is_secure));
        Transport { peer_addr, is_secure, ..peer }
    }

    fn x_forwarded(headers: &'h HeaderMap, trusted: &TrustedProxies) -> Self {
        let mut told = Self {
            // of these only the last proxy's word is known: a list is not tied to the list of addresses
            is_secure: last(headers, "x-forwarded-proto").and_then(is_secure),
            host: last(headers, "x-forwarded-host").map(Cow::Borrowed),
            port: last(headers, "x-forwarded-port").and_then(port),
            addr: None,
        };
        for line in headers.get_all("x-forwarded-for").iter().rev() {
            let Ok(line) = line.to_str() else { return told };
            for hop in line.rsplit(',') {
                // An empty or illegible hop ends the walk: its address is unknown, so nobody vouches for what is left of it.
                // The last good hop counts, which is a trusted proxy.
                let Some(addr) = node(hop.trim_matches(BLANKS)) else { return told };
                told.addr = Some(addr);
                if !trusted.contains(addr.ip()) {
                    return told;
                }
            }
        }
        told
    }

    fn rfc7239(headers: &'h HeaderMap, trusted: &TrustedProxies) -> Self {
        let mut told = Self::default();
        for line in headers.get_all(FORWARDED).iter().rev() {
            // An element is only known if the line is legible from its start: a quote that a client opened may swallow what a
            // proxy added. Then the last good hop counts.
            let Some(elements) = line.to_str().ok().and_then(elements) else { return told };
            for element in elements.into_iter().rev() {
                // the element was added by a trusted proxy, so its scheme and host are those that the proxy was asked for
                told.is_secure = element.proto.and_then(|proto| is_secure(&proto)).or(told.is_secure);
                told.host = element.host.or(told.host);
                // `unknown`, an obfuscated name or nothing: as an illegible hop
                let Some(addr) = element.node.and_then(|text| node(&text)) else { return told };
                told.addr = Some(addr);
                if !trusted.contains(addr.ip()) {
                    return told;
                }
            }
        }
        told
    }
}

/// What may surround an element of a list (RFC 9110 §5.6.3).
const BLANKS: [char; 2] = [' ', '\t'];

/// The last element of the list of all lines of a header.
fn last<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let line = headers.get_all(name).iter().next_back()?.to_str().ok()?;
    Some(line.rsplit(',').next().unwrap_or(line).trim_matches(BLANKS)).filter(|value| !value.is_empty())
}

fn is_secure(proto: &str) -> Option<bool> {
    let is = |word: &str| proto.eq_ignore_ascii_case(word);
    match () {
        () if is("https") || is("wss") => Some(true),
        () if is("http") || is("ws") => Some(false),
        () => None,
    }
}

/// A port from 1 on, in digits.
fn port(text: &str) -> Option<u16> {
    let digits = Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits?.parse().ok().filter(|port| *port != 0)
}

/// The address of a hop, with port 0 if it has none: an IPv4 address, an IPv6 address with or without brackets, each but the
/// last with or without a port, which may be an obfuscated name (RFC 7239 §6).
fn node(text: &str) -> Option<SocketAddr> {
    // without brackets every colon belongs to the address
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(SocketAddr::new(ip.to_canonical(), 0));
    }
    let (ip, rest): (IpAddr, _) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (ip, rest) = bracketed.split_once(']')?;
            (ip.parse::<Ipv6Addr>().ok()?.into(), rest)
        }
        None => {
            let (ip, rest) = text.split_at(text.find(':')?);
            (ip.parse().ok()?, rest)
        }
    };
    let number = match rest.strip_prefix(':') {
        None if rest.is_empty() => 0,
        None => return None,
        Some(name) if is_obfuscated(name) => 0,
        Some(digits) => port(digits)?,
    };
    Some(SocketAddr::new(ip.to_canonical(), number))
}

/// `obfnode` and `obfport` of RFC 7239 §6.
fn is_obfuscated(name: &str) -> bool {
    let rest = name.strip_prefix('_').filter(|rest| !rest.is_empty());
    rest.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)))
}

/// What one proxy says in `Forwarded`. Other parameters are read over.
#[derive(Debug, Default, PartialEq, Eq)]
struct Element<'h> {
    node: Option<Cow<'h, str>>,
    proto: Option<Cow<'h, str>>,
    host: Option<Cow<'h, str>>,
}

/// The elements of one line (RFC 7239 §4); `None` if it does not follow the grammar, has an empty element, or an element
/// with two parameters of one name.
fn elements(line: &str) -> Option<Vec<Element<'_>>> {
    let mut rest = line;
    let mut elements = Vec::new();
    loop {
        let mut element = Element::default();
        rest = rest.trim_start_matches(BLANKS);
        loop {
            let (name, after) = token(rest)?;
            let (value, after) = value(after.strip_prefix('=')?)?;
            let field = match () {
                () if name.eq_ignore_ascii_case("for") => Some(&mut element.node),
                () if name.eq_ignore_ascii_case("proto") => Some(&mut element.proto),
                () if name.eq_ignore_ascii_case("host") => Some(&mut element.host),
                () => None,
            };
            if field.is_some_and(|field| field.replace(value).is_some()) {
                return None;
            }
            // the grammar has no white space around the semicolon, but some proxies write it
            rest = after.trim_start_matches(BLANKS);
            match rest.strip_prefix(';') {
                Some(more) => rest = more.trim_start_matches(BLANKS),
                None => break,
            }
        }
        elements.push(element);
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => return rest.is_empty().then_some(elements),
        }
    }
}

/// A token and what follows it (RFC 9110 §5.6.2).
fn token(text: &str) -> Option<(&str, &str)> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let end = text.bytes().position(|byte| !is_part(byte)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// A token or a quoted string without its quotes, and what follows it (RFC 9110 §5.6.4).
fn value(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (token, rest) = token(text)?;
        return Some((token.into(), rest));
    };
    let end = quoted.find(['"', '\\'])?;
    if let Some(rest) = quoted[end..].strip_prefix('"') {
        return Some((quoted[..end].into(), rest));
    }
    let mut plain = String::new();
    let mut chars = quoted.char_indices();
    while let Some((place, char)) = chars.next() {
        match char {
            '"' => return Some((plain.into(), &quoted[place + 1..])),
            '\\' => plain.push(chars.next()?.1),
            char => plain.push(char),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    fn trusted() -> TrustedProxies {
        TrustedProxies::list(["10.0.0.0/8", "fd00::/8"]).unwrap()
    }

    fn client(which: ForwardedHeaders, name: &'static str, lines: &[&str]) -> Option<String> {
        let lines: Vec<_> = lines.iter().map(|line| (name, *line)).collect();
        Told::read(&headers(&lines), which, &trusted()).addr.map(|addr| addr.to_string())
    }

    #[test]
    fn x_forwarded_for_is_walked_from_the_right_over_trusted_hops() {
        for (lines, expected) in [
            (&[][..], None),
            (&["192.0.2.1"], Some("192.0.2.1:0")),
            (&["198.51.100.9, 192.0.2.1"], Some("192.0.2.1:0")),
            (&["198.51.100.9, 192.0.2.1, 10.1.1.1,10.2.2.2"], Some("192.0.2.1:0")),
            (&["198.51.100.9", "192.0.2.1", "10.1.1.1"], Some("192.0.2.1:0")),
            // all are proxies: the first
            (&["10.3.3.3, 10.1.1.1"], Some("10.3.3.3:0")),
            // nobody vouches for what is left of an illegible hop
            (&["192.0.2.1, unknown, 10.1.1.1"], Some("10.1.1.1:0")),
            (&["192.0.2.1, , 10.1.1.1"], Some("10.1.1.1:0")),
            (&["192.0.2.1,"], None),
            (&["192.0.2.1, é"], None),
            (&["192.0.2.1", "", "10.1.1.1"], Some("10.1.1.1:0")),
            (&["192.0.2.1:4711"], Some("192.0.2.1:4711")),
            (&["2001:db8::7"], Some("[2001:db8::7]:0")),
            (&["[2001:db8::7]"], Some("[2001:db8::7]:0")),
            (&["[2001:db8::7]:4711"], Some("[2001:db8::7]:4711")),
            (&["2001:db8::7, fd00::1"], Some("[2001:db8::7]:0")),
            (&["2001:db8::7, ::ffff:10.1.1.1"], Some("[2001:db8::7]:0")),
            (&["::ffff:192.0.2.1"], Some("192.0.2.1:0")),
            (&["192.0.2.1:"], None),
            (&["192.0.2.1:x"], None),
            (&["192.0.2.1:+1"], None),
            (&["192.0.2.1:99999"], None),
            (&["[192.0.2.1]"], None),
            (&["[::1"], None),
            (&["[::1]1"], None),
            (&["fe80::1%eth0"], None),
            (&["example.org"], None),
        ] {
            let found = client(ForwardedHeaders::XForwarded, "x-forwarded-for", lines);
            assert_eq!(found.as_deref(), expected, "{lines:?}");
        }
    }

    #[test]
    fn forwarded_is_walked_from_the_right_over_trusted_hops() {
        for (lines, expected) in [
            (&[][..], None),
            (&["for=192.0.2.1"], Some("192.0.2.1:0")),
            (&["For=192.0.2.1;proto=https;by=203.0.113.43"], Some("192.0.2.1:0")),
            (&["for=198.51.100.9, for=192.0.2.1, for=10.1.1.1"], Some("192.0.2.1:0")),
            (&["for=198.51.100.9", "for=192.0.2.1,for=10.1.1.1"], Some("192.0.2.1:0")),
            (&["for=\"192.0.2.1:4711\""], Some("192.0.2.1:4711")),
            (&["for=\"192.0.2.1:_gazonk\""], Some("192.0.2.1:0")),
            (&["for=\"[2001:db8:cafe::17]:4711\""], Some("[2001:db8:cafe::17]:4711")),
            (&["for=\"[2001:db8:cafe::17]\" ; proto=http"], Some("[2001:db8:cafe::17]:0")),
            (&["for=\"192.0\\.2.1\""], Some("192.0.2.1:0")),
            (&["for=_hidden, for=10.1.1.1"], Some("10.1.1.1:0")),
            (&["for=192.0.2.1, for=unknown"], None),
            (&["for=192.0.2.1, proto=https"], None),
            (&["for=192.0.2.1, for=_SEVKISEK, for=10.1.1.1"], Some("10.1.1.1:0")),
            // not the grammar
            (&["for=192.0.2.1,"], None),
            (&["for=192.0.2.1;"], None),
            (&["for = 192.0.2.1"], None),
            (&["for=192.0.2.1:80"], None),
            (&["for=[::1]"], None),
            (&["for=192.0.2.1;for=192.0.2.2"], None),
            (&["192.0.2.1"], None),
            (&["for="], None),
            (&["for=\"192.0.2.1"], None),
            (&["for=\"192.0.2.1\\"], None),
            (&["for=192.0.2.1", "x", "for=10.1.1.1"], Some("10.1.1.1:0")),
            // a quote that the client opened
            (&["for=\"198.51.100.9, for=192.0.2.1"], None),
            (&["for=\"a, for=\"[2001:db8::1]\""], None),
        ] {
            let found = client(ForwardedHeaders::Rfc7239, "forwarded", lines);
            assert_eq!(found.as_deref(), expected, "{lines:?}");
        }
    }

    #[test]
    fn scheme_host_and_port_are_those_of_the_last_proxy() {
        let told = |lines: &[(&'static str, &str)]| {
            let headers = headers(lines);
            let Told { is_secure, host, port, .. } = Told::read(&headers, ForwardedHeaders::XForwarded, &trusted());
            (is_secure, host.map(Cow::into_owned), port)
        };
        let (proto, host, port) = ("x-forwarded-proto", "x-forwarded-host", "x-forwarded-port");
        assert_eq!(told(&[]), (None, None, None));
        assert_eq!(told(&[(proto, "http, HTTPS")]).0, Some(true));
        assert_eq!(told(&[(proto, "https"), (proto, "http")]).0, Some(false));
        assert_eq!(told(&[(proto, "wss")]).0, Some(true));
        assert_eq!(told(&[(proto, "gopher")]).0, None);
        assert_eq!(told(&[(host, "evil.example, chat.example:8443")]).1.as_deref(), Some("chat.example:8443"));
        assert_eq!(told(&[(host, "chat.example,")]).1, None);
        assert_eq!(told(&[(port, "8443")]).2, Some(8443));
        assert_eq!(told(&[(port, "0")]).2, None);
        assert_eq!(told(&[(port, "+1")]).2, None);
    }

    #[test]
    fn scheme_and_host_in_forwarded_are_those_that_the_client_asked_for() {
        let line = "for=198.51.100.9;host=evil.example;proto=http, \
                    for=192.0.2.1;proto=https;host=\"chat.example:8443\", for=10.1.1.1;proto=http;host=inner";
        let headers = headers(&[("forwarded", line), ("x-forwarded-host", "evil.example")]);
        let told = Told::read(&headers, ForwardedHeaders::Rfc7239, &trusted());
        assert_eq!(told.is_secure, Some(true));
        assert_eq!(told.host.as_deref(), Some("chat.example:8443"));
        assert_eq!(told.addr, Some("192.0.2.1:0".parse().unwrap()));
    }

    #[test]
    fn headers_of_the_other_family_are_ignored() {
        let both = headers(&[("forwarded", "for=192.0.2.1"), ("x-forwarded-for", "192.0.2.2")]);
        let addr = |which| Told::read(&both, which, &trusted()).addr.unwrap().ip().to_string();
        assert_eq!(addr(ForwardedHeaders::XForwarded), "192.0.2.2");
        assert_eq!(addr(ForwardedHeaders::Rfc7239), "192.0.2.1");
    }

    proptest! {
        #[test]
        fn nothing_that_a_client_sends_hides_the_address_that_the_proxy_adds(
            sent in prop::collection::vec("[\\t -~\u{80}-\u{ff}]{0,30}", 0..4),
            same_line in any::<bool>(),
        ) {
            let mut lines: Vec<_> = sent.iter().map(|line| ("x-forwarded-for", line.clone())).collect();
            match lines.last_mut().filter(|_| same_line) {
                Some((_, last)) if last.is_ascii() => last.push_str(", 192.0.2.1"),
                _ => lines.push(("x-forwarded-for", "192.0.2.1".to_owned())),
            }
            let lines: Vec<_> = lines.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let headers = headers(&lines);
            let told = Told::read(&headers, ForwardedHeaders::XForwarded, &trusted());
            prop_assert_eq!(told.addr, Some("192.0.2.1:0".parse().unwrap()));
        }

        #[test]
        fn a_line_of_forwarded_that_a_proxy_adds_always_counts(sent in prop::collection::vec("[\\t -~]{0,30}", 0..4)) {
            let mut lines: Vec<_> = sent.iter().map(|line| ("forwarded", line.as_str())).collect();
            lines.push(("forwarded", "for=192.0.2.1"));
            let headers = headers(&lines);
            let told = Told::read(&headers, ForwardedHeaders::Rfc7239, &trusted());
            prop_assert_eq!(told.addr, Some("192.0.2.1:0".parse().unwrap()));
        }

        #[test]
        fn any_value_survives_quoting(text in "[\\t -~]{0,20}") {
            let quoted = format!("for=\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
            let elements = elements(&quoted).unwrap();
            prop_assert_eq!(elements[0].node.as_deref(), Some(&*text));
            prop_assert_eq!(elements.len(), 1);
        }
    }
}
