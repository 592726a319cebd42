//! The process types that an image declares, from the label that the build's export wrote.

use std::collections::BTreeMap;

use container::ImageConfig;
use serde::Deserialize;

use crate::{ProcessType, error::ImageError};

/// Platform spec, "io.buildpacks.build.metadata (JSON)".
const LABEL: &str = "io.buildpacks.build.metadata";

/// The command of each process type, for people to read: the image's launcher knows how to run it.
pub(crate) type Processes = BTreeMap<ProcessType, String>;

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    processes: Vec<Process>,
}

#[derive(Deserialize)]
struct Process {
    #[serde(rename = "type")]
    process_type: ProcessType,
    command: Command,
    /// `null` when there are none.
    args: Option<Vec<String>>,
}

/// A list since Platform API 0.10, a text before.
#[derive(Deserialize)]
#[serde(untagged)]
enum Command {
    Words(Vec<String>),
    Text(String),
}

/// An image without the label declares none.
pub(crate) fn of_image(config: &ImageConfig) -> Result<Processes, ImageError> {
    let Some(json) = config.labels.get(LABEL) else {
        return Ok(Processes::new());
    };
    let metadata: Metadata = serde_json::from_str(json).map_err(|source| ImageError::Label {
        label: LABEL,
        source,
    })?;
    let processes = metadata.processes.into_iter().map(|process| {
        let mut words = match process.command {
            Command::Words(words) => words,
            Command::Text(text) => vec![text],
        };
        words.extend(process.args.unwrap_or_default());
        (process.process_type, words.join(" "))
    });
    Ok(processes.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(label: Option<&str>, expected: Option<&[(&str, &str)]>) {
        let config = ImageConfig {
            env: vec![],
            entrypoint: vec![],
            working_dir: String::new(),
            user: String::new(),
            labels: label
                .map(|json| (LABEL.to_owned(), json.to_owned()))
                .into_iter()
                .collect(),
            layers: vec![],
            ..ImageConfig::default()
        };
        let expected: Option<Processes> = expected.map(|rows| {
            rows.iter()
                .map(|(name, command)| (name.parse().unwrap(), (*command).to_owned()))
                .collect()
        });
        assert_eq!(of_image(&config).ok(), expected, "{label:?}");
    }

    #[test]
    fn processes_are_read_from_the_label() {
        check(None, Some(&[]));
        check(Some("{}"), Some(&[]));
        check(
            Some(
                r#"{"processes":[{"type":"web","command":"node","args":["a.js"],"direct":false}]}"#,
            ),
            Some(&[("web", "node a.js")]),
        );
        check(
            Some(
                r#"{"processes":[{"type":"web","command":["bash","-c"],"args":["x"]},{"type":"b","command":["y"],"args":null}]}"#,
            ),
            Some(&[("web", "bash -c x"), ("b", "y")]),
        );
        check(
            Some(r#"{"processes":[{"type":"../x","command":"y"}]}"#),
            None,
        );
        check(Some("nonsense"), None);
    }
}
