//! What counts as one place of the network.

use std::net::{IpAddr, Ipv6Addr};

pub use container::network::Network;

/// One home has that many IPv6 addresses, and one IPv4 address.
const HOME_PREFIX_BITS: u32 = 64;

/// What counts as one source of connections.
pub(crate) fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(
            v6.to_bits() >> HOME_PREFIX_BITS << HOME_PREFIX_BITS,
        )),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_one_source() {
        let of = |text: &str| source(text.parse().expect("an address"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.2"), of("192.0.2.1"));
    }
}
