//! When an instance that takes requests is up: something of its own accepts a connection on $PORT, and answers its health
//! check, if it has one.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    Checks,
    checks::{INTERVAL_DEFAULT, TIMEOUT_DEFAULT},
    runtime::sockets,
};

/// Asked often at first, so that a fast app waits for nobody.
const INTERVAL_FIRST: Duration = Duration::from_millis(5);
const INTERVAL_LONGEST: Duration = Duration::from_millis(100);
/// A full accept queue lets connections hang.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// Room for a status line; what follows it does not matter.
const STATUS_LINE_BYTES_MAX: u64 = 1024;

/// What to ask, and of whom.
#[derive(Debug)]
pub(crate) struct Probe {
    /// The sandbox's pid 1 in our pid namespace.
    pub(crate) init: u32,
    pub(crate) port: u16,
    /// By which a visitor would call it.
    pub(crate) host: String,
    pub(crate) checks: Checks,
    pub(crate) last_answer: LastAnswer,
}

/// `GET /healthz answered 500`: why it is not healthy yet. Nothing before it was asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct LastAnswer(Arc<Mutex<Option<String>>>);

/// Waits until it is healthy; some programs listen on one of the two addresses only. Without an end of its own: whoever
/// waits drops it when the process ends or time is up.
pub(crate) async fn answers(probe: &Probe) -> SocketAddr {
    let address = binds(probe.init, probe.port).await;
    if let Some(path) = &probe.checks.path {
        let interval = probe.checks.interval.unwrap_or(INTERVAL_DEFAULT);
        while !is_healthy(probe, address, path).await {
            sleep(interval).await;
        }
    }
    address
}

async fn binds(init: u32, port: u16) -> SocketAddr {
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

async fn is_healthy(probe: &Probe, address: SocketAddr, path: &str) -> bool {
    let wait = probe.checks.timeout.unwrap_or(TIMEOUT_DEFAULT);
    let said = match timeout(wait, status(address, &probe.host, path)).await {
        Ok(Ok(200..=399)) => return true,
        Ok(Ok(status)) => format!("answered {status}"),
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
            "answered something that is no HTTP".to_owned()
        }
        Ok(Err(error)) => format!("got no answer: {error}"),
        Err(_) => format!("got no answer in {} s", wait.as_secs_f32()),
    };
    probe.last_answer.set(format!("GET {path} {said}"));
    false
}

/// HTTP/1.1, as the router speaks to it.
async fn status(address: SocketAddr, host: &str, path: &str) -> io::Result<u16> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: slipway-check\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    let mut limited = stream.take(STATUS_LINE_BYTES_MAX);
    while !head.contains(&b'\n') && limited.read_buf(&mut head).await? > 0 {}
    if head.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    status_of(&head).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Of `HTTP/1.1 200 OK` (RFC 9112 section 4).
fn status_of(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split_whitespace();
    words.next()?.strip_prefix("HTTP/1.")?;
    words.next()?.parse().ok()
}

impl LastAnswer {
    pub(crate) fn get(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, answer: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_read_from_the_first_line() {
        let check = |head: &str, expected| assert_eq!(status_of(head.as_bytes()), expected);
        check("HTTP/1.1 200 OK\r\nA: b\r\n", Some(200));
        check("HTTP/1.0 404\n", Some(404));
        check("HTTP/2 200\r\n", None);
        check("SSH-2.0-x\r\n", None);
        check("HTTP/1.1 OK\r\n", None);
        check("", None);
    }
}
