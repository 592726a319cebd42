//! The door: who gets in, what they may ask for, and what reaches a command.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
    time::Duration,
};

use crate::common::{TestServer, Work, outcome, run, text, wait_until};

#[test]
fn a_key_that_is_known_gets_in_and_no_other() {
    let server = TestServer::start();
    let output = run(&mut server.ssh(&[], &[]));
    assert_eq!(text(&output.stdout), "hello alice\n");

    server.make_key("mallory");
    let line = server.ssh_command("mallory");
    let mut ssh = Command::new("sh");
    let (code, said) = outcome(ssh.args(["-c", &format!("{line} git@127.0.0.1 echo x")]));
    assert_eq!(code, 255);
    assert!(said.contains("Permission denied (publickey)"), "{said}");

    let line = server.ssh_command("alice");
    let (code, said) =
        outcome(Command::new("sh").args(["-c", &format!("{line} root@127.0.0.1 echo x")]));
    assert_eq!(
        (code, said.contains("Permission denied (publickey)")),
        (255, true),
        "{said}"
    );
}

#[test]
fn keys_of_every_kind_get_in() {
    let server = TestServer::start();
    let login = |name: &str, options: &str| {
        let line = format!("{} {options} git@127.0.0.1", server.ssh_command(name));
        outcome(Command::new("sh").args(["-c", &line]))
    };
    for (name, kind) in [
        ("rsa2048", &["-t", "rsa", "-b", "2048"][..]),
        ("rsa4096", &["-t", "rsa", "-b", "4096"]),
        ("p256", &["-t", "ecdsa", "-b", "256"]),
        ("p384", &["-t", "ecdsa", "-b", "384"]),
        ("p521", &["-t", "ecdsa", "-b", "521"]),
        ("ed25519", &["-t", "ed25519"]),
    ] {
        server.let_in(&server.make_key_of(name, kind), name);
        let (code, said) = login(name, "");
        assert_eq!((code, said), (0, format!("hello {name}\n")), "{name}");
    }
    for hash in ["rsa-sha2-256", "rsa-sha2-512"] {
        let option = format!("-o PubkeyAcceptedAlgorithms={hash}");
        assert_eq!(login("rsa2048", &option).0, 0, "{hash}");
    }
    // SHA-1.
    let (code, said) = login("rsa2048", "-o PubkeyAcceptedAlgorithms=ssh-rsa");
    assert_eq!(code, 255, "{said}");
}

#[test]
fn many_wrong_keys_before_the_right_one() {
    let server = TestServer::start();
    let mut args = Vec::new();
    for n in 0..8 {
        let key = server.make_key(&format!("wrong{n}"));
        args.extend(["-i".to_owned(), key.display().to_string()]);
    }
    let line = server.ssh_command("alice");
    // The right one last.
    let (before, after) = line.split_once(" -i ").expect("a key");
    let line = format!(
        "{before} {} -i {after} git@127.0.0.1 status 3",
        args.join(" ")
    );
    assert_eq!(outcome(Command::new("sh").args(["-c", &line])).0, 3);
}

#[test]
fn only_public_keys_and_only_strong_algorithms_are_offered() {
    let server = TestServer::start();
    let (_, said) = outcome(&mut server.ssh(
        &[
            "-v",
            "-o",
            "LogLevel=DEBUG1",
            "-o",
            "PubkeyAuthentication=no",
        ],
        &[],
    ));
    assert!(
        said.contains("Authentications that can continue: publickey\r\n")
            || said.contains("Permission denied (publickey)"),
        "{said}"
    );
    assert!(
        said.contains("remote software version slipway"),
        "no version: {said}"
    );
    for weak in [
        "Ciphers=aes128-cbc",
        "MACs=hmac-sha1",
        "KexAlgorithms=diffie-hellman-group14-sha1",
        "KexAlgorithms=diffie-hellman-group14-sha256",
        "HostKeyAlgorithms=ssh-rsa",
    ] {
        let ciphers = if weak.starts_with("MACs") {
            "Ciphers=aes256-ctr"
        } else {
            "LogLevel=INFO"
        };
        let (code, said) = outcome(&mut server.ssh(
            &["-o", weak, "-o", ciphers, "-o", "LogLevel=INFO"],
            &["status", "0"],
        ));
        assert_eq!(code, 255, "{weak}: {said}");
        assert!(said.contains("no matching"), "{weak}: {said}");
    }
    for cipher in [
        "aes128-gcm@openssh.com",
        "aes256-gcm@openssh.com",
        "chacha20-poly1305@openssh.com",
        "aes256-ctr",
    ] {
        let option = format!("Ciphers={cipher}");
        assert_eq!(
            outcome(&mut server.ssh(&["-o", &option], &["status", "5"])).0,
            5,
            "{cipher}"
        );
    }
}

