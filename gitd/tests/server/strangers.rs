//! Those who have not proved who they are, and those who try to be somebody else.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    process::Command,
    time::{Duration, Instant},
};

use gitd::ssh::Policy;

use crate::common::{TestServer, outcome, run, text, tool};

/// Longest wait of a test for something that is cut much earlier.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn three_hundred_idle_sockets_keep_nobody_out() {
    let server = TestServer::start();
    let strangers: Vec<TcpStream> = (0..300)
        .map(|_| TcpStream::connect(server.address).expect("connects"))
        .collect();
    let output = run(&mut server.ssh(&[], &["echo", "in"]));
    assert_eq!(text(&output.stdout), "in\n");
    drop(strangers);
}

#[test]
fn a_handshake_in_drops_is_cut() {
    let server = TestServer::with_policy(Policy {
        // Enough for the login at the end on a busy machine.
        authentication_max: Duration::from_secs(10),
        ..Policy::default()
    });
    let cut = |send: &dyn Fn(&mut TcpStream) -> std::io::Result<()>| {
        let mut socket = TcpStream::connect(server.address).expect("connects");
        socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .expect("sets");
        let start = Instant::now();
        let mut seen = [0; 4096];
        loop {
            assert!(start.elapsed() < PATIENCE, "it is still open");
            if send(&mut socket).is_err() || matches!(socket.read(&mut seen), Ok(0)) {
                return;
            }
        }
    };
    // A version line that does not end, bytes of a first packet, and nothing; at the same time.
    std::thread::scope(|threads| {
        threads.spawn(|| cut(&|socket| socket.write_all(b"S")));
        threads.spawn(|| cut(&|socket| socket.write_all(b"SSH-2.0-x\r\n\0")));
        threads.spawn(|| cut(&|_| Ok(())));
    });
    assert_eq!(
        outcome(&mut server.ssh(&["-b", "127.0.0.2"], &["status", "6"])).0,
        6
    );
}

#[test]
fn who_fails_again_and_again_waits_and_others_do_not() {
    let network = |text: &str| text.parse().expect("a network");
    let server = TestServer::with_policy(Policy {
        exempt: vec![network("127.0.0.8/29")],
        ..Policy::default()
    });
    server.make_key("mallory");
    let fail = |from: &str| {
        let line = format!(
            "{} -b {from} git@127.0.0.1 status 0",
            server.ssh_command("mallory")
        );
        outcome(Command::new("sh").args(["-c", &line])).0
    };
    let login = |from: &str| outcome(&mut server.ssh(&["-b", from], &["status", "6"]));
    assert_eq!(login("127.0.0.2").0, 6);
    let turned_away = |address: &str| {
        let mut said = String::new();
        _ = from(address, &server).read_to_string(&mut said);
        said.starts_with("Too many failed logins")
    };
    (0..6).for_each(|_| assert_eq!(fail("127.0.0.9"), 255));
    // Failures are forgotten with time, of which a busy machine takes much.
    let start = Instant::now();
    while !turned_away("127.0.0.2") {
        assert!(start.elapsed() < PATIENCE, "still let in");
        std::thread::scope(|threads| {
            (0..12).for_each(|_| _ = threads.spawn(|| fail("127.0.0.2")));
        });
    }
    assert_eq!(login("127.0.0.2").0, 255);
    assert_eq!(login("127.0.0.3").0, 6);
    // An office may fail as often as it likes.
    assert_eq!(login("127.0.0.9").0, 6);
}

/// A connection from another of this machine's addresses.
fn from(address: &str, server: &TestServer) -> TcpStream {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let descriptor = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    let local = std::net::SocketAddr::new(address.parse().expect("an address"), 0);
    bind(&descriptor, &local).expect("binds");
    connect(&descriptor, &server.address).expect("connects");
    let socket = TcpStream::from(descriptor);
    socket.set_read_timeout(Some(PATIENCE)).expect("sets");
    _ = socket.shutdown(Shutdown::Write);
    socket
}

