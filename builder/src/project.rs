//! `project.toml` of an app (CNB project descriptor 0.2, and the tables of 0.1 that people still have): which files are
//! built, by which buildpacks, with which environment. Where it names no buildpacks, `.buildpacks` may: Heroku's list of
//! addresses, one a line.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use container::registry::NotAReference;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use serde::Deserialize;

use crate::{
    files::{self, BadFile, TOML_BYTES_MAX, Untrusted},
    id::{BuildpackId, Version},
    sources::{Asked, Inline, SourceUri, Wanted},
};

const FILE: &str = "project.toml";
const LIST: &str = ".buildpacks";
const LIST_BYTES_MAX: u64 = 64 * 1024;
const SCRIPT_VERSION: &str = "0.0.0";
const SHELL: &str = "/bin/sh";

/// What an app says about its build; nothing, where it has no such file.
#[derive(Debug, Clone, Default)]
pub struct Project {
    /// The file that names the buildpacks.
    pub said_in: &'static str,
    /// Between those that are always there; detection decides when there are none.
    pub buildpacks: Vec<Wanted>,
    /// A builder image.
    pub builder: Option<String>,
    /// For the buildpacks; config vars of the same name win.
    pub env: BTreeMap<String, String>,
    include: Vec<String>,
    exclude: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Descriptor {
    io: Io,
    /// Of 0.1.
    build: Build,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Io {
    buildpacks: Build,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Build {
    builder: Option<String>,
    include: Vec<String>,
    exclude: Vec<String>,
    #[serde(alias = "buildpacks")]
    group: Vec<Entry>,
    pre: Around,
    post: Around,
    env: Vec<Variable>,
    build: BuildEnv,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Around {
    group: Vec<Entry>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct BuildEnv {
    env: Vec<Variable>,
}

#[derive(Deserialize)]
struct Variable {
    name: String,
    value: String,
}

#[derive(Deserialize)]
struct Entry {
    id: Option<BuildpackId>,
    version: Option<Version>,
    uri: Option<String>,
    script: Option<Script>,
}

#[derive(Deserialize)]
struct Script {
    api: String,
    inline: String,
    shell: Option<String>,
}

impl Project {
    /// Of an app's source. What its buildpacks' paths name lies within it: the file comes from whoever pushes.
    pub fn read(source: &Path) -> Result<Self, BadFile> {
        let dir = Untrusted::open(source, ".")?;
        let descriptor = dir.bytes(FILE, TOML_BYTES_MAX)?.unwrap_or_default();
        let mut project = Self::parse(&descriptor, source)?;
        if project.buildpacks.is_empty() && project.builder.is_none() {
            project.said_in = LIST;
            project.buildpacks = list(&dir, source)?;
        }
        Ok(project)
    }

    pub(crate) fn parse(bytes: &[u8], source: &Path) -> Result<Self, BadFile> {
        let descriptor: Descriptor = files::parse(FILE, bytes)?;
        let old = descriptor.build;
        let new = descriptor.io.buildpacks;
        let mut project = Self {
            said_in: FILE,
            builder: new.builder,
            include: [new.include, old.include].concat(),
            exclude: [new.exclude, old.exclude].concat(),
            ..Self::default()
        };
        if !project.include.is_empty() && !project.exclude.is_empty() {
            return Err(BadFile::new(
                FILE,
                "has both `include` and `exclude`; one of them says it all",
            ));
        }
        let env = new.build.env.into_iter().chain(old.env);
        project.env = env.map(|one| (one.name, one.value)).collect();
        let groups = [new.pre.group, new.group, old.group, new.post.group];
        for entry in groups.into_iter().flatten() {
            project.buildpacks.push(entry.wanted(source)?);
        }
        Ok(project)
    }

    /// Buildpacks by name go before a builder.
    pub fn asked(&self) -> Result<Asked<'_>, NotAReference> {
        Ok(match (self.buildpacks.as_slice(), &self.builder) {
            ([], None) => Asked::Any,
            ([], Some(builder)) => Asked::Builder(builder.parse()?),
            (wanted, _) => Asked::These(Cow::Borrowed(wanted)),
        })
    }

    /// Removes from `source` what the build is not to see; returns how many files that were.
    pub fn prune(&self, source: &Path) -> Result<usize, BadFile> {
        let keep = !self.include.is_empty();
        let patterns = if keep { &self.include } else { &self.exclude };
        if patterns.is_empty() {
            return Ok(0);
        }
        let matcher = matcher(patterns)?;
        let pruned = prune(source, Path::new(""), &matcher, keep);
        pruned.map_err(|error| BadFile::new(FILE, format!("its files cannot be left out: {error}")))
    }
}

impl Entry {
    fn wanted(self, source: &Path) -> Result<Wanted, BadFile> {
        let wrong = |why: String| BadFile::new(FILE, why);
        match (self.id, self.uri, self.script) {
            (Some(id), None, Some(script)) => Ok(Wanted::Inline(Inline {
                version: match self.version {
                    Some(version) => version,
                    None => Version::try_from(SCRIPT_VERSION.to_owned()).map_err(wrong)?,
                },
                id,
                api: script.api,
                shell: script.shell.unwrap_or_else(|| SHELL.to_owned()),
                script: script.inline,
            })),
            (_, Some(uri), None) => of_app(&uri, source).map_err(wrong),
            (Some(id), None, None) => Ok(Wanted::Source(SourceUri::Installed {
                id,
                version: self.version,
            })),
            _ => Err(wrong(
                "a buildpack of it needs `id`, `uri`, or `id` and `script`".to_owned(),
            )),
        }
    }
}

/// A buildpack as the app names it: a path lies within the app.
fn of_app(text: &str, source: &Path) -> Result<Wanted, String> {
    let uri = SourceUri::parse(text, Some(source)).map_err(|error| error.to_string())?;
    let SourceUri::Path(path) = uri else {
        return Ok(Wanted::Source(uri));
    };
    let real = |path: &Path| path.canonicalize();
    let within = real(&path).and_then(|path| Ok(path.starts_with(real(source)?)));
    let name = path.strip_prefix(source).unwrap_or(&path);
    let name = name.display().to_string();
    match within {
        Ok(true) => Ok(Wanted::Own { path, name }),
        _ => Err(format!(
            "the buildpack `{name}` is not a folder or file of the app"
        )),
    }
}

/// `.buildpacks`, without empty lines and comments.
fn list(dir: &Untrusted, source: &Path) -> Result<Vec<Wanted>, BadFile> {
    let bytes = dir.bytes(LIST, LIST_BYTES_MAX)?.unwrap_or_default();
    let text = String::from_utf8(bytes).map_err(|_| BadFile::new(LIST, "is not UTF-8"))?;
    let lines = (1..).zip(text.lines().map(str::trim));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let wanted = lines.map(|(number, line)| {
        of_app(line, source).map_err(|what| BadFile {
            line: Some(number),
            ..BadFile::new(LIST, what)
        })
    });
    wanted.collect()
}

fn matcher(patterns: &[String]) -> Result<Gitignore, BadFile> {
    let wrong = |error: ignore::Error| BadFile::new(FILE, format!("has an odd pattern: {error}"));
    let mut builder = GitignoreBuilder::new("");
    for pattern in patterns {
        builder.add_line(None, pattern).map_err(wrong)?;
    }
    builder.build().map_err(wrong)
}

/// `keep`: only what matches stays, and what lies below it. Otherwise what matches goes.
fn prune(root: &Path, below: &Path, matcher: &Gitignore, keep: bool) -> io::Result<usize> {
    let mut pruned = 0;
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path: PathBuf = below.join(entry.file_name());
        let is_dir = entry.file_type()?.is_dir();
        let matches = matcher
            .matched_path_or_any_parents(&path, is_dir)
            .is_ignore();
        if matches && keep {
            continue;
        }
        if matches && is_dir {
            fs::remove_dir_all(entry.path())?;
            pruned += 1;
        } else if is_dir {
            pruned += prune(root, &path, matcher, keep)?;
            if keep && fs::read_dir(entry.path())?.next().is_none() {
                fs::remove_dir(entry.path())?;
            }
        } else if matches != keep {
            fs::remove_file(entry.path())?;
            pruned += 1;
        }
    }
    Ok(pruned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(project: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), project).unwrap();
        for path in ["a/x.md", "a/b/y.md", "a/b/z.rs", "docs/d", "keep.md"] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        dir
    }

    fn files(dir: &Path, below: &str) -> Vec<String> {
        let mut found = vec![];
        for entry in fs::read_dir(dir.join(below)).unwrap().flatten() {
            let path = format!("{below}{}", entry.file_name().display());
            if entry.path().is_dir() {
                found.extend(files(dir, &format!("{path}/")));
            } else {
                found.push(path);
            }
        }
        found.sort();
        found
    }

    #[test]
    fn only_what_is_wanted_is_built() {
        for (patterns, expected) in [
            (
                "exclude = ['*.md', '/docs', '!keep.md']",
                "a/b/z.rs keep.md project.toml",
            ),
            ("exclude = ['a/b/']", "a/x.md docs/d keep.md project.toml"),
            ("include = ['a/b', 'keep.md']", "a/b/y.md a/b/z.rs keep.md"),
            ("include = ['*.rs']", "a/b/z.rs"),
            ("", "a/b/y.md a/b/z.rs a/x.md docs/d keep.md project.toml"),
        ] {
            let dir = app(&format!(
                "[_]\nschema-version='0.2'\n[io.buildpacks]\n{patterns}\n"
            ));
            Project::read(dir.path())
                .unwrap()
                .prune(dir.path())
                .unwrap();
            assert_eq!(files(dir.path(), "").join(" "), expected, "{patterns}");
        }
    }

    #[test]
    fn buildpacks_and_environment_are_read() {
        let dir = app(
            "[io.buildpacks]\nbuilder='b'\n[[io.buildpacks.group]]\nid='a/b'\nversion='1'\n[[io.buildpacks.group]]\nuri='a'\n\
             [[io.buildpacks.pre.group]]\nid='me/script'\nscript={api='0.10', inline='echo hi'}\n\
             [[io.buildpacks.build.env]]\nname='N'\nvalue='v'\n",
        );
        let project = Project::read(dir.path()).unwrap();
        assert_eq!(project.builder.as_deref(), Some("b"));
        assert_eq!(project.env["N"], "v");
        let [
            Wanted::Inline(inline),
            Wanted::Source(SourceUri::Installed { .. }),
            Wanted::Own { path, .. },
        ] = project.buildpacks.as_slice()
        else {
            panic!("{:?}", project.buildpacks);
        };
        assert_eq!(
            (inline.shell.as_str(), path),
            ("/bin/sh", &dir.path().join("a"))
        );
        let old = app(
            "[build]\nexclude=['x']\n[[build.buildpacks]]\nid='a'\n[[build.env]]\nname='A'\nvalue='b'\n",
        );
        let old = Project::read(old.path()).unwrap();
        assert_eq!((old.buildpacks.len(), old.env["A"].as_str()), (1, "b"));
    }

    #[test]
    fn a_list_of_addresses_counts_where_project_toml_names_none() {
        let check = |project: &str, list: &str, expected: &str| {
            let dir = app(project);
            fs::write(dir.path().join(LIST), list).unwrap();
            let said = match Project::read(dir.path()) {
                Ok(project) => format!("{}: {:?}", project.said_in, project.buildpacks),
                Err(bad) => bad.to_string(),
            };
            assert!(said.contains(expected), "{said}");
        };
        let two = "# Heroku's\n\nhttps://x.io/a#v1\r\n  a \n";
        check(
            "",
            two,
            ".buildpacks: [Source(Git { url: \"https://x.io/a\"",
        );
        check("", two, "name: \"a\" }]");
        check("[io.buildpacks]\nexclude=['x']", two, ".buildpacks: [S");
        check("[io.buildpacks]\nbuilder='b'", two, "project.toml: []");
        let group = "[[io.buildpacks.group]]\nid='a/b'";
        check(group, "../x", "project.toml: [Source(Installed");
        check(
            "",
            "\n../x",
            ".buildpacks, line 2: the buildpack `../x` is not",
        );
        check("", "-x", ".buildpacks, line 1: `-x` names no buildpack");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, expected) in [
            (
                "[io.buildpacks]\ninclude=['a']\nexclude=['b']",
                "both `include` and `exclude`",
            ),
            ("[[io.buildpacks.group]]\nversion='1'", "needs `id`, `uri`"),
            (
                "[[io.buildpacks.group]]\nuri='../../etc'",
                "not a folder or file of the app",
            ),
            (
                "[[io.buildpacks.group]]\nuri='/etc'",
                "not a folder or file of the app",
            ),
            (
                "[[io.buildpacks.group]]\nuri='https://x/a.git#--x'",
                "no branch",
            ),
            ("a = ", "project.toml, line 1"),
            ("[io.buildpacks]\ngroup=[{id=1}]", "project.toml, line 2"),
        ] {
            let error = Project::read(app(text).path()).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let odd = app("[io.buildpacks]\nexclude=['a{']");
        let error = Project::read(odd.path()).unwrap().prune(odd.path());
        assert!(error.unwrap_err().to_string().contains("odd pattern"));
    }
}
