//! Commands with words that nobody means: every one of them is answered with a clear error and a status, and the server
//! goes on.

use std::fmt::Write as _;

use crate::server::Server;

/// Longest app name.
const NAME_MAX: usize = 30;

/// What follows a command, as bash writes it: wrong, whatever the command.
const ODD: &[&str] = &[
    "--nonsense",
    "-a",
    "--app=",
    "--app",
    "-a one -a two",
    "\"''\"",
    "-- --",
    "\"'a b' 'c\"",
    "\"'\"",
    "\"\\\"half\"",
    "'\\'",
    "$'\\xff\\xfe'",
    "$'a\\x1b[31m\\r'",
    "nobody --json --json",
    "$MANY",
    "$LARGE",
];

/// Names that no app has. People may be called anything.
const NO_APPS: &[&str] = &["UPPER", "../../etc/passwd", "shöp", "$LONG"];

#[test]
fn odd_words_are_refused_in_words() {
    let server = Server::start();
    let names = server.ssh("completion bash --name s").ok();
    let names: Vec<&str> = names
        .split(|c: char| !c.is_ascii_lowercase() && c != ':')
        .collect();
    let shown = server.ssh("help").ok();
    let commands: Vec<&str> = shown
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty() && names.contains(name))
        .collect();
    assert!(commands.len() > 40, "{shown}");
    let mut script = String::from(
        "S=\"ssh -o ControlMaster=auto -o ControlPersist=60 -o ControlPath=$HOME/mux slipway\"
LONG=$(printf 'a%.0s' {1..64}); MANY=$(seq -s ' ' 2000); LARGE=$(printf 'b%.0s' {1..120000})
try() { said=$($S \"$@\" 2>&1 < /dev/null); echo \"[$? $WHAT] ${said//[[:cntrl:]]/|}\" | cut -c1-600; }
",
    );
    for (number, command) in commands.iter().enumerate() {
        // Every command with some of them, every one of them with many commands.
        let topic = command.split(':').next().unwrap_or_default();
        let names = match ["users", "teams", "ca"].contains(&topic) {
            true => [].iter(),
            false => NO_APPS.iter(),
        };
        for (at, odd) in ODD.iter().chain(names).enumerate() {
            if (number + at) % 8 == 0 {
                _ = writeln!(script, "WHAT='{command} #{at}'; try {command} {odd}");
            }
        }
    }
    script.push_str("ssh -o ControlPath=$HOME/mux -O exit slipway 2> /dev/null\n");
    let said = server.sh(&script);
    let answers: Vec<&str> = said
        .text
        .lines()
        .filter(|line| line.starts_with('['))
        .collect();
    assert!(answers.len() > 100, "{}", said.text);
    for answer in answers {
        let refused = answer.starts_with("[64 ") || answer.starts_with("[1 ");
        assert!(refused && answer.contains("]  !     "), "{answer}");
        for word in ["panic", "RUST_BACKTRACE", "Some(", "Err(", "/home"] {
            assert!(!answer.contains(word), "{answer}");
        }
    }
    assert_eq!(server.narration().matches("panicked").count(), 0);
    server.ssh("apps").ok();
}

#[test]
fn names_have_a_length_and_a_form() {
    let server = Server::start();
    let longest = "a".repeat(NAME_MAX);
    server.ssh(&format!("apps:create {longest}")).ok();
    for name in [
        "a".repeat(NAME_MAX + 1),
        "-a".into(),
        "a-".into(),
        "1a".into(),
        "a_b".into(),
        "a.b".into(),
    ] {
        let said = server.ssh(&format!("apps:create -a {name}"));
        assert!([1, 64].contains(&said.status), "{name}: {}", said.text);
        assert!(said.text.starts_with(" !     "), "{name}: {}", said.text);
    }
    let said = server.ssh("apps:info apple").fails(1);
    assert!(said.contains("there is no app `apple`"), "{said}");
    server.ssh("apps:create apples").ok();
    let said = server.ssh("ps:scale aples web=1").fails(1);
    assert!(said.contains("Did you mean `apples`?"), "{said}");
    let said = server.ssh("ps:scale -a apples web=1 --jsn").fails(64);
    assert!(said.contains("--jsn"), "{said}");
    let said = server.ssh("logs apples --tial").fails(64);
    assert!(said.contains("--tail"), "{said}");
}
