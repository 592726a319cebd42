//! A platform that deploys nothing and notes what happens.

use std::{
    collections::HashMap,
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use gitd::{
    Caller, Gone, Io, Platform, Proof, RepoPath, Status,
    git::{Decision, Landed, Landing, Limits, RefUpdate, Repo, Sideband},
};
use release::Holder;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{Mutex as AsyncMutex, OwnedMutexGuard, Semaphore},
};

/// As for one user of the real platform.
pub(crate) const UNPACKED_AT_ONCE: usize = 4;

pub(crate) struct TestPlatform {
    pub(crate) repos: PathBuf,
    pub(crate) keys: Mutex<HashMap<String, String>>,
    pub(crate) limits: Limits,
    pub(crate) queues: Mutex<HashMap<String, Arc<AsyncMutex<()>>>>,
    pub(crate) unpack_turns: Arc<Semaphore>,
    /// What happened, in order.
    pub(crate) events: Mutex<Vec<String>>,
}

impl TestPlatform {
    fn event(&self, event: impl Into<String>) {
        self.events.lock().expect("events").push(event.into());
    }
}

impl Platform for TestPlatform {
    type Landing = TestLanding;

    fn caller(&self, proof: &Proof, remote: SocketAddr) -> Option<Caller> {
        let (fingerprint, user) = match proof {
            Proof::Key(fingerprint) => {
                let keys = self.keys.lock().expect("keys");
                (fingerprint, keys.get(fingerprint)?.clone())
            }
            Proof::Certificate(certificate) => (
                &certificate.fingerprint,
                certificate.principals.first()?.clone(),
            ),
        };
        Some(Caller {
            holder: Holder::User(user.clone()),
            user,
            fingerprint: fingerprint.clone(),
            remote,
            admin: true,
        })
    }

    fn takes_certificates(&self) -> bool {
        false
    }

    fn pushed(&self, caller: &Caller, path: &RepoPath, what: &str, result: Result<(), &str>) {
        self.event(format!("{} {}: {what}: {result:?}", caller.user, path.0));
    }

    async fn open(
        &self,
        caller: &Caller,
        path: &RepoPath,
        gone: &Gone,
    ) -> Result<(Repo, TestLanding), String> {
        let name = &path.0;
        if name.is_empty()
            || !name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        {
            return Err(format!("`{}` is not a valid app name", name.escape_debug()));
        }
        let repo = Repo::init(self.repos.join(format!("{name}.git")), "main")
            .map_err(|error| error.to_string())?;
        let queue = Arc::clone(
            self.queues
                .lock()
                .expect("queues")
                .entry(name.clone())
                .or_default(),
        );
        let events = |event: String| self.event(event);
        events(format!("{} opens {name}", caller.user));
        Ok((
            repo.clone(),
            TestLanding {
                repo,
                queue,
                gone: gone.clone(),
                unpack_turns: Arc::clone(&self.unpack_turns),
                exports: self.repos.join(format!("{name}.exports")),
            },
        ))
    }

    async fn open_to_read(&self, _: &Caller, path: &RepoPath) -> Result<Repo, String> {
        Repo::open(self.repos.join(format!("{}.git", path.0)))
            .map_err(|_| format!("there is no app `{}`", path.0.escape_debug()))
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    /// `echo WORDS`, `cat`, `status N`, `yes`, `wait`.
    async fn run(&self, caller: &Caller, words: Vec<String>, mut io: Io) -> Status {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let code = match words.as_slice() {
            [] => {
                _ = io
                    .stdout
                    .write_all(format!("hello {}\n", caller.user).as_bytes())
                    .await;
                0
            }
            ["echo", words @ ..] => {
                _ = io
                    .stdout
                    .write_all(format!("{}\n", words.join("|")).as_bytes())
                    .await;
                _ = io.stderr.write_all(b"narration\n").await;
                0
            }
            ["cat"] => {
                _ = tokio::io::copy(&mut io.stdin, &mut io.stdout).await;
                0
            }
            // All its output before it reads: as many bytes as it says.
            ["talk-then-count", bytes] => {
                let left: usize = bytes.parse().expect("a number");
                _ = io.stdout.write_all(&vec![b'y'; left]).await;
                let read = tokio::io::copy(&mut io.stdin, &mut tokio::io::sink()).await;
                _ = io
                    .stderr
                    .write_all(format!("{}\n", read.unwrap_or(0)).as_bytes())
                    .await;
                0
            }
            // Reads nothing before the client has gone.
            ["deaf"] => {
                self.event("deaf");
                io.gone.await;
                0
            }
            ["status", code] => code.parse().expect("a number"),
            ["terminated"] => {
                return Status {
                    code: 143,
                    signal: Some(15),
                };
            }
            ["yes", bytes] => {
                let mut left: u64 = bytes.parse().expect("a number");
                let block = vec![b'y'; 64 << 10];
                while left > 0 {
                    let length = left.min(block.len() as u64);
                    if io
                        .stdout
                        .write_all(&block[..length as usize])
                        .await
                        .is_err()
                    {
                        break;
                    }
                    left -= length;
                }
                0
            }
            ["wait"] => {
                self.event("waiting");
                let mut byte = [0];
                tokio::select! {
                    () = io.gone => self.event("gone"),
                    _ = io.stdin.read(&mut byte) => self.event("input"),
                }
                7
            }
            _ => 64,
        };
        code.into()
    }
}

pub(crate) struct TestLanding {
    repo: Repo,
    queue: Arc<AsyncMutex<()>>,
    unpack_turns: Arc<Semaphore>,
    gone: Gone,
    exports: PathBuf,
}

impl Landing for TestLanding {
    type Options = Vec<String>;

