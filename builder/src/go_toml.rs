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

/// A table below others, by its path: plain values first, each part by name.
pub(crate) fn table(text: &mut String, path: &[&str], table: &Table) {
    _ = writeln!(text, "{}[{}]", indent(path), dotted(path));
    fields(text, path, table);
}

fn list_of_tables(text: &mut String, path: &[&str], tables: &[Value]) {
    for table in tables.iter().filter_map(Value::as_table) {
        _ = writeln!(text, "\n{}[[{}]]", indent(path), dotted(path));
        fields(text, path, table);
    }
}

fn fields(text: &mut String, path: &[&str], table: &Table) {
    let (below, plain): (Vec<_>, Vec<_>) = sorted(table)
        .into_iter()
        .partition(|(_, value)| value.is_table() || is_list_of_tables(value));
    for (name, value) in plain {
        let indent = format!("{}  ", indent(path));
        field(text, &indent, &key(name), &inline(value));
    }
    for (name, value) in below {
        let path = [path, &[name]].concat();
        match value {
            Value::Table(table) => self::table(text, &path, table),
            Value::Array(tables) => list_of_tables(text, &path, tables),
            _ => {}
        }
    }
}

fn is_list_of_tables(value: &Value) -> bool {
    let list = value.as_array().filter(|list| !list.is_empty());
    list.is_some_and(|list| list.iter().all(Value::is_table))
}

fn indent(path: &[&str]) -> String {
    "  ".repeat(path.len().saturating_sub(1))
}

fn dotted(path: &[&str]) -> String {
    let keys: Vec<String> = path.iter().map(|name| key(name)).collect();
    keys.join(".")
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
