//! The ports that instances are told to listen on.

use std::{
    collections::BTreeSet,
    hash::{BuildHasher as _, RandomState},
    io::ErrorKind,
    net::{Ipv4Addr, Ipv6Addr, TcpListener},
    ops::RangeInclusive,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::error::StartError;

/// Below the range from which Linux takes the ports of outgoing connections (32768 to 60999).
const RANGE: RangeInclusive<u16> = 10_000..=29_999;

/// One after the other, so that a port just given back is not soon another app's.
#[derive(Debug, Default)]
pub(super) struct Ports {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: BTreeSet<u16>,
    last: Option<u16>,
}

impl Ports {
    pub(super) fn take(&self) -> Result<u16, StartError> {
        let mut state = self.lock();
        let from = match state.last {
            Some(last) if last < *RANGE.end() => last + 1,
            Some(_) => *RANGE.start(),
            // Two platforms on one machine should not always try the same.
            None => {
                let anywhere = RandomState::new().hash_one(()) % RANGE.len() as u64;
                RANGE.start() + u16::try_from(anywhere).unwrap_or(0)
            }
        };
        let port = (from..=*RANGE.end())
            .chain(*RANGE.start()..from)
            .find(|port| !state.taken.contains(port) && is_free(*port))
            .ok_or(StartError::NoPort(RANGE))?;
        state.taken.insert(port);
        state.last = Some(port);
        Ok(port)
    }

    pub(super) fn note_taken(&self, port: u16) {
        self.lock().taken.insert(port);
    }

    pub(super) fn give_back(&self, port: u16) {
        self.lock().taken.remove(&port);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nobody listens on it, on any address: the IPv6 wildcard collides with them all, where there is IPv6.
fn is_free(port: u16) -> bool {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)) {
        Err(error) if error.kind() != ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
        }
        result => result.is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice_or_while_somebody_listens() {
        let ports = Ports::default();
        let first = ports.take().unwrap();
        ports.lock().last = Some(first - 1);
        let second = ports.take().unwrap();
        assert_ne!(first, second);
        ports.give_back(second);
        for address in ["127.0.0.1", "::1", "0.0.0.0"] {
            let Ok(_listener) = TcpListener::bind((address, second)) else {
                continue; // No IPv6 here.
            };
            ports.lock().last = Some(second - 1);
            assert_ne!(ports.take().unwrap(), second, "{address}");
        }
    }

    #[test]
    fn after_the_last_port_comes_the_first() {
        let ports = Ports::default();
        ports.lock().last = Some(29_999);
        assert!(ports.take().unwrap() < 29_000);
    }
}
