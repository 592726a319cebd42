//! The web server of static sites: one thread, HTTP/1.1, behind the router.

use std::{
    env,
    fs::{self, File},
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::Semaphore,
    time,
};

use super::{
    body::FilePart,
    respond::{Answer, Content, respond},
    site::Site,
};

/// More wait in the listener's queue until one ends.
const CONNECTIONS_MAX: usize = 1024;
/// Also how long a connection may rest between requests; longer than the router keeps one.
const HEADER_TIME_MAX: Duration = Duration::from_secs(90);
/// Connections that are still busy this long after SIGTERM are cut.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(25);
/// Waits for file descriptors to come free, when there are none to accept with.
const PAUSE_AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(100);

#[derive(Debug, thiserror::Error)]
pub(super) enum ServeError {
    #[error("usage: static-web-server SITE.json")]
    Usage,
    #[error("could not read `{path}`")]
    Read { path: PathBuf, source: io::Error },
    #[error("`{path}` is not a list of a site's files")]
    Parse {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("`PORT` must be a number from 1 to 65535, it is `{0}`")]
    Port(String),
    #[error("could not listen on port {port}")]
    Listen { port: u16, source: io::Error },
    #[error("could not start")]
    Start(#[source] io::Error),
}

type Body = Either<Full<Bytes>, FilePart>;

pub(super) fn run(site_file: Option<PathBuf>) -> Result<(), ServeError> {
    let site = Arc::new(read_site(&site_file.ok_or(ServeError::Usage)?)?);
    let port = port(env::var("PORT").ok().as_deref())?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ServeError::Start)?
        .block_on(serve(site, port))
}

async fn serve(site: Arc<Site>, port: u16) -> Result<(), ServeError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Start)?;
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
        .await
        .map_err(|source| ServeError::Listen { port, source })?;
    log(&format!(
        "Serving {} files on port {port}",
        site.files.len()
    ));

    let connections = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut end = pin!(terminate.recv());
    loop {
        let accepted = async {
            let place = places.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        tokio::select! {
            biased;
            _ = &mut end => break,
            (place, stream) = accepted => match stream {
                Ok((stream, _)) => {
                    let connection = connection(stream, site.clone(), &connections);
                    tokio::spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                Err(_) => time::sleep(PAUSE_AFTER_ACCEPT_ERROR).await,
            },
        }
    }
    drop(listener);
    // Cut or not, nothing is left to do.
    let _ = time::timeout(DRAIN_TIME_MAX, connections.shutdown()).await;
    Ok(())
}

fn connection(
    stream: TcpStream,
    site: Arc<Site>,
    connections: &GracefulShutdown,
) -> impl Future<Output = ()> + use<> {
    // Answers go out whole; waiting for more to send only delays them.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let response = answer(&site, &request);
        async move { Ok::<_, std::convert::Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let connection = connections.watch(connection);
    async move {
        // A visitor who goes away in the middle is no news.
        let _ = connection.await;
    }
}

fn answer(site: &Site, request: &Request<Incoming>) -> Response<Body> {
    let uri = request.uri();
    let answer = respond(
        site,
        request.method(),
        uri.path(),
        uri.query(),
        request.headers(),
    );
    let (status, length) = (answer.status, length(&answer));
    let body = match open(site, request.method(), &answer) {
        Ok(body) => body,
        Err(error) => {
            log(&format!(
                "Could not read the file for {}: {error}",
                uri.path()
            ));
            let mut response = Response::new(Either::Left(Full::from("Cannot be read\n")));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            return response;
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in answer.headers {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
    if status != StatusCode::NOT_MODIFIED {
        let headers = response.headers_mut();
        headers.insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

fn length(answer: &Answer) -> u64 {
    match &answer.content {
        Content::Text(text) => text.len() as u64,
        Content::Part { length, .. } => *length,
    }
}

fn open(site: &Site, method: &Method, answer: &Answer) -> io::Result<Body> {
    match &answer.content {
        _ if method == Method::HEAD => Ok(Either::Left(Full::default())),
        Content::Text(text) => Ok(Either::Left(Full::from(text.clone()))),
        Content::Part { length: 0, .. } => Ok(Either::Left(Full::default())),
        Content::Part {
            name,
            offset,
            length,
        } => {
            let file = File::open(site.root.join(name))?;
            Ok(Either::Right(FilePart::new(file, *offset, *length)))
        }
    }
}

/// A log that nobody reads any more is no reason to stop.
fn log(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

fn read_site(path: &Path) -> Result<Site, ServeError> {
    let bytes = fs::read(path).map_err(|source| ServeError::Read {
        path: path.to_owned(),
        source,
    })?;
    serde_json::from_slice(&bytes).map_err(|source| ServeError::Parse {
        path: path.to_owned(),
        source,
    })
}

fn port(text: Option<&str>) -> Result<u16, ServeError> {
    let text = text.unwrap_or_default();
    match text.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(ServeError::Port(text.to_owned())),
    }
}
