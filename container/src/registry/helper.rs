//! Docker's credential helpers: programs called `docker-credential-<name>` that take a server on stdin and give JSON
//! (docker/docker-credential-helpers, "Development").

use std::{
    io::{Read as _, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Instant,
};

use serde::Deserialize;

use super::credentials::{Credential, HELPER_TIME_MAX};

pub(super) const PREFIX: &str = "docker-credential-";
/// What a helper says when it has none.
const NOT_FOUND: &str = "credentials not found";
/// The user name that marks an identity token.
const TOKEN_USER: &str = "<token>";
const OUTPUT_BYTES_MAX: u64 = 64 * 1024;
const LOOK_INTERVAL: std::time::Duration = std::time::Duration::from_millis(10);

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
    run(Path::new(&format!("{PREFIX}{name}")), server)
}

pub(super) fn run(program: &Path, server: &str) -> Result<Option<Credential>, String> {
    let failed = |why: &dyn std::fmt::Display| format!("{}: {why}", program.display());
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| failed(&error))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read its input tells by its exit status.
        _ = writeln!(stdin, "{server}");
    }
    let stdout = child.stdout.take();
    let reader = thread::spawn(move || {
        let mut text = String::new();
        let read = stdout.map(|out| out.take(OUTPUT_BYTES_MAX).read_to_string(&mut text));
        read.map(|_| text).unwrap_or_default()
    });
    let success = wait(&mut child).ok_or_else(|| failed(&"it did not end in time"))?;
    let text = reader.join().unwrap_or_default();
    match serde_json::from_str::<Found>(&text) {
        Ok(found) if success => Ok(credential(found)),
        _ if text.contains(NOT_FOUND) => Ok(None),
        _ => Err(failed(&"it failed")),
    }
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

/// Whether it succeeded; `None` when it had to be killed.
fn wait(child: &mut Child) -> Option<bool> {
    let deadline = Instant::now() + HELPER_TIME_MAX;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status.success()),
            Ok(None) if Instant::now() < deadline => thread::sleep(LOOK_INTERVAL),
            _ => {
                _ = child.kill();
                _ = child.wait();
                return None;
            }
        }
    }
}
