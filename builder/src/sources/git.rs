//! A buildpack from a git repository, by the machine's own git: only its trees are used, and none of its hooks run.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use container::unpack::{Bounds, unpack};

use super::{SourceError, tree};

const WORDS_MAX: usize = 400;
/// Of git's: what reaches files of this machine, or runs a program, is not among them.
const PROTOCOLS: &str = "https:http:ssh";
/// Without keys there is nobody to be over ssh.
const PROTOCOLS_FOR_OTHERS: &str = "https:http";

/// On whose behalf a repository is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetcher {
    /// Of whoever runs this program: with the keys and the credentials that git finds for them.
    Ourselves,
    /// Of somebody who must not act in our name.
    Others,
}

/// Fetches one commit of `url` and unpacks its files into `into`; returns its short id.
pub(super) fn checkout(
    fetcher: Fetcher,
    url: &str,
    rev: Option<&str>,
    scratch: &Path,
    into: &Path,
) -> Result<String, SourceError> {
    let protocols = match fetcher {
        Fetcher::Ourselves => PROTOCOLS,
        Fetcher::Others => PROTOCOLS_FOR_OTHERS,
    };
    checkout_by(fetcher, protocols, url, rev, scratch, into)
}

fn checkout_by(
    fetcher: Fetcher,
    protocols: &'static str,
    url: &str,
    rev: Option<&str>,
    scratch: &Path,
    into: &Path,
) -> Result<String, SourceError> {
    // Nobody's: it has no key, no `.netrc`, no helper and no setting.
    let home = scratch.join("home");
    tree::make_dir(&home)?;
    let home = (fetcher == Fetcher::Others).then_some(home.as_path());
    let run = |dir: &Path, action, args: &[&str]| run(protocols, home, dir, action, args);
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

/// In the `home`, if there is one, and then with nothing of our own environment that git could log in with.
fn run(
    protocols: &str,
    home: Option<&Path>,
    dir: &Path,
    action: &'static str,
    args: &[&str],
) -> Result<Vec<u8>, SourceError> {
    let failed = |why: String| SourceError::Git { action, why };
    let mut git = Command::new("git");
    if let Some(home) = home {
        git.env("HOME", home)
            .env("XDG_CONFIG_HOME", home)
            .env_remove("GIT_CONFIG_GLOBAL")
            .env_remove("GIT_CONFIG_COUNT")
            .env_remove("GIT_CONFIG_PARAMETERS")
            .env_remove("GIT_ASKPASS")
            .env_remove("SSH_ASKPASS")
            .env_remove("SSH_AUTH_SOCK");
    }
    let output = git
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
        .env("GIT_ALLOW_PROTOCOL", protocols)
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_commit_is_fetched_and_nothing_but_its_files() {
        let temp = tempfile::tempdir().unwrap();
        let origin = temp.path().join("origin");
        fs::create_dir_all(origin.join("bin")).unwrap();
        fs::write(origin.join("bin/detect"), "one").unwrap();
        let git = |args: &[&str]| {
            let names = ["-c", "user.name=n", "-c", "user.email=e@x"];
            let done = Command::new("git")
                .args(names)
                .args(args)
                .current_dir(&origin)
                .output();
            assert!(done.unwrap().status.success(), "{args:?}");
        };
        git(&["init", "-q"]);
        git(&["add", "."]);
        git(&["commit", "-qm", "one"]);
        git(&["tag", "v1"]);
        fs::write(origin.join("bin/detect"), "two").unwrap();
        git(&["commit", "-qam", "two"]);
        let url = format!("file://{}", origin.display());
        for (rev, expected) in [(Some("v1"), "one"), (None, "two")] {
            let scratch = tempfile::tempdir().unwrap();
            let tree = scratch.path().join("tree");
            let commit =
                checkout_by(Fetcher::Others, "file", &url, rev, scratch.path(), &tree).unwrap();
            assert_eq!(commit.len(), 12);
            assert_eq!(
                fs::read_to_string(tree.join("bin/detect")).unwrap(),
                expected
            );
            assert!(!tree.join(".git").exists());
        }
        let scratch = tempfile::tempdir().unwrap();
        let tree = scratch.path().join("tree");
        let url_with_keys = "ssh://git@127.0.0.1:1/x.git";
        let failed = checkout(Fetcher::Others, url_with_keys, None, scratch.path(), &tree);
        let said = failed.unwrap_err().to_string();
        assert!(said.contains("'ssh' not allowed"), "{said}");
        for (url, rev) in [
            (url.as_str(), None),
            ("ext::sh -c true", None),
            ("https://127.0.0.1:1/x.git", Some("v1")),
        ] {
            let scratch = tempfile::tempdir().unwrap();
            let failed = checkout(
                Fetcher::Ourselves,
                url,
                rev,
                scratch.path(),
                &scratch.path().join("tree"),
            );
            assert!(
                matches!(failed, Err(SourceError::Git { .. })),
                "{url}: {failed:?}"
            );
        }
    }
}
