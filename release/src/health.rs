//! When an instance that takes requests is up: something of its own accepts a connection on $PORT.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::runtime::sockets;

/// Asked often at first, so that a fast app waits for nobody.
const INTERVAL_FIRST: Duration = Duration::from_millis(5);
const INTERVAL_LONGEST: Duration = Duration::from_millis(100);
/// A full accept queue lets connections hang.
const CONNECT_MAX: Duration = Duration::from_secs(1);

/// Waits until the sandbox of `init` accepts on `port`; some programs listen on one of the two addresses only. Without an
/// end of its own: whoever waits drops it when the process ends or time is up.
pub(crate) async fn answers(init: u32, port: u16) -> SocketAddr {
    let addresses: [SocketAddr; 2] = [
        (Ipv4Addr::LOCALHOST, port).into(),
        (Ipv6Addr::LOCALHOST, port).into(),
    ];
    let mut interval = INTERVAL_FIRST;
    loop {
        for address in addresses {
            if accepts(address).await && is_own(init, port).await {
                return address;
            }
        }
        sleep(interval).await;
        interval = (interval * 3 / 2).min(INTERVAL_LONGEST);
    }
}

async fn accepts(address: SocketAddr) -> bool {
    let connected = timeout(CONNECT_MAX, TcpStream::connect(address)).await;
    connected.is_ok_and(|connected| connected.is_ok())
}

/// Another program may have bound the port since it was found free. Where /proc does not tell, the answer counts.
async fn is_own(init: u32, port: u16) -> bool {
    let listening = tokio::task::spawn_blocking(move || sockets::listening(init)).await;
    match listening {
        Ok(Ok(ports)) => ports.contains(&port),
        _ => true,
    }
}
