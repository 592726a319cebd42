//! What follows the app in `run APP ...` is a line for a shell in the instance, as what follows the host in `ssh HOST ...`
//! is one for a shell on the host: `ssh git@host run shop 'cat; exit 7'` and `... run shop echo '$HOME'` do what they say,
//! although ssh takes one level of quotes away. A client that quotes each word by itself sends the line as one quoted word,
//! which is unquoted once.

use crate::words::Word;

const VERBS: &[&str] = &["run", "run:detached"];
/// Those whose command stands behind a `--`.
const VERBS_WITH_DASHES: &[&str] = &["ps:exec", "enter", "builds:debug"];
/// Options whose value is the next word.
const TAKES_VALUE: &[&str] = &["-a", "--app", "-e", "--env", "--timeout"];

/// The words of a line; of a command that runs something, everything from its command on is one word behind a `--`.
pub(crate) fn words(line: &str, words: Vec<Word>) -> Vec<String> {
    let texts = |words: &[Word]| words.iter().map(|word| word.text.clone()).collect();
    let verb = words.first().map_or("", |verb| verb.text.as_str());
    let at = if VERBS.contains(&verb) {
        command_at(&words)
    } else if VERBS_WITH_DASHES.contains(&verb) {
        behind_dashes(&words)
    } else {
        None
    };
    let Some(at) = at else {
        return texts(&words);
    };
    let mut all: Vec<String> = texts(&words[..at]);
    if all.last().is_none_or(|word| word != "--") {
        all.push("--".to_owned());
    }
    all.push(match &words[at..] {
        [whole] => whole.text.clone(),
        _ => line[words[at].start..].trim_end().to_owned(),
    });
    all
}

fn behind_dashes(words: &[Word]) -> Option<usize> {
    let at = words.iter().position(|word| word.text == "--")? + 1;
    words.get(at).map(|_| at)
}

/// The first word that is neither an option, nor the value of one, nor the app.
fn command_at(words: &[Word]) -> Option<usize> {
    let mut app_named = false;
    let mut at = 1;
    while let Some(word) = words.get(at) {
        match word.text.as_str() {
            "--" => return words.get(at + 1).map(|_| at + 1),
            option if TAKES_VALUE.contains(&option) => {
                app_named |= option == "-a" || option == "--app";
                at += 1;
            }
            option if option.starts_with('-') => app_named |= option.starts_with("--app="),
            _ if app_named => return Some(at),
            _ => app_named = true,
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::words::split;

    #[track_caller]
    fn check(line: &str, expected: &[&str]) {
        let words = super::words(line, split(line.as_bytes()).unwrap());
        assert_eq!(words, expected, "{line}");
    }

    #[test]
    fn the_command_is_a_line_as_it_was_written() {
        check("run shop env", &["run", "shop", "--", "env"]);
        check(
            "run shop cat; exit 7",
            &["run", "shop", "--", "cat; exit 7"],
        );
        check(
            "run shop -- cat; exit 7",
            &["run", "shop", "--", "cat; exit 7"],
        );
        check(
            "run shop echo \"$HOME\"  'a  b' | wc -c ",
            &["run", "shop", "--", "echo \"$HOME\"  'a  b' | wc -c"],
        );
        check(
            "run shop ls --app x -e",
            &["run", "shop", "--", "ls --app x -e"],
        );
    }

    #[test]
    fn one_quoted_word_is_unquoted_once() {
        check(
            "run shop 'cat; exit 7'",
            &["run", "shop", "--", "cat; exit 7"],
        );
        check("'run' 'shop' '--' 'a b'", &["run", "shop", "--", "a b"]);
        check(
            "'run' 'shop' 'echo' 'a b'",
            &["run", "shop", "--", "'echo' 'a b'"],
        );
    }

    #[test]
    fn options_come_before_the_command() {
        check(
            "run -a shop env -a x",
            &["run", "-a", "shop", "--", "env -a x"],
        );
        check("run --app=shop env", &["run", "--app=shop", "--", "env"]);
        check(
            "run:detached -e A='1 2' shop --timeout 5m a b",
            &[
                "run:detached",
                "-e",
                "A=1 2",
                "shop",
                "--timeout",
                "5m",
                "--",
                "a b",
            ],
        );
        check(
            "run shop --no-tty bash",
            &["run", "shop", "--no-tty", "--", "bash"],
        );
    }

    #[test]
    fn behind_dashes_only_where_a_command_may_be_absent() {
        check(
            "ps:exec shop web.1 -- ls | wc -l",
            &["ps:exec", "shop", "web.1", "--", "ls | wc -l"],
        );
        check(
            "enter shop web.1 printenv DYNO",
            &["enter", "shop", "web.1", "printenv", "DYNO"],
        );
        check("ps:exec shop --", &["ps:exec", "shop", "--"]);
    }

    #[test]
    fn everything_else_is_left_alone() {
        check("", &[]);
        check("run", &["run"]);
        check("run shop", &["run", "shop"]);
        check("run shop --", &["run", "shop", "--"]);
        check("run --help", &["run", "--help"]);
        check("ps:scale shop web=1", &["ps:scale", "shop", "web=1"]);
    }
}
