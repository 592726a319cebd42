//! `.env` files: one `NAME=value` a line, quoted as a shell would, expanded never.
//!
//! Read: blank lines and `# comments` are skipped, `export ` may come first. In single quotes everything stands for
//! itself; in double quotes `\n`, `\r`, `\t`, `\"`, `\\`, `\$` and `` \` `` are escapes; both may go over several lines.
//! Without quotes a value ends at ` #` or with the line, and blanks around it do not count.

use std::{collections::BTreeMap, iter::Peekable, str::Chars};

use release::ConfigName;

pub(crate) type Vars = BTreeMap<ConfigName, String>;

/// Names the line and never what is on it: it might be a secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DotenvError {
    #[error("line {0} is no `NAME=value`")]
    NoAssignment(usize),
    #[error("line {0} sets a name that no config var can have, or that the platform sets")]
    Name(usize),
    #[error("line {0} opens a quote that nothing closes")]
    Unclosed(usize),
    #[error("line {0} goes on after its closing quote")]
    AfterQuote(usize),
}

pub(crate) fn parse(text: &str) -> Result<Vars, DotenvError> {
    let mut vars = Vars::new();
    let mut input = Input {
        chars: text
            .strip_prefix('\u{feff}')
            .unwrap_or(text)
            .chars()
            .peekable(),
        line: 1,
    };
    while let Some(name) = input.name()? {
        let value = input.value()?;
        // As in a shell, the last one counts.
        vars.insert(name, value);
    }
    Ok(vars)
}

/// As `parse` reads it back, and a shell, too.
pub(crate) fn format<'a>(vars: impl IntoIterator<Item = (&'a ConfigName, &'a str)>) -> String {
    vars.into_iter()
        .map(|(name, value)| format!("{name}={}\n", quoted(value)))
        .collect()
}

fn quoted(value: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+,=".contains(c);
    if value.chars().all(is_plain) {
        return value.to_owned();
    }
    if !value.contains('\'') {
        return format!("'{value}'");
    }
    let mut text = String::from("\"");
    for c in value.chars() {
        match c {
            '"' | '\\' | '$' | '`' => text.extend(['\\', c]),
            other => text.push(other),
        }
    }
    text.push('"');
    text
}

struct Input<'a> {
    chars: Peekable<Chars<'a>>,
    line: usize,
}

