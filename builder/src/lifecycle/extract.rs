//! A layer's tar becomes its directory again. The tar comes from a cache or an image, so nothing in it is trusted: each
//! name has to lie where the layer belongs, nothing is written through a link, and the digest has to be the one promised.

use std::{
    io::{self, Read},
    os::unix::ffi::OsStrExt as _,
    path::{Component, Path, PathBuf},
};

use container::{
    Digest,
    layer::{Headers, MTIME, Owner},
    read_ahead::read_ahead,
};
use tar::{Archive, Entry, EntryType};

use super::tree::{Tree, fill};

/// Of one layer; a package manager's store has some hundred thousand.
const ENTRIES_MAX: usize = 4_000_000;
/// Of one layer, unpacked: a compressed lie ends here, and not with the disk.
const BYTES_MAX: u64 = 16 * 1024 * 1024 * 1024;

/// Why a layer does not come back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExtractError {
    #[error("it has the digest {found}, not {expected}")]
    Digest { expected: Digest, found: Digest },
    #[error("`{}` in it {what}", name.display())]
    Name { name: PathBuf, what: &'static str },
    #[error("it unpacks to more than {0} bytes")]
    TooLarge(u64),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Extracts what lies at the absolute path `at` in the tar into the new directory `into`. What this leaves when it fails is
/// of no use. The digest is that of the headers, when each of them is one that a layer has: see
/// [`container::layer::Plan::headers`].
pub(crate) fn extract(
    tar: impl Read + Send,
    at: &Path,
    expected: &Digest,
    into: &Path,
) -> Result<Option<Digest>, ExtractError> {
    extract_within(BYTES_MAX, tar, at, expected, into)
}

fn extract_within(
    bytes_max: u64,
    tar: impl Read + Send,
    at: &Path,
    expected: &Digest,
    into: &Path,
) -> Result<Option<Digest>, ExtractError> {
    let mut tar = tar.take(bytes_max + 1);
    let read = fill(into, |tree| {
        read_ahead(&mut tar, |tar| entries(tar, at, tree))
    });
    if tar.limit() == 0 {
        return Err(ExtractError::TooLarge(bytes_max));
    }
    let (headers, found) = read?;
    if found != *expected {
        return Err(ExtractError::Digest {
            expected: *expected,
            found,
        });
    }
    Ok(headers)
}

fn entries(tar: impl Read, at: &Path, tree: &mut Tree<'_>) -> Result<Option<Digest>, ExtractError> {
    let mut archive = Archive::new(tar);
    let mut headers = Some(Headers::default());
    for (count, entry) in archive.entries()?.enumerate() {
        let mut entry = entry?;
        let name = PathBuf::from(std::ffi::OsStr::from_bytes(&entry.path_bytes()));
        let wrong = |what| ExtractError::Name {
            name: name.clone(),
            what,
        };
        if count >= ENTRIES_MAX {
            return Err(wrong("is one entry too many"));
        }
        headers = headers.and_then(|headers| with(headers, &entry));
        let absolute = Path::new("/").join(&name);
        let Ok(below) = absolute.strip_prefix(at) else {
            // The directories above the layer are there already.
            if at.starts_with(&absolute) && entry.header().entry_type() == EntryType::Directory {
                continue;
            }
            return Err(wrong("lies outside of the layer"));
        };
        let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        if !below.components().all(plain) {
            return Err(wrong("has dots in its path"));
        }
        add(tree, below, &mut entry).map_err(|error| match error.kind() {
            io::ErrorKind::Unsupported => {
                wrong("is neither a file, a directory nor a symbolic link")
            }
            io::ErrorKind::NotADirectory => wrong("lies in what is no directory of the layer"),
            _ => error.into(),
        })?;
    }
    Ok(headers.map(Headers::finish))
}

/// `None` when it is no header that a layer of ours would have.
fn with(mut headers: Headers, entry: &Entry<'_, impl Read>) -> Option<Headers> {
    let header = entry.header();
    let number = |number: io::Result<u64>| u32::try_from(number.ok()?).ok();
    let owner = Owner {
        uid: number(header.uid())?,
        gid: number(header.gid())?,
    };
    let link = entry.link_name_bytes();
    headers.add(
        &entry.path_bytes(),
        header.entry_type().as_byte(),
        header.mode().ok()?,
        entry.size(),
        owner,
        link.as_deref(),
    );
    (header.mtime().ok()? == MTIME).then_some(headers)
}

fn add(tree: &mut Tree<'_>, below: &Path, entry: &mut Entry<'_, impl Read>) -> io::Result<()> {
    let mode = entry.header().mode()? & 0o7777;
    match entry.header().entry_type() {
        EntryType::Directory => tree.directory(below, mode),
        EntryType::Regular | EntryType::Continuous => tree.file(below, mode, entry.size(), entry),
        EntryType::Symlink => {
            let target = entry.link_name_bytes().ok_or(io::ErrorKind::InvalidData)?;
            tree.symlink(below, &target)
        }
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt as _, symlink},
    };

    use container::layer::Plan;

    use super::*;

    /// Name, link or content (`>target`, `/` for a directory).
    fn tar(entries: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o755);
            // Names that the writer itself would refuse.
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            let (kind, data) = match content.strip_prefix('>') {
                Some(target) => {
                    header.set_link_name_literal(target).unwrap();
                    (EntryType::Symlink, &b""[..])
                }
                None if *content == "/" => (EntryType::Directory, &b""[..]),
                None if *content == "|" => (EntryType::Fifo, &b""[..]),
                None => (EntryType::Regular, content.as_bytes()),
            };
            header.set_entry_type(kind);
            header.set_size(data.len() as u64);
            header.set_cksum();
            builder.append(&header, data).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn extracted(tar: &[u8]) -> Result<tempfile::TempDir, ExtractError> {
        let dir = tempfile::tempdir().unwrap();
        let into = dir.path().join("into");
        extract(tar, Path::new("/layers/a/x"), &Digest::of(tar), &into)?;
        Ok(dir)
    }

    #[test]
    fn what_was_packed_comes_back() {
        let from = tempfile::tempdir().unwrap();
        let at = from.path().join("deep/er");
        fs::create_dir_all(&at).unwrap();
        fs::write(at.join(format!("long-{}", "n".repeat(200))), "content").unwrap();
        symlink("../../x", at.join("link")).unwrap();
        fs::set_permissions(&at, fs::Permissions::from_mode(0o555)).unwrap();
        let mut plan = Plan::default();
        plan.directory("/layers", 0o755, Owner { uid: 0, gid: 0 });
        plan.tree(
            from.path(),
            Path::new("/layers/a/x"),
            Owner { uid: 1, gid: 1 },
        )
        .unwrap();
        let mut tar = Vec::new();
        plan.write_tar(&mut tar).unwrap();
        let dir = extracted(&tar).unwrap();
        let into = dir.path().join("into");
        let mut again = Plan::default();
        again.directory("/layers", 0o755, Owner { uid: 0, gid: 0 });
        again
            .tree(&into, Path::new("/layers/a/x"), Owner { uid: 1, gid: 1 })
            .unwrap();
        assert_eq!(again.diff_id().unwrap(), Digest::of(&tar));
    }

    #[test]
    fn nothing_leaves_the_layer() {
        for (entries, expected) in [
            (
                &[("/layers/a/x", "/"), ("/etc/passwd", "x")][..],
                "`/etc/passwd` in it lies outside of the layer",
            ),
            (
                &[("/layers/a/x", "/"), ("/layers/a/x/../y", "x")],
                "has dots in its path",
            ),
            (&[("/layers/a/xy", "x")], "lies outside of the layer"),
            (&[("/layers/a", ">/etc")], "lies outside of the layer"),
            (
                &[
                    ("/layers/a/x", "/"),
                    ("/layers/a/x/l", ">/etc"),
                    ("/layers/a/x/l/f", "x"),
                ],
                "lies in what is no directory",
            ),
            (
                &[("/layers/a/x/f", ">/etc/passwd"), ("/layers/a/x/f", "x")],
                "File exists",
            ),
            (
                &[("/layers/a/x/f", "|")],
                "is neither a file, a directory nor a symbolic link",
            ),
        ] {
            let error = extracted(&tar(entries)).map(drop).unwrap_err().to_string();
            assert!(error.contains(expected), "{entries:?}: {error}");
        }
        let relative = extracted(&tar(&[("layers/a/x/", "/"), ("layers/a/x/f", "x")])).unwrap();
        assert!(relative.path().join("into/f").is_file());
    }

    #[test]
    fn what_unpacks_without_an_end_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let content = "x".repeat(100_000);
        let tar = tar(&[("/layers/a/x", "/"), ("/layers/a/x/f", &content)]);
        let bytes = tar.len() as u64;
        let within = |bytes_max, tar: &mut (dyn Read + Send), name| {
            let (at, into) = (Path::new("/layers/a/x"), dir.path().join(name));
            extract_within(bytes_max, tar, at, &Digest::of(&[]), &into)
        };
        let endless = within(bytes - 1, &mut (&tar[..]).chain(io::repeat(0)), "endless");
        let error = endless.unwrap_err().to_string();
        assert_eq!(
            error,
            format!("it unpacks to more than {} bytes", bytes - 1)
        );
        let whole = within(bytes, &mut &tar[..], "whole").unwrap_err();
        assert!(matches!(whole, ExtractError::Digest { .. }), "{whole}");
    }

    #[test]
    fn another_digest_than_promised_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let tar = tar(&[("/layers/a/x/f", "x")]);
        let (at, into) = (Path::new("/layers/a/x"), dir.path().join("into"));
        let error = extract(&tar[..], at, &Digest::of(b""), &into).unwrap_err();
        assert!(matches!(error, ExtractError::Digest { .. }), "{error}");
        assert!(extract(&tar[..600], at, &Digest::of(&tar), &dir.path().join("cut")).is_err());
    }
}
