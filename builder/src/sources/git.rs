//! A buildpack from a git repository, by the machine's own git: only its trees are used, and none of its hooks run.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use container::{
    registry::{Client, Reach},
    unpack::{Bounds, unpack},
};

use super::{SourceError, tree};

const WORDS_MAX: usize = 400;
/// Of git's: what reaches files of this machine, or runs a program, is not among them.
const PROTOCOLS: &str = "https:http:ssh";
/// Without keys there is nobody to be over ssh.
const PROTOCOLS_FOR_OTHERS: &str = "https:http";
/// What git asks a web server for first.
const FIRST_QUESTION: &str = "/info/refs?service=git-upload-pack";

/// How git goes about it.
struct Git {
    protocols: &'static str,
    url: String,
    /// `name=value`.
    settings: Vec<String>,
    /// Nobody's: it has no key, no `.netrc`, no helper and no setting. `None`: our own.
    home: Option<PathBuf>,
}

/// Fetches one commit of `url` and unpacks its files into `into`; returns its short id.
pub(super) fn checkout(
    client: &Client,
    url: &str,
    rev: Option<&str>,
    scratch: &Path,
    into: &Path,
) -> Result<String, SourceError> {
    let git = match client.reach() {
        None => Git {
            protocols: PROTOCOLS,
            url: url.to_owned(),
            settings: vec![],
            home: None,
        },
        Some(reach) => Git::for_others(client, reach, url, scratch)?,
    };
    git.checkout(rev, scratch, into)
}

impl Git {
    /// Our own client follows redirects and judges the addresses; git gets the last address, and goes nowhere else.
    fn for_others(
        client: &Client,
        reach: &Reach,
        url: &str,
        scratch: &Path,
    ) -> Result<Self, SourceError> {
        let mut git = Self {
            protocols: PROTOCOLS_FOR_OTHERS,
            url: url.to_owned(),
            settings: vec!["http.followRedirects=false".to_owned()],
            home: Some(scratch.join("home")),
        };
        let is_web = url.starts_with("https://") || url.starts_with("http://");
        if !is_web {
            return Err(failed("fetch it", "only https:// is allowed here"));
        }
        let first = format!("{}{FIRST_QUESTION}", url.trim_end_matches('/'));
        let last = client.follow(&first)?;
        let last = last.strip_suffix(FIRST_QUESTION);
        let last = last.ok_or_else(|| failed("fetch it", "its server leads to another place"))?;
        if url.starts_with("https://") && !last.starts_with("https://") {
            return Err(failed("fetch it", "its server leads to plain http://"));
        }
        git.url = last.to_owned();
        if !client.is_proxied(last) {
            let Host { name, port } = Host::of(last)
                .ok_or_else(|| failed("fetch it", "its address has no plain host"))?;
            let addresses = reach.addresses(name.trim_matches(['[', ']']), port);
            let addresses = addresses.map_err(|error| failed("fetch it", &error.to_string()))?;
            let addresses = addresses.iter().map(|address| address.ip().to_string());
            let addresses = addresses.collect::<Vec<_>>().join(",");
            // An address that is written as a number is not looked up.
            if !name.starts_with('[') {
                let pin = format!("http.curloptResolve={name}:{port}:{addresses}");
                git.settings.push(pin);
            }
        }
        Ok(git)
    }

