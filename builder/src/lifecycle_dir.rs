//! The directory that sandboxes see as `/cnb/lifecycle`: our own binary under the names of the phases, and the image
//! layer with the launcher that is made of it.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use container::{
    Digest, Store,
    layer::{Form, Owner},
    store::Tree,
};

use crate::{
    dirs::LIFECYCLE,
    error::{BuildError, Doing as _},
    work::make_dir,
};

const BINARY: &str = "slipway";
/// Which layer the binary has become, so that it is hashed once and not in every build.
const RECORD: &str = "launcher-layer";
/// Names under which [`crate::main_by_name`] runs a phase or the launcher.
pub(crate) const DETECTOR: &str = "detector";
pub(crate) const BUILDER: &str = "builder";
pub(crate) const LAUNCHER: &str = "launcher";

/// Fills `dir` for [`crate::Builder::lifecycle`] with a copy of `exe` and its names, unless it holds the same version
/// already. A build that runs meanwhile keeps the one it has.
pub fn install_lifecycle(exe: &Path, dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let binary = dir.join(BINARY);
    let wanted = fs::metadata(exe)?;
    let is_same = fs::metadata(&binary).is_ok_and(|found| {
        found.len() == wanted.len() && found.modified().ok() == wanted.modified().ok()
    });
    if !is_same {
        let part = dir.join(format!("{BINARY}.part"));
        fs::copy(exe, &part)?;
        let file = fs::File::open(&part)?;
        file.set_permissions(fs::Permissions::from_mode(0o755))?;
        file.set_modified(wanted.modified()?)?;
        file.sync_all()?;
        fs::rename(&part, &binary)?;
    }
    for name in [DETECTOR, BUILDER, LAUNCHER] {
        match symlink(BINARY, dir.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => result?,
        }
    }
    Ok(())
}

/// The layer `/cnb/lifecycle/launcher` of images.
pub(crate) fn launcher_layer(store: &Store, lifecycle: &Path) -> Result<Digest, BuildError> {
    let binary = lifecycle.join(BINARY);
    let record = lifecycle.join(RECORD);
    let identity = identity(&binary)?;
    if let Some(known) = recorded(&record, &identity)
        && store.layer(&known).is_some()
    {
        return Ok(known);
    }
    let scratch = store.scratch()?;
    let tree = scratch.path().join("lifecycle");
    make_dir(&tree)?;
    let launcher = tree.join(LAUNCHER);
    fs::copy(&binary, &launcher).doing("copy", &binary)?;
    fs::set_permissions(&launcher, fs::Permissions::from_mode(0o755))
        .doing("set the mode of", &launcher)?;
    let root = Owner { uid: 0, gid: 0 };
    let digest = store.commit_layer(Tree::Whole(&tree), LIFECYCLE, root, Form::Dir)?;
    write_record(&record, &format!("{identity}\n{digest}\n"))?;
    Ok(digest)
}

/// Beside it first, under a name of its own: builds of several apps may do this at once.
fn write_record(record: &Path, text: &str) -> Result<(), BuildError> {
    let thread = format!("{:?}", std::thread::current().id());
    let part: PathBuf = record.with_extension(thread);
    fs::write(&part, text).doing("write", &part)?;
    fs::rename(&part, record).doing("write", record)
}

/// A copy is never written to after it has its name, so these tell versions apart.
fn identity(binary: &Path) -> Result<String, BuildError> {
    let metadata = fs::metadata(binary).doing("read", binary)?;
    let (inode, length) = (metadata.ino(), metadata.len());
    let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
    Ok(format!("{inode} {length} {seconds}.{nanoseconds}"))
}

fn recorded(record: &Path, identity: &str) -> Option<Digest> {
    let text = fs::read_to_string(record).ok()?;
    let (of, digest) = text.trim_end().split_once('\n')?;
    (of == identity).then(|| digest.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn install(exe: &Path, content: &str, dir: &Path) {
        fs::write(exe, content).unwrap();
        install_lifecycle(exe, dir).unwrap();
        assert_eq!(fs::read_to_string(dir.join(DETECTOR)).unwrap(), content);
    }

    #[test]
    fn a_new_version_replaces_the_old_one_and_its_layer() {
        let temp = tempfile::tempdir().unwrap();
        let (exe, dir) = (temp.path().join("exe"), temp.path().join("lifecycle"));
        let store = Store::open(&temp.path().join("store")).unwrap();
        install(&exe, "one", &dir);
        let one = launcher_layer(&store, &dir).unwrap();
        let inode = || fs::metadata(dir.join(BINARY)).unwrap().ino();
        let before = inode();
        install_lifecycle(&exe, &dir).unwrap();
        assert_eq!(inode(), before, "the same version is left alone");
        assert_eq!(launcher_layer(&store, &dir).unwrap(), one);
        install(&exe, "longer", &dir);
        let two = launcher_layer(&store, &dir).unwrap();
        assert_ne!(two, one);
        let tree = store.layer(&two).unwrap();
        let launcher = tree.join("cnb/lifecycle/launcher");
        assert_eq!(fs::read_to_string(launcher).unwrap(), "longer");
        // The record is of a layer that the store has lost.
        fs::remove_dir_all(tree).unwrap();
        assert_eq!(launcher_layer(&store, &dir).unwrap(), two);
        assert!(store.layer(&two).is_some());
    }
}
