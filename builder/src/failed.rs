//! A build that failed, kept for a look inside: its folders as they were left, and the sandbox of the phase that failed. The
//! user's variables are not kept; whoever looks inside brings them again.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use container::{Bind, Mount, Process, Sandbox, Stdio, store::Hold};
use serde::{Deserialize, Serialize};

use crate::{
    BuildError, Builder,
    dirs::{LIFECYCLE, PLATFORM},
    error::Doing as _,
    lifecycle_dir::DEBUGGER,
    project::Project,
    sources::Set,
    trees,
    work::{Source, Work},
};

/// What takes more of the disk is not kept.
const BYTES_MAX: u64 = 2 << 30;
const KEPT: &str = "kept.json";
const SOURCE: &str = "source";
const BUILDPACKS: &str = "buildpacks";

#[derive(Serialize, Deserialize)]
struct Kept {
    /// Where it was when this was written: it may be moved.
    dir: PathBuf,
    /// Of the phase that failed.
    sandbox: Sandbox,
}

/// How somebody looks inside.
#[derive(Debug)]
pub struct Look<'a> {
    /// As the build's request had them.
    pub env: &'a BTreeMap<String, String>,
    /// TERM, LANG and the like.
    pub terminal: Vec<(String, String)>,
    /// A line for a shell; a shell that reads its input when absent.
    pub command: Option<String>,
}

/// What a process inside stands on; for as long as it runs.
#[derive(Debug)]
pub struct Inside {
    /// Holds the user's variables.
    _work: Work,
    _hold: Hold,
}

impl Builder {
    /// Starts a process in the build that [`crate::Request::failed`] has kept: in the sandbox, at the step that failed, with
    /// that step's environment and under the limits of builds. It ends with us. One at a time: they would share what only
    /// one mount may have.
    pub fn look_inside(
        &self,
        failed: &Path,
        look: Look<'_>,
        stdio: Stdio,
    ) -> Result<(Process, Inside), BuildError> {
        let hold = self.store.hold();
        let mut sandbox = Kept::read(failed)?.sandbox;
        let of_project = Project::read(&failed.join(SOURCE)).map(|project| project.env);
        let mut env = of_project.unwrap_or_default();
        env.extend(look.env.clone());
        let work = Work::open(&self.store)?;
        let platform = work.platform(&env)?;
        for mount in &mut sandbox.mounts {
            match mount {
                Mount::Bind(bind) if bind.target == PLATFORM => bind.source.clone_from(&platform),
                _ => {}
            }
        }
        if paths(&mut sandbox).iter().any(|path| !path.exists()) {
            let text = "the layers that it stood on are no longer kept; push again";
            return Err(BuildError::Refused(text.to_owned()));
        }
        sandbox.limits = self.limits;
        let terminal = look.terminal.into_iter();
        sandbox.argv = [format!("{LIFECYCLE}/{DEBUGGER}")]
            .into_iter()
            .chain(terminal.map(|(name, value)| format!("{name}={value}")))
            .chain(["--".to_owned()])
            .chain(look.command)
            .collect();
        let process = self.spawner.spawn(&sandbox, stdio)?;
        let inside = Inside {
            _work: work,
            _hold: hold,
        };
        Ok((process, inside))
    }

    /// What it takes of the disk; what is kept is bounded.
    pub fn failed_bytes(&self, failed: &Path) -> u64 {
        trees::bytes(failed, BYTES_MAX)
    }

    /// Gives the disk back. Returns at once.
    pub fn forget_failed(&self, failed: &Path) -> Result<(), BuildError> {
        Ok(trees::discard(&self.store, failed)?)
    }
}

/// Moves what the build has left to `to`, which does not exist yet.
pub(crate) fn keep(
    work: Work,
    source: Source<'_>,
    mut sandbox: Sandbox,
    to: &Path,
) -> Result<(), BuildError> {
    let bytes = trees::bytes(&source.path, BYTES_MAX) + trees::bytes(work.root(), BYTES_MAX);
    if bytes > BYTES_MAX {
        return Ok(());
    }
    work.remove_platform()?;
    let from = work.root().to_owned();
    fs::rename(&source.path, from.join(SOURCE)).doing("move", &source.path)?;
    relocate(&mut sandbox, &source.path, &to.join(SOURCE));
    relocate(&mut sandbox, &from, to);
    let kept = Kept {
        dir: to.to_owned(),
        sandbox,
    };
    kept.write(&from)?;
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).doing("make", parent)?;
    }
    fs::rename(&from, to).doing("move", &from)?;
    work.keep();
    Ok(())
}

/// Buildpacks that were fetched for the one build stay with it.
pub(crate) fn keep_buildpacks(failed: &Path, set: &Set) -> Result<(), BuildError> {
    let mut kept = Kept::read(failed)?;
    let to = failed.join(BUILDPACKS);
    fs::rename(set.dir(), &to).doing("move", set.dir())?;
    relocate(&mut kept.sandbox, set.dir(), &to);
    kept.write(failed)
}

impl Kept {
    fn read(dir: &Path) -> Result<Self, BuildError> {
        let path = dir.join(KEPT);
        let text = fs::read(&path).doing("read", &path)?;
        let mut kept: Self = serde_json::from_slice(&text).doing("read", &path)?;
        relocate(&mut kept.sandbox, &kept.dir, dir);
        kept.dir = dir.to_owned();
        Ok(kept)
    }

    fn write(&self, dir: &Path) -> Result<(), BuildError> {
        let path = dir.join(KEPT);
        let text = serde_json::to_vec(self).doing("write", &path)?;
        fs::write(&path, text).doing("write", &path)
    }
}

fn relocate(sandbox: &mut Sandbox, from: &Path, to: &Path) {
    for path in paths(sandbox) {
        if let Ok(below) = path.strip_prefix(from) {
            // `to.join("")` would end in a slash.
            *path = match below.as_os_str().is_empty() {
                true => to.to_owned(),
                false => to.join(below),
            };
        }
    }
}

/// All that it shows.
fn paths(sandbox: &mut Sandbox) -> Vec<&mut PathBuf> {
    let mut paths = vec![&mut sandbox.scratch];
    paths.extend(&mut sandbox.lowers);
    for mount in &mut sandbox.mounts {
        match mount {
            Mount::Bind(Bind { source, .. }) => paths.push(source),
            Mount::Overlay {
                lowers,
                upper,
                work,
                ..
            } => {
                paths.extend(lowers);
                paths.extend([upper, work]);
            }
            Mount::Tmpfs { .. } => {}
        }
    }
    paths
}
