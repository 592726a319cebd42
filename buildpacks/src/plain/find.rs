//! Which file of the app to start.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use crate::{
    command::is_executable,
    error::{IoContext, IoError},
};

/// Where programs are looked for, in this order; the empty name is the root.
const FOLDERS: [&str; 2] = ["", "bin"];

/// One of several executables is started when it is called so; the first name wins.
const PREFERRED: [&str; 3] = ["web", "server", "start"];

/// A file that the kernel could start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    /// Relative to the app: `web`, `bin/server`.
    pub(super) name: String,
    /// Whether its mode allows it.
    pub(super) executable: bool,
}

/// Why there is no choice to make.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoChoice {
    None,
    Several(Vec<String>),
}

/// Programs and scripts at the root and in `bin/`, in name order.
pub(super) fn programs(app: &Path) -> Result<Vec<Program>, IoError> {
    let mut found = Vec::new();
    for folder in FOLDERS {
        let dir = app.join(folder);
        let entries = match fs::read_dir(&dir) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                continue;
            }
            entries => entries.at("read", &dir)?,
        };
        let mut names: Vec<String> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort();
        found.extend(names.into_iter().filter_map(|name| {
            let path = dir.join(&name);
            is_program(&path).then(|| Program {
                name: Path::new(folder).join(name).to_string_lossy().into_owned(),
                executable: is_executable(&path),
            })
        }));
    }
    Ok(found)
}

pub(super) fn choose(programs: &[Program]) -> Result<&str, NoChoice> {
    let names: Vec<&str> = programs
        .iter()
        .filter(|program| program.executable)
        .map(|program| program.name.as_str())
        .collect();
    match names.as_slice() {
        [] => Err(NoChoice::None),
        [only] => Ok(only),
        several => PREFERRED
            .iter()
            .find_map(|preferred| {
                let is_called_so = |name: &&&str| name.rsplit('/').next() == Some(*preferred);
                several.iter().find(is_called_so).copied()
            })
            .ok_or_else(|| {
                NoChoice::Several(names.iter().map(|name| (*name).to_owned()).collect())
            }),
    }
}

/// By its first bytes: ELF, or `#!`.
fn is_program(path: &Path) -> bool {
    let mut start = Vec::new();
    path.is_file()
        && File::open(path).is_ok_and(|file| file.take(4).read_to_end(&mut start).is_ok())
        && (start.starts_with(b"\x7fELF") || start.starts_with(b"#!"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn app(files: &[(&str, &str, u32)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for (name, text, mode) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("inside the app")).expect("made");
            fs::write(&path, text).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).expect("changed");
        }
        dir
    }

    #[track_caller]
    fn check(files: &[(&str, &str, u32)], expected: Result<&str, NoChoice>) {
        let app = app(files);
        let programs = programs(app.path()).expect("readable");
        assert_eq!(choose(&programs), expected);
    }

    #[test]
    fn starts_the_only_program_or_the_one_with_a_telling_name() {
        let script = "#!/bin/sh\n";
        check(&[("hello", script, 0o755)], Ok("hello"));
        check(&[("bin/hello", "\x7fELF\x02", 0o755)], Ok("bin/hello"));
        check(
            &[("hello", script, 0o755), ("README", "text", 0o755)],
            Ok("hello"),
        );
        check(
            &[("a", script, 0o755), ("bin/web", script, 0o755)],
            Ok("bin/web"),
        );
        check(
            &[("start", script, 0o755), ("server", script, 0o755)],
            Ok("server"),
        );
        check(&[("a", script, 0o644)], Err(NoChoice::None));
        check(&[("bin", "a file", 0o644)], Err(NoChoice::None));
        let several = NoChoice::Several(vec!["a".to_owned(), "b".to_owned()]);
        check(&[("a", script, 0o755), ("b", script, 0o755)], Err(several));
    }
}
