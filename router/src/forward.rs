//! One request: find its route, claim an endpoint, send it there, and stream the answer back.

mod body;

use std::{
    cell::Cell,
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::{
    Method, Request, Response, StatusCode, Uri, Version,
    body::{Body as _, Incoming},
    client::conn::http1,
    header,
    upgrade::OnUpgrade,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, sync::oneshot, time::timeout};

use self::body::Finish;
pub(crate) use self::body::{Download, Upload};
use crate::{
    failure::{Failure, page},
    headers,
    log::{LogSender, Record},
    pool::{Pool, Sender},
    server::Timeouts,
    table::{BackendState, Claim, EndpointState, RouteState, Table},
};

/// Heroku's: so many requests may be under way per instance.
const IN_FLIGHT_PER_ENDPOINT_MAX: usize = 200;
/// Connection attempts for one request, and looks at a table that changes meanwhile.
const TRIES_MAX: usize = 10;

pub(crate) type Body = Either<Full<Bytes>, Download>;

/// What the requests of one thread share.
pub(crate) struct Forwarder {
    pub(crate) table: Table,
    pub(crate) log: LogSender,
    pub(crate) pool: Pool,
    pub(crate) timeouts: Timeouts,
    pub(crate) port: u16,
}

/// An open connection to a claimed endpoint.
struct Upstream {
    sender: Sender,
    claim: Claim,
    reused: bool,
    connect: Duration,
}

impl Forwarder {
    pub(crate) async fn serve(
        self: Rc<Self>,
        request: Request<Incoming>,
        client: IpAddr,
    ) -> Response<Body> {
        if request.method() == Method::CONNECT {
            return refuse(
                StatusCode::METHOD_NOT_ALLOWED,
                "CONNECT is not allowed here",
            );
        }
        let host = match headers::host(&request) {
            Ok(host) => host,
            Err(wrong) => return refuse(StatusCode::BAD_REQUEST, wrong),
        };
        let Some(route) = self.table.route(&host) else {
            return refuse(StatusCode::NOT_FOUND, &format!("there is no app at {host}"));
        };
        let started = Instant::now();
        let mut record = Record {
            app: route.app.clone(),
            method: request.method().to_string(),
            path: request
                .uri()
                .path_and_query()
                .map_or("/", |path| path.as_str())
                .to_owned(),
            host,
            request_id: String::new(),
            client,
            instance: String::new(),
            connect: Duration::ZERO,
            service: Duration::ZERO,
            status: 0,
            bytes: 0,
            failure: None,
        };
        match self.forward(request, route, &mut record, started).await {
            Ok(response) => response,
            Err(failure) => {
                record.failure = Some(failure);
                record.status = failure.status().as_u16();
                record.service = started.elapsed();
                record.send(&self.log);
                failure.response().map(Either::Left)
            }
        }
    }

    async fn forward(
        &self,
        mut request: Request<Incoming>,
        route: Arc<RouteState>,
        record: &mut Record,
        started: Instant,
    ) -> Result<Response<Body>, Failure> {
        let upgrade_to = headers::upgrade(request.headers());
        let client_upgrade = upgrade_to
            .is_some()
            .then(|| hyper::upgrade::on(&mut request));
        headers::strip_hop_by_hop(request.headers_mut());
        record.request_id = headers::add_forwarded(request.headers_mut(), record.client, self.port);
        if let Some(to) = upgrade_to {
            headers::restore_upgrade(request.headers_mut(), to);
        }
        let (request, sent) = self.outgoing(request, &record.host);
        let upstream = self.connect(route, &record.host).await?;
        record
            .instance
            .clone_from(&upstream.claim.state.endpoint.instance);
        record.connect = upstream.connect;
        let (mut response, upstream) = self.exchange(request, upstream, sent).await?;
        record.status = response.status().as_u16();
        record.service = started.elapsed();
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let app_upgrade = hyper::upgrade::on(&mut response);
            self.tunnel(client_upgrade, app_upgrade, upstream.claim, record);
            return Ok(response.map(|_| Either::Left(Full::default())));
        }
        headers::strip_hop_by_hop(response.headers_mut());
        *response.version_mut() = Version::HTTP_11;
        let finish = Finish {
            record: record.clone(),
            started,
            log: self.log.clone(),
            pool: self.pool.clone(),
            sender: upstream.sender,
            claim: upstream.claim,
        };
        Ok(response.map(|body| Either::Right(Download::new(body, finish, self.timeouts.idle))))
    }

    /// The request as it goes to the app: origin form, HTTP/1.1, one Host. The receiver ends when its body is through.
    fn outgoing(
        &self,
        request: Request<Incoming>,
        host: &str,
    ) -> (Request<Upload>, oneshot::Receiver<()>) {
        let (done, sent) = oneshot::channel();
        let idle = self.timeouts.idle;
        let mut request = request.map(|body| Upload::new(body, idle, done));
        if !request.headers().contains_key(header::HOST) {
            let host = request
                .uri()
                .authority()
                .map_or(host, |authority| authority.as_str());
            if let Ok(host) = header::HeaderValue::from_str(host) {
                request.headers_mut().insert(header::HOST, host);
            }
        }
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
        *request.version_mut() = Version::HTTP_11;
        (request, sent)
    }

    /// Claims an endpoint and connects to it; another one when that is refused.
    async fn connect(&self, mut route: Arc<RouteState>, host: &str) -> Result<Upstream, Failure> {
        let mut tried: Vec<Arc<EndpointState>> = Vec::new();
        let mut failure = Failure::ConnectionRefused;
        for _ in 0..TRIES_MAX {
            let endpoints = match &route.backend {
                BackendState::Endpoints(endpoints) => endpoints,
                BackendState::Unavailable(reason) => return Err(Failure::Unavailable(*reason)),
            };
            if route.in_flight() >= IN_FLIGHT_PER_ENDPOINT_MAX * endpoints.len() {
                return Err(Failure::BacklogTooDeep);
            }
            let untried: Vec<_> = endpoints
                .iter()
                .filter(|state| !tried.iter().any(|t| Arc::ptr_eq(t, state)))
                .collect();
            let Some(state) = less_loaded(&untried) else {
                return Err(failure);
            };
            let Some(claim) = state.claim() else {
                // Taken out of the table since we looked.
                route = self.table.route(host).ok_or(Failure::ConnectionRefused)?;
                continue;
            };
            match self.open(claim, true).await {
                Ok(upstream) => return Ok(upstream),
                Err(why) => failure = why,
            }
            tried.push(state.clone());
            // What has just been refused may be gone from the table by now.
            route = self.table.route(host).ok_or(failure)?;
        }
        Err(failure)
    }

    async fn open(&self, claim: Claim, reuse: bool) -> Result<Upstream, Failure> {
        let address = claim.state.endpoint.address;
        if let Some(sender) = reuse.then(|| self.pool.take(&address)).flatten() {
            return Ok(Upstream {
                sender,
                claim,
                reused: true,
                connect: Duration::ZERO,
            });
        }
        let started = Instant::now();
        let stream = timeout(self.timeouts.connect, TcpStream::connect(address))
            .await
            .map_err(|_| Failure::ConnectTimeout)?
            .map_err(|_| Failure::ConnectionRefused)?;
        // Latency only; a socket without it still works.
        _ = stream.set_nodelay(true);
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|_| Failure::ClosedWithoutResponse)?;
        // Ends with the connection, which ends when its sender is dropped.
        tokio::task::spawn_local(connection.with_upgrades());
        Ok(Upstream {
            sender,
            claim,
            reused: false,
            connect: started.elapsed(),
        })
    }

    /// Sends the request and waits for the head of the response. A pooled connection may have been closed by the app at
    /// this moment: what was not sent, or may be sent twice (RFC 9110 section 9.2.2), goes out once more on a fresh one.
    async fn exchange(
        &self,
        request: Request<Upload>,
        mut upstream: Upstream,
        sent: oneshot::Receiver<()>,
    ) -> Result<(Response<Incoming>, Upstream), Failure> {
        let first_byte = self.timeouts.first_byte;
        let late = async move {
            // Closed, not sent: the body was dropped when it had gone through.
            _ = sent.await;
            tokio::time::sleep(first_byte).await;
        };
        tokio::pin!(late);
        let mut spare = upstream
            .reused
            .then(|| copy_if_harmless(&request))
            .flatten();
        let mut request = request;
        loop {
            let result = tokio::select! {
                result = upstream.sender.try_send_request(request) => result,
                () = &mut late => return Err(Failure::RequestTimeout),
            };
            let mut error = match result {
                Ok(response) => return Ok((response, upstream)),
                Err(error) => error,
            };
            let again = error
                .take_message()
                .or_else(|| spare.take())
                .filter(|_| upstream.reused);
            request = again.ok_or(Failure::ClosedWithoutResponse)?;
            upstream = self.open(upstream.claim, false).await?;
        }
    }

    /// Both sides have switched protocols: bytes go through until one of them is done.
    fn tunnel(&self, client: Option<OnUpgrade>, app: OnUpgrade, claim: Claim, record: &Record) {
        let (log, record) = (self.log.clone(), record.clone());
        tokio::task::spawn_local(async move {
            let _claim = claim;
            let Some(client) = client else { return };
            if let (Ok(client), Ok(app)) = tokio::join!(client, app) {
                // Either end may be cut; that is how such connections end.
                _ = tokio::io::copy_bidirectional(
                    &mut TokioIo::new(client),
                    &mut TokioIo::new(app),
                )
                .await;
            }
            record.send(&log);
        });
    }
}

