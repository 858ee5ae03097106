//! Addresses as limits count them: an IPv4 address by itself, an IPv6 address by its network.

use std::net::{IpAddr, Ipv6Addr};

/// The address that limits count for `ip`: the IPv4 address, also if it is mapped into IPv6, or the first `ipv6_prefix` bits
/// of an IPv6 address.
pub(crate) fn counted(ip: IpAddr, ipv6_prefix: u8) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(ipv6_prefix.min(128))).unwrap_or(0);
            Ipv6Addr::from_bits(ip.to_bits() & mask).into()
        }
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_of_ipv6_and_single_addresses_of_ipv4() {
        let counted = |ip: &str, prefix| counted(ip.parse().unwrap(), prefix).to_string();
        assert_eq!(counted("192.0.2.7", 64), "192.0.2.7");
        assert_eq!(counted("::ffff:192.0.2.7", 64), "192.0.2.7");
        assert_eq!(counted("2001:db8:1:2:3:4:5:6", 64), "2001:db8:1:2::");
        assert_eq!(counted("2001:db8:1:2:3:4:5:6", 56), "2001:db8:1::");
        assert_eq!(counted("2001:db8:1:2:3:4:5:6", 128), "2001:db8:1:2:3:4:5:6");
        assert_eq!(counted("2001:db8:1:2:3:4:5:6", 0), "::");
    }
}
