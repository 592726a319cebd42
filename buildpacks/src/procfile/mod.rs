//! The process types that the app declares in its `Procfile`.

mod errors;
mod parse;

use std::{fs, io, path::Path};

use libcnb::{
    Buildpack,
    build::{BuildContext, BuildResult, BuildResultBuilder},
    data::launch::{Launch, LaunchBuilder, ProcessBuilder},
    detect::{DetectContext, DetectResult, DetectResultBuilder},
    generic::{GenericMetadata, GenericPlatform},
};

pub(crate) use errors::ProcfileError;
use parse::{Entry, parse};

use crate::{
    error::{IoContext, IoError, report},
    print,
};

pub(crate) struct Procfile;

impl Buildpack for Procfile {
    type Platform = GenericPlatform;
    type Metadata = GenericMetadata;
    type Error = ProcfileError;

    fn detect(&self, context: DetectContext<Self>) -> libcnb::Result<DetectResult, ProcfileError> {
        match is_present(&context.app_dir) {
            true => DetectResultBuilder::pass().build(),
            false => {
                if let Some(name) = misspelled(&context.app_dir) {
                    print::detail(&format!(
                        "Found `{name}`, but the name must be exactly `Procfile`"
                    ));
                }
                DetectResultBuilder::fail().build()
            }
        }
    }

    fn build(&self, context: BuildContext<Self>) -> libcnb::Result<BuildResult, ProcfileError> {
        print::step("Discovering process types");
        let entries = read(&context.app_dir)?;
        let types: Vec<&str> = entries.iter().map(|entry| entry.kind.as_str()).collect();
        print::detail(&format!("Procfile declares types -> {}", types.join(", ")));
        BuildResultBuilder::new().launch(launch(&entries)).build()
    }

    fn on_error(&self, error: libcnb::Error<ProcfileError>) {
        report(error, errors::explain);
    }
}

pub(crate) fn is_present(app: &Path) -> bool {
    app.join("Procfile").is_file()
}

/// Whether the app's Procfile says what serves HTTP. A Procfile that cannot be read says so itself, later.
pub(crate) fn declares_web(app: &Path) -> bool {
    read(app).is_ok_and(|entries| entries.iter().any(|entry| entry.kind.as_str() == "web"))
}

fn read(app: &Path) -> Result<Vec<Entry>, ProcfileError> {
    let path = app.join("Procfile");
    let bytes = fs::read(&path).at("read", &path)?;
    let text = String::from_utf8(bytes)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        .at("read", &path)?;
    Ok(parse(&text)?)
}

/// Commands are for a shell, because people write `$PORT` in them; the default is `web`, or the only one there is.
fn launch(entries: &[Entry]) -> Launch {
    let mut launch = LaunchBuilder::new();
    for entry in entries {
        let default = entry.kind.as_str() == "web" || entries.len() == 1;
        launch.process(
            ProcessBuilder::new(entry.kind.clone(), ["bash", "-c"])
                .arg(&entry.command)
                .default(default)
                .build(),
        );
    }
    launch.build()
}

fn misspelled(app: &Path) -> Option<String> {
    fs::read_dir(app).ok()?.flatten().find_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let stem = name.to_ascii_lowercase();
        matches!(
            stem.as_str(),
            "procfile" | "procfile.txt" | "profile.txt" | "procfiles"
        )
        .then_some(name)
    })
}

impl From<IoError> for ProcfileError {
    fn from(error: IoError) -> ProcfileError {
        ProcfileError::Read(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_web_or_the_only_one() {
        let defaults = |text: &str| -> Vec<String> {
            launch(&parse(text).expect("a Procfile"))
                .processes
                .into_iter()
                .filter(|process| process.default)
                .map(|process| process.r#type.to_string())
                .collect()
        };
        assert_eq!(defaults("worker: a\nweb: b\n"), ["web"]);
        assert_eq!(defaults("worker: a\n"), ["worker"]);
        assert!(defaults("worker: a\nclock: b\n").is_empty());
    }
}
