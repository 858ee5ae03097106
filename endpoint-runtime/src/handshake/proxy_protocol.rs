//! The header of the PROXY protocol, versions 1 and 2, by which a proxy tells whose connection it forwards (HAProxy's
//! `proxy-protocol.txt`, revision 2.2 and later). Pure: bytes to addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::PROXY_HEADER_BYTES;

/// Whether connections begin with a header of the PROXY protocol
/// ([`ServerBuilder::proxy_protocol`](crate::ServerBuilder::proxy_protocol)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyProtocol {
    /// None does. This is the default.
    #[default]
    Off,
    /// A connection may begin with a header: some clients come through the proxy, others directly.
    Optional,
    /// Every connection has to. One without a valid header is closed.
    Required,
}

/// The first bytes of version 2.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The first bytes of version 1.
const WORD: &[u8] = b"PROXY ";

/// The shortest header of version 1: `PROXY UNKNOWN` and the end of the line.
const SHORTEST_LINE: usize = 15;

/// The longest header of version 1, with the end of the line (§2.1).
const LONGEST_LINE: usize = 107;

/// Signature, version and command, family and protocol, length.
const FIXED: usize = 16;

/// The type of the additional data that tells about the client's TLS, and its bit for "the client connected over TLS".
const TYPE_SSL: u8 = 0x20;
const CLIENT_SSL: u8 = 0x01;

/// What a proxy told about a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProxyHeader {
    /// The address of the client, and the address that it connected to. `None` if the proxy speaks for itself (`LOCAL`), or
    /// if the client has no IP address: then the addresses of the socket count.
    pub(crate) addresses: Option<(SocketAddr, SocketAddr)>,
    /// Whether the client uses TLS, which the proxy terminates.
    pub(crate) is_secure: bool,
}

/// What the first bytes of a connection are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// Not a header of the PROXY protocol.
    Absent,
    /// The beginning of a header. At least so many further bytes belong to it.
    Incomplete { missing: usize },
    /// A header of this length.
    Complete { header: ProxyHeader, length: usize },
}

/// The first bytes are those of a header, and the rest is not valid.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InvalidHeader(&'static str);

impl fmt::Display for InvalidHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Reads the header at the beginning of `bytes`. Call it again with more bytes while it is incomplete.
///
/// # Errors
/// The bytes begin like a header, and are not a valid one: the connection cannot be served.
pub(crate) fn parse(bytes: &[u8]) -> Result<Parsed, InvalidHeader> {
    if let Some(rest) = SIGNATURE.strip_prefix(bytes) {
        // without any byte, the shorter of both versions
        let missing = if bytes.is_empty() { SHORTEST_LINE } else { rest.len() + FIXED - SIGNATURE.len() };
        return Ok(Parsed::Incomplete { missing });
    }
    if bytes.starts_with(&SIGNATURE) {
        return version_2(bytes);
    }
    if WORD.starts_with(bytes) {
        return Ok(Parsed::Incomplete { missing: SHORTEST_LINE - bytes.len() });
    }
    if bytes.starts_with(WORD) {
        return version_1(bytes);
    }
    Ok(Parsed::Absent)
}

fn version_1(bytes: &[u8]) -> Result<Parsed, InvalidHeader> {
    let line = &bytes[..bytes.len().min(LONGEST_LINE)];
    let Some(end) = line.iter().position(|byte| !(b' '..=b'~').contains(byte)) else {
        // the end of the line takes two bytes
        return match LONGEST_LINE.checked_sub(bytes.len() + 2) {
            Some(_) => Ok(Parsed::Incomplete { missing: 2.max(SHORTEST_LINE.saturating_sub(bytes.len())) }),
            None => Err(InvalidHeader("the line of version 1 is longer than 107 bytes")),
        };
    };
    match line[end..] {
        [b'\r', b'\n', ..] => {}
        [b'\r'] if end + 2 <= LONGEST_LINE => return Ok(Parsed::Incomplete { missing: 1 }),
        _ => return Err(InvalidHeader("the line of version 1 has a byte that is not printable ASCII")),
    }
    let text = std::str::from_utf8(&line[WORD.len()..end]).unwrap_or_default();
    let header = ProxyHeader { addresses: addresses(text)?, is_secure: false };
    Ok(Parsed::Complete { header, length: end + 2 })
}

