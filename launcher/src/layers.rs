//! The image's layers, and what they do to the environment.

use alloc::{collections::BTreeMap, vec, vec::Vec};

use crate::{
    env::{Env, Files, LAUNCH_ROOTS, Plain},
    launch::Failure,
    metadata::Metadata,
    sys::{self, Errno, Kind},
    text::{Path, join},
};

/// Of one file below `env`.
const VALUE_BYTES_MAX: usize = 1024 * 1024;

/// Directories of layers by buildpack, in the order of the group, then by name.
pub(crate) struct Layers(Vec<Vec<Path>>);

impl Layers {
    pub(crate) fn find(layers: &[u8], metadata: &Metadata) -> Result<Self, Failure> {
        let of = |id: &[u8]| {
            let dir: Vec<u8> = id
                .iter()
                .map(|byte| if *byte == b'/' { b'_' } else { *byte })
                .collect();
            entries(&join(layers, &dir), Kind::Directory)
        };
        let buildpacks = metadata.buildpacks.iter();
        Ok(Self(
            buildpacks
                .map(|buildpack| of(&buildpack.id))
                .collect::<Result<_, _>>()?,
        ))
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().flatten()
    }

    pub(crate) fn change(&self, env: &mut Env, kind: Option<&[u8]>) -> Result<(), Failure> {
        for of_buildpack in &self.0 {
            for layer in of_buildpack {
                for (dir, variables) in LAUNCH_ROOTS {
                    let dir = join(layer, dir);
                    if sys::kind(&dir) == Some(Kind::Directory) {
                        env.add_root(&dir, variables);
                    }
                }
            }
            for layer in of_buildpack {
                env.add_files(&files(&join(layer, b"env"))?, Plain::Override);
                for dir in with_own(join(layer, b"env.launch"), kind) {
                    env.add_files(&files(&dir)?, Plain::Override);
                }
            }
        }
        Ok(())
    }

    /// Scripts of `profile.d` directories, then the app's `.profile`.
    pub(crate) fn profile(&self, kind: Option<&[u8]>, app: &[u8]) -> Result<Vec<Path>, Failure> {
        let mut scripts = self.files_of(b"profile.d", kind)?;
        let last = join(app, b".profile");
        if is_file(&last) {
            scripts.push(last);
        }
        Ok(scripts)
    }

    /// Of `<layer>/<dir>` and `<layer>/<dir>/<kind>`, layer by layer.
    pub(crate) fn files_of(&self, dir: &[u8], kind: Option<&[u8]>) -> Result<Vec<Path>, Failure> {
        let mut found = Vec::new();
        for layer in self.all() {
            for dir in with_own(join(layer, dir), kind) {
                found.extend(entries(&dir, Kind::File)?);
            }
        }
        Ok(found)
    }
}

/// The directory, and the one in it for the process type.
fn with_own(dir: Path, kind: Option<&[u8]>) -> Vec<Path> {
    match kind {
        Some(kind) => vec![dir.clone(), join(&dir, kind)],
        None => vec![dir],
    }
}

pub(crate) fn is_file(path: &[u8]) -> bool {
    sys::kind(path) == Some(Kind::File)
}

fn files(dir: &[u8]) -> Result<Files, Failure> {
    let mut files = BTreeMap::new();
    for path in entries(dir, Kind::File)? {
        let content =
            sys::read(&path, VALUE_BYTES_MAX).map_err(|error| Failure::at(&path, error))?;
        files.insert(path[dir.len() + 1..].to_vec(), content);
    }
    Ok(files)
}

/// Paths of the entries of that kind, by name; none when there is no such directory. Links count as what they lead to.
fn entries(dir: &[u8], kind: Kind) -> Result<Vec<Path>, Failure> {
    let mut names = match sys::names(dir) {
        Err(Errno::NOENT) => return Ok(vec![]),
        result => result.map_err(|error| Failure::at(dir, error))?,
    };
    names.sort();
    let paths = names.iter().map(|name| join(dir, name));
    Ok(paths.filter(|path| sys::kind(path) == Some(kind)).collect())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::ffi::OsStrExt as _};

    use super::*;
    use crate::metadata::{Api, Buildpack};

    #[test]
    fn the_environment_follows_the_order_of_buildpacks_and_layers() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, content: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        write("x_a/one/bin/x", "");
        write("x_a/one/lib", "a file is no directory");
        write("x_a/one/env/V.append", "1");
        write("x_a/one/env.build/V.append", "not at launch");
        write("x_a/two/env.launch/V.append", "2");
        write("x_a/two/env.launch/web/V.append", "w");
        write("x_a/two/env.launch/worker/V.append", "not for web");
        write("b/bin/x", "not a layer of a");
        write("b/one/bin/x", "");
        let buildpack = |id: &[u8]| Buildpack {
            id: id.to_vec(),
            api: Api(0, 10),
        };
        let metadata = Metadata {
            buildpacks: vec![buildpack(b"x/a"), buildpack(b"b"), buildpack(b"none")],
            processes: vec![],
        };
        let layers = Layers::find(dir.path().as_os_str().as_bytes(), &metadata).unwrap();
        let mut env = Env::default();
        env.set(b"PATH", b"/bin");
        layers.change(&mut env, Some(b"web")).unwrap();
        let at = dir.path().display();
        let expected = format!("PATH={at}/b/one/bin:{at}/x_a/one/bin:/bin V=12w");
        assert_eq!(
            String::from_utf8(env.pairs().join(&b' ')).unwrap(),
            expected
        );
    }
}
