//! Static sites, Procfiles, plain executables.

use std::{io::Read, net::TcpStream};

use crate::{Case, lab::Lab};

const STATIC: &str = "slipway_static";
const PROCFILE: &str = "slipway_procfile";
const PLAIN: &str = "slipway_plain";

pub(crate) const CASES: &[Case] = &[
    ("static_site_is_served", site_is_served),
    ("static_server_drains", server_drains),
    ("procfile_declares_processes", procfile_declares_processes),
    ("plain_executable_is_started", plain_executable_is_started),
];

fn site_is_served() {
    let lab = Lab::sample("static-site");
    lab.write(".env", "SECRET=1\n");
    lab.write("app.js", "console.log(1)\n");
    lab.write("app.js.gz", "not really gzip");
    lab.build_ok(STATIC);
    let running = lab.start(STATIC, "web");

    let page = running.get("/");
    assert_eq!(page.status, 200);
    assert!(page.body.contains("Hello from static files"));
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    assert!(!page.headers.contains_key("last-modified"));
    let etag = page.headers["etag"].as_str();
    let again = running.request("GET", "/", &[("if-none-match", etag)]);
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    let head = running.request("HEAD", "/", &[]);
    assert_eq!(
        head.headers["content-length"],
        page.headers["content-length"]
    );
    assert_eq!(head.body, "");

    assert!(running.get("/about").body.contains("About this site"));
    let missing = running.get("/nothing");
    assert_eq!(missing.status, 404);
    assert!(missing.body.contains("Nothing here"));
    let part = running.request("GET", "/css/site.css", &[("range", "bytes=0-1")]);
    assert_eq!((part.status, part.body.as_str()), (206, "h1"));
    let compressed = running.request("GET", "/app.js", &[("accept-encoding", "gzip")]);
    assert_eq!(compressed.headers["content-encoding"], "gzip");
    assert_eq!(compressed.body, "not really gzip");
    for path in [
        "/.env",
        "/static.json",
        "/../platform/env",
        "/%2e%2e/home",
        "/.git/config",
    ] {
        assert_eq!(running.get(path).status, 404, "{path}");
    }
    assert_eq!(
        running
            .request("POST", "/", &[("content-length", "0")])
            .status,
        405
    );

    // The server itself is not copied again.
    lab.restore(STATIC, Some("static-site"));
    lab.write("index.html", "changed");
    lab.build_ok(STATIC);
    let running = lab.start(STATIC, "web");
    let changed = running.request("GET", "/", &[("if-none-match", etag)]);
    assert_eq!((changed.status, changed.body.as_str()), (200, "changed"));
}

/// After SIGTERM an idle connection is closed, and the server ends by itself.
fn server_drains() {
    let lab = Lab::new(&[("public/index.html", "hello")]);
    lab.build_ok(STATIC);
    let running = lab.start(STATIC, "web");
    assert_eq!(running.get("/").body, "hello");
    let mut idle = TcpStream::connect(("127.0.0.1", running.port())).expect("connected");
    std::io::Write::write_all(&mut idle, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").expect("sent");
    let mut start = [0; 12];
    idle.read_exact(&mut start).expect("answered");
    assert_eq!(&start, b"HTTP/1.1 200");
    assert_eq!(running.stop(), Some(0));
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).expect("closed");
}

fn procfile_declares_processes() {
    let lab = Lab::sample("procfile-web-worker-release");
    assert_eq!(lab.detect("slipway_nodejs").code, Some(100));
    assert_eq!(lab.detect("slipway_python").code, Some(100));
    assert_eq!(lab.detect(STATIC).code, Some(100));
    assert_eq!(lab.detect(PLAIN).code, Some(100));
    let output = lab.build_ok(PROCFILE);
    assert!(
        output.contains("Procfile declares types -> web, worker, release\n"),
        "{output}"
    );
    assert_eq!(
        lab.command_line(PROCFILE, "web"),
        "bash -c python3 server.py"
    );
    assert_eq!(
        lab.start(PROCFILE, "web").get("/").body,
        "Hello from a Procfile\n"
    );
}

fn plain_executable_is_started() {
    let lab = Lab::sample("plain-executable");
    lab.build_ok(PLAIN);
    let running = lab.start(PLAIN, "web");
    assert_eq!(running.get("/").body, "Hello from a plain executable\n");
    assert_eq!(running.stop(), Some(0));
}