/// The client shows alice's public key, is told that it would do, and signs with bob's.
#[test]
fn an_identity_that_was_only_offered_is_not_taken() {
    let server = TestServer::start();
    let alice = server.key("alice").with_extension("pub");
    let bob = server.add_key("bob");
    let shown = server.dir.path().join("shown.pub");
    std::fs::copy(&alice, &shown).expect("copies");
    let line = server.ssh_command("bob").replacen(
        &format!("-i {}", bob.display()),
        &format!("-i {} -i {}", shown.display(), bob.display()),
        1,
    );
    let line = line.replace("LogLevel=ERROR", "LogLevel=DEBUG1");
    let (code, said) = outcome(Command::new("sh").args(["-c", &format!("{line} git@127.0.0.1")]));
    assert!(
        said.contains("Server accepts key: ") && said.contains("shown.pub"),
        "{said}"
    );
    assert!(code == 0 && said.contains("hello bob"), "{said}");
}

/// Paramiko: a command with input, thirty one after the other, ten channels at a time and no more, no forwarding, no file transfer.
const CLIENT: &str = r#"
import paramiko, sys
address, port, key = sys.argv[1], int(sys.argv[2]), sys.argv[3]
client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
client.connect(address, port, "git", key_filename=key, allow_agent=False, look_for_keys=False)
stdin, stdout, stderr = client.exec_command("cat")
stdin.write("x" * 3_000_000); stdin.channel.shutdown_write()
assert len(stdout.read()) == 3_000_000 and stdout.channel.recv_exit_status() == 0
assert client.exec_command("status 7")[1].channel.recv_exit_status() == 7
def refused(act):
    try: act()
    except (paramiko.SSHException, EOFError): return True
transport = client.get_transport()
for n in range(30): assert client.exec_command(f"status {n}")[1].channel.recv_exit_status() == n
held = []
while not refused(lambda: held.append(transport.open_session())): assert len(held) < 12
assert len(held) == 10, len(held)
for channel in held: channel.close()
assert refused(lambda: transport.open_channel("direct-tcpip", ("127.0.0.1", 1), ("127.0.0.1", 1)))
assert refused(lambda: transport.request_port_forward("", 0))
assert refused(lambda: client.open_sftp())
print("fine")
"#;

#[test]
fn paramiko_is_served_as_openssh_is() {
    let server = TestServer::start();
    let Some(mut python) = tool("python") else {
        return;
    };
    let (key, port) = (server.key("alice"), server.address.port().to_string());
    let (_, said) = outcome(python.args(["-c", CLIENT, "127.0.0.1", &port]).arg(key));
    assert!(said.starts_with("fine\n"), "{said}");
}

/// It ends the connection when it hears of a status and of a signal; others that know only statuses get one.
const ASYNCSSH: &str = r#"
import asyncio, asyncssh, sys
async def main():
    address, port, key = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    async with asyncssh.connect(address, port, username="git", client_keys=[key], known_hosts=None) as client:
        ended = await client.run("terminated")
        assert ended.exit_signal[0] == "TERM", ended
        for n in range(3): assert (await client.run(f"status {n}")).exit_status == n
        assert (await client.run("cat", input="x" * 300_000)).stdout == "x" * 300_000
    print("fine")
asyncio.run(main())
"#;

#[test]
fn asyncssh_hears_of_one_end() {
    let server = TestServer::start();
    assert_eq!(outcome(&mut server.ssh(&[], &["terminated"])).0, 143);
    let Some(mut python) = tool("python") else {
        return;
    };
    let (key, port) = (server.key("alice"), server.address.port().to_string());
    let (_, said) = outcome(python.args(["-c", ASYNCSSH, "127.0.0.1", &port]).arg(key));
    assert!(said.starts_with("fine\n"), "{said}");
}

#[test]
fn an_auditor_finds_nothing() {
    let server = TestServer::start();
    let port = server.address.port().to_string();
    let Some(mut auditor) = tool("ssh-audit") else {
        return;
    };
    let audit = auditor
        .args(["-b", "-p", &port, "127.0.0.1"])
        .output()
        .expect("starts");
    let said = text(&audit.stdout);
    assert!(said.contains("(kex) mlkem768x25519-sha256"), "{said}");
    // Clients of before OpenSSH 9.9, still everywhere, have no other key exchange in common with us.
    let allowed = "does not provide protection against post-quantum attacks";
    for line in said.lines() {
        let wrong = line.contains("[warn]") || line.contains("[fail]");
        assert!(!wrong || line.contains(allowed), "{line}\n\n{said}");
    }
}
