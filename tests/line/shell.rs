//! Commands as a user types them, run by bash with a deadline.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

/// Sourced before every command: `ssh` that knows the server, `app` to make a folder a git repository with a remote,
/// `eventually` for what becomes true soon, and one stream for both outputs, as on a terminal.
const PRELUDE: &str = include_str!("prelude.sh");

/// What a command printed (stdout and stderr in order) and its exit status.
#[must_use]
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) command: String,
    pub(crate) text: String,
    pub(crate) status: i32,
}

impl Said {
    /// The text of a command that must have succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.status, 0, "`{}` failed:\n{}", self.command, self.text);
        self.text
    }

    /// The text of a command that must have failed with `status`.
    #[track_caller]
    pub(crate) fn fails(self, status: i32) -> String {
        assert_eq!(
            self.status, status,
            "`{}` said:\n{}",
            self.command, self.text
        );
        self.text
    }
}

/// Runs `line` in `folder`. Past the deadline its process group is killed, and the status is 137.
pub(crate) fn run(bash: &mut Command, folder: &Path, line: &str, deadline: Duration) -> Said {
    let output = prepared(bash, folder, line, deadline).output();
    said(line, &output.expect("bash runs"))
}

/// The same, under way beside the caller.
pub(crate) fn prepared<'c>(
    bash: &'c mut Command,
    folder: &Path,
    line: &str,
    deadline: Duration,
) -> &'c mut Command {
    let script = format!("{PRELUDE}\n{line}\n");
    // `timeout` leads a process group of its own: what the line starts in the background ends with it.
    bash.arg("timeout")
        .args([
            "--signal=KILL",
            &deadline.as_secs().to_string(),
            "bash",
            "-c",
            &script,
        ])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
}

pub(crate) fn said(line: &str, output: &Output) -> Said {
    let text = String::from_utf8_lossy(&output.stdout);
    let trouble = String::from_utf8_lossy(&output.stderr);
    // git pads the server's lines with blanks where it has no terminal to erase on.
    let text: String = text
        .lines()
        .chain(trouble.lines())
        .map(|line| format!("{}\n", line.trim_end()))
        .collect();
    Said {
        command: line.to_owned(),
        text,
        status: output.status.code().unwrap_or(137),
    }
}
