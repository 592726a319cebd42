//! Packs of one user are unpacked a few at a time.

use std::{
    fs,
    io::Write,
    process::{Child, Stdio},
    thread::sleep,
    time::Duration,
};

use crate::{
    common::{TestServer, Work, wait_until},
    hostile::good,
    pack::command,
    platform::UNPACKED_AT_ONCE,
};

/// Half a push: the rest never comes.
fn half(server: &TestServer) -> Child {
    let mut ssh = server
        .ssh(&[], &["git-receive-pack", "/shop"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("starts");
    let (pack, tip) = good();
    let pack = pack.finish();
    let stdin = ssh.stdin.as_mut().expect("piped");
    let sent = [&command("refs/heads/side", tip), &b"0000"[..], &pack[..20]].concat();
    stdin.write_all(&sent).expect("sent");
    ssh
}

#[test]
fn who_pushes_more_at_once_waits_for_a_turn() {
    let server = TestServer::start();
    let work = Work::new(&server, "shop");
    work.commit("none");
    assert_eq!(work.push(&["main"]).0, 0);
    let unpacking = || {
        let objects = fs::read_dir(server.repo("shop").join("objects"));
        let names = objects.into_iter().flatten().flatten();
        let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with("incoming")).count()
    };
    let mut halves: Vec<Child> = (0..UNPACKED_AT_ONCE).map(|_| half(&server)).collect();
    wait_until("all are being unpacked", || unpacking() == UNPACKED_AT_ONCE);

    work.write("a", &"a\n".repeat(1000));
    let commit = work.commit("one");
    let mut push = work
        .git(&["push", "-q", "slipway", "main"])
        .spawn()
        .expect("starts");
    sleep(Duration::from_millis(500));
    assert!(push.try_wait().expect("asked").is_none(), "it did not wait");
    assert_eq!(unpacking(), UNPACKED_AT_ONCE);

    for half in &mut halves {
        half.kill().expect("killed");
        half.wait().expect("ended");
    }
    assert!(push.wait().expect("ends").success());
    assert_eq!(server.head("shop", "refs/heads/main"), Some(commit));
    wait_until("nothing is left of the halves", || unpacking() == 0);
}
