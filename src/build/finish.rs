//! What an author wants of the image beyond what its buildpacks say: when it was made, and what it starts.

use std::error::Error;

use builder::{Built, Process};
use container::Store;
use jiff::Timestamp;

#[derive(clap::Args)]
pub(super) struct Wishes {
    /// The process type that the image starts; the buildpacks' own choice when absent
    #[arg(short = 'D', long, value_name = "TYPE")]
    default_process: Option<String>,
    /// When the image says that it was made: `now`, or seconds since 1970; 1980 when absent, for builds that can be repeated
    #[arg(long, value_name = "TIME", value_parser = creation_time)]
    creation_time: Option<Timestamp>,
}

impl Wishes {
    /// The same image with what is wished for.
    pub(super) fn apply(&self, mut built: Built, store: &Store) -> Result<Built, Box<dyn Error>> {
        if let Some(kind) = &self.default_process {
            let entrypoint = builder::entrypoint(kind);
            check(kind, &built.processes)?;
            built.config.entrypoint = vec![entrypoint];
            built.default = Some(kind.clone());
        }
        built.config.created = self.creation_time.map(|time| time.to_string());
        built.image = store.put_image(&built.config)?;
        Ok(built)
    }
}

fn check(kind: &str, processes: &[Process]) -> Result<(), String> {
    if processes.iter().any(|process| process.kind == kind) {
        return Ok(());
    }
    let kinds: Vec<&str> = processes.iter().map(|one| one.kind.as_str()).collect();
    Err(match kinds.as_slice() {
        [] => format!("there is no process type `{kind}`: the buildpacks have made none"),
        kinds => format!(
            "there is no process type `{kind}`; there are {}",
            kinds.join(", ")
        ),
    })
}

fn creation_time(text: &str) -> Result<Timestamp, String> {
    if text == "now" {
        let now = Timestamp::now().as_second();
        return Timestamp::from_second(now).map_err(|error| error.to_string());
    }
    let seconds = text.parse().ok();
    let time = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.ok_or_else(|| "neither `now` nor a number of seconds since 1970".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_now_or_a_number() {
        let shown = |text: &str| creation_time(text).map(|time| time.to_string());
        assert_eq!(shown("0").unwrap(), "1970-01-01T00:00:00Z");
        assert_eq!(shown("1641013200").unwrap(), "2022-01-01T05:00:00Z");
        assert!(!shown("now").unwrap().contains('.'));
        for text in [
            "",
            "later",
            "1.5",
            "99999999999999999999",
            "999999999999999",
        ] {
            assert!(shown(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_process_type_has_to_be_there() {
        let process = |kind: &str| Process {
            kind: kind.to_owned(),
            command: vec![],
            args: vec![],
        };
        let two = [process("web"), process("worker")];
        assert_eq!(check("worker", &two), Ok(()));
        assert_eq!(
            check("job", &two).unwrap_err(),
            "there is no process type `job`; there are web, worker"
        );
        assert!(check("job", &[]).unwrap_err().ends_with("have made none"));
    }
}
