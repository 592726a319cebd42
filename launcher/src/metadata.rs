//! `<layers>/config/metadata.toml`, of which a launch needs the buildpacks and the process types.

use alloc::{borrow::ToOwned as _, format, vec::Vec};

use toml::de::{DeTable, DeValue};

use crate::{launch::Failure, sys, text::shown};

const BYTES_MAX: usize = 1024 * 1024;

/// Major and minor version of an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Api(pub(crate) u32, pub(crate) u32);

impl Api {
    fn parse(text: &[u8]) -> Option<Self> {
        let (major, minor) = core::str::from_utf8(text).ok()?.split_once('.')?;
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }
}

/// The versions that launch as this launcher does.
const PLATFORM_APIS: (Api, Api) = (Api(0, 7), Api(0, 15));
const BUILDPACK_APIS: (Api, Api) = (Api(0, 7), Api(0, 12));

pub(crate) struct Metadata {
    pub(crate) buildpacks: Vec<Buildpack>,
    pub(crate) processes: Vec<Process>,
}

pub(crate) struct Buildpack {
    pub(crate) id: Vec<u8>,
    pub(crate) api: Api,
}

#[derive(Default)]
pub(crate) struct Process {
    pub(crate) kind: Vec<u8>,
    pub(crate) command: Vec<Vec<u8>>,
    pub(crate) args: Vec<Vec<u8>>,
    pub(crate) direct: bool,
    pub(crate) buildpack: Vec<u8>,
    pub(crate) working_dir: Option<Vec<u8>>,
    pub(crate) exec_env: Vec<Vec<u8>>,
}

/// CNB_PLATFORM_API.
pub(crate) fn platform_api(value: Option<&[u8]>) -> Result<Api, Failure> {
    let value = value.filter(|value| !value.is_empty()).ok_or_else(|| {
        Failure::platform_api(
            "CNB_PLATFORM_API is not set; the image's own environment sets it".to_owned(),
        )
    })?;
    let known = |api: &Api| (PLATFORM_APIS.0..=PLATFORM_APIS.1).contains(api);
    Api::parse(value).filter(known).ok_or_else(|| {
        Failure::platform_api(format!(
            "Platform API `{}` is not supported: 0.7 to 0.15 are",
            shown(value)
        ))
    })
}

impl Metadata {
    pub(crate) fn read(path: &[u8]) -> Result<Self, Failure> {
        let wrong = |what: &str| Failure::image(format!("{}: {what}", shown(path)));
        let bytes = sys::read(path, BYTES_MAX).map_err(|error| wrong(&format!("{error}")))?;
        let text = core::str::from_utf8(&bytes).map_err(|_| wrong("is not UTF-8"))?;
        let table = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let line = 1 + bytes.iter().take(at).filter(|byte| **byte == b'\n').count();
            Failure::image(format!("{}, line {line}: {}", shown(path), error.message()))
        })?;
        let table = table.get_ref();
        Ok(Self {
            buildpacks: tables(table, "buildpacks")
                .map(Buildpack::of)
                .collect::<Result<_, _>>()?,
            processes: tables(table, "processes").map(Process::of).collect(),
        })
    }

    /// Whatever execution environment it is for.
    pub(crate) fn has(&self, kind: &[u8]) -> bool {
        self.processes.iter().any(|process| process.kind == kind)
    }

    pub(crate) fn buildpack(&self, id: &[u8]) -> Option<&Buildpack> {
        self.buildpacks.iter().find(|buildpack| buildpack.id == id)
    }
}

impl Buildpack {
    fn of(table: &DeTable<'_>) -> Result<Self, Failure> {
        let (id, api) = (text(table, "id"), text(table, "api"));
        let known = |api: &Api| (BUILDPACK_APIS.0..=BUILDPACK_APIS.1).contains(api);
        let parsed = Api::parse(&api).filter(known).ok_or_else(|| {
            Failure::buildpack_api(format!(
                "Buildpack API `{}` of {} is not supported",
                shown(&api),
                shown(&id)
            ))
        })?;
        Ok(Self { id, api: parsed })
    }
}

