//! TOML in the layout of the Go lifecycle's encoder, for files that become layers.

use std::fmt::Write as _;

use toml::{Table, Value};

/// The header of one entry of a list of tables.
pub(crate) fn block(text: &mut String, name: &str) {
    let gap = if text.is_empty() { "" } else { "\n" };
    _ = writeln!(text, "{gap}[[{name}]]");
}

/// `value` is TOML.
pub(crate) fn field(text: &mut String, indent: &str, name: &str, value: &str) {
    _ = writeln!(text, "{indent}{name} = {value}");
}

pub(crate) fn list(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
    format!("[{}]", words.join(", "))
}

/// A basic string.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for char in text.chars() {
        match char {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            char if char.is_control() => _ = write!(quoted, "\\u{:04x}", u32::from(char)),
            char => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

/// A table below others, by its whole name: plain values first, each part by name.
pub(crate) fn table(text: &mut String, name: &str, table: &Table) {
    let indent = "  ".repeat(name.matches('.').count());
    _ = writeln!(text, "{indent}[{name}]");
    let (tables, plain): (Vec<_>, Vec<_>) = sorted(table)
        .into_iter()
        .partition(|(_, value)| value.is_table());
    for (name, value) in plain {
        field(text, &format!("{indent}  "), &key(name), &inline(value));
    }
    for (below, value) in tables {
        if let Value::Table(value) = value {
            self::table(text, &format!("{name}.{}", key(below)), value);
        }
    }
}

fn sorted(table: &Table) -> Vec<(&String, &Value)> {
    let mut pairs: Vec<_> = table.iter().collect();
    pairs.sort_by_key(|(name, _)| *name);
    pairs
}

fn key(name: &str) -> String {
    let is_bare = |char: char| char.is_ascii_alphanumeric() || char == '-' || char == '_';
    match !name.is_empty() && name.chars().all(is_bare) {
        true => name.to_owned(),
        false => quote(name),
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => quote(text),
        Value::Array(values) => {
            let values: Vec<String> = values.iter().map(inline).collect();
            format!("[{}]", values.join(", "))
        }
        Value::Table(table) => {
            let pairs = sorted(table)
                .into_iter()
                .map(|(name, value)| format!("{} = {}", key(name), inline(value)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        }
        plain => plain.to_string(),
    }
}
