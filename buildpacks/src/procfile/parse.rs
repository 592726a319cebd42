//! The Procfile's lines: `type: command`, blank lines, and comments after `#` or `//`.

use libcnb::data::launch::ProcessType;

/// As the process type becomes part of host and instance names.
const TYPE_BYTES_MAX: usize = 63;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: ProcessType,
    pub(crate) command: String,
}

/// What is wrong with a Procfile, with the number of the line, from 1.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParseError {
    #[error("line {line} has no `type: command`: `{text}`")]
    NoColon { line: usize, text: String },
    #[error("line {line} is a mark of an unfinished merge: `{text}`")]
    MergeMark { line: usize, text: String },
    #[error("line {line}: `{kind}` is not a process type")]
    BadType { line: usize, kind: String },
    #[error("line {line}: `{kind}` has no command")]
    NoCommand { line: usize, kind: String },
    #[error("line {line} declares `{kind}` again, line {first} did before")]
    Twice {
        line: usize,
        first: usize,
        kind: String,
    },
    #[error("there is no process type in it")]
    Empty,
}

pub(crate) fn parse(text: &str) -> Result<Vec<Entry>, ParseError> {
    let mut found: Vec<(usize, Entry)> = Vec::new();
    for (index, text) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = index + 1;
        let Some(entry) = parse_line(line, text.trim())? else {
            continue;
        };
        if let Some((first, _)) = found.iter().find(|(_, other)| other.kind == entry.kind) {
            return Err(ParseError::Twice {
                line,
                first: *first,
                kind: entry.kind.to_string(),
            });
        }
        found.push((line, entry));
    }
    match found.is_empty() {
        true => Err(ParseError::Empty),
        false => Ok(found.into_iter().map(|(_, entry)| entry).collect()),
    }
}

fn parse_line(line: usize, text: &str) -> Result<Option<Entry>, ParseError> {
    if text.is_empty() || text.starts_with('#') || text.starts_with("//") {
        return Ok(None);
    }
    if ["<<<<<<<", "=======", ">>>>>>>", "|||||||"]
        .iter()
        .any(|mark| text.starts_with(mark))
    {
        return Err(ParseError::MergeMark {
            line,
            text: text.to_owned(),
        });
    }
    let (kind, command) = text.split_once(':').ok_or_else(|| ParseError::NoColon {
        line,
        text: text.to_owned(),
    })?;
    let (kind, command) = (kind.trim_end(), command.trim());
    if command.is_empty() {
        return Err(ParseError::NoCommand {
            line,
            kind: kind.to_owned(),
        });
    }
    Ok(Some(Entry {
        kind: process_type(line, kind)?,
        command: command.to_owned(),
    }))
}

fn process_type(line: usize, kind: &str) -> Result<ProcessType, ParseError> {
    let bad = || ParseError::BadType {
        line,
        kind: kind.to_owned(),
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if kind.is_empty() || kind.len() > TYPE_BYTES_MAX || !kind.bytes().all(plain) {
        return Err(bad());
    }
    kind.parse().map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str)]) {
        let entries = parse(text).expect("a Procfile");
        let found: Vec<(&str, &str)> = entries
            .iter()
            .map(|entry| (entry.kind.as_str(), entry.command.as_str()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn reads_types_and_commands() {
        check("web: node a.js", &[("web", "node a.js")]);
        check(
            "web:node a.js\r\nworker :  b \r\n",
            &[("web", "node a.js"), ("worker", "b")],
        );
        check(
            "# note\n\n// note\n  web: a:b # kept\n",
            &[("web", "a:b # kept")],
        );
        check("\u{feff}web: a", &[("web", "a")]);
        check(
            "release: echo \"a: b\"\nmy-web_2: c",
            &[("release", "echo \"a: b\""), ("my-web_2", "c")],
        );
    }

    #[track_caller]
    fn check_error(text: &str, expected: &str) {
        assert_eq!(
            parse(text).expect_err("not a Procfile").to_string(),
            expected
        );
    }

    #[test]
    fn a_bad_line_is_named() {
        check_error(
            "web: a\nnode b.js",
            "line 2 has no `type: command`: `node b.js`",
        );
        check_error("web:", "line 1: `web` has no command");
        check_error("\n: a", "line 2: `` is not a process type");
        check_error("we b: a", "line 1: `we b` is not a process type");
        check_error("wéb: a", "line 1: `wéb` is not a process type");
        check_error(
            "<<<<<<< HEAD\nweb: a",
            "line 1 is a mark of an unfinished merge: `<<<<<<< HEAD`",
        );
        check_error(
            "web: a\n\nweb: b",
            "line 3 declares `web` again, line 1 did before",
        );
        check_error("# nothing\n", "there is no process type in it");
        let long = "a".repeat(64);
        check_error(
            &format!("{long}: b"),
            &format!("line 1: `{long}` is not a process type"),
        );
    }
}