/// The same request, when it has no body and its method says that twice is as good as once.
fn copy_if_harmless(request: &Request<Upload>) -> Option<Request<Upload>> {
    let harmless = request.method().is_idempotent() && request.body().is_end_stream();
    harmless.then(|| {
        let mut copy = Request::new(Upload::empty());
        copy.method_mut().clone_from(request.method());
        copy.uri_mut().clone_from(request.uri());
        copy.headers_mut().clone_from(request.headers());
        copy
    })
}

/// The less loaded of two at random: nearly as good as the least loaded, without a herd.
fn less_loaded<'a>(endpoints: &[&'a Arc<EndpointState>]) -> Option<&'a Arc<EndpointState>> {
    let pick = |n: usize| endpoints.get(n % endpoints.len().max(1)).copied();
    let (first, second) = (pick(random())?, pick(random())?);
    Some(if second.load() < first.load() {
        second
    } else {
        first
    })
}

/// xorshift; only spreads load.
fn random() -> usize {
    thread_local!(static STATE: Cell<u64> = const { Cell::new(0x9e37_79b9_7f4a_7c15) });
    STATE.with(|state| {
        let mut x = state.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        state.set(x);
        usize::try_from(x >> 33).unwrap_or(0)
    })
}

fn refuse(status: StatusCode, why: &str) -> Response<Body> {
    page(status, format!("{why}\n")).map(Either::Left)
}