impl Process {
    fn of(table: &DeTable<'_>) -> Self {
        let dir = text(table, "working-dir");
        Self {
            kind: text(table, "type"),
            command: words(table, "command"),
            args: words(table, "args"),
            direct: value(table, "direct").is_some_and(|value| value.as_bool() == Some(true)),
            buildpack: text(table, "buildpack-id"),
            working_dir: (!dir.is_empty()).then_some(dir),
            exec_env: words(table, "exec-env"),
        }
    }
}

fn value<'a, 't>(table: &'a DeTable<'t>, name: &str) -> Option<&'a DeValue<'t>> {
    table.get(name).map(|value| value.get_ref())
}

/// Of an array of tables; what is none is skipped.
fn tables<'a, 't>(table: &'a DeTable<'t>, name: &str) -> impl Iterator<Item = &'a DeTable<'t>> {
    let array = value(table, name).and_then(DeValue::as_array);
    array
        .into_iter()
        .flat_map(|array| array.iter().filter_map(|value| value.get_ref().as_table()))
}

fn text(table: &DeTable<'_>, name: &str) -> Vec<u8> {
    let text = value(table, name).and_then(DeValue::as_str);
    text.unwrap_or_default().as_bytes().to_vec()
}

/// A list, or one word: `command` was one before Platform API 0.10.
fn words(table: &DeTable<'_>, name: &str) -> Vec<Vec<u8>> {
    match value(table, name) {
        Some(DeValue::Array(words)) => {
            let words = words.iter().filter_map(|word| word.get_ref().as_str());
            words.map(|word| word.as_bytes().to_vec()).collect()
        }
        Some(DeValue::String(word)) => Vec::from([word.as_bytes().to_vec()]),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    fn read(text: &str) -> Result<Metadata, Failure> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Metadata::read(file.path().as_os_str().as_bytes())
    }

    #[test]
    fn a_command_is_a_word_or_a_list() {
        let metadata = read(
            "buildpack-default-process-type = \"web\"\n[[buildpacks]]\n  id = \"a/b\"\n  version = \"1\"\n  api = \"0.9\"\n\
             [[processes]]\n  type = \"web\"\n  command = [\"x\", \"\\\"y\\\\\"]\n  direct = true\n  buildpack-id = \"a/b\"\n\
             [[processes]]\n  type = \"old\"\n  command = \"x y\"\n  args = ['z']\n  working-dir = '/w'\n  exec-env = ['test']",
        )
        .unwrap();
        assert_eq!(
            metadata.buildpack(b"a/b").map(|buildpack| buildpack.api),
            Some(Api(0, 9))
        );
        let [web, old] = &metadata.processes[..] else {
            panic!("two processes")
        };
        assert_eq!(web.command, [b"x".to_vec(), b"\"y\\".to_vec()]);
        assert!(web.direct && web.working_dir.is_none() && web.args.is_empty());
        assert_eq!(old.command, [b"x y".to_vec()]);
        assert_eq!(
            (old.args.len(), old.exec_env.len(), old.direct),
            (1, 1, false)
        );
        assert_eq!(old.working_dir.as_deref(), Some(&b"/w"[..]));
        assert!(metadata.has(b"old") && !metadata.has(b"new"));
    }

    #[test]
    fn what_cannot_be_read_says_so() {
        for (text, status) in [
            ("[[buildpacks]]\nid='a'\napi='0.13'", 12),
            ("[[buildpacks]]\nid='a'", 12),
            ("a = ", 1),
        ] {
            assert_eq!(read(text).map(|_| ()).unwrap_err().status, status, "{text}");
        }
        assert_eq!(Metadata::read(b"/none").map(|_| ()).unwrap_err().status, 1);
    }
}
