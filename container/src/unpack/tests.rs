use proptest::prelude::*;

use super::*;

const SMALL: Bounds = Bounds {
    bytes_max: 64 * 1024,
    entries_max: 20,
};

/// Header fields are set raw: the crate's own builder refuses what we want to see refused.
fn entry(name: &str, kind: EntryType, link: &str, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(0o4755);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn tar(entries: &[(&str, EntryType, &str, &str)]) -> Vec<u8> {
    let entries = entries.iter();
    let mut bytes: Vec<u8> = entries
        .flat_map(|(name, kind, link, content)| entry(name, *kind, link, content.as_bytes()))
        .collect();
    bytes.extend_from_slice(&[0; 1024]);
    bytes
}

fn into(dir: &Path, bytes: &[u8]) -> Result<Digest, UnpackError> {
    unpack(bytes, dir, SMALL, |path| Some(path.to_owned()))
}

#[test]
fn files_folders_and_links_arrive() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let bytes = tar(&[
        ("/a/./b", EntryType::Regular, "", "one"),
        ("a/b", EntryType::Regular, "", "two"),
        ("a/link", EntryType::Symlink, "/etc", ""),
        ("c", EntryType::Link, "a/b", ""),
        ("empty/", EntryType::Directory, "", ""),
    ]);
    assert_eq!(into(dir.path(), &bytes).unwrap(), Digest::of(&bytes));
    assert_eq!(fs::read_to_string(dir.path().join("a/b")).unwrap(), "two");
    assert_eq!(fs::read_to_string(dir.path().join("c")).unwrap(), "two");
    let metadata = fs::metadata(dir.path().join("c")).unwrap();
    assert_eq!(
        metadata.permissions().mode() & 0o7777,
        0o755,
        "setuid is gone"
    );
    assert!(dir.path().join("empty").is_dir());
    // A gzip of several members is one archive.
    let mut gzip = Vec::new();
    for half in [&bytes[..700], &bytes[700..]] {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(half).unwrap();
        gzip.extend(out.finish().unwrap());
    }
    let again = tempfile::tempdir().unwrap();
    assert_eq!(into(again.path(), &gzip).unwrap(), Digest::of(&bytes));
}

#[test]
fn padding_may_be_missing_and_nothing_else() {
    let whole = entry("a", EntryType::Regular, "", b"12345");
    let dir = tempfile::tempdir().unwrap();
    for (length, is_good) in [(512 + 5, true), (700, true), (512 + 4, false), (600, true)] {
        let bytes = &whole[..length];
        let unpacked = into(dir.path(), bytes);
        assert_eq!(unpacked.is_ok(), is_good, "{length}");
        if is_good {
            assert_eq!(unpacked.unwrap(), Digest::of(bytes));
            let content = fs::read_to_string(dir.path().join("a")).unwrap();
            assert_eq!(content, "12345");
        }
    }
    assert!(into(dir.path(), &whole[..100]).is_err());
}

#[test]
fn what_comes_later_takes_the_place_whatever_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = tar(&[
        ("a", EntryType::Symlink, "/etc", ""),
        ("a", EntryType::Directory, "", ""),
        ("a/b", EntryType::Regular, "", "one"),
        ("c/d", EntryType::Regular, "", "two"),
        ("c", EntryType::Regular, "", "three"),
    ]);
    into(dir.path(), &bytes).unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("a/b")).unwrap(), "one");
    assert_eq!(fs::read_to_string(dir.path().join("c")).unwrap(), "three");
}

#[test]
fn nothing_leaves_the_directory() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().display().to_string();
    fs::write(outside.path().join("secret"), "untouched").unwrap();
    let secret = format!("{target}/secret");
    for entries in [
        &[("../x", EntryType::Regular, "", "x")][..],
        &[("a/../../x", EntryType::Regular, "", "x")],
        &[
            ("l", EntryType::Symlink, &target, ""),
            ("l/x", EntryType::Regular, "", "x"),
        ],
        &[
            ("l", EntryType::Symlink, &target, ""),
            ("h", EntryType::Link, "l/secret", ""),
        ],
        &[("h", EntryType::Link, "../../etc/passwd", "")],
        &[("h", EntryType::Link, &secret, "")],
        &[("dev", EntryType::Char, "", "")],
        &[("fifo", EntryType::Fifo, "", "")],
    ] {
        let dir = tempfile::tempdir().unwrap();
        let result = into(dir.path(), &tar(entries));
        assert!(result.is_err(), "{entries:?}");
    }
    // Over a link: the link is replaced, not what it points to.
    let dir = tempfile::tempdir().unwrap();
    let over = tar(&[
        ("l", EntryType::Symlink, &secret, ""),
        ("l", EntryType::Regular, "", "new"),
        ("d", EntryType::Symlink, &target, ""),
        ("d/", EntryType::Directory, "", ""),
        ("d/secret", EntryType::Regular, "", "new"),
    ]);
    into(dir.path(), &over).unwrap();
    let left = fs::read_dir(outside.path()).unwrap().count();
    assert_eq!(left, 1);
    assert_eq!(fs::read_to_string(&secret).unwrap(), "untouched");
}

#[test]
fn bombs_are_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&entry("zeros", EntryType::Regular, "", &vec![0; 10 << 20]))
        .unwrap();
    let error = into(dir.path(), &gzip.finish().unwrap()).unwrap_err();
    assert!(matches!(error, UnpackError::TooLarge(_)), "{error:?}");
    let many = ("x", EntryType::Regular, "", "");
    let error = into(dir.path(), &tar(&[many; 21])).unwrap_err();
    assert!(matches!(error, UnpackError::TooMany(20)), "{error:?}");
    let bounds = Bounds {
        bytes_max: 8 << 20,
        ..SMALL
    };
    let long = entry(
        "././@LongLink",
        EntryType::GNULongName,
        "",
        &vec![b'a'; 2 << 20],
    );
    let error = unpack(&long[..], dir.path(), bounds, |path| Some(path.to_owned()));
    assert!(error.unwrap_err().to_string().contains("1 MiB"));
}

#[test]
fn long_names_are_read_in_both_forms() {
    let name = format!("{}/{}", "d".repeat(150), "f".repeat(150));
    let record = format!("path={name}\n");
    let length = record.len() + 4;
    let gnu = ("././@LongLink", EntryType::GNULongName, name.clone());
    let pax = ("pax", EntryType::XHeader, format!("{length} {record}"));
    for (header, kind, content) in [gnu, pax] {
        let dir = tempfile::tempdir().unwrap();
        let bytes = tar(&[
            (header, kind, "", &content),
            ("short", EntryType::Regular, "", "x"),
        ]);
        into(dir.path(), &bytes).unwrap();
        assert!(dir.path().join(&name).is_file(), "{kind:?}");
        assert!(!dir.path().join("short").exists());
    }
}

proptest! {
    #[test]
    fn damage_is_an_error_or_harmless(at in 0_usize..2048, byte: u8) {
        let outer = tempfile::tempdir().unwrap();
        let dir = outer.path().join("dir");
        fs::create_dir(&dir).unwrap();
        let mut bytes = tar(&[
            ("a/b", EntryType::Regular, "", "one"),
            ("l", EntryType::Symlink, "a", ""),
        ]);
        let at = at % bytes.len();
        bytes[at] = byte;
        _ = into(&dir, &bytes);
        prop_assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 1);
    }
}
