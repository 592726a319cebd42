//! Command lines that no user types.

use std::process::Command;

use crate::common::{TestServer, outcome, tool};

/// Each is answered in words and with a status, and the connection serves the next.
const CLIENT: &str = r#"
import paramiko, sys
address, port, key = sys.argv[1], int(sys.argv[2]), sys.argv[3]
client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
client.connect(address, port, "git", key_filename=key, allow_agent=False, look_for_keys=False)
transport = client.get_transport()
def says(line):
    channel = transport.open_session()
    channel.exec_command(line)
    told = channel.makefile_stderr("rb").read().decode()
    return channel.recv_exit_status(), told
text = (64, " !     the command is not UTF-8 text\n")
for line in [b"status 0\0", b"\0", b"status \xff", b"git-receive-pack '\xc3\x28'", b"\xed\xa0\x80", b"status 0\x00; id"]:
    assert says(line) == text, (line, says(line))
long = (64, " !     the command is longer than 64 KiB\n")
for length in [(64 << 10) + 1, 200_000]:
    assert says(b"x" * length) == long, length
assert says(b"echo " + b"x " * 2000)[1] == " !     the command has more than 1024 words\n"
for line, why in [(b"echo 'x", "a '"), (b'echo "x', 'a "'), (b"echo x\\", "nothing after")]:
    status, told = says(line)
    assert status == 64 and why in told, (line, told)
for n in range(20): assert says(f"status {n}")[0] == n
print("fine")
"#;

/// What is more than any packet may hold ends the connection, and nothing else.
const LONGER: &str = r#"
import paramiko, sys
address, port, key = sys.argv[1], int(sys.argv[2]), sys.argv[3]
client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
client.connect(address, port, "git", key_filename=key, allow_agent=False, look_for_keys=False)
channel = client.get_transport().open_session()
try:
    channel.exec_command(b"x" * (1 << 20))
    print("answered", channel.recv_exit_status(), channel.makefile_stderr("rb").read())
except (paramiko.SSHException, EOFError, OSError) as error:
    print("cut", error)
"#;

fn python(server: &TestServer, script: &str) -> Option<(i32, String)> {
    let mut python = tool("python")?;
    let port = server.address.port().to_string();
    let client: &mut Command = python.args(["-c", script, "127.0.0.1", &port]);
    Some(outcome(client.arg(server.key("alice"))))
}

#[test]
fn lines_that_are_no_text_or_too_long_are_answered_in_words() {
    let server = TestServer::start();
    let Some((_, said)) = python(&server, CLIENT) else {
        return;
    };
    assert!(said.starts_with("fine\n"), "{said}");
}

#[test]
fn a_line_of_a_mebibyte_harms_nobody_else() {
    let server = TestServer::start();
    let (mut master, control) = server.master();
    let Some((status, said)) = python(&server, LONGER) else {
        return;
    };
    assert_eq!(status, 0, "{said}");
    assert_eq!(outcome(&mut server.ssh(&[&control], &["status", "7"])).0, 7);
    assert_eq!(outcome(&mut server.ssh(&[], &["status", "6"])).0, 6);
    master.kill().expect("is there");
    _ = master.wait();
}