    /// `unknown` is no option.
    fn options(&self, given: &[String]) -> Result<Vec<String>, String> {
        match given.iter().find(|option| *option == "unknown") {
            Some(option) => Err(format!("push option `{option}` is not known")),
            None => Ok(given.to_vec()),
        }
    }

    fn unpack_turns(&self) -> Arc<Semaphore> {
        Arc::clone(&self.unpack_turns)
    }

    fn decide(&self, update: &RefUpdate, _: &Vec<String>) -> Decision {
        match (update.name.as_str(), update.new) {
            ("refs/heads/main" | "refs/heads/master", Some(_)) => Decision::Deploy,
            ("refs/heads/main" | "refs/heads/master", None) => Decision::Refuse(
                "the deploy branch cannot be deleted; type: apps:destroy".to_owned(),
            ),
            (name, Some(_)) if name.starts_with("refs/heads/") => Decision::Store {
                hint: Some(
                    "only `main` is deployed; push with: git push <remote> HEAD:main".to_owned(),
                ),
            },
            _ => Decision::Store { hint: None },
        }
    }

    /// Push options steer it: `fail=REASON`, `wait` (until the client has gone), `export`, `instead=REF`.
    async fn deploy(
        &self,
        updates: Vec<RefUpdate>,
        options: &Vec<String>,
        out: &Sideband,
    ) -> Result<Landed, String> {
        let _turn = self.turn(out).await;
        let updates: Vec<RefUpdate> = updates
            .iter()
            .map(|update| self.repo.brought_up_to_date(update))
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())?;
        if let Some(landed) = self.carry_out(&updates[0], options, out).await? {
            return Ok(landed);
        }
        let moved = self.repo.move_refs(&updates.iter().collect::<Vec<_>>());
        moved.map_err(|error| error.to_string())?;
        Ok(Landed::Moved)
    }
}

impl TestLanding {
    async fn turn(&self, out: &Sideband) -> OwnedMutexGuard<()> {
        if let Ok(turn) = Arc::clone(&self.queue).try_lock_owned() {
            return turn;
        }
        out.line("-----> Waiting for another push");
        Arc::clone(&self.queue).lock_owned().await
    }

    async fn carry_out(
        &self,
        update: &RefUpdate,
        options: &[String],
        out: &Sideband,
    ) -> Result<Option<Landed>, String> {
        let commit = update.new.expect("a deploy sets its ref");
        let info = self
            .repo
            .commit_info(commit)
            .map_err(|error| error.to_string())?;
        out.line(&format!(
            "-----> Deploying {} of {} to {}",
            info.subject, info.author, update.name
        ));
        out.write(b"\x1b[2J\x1b[32mgreen\x1b[0m\n");
        for option in options {
            if let Some(reason) = option.strip_prefix("fail=") {
                out.line(" !     It does not compile");
                return Err(reason.to_owned());
            }
            if let Some(git_ref) = option.strip_prefix("instead=") {
                return Ok(Some(Landed::Instead {
                    git_ref: git_ref.to_owned(),
                    reason: "not yet".to_owned(),
                }));
            }
            if option == "wait" {
                out.line("waiting");
                self.gone.wait().await;
                return Err("cancelled".to_owned());
            }
            if option == "export" {
                let target = self.exports.join(commit.to_string());
                fs::create_dir_all(&target).map_err(|error| error.to_string())?;
                let (repo, gone) = (self.repo.clone(), self.gone.clone());
                let exported = tokio::task::spawn_blocking(move || {
                    let stop = gone.flag();
                    repo.export(commit, &target, &stop)
                })
                .await;
                let summary = exported
                    .map_err(|error| error.to_string())?
                    .map_err(|error| error.to_string())?;
                out.line(&format!("{} files, {} bytes", summary.files, summary.bytes));
            }
        }
        out.line("=====> Live");
        Ok(None)
    }
}