/// The addresses of version 1, such as `TCP4 192.0.2.1 192.0.2.2 56324 443`.
fn addresses(text: &str) -> Result<Option<(SocketAddr, SocketAddr)>, InvalidHeader> {
    // whatever follows is to be ignored
    if text == "UNKNOWN" || text.starts_with("UNKNOWN ") {
        return Ok(None);
    }
    let invalid = InvalidHeader("version 1 needs `TCP4`, `TCP6` or `UNKNOWN`, two addresses and two ports");
    let mut words = text.split(' ');
    let mut next = || words.next().unwrap_or_default();
    let (family, source, target, source_port, target_port) = (next(), next(), next(), next(), next());
    let read = || {
        let (source, target): (IpAddr, IpAddr) = match family {
            "TCP4" => (source.parse::<Ipv4Addr>().ok()?.into(), target.parse::<Ipv4Addr>().ok()?.into()),
            "TCP6" => (source.parse::<Ipv6Addr>().ok()?.into(), target.parse::<Ipv6Addr>().ok()?.into()),
            _ => return None,
        };
        Some((SocketAddr::new(source, port(source_port)?), SocketAddr::new(target, port(target_port)?)))
    };
    match read() {
        Some(addresses) if words.next().is_none() => Ok(Some(addresses)),
        _ => Err(invalid),
    }
}

/// A port in decimal, without a sign and without leading zeros.
fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

fn version_2(bytes: &[u8]) -> Result<Parsed, InvalidHeader> {
    let [version_and_command, family, length @ ..] = &bytes[SIGNATURE.len()..] else {
        return Ok(Parsed::Incomplete { missing: FIXED - bytes.len() });
    };
    let &[high, low, ref payload @ ..] = length else {
        return Ok(Parsed::Incomplete { missing: FIXED - bytes.len() });
    };
    let is_local = match version_and_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(InvalidHeader("neither LOCAL nor PROXY of version 2")),
    };
    let addresses_length = match family {
        // the family does not matter, and neither does what follows
        _ if is_local => 0,
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        0x31 => 216,
        _ => return Err(InvalidHeader("version 2 needs TCP over IPv4 or IPv6, a Unix stream or no family")),
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if FIXED + length > PROXY_HEADER_BYTES {
        return Err(InvalidHeader("the header of version 2 is longer than 4 KiB"));
    }
    if length < addresses_length {
        return Err(InvalidHeader("the header of version 2 is too short for its addresses"));
    }
    let Some(payload) = payload.get(..length) else {
        return Ok(Parsed::Incomplete { missing: length - payload.len() });
    };
    let (addresses, additional) = payload.split_at(addresses_length);
    let addresses = match (family, is_local) {
        (0x11, false) => pair::<4>(addresses),
        (0x21, false) => pair::<16>(addresses),
        _ => None,
    };
    // without a family and for LOCAL, the receiver has to skip the rest
    let is_secure = if addresses_length == 0 { false } else { client_uses_tls(additional)? };
    Ok(Parsed::Complete { header: ProxyHeader { addresses, is_secure }, length: FIXED + length })
}

/// Two addresses of `N` bytes each, and then their ports.
fn pair<const N: usize>(bytes: &[u8]) -> Option<(SocketAddr, SocketAddr)>
where
    IpAddr: From<[u8; N]>,
{
    let address = |index: usize| <[u8; N]>::try_from(bytes.get(index * N..(index + 1) * N)?).ok().map(IpAddr::from);
    let port = |index: usize| {
        let place = 2 * N + 2 * index;
        Some(u16::from_be_bytes([*bytes.get(place)?, *bytes.get(place + 1)?]))
    };
    Some((SocketAddr::new(address(0)?, port(0)?), SocketAddr::new(address(1)?, port(1)?)))
}

