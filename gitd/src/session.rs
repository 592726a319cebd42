//! One request on one channel, from its exec string to its exit status.

use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::{
    git::{self, ReceiveError, Received, Version},
    gone::Gone,
    platform::{Caller, Io, Platform, Status},
    request::{RepoPath, Request, RequestError},
};

/// sysexits EX_USAGE, EX_UNAVAILABLE.
const USAGE: u8 = 64;
const UNAVAILABLE: u8 = 69;
const FAILED: u8 = 1;
const NO_LFS: &str = " !     Git LFS is not supported: store the files themselves in the repository (git lfs migrate export), or fetch \
    them in the build\n";

/// Answers the request and returns the exit status.
pub(crate) async fn run<P: Platform>(
    platform: &P,
    caller: &Caller,
    request: Result<Request, RequestError>,
    git_protocol: Option<&str>,
    mut io: Io,
    gone: &Gone,
) -> Status {
    let code = match request {
        Ok(Request::Command(words)) => return platform.run(caller, words, io).await,
        Ok(Request::ReceivePack(path)) => {
            receive_pack(platform, caller, &path, git_protocol, io, gone).await
        }
        Ok(Request::UploadPack(path)) => {
            upload_pack(platform, caller, &path, git_protocol, io, gone).await
        }
        Ok(Request::UploadArchive(path)) => {
            let reason = format!(
                "archives are not made here; clone `{}` and use `git archive` there",
                path.0
            );
            refuse(&mut io.stdout, &reason).await
        }
        Ok(Request::Lfs) => {
            // The client may be gone; there is nobody left to tell.
            _ = io.stderr.write_all(NO_LFS.as_bytes()).await;
            FAILED
        }
        Err(error) => {
            let line = format!(" !     {error}\n");
            // The client may be gone; there is nobody left to tell.
            _ = io.stderr.write_all(line.as_bytes()).await;
            USAGE
        }
    };
    code.into()
}

async fn receive_pack<P: Platform>(
    platform: &P,
    caller: &Caller,
    path: &RepoPath,
    git_protocol: Option<&str>,
    mut io: Io,
    gone: &Gone,
) -> u8 {
    let (repo, landing) = match platform.open(caller, path, gone).await {
        Ok(opened) => opened,
        Err(reason) => {
            platform.pushed(caller, path, "push", Err(&reason));
            return refuse(&mut io.stdout, &reason).await;
        }
    };
    // There is no push in version 2.
    if Version::asked_for(git_protocol) == Version::V1
        && announce_version_1(&mut io.stdout).await.is_err()
    {
        return FAILED;
    }
    let received = git::receive_pack(
        &repo,
        &landing,
        platform.limits(),
        io.stdin,
        io.stdout,
        gone,
    )
    .await;
    audit(platform, caller, path, &received);
    match received {
        // The client takes its own exit status from the report.
        Ok(_) => {
            // The client has its answer and does not wait for it. It ends by itself: it writes a bounded number of bytes.
            tokio::task::spawn_blocking(move || consolidate(&repo));
            0
        }
        Err(ReceiveError::Left) => FAILED,
        Err(error) => {
            _ = io
                .stderr
                .write_all(format!(" !     {error}\n").as_bytes())
                .await;
            FAILED
        }
    }
}

fn consolidate(repo: &git::Repo) {
    let repo_path = repo.path().display();
    match repo.consolidate() {
        Ok(0) => {}
        Ok(packs) => tracing::info!(repo = %repo_path, packs, "packs became one"),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(repo = %repo_path, error, "packs cannot be consolidated");
        }
    }
}

async fn upload_pack<P: Platform>(
    platform: &P,
    caller: &Caller,
    path: &RepoPath,
    git_protocol: Option<&str>,
    mut io: Io,
    gone: &Gone,
) -> u8 {
    let repo = match platform.open_to_read(caller, path).await {
        Ok(repo) => repo,
        Err(reason) => return refuse(&mut io.stdout, &reason).await,
    };
    let version = Version::asked_for(git_protocol);
    let served = git::upload_pack(&repo, &caller.user, version, io.stdin, io.stdout, gone).await;
    let Caller {
        user,
        fingerprint,
        remote,
        ..
    } = caller;
    let app = &path.0;
    match served {
        Ok(()) => {
            tracing::info!(user, fingerprint, %remote, app, "fetch");
            0
        }
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::info!(user, fingerprint, %remote, app, error, "fetch ended");
            FAILED
        }
    }
}

/// `ERR` instead of an advertisement: git shows it as `fatal: remote error: …`.
async fn refuse(stdout: &mut (impl AsyncWrite + Unpin), reason: &str) -> u8 {
    let mut line = Vec::new();
    git::write_pkt_line(format!("ERR {reason}\n").as_bytes(), &mut line);
    _ = stdout.write_all(&line).await;
    UNAVAILABLE
}

async fn announce_version_1(stdout: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
    let mut line = Vec::new();
    git::write_pkt_line(b"version 1\n", &mut line);
    stdout.write_all(&line).await
}

fn audit<P: Platform>(
    platform: &P,
    caller: &Caller,
    path: &RepoPath,
    received: &Result<Received, ReceiveError>,
) {
    match received {
        Ok(received) => {
            for (update, answer) in &received.updates {
                let result = answer.as_ref().copied().map_err(String::as_str);
                platform.pushed(caller, path, &format!("push {update}"), result);
            }
        }
        Err(error) => platform.pushed(caller, path, "push", Err(&error.to_string())),
    }
}
