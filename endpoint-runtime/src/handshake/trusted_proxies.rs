//! The proxies whose word about a client is believed: addresses, networks, and peers without an address.

use std::fmt;
use std::net::IpAddr;

use crate::error::{Error, Kind};

/// The word for peers without an address, such as those of a Unix socket.
const UNIX: &str = "unix";

/// The proxies that may tell who the client is.
#[derive(Clone, Debug, Default)]
pub(crate) struct TrustedProxies {
    networks: Box<[Network]>,
    unix: bool,
}

/// All addresses with the same first bits.
#[derive(Clone, Copy, Debug)]
struct Network {
    address: IpAddr,
    prefix: u8,
}

impl TrustedProxies {
    /// Trusts exactly these.
    ///
    /// # Errors
    /// [`Error::is_deployment`], naming every entry that is neither an address nor a network nor `unix`.
    pub(crate) fn list<I>(proxies: I) -> Result<Self, Error>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let (mut networks, mut unix, mut mistakes) = (Vec::new(), false, Vec::new());
        for proxy in proxies {
            let text = proxy.as_ref();
            match Network::parse(text) {
                _ if text == UNIX => unix = true,
                Ok(network) => networks.push(network),
                Err(mistake) => mistakes.push(format!("the trusted proxy {text:?} {mistake}")),
            }
        }
        if mistakes.is_empty() {
            Ok(Self { networks: networks.into(), unix })
        } else {
            Err(Error::new(Kind::Deploy, mistakes.join("; ")))
        }
    }

    /// Whether no proxy is trusted, so that nothing needs to be read.
    pub(crate) fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.unix
    }

    /// Whether the proxy with this address is trusted. An IPv4 address that is mapped into IPv6 counts as IPv4.
    pub(crate) fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.networks.iter().any(|network| network.contains(ip))
    }

    /// Whether the peer of a connection is trusted; `None` is a peer without an address.
    pub(crate) fn contains_peer(&self, ip: Option<IpAddr>) -> bool {
        ip.map_or(self.unix, |ip| self.contains(ip))
    }
}

impl Network {
    fn parse(text: &str) -> Result<Self, String> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let Ok(address) = address.parse::<IpAddr>() else {
            return Err("must be an address, a network such as \"10.0.0.0/8\", or \"unix\"".to_owned());
        };
        let most = bits(address);
        let prefix = match prefix {
            None => most,
            // digits only: `parse` would accept a sign
            Some(digits) => Some(digits)
                .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|digits| digits.parse().ok())
                .filter(|prefix| *prefix <= most)
                .ok_or_else(|| format!("must have a number of bits from 0 to {most} after the slash"))?,
        };
        let network = Self { address: masked(address, prefix), prefix };
        if network.address != address {
            return Err(format!("has bits beyond its prefix: write \"{network}\", or the address alone"));
        }
        Ok(network.canonical())
    }

    /// The network of IPv4, if it is one that is mapped into IPv6.
    fn canonical(self) -> Self {
        match (self.address.to_canonical(), self.prefix.checked_sub(96)) {
            (address @ IpAddr::V4(_), Some(prefix)) if self.address.is_ipv6() => Self { address, prefix },
            _ => self,
        }
    }

    fn contains(self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.address.is_ipv4() && masked(ip, self.prefix) == self.address
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The first `prefix` bits of an address.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let rest = u32::from(bits(address).saturating_sub(prefix));
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(rest).unwrap_or(0);
            std::net::Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(rest).unwrap_or(0);
            std::net::Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(list: &[&str], ip: &str) -> bool {
        TrustedProxies::list(list).unwrap().contains(ip.parse().unwrap())
    }

    #[test]
    fn addresses_and_networks_contain_what_they_cover() {
        for (entry, inside, outside) in [
            ("10.0.0.0/8", &["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"][..], &["11.0.0.0", "9.255.255.255"][..]),
            ("192.0.2.7", &["192.0.2.7", "::ffff:192.0.2.7"], &["192.0.2.6", "::192.0.2.7"]),
            ("192.0.2.7/32", &["192.0.2.7"], &["192.0.2.8"]),
            ("0.0.0.0/0", &["1.2.3.4", "::ffff:1.2.3.4"], &["::1"]),
            ("::1", &["::1"], &["::2", "127.0.0.1"]),
            ("fd00::/8", &["fd00::1", "fdff::"], &["fe00::", "253.0.0.1"]),
            ("2001:db8:1::/48", &["2001:db8:1:ffff::1"], &["2001:db8:2::"]),
            ("::/0", &["2001:db8::1"], &["1.2.3.4"]),
            ("::ffff:10.0.0.0/104", &["10.1.2.3", "::ffff:10.1.2.3"], &["11.0.0.0"]),
        ] {
            assert!(inside.iter().all(|ip| contains(&[entry], ip)), "{entry}");
            assert!(!outside.iter().any(|ip| contains(&[entry], ip)), "{entry}");
        }
        assert!(!contains(&[], "127.0.0.1"));
    }

    #[test]
    fn peer_without_an_address_is_trusted_by_its_word_alone() {
        let none = TrustedProxies::list([""; 0]).unwrap();
        let networks = TrustedProxies::list(["0.0.0.0/0", "::/0"]).unwrap();
        let unix = TrustedProxies::list(["unix"]).unwrap();
        assert!(none.is_empty() && !networks.is_empty() && !unix.is_empty());
        assert!(!none.contains_peer(None) && !networks.contains_peer(None) && unix.contains_peer(None));
        assert!(!unix.contains_peer(Some([127, 0, 0, 1].into())));
    }

    #[test]
    fn error_says_what_is_wrong_with_every_entry() {
        for (bad, about) in [
            ("", "must be an address"),
            ("localhost", "must be an address"),
            ("10.0.0.0/33", "from 0 to 32"),
            ("::/129", "from 0 to 128"),
            ("10.0.0.0/", "from 0 to 32"),
            ("10.0.0.0/+8", "from 0 to 32"),
            ("10.0.0.1/8", "write \"10.0.0.0/8\""),
            ("fd00::1/8", "write \"fd00::/8\""),
            ("10.0.0.0/8/8", "from 0 to 32"),
            ("[::1]", "must be an address"),
            ("127.0.0.1:80", "must be an address"),
        ] {
            let error = TrustedProxies::list(["::1", bad]).unwrap_err();
            let text = error.to_string();
            assert!(error.is_deployment() && text.contains(&format!("{bad:?}")) && text.contains(about), "{text}");
        }
        let both = TrustedProxies::list(["a", "b"]).unwrap_err().to_string();
        assert!(both.contains("\"a\"") && both.contains("\"b\""), "{both}");
    }
}
