//! What a client asks for in a fetch: the lines that protocols 0 and 2 have in common.

use gix_hash::ObjectId;

use super::{UploadError, boundary::Deepen, filter::Filter};

/// A clone wants every ref once.
const WANTS_MAX: usize = 100_000;
/// Clients name what they have in rounds, and give up when nothing of it is known.
const HAVES_MAX: usize = 200_000;
const SHALLOW_MAX: usize = 100_000;
const NOT_MAX: usize = 100;
const ID_HEX: usize = 40;

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) wants: Vec<ObjectId>,
    pub(super) haves: Vec<ObjectId>,
    /// Boundaries of the client's clone.
    pub(super) shallow: Vec<ObjectId>,
    pub(super) deepen: Option<Deepen>,
    pub(super) filter: Filter,
    pub(super) options: Options,
    /// No more negotiation: the pack, please.
    pub(super) done: bool,
    /// No pack before `done`.
    pub(super) wait_for_done: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) thin_pack: bool,
    pub(super) no_progress: bool,
    pub(super) include_tag: bool,
    pub(super) ofs_delta: bool,
}

impl Request {
    /// Takes one line, without its newline. `false`: it is none of these.
    pub(super) fn line(&mut self, line: &str) -> Result<bool, UploadError> {
        let bad = || UploadError::Protocol(format!("`{}` is malformed", shown(line)));
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let id = || parse_id(rest).ok_or_else(bad);
        match word {
            "want" => push(&mut self.wants, id()?, WANTS_MAX)?,
            "have" => push(&mut self.haves, id()?, HAVES_MAX)?,
            "shallow" => push(&mut self.shallow, id()?, SHALLOW_MAX)?,
            "deepen" => {
                let commits = rest.parse().ok().filter(|commits| *commits > 0);
                self.deepen().commits = Some(commits.ok_or_else(bad)?);
            }
            "deepen-since" => self.deepen().since = Some(rest.parse().map_err(|_| bad())?),
            "deepen-not" => push(&mut self.deepen().not, rest.to_owned(), NOT_MAX)?,
            "filter" => {
                let filter = Filter::parse(rest);
                self.filter = filter.ok_or_else(|| UploadError::Filter(shown(rest)))?;
            }
            _ => return Ok(self.options.word(word) || self.flag(word)),
        }
        Ok(true)
    }

    fn flag(&mut self, word: &str) -> bool {
        match word {
            "done" => self.done = true,
            "wait-for-done" => self.wait_for_done = true,
            "deepen-relative" => self.deepen().relative = true,
            _ => return false,
        }
        true
    }

    pub(super) fn deepen(&mut self) -> &mut Deepen {
        self.deepen.get_or_insert_default()
    }

    /// The lines by themselves are fine; are they together?
    pub(super) fn check(&self) -> Result<(), UploadError> {
        match &self.deepen {
            Some(deepen)
                if deepen.commits.is_some()
                    && (deepen.since.is_some() || !deepen.not.is_empty()) =>
            {
                let problem = "`deepen` and `deepen-since` or `deepen-not` exclude each other";
                Err(UploadError::Protocol(problem.to_owned()))
            }
            _ => Ok(()),
        }
    }
}

impl Options {
    pub(super) fn word(&mut self, word: &str) -> bool {
        match word {
            "thin-pack" => self.thin_pack = true,
            "no-progress" => self.no_progress = true,
            "include-tag" => self.include_tag = true,
            "ofs-delta" => self.ofs_delta = true,
            _ => return false,
        }
        true
    }
}

pub(super) fn parse_id(hex: &str) -> Option<ObjectId> {
    (hex.len() == ID_HEX)
        .then(|| ObjectId::from_hex(hex.as_bytes()).ok())
        .flatten()
}

/// For an error: short, and nothing that a terminal obeys.
pub(super) fn shown(text: &str) -> String {
    const SHOWN: usize = 100;
    text.chars()
        .filter(|c| !c.is_control())
        .take(SHOWN)
        .collect()
}

fn push<T>(list: &mut Vec<T>, item: T, max: usize) -> Result<(), UploadError> {
    if list.len() == max {
        return Err(UploadError::TooMany(max));
    }
    list.push(item);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE: &str = "1111111111111111111111111111111111111111";

    #[test]
    fn lines() {
        let mut request = Request::default();
        for line in [
            format!("want {ONE}"),
            format!("have {ONE}"),
            format!("shallow {ONE}"),
            "thin-pack".to_owned(),
            "ofs-delta".to_owned(),
            "deepen 3".to_owned(),
            "deepen-relative".to_owned(),
            "filter blob:none".to_owned(),
            "done".to_owned(),
        ] {
            assert!(request.line(&line).expect("good"), "{line}");
        }
        assert!(!request.line("sideband-all").expect("unknown"));
        assert!(request.done && request.options.thin_pack && request.options.ofs_delta);
        let deepen = request.deepen.clone().expect("asked for");
        assert_eq!((deepen.commits, deepen.relative), (Some(3), true));
        assert!(request.check().is_ok());
        request.line("deepen-since 5").expect("good by itself");
        assert!(request.check().is_err());
    }

    #[test]
    fn what_is_refused() {
        for bad in [
            "want",
            "want 12",
            "have x",
            "shallow",
            "deepen 0",
            "deepen -1",
            "deepen x",
            "deepen-since",
            "filter tree:",
            "filter sparse:oid=x",
        ] {
            assert!(Request::default().line(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_parsed_or_refused(line: String, tail in "[ -~]{0,60}") {
            _ = Request::default().line(&line);
            _ = Request::default().line(&format!("deepen {tail}"));
            _ = Request::default().line(&format!("want {tail}"));
        }
    }
}