/// Whether the additional data (type, length, value) tells that the client uses TLS. All other types are skipped, the
/// checksum (`PP2_TYPE_CRC32C`) among them: it is not checked, because TCP has its own.
fn client_uses_tls(mut additional: &[u8]) -> Result<bool, InvalidHeader> {
    let mut is_secure = false;
    while let [kind, rest @ ..] = additional {
        let value = match rest {
            &[high, low, ref rest @ ..] => rest.split_at_checked(usize::from(u16::from_be_bytes([high, low]))),
            _ => None,
        };
        let Some((value, rest)) = value else {
            return Err(InvalidHeader("additional data of version 2 is longer than the header"));
        };
        if *kind == TYPE_SSL {
            // the client's bits, and four bytes of the verification's outcome
            let [client, _, _, _, _, ..] = value else {
                return Err(InvalidHeader("the additional data about TLS is too short"));
            };
            is_secure = client & CLIENT_SSL != 0;
        }
        additional = rest;
    }
    Ok(is_secure)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn complete(bytes: &[u8]) -> (Option<(String, String)>, bool, usize) {
        let Ok(Parsed::Complete { header, length }) = parse(bytes) else { panic!("{:?}", parse(bytes)) };
        (header.addresses.map(|(from, to)| (from.to_string(), to.to_string())), header.is_secure, length)
    }

    fn version_2_of(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, payload].concat()
    }

    const PAIR: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0xDC, 0x04, 0x01, 0xBB];

    fn names(from: &str, to: &str) -> Option<(String, String)> {
        Some((from.to_owned(), to.to_owned()))
    }

    #[test]
    fn lines_of_version_1() {
        let line = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\nGET / HTTP/1.1\r\n";
        assert_eq!(complete(line), (names("192.0.2.1:56324", "198.51.100.2:443"), false, 45));
        let line = b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n";
        assert_eq!(complete(line), (names("[2001:db8::1]:1", "[::1]:65535"), false, line.len()));
        assert_eq!(complete(b"PROXY UNKNOWN\r\n"), (None, false, 15));
        assert_eq!(complete(b"PROXY UNKNOWN ffff::1 anything 1 2\r\n").0, None);
        let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LONGEST_LINE - 16));
        assert_eq!(complete(longest.as_bytes()).2, LONGEST_LINE);
    }

    #[test]
    fn invalid_lines_of_version_1() {
        for line in [
            "PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 1\r\n",
            "PROXY TCP4  192.0.2.1 198.51.100.2 56324 443\r\n",
            "PROXY TCP4 192.0.2.01 198.51.100.2 56324 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 +1 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 01 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n",
            "PROXY TCP4 ::1 ::1 1 1\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.2 1 1\r\n",
            "PROXY UDP4 192.0.2.1 198.51.100.2 1 1\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY UNKNOWN\n",
            "PROXY UNKNOWN\r\r\n",
            "PROXY TCP4 \0",
        ] {
            assert!(parse(line.as_bytes()).is_err(), "{line:?}");
        }
        for length in [LONGEST_LINE - 15, LONGEST_LINE] {
            assert!(parse(format!("PROXY UNKNOWN {}\r\n", "x".repeat(length)).as_bytes()).is_err());
        }
    }

    #[test]
    fn headers_of_version_2() {
        let bytes = version_2_of(0x21, 0x11, &PAIR);
        assert_eq!(complete(&bytes), (names("192.0.2.1:56324", "198.51.100.2:443"), false, 28));
        let six = [&[0x20; 16][..], &[0x30; 16], &[0, 1, 0, 2]].concat();
        let from = "[2020:2020:2020:2020:2020:2020:2020:2020]:1";
        let to = "[3030:3030:3030:3030:3030:3030:3030:3030]:2";
        assert_eq!(complete(&version_2_of(0x21, 0x21, &six)), (names(from, to), false, 52));
        assert_eq!(complete(&version_2_of(0x21, 0x31, &[b'/'; 216])), (None, false, 232));
        assert_eq!(complete(&version_2_of(0x21, 0x00, b"anything")), (None, false, 24));
        // a health check of the proxy: neither family nor content matter
        assert_eq!(complete(&version_2_of(0x20, 0xFF, &PAIR)), (None, false, 28));
        assert_eq!(complete(&version_2_of(0x20, 0x00, b"")), (None, false, 16));
    }

    #[test]
    fn additional_data_tells_of_tls() {
        let with = |additional: &[u8]| version_2_of(0x21, 0x11, &[&PAIR, additional].concat());
        let authority = b"\x02\x00\x04chat";
        let tls = b"\x20\x00\x08\x01\0\0\0\0\x21\0\0";
        assert!(complete(&with(&[&authority[..], tls].concat())).1);
        assert!(!complete(&with(authority)).1);
        assert!(!complete(&with(b"\x20\x00\x05\x06\0\0\0\0")).1);
        for cut in [&authority[..2], &authority[..5], b"\x20\x00\x04\x01\0\0\0"] {
            assert!(parse(&with(cut)).is_err(), "{cut:?}");
        }
    }

    #[test]
    fn invalid_headers_of_version_2() {
        for (command, family, length) in [
            (0x11, 0x11, 12),
            (0x22, 0x11, 12),
            (0x21, 0x12, 12),
            (0x21, 0x41, 12),
            (0x21, 0x11, 11),
            (0x21, 0x21, 35),
            (0x21, 0x31, 215),
            (0x21, 0x11, PROXY_HEADER_BYTES - FIXED + 1),
        ] {
            assert!(
                parse(&version_2_of(command, family, &vec![0; length])).is_err(),
                "{command:x} {family:x} {length}"
            );
        }
        // known to be invalid before the rest has arrived
        assert!(parse(&[&SIGNATURE[..], &[0x21, 0x11, 0xFF, 0xFF]].concat()).is_err());
    }

    #[test]
    fn other_protocols_are_told_apart_at_the_first_byte_that_differs() {
        for other in
            ["GET / HTTP/1.1\r\n", "POST", "PRI * HTTP/2.0\r\n\r\nSM", "\r\n\r\nGET", "\x16\x03\x01", "PROXY\t"]
        {
            assert_eq!(parse(other.as_bytes()), Ok(Parsed::Absent), "{other:?}");
        }
        for (begun, missing) in [("", 15), ("P", 14), ("PROXY ", 9), ("\r", 15), ("\r\n\r\n\0\r\nQUIT\n\x21\x11", 2)] {
            assert_eq!(parse(begun.as_bytes()), Ok(Parsed::Incomplete { missing }), "{begun:?}");
        }
    }

    /// Valid headers of both versions.
    fn header() -> impl Strategy<Value = Vec<u8>> {
        let line = (any::<[u8; 8]>(), any::<(u16, u16)>()).prop_map(|([a, b, c, d, e, f, g, h], (from, to))| {
            format!("PROXY TCP4 {a}.{b}.{c}.{d} {e}.{f}.{g}.{h} {from} {to}\r\n").into_bytes()
        });
        let line_6 = any::<(u128, u128, u16, u16)>().prop_map(|(from, to, from_port, to_port)| {
            let (from, to) = (Ipv6Addr::from_bits(from), Ipv6Addr::from_bits(to));
            format!("PROXY TCP6 {from} {to} {from_port} {to_port}\r\n").into_bytes()
        });
        let unknown = "[ -~]{0,90}".prop_map(|rest| format!("PROXY UNKNOWN {rest}\r\n").into_bytes());
        let kinds = prop_oneof![Just((0x11, 12)), Just((0x21, 36)), Just((0x31, 216))];
        let additional = proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 5..50)), 0..8);
        let binary = (kinds, any::<u8>(), additional).prop_map(|((family, length), fill, additional)| {
            let mut payload = vec![fill; length];
            for (kind, value) in additional {
                payload.extend([kind, 0, u8::try_from(value.len()).unwrap()]);
                payload.extend(value);
            }
            version_2_of(0x21, family, &payload)
        });
        prop_oneof![line, line_6, unknown, binary]
    }

    proptest! {
        /// Reading as many bytes as are known to be missing ends exactly behind the header.
        #[test]
        fn reader_never_reads_beyond_the_header(header in header(), rest in any::<[u8; 8]>()) {
            let whole = [&header[..], &rest].concat();
            let mut read = 0;
            loop {
                match parse(&whole[..read]).unwrap() {
                    Parsed::Incomplete { missing } => {
                        prop_assert!(missing > 0 && read + missing <= header.len(), "{read} {missing}");
                        read += missing;
                    }
                    Parsed::Complete { length, .. } => {
                        prop_assert_eq!((read, length), (header.len(), header.len()));
                        break;
                    }
                    Parsed::Absent => prop_assert!(false),
                }
            }
            prop_assert_eq!(parse(&whole), parse(&header));
            for read in 0..header.len() {
                let is_incomplete = matches!(parse(&whole[..read]), Ok(Parsed::Incomplete { .. }));
                prop_assert!(is_incomplete, "{}", read);
            }
        }

        #[test]
        fn arbitrary_bytes_behind_the_signatures(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for first in [&SIGNATURE[..], WORD, b"PROXY TCP4 ", b""] {
                let bytes = [first, &bytes].concat();
                match parse(&bytes) {
                    Ok(Parsed::Complete { length, .. }) => prop_assert!(length <= bytes.len()),
                    Ok(Parsed::Incomplete { missing }) => {
                        prop_assert!((1..=PROXY_HEADER_BYTES).contains(&(bytes.len() + missing)));
                    }
                    Ok(Parsed::Absent) | Err(_) => {}
                }
            }
        }
    }
}
