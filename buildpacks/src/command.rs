//! Running other programs: their output streamed under the current step, or captured to be judged first.

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

use crate::print;

/// A longer line is printed in pieces.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// Captured output beyond this is dropped: what explains a failure stands in its last or first lines, not after a MiB.
const CAPTURE_BYTES_MAX: u64 = 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("could not start `{command}`")]
    Start { command: String, source: io::Error },
    #[error("could not read the output of `{command}`")]
    Output { command: String, source: io::Error },
    #[error("`{command}` ended with {status}")]
    Exit { command: String, status: ExitStatus },
}

/// Runs `command`, both its outputs indented on ours as they come; an exit status other than 0 is an error.
pub(crate) fn stream(command: &mut Command) -> Result<(), CommandError> {
    let status = run(command, |output| {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        loop {
            line.clear();
            let mut limited = output.by_ref().take(LINE_BYTES_MAX);
            if limited.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            print::child_line(line.strip_suffix(b"\n").unwrap_or(&line));
        }
    })?;
    match status.success() {
        true => Ok(()),
        false => Err(CommandError::Exit {
            command: words(command),
            status,
        }),
    }
}

/// What a program said, and how it ended.
pub(crate) struct Captured {
    pub(crate) status: ExitStatus,
    pub(crate) output: String,
}

/// Runs `command` and keeps the first MiB of both its outputs.
pub(crate) fn capture(command: &mut Command) -> Result<Captured, CommandError> {
    let mut bytes = Vec::new();
    let status = run(command, |mut output| {
        output
            .by_ref()
            .take(CAPTURE_BYTES_MAX)
            .read_to_end(&mut bytes)?;
        io::copy(&mut output, &mut io::sink())?;
        Ok(())
    })?;
    Ok(Captured {
        status,
        output: String::from_utf8_lossy(&bytes).into_owned(),
    })
}

/// The error that a captured failure is, once it has been judged to be one.
pub(crate) fn failed(command: &Command, status: ExitStatus) -> CommandError {
    CommandError::Exit {
        command: words(command),
        status,
    }
}

fn run(
    command: &mut Command,
    read: impl FnOnce(io::PipeReader) -> io::Result<()>,
) -> Result<ExitStatus, CommandError> {
    let start = |command: &Command, source| CommandError::Start {
        command: words(command),
        source,
    };
    // One pipe for both outputs: their lines stay in the order in which they were written.
    let (reader, writer) = io::pipe().map_err(|source| start(command, source))?;
    let second = writer
        .try_clone()
        .map_err(|source| start(command, source))?;
    command.stdin(Stdio::null()).stdout(writer).stderr(second);
    let mut child = command.spawn().map_err(|source| start(command, source))?;
    // `command` holds our copies of the writing ends, which would keep the pipe open for ever.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let read = read(reader);
    let output = |source| CommandError::Output {
        command: words(command),
        source,
    };
    let status = child.wait().map_err(output)?;
    read.map_err(output)?;
    Ok(status)
}

/// The command as one would type it, without the folder of the program.
fn words(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut words = vec![program.file_name().unwrap_or(program.as_os_str())];
    words.extend(command.get_args());
    words
        .iter()
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The first executable called `name` in PATH.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    path_dirs()
        .into_iter()
        .map(|dir| dir.join(name))
        .find(|path| is_executable(path))
}

pub(crate) fn path_dirs() -> Vec<PathBuf> {
    env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect()
}

pub(crate) fn is_executable(path: &Path) -> bool {
    fs::metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_both_outputs_in_order() {
        let captured =
            capture(Command::new("sh").args(["-c", "echo out; echo err >&2; echo out2; exit 3"]))
                .expect("ran");
        assert_eq!(captured.output, "out\nerr\nout2\n");
        assert_eq!(captured.status.code(), Some(3));
    }

    #[test]
    fn more_output_than_is_kept_does_not_block_the_program() {
        let captured =
            capture(Command::new("sh").args(["-c", "head -c 3000000 /dev/zero"])).expect("ran");
        assert_eq!(captured.output.len() as u64, CAPTURE_BYTES_MAX);
        assert!(captured.status.success());
    }

    #[test]
    fn a_failure_names_the_command() {
        let error = stream(Command::new("/bin/sh").args(["-c", "exit 7"])).expect_err("fails");
        assert_eq!(
            error.to_string(),
            "`sh -c exit 7` ended with exit status: 7"
        );
        let error = stream(&mut Command::new("/nowhere/tool")).expect_err("fails");
        assert_eq!(error.to_string(), "could not start `tool`");
    }
}