impl Input<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.chars.next()?;
        self.line += usize::from(c == '\n');
        Some(c)
    }

    /// Up to and with the `=`. `None` at the end.
    fn name(&mut self) -> Result<Option<ConfigName>, DotenvError> {
        while self.chars.peek().is_some_and(|c| c.is_whitespace()) {
            self.next();
        }
        match self.chars.peek() {
            None => return Ok(None),
            Some('#') => {
                self.rest_of_line();
                return self.name();
            }
            Some(_) => {}
        }
        let line = self.line;
        let mut text = String::new();
        loop {
            match self.chars.next_if(|c| *c != '\n') {
                Some('=') => break,
                Some(c) => text.push(c),
                None => return Err(DotenvError::NoAssignment(line)),
            }
        }
        let text = text.trim();
        let text = text.strip_prefix("export ").unwrap_or(text).trim();
        let name = text.parse().map_err(|_| DotenvError::Name(line));
        name.map(Some)
    }

    fn value(&mut self) -> Result<String, DotenvError> {
        while self.chars.next_if(|c| matches!(c, ' ' | '\t')).is_some() {}
        match self.chars.peek() {
            Some(&quote @ ('\'' | '"')) => {
                self.next();
                let value = self.until_quote(quote)?;
                let line = self.line;
                let rest = self.rest_of_line();
                let rest = rest.trim();
                if rest.is_empty() || rest.starts_with('#') {
                    Ok(value)
                } else {
                    Err(DotenvError::AfterQuote(line))
                }
            }
            _ => {
                let rest = self.rest_of_line();
                let end = rest
                    .char_indices()
                    .find(|&(at, c)| c == '#' && (at == 0 || rest[..at].ends_with([' ', '\t'])))
                    .map_or(rest.len(), |(at, _)| at);
                Ok(rest[..end].trim().to_owned())
            }
        }
    }

    fn until_quote(&mut self, quote: char) -> Result<String, DotenvError> {
        let line = self.line;
        let mut value = String::new();
        loop {
            let c = self.next().ok_or(DotenvError::Unclosed(line))?;
            match c {
                c if c == quote => return Ok(value),
                '\\' if quote == '"' => match self.next().ok_or(DotenvError::Unclosed(line))? {
                    'n' => value.push('\n'),
                    'r' => value.push('\r'),
                    't' => value.push('\t'),
                    c @ ('"' | '\\' | '$' | '`') => value.push(c),
                    other => value.extend(['\\', other]),
                },
                other => value.push(other),
            }
        }
    }

    fn rest_of_line(&mut self) -> String {
        let mut rest = String::new();
        while let Some(c) = self.next() {
            if c == '\n' {
                break;
            }
            rest.push(c);
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str)]) {
        let vars = parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        let vars: Vec<_> = vars
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(vars, expected, "{text:?}");
    }

    #[test]
    fn values_are_quoted_as_in_a_shell_and_never_expanded() {
        check("", &[]);
        check("\n  \n# A=1\n", &[]);
        check("A=1", &[("A", "1")]);
        check("\u{feff}A=1\r\nB=2\r\n", &[("A", "1"), ("B", "2")]);
        check("export A=1\n export  B = 2 \n", &[("A", "1"), ("B", "2")]);
        check("A=\nB=''\nC=\"\"\n", &[("A", ""), ("B", ""), ("C", "")]);
        check(
            "A=a b # c\nB=a#b\nC= # c\n",
            &[("A", "a b"), ("B", "a#b"), ("C", "")],
        );
        check("A='a # \\n $B' # c\n", &[("A", "a # \\n $B")]);
        check(
            r#"A="a \"b\" \\ \n \$C $D""#,
            &[("A", "a \"b\" \\ \n $C $D")],
        );
        check("A='1\n2'\nB=\"3\n4\"\n", &[("A", "1\n2"), ("B", "3\n4")]);
        check(
            "A=postgres://u:p@h/d?a=b\n",
            &[("A", "postgres://u:p@h/d?a=b")],
        );
        check("A=it's\n", &[("A", "it's")]);
        check("A=1\nA=2\n", &[("A", "2")]);
    }

    #[test]
    fn an_error_names_the_line_and_not_what_is_on_it() {
        let check = |text: &str, words: &str| {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(words), "{text:?}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
        };
        check("A=1\ns3cret\n", "line 2 is no `NAME=value`");
        check("\n\nA='s3cret\n", "line 3 opens a quote");
        check("A=\"s3cret\\", "line 1 opens a quote");
        check("A='1'\nB='2' s3cret\n", "line 2 goes on");
        check("A='x\ny'\nPORT=s3cret\n", "line 3 sets a name");
        check("s3cret+/=", "line 1 sets a name");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text: String) {
            _ = parse(&text);
        }

        #[test]
        fn what_is_written_is_read_back(value in "[^\0]{0,40}", other in "[ -~\n\r\t]{0,40}") {
            let vars = Vars::from([("A".parse().unwrap(), value), ("B".parse().unwrap(), other)]);
            let text = format(vars.iter().map(|(name, value)| (name, value.as_str())));
            prop_assert_eq!(parse(&text), Ok(vars));
        }
    }

    #[test]
    fn a_shell_reads_the_same() {
        let values = ["", "a b", "it's", "$HOME `id` \\ \"", "1\n2\t'3'", "ä#!"];
        for value in values {
            let vars = Vars::from([("A".parse().unwrap(), value.to_owned())]);
            let text = format(vars.iter().map(|(name, value)| (name, value.as_str())));
            let output = std::process::Command::new("bash")
                .args(["-c", &format!("{text}printf %s \"$A\"")])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), value, "{text}");
        }
    }
}
