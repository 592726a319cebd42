//! One tar header as Go's archive/tar writes it: USTAR where everything fits, a PAX record before it otherwise.

use super::{BLOCK, MTIME, Owner};

const NAME_MAX: usize = 100;
const PREFIX_MAX: usize = 155;
/// Seven octal digits.
const OCTAL7_MAX: u64 = 0o7_777_777;
/// Eleven octal digits: 8 GiB.
const OCTAL11_MAX: u64 = 0o77_777_777_777;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Symlink,
    CharDevice((u32, u32)),
    BlockDevice((u32, u32)),
    Directory,
    Fifo,
}

impl Kind {
    /// The header's type flag.
    pub(super) fn flag(self) -> u8 {
        match self {
            Self::File => b'0',
            Self::Symlink => b'2',
            Self::CharDevice(_) => b'3',
            Self::BlockDevice(_) => b'4',
            Self::Directory => b'5',
            Self::Fifo => b'6',
        }
    }
}

pub(super) struct Entry<'a> {
    pub(super) name: &'a str,
    pub(super) mode: u32,
    pub(super) size: u64,
    pub(super) kind: Kind,
    pub(super) link: Option<&'a str>,
    pub(super) owner: Owner,
}

pub(super) fn encode(entry: &Entry<'_>) -> Vec<u8> {
    let link = entry.link.unwrap_or_default();
    let split = split_name(entry.name);
    let mut records: Vec<(&str, String)> = Vec::new();
    let long = |name: &str| name.len() > NAME_MAX || !name.is_ascii();
    if u64::from(entry.owner.gid) > OCTAL7_MAX {
        records.push(("gid", entry.owner.gid.to_string()));
    }
    if long(link) {
        records.push(("linkpath", link.to_owned()));
    }
    let too_long_for_name = long(entry.name);
    if too_long_for_name && split.is_none() {
        records.push(("path", entry.name.to_owned()));
    }
    if entry.size > OCTAL11_MAX {
        records.push(("size", entry.size.to_string()));
    }
    if u64::from(entry.owner.uid) > OCTAL7_MAX {
        records.push(("uid", entry.owner.uid.to_string()));
    }
    if records.is_empty() {
        let (prefix, name) = split.unwrap_or(("", entry.name));
        return ustar(entry, prefix, name, link).to_vec();
    }
    // In PAX the prefix field is not used, so a name that needed it becomes a record too.
    if too_long_for_name && !records.iter().any(|(key, _)| *key == "path") {
        records.push(("path", entry.name.to_owned()));
    }
    records.sort();
    let mut bytes = pax(entry.name, &records);
    bytes.extend(ustar(entry, "", &cut(entry.name), &cut(link)));
    bytes
}

/// At the last slash that leaves a prefix of at most 155 bytes and a name of at most 100. `None`: does not fit, or need not.
fn split_name(name: &str) -> Option<(&str, &str)> {
    if name.len() <= NAME_MAX || !name.is_ascii() {
        return None;
    }
    let head = &name[..name.len().min(PREFIX_MAX + 1)];
    let at = head.rfind('/')?;
    let (prefix, rest) = (&name[..at], &name[at + 1..]);
    let fits = !prefix.is_empty()
        && !rest.is_empty()
        && rest.len() <= NAME_MAX
        && prefix.len() <= PREFIX_MAX;
    fits.then_some((prefix, rest))
}

/// What a PAX entry's own header says instead of a name that does not fit. Like Go, without a slash where it was cut.
fn cut(name: &str) -> String {
    let name = ascii(name);
    if name.len() <= NAME_MAX {
        return name;
    }
    name[..NAME_MAX].trim_end_matches('/').to_owned()
}

fn ascii(text: &str) -> String {
    text.chars().filter(char::is_ascii).collect()
}

fn ustar(entry: &Entry<'_>, prefix: &str, name: &str, link: &str) -> [u8; BLOCK] {
    let (major, minor) = match entry.kind {
        Kind::CharDevice(device) | Kind::BlockDevice(device) => device,
        Kind::File | Kind::Symlink | Kind::Directory | Kind::Fifo => (0, 0),
    };
    let fits = |value: u64, max| if value > max { 0 } else { value };
    let mut block = [0; BLOCK];
    text(&mut block[0..100], name);
    octal(&mut block[100..108], u64::from(entry.mode));
    octal(
        &mut block[108..116],
        fits(entry.owner.uid.into(), OCTAL7_MAX),
    );
    octal(
        &mut block[116..124],
        fits(entry.owner.gid.into(), OCTAL7_MAX),
    );
    octal(&mut block[124..136], fits(entry.size, OCTAL11_MAX));
    octal(&mut block[136..148], MTIME);
    block[156] = entry.kind.flag();
    text(&mut block[157..257], link);
    text(&mut block[257..265], "ustar\x0000");
    octal(&mut block[329..337], major.into());
    octal(&mut block[337..345], minor.into());
    text(&mut block[345..500], prefix);
    checksum(&mut block);
    block
}

/// The `x` header and its records, `<length> key=value\n`, where the length counts itself.
fn pax(name: &str, records: &[(&str, String)]) -> Vec<u8> {
    let body: String = records
        .iter()
        .map(|(key, value)| record(key, value))
        .collect();
    let (dir, base) = name.rsplit_once('/').unwrap_or(("", name));
    let own = format!("{dir}/PaxHeaders.0/{base}");
    let own = ascii(&own);
    let own = own[..own.len().min(NAME_MAX)].trim_end_matches('/');
    let mut block = [0; BLOCK];
    text(&mut block[0..100], own);
    octal(&mut block[100..108], 0);
    octal(&mut block[108..116], 0);
    octal(&mut block[116..124], 0);
    octal(&mut block[124..136], body.len() as u64);
    octal(&mut block[136..148], 0);
    block[156] = b'x';
    text(&mut block[257..265], "ustar\x0000");
    checksum(&mut block);
    let mut bytes = block.to_vec();
    bytes.extend_from_slice(body.as_bytes());
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

fn record(key: &str, value: &str) -> String {
    // Space, `=` and newline, and the digits of the length, which may add one more.
    let base = key.len() + value.len() + 3;
    let mut length = base + base.to_string().len();
    if length.to_string().len() != base.to_string().len() {
        length = base + length.to_string().len();
    }
    format!("{length} {key}={value}\n")
}

fn text(field: &mut [u8], text: &str) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text.as_bytes()[..length]);
}

fn octal(field: &mut [u8], value: u64) {
    let width = field.len() - 1;
    text(field, &format!("{value:0width$o}"));
}

/// Six digits, NUL, space; counted with the field itself as spaces.
fn checksum(block: &mut [u8; BLOCK]) {
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    text(&mut block[148..155], &format!("{sum:06o}\0"));
}
