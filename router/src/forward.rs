//! The way of one request: find its route, choose an endpoint, send, answer.

use std::{
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{
    HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
    header::{CONNECTION, EXPECT, HOST},
};
use hyper::{
    body::{Body, Incoming},
    client::conn::TrySendError,
    upgrade::OnUpgrade,
};

use crate::{
    balance,
    body::{Reply, RequestBody, ResponseBody, Upload},
    endpoint::{EndpointState, Lease},
    failure::{self, Accept, Code, Refusal},
    headers, host,
    log::{Facts, Outcome, RequestLine},
    pool::{self, Pooled},
    table::{RouteState, Target},
    tunnel,
    vitals::Vitals,
    worker::{Shared, Worker},
};

/// Endpoints that are tried for one request (Heroku's figure).
const ATTEMPTS_MAX: usize = 10;

/// Answers every request: from an endpoint, or with the reason why not.
pub(crate) async fn answer(
    worker: Shared,
    vitals: Arc<Vitals>,
    request: Request<Incoming>,
) -> Response<Reply> {
    let accept = Accept::of(request.headers());
    let version = request.version();
    let mut reply = match admit(&worker, &request) {
        Ok((host, route)) => {
            exchange(Rc::clone(&worker), &vitals, host, route, request, accept).await
        }
        Err(refusal) => {
            tracing::debug!(peer = %vitals.peer, uri = %request.uri(), ?refusal, "refused");
            refusal.response(accept, version)
        }
    };
    let is_upgrade = reply.status() == StatusCode::SWITCHING_PROTOCOLS;
    // The connection's own task may not have heard of the stop yet.
    if *worker.stopping.borrow() && !is_upgrade && version != Version::HTTP_2 {
        let close = HeaderValue::from_static("close");
        reply.headers_mut().insert(CONNECTION, close);
    }
    vitals.decide_upgrade(is_upgrade);
    reply
}

fn admit(
    worker: &Worker,
    request: &Request<Incoming>,
) -> Result<(String, Arc<RouteState>), Refusal> {
    if request.method() == Method::CONNECT {
        return Err(Refusal::Connect);
    }
    let mut expectations = request.headers().get_all(EXPECT).iter();
    if expectations.any(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(Refusal::Expectation);
    }
    if headers::nominates_framing(request.headers()) {
        return Err(Refusal::BadRequest);
    }
    let host = host::of(request).ok_or(Refusal::BadRequest)?;
    let route = worker.table.find(&host).ok_or(Refusal::NoSuchApp)?;
    Ok((host, route))
}

async fn exchange(
    worker: Shared,
    vitals: &Arc<Vitals>,
    host: String,
    route: Arc<RouteState>,
    mut request: Request<Incoming>,
    accept: Accept,
) -> Response<Reply> {
    let version = request.version();
    let client = hyper::upgrade::on(&mut request);
    let upgrade = headers::upgrade(request.headers()).filter(|_| version == Version::HTTP_11);
    let (request, upload, facts) = prepare(&worker, vitals.peer, host, request);
    let mut line = RequestLine {
        shared: Rc::clone(&worker),
        serving: vitals.begin(),
        route,
        facts,
    };
    match send(&worker, request, &upload, &mut line).await {
        Ok(answer) if answer.response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            match upgrade {
                Some(_) => switch(answer, client, line, version),
                None => fail(line, Code::H17, accept),
            }
        }
        Ok(answer) => relay(answer, upload, line, version),
        Err(code) => fail(line, code, accept),
    }
}

/// Turns the client's request into the endpoint's.
fn prepare(
    worker: &Worker,
    peer: SocketAddr,
    host: String,
    request: Request<Incoming>,
) -> (Request<RequestBody>, Rc<Upload>, Facts) {
    let (mut parts, incoming) = request.into_parts();
    let identity = headers::to_endpoint(
        &mut parts.headers,
        parts.version,
        peer,
        worker.port,
        &worker.random,
    );
    let facts = Facts {
        method: parts.method.clone(),
        uri: parts.uri.clone(),
        host,
        request_id: identity.request_id,
        forwarded_for: identity.forwarded_for,
        endpoint: None,
        connect: Duration::ZERO,
        began: Instant::now(),
        bytes: 0,
        outcome: Outcome::Open,
    };
    if let Some(authority) = parts.uri.authority()
        && let Ok(value) = HeaderValue::from_str(authority.as_str())
    {
        parts.headers.insert(HOST, value);
    }
    let (body, upload) = RequestBody::new(incoming);
    let mut request = Request::new(body);
    *request.method_mut() = parts.method;
    *request.uri_mut() = origin_form(parts.uri);
    *request.headers_mut() = parts.headers;
    (request, upload, facts)
}

