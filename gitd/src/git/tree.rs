//! Tree objects, entry by entry: `<octal mode> SP <name> NUL <20 bytes>`.

use gix_hash::ObjectId;

const ID: usize = 20;
/// `100644` and its kin; nothing longer is a mode.
const MODE_DIGITS_MAX: usize = 7;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    File,
    Executable,
    Symlink,
    Tree,
    /// A submodule: the id names a commit of another repository.
    Gitlink,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) mode: Mode,
    pub(crate) name: &'a [u8],
    pub(crate) id: ObjectId,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TreeError {
    #[error("is cut off or malformed")]
    Malformed,
    #[error("has an entry with the bad mode `{0}`")]
    Mode(String),
}

/// The entries in their order; ends after the first error.
pub(crate) fn entries(mut data: &[u8]) -> impl Iterator<Item = Result<Entry<'_>, TreeError>> {
    std::iter::from_fn(move || {
        if data.is_empty() {
            return None;
        }
        let (entry, rest) = match entry(data) {
            Ok((entry, rest)) => (Ok(entry), rest),
            Err(error) => (Err(error), &[][..]),
        };
        data = rest;
        Some(entry)
    })
}

/// Where each entry of a well-formed tree ends.
pub(crate) fn ends(data: &[u8]) -> impl Iterator<Item = u32> {
    let mut rest = data;
    std::iter::from_fn(move || {
        (_, rest) = entry(rest).ok()?;
        Some((data.len() - rest.len()) as u32)
    })
}

fn entry(data: &[u8]) -> Result<(Entry<'_>, &[u8]), TreeError> {
    let digits = data
        .iter()
        .take(MODE_DIGITS_MAX + 1)
        .position(|&byte| byte == b' ')
        .ok_or(TreeError::Malformed)?;
    let mode = mode(&data[..digits])?;
    let data = &data[digits + 1..];
    let name = data
        .iter()
        .position(|&byte| byte == 0)
        .ok_or(TreeError::Malformed)?;
    let (name, data) = (&data[..name], &data[name + 1..]);
    let (id, rest) = data.split_at_checked(ID).ok_or(TreeError::Malformed)?;
    let id = ObjectId::try_from(id).map_err(|_| TreeError::Malformed)?;
    Ok((Entry { mode, name, id }, rest))
}

/// The modes that git writes, and two that it wrote long ago: group-writable files, and trees with a leading zero.
fn mode(digits: &[u8]) -> Result<Mode, TreeError> {
    match digits {
        b"100644" | b"100664" => Ok(Mode::File),
        b"100755" => Ok(Mode::Executable),
        b"120000" => Ok(Mode::Symlink),
        b"40000" | b"040000" => Ok(Mode::Tree),
        b"160000" => Ok(Mode::Gitlink),
        _ => Err(TreeError::Mode(digits.escape_ascii().to_string())),
    }
}

/// The order of entries: as if the name of a tree ended in `/`.
pub(crate) fn in_order(a: &Entry<'_>, b: &Entry<'_>) -> bool {
    let key = |entry: &Entry<'_>| (entry.mode == Mode::Tree).then_some(b'/');
    let common = a.name.len().min(b.name.len());
    let (a_tail, b_tail) = (&a.name[common..], &b.name[common..]);
    match a.name[..common].cmp(&b.name[..common]) {
        std::cmp::Ordering::Equal => {
            let a_next = a_tail.first().copied().or_else(|| key(a));
            let b_next = b_tail.first().copied().or_else(|| key(b));
            a_next < b_next
        }
        order => order.is_lt(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(mode: Mode, name: &str) -> Entry<'_> {
        Entry {
            mode,
            name: name.as_bytes(),
            id: ObjectId::null(gix_hash::Kind::Sha1),
        }
    }

    #[test]
    fn trees_sort_as_if_they_ended_in_a_slash() {
        let check = |a: Entry<'_>, b: Entry<'_>| {
            assert!(in_order(&a, &b), "{a:?} {b:?}");
            assert!(!in_order(&b, &a), "{b:?} {a:?}");
        };
        check(entry(Mode::File, "a"), entry(Mode::File, "b"));
        check(entry(Mode::File, "a"), entry(Mode::File, "ab"));
        check(entry(Mode::File, "a.b"), entry(Mode::Tree, "a"));
        check(entry(Mode::Tree, "a"), entry(Mode::File, "a0"));
        assert!(!in_order(&entry(Mode::File, "a"), &entry(Mode::File, "a")));
    }

    #[test]
    fn modes() {
        let tree = |mode: &str| [mode.as_bytes(), b" x\0", &[1; 20]].concat();
        for good in ["100644", "100664", "100755", "120000", "40000", "160000"] {
            assert!(entries(&tree(good)).all(|entry| entry.is_ok()), "{good}");
        }
        for bad in [
            "", "100777", "104755", "0100644", "60000", "-100644", "10064x",
        ] {
            assert!(entries(&tree(bad)).all(|entry| entry.is_err()), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end(data: Vec<u8>) {
            prop_assert!(entries(&data).count() <= data.len());
            let tree = [b"100644 x\0", data.as_slice()].concat();
            prop_assert!(entries(&tree).count() <= tree.len());
        }
    }
}
