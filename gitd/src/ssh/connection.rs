//! One TCP connection, from the first byte to its ending.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use russh::Disconnect;
use tokio::{
    net::TcpStream,
    sync::{Semaphore, oneshot, watch},
    time::{MissedTickBehavior, interval, sleep},
};

use super::{
    Shared,
    client::{CHANNELS_MAX, Client, Known},
    door::Place,
    penalty::Suspect,
    socket::{Cut, Socket},
};
use crate::platform::Platform;

/// A key that was removed, or has expired, keeps its connections no longer than this.
const KEY_CHECK: Duration = Duration::from_secs(3);
/// For a client that has its answers, or is told to disconnect, to do so.
const GOODBYE: Duration = Duration::from_secs(1);

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The client closed it: what it started ends too.
    Left,
    /// It was lost. Nobody said that what runs should end.
    Lost,
}

pub(super) async fn serve<P: Platform>(
    shared: Shared<P>,
    tcp: TcpStream,
    remote: SocketAddr,
    place: Place,
) {
    if let Some(left) = shared.penalties.left(remote.ip(), Instant::now()) {
        return turn_away(&tcp, left);
    }
    let (socket, cut) = match Socket::new(tcp) {
        Ok(made) => made,
        Err(error) => return tracing::debug!(%remote, %error, "connection broke at once"),
    };
    let (ended, ending) = watch::channel(None);
    let (authenticated, known) = oneshot::channel();
    let channels = Arc::new(Semaphore::new(CHANNELS_MAX));
    let failed = Arc::new(AtomicBool::new(false));
    let client = Client::new(
        shared.clone(),
        remote,
        Arc::clone(&failed),
        authenticated,
        Arc::clone(&channels),
        ending,
    );
    let running = russh::server::run_stream(shared.config.clone(), socket, client);
    let suspect = shared.penalties.suspect(remote.ip(), failed);
    let result = run(&shared, running, place, known, &channels, cut, suspect).await;
    let how = ending_of(&result);
    tracing::debug!(%remote, ?how, "connection ended");
    _ = ended.send(Some(how));
}

async fn run<P: Platform>(
    shared: &Shared<P>,
    running: impl Future<Output = Result<russh::server::RunningSession<Client<P>>, russh::Error>>,
    place: Place,
    mut known: oneshot::Receiver<Known>,
    channels: &Semaphore,
    cut: Cut,
    mut suspect: Suspect,
) -> Result<(), russh::Error> {
    let deadline = sleep(shared.authentication_max);
    tokio::pin!(deadline);
    let mut stopping = shared.stopping.clone();
    // The client's version line comes first, and may not come.
    let mut session = tokio::select! {
        running = running => running?,
        () = &mut deadline => {
            suspect.is_slow();
            return Ok(());
        }
        () = place.lost() => return Ok(()),
        _ = stopping.wait_for(|stop| *stop) => return Ok(()),
    };
    let known = tokio::select! {
        result = &mut session => return result,
        known = &mut known => known.ok(),
        () = &mut deadline => {
            suspect.is_slow();
            None
        }
        () = place.lost() => None,
        _ = stopping.wait_for(|stop| *stop) => None,
    };
    drop(place);
    let Some(known) = known else {
        cut.cut();
        return session.await;
    };
    suspect.is_cleared();
    let reason = tokio::select! {
        result = &mut session => return result,
        () = unknown(shared, &known) => "this key no longer opens the door",
        () = stopped(shared, channels) => "the server stops",
    };
    let handle = session.handle();
    _ = handle
        .disconnect(Disconnect::ByApplication, reason.to_owned(), String::new())
        .await;
    tokio::select! {
        result = &mut session => result,
        () = sleep(GOODBYE) => {
            cut.cut();
            session.await
        }
    }
}

/// A line before the version is for people (RFC 4253 4.2).
fn turn_away(tcp: &TcpStream, left: Duration) {
    let line = format!(
        "Too many failed logins from your address; try again in {} s\r\n",
        left.as_secs() + 1
    );
    // Whoever does not read it has to wait all the same.
    _ = tcp.try_write(line.as_bytes());
}

/// Completes when the key was removed, has expired, or belongs to somebody else by now.
async fn unknown<P: Platform>(shared: &Shared<P>, known: &Known) {
    let mut ticks = interval(KEY_CHECK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while known.again(&*shared.platform).is_some() {
        ticks.tick().await;
    }
}

/// Requests hear of it by themselves, and answer; this waits until they have, and their clients have read it.
async fn stopped<P: Platform>(shared: &Shared<P>, channels: &Semaphore) {
    let mut stopping = shared.stopping.clone();
    _ = stopping.wait_for(|stop| *stop).await;
    _ = channels.acquire_many(CHANNELS_MAX as u32).await;
    sleep(GOODBYE).await;
}

fn ending_of(result: &Result<(), russh::Error>) -> Ending {
    use io::ErrorKind::{HostUnreachable, NetworkUnreachable, TimedOut};
    match result {
        Err(russh::Error::KeepaliveTimeout | russh::Error::InactivityTimeout) => Ending::Lost,
        Err(russh::Error::IO(error)) => match error.kind() {
            TimedOut | HostUnreachable | NetworkUnreachable => Ending::Lost,
            _ => Ending::Left,
        },
        // A bug of ours or of the library is no wish of the client's.
        Err(russh::Error::Join(_)) => Ending::Lost,
        _ => Ending::Left,
    }
}
