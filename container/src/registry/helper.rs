//! Docker's credential helpers: programs called `docker-credential-<name>` that take a server on stdin and give JSON
//! (docker/docker-credential-helpers, "Development").

use std::{
    fmt,
    io::{self, Read as _, Write as _},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::retry_on_intr,
    process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open},
};
use serde::Deserialize;

use super::credentials::{Credential, HELPER_TIME_MAX};

pub(super) const PREFIX: &str = "docker-credential-";
/// What a helper says when it has none.
const NOT_FOUND: &str = "credentials not found";
/// The user name that marks an identity token.
const TOKEN_USER: &str = "<token>";
const OUTPUT_BYTES_MAX: u64 = 64 * 1024;
/// From the end of a helper to that of its output, which something that it has started may hold open.
const OUTPUT_TIME_MAX: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Found {
    username: String,
    secret: String,
}

/// Asks the helper called `name` for `server`'s credentials. The error is in words, and holds nothing that it said.
pub(super) fn get(name: &str, server: &str) -> Result<Option<Credential>, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if name.is_empty() || !name.bytes().all(plain) {
        return Err("the docker configuration names a helper that cannot be one".to_owned());
    }
    run(
        Path::new(&format!("{PREFIX}{name}")),
        server,
        HELPER_TIME_MAX,
    )
}

pub(super) fn run(
    program: &Path,
    server: &str,
    time_max: Duration,
) -> Result<Option<Credential>, String> {
    let failed = |why: &dyn fmt::Display| format!("the helper {}: {why}", program.display());
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => failed(&"there is no such program in PATH"),
            _ => failed(&error),
        })?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read its input tells by its exit status.
        _ = writeln!(stdin, "{server}");
    }
    let said = said(child.stdout.take());
    let status = end(&mut child, time_max).map_err(|error| failed(&error))?;
    let status = status.ok_or_else(|| failed(&format!("no answer in {} s", time_max.as_secs())))?;
    let said = said.recv_timeout(OUTPUT_TIME_MAX).unwrap_or_default();
    match serde_json::from_slice::<Found>(&said) {
        Ok(found) if status.success() => Ok(credential(found)),
        _ if String::from_utf8_lossy(&said).contains(NOT_FOUND) => Ok(None),
        _ if status.success() => Err(failed(&"its answer is not understood")),
        _ => Err(failed(&status)),
    }
}

/// All that it prints, up to a limit; what comes beyond ends it.
fn said(stdout: Option<ChildStdout>) -> Receiver<Vec<u8>> {
    let (sender, said) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.map(|out| out.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes));
        // Nobody asks any more when it took too long.
        _ = sender.send(read.map(|_| bytes).unwrap_or_default());
    });
    said
}

/// How it ended; `None` when it had to be killed. Whatever it has started ends with it.
fn end(child: &mut Child, time_max: Duration) -> io::Result<Option<ExitStatus>> {
    let pid = Pid::from_child(child);
    let watch = pidfd_open(pid, PidfdFlags::empty())?;
    let time_max = Timespec::try_from(time_max).map_err(io::Error::other)?;
    let mut fds = [PollFd::new(&watch, PollFlags::IN)];
    let ended = retry_on_intr(|| poll(&mut fds, Some(&time_max)));
    // It has not been waited for, so the number is still its own.
    _ = kill_process_group(pid, Signal::KILL);
    let status = child.wait()?;
    Ok((ended? > 0).then_some(status))
}

fn credential(found: Found) -> Option<Credential> {
    if found.secret.is_empty() {
        return None;
    }
    Some(match found.username.as_str() {
        TOKEN_USER => Credential::Identity(found.secret),
        _ => Credential::Basic {
            user: found.username,
            password: found.secret,
        },
    })
}