#[test]
fn host_keys_stay_and_are_announced() {
    let server = TestServer::start();
    let scan = |kind: &str| {
        let port = server.address.port().to_string();
        let output = run(Command::new("ssh-keyscan")
            .args(["-p", &port, "-t", kind, "127.0.0.1"])
            .stderr(Stdio::null()));
        let file = server.dir.path().join("scanned");
        std::fs::write(&file, output.stdout).expect("writes");
        text(&run(Command::new("ssh-keygen").arg("-l").arg("-f").arg(&file)).stdout)
    };
    for (kind, fingerprint) in ["ed25519"].iter().zip(&server.fingerprints) {
        assert!(scan(kind).contains(fingerprint.as_str()), "{kind}");
    }
}

#[test]
fn forwarding_and_subsystems_are_refused() {
    let server = TestServer::start();
    let port = server.address.port();
    let forward = format!("127.0.0.1:{port}");
    let (code, said) = outcome(&mut server.ssh(&["-W", &forward], &[]));
    assert!(code != 0, "{said}");
    let (code, said) = outcome(&mut server.ssh(
        &["-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1"],
        &["status", "0"],
    ));
    assert!(
        code == 255 && said.contains("remote port forwarding failed"),
        "{said}"
    );
    let socket = format!("{}:127.0.0.1:1", server.dir.path().join("socket").display());
    let (code, said) = outcome(&mut server.ssh(
        &["-o", "ExitOnForwardFailure=yes", "-R", &socket],
        &["status", "0"],
    ));
    assert!(
        code == 255 && said.contains("remote port forwarding failed"),
        "{said}"
    );
    let (code, said) = outcome(&mut server.ssh(&["-s"], &["sftp"]));
    assert!(
        code == 255 && said.contains("subsystem request failed"),
        "{said}"
    );
    assert_eq!(
        outcome(&mut server.ssh(&["-A", "-X"], &["status", "4"])).0,
        4
    );
}

#[test]
fn commands_get_their_words_input_output_and_status() {
    let server = TestServer::start();
    let output = run(&mut server.ssh(&[], &["echo", "'a b'", "\"c\\\"d\"", "$HOME", ";", "e"]));
    assert_eq!(
        (text(&output.stdout), text(&output.stderr)),
        ("a b|c\"d|$HOME|;|e\n".to_owned(), "narration\n".to_owned())
    );
    for status in [0, 1, 64, 255] {
        assert_eq!(
            outcome(&mut server.ssh(&[], &["status", &status.to_string()])).0,
            status
        );
    }
    let (code, said) = outcome(&mut server.ssh(&[], &["echo", "'x"]));
    assert_eq!(
        (code, said.as_str()),
        (64, " !     there is a ' without its other half\n")
    );
    let (code, said) = outcome(&mut server.ssh(
        &["-o", "SetEnv=GIT_PROTOCOL=x FOO=bar LC_ALL=C"],
        &["status", "2"],
    ));
    assert_eq!(code, 2, "{said}");
}

#[test]
fn nothing_is_lost_either_way() {
    let server = TestServer::start();
    let data: Vec<u8> = (0..5_000_000u32).map(|n| (n % 251) as u8).collect();
    let file = server.dir.path().join("data");
    std::fs::write(&file, &data).expect("writes");
    let input = std::fs::File::open(&file).expect("opens");
    let output = run(server.ssh(&[], &["cat"]).stdin(input));
    assert!(output.stdout == data);
    let output = run(&mut server.ssh(&[], &["yes", "20000000"]));
    assert_eq!(output.stdout.len(), 20_000_000);
}

