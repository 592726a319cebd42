//! Paths and names are bytes, as the kernel has them.

use alloc::{string::String, vec::Vec};

pub(crate) type Path = Vec<u8>;

/// `dir/name`; `name` alone when it is absolute, `dir` alone when it is empty.
pub(crate) fn join(dir: &[u8], name: &[u8]) -> Path {
    if name.starts_with(b"/") {
        return name.to_vec();
    }
    let mut path = dir.to_vec();
    if !name.is_empty() {
        if !path.ends_with(b"/") {
            path.push(b'/');
        }
        path.extend_from_slice(name);
    }
    path
}

pub(crate) fn base_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

/// For messages.
pub(crate) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_join() {
        for (dir, name, expected) in [
            ("/a", "b", "/a/b"),
            ("/", "b", "/b"),
            ("/a", "/b", "/b"),
            ("/a", "", "/a"),
        ] {
            assert_eq!(join(dir.as_bytes(), name.as_bytes()), expected.as_bytes());
        }
        assert_eq!(base_name(b"/cnb/process/web"), b"web");
        assert_eq!(base_name(b"web"), b"web");
    }
}
