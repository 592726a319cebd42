//! One client connection: which protocol, and how long it may take.

use std::{
    convert::Infallible,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use http::Request;
use hyper::{
    body::Incoming,
    rt::Executor,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::{
    forward,
    guard::{Guard, Protocol},
    vitals::{Verdict, Vitals},
    worker::{self, Shared},
};

/// For an idle connection to end after it has been told to.
const GOODBYE: Duration = Duration::from_secs(5);

/// A head of `HEAD_BYTES_MAX` and a read behind it.
const HTTP1_BUFFER_BYTES: usize = 128 * 1024;

const HTTP2_STREAMS_MAX: u32 = 128;
const HTTP2_HEADER_LIST_BYTES_MAX: u32 = 64 * 1024;
const HTTP2_STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const HTTP2_CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
const HTTP2_SEND_BYTES_MAX: usize = 64 * 1024;

pub(crate) async fn serve(tcp: TcpStream, vitals: Arc<Vitals>, worker: Shared) {
    let mut guard = Guard::new(tcp, Arc::clone(&vitals));
    let mut stopping = worker.stopping.clone();
    let sniffed = tokio::select! {
        sniffed = tokio::time::timeout(worker.timeouts.head, guard.sniff()) => sniffed,
        () = worker::stopped(&mut stopping) => return,
    };
    let Ok(Ok(protocol)) = sniffed else { return };
    let io = TokioIo::new(guard);
    let service = service_fn({
        let (worker, vitals) = (Rc::clone(&worker), Arc::clone(&vitals));
        move |request: Request<Incoming>| {
            let (worker, vitals) = (Rc::clone(&worker), Arc::clone(&vitals));
            async { Ok::<_, Infallible>(forward::answer(worker, vitals, request).await) }
        }
    });
    match protocol {
        Protocol::Http1 => {
            let connection = http1::Builder::new()
                .max_buf_size(HTTP1_BUFFER_BYTES)
                .header_read_timeout(None)
                .serve_connection(io, service)
                .with_upgrades();
            watch(
                connection,
                |connection| connection.graceful_shutdown(),
                &vitals,
                &worker,
            )
            .await;
        }
        Protocol::Http2 => {
            let connection = http2::Builder::new(Local)
                .max_concurrent_streams(HTTP2_STREAMS_MAX)
                .max_header_list_size(HTTP2_HEADER_LIST_BYTES_MAX)
                .initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
                .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES)
                .max_send_buf_size(HTTP2_SEND_BYTES_MAX)
                .serve_connection(io, service);
            watch(
                connection,
                |connection| connection.graceful_shutdown(),
                &vitals,
                &worker,
            )
            .await;
        }
    }
}

/// Drives the connection to its end: its own, or the one that its idleness or the router's stop brings about.
async fn watch<C, E>(connection: C, goodbye: fn(Pin<&mut C>), vitals: &Vitals, worker: &Shared)
where
    C: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    let mut connection = pin!(connection);
    let mut stopping = worker.stopping.clone();
    let mut leaving = false;
    let mut timer = pin!(tokio::time::sleep(worker.timeouts.client()));
    loop {
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(%error, peer = %vitals.peer, "client connection ended");
                }
                return;
            }
            () = worker::stopped(&mut stopping), if !leaving => {
                leaving = true;
                goodbye(connection.as_mut());
            }
            () = &mut timer => {
                let wait = match vitals.judge(&worker.timeouts) {
                    Verdict::Wait(wait) => wait,
                    Verdict::Idle if !leaving => {
                        leaving = true;
                        goodbye(connection.as_mut());
                        GOODBYE
                    }
                    Verdict::Idle | Verdict::Stalled => return vitals.expire(),
                };
                timer.as_mut().reset(tokio::time::Instant::now() + wait);
            }
        }
    }
}

/// Runs the tasks of HTTP/2 on the connection's own thread.
#[derive(Debug, Clone, Copy)]
struct Local;

impl<F: Future<Output: 'static> + 'static> Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
