//! `run` and `ps:exec` at a terminal.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{processes, server::Server, typist::Typist};

/// A client who goes away takes what it started along within 10 s; the rest is for a machine that is busy.
const GONE_WITHIN: Duration = Duration::from_secs(40);

#[test]
fn a_terminal_is_the_processes_own() {
    let server = Server::start();
    server.app("shop", "hello");
    server.push("shop").ok();

    let mut typist = Typist::ssh(&server, "run shop -- bash --norc");
    typist.type_in("PS1='# '; tty; stty size; echo $TERM\r");
    typist.wait_for("/dev/pts/0\r\n33 121\r\nxterm-256color");
    typist.resize(20, 90);
    typist.type_in("until [ \"$(stty size)\" = '20 90' ]; do sleep 0.1; done; echo re''sized\r");
    typist.wait_for("resized");
    typist.type_in("yes\r");
    typist.wait_for("y\r\ny\r\n");
    typist.type_in("\x03");
    typist.wait_for("# ");
    typist.type_in("exit 42\r");
    assert_eq!(typist.rest().1, Some(42));

    let (screen, status) = Typist::ssh(&server, "run --no-tty shop -- tty").rest();
    assert!(screen.contains("not a tty"), "{screen}");
    assert_eq!(status, Some(1));
    let (_, status) = Typist::ssh(&server, "run shop -- 'kill -TERM $$'").rest();
    assert_eq!(status, Some(143));
    // Input that ends is an end of file.
    assert_eq!(
        server
            .sh("echo hello | ssh -tt slipway run shop -- cat | tr -d '\\r' | tail -1")
            .ok(),
        "hello\n"
    );

    enters(&server);
    ends_with_the_client(
        &server,
        "run shop -- bash -c 'trap : HUP; sleep 3001; sleep 3001'",
    );
    ends_with_the_client(&server, "ps:exec shop -- sleep 3001");

    let mut typist = Typist::ssh(&server, "run shop -- sh -c 'echo be\"\"gun; sleep 3001'");
    typist.wait_for("begun");
    assert_eq!(server.terminate(), Some(0));
    typist.rest();
    assert_eq!(sleeping(&server), 0);
}

/// It asks the app for a page, which stands in the log.
#[test]
fn a_process_without_a_terminal_is_asked_to_end() {
    let server = Server::start();
    server.app("shop", "hello");
    server.push("shop").ok();
    let port = server.http.port();
    let script = format!(
        r#"cat > script <<'END'
trap 'exec 3<>/dev/tcp/127.0.0.1/{port}; printf "GET /put-away HTTP/1.0\r\nHost: shop.localhost\r\n\r\n" >&3; cat <&3; exit' TERM
echo begun; sleep 1000 & wait
END
command ssh -F ~/.ssh/config slipway run shop -- bash -s < script > said & ssh=$!
eventually grep -q begun said
kill $ssh
eventually bash -c 'ssh slipway logs shop | grep -q "GET path=./put-away"'
eventually bash -c '! ssh slipway ps shop | grep run'"#
    );
    server.sh(&script).ok();
}

fn enters(server: &Server) {
    let mut typist = Typist::ssh(server, "ps:exec shop");
    typist.type_in("echo $DYNO; id -u; stty size; tr '\\0' ' ' < /proc/2/cmdline\r");
    typist.wait_for("web.1\r\n1000\r\n33 121\r\n");
    typist.wait_for("python3");
    typist.type_in("exit 3\r");
    assert_eq!(typist.rest().1, Some(3));
    assert_eq!(server.ssh("enter shop web.1 printenv DYNO").ok(), "web.1\n");
    let said = server.ssh("ps:exec shop web.9 -- true").fails(1);
    assert!(said.contains("`shop` runs no `web.9`"), "{said}");

    let mut typist = Typist::ssh(server, "ps:exec shop -- sh -c 'echo be\"\"gun; sleep 3001'");
    typist.wait_for("begun");
    server.ssh("ps:restart shop").ok();
    let (screen, status) = typist.rest();
    assert!(
        screen.contains("web.1 has stopped, and this with it."),
        "{screen}"
    );
    assert_eq!(status, Some(137));
}

fn ends_with_the_client(server: &Server, line: &str) {
    let mut typist = Typist::ssh(server, line);
    let end = Instant::now() + GONE_WITHIN;
    while sleeping(server) == 0 {
        assert!(Instant::now() < end, "`{line}` did not start");
        thread::sleep(Duration::from_millis(50));
    }
    typist.program.kill().expect("killed");
    typist.program.wait().expect("ended");
    let end = Instant::now() + GONE_WITHIN;
    while sleeping(server) > 0 {
        assert!(Instant::now() < end, "`{line}` still runs");
        thread::sleep(Duration::from_millis(50));
    }
}

fn sleeping(server: &Server) -> usize {
    let all = processes::of(server.tag());
    all.iter()
        .filter(|process| process.command.starts_with("sleep 3001"))
        .count()
}