/// Scheme and authority stay behind (RFC 9112 section 3.2.1).
fn origin_form(uri: Uri) -> Uri {
    uri.into_parts()
        .path_and_query
        .map_or_else(Uri::default, Uri::from)
}

struct Answer {
    response: Response<Incoming>,
    connection: Pooled,
    lease: Lease,
}

/// Tries endpoints until one answers, or until trying another cannot be right.
async fn send(
    worker: &Worker,
    mut request: Request<RequestBody>,
    upload: &Upload,
    line: &mut RequestLine,
) -> Result<Answer, Code> {
    let deadline = Instant::now() + worker.timeouts.attempts;
    let mut tried: Vec<Arc<EndpointState>> = Vec::new();
    let mut last = Code::H21;
    let mut fresh = false;
    while tried.len() < ATTEMPTS_MAX && Instant::now() < deadline {
        let Some(lease) = choose(worker, line, &tried)? else {
            break;
        };
        let reused = if fresh {
            None
        } else {
            reuse(worker, &lease.state, is_repeatable(&request)).await
        };
        let is_reused = reused.is_some();
        let mut connection = match reused {
            Some(connection) => connection,
            None => match connect(worker, &lease.state, line).await {
                Ok(connection) => connection,
                Err(code) => {
                    lease.state.quarantine();
                    tried.push(Arc::clone(&lease.state));
                    last = code;
                    continue;
                }
            },
        };
        let spare = if is_reused { again(&request) } else { None };
        match respond(worker, &mut connection, request, upload).await? {
            Ok(response) => {
                return Ok(Answer {
                    response,
                    connection,
                    lease,
                });
            }
            // The endpoint closed a connection that lay idle just as it was used: not its fault, not the client's.
            Err(lost) => match unsent(lost, upload, spare, is_reused) {
                Ok(unsent) => request = unsent,
                Err(code) => return Err(code),
            },
        }
        fresh = true;
    }
    Err(last)
}

/// Leases an endpoint; `None` when all have been tried. An endpoint that is retired between being chosen and being
/// leased is no failure: the table already has the next route.
fn choose(
    worker: &Worker,
    line: &mut RequestLine,
    tried: &[Arc<EndpointState>],
) -> Result<Option<Lease>, Code> {
    loop {
        let endpoints = match &line.route.target {
            Target::Unavailable(why) => return Err(Code::from(*why)),
            Target::Maintenance(_) => return Err(Code::H80),
            Target::Endpoints(endpoints) => endpoints,
        };
        if balance::is_full(endpoints) {
            return Err(Code::H11);
        }
        let Some(chosen) = balance::choose(endpoints, tried, worker.random.number()) else {
            return Ok(None);
        };
        if let Some(lease) = chosen.lease() {
            line.facts.endpoint = Some(Arc::clone(chosen));
            return Ok(Some(lease));
        }
        match worker.table.find(&line.facts.host) {
            Some(route) => line.route = route,
            None => return Err(Code::H14),
        }
    }
}

/// An idle connection. Where a second try would be wrong, one more turn of the event loop lets it be seen that the
/// endpoint has closed it.
async fn reuse(worker: &Worker, state: &Arc<EndpointState>, is_repeatable: bool) -> Option<Pooled> {
    loop {
        let connection = worker.pool.take(state)?;
        if is_repeatable {
            return Some(connection);
        }
        tokio::task::yield_now().await;
        if !connection.sender.is_closed() {
            return Some(connection);
        }
    }
}