#[test]
fn a_terminal_gets_carriage_returns_and_gives_ctrl_c() {
    let server = TestServer::start();
    let output = run(&mut server.ssh(&["-tt"], &["echo", "x"]));
    assert!(
        text(&output.stdout).starts_with("x\r\n"),
        "{:?}",
        text(&output.stdout)
    );
    let mut ssh = server
        .ssh(&["-tt"], &["wait"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("starts");
    wait_until("the command runs", || {
        server.events().contains(&"waiting".to_owned())
    });
    ssh.stdin
        .as_mut()
        .expect("piped")
        .write_all(b"\x03")
        .expect("types");
    assert_eq!(ssh.wait().expect("ends").code(), Some(7));
    assert!(
        server
            .events()
            .iter()
            .any(|event| event == "gone" || event == "input")
    );
}

#[test]
fn a_client_that_goes_away_is_noticed() {
    let server = TestServer::start();
    let mut ssh = server
        .ssh(&[], &["wait"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("starts");
    wait_until("the command runs", || {
        server.events().contains(&"waiting".to_owned())
    });
    ssh.kill().expect("kills");
    ssh.wait().expect("ends");
    wait_until("the command ends", || {
        server
            .events()
            .iter()
            .any(|event| event == "gone" || event == "input")
    });
}

#[test]
fn a_removed_key_ends_its_connections() {
    let server = TestServer::start();
    let mut ssh = server
        .ssh(&[], &["wait"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("starts");
    wait_until("the command runs", || {
        server.events().contains(&"waiting".to_owned())
    });
    let stdin = ssh.stdin.take();
    server.remove_key(&server.key("alice"));
    assert_eq!(ssh.wait().expect("ends").code(), Some(255));
    drop(stdin);
}

#[test]
fn one_connection_carries_ten_channels_and_no_more() {
    let server = TestServer::start();
    let (mut master, control) = server.master();
    let client = |words: &[&str]| {
        let mut ssh = server.ssh(&[&control], words);
        ssh.stdin(Stdio::piped());
        ssh
    };
    let mut waiting: Vec<_> = (0..9)
        .map(|_| client(&["wait"]).spawn().expect("starts"))
        .collect();
    wait_until("nine run", || {
        server
            .events()
            .iter()
            .filter(|event| *event == "waiting")
            .count()
            == 9
    });
    assert_eq!(outcome(&mut client(&["status", "9"])).0, 9);
    let mut tenth = client(&["wait"]).spawn().expect("starts");
    wait_until("ten run", || {
        server
            .events()
            .iter()
            .filter(|event| *event == "waiting")
            .count()
            == 10
    });
    let (code, said) = outcome(client(&["status", "9"]).stdin(Stdio::null()));
    // The client then makes a connection of its own.
    assert_eq!(code, 9);
    assert!(said.contains("refused by peer"), "{said}");
    for ssh in waiting.iter_mut().chain([&mut tenth]) {
        drop(ssh.stdin.take());
        assert_eq!(ssh.wait().expect("ends").code(), Some(7));
    }
    master.kill().expect("kills");
    master.wait().expect("ends");
}

#[test]
fn strangers_in_the_doorway_keep_nobody_out() {
    let server = TestServer::start();
    let strangers: Vec<TcpStream> = (0..200)
        .map(|_| TcpStream::connect(server.address).expect("connects"))
        .collect();
    let (code, said) = outcome(&mut server.ssh(&[], &["status", "6"]));
    assert_eq!(code, 6, "{said}");
    // The first of them were pushed out.
    let mut first = &strangers[0];
    first
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("sets");
    let mut seen = Vec::new();
    _ = first.read_to_end(&mut seen);
    assert!(seen.starts_with(b"SSH-2.0-slipway\r\n") || seen.is_empty());
}

#[test]
fn a_server_that_stops_lets_requests_answer() {
    let mut server = TestServer::start();
    let work = Work::new(&server, "shop");
    work.commit("first");
    let log = work.path().join(".git/log");
    let mut push = work.git(&["push", "slipway", "main", "-o", "wait"]);
    push.stderr(std::fs::File::create(&log).expect("log"));
    let mut push = push.spawn().expect("starts");
    wait_until("the deploy runs", || {
        std::fs::read_to_string(&log)
            .unwrap_or_default()
            .contains("waiting")
    });
    server.stop();
    assert_eq!(push.wait().expect("ends").code(), Some(1));
    let said = std::fs::read_to_string(&log).expect("log");
    assert!(
        said.contains("[remote rejected] main -> main (cancelled)"),
        "{said}"
    );
}
