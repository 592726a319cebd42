//! The directory that sandboxes see as `/cnb/lifecycle`: our own binary under the names of the phases; and the
//! launcher, which is a program of its own inside ours, and a layer of every image.

use std::{
    convert::Infallible,
    fs,
    io::{self, Write as _},
    os::{
        fd::AsRawFd as _,
        unix::{
            fs::{PermissionsExt as _, symlink},
            process::CommandExt as _,
        },
    },
    path::Path,
    process::{Command, ExitCode},
    sync::Arc,
};

use container::{
    Digest, Store,
    layer::{Form, Owner, Plan},
    store::Tree,
};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::{
    dirs::LIFECYCLE,
    error::{BuildError, Doing as _},
    work::make_dir,
};

pub(crate) const BINARY: &str = "slipway";
const ROOT: Owner = Owner { uid: 0, gid: 0 };
/// The program that starts every process of an image; [`launcher`] is its source.
pub(crate) const LAUNCHER_PROGRAM: &[u8] = include_bytes!(env!("LAUNCHER"));
/// Names under which [`crate::main_by_name`] runs a phase.
pub(crate) const DETECTOR: &str = "detector";
pub(crate) const BUILDER: &str = "builder";
pub(crate) const DEBUGGER: &str = "debugger";
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
    for name in [DETECTOR, BUILDER, DEBUGGER] {
        match symlink(BINARY, dir.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => result?,
        }
    }
    Ok(())
}

/// The layer `/cnb/lifecycle/launcher` of images.
pub(crate) fn launcher_layer(store: &Store) -> Result<Digest, BuildError> {
    let digest = launcher_plan()
        .diff_id()
        .doing("hash", Path::new(LAUNCHER))?;
    if store.layer(&digest).is_some() {
        return Ok(digest);
    }
    let scratch = store.scratch()?;
    let tree = scratch.path().join("lifecycle");
    make_dir(&tree)?;
    let launcher = tree.join(LAUNCHER);
    fs::write(&launcher, LAUNCHER_PROGRAM).doing("write", &launcher)?;
    fs::set_permissions(&launcher, fs::Permissions::from_mode(0o755))
        .doing("set the mode of", &launcher)?;
    Ok(store.commit_layer(Tree::Whole(&tree), LIFECYCLE, ROOT, Form::Dir)?)
}

fn launcher_plan() -> Plan {
    launcher_layer_of(LAUNCHER_PROGRAM.into())
}

/// The layer with `program` as the launcher.
pub(crate) fn launcher_layer_of(program: Arc<[u8]>) -> Plan {
    let mut plan = Plan::default();
    plan.directory("/cnb", 0o755, ROOT);
    plan.directory(LIFECYCLE, 0o755, ROOT);
    plan.file(&format!("{LIFECYCLE}/{LAUNCHER}"), program, 0o755, ROOT);
    plan
}

/// Becomes the launcher, for whoever has us under its name.
pub(crate) fn become_launcher() -> ExitCode {
    let Err(error) = execute(LAUNCHER_PROGRAM);
    eprintln!("launcher: {error}");
    ExitCode::from(82)
}

fn execute(program: &[u8]) -> io::Result<Infallible> {
    let memory = memfd_create("launcher", MemfdFlags::CLOEXEC)?;
    let mut file = fs::File::from(memory);
    file.write_all(program)?;
    let mut args = std::env::args_os();
    let own_name = args.next().unwrap_or_default();
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    Err(Command::new(path).arg0(own_name).args(args).exec())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn install(exe: &Path, content: &str, dir: &Path) {
        fs::write(exe, content).unwrap();
        install_lifecycle(exe, dir).unwrap();
        assert_eq!(fs::read_to_string(dir.join(DETECTOR)).unwrap(), content);
    }

    #[test]
    fn a_new_version_replaces_the_old_one() {
        let temp = tempfile::tempdir().unwrap();
        let (exe, dir) = (temp.path().join("exe"), temp.path().join("lifecycle"));
        install(&exe, "one", &dir);
        let inode = || fs::metadata(dir.join(BINARY)).unwrap().ino();
        let before = inode();
        install_lifecycle(&exe, &dir).unwrap();
        assert_eq!(inode(), before, "the same version is left alone");
        install(&exe, "longer", &dir);
    }

    #[test]
    fn the_launcher_is_small_and_a_layer_of_its_own() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(&temp.path().join("store")).unwrap();
        let layer = launcher_layer(&store).unwrap();
        assert_eq!(launcher_layer(&store).unwrap(), layer);
        assert_eq!(launcher_plan().diff_id().unwrap(), layer);
        let tree = store.layer(&layer).unwrap();
        let launcher = fs::read(tree.join("cnb/lifecycle/launcher")).unwrap();
        assert_eq!(launcher, LAUNCHER_PROGRAM);
        assert!(launcher.len() < 1 << 20 && launcher.starts_with(b"\x7fELF"));
    }
}
