//! Windows and backlogs: what is not read yet holds back its own channel and nothing else.

use std::process::Stdio;

use crate::common::{TestServer, Work, outcome, run, text, wait_until};

/// Far more than may wait on the server.
const MUCH: u64 = 150_000_000;

fn much(server: &TestServer) -> std::fs::File {
    let file = server.dir.path().join("much");
    let made = std::fs::File::create(&file).expect("makes");
    made.set_len(MUCH).expect("grows");
    std::fs::File::open(&file).expect("opens")
}

/// The command fills the client's window before it reads: the client's news of more room come behind its own input.
#[test]
fn a_command_may_say_all_before_it_reads_all() {
    let server = TestServer::start();
    let output = run(server
        .ssh(&[], &["talk-then-count", "20000000"])
        .stdin(much(&server)));
    assert_eq!(output.stdout.len(), 20_000_000);
    assert_eq!(text(&output.stderr).trim(), MUCH.to_string());
}

#[test]
fn a_channel_that_nobody_reads_stops_no_other() {
    let server = TestServer::start();
    let (mut master, control) = server.master();
    let client = |words: &[&str]| server.ssh(&[&control], words);
    // One does not read its input, one's output is not read.
    let mut deaf = client(&["deaf"])
        .stdin(much(&server))
        .spawn()
        .expect("starts");
    let mut unheard = client(&["yes", "100000000"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    wait_until("it runs", || server.events().contains(&"deaf".to_owned()));
    for _ in 0..5 {
        assert_eq!(outcome(&mut client(&["status", "6"])).0, 6);
    }
    // Input of another goes through, past many windows.
    let sent = run(client(&["talk-then-count", "1"]).stdin(much(&server)));
    assert_eq!(text(&sent.stderr).trim(), MUCH.to_string());
    for child in [&mut deaf, &mut unheard] {
        child.kill().expect("kills");
        child.wait().expect("ends");
    }
    assert_eq!(outcome(&mut client(&["status", "6"])).0, 6);
    master.kill().expect("kills");
    master.wait().expect("ends");
}

#[test]
fn many_variables_before_the_request_block_nothing() {
    let server = TestServer::start();
    let variables: Vec<String> = (0..200).map(|n| format!("V{n}=x")).collect();
    let option = format!("SetEnv={}", variables.join(" "));
    assert_eq!(
        outcome(&mut server.ssh(&["-o", &option], &["status", "6"])).0,
        6
    );
}

#[test]
fn keys_are_renewed_in_the_middle_of_it() {
    let server = TestServer::start();
    let output = run(server
        .ssh(&["-o", "RekeyLimit=16M"], &["cat"])
        .stdin(much(&server)));
    assert_eq!(output.stdout.len() as u64, MUCH);
    assert!(output.stdout.iter().all(|byte| *byte == 0));
}

#[test]
fn keys_are_renewed_in_the_middle_of_a_push() {
    let server = TestServer::start();
    let work = Work::new(&server, "big");
    work.ok(&["config", "core.compression", "0"]);
    let mut random = std::fs::File::open("/dev/urandom").expect("opens");
    let mut file = std::fs::File::create(work.path().join("random")).expect("makes");
    std::io::copy(&mut std::io::Read::take(&mut random, 48 << 20), &mut file).expect("writes");
    let head = work.commit("random");
    let ssh = format!("{} -o RekeyLimit=16M", work.ssh);
    run(work
        .git(&["push", "-q", "slipway", "main"])
        .env("GIT_SSH_COMMAND", ssh));
    assert_eq!(server.head("big", "main"), Some(head));
    server.check("big");
}
