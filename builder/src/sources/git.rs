//! A buildpack from a git repository, by the machine's own git: only its trees are used, and none of its hooks run.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use container::unpack::{Bounds, unpack};

use super::{SourceError, tree};

const WORDS_MAX: usize = 400;

/// Fetches one commit of `url` and unpacks its files into `into`; returns its short id.
pub(super) fn checkout(
    url: &str,
    rev: Option<&str>,
    scratch: &Path,
    into: &Path,
) -> Result<String, SourceError> {
    let repo = scratch.join("repo.git");
    run(
        scratch,
        "make a repository",
        &["init", "-q", "--bare", "repo.git"],
    )?;
    let fetch = [
        "fetch",
        "-q",
        "--depth=1",
        "--no-tags",
        "--",
        url,
        rev.unwrap_or("HEAD"),
    ];
    run(&repo, "fetch it", &fetch)?;
    let commit = run(
        &repo,
        "find the commit",
        &["rev-parse", "--short=12", "FETCH_HEAD"],
    )?;
    let archive = run(
        &repo,
        "read its files",
        &["archive", "--format=tar", "FETCH_HEAD"],
    )?;
    tree::make_dir(into)?;
    unpack(archive.as_slice(), into, Bounds::default(), |path| {
        Some(path.to_owned())
    })?;
    Ok(String::from_utf8_lossy(&commit).trim().to_owned())
}

fn run(dir: &Path, action: &'static str, args: &[&str]) -> Result<Vec<u8>, SourceError> {
    let failed = |why: String| SourceError::Git { action, why };
    let output = Command::new("git")
        // A server that says nothing for a minute is given up.
        .args([
            "-c",
            "http.lowSpeedLimit=1000",
            "-c",
            "http.lowSpeedTime=60",
        ])
        .args(args)
        .current_dir(dir)
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_ALLOW_PROTOCOL", "https:http:ssh")
        .env(
            "GIT_SSH_COMMAND",
            "ssh -o BatchMode=yes -o ConnectTimeout=15",
        )
        .env_remove("GIT_DIR")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(format!("`git` cannot be run on this machine: {error}")))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let line = words.lines().last().unwrap_or_default();
    let plain = line.chars().filter(|char| !char.is_control());
    Err(failed(plain.take(WORDS_MAX).collect()))
}
