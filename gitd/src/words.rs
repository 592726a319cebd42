//! A command line into words, quoted as for a shell, without a shell: nothing is expanded, nothing is run.

/// Longest command line.
pub(crate) const LINE_MAX: usize = 64 << 10;
const WORDS_MAX: usize = 1024;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    #[error("the command is longer than {} KiB", LINE_MAX >> 10)]
    TooLong,
    #[error("the command has more than {WORDS_MAX} words")]
    TooMany,
    #[error("the command is not UTF-8 text")]
    NotText,
    #[error("there is a {0} without its other half")]
    Unbalanced(char),
    #[error("there is nothing after the last backslash")]
    TrailingBackslash,
}

/// One word, and where in the line it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) text: String,
    pub(crate) start: usize,
}

/// `config:set A='x y' B="\"z\"" C=a\ b`: single quotes keep everything, double quotes everything but `\" \\ \$ \``.
pub(crate) fn split(line: &[u8]) -> Result<Vec<Word>, WordsError> {
    if line.len() > LINE_MAX {
        return Err(WordsError::TooLong);
    }
    let line = std::str::from_utf8(line).map_err(|_| WordsError::NotText)?;
    if line.contains('\0') {
        return Err(WordsError::NotText);
    }
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c.is_ascii_whitespace() {
            words.extend(word.take());
            if words.len() > WORDS_MAX {
                return Err(WordsError::TooMany);
            }
            continue;
        }
        let start = line.len() - chars.as_str().len() - c.len_utf8();
        let text = String::new();
        let word = &mut word.get_or_insert(Word { text, start }).text;
        match c {
            '\'' => single_quoted(&mut chars, word)?,
            '"' => double_quoted(&mut chars, word)?,
            '\\' => word.push(chars.next().ok_or(WordsError::TrailingBackslash)?),
            other => word.push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

fn single_quoted(chars: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), WordsError> {
    for c in chars {
        if c == '\'' {
            return Ok(());
        }
        word.push(c);
    }
    Err(WordsError::Unbalanced('\''))
}

fn double_quoted(chars: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), WordsError> {
    while let Some(c) = chars.next() {
        match c {
            '"' => return Ok(()),
            '\\' => match chars.next() {
                Some(c @ ('"' | '\\' | '$' | '`')) => word.push(c),
                Some(c) => word.extend(['\\', c]),
                None => break,
            },
            other => word.push(other),
        }
    }
    Err(WordsError::Unbalanced('"'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quoting_is_a_shells() {
        let check = |line: &str, words: &[&str]| {
            let split: Vec<Word> = split(line.as_bytes()).expect(line);
            let texts: Vec<&str> = split.iter().map(|word| word.text.as_str()).collect();
            assert_eq!(texts, words, "{line}")
        };
        check("", &[]);
        check(" apps \t list\n", &["apps", "list"]);
        check(
            "config:set A='x y' B=\"$z\" C=a\\ b",
            &["config:set", "A=x y", "B=$z", "C=a b"],
        );
        check(r"'it'\''s' ''", &["it's", ""]);
        check(r#""a\"b\\c\$d\`e\nf""#, &["a\"b\\c$d`e\\nf"]);
        check(
            "$(reboot) `reboot` ; > x * ~ #",
            &["$(reboot)", "`reboot`", ";", ">", "x", "*", "~", "#"],
        );
        check("git-receive-pack '/a'\\''b'", &["git-receive-pack", "/a'b"]);
    }

    #[test]
    fn half_a_quote_is_an_error() {
        let check = |line: &str, error| assert_eq!(split(line.as_bytes()), Err(error), "{line}");
        check("a 'b", WordsError::Unbalanced('\''));
        check("a \"b", WordsError::Unbalanced('"'));
        check("a \"b\\", WordsError::Unbalanced('"'));
        check("a \\", WordsError::TrailingBackslash);
        check(&"x".repeat(LINE_MAX + 1), WordsError::TooLong);
        check(&"x ".repeat(WORDS_MAX + 2), WordsError::TooMany);
        check("a\0b", WordsError::NotText);
        assert_eq!(split(b"\xff"), Err(WordsError::NotText));
    }

    proptest! {
        #[test]
        fn any_line_is_split_or_refused(line: Vec<u8>) {
            _ = split(&line);
        }

        #[test]
        fn a_quoted_word_comes_back(word in "[^\0]{0,40}") {
            let quoted = format!("'{}'", word.replace('\'', r"'\''"));
            let expected = Word { text: word, start: 0 };
            prop_assert_eq!(split(quoted.as_bytes()), Ok(vec![expected]));
        }
    }
}
