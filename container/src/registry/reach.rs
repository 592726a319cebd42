//! Where may be fetched from on somebody else's behalf: the public internet, and what an operator adds to it. Every address
//! that a name stands for is judged, at every hop of a redirect, and the connection goes to one that was judged.
//!
//! Where an operator has set a proxy (`HTTPS_PROXY`), the proxy looks names up, and what it lets through is its decision.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _},
};

use ureq::{
    config::Config,
    http::Uri,
    unversioned::{
        resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver},
        transport::NextTimeout,
    },
};

use crate::network::Network;

/// Public addresses, and the networks that were allowed besides.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    allowed: Vec<Network>,
}

#[derive(Debug, thiserror::Error)]
#[error(
    "`{host}` is at {address}, which is not of the public internet; whoever runs this server can allow it: slipway up --fetch-from {address}"
)]
pub(super) struct OutOfReach {
    host: String,
    address: IpAddr,
}

/// Azure's instance metadata stands at an address that looks like any other.
const AZURE_METADATA: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

impl Reach {
    pub fn public_and(allowed: Vec<Network>) -> Self {
        Self { allowed }
    }

    pub fn allows(&self, address: IpAddr) -> bool {
        is_public(address) || self.allowed.iter().any(|network| network.contains(address))
    }

    /// The addresses of a host that may be connected to: at least one, or the reason why not.
    pub fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let found = (host, port).to_socket_addrs()?;
        self.allowed_of(host, found).map_err(io::Error::other)
    }

    fn allowed_of(
        &self,
        host: &str,
        found: impl Iterator<Item = SocketAddr>,
    ) -> Result<Vec<SocketAddr>, OutOfReach> {
        let (good, bad): (Vec<_>, Vec<_>) = found.partition(|one| self.allows(one.ip()));
        match bad.first() {
            Some(address) if good.is_empty() => Err(OutOfReach {
                host: host.to_owned(),
                address: address.ip(),
            }),
            _ => Ok(good),
        }
    }
}

impl Resolver for Reach {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = DefaultResolver::default().resolve(uri, config, timeout)?;
        let good = self.allowed_of(uri.host().unwrap_or_default(), found.iter().copied());
        let good = good.map_err(|refused| ureq::Error::Other(Box::new(refused)))?;
        let mut addresses = self.empty();
        for address in good {
            addresses.push(address);
        }
        Ok(addresses)
    }
}

/// Whether an address is one of the internet's, and not this machine's, a private network's, or one that only looks like
/// an address (IANA's special-purpose registries).
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = match (a, b, c) {
        // This network, private, loopback, multicast, reserved.
        (0 | 10 | 127 | 224.., _, _) => true,
        // Shared by carriers, and metadata of some clouds.
        (100, 64..=127, _) => true,
        // Link-local: metadata of most clouds.
        (169, 254, _) => true,
        (172, 16..=31, _) | (192, 168, _) => true,
        // Protocol assignments, documentation, benchmarks.
        (192, 0, 0 | 2) | (198, 18..=19, _) | (198, 51, 100) | (203, 0, 113) => true,
        _ => address == AZURE_METADATA,
    };
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let last_v4 = || {
        let [.., a, b] = segments.map(u32::from);
        Ipv4Addr::from_bits(a << 16 | b)
    };
    match segments {
        // NAT64: an IPv4 address in other clothes.
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] => is_public_v4(last_v4()),
        // Protocol assignments (Teredo), documentation, 6to4.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x2002, ..] => false,
        [0x3fff, 0..=0xfff, ..] => false,
        // All that is handed out.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_internet_is_public() {
        for (text, expected) in [
            ("1.1.1.1", true),
            ("140.82.121.4", true),
            ("172.32.0.1", true),
            ("100.128.0.1", true),
            ("198.20.0.1", true),
            ("0.0.0.0", false),
            ("10.1.2.3", false),
            ("127.0.0.1", false),
            ("127.9.9.9", false),
            ("100.100.100.200", false),
            ("169.254.169.254", false),
            ("168.63.129.16", false),
            ("172.16.0.1", false),
            ("192.168.1.1", false),
            ("192.0.0.192", false),
            ("198.19.0.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("2606:4700::1111", true),
            ("64:ff9b::101:101", true),
            ("::", false),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("::127.0.0.1", false),
            ("64:ff9b::a9fe:a9fe", false),
            ("64:ff9b:1::1", false),
            ("fd00:ec2::254", false),
            ("fe80::1", false),
            ("fec0::1", false),
            ("ff02::1", false),
            ("2001::1", false),
            ("2001:db8::1", false),
            ("2002:7f00:1::", false),
            ("3fff::1", false),
        ] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(Reach::default().allows(address), expected, "{text}");
        }
    }

    #[test]
    fn whatever_a_name_stands_for_is_judged() {
        let closed = Reach::default();
        // As getaddrinfo reads them.
        for host in ["localhost", "127.1", "0x7f000001", "2130706433"] {
            let refused = closed.addresses(host, 80).unwrap_err().to_string();
            assert!(refused.contains("--fetch-from"), "{host}: {refused}");
        }
        let open = Reach::public_and(vec!["127.0.0.0/8".parse().unwrap()]);
        assert!(!open.addresses("127.0.0.1", 80).unwrap().is_empty());
    }
}
