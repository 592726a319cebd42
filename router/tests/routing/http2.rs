//! HTTP/2 without TLS, by prior knowledge, with hyper as the client.

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::world::{App, DEADLINE, HOST, Message, World, ok};

async fn connect(world: &World) -> SendRequest<Full<Bytes>> {
    let tcp = tokio::net::TcpStream::connect(world.address)
        .await
        .expect("the router");
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(tcp))
        .await
        .expect("HTTP/2");
    tokio::spawn(connection);
    sender
}

fn request(method: &str, path: &str, body: &'static str) -> Request<Full<Bytes>> {
    let uri = format!("http://{HOST}{path}");
    let request = Request::builder().method(method).uri(uri);
    request.body(Full::from(body)).expect("a request")
}

#[tokio::test]
async fn many_requests_on_one_connection() {
    let world = World::new();
    let app = App::answering(|request: &Message| ok(request.text()));
    world.route(&[&app.endpoint]);
    let sender = connect(&world).await;
    let asked: Vec<_> = (0..50)
        .map(|_| {
            let mut sender = sender.clone();
            tokio::spawn(async move {
                let response = sender
                    .send_request(request("POST", "/", "body"))
                    .await
                    .expect("a response");
                assert_eq!(response.status(), StatusCode::OK);
                assert_eq!(response.headers()["via"], "1.1 slipway");
                response
                    .into_body()
                    .collect()
                    .await
                    .expect("a body")
                    .to_bytes()
            })
        })
        .collect();
    for body in asked {
        assert_eq!(body.await.expect("no panic"), "body");
    }
}

#[tokio::test]
async fn the_endpoint_sees_http_1() {
    let mut world = World::new();
    let (app, requests) = App::recording();
    world.route(&[&app.endpoint]);
    let mut sender = connect(&world).await;
    let response = sender
        .send_request(request("GET", "/a?b", ""))
        .await
        .expect("a response");
    assert_eq!(response.status(), StatusCode::OK);
    drop(response);
    let request = requests.recv_timeout(DEADLINE).expect("a request");
    assert!(
        request.head.starts_with("GET /a?b HTTP/1.1\r\n"),
        "{}",
        request.head
    );
    assert_eq!(request.all("host"), [HOST]);
    assert_eq!(request.all("via"), ["2.0 slipway"]);
    assert!(world.line().contains(" status=200 "));
}

#[tokio::test]
async fn what_has_no_meaning_is_refused() {
    let world = World::new();
    let mut sender = connect(&world).await;
    let unknown = sender
        .send_request(request("GET", "/", ""))
        .await
        .expect("a response");
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
    let connect = Request::connect(format!("{HOST}:80"))
        .body(Full::default())
        .expect("a request");
    let refused = sender.send_request(connect).await.expect("a response");
    assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_broken_answer_resets_its_stream_alone() {
    let mut world = World::new();
    let app = App::new(|mut peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    });
    world.route(&[&app.endpoint]);
    let mut sender = connect(&world).await;
    for _ in 0..2 {
        let response = sender
            .send_request(request("GET", "/", ""))
            .await
            .expect("a response");
        assert!(response.into_body().collect().await.is_err());
        assert!(world.line().contains("code=H18"));
    }
}
