//! What a push asks for: refs to create, move or delete, and how.

use std::fmt;

use gix_hash::ObjectId;

/// Commands of one push: a mirror of a large project has thousands of tags.
const UPDATES_MAX: usize = 10_000;
/// The names of all refs of one push.
const NAMES_BYTES_MAX: usize = 4 << 20;
const OPTIONS_MAX: usize = 32;
const OPTION_MAX: usize = 1024;
/// Boundaries of a shallow clone.
const SHALLOW_MAX: usize = 10_000;
const ID_HEX: usize = 40;

/// One ref.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefUpdate {
    /// Full name, as `refs/heads/main`.
    pub name: String,
    /// Where the pusher saw it; `None`: nowhere.
    pub old: Option<ObjectId>,
    /// `None` deletes it.
    pub new: Option<ObjectId>,
}

/// What the client can and wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Capabilities {
    pub(crate) report_status: bool,
    pub(crate) report_status_v2: bool,
    pub(crate) side_band: bool,
    pub(crate) quiet: bool,
    pub(crate) atomic: bool,
    pub(crate) push_options: bool,
}

/// The lines before the pack.
#[derive(Debug, Default)]
pub(crate) struct Updates {
    pub(crate) list: Vec<RefUpdate>,
    pub(crate) capabilities: Capabilities,
    /// Commits of which the client has no parents.
    pub(crate) shallow: Vec<ObjectId>,
    /// What the push has too much of: it is refused, when it has been read.
    pub(crate) excess: Option<Excess>,
    names_bytes: usize,
}

/// The protocol has no answer before the pack has come, so that this is no error while the lines are read.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Excess {
    #[error(
        "more than {UPDATES_MAX} refs in one push, or names of more than 4 MiB; push them in parts"
    )]
    Refs,
    #[error("more than {SHALLOW_MAX} shallow boundaries; fetch more of the history")]
    Shallow,
    #[error("more than {OPTIONS_MAX} push options")]
    Options,
    #[error("a push option has {0} bytes, more than {OPTION_MAX}")]
    Option(usize),
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum UpdateError {
    #[error("`{0}` is not a command of the push protocol")]
    Malformed(String),
    #[error("object format `{0}` is not supported, only sha1")]
    ObjectFormat(String),
}

impl Updates {
    /// Takes one line, without its newline.
    pub(crate) fn line(&mut self, line: &[u8]) -> Result<(), UpdateError> {
        if let Some(id) = line.strip_prefix(b"shallow ") {
            let id = parse_id(id).ok_or_else(|| malformed(line))?;
            match self.shallow.len() < SHALLOW_MAX {
                true => self.shallow.push(id),
                false => self.excess = Some(Excess::Shallow),
            }
            return Ok(());
        }
        // Capabilities follow the first command.
        let (command, capabilities) = match line.iter().position(|&byte| byte == 0) {
            Some(at) if self.list.is_empty() => (&line[..at], &line[at + 1..]),
            _ => (line, &line[line.len()..]),
        };
        let update = parse_command(command)?;
        self.names_bytes += update.name.len();
        if self.list.len() == UPDATES_MAX || self.names_bytes > NAMES_BYTES_MAX {
            self.excess = Some(Excess::Refs);
            return Ok(());
        }
        self.list.push(update);
        for word in String::from_utf8_lossy(capabilities).split_ascii_whitespace() {
            self.capabilities.take(word)?;
        }
        Ok(())
    }

    /// Takes one push option more.
    pub(crate) fn option(&mut self, line: &[u8], options: &mut Vec<String>) {
        if line.len() > OPTION_MAX {
            self.excess = Some(Excess::Option(line.len()));
        } else if options.len() == OPTIONS_MAX {
            self.excess = Some(Excess::Options);
        } else {
            options.push(printable(line));
        }
    }

    pub(crate) fn need_pack(&self) -> bool {
        self.list.iter().any(|update| update.new.is_some())
    }
}

impl Capabilities {
    fn take(&mut self, word: &str) -> Result<(), UpdateError> {
        match word {
            "report-status" => self.report_status = true,
            "report-status-v2" => self.report_status_v2 = true,
            "side-band-64k" => self.side_band = true,
            "quiet" => self.quiet = true,
            "atomic" => self.atomic = true,
            "push-options" => self.push_options = true,
            _ => match word.strip_prefix("object-format=") {
                Some(format) if format != "sha1" => {
                    return Err(UpdateError::ObjectFormat(printable(format.as_bytes())));
                }
                _ => {}
            },
        }
        Ok(())
    }
}

fn parse_command(command: &[u8]) -> Result<RefUpdate, UpdateError> {
    let (old, new, name) = fields(command).ok_or_else(|| malformed(command))?;
    let present = |id: ObjectId| (!id.is_null()).then_some(id);
    Ok(RefUpdate {
        name: name.to_owned(),
        old: present(old),
        new: present(new),
    })
}

