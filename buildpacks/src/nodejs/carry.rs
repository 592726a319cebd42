//! What the build scripts write into `node_modules` (a generated database client, say) belongs to the app, although the
//! folder that they write to is not the one that is shipped.

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use crate::{
    error::{IoContext, IoError},
    tree,
};

/// File time stamps come from a coarser clock than the one that we read.
const CLOCK_TICK_MAX: Duration = Duration::from_millis(20);

/// Of use to the next build only, or remade by whoever needs it.
const NOT_CARRIED: [&str; 3] = [".cache", ".vite", ".bin"];

/// Copies each file below `build` that was written after `since` to the same place below `shipped`, unless it belongs to a
/// package that is not shipped.
pub(super) fn new_files(build: &Path, shipped: &Path, since: SystemTime) -> Result<(), IoError> {
    walk(build, shipped, since - CLOCK_TICK_MAX)
}

fn walk(build: &Path, shipped: &Path, since: SystemTime) -> Result<(), IoError> {
    for entry in fs::read_dir(build).at("read", build)? {
        let entry = entry.at("read", build)?;
        let (from, to) = (entry.path(), shipped.join(entry.file_name()));
        let name = entry.file_name();
        let metadata = fs::symlink_metadata(&from).at("read", &from)?;
        if metadata.is_dir() {
            let is_left_out = NOT_CARRIED.iter().any(|other| name == *other)
                || is_package(build, &name.to_string_lossy()) && !to.is_dir();
            if !is_left_out {
                walk(&from, &to, since)?;
            }
        } else if metadata.is_file() && metadata.modified().at("read", &from)? >= since {
            fs::create_dir_all(shipped).at("create", shipped)?;
            tree::remove(&to)?;
            tree::copy_entry(&from, &to)?;
        }
    }
    Ok(())
}

/// Whether a folder called `name` in `parent` is a package, rather than a scope of packages or a part of one.
fn is_package(parent: &Path, name: &str) -> bool {
    let parent = parent.file_name().unwrap_or_default().to_string_lossy();
    let holds_packages = parent == "node_modules" || parent == ".pnpm" || parent.starts_with('@');
    holds_packages && !name.starts_with(['.', '@'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_files_follow_the_packages_that_are_shipped() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (build, shipped) = (
            dir.path().join("build/node_modules"),
            dir.path().join("shipped/node_modules"),
        );
        let write = |root: &Path, name: &str, text: &str, age: Duration| {
            let path = root.join(name);
            fs::create_dir_all(path.parent().expect("inside")).expect("made");
            fs::write(&path, text).expect("written");
            let time = SystemTime::now() - age;
            let file = fs::File::options().write(true).open(&path).expect("opened");
            file.set_modified(time).expect("aged");
        };
        let (old, new) = (Duration::from_secs(3600), Duration::ZERO);
        for name in ["kept/index.js", "@scope/kept/index.js", "dev/index.js"] {
            write(&build, name, "old", old);
        }
        for name in ["kept/index.js", "@scope/kept/index.js"] {
            write(&shipped, name, "old", old);
        }
        for name in [
            "kept/generated/client.js",
            "@scope/kept/index.js",
            "@scope/dev/made.js",
            "dev/made.js",
            ".client/schema.js",
            ".cache/big.bin",
        ] {
            write(&build, name, "new", new);
        }

        new_files(
            &build,
            &shipped,
            SystemTime::now() - Duration::from_secs(60),
        )
        .expect("carried");

        let text = |name: &str| fs::read_to_string(shipped.join(name)).ok();
        assert_eq!(text("kept/index.js").as_deref(), Some("old"));
        assert_eq!(text("kept/generated/client.js").as_deref(), Some("new"));
        assert_eq!(text("@scope/kept/index.js").as_deref(), Some("new"));
        assert_eq!(text(".client/schema.js").as_deref(), Some("new"));
        for name in [
            "@scope/dev/made.js",
            "dev/made.js",
            "dev/index.js",
            ".cache/big.bin",
        ] {
            assert_eq!(text(name), None, "{name}");
        }
    }
}