    fn checkout(
        &self,
        rev: Option<&str>,
        scratch: &Path,
        into: &Path,
    ) -> Result<String, SourceError> {
        if let Some(home) = &self.home {
            tree::make_dir(home)?;
        }
        let repo = scratch.join("repo.git");
        self.run(
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
            &self.url,
            rev.unwrap_or("HEAD"),
        ];
        self.run(&repo, "fetch it", &fetch)?;
        let commit = self.run(
            &repo,
            "find the commit",
            &["rev-parse", "--short=12", "FETCH_HEAD"],
        )?;
        let archive = self.run(
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
    fn run(&self, dir: &Path, action: &'static str, args: &[&str]) -> Result<Vec<u8>, SourceError> {
        let mut git = Command::new("git");
        if let Some(home) = &self.home {
            git.env("HOME", home)
                .env("XDG_CONFIG_HOME", home)
                .env_remove("GIT_CONFIG_GLOBAL")
                .env_remove("GIT_CONFIG_COUNT")
                .env_remove("GIT_CONFIG_PARAMETERS")
                .env_remove("GIT_ASKPASS")
                .env_remove("SSH_ASKPASS")
                .env_remove("SSH_AUTH_SOCK");
        }
        // A server that says nothing for a minute is given up.
        let patience = ["http.lowSpeedLimit=1000", "http.lowSpeedTime=60"];
        let settings = self.settings.iter().map(String::as_str);
        for setting in patience.into_iter().chain(settings) {
            git.args(["-c", setting]);
        }
        let output = git
            .args(args)
            .current_dir(dir)
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_ALLOW_PROTOCOL", self.protocols)
            .env(
                "GIT_SSH_COMMAND",
                "ssh -o BatchMode=yes -o ConnectTimeout=15",
            )
            .env_remove("GIT_DIR")
            .stdin(Stdio::null())
            .output();
        let output = output.map_err(|error| {
            failed(
                action,
                &format!("`git` cannot be run on this machine: {error}"),
            )
        })?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let words = String::from_utf8_lossy(&output.stderr);
        Err(failed(action, words.lines().last().unwrap_or_default()))
    }
}

fn failed(action: &'static str, why: &str) -> SourceError {
    let plain = why.chars().filter(|char| !char.is_control());
    SourceError::Git {
        action,
        why: plain.take(WORDS_MAX).collect(),
    }
}

/// Of an address, where all who read it agree on which it is.
#[derive(Debug, PartialEq, Eq)]
struct Host<'a> {
    name: &'a str,
    port: u16,
}

impl<'a> Host<'a> {
    fn of(url: &'a str) -> Option<Self> {
        let (rest, usual) = match url.strip_prefix("https://") {
            Some(rest) => (rest, 443),
            None => (url.strip_prefix("http://")?, 80),
        };
        let host = rest.split(['/', '?', '#']).next()?;
        // No `user@`, nothing that is encoded, no backslash.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        if !host.bytes().all(plain) {
            return None;
        }
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => (name, port.parse().ok()?),
            _ => (host, usual),
        };
        (!name.is_empty()).then_some(Self { name, port })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use container::registry::Credentials;

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
        for (rev, expected) in [(Some("v1"), "one"), (None, "two")] {
            let scratch = tempfile::tempdir().unwrap();
            let tree = scratch.path().join("tree");
            let from_file = Git {
                protocols: "file",
                url: format!("file://{}", origin.display()),
                settings: vec![],
                home: Some(scratch.path().join("home")),
            };
            let commit = from_file.checkout(rev, scratch.path(), &tree).unwrap();
            assert_eq!(commit.len(), 12);
            assert_eq!(
                fs::read_to_string(tree.join("bin/detect")).unwrap(),
                expected
            );
            assert!(!tree.join(".git").exists());
        }
        let file = format!("file://{}", origin.display());
        for (url, rev) in [
            (file.as_str(), None),
            ("ext::sh -c true", None),
            ("https://127.0.0.1:1/x.git", Some("v1")),
        ] {
            let scratch = tempfile::tempdir().unwrap();
            let tree = scratch.path().join("tree");
            let client = Client::new(Credentials::none(), vec![]);
            let failed = checkout(&client, url, rev, scratch.path(), &tree);
            assert!(
                matches!(failed, Err(SourceError::Git { .. })),
                "{url}: {failed:?}"
            );
        }
    }

    #[test]
    fn others_reach_neither_files_nor_keys_nor_this_machine() {
        let client = Client::for_others(Reach::default());
        for (url, expected) in [
            ("file:///etc", "only https://"),
            ("ssh://git@127.0.0.1:1/x.git", "only https://"),
            ("git@127.0.0.1:x.git", "only https://"),
            ("http://127.0.0.1:1/x.git", "not of the public internet"),
            ("https://localhost/x.git", "not of the public internet"),
            ("http://[::1]:1/x.git", "not of the public internet"),
        ] {
            let scratch = tempfile::tempdir().unwrap();
            let tree = scratch.path().join("tree");
            let error = checkout(&client, url, None, scratch.path(), &tree).unwrap_err();
            let mut said = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                said = format!("{said}: {error}");
                cause = error.source();
            }
            assert!(said.contains(expected), "{url}: {said}");
        }
    }

    #[test]
    fn a_host_is_read_in_one_way_only() {
        for (url, expected) in [
            ("https://x.io/a.git", Some(("x.io", 443))),
            ("http://x.io:81/a", Some(("x.io", 81))),
            ("http://[::1]/a", Some(("[::1]", 80))),
            ("http://[::1]:81/a", Some(("[::1]", 81))),
            ("https://user@x.io/a", None),
            ("https://x.io\\@y.io/a", None),
            ("https://x%2eio/a", None),
            ("https://:80/a", None),
            ("https://x.io:99999/a", None),
            ("ssh://x.io/a", None),
        ] {
            let expected = expected.map(|(name, port)| Host { name, port });
            assert_eq!(Host::of(url), expected, "{url}");
        }
    }
}
