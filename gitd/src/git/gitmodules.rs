//! `.gitmodules`: names, paths and URLs that would run something, or write elsewhere, in a clone with submodules
//! (CVE-2018-11235, CVE-2018-17456, CVE-2020-5260 and their kin; fsck-msgids gitmodulesName, -Url, -Path, -Update).

/// git reads no larger file either (gitmodulesLarge).
pub(crate) const SIZE_MAX: usize = 1 << 20;

/// The first dangerous line, in words.
pub(crate) fn problem(text: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(text);
    let mut in_submodule = false;
    for line in logical_lines(&text) {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            let (header, rest) = header.rsplit_once(']').unwrap_or((header, ""));
            let (section, name) = section(header);
            in_submodule = section.eq_ignore_ascii_case("submodule");
            if in_submodule && !is_safe_name(&name) {
                return Some(format!(".gitmodules names a submodule `{name}`"));
            }
            if in_submodule && let Some(problem) = setting_problem(rest) {
                return Some(problem);
            }
        } else if in_submodule && let Some(problem) = setting_problem(line) {
            return Some(problem);
        }
    }
    None
}

/// A backslash at the end continues a line.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut continues = false;
    for line in text.lines() {
        let (part, more) = match line.strip_suffix('\\') {
            Some(part) => (part, true),
            None => (line, false),
        };
        match lines.last_mut() {
            Some(last) if continues => last.push_str(part),
            _ => lines.push(part.to_owned()),
        }
        continues = more;
    }
    lines
}

/// `submodule "name"`, or the old `submodule.name`.
fn section(header: &str) -> (&str, String) {
    if let Some((section, name)) = header.split_once('"') {
        return (
            section.trim(),
            unquote(name.trim_end().trim_end_matches('"')),
        );
    }
    match header.split_once('.') {
        Some((section, name)) => (section.trim(), name.trim().to_owned()),
        None => (header.trim(), String::new()),
    }
}

fn setting_problem(line: &str) -> Option<String> {
    let (key, value) = line.split_once('=')?;
    let value = value_of(value);
    let bad = match key.trim().to_ascii_lowercase().as_str() {
        "url" => !is_safe_url(&value),
        "path" => value.starts_with('-'),
        "update" => value.starts_with('!'),
        _ => false,
    };
    let key = key.trim();
    bad.then(|| format!(".gitmodules has the {key} `{}`", value.escape_debug()))
}

/// Without quotes, escapes and comments.
fn value_of(raw: &str) -> String {
    let mut quoted = false;
    let mut escaped = false;
    let end = raw.find(|c| {
        if escaped {
            escaped = false;
            return false;
        }
        match c {
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            '#' | ';' => return !quoted,
            _ => {}
        }
        false
    });
    unquote(raw[..end.unwrap_or(raw.len())].trim())
}

fn unquote(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {}
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('b') => out.push('\u{8}'),
                Some(other) => out.push(other),
                None => {}
            },
            other => out.push(other),
        }
    }
    out
}

/// The name becomes a folder under `.git/modules`.
fn is_safe_name(name: &str) -> bool {
    !name.is_empty() && !name.split(['/', '\\']).any(|part| part == "..")
}

/// A dash would be an option of the transport; a line break, also an encoded one, would inject into a credential helper.
fn is_safe_url(url: &str) -> bool {
    let lower = url.to_ascii_lowercase();
    let transport = lower.contains("::");
    let dash = url.starts_with('-')
        || lower
            .split_once("://")
            .is_some_and(|(_, host)| host.starts_with('-'));
    !dash && !transport && !lower.contains('\n') && !lower.contains("%0a")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_submodules_pass() {
        let text = b"# ours\n[submodule \"lib/one\"]\n\tpath = lib/one\n\turl = https://example.com/one.git ; -x\n\
            [submodule \"two\"]\n path = two\n url = ../two.git\n update = rebase\n[other \"..\"]\n url = -x\n";
        assert_eq!(problem(text), None);
        assert_eq!(problem(b""), None);
    }

    #[test]
    fn dangerous_ones_do_not() {
        let check = |text: &str| assert!(problem(text.as_bytes()).is_some(), "{text:?}");
        check("[submodule \"../x\"]\n path = a\n");
        check("[submodule \"a/../../b\"]\n");
        check("[submodule \"\"]\n");
        check("[submodule \"a\"]\n url = -u./payload\n");
        check("[submodule \"a\"]\n url = \"-u./payload\"\n");
        check("[submodule \"a\"]\n URL = \\\n-u./payload\n");
        check("[SubModule \"a\"] url = ssh://-oProxyCommand=x/y\n");
        check("[submodule \"a\"]\n url = https://host%0ahost2/x\n");
        check("[submodule \"a\"]\n url = \"https://host\\nhost2/x\"\n");
        check("[submodule \"a\"]\n url = ext::sh -c x\n");
        check("[submodule \"a\"]\n path = -x\n");
        check("[submodule \"a\"]\n update = !touch x\n");
    }

    proptest! {
        #[test]
        fn any_file_is_read_without_panic(text: Vec<u8>, lines in "(\\[submodule \"[^\n]{0,9}\n|[a-z]{0,4}=[^\n]{0,9}\n){0,9}") {
            _ = problem(&text);
            _ = problem(lines.as_bytes());
        }
    }
}