/// `<old> SP <new> SP <name>`
fn fields(command: &[u8]) -> Option<(ObjectId, ObjectId, &str)> {
    let (old, rest) = command.split_at_checked(ID_HEX)?;
    let (new, name) = rest.strip_prefix(b" ")?.split_at_checked(ID_HEX)?;
    let name = std::str::from_utf8(name.strip_prefix(b" ")?).ok()?;
    let name = (!name.contains(char::is_control)).then_some(name)?;
    Some((parse_id(old)?, parse_id(new)?, name))
}

fn parse_id(hex: &[u8]) -> Option<ObjectId> {
    (hex.len() == ID_HEX)
        .then(|| ObjectId::from_hex(hex).ok())
        .flatten()
}

fn malformed(line: &[u8]) -> UpdateError {
    const SHOWN: usize = 100;
    UpdateError::Malformed(printable(&line[..line.len().min(SHOWN)]))
}

fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .filter(|c| !c.is_control())
        .collect()
}

impl fmt::Display for RefUpdate {
    /// `refs/heads/main 1a2b3c4d..5e6f7a8b`, for the audit line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = |id: Option<ObjectId>| {
            id.map_or_else(|| "none".to_owned(), |id| id.to_hex_with_len(8).to_string())
        };
        write!(f, "{} {}..{}", self.name, hex(self.old), hex(self.new))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ZERO: &str = "0000000000000000000000000000000000000000";
    const ONE: &str = "1111111111111111111111111111111111111111";

    fn parse(lines: &[String]) -> Result<Updates, UpdateError> {
        let mut updates = Updates::default();
        for line in lines {
            updates.line(line.as_bytes())?;
        }
        Ok(updates)
    }

    #[test]
    fn commands_and_capabilities() {
        let updates = parse(&[
            format!("shallow {ONE}"),
            format!("{ZERO} {ONE} refs/heads/main\0 report-status side-band-64k atomic object-format=sha1 agent=git/2"),
            format!("{ONE} {ZERO} refs/tags/v1"),
        ])
        .expect("parses");
        assert_eq!(
            updates.list[0].to_string(),
            "refs/heads/main none..11111111"
        );
        assert_eq!(updates.list[1].to_string(), "refs/tags/v1 11111111..none");
        assert_eq!(updates.shallow.len(), 1);
        let capabilities = updates.capabilities;
        assert!(
            capabilities.report_status
                && capabilities.side_band
                && capabilities.atomic
                && !capabilities.quiet
        );
        assert!(updates.need_pack());
    }

    #[test]
    fn what_is_refused() {
        let check = |line: String| assert!(parse(std::slice::from_ref(&line)).is_err(), "{line:?}");
        check(String::new());
        check(format!("{ZERO} {ONE}"));
        check(format!("{ZERO}  {ONE} refs/heads/x"));
        check(format!("{ZERO} {ONE}x refs/heads/x"));
        check(format!("{} {ONE} refs/heads/x", &ZERO[1..]));
        check(format!("{ZERO} {ONE} refs/heads/a\x1b[31m"));
        check(format!("{ZERO} {ONE} x\0object-format=sha256"));
        check("shallow 1234".to_owned());
    }

    #[test]
    fn everything_is_counted() {
        let check = |lines: Vec<String>, options: &[&[u8]], excess| {
            let mut updates = parse(&lines).expect("read to the end");
            let mut taken = Vec::new();
            options
                .iter()
                .for_each(|option| updates.option(option, &mut taken));
            assert_eq!(updates.excess, excess);
            assert!(updates.list.len() <= UPDATES_MAX && taken.len() <= OPTIONS_MAX);
        };
        let refs = |count| vec![format!("{ZERO} {ONE} refs/heads/x"); count];
        check(refs(UPDATES_MAX), &[], None);
        check(refs(UPDATES_MAX + 1), &[], Some(Excess::Refs));
        let long = format!("{ZERO} {ONE} refs/heads/{}", "x".repeat(60_000));
        check(
            vec![long; NAMES_BYTES_MAX / 60_000 + 1],
            &[],
            Some(Excess::Refs),
        );
        let boundaries = vec![format!("shallow {ONE}"); SHALLOW_MAX + 1];
        check(boundaries, &[], Some(Excess::Shallow));
        check(refs(1), &[b"x".as_slice(); OPTIONS_MAX], None);
        check(
            refs(1),
            &[b"x".as_slice(); OPTIONS_MAX + 1],
            Some(Excess::Options),
        );
        let long = OPTION_MAX + 1;
        check(refs(1), &[&vec![b'x'; long]], Some(Excess::Option(long)));
    }

    proptest! {
        #[test]
        fn any_line_is_parsed_or_refused(line: Vec<u8>, tail in "[ -~]{0,80}") {
            let mut updates = Updates::default();
            _ = updates.line(&line);
            _ = updates.line(format!("{ZERO} {ONE} {tail}").as_bytes());
            _ = updates.line(&[ZERO.as_bytes(), &line].concat());
        }
    }
}