async fn connect(
    worker: &Worker,
    state: &Arc<EndpointState>,
    line: &mut RequestLine,
) -> Result<Pooled, Code> {
    let began = Instant::now();
    let connected = tokio::time::timeout(worker.timeouts.connect, pool::connect(state)).await;
    line.facts.connect += began.elapsed();
    match connected {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(_)) => Err(Code::H21),
        Err(_) => Err(Code::H19),
    }
}

/// Does no harm when it is carried out twice, and has no body.
fn is_repeatable(request: &Request<RequestBody>) -> bool {
    request.method().is_idempotent() && request.body().is_end_stream()
}

fn again(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    let body = (request.body().again()).filter(|_| is_repeatable(request))?;
    let mut copy = Request::new(body);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

type Lost = TrySendError<Request<RequestBody>>;

/// Sends, and waits for the head of the response. The outer error is a timeout.
async fn respond(
    worker: &Worker,
    connection: &mut Pooled,
    request: Request<RequestBody>,
    upload: &Upload,
) -> Result<Result<Response<Incoming>, Lost>, Code> {
    upload.touch();
    let mut response = std::pin::pin!(connection.sender.try_send_request(request));
    let mut timer = std::pin::pin!(tokio::time::sleep_until(due(worker, upload)));
    loop {
        tokio::select! {
            biased;
            response = &mut response => return Ok(response),
            () = &mut timer => {
                let due = due(worker, upload);
                if tokio::time::Instant::now() >= due {
                    return Err(late(upload));
                }
                timer.as_mut().reset(due);
            }
        }
    }
}

/// When waiting ends, as things stand.
fn due(worker: &Worker, upload: &Upload) -> tokio::time::Instant {
    let allowed = if upload.is_done() {
        worker.timeouts.first_byte
    } else {
        worker.timeouts.idle
    };
    upload.progress() + allowed
}

fn late(upload: &Upload) -> Code {
    match (upload.is_done(), upload.is_starved()) {
        (true, _) => Code::H12,
        (false, true) => Code::H28,
        (false, false) => Code::H15,
    }
}

/// The request, if it may be sent once more.
fn unsent(
    mut lost: Lost,
    upload: &Upload,
    spare: Option<Request<RequestBody>>,
    is_reused: bool,
) -> Result<Request<RequestBody>, Code> {
    let returned = lost.take_message().filter(|_| !upload.is_started());
    let error = lost.into_error();
    let malformed = error.is_parse() || error.is_parse_too_large();
    match returned.or(spare) {
        Some(request) if is_reused && !malformed => Ok(request),
        _ if upload.is_failed() => Err(Code::H26),
        _ if malformed => Err(Code::H17),
        _ => Err(Code::H13),
    }
}

fn relay(
    answer: Answer,
    upload: Rc<Upload>,
    line: RequestLine,
    version: Version,
) -> Response<Reply> {
    let (mut parts, incoming) = answer.response.into_parts();
    headers::to_client(&mut parts.headers, parts.version, false);
    // The client's connection decides its own version.
    parts.version = version;
    parts.extensions.clear();
    let idle_max = line.shared.timeouts.idle;
    let body = ResponseBody::new(
        (incoming, parts.status.as_u16()),
        idle_max,
        upload,
        answer.connection,
        line,
        answer.lease,
    );
    Response::from_parts(parts, Reply::Endpoint(Box::new(body)))
}

/// 101: from here on the two ends speak whatever they agreed on.
fn switch(
    mut answer: Answer,
    client: OnUpgrade,
    line: RequestLine,
    version: Version,
) -> Response<Reply> {
    let endpoint = hyper::upgrade::on(&mut answer.response);
    let (mut parts, _) = answer.response.into_parts();
    headers::to_client(&mut parts.headers, parts.version, true);
    parts.version = version;
    parts.extensions.clear();
    tokio::task::spawn_local(tunnel::run(client, endpoint, line, answer.lease));
    Response::from_parts(parts, Reply::Page(None))
}

fn fail(mut line: RequestLine, code: Code, accept: Accept) -> Response<Reply> {
    let text = match &line.route.target {
        Target::Maintenance(text) => text.as_deref(),
        _ => None,
    };
    let response = failure::response(code, text, &line.facts.request_id, accept);
    line.facts.bytes = response.body().size_hint().exact().unwrap_or(0);
    line.facts.outcome = Outcome::Failed(code);
    response
}
