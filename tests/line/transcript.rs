//! Shell sessions as text files: `$ ` before a command, `> ` before its further lines, then what it prints, and
//! `[exit 1]` when it fails. `[..]` stands for anything in a line, `...` alone for any lines, `$HTTP` and `$SSH` for the
//! server's ports. `# ` starts a comment between commands. Files to begin with follow after `-- path --` lines, as in
//! Go's txtar.

use std::{fs, path::Path};

use crate::server::Server;

/// Plays `transcripts/<name>.txt` on a server of its own; panics with the whole session when it reads differently.
pub(crate) fn play(name: &str) {
    play_on(&Server::start(), name);
}

pub(crate) fn play_on(server: &Server, name: &str) {
    let path = format!(
        "{}/tests/line/transcripts/{name}.txt",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let transcript = Transcript::parse(&text);
    for (path, content) in &transcript.files {
        write_below(&server.home(), path, content);
    }
    let mut session = String::new();
    for step in &transcript.steps {
        let seen = printed(server, &step.command);
        session.push_str(&format!("$ {}\n{seen}", step.command.replace('\n', "\n> ")));
        let expected = with_ports(server, &step.expected);
        let (expected, seen): (Vec<_>, Vec<_>) =
            (expected.lines().collect(), seen.lines().collect());
        assert!(
            lines_match(&expected, &seen),
            "{name}: the session so far:\n\n{session}\nwas expected to end with:\n\n{}\n",
            expected.join("\n")
        );
    }
}

/// What the command printed, with the last line that tells of a failure. The folder of the next command is this one's.
fn printed(server: &Server, command: &str) -> String {
    let line = format!(
        "cd \"$(cat ~/.cwd 2>/dev/null || echo ~)\"\n{command}\nstatus=$?\npwd > ~/.cwd\nexit $status"
    );
    let said = server.sh(&line);
    match said.status {
        0 => said.text,
        status => format!("{}[exit {status}]\n", said.text),
    }
}

fn with_ports(server: &Server, text: &str) -> String {
    text.replace("$HTTP", &server.http.port().to_string())
        .replace("$SSH", &server.ssh.port().to_string())
}

fn write_below(home: &Path, path: &str, content: &str) {
    let path = home.join(path);
    fs::create_dir_all(path.parent().expect("below home")).expect("the folder can be made");
    fs::write(path, content).expect("the file can be written");
}

#[derive(Debug, Default)]
struct Transcript {
    steps: Vec<Step>,
    files: Vec<(String, String)>,
}

#[derive(Debug, Default)]
struct Step {
    command: String,
    expected: String,
}

impl Transcript {
    fn parse(text: &str) -> Self {
        let mut transcript = Self::default();
        for line in text.lines() {
            if let Some(path) = line
                .strip_prefix("-- ")
                .and_then(|rest| rest.strip_suffix(" --"))
            {
                transcript.files.push((path.to_owned(), String::new()));
            } else if let Some((_, content)) = transcript.files.last_mut() {
                content.push_str(&format!("{line}\n"));
            } else if let Some(command) = line.strip_prefix("$ ") {
                transcript.steps.push(Step {
                    command: command.to_owned(),
                    expected: String::new(),
                });
            } else if let Some(step) = transcript.steps.last_mut() {
                step.add(line);
            }
        }
        transcript
    }
}

impl Step {
    /// A blank line before a comment or the next command only sets it apart.
    fn add(&mut self, line: &str) {
        if line.starts_with("# ") {
            return;
        }
        match line.strip_prefix("> ").filter(|_| self.expected.is_empty()) {
            Some(more) => self.command.push_str(&format!("\n{more}")),
            None => self.expected.push_str(&format!("{line}\n")),
        }
    }
}

/// Blank lines do not count, on either side.
fn lines_match(expected: &[&str], seen: &[&str]) -> bool {
    match (expected, seen) {
        ([], []) => true,
        (["", rest @ ..], _) => lines_match(rest, seen),
        (_, ["", rest @ ..]) => lines_match(expected, rest),
        (["...", rest @ ..], _) => (0..=seen.len()).any(|skip| lines_match(rest, &seen[skip..])),
        ([first, rest @ ..], [line, lines @ ..]) => {
            line_matches(first, line) && lines_match(rest, lines)
        }
        _ => false,
    }
}

fn line_matches(expected: &str, seen: &str) -> bool {
    let Some((start, rest)) = expected.split_once("[..]") else {
        return expected == seen;
    };
    let Some(seen) = seen.strip_prefix(start) else {
        return false;
    };
    seen.char_indices()
        .map(|(at, _)| at)
        .chain([seen.len()])
        .any(|at| line_matches(rest, &seen[at..]))
}

#[test]
fn wildcards_match_parts_of_lines_and_any_lines() {
    let check = |expected: &str, seen: &str, outcome| {
        let (expected, seen): (Vec<_>, Vec<_>) =
            (expected.lines().collect(), seen.lines().collect());
        assert_eq!(
            lines_match(&expected, &seen),
            outcome,
            "{expected:?} and {seen:?}"
        );
    };
    check("a\nb\n", "a\nb\n", true);
    check("a\nb\n", "a\nc\n", false);
    check("a\n", "a\nb\n", false);
    check("a\n...\n", "a\nb\nc\n", true);
    check("...\nc\n", "a\nb\nc\n", true);
    check("...\nb\n", "a\nb\nc\n", false);
    check("v[..] is [..]", "v12 is live", true);
    check("v[..] is live", "v12 is dead", false);
    check("a\n\n", "a\n", true);
}

#[test]
fn a_transcript_has_steps_and_files() {
    let transcript =
        Transcript::parse("# Title\n$ one\n> two\nout\n\n# more\n$ three\n-- a/b --\nx\n");
    assert_eq!(transcript.steps[0].command, "one\ntwo");
    assert_eq!(transcript.steps[0].expected, "out\n\n");
    assert_eq!(transcript.steps[1].command, "three");
    assert_eq!(transcript.files, [("a/b".to_owned(), "x\n".to_owned())]);
}
