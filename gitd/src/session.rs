//! One request on one channel, from its exec string to its exit status.

use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::{
    git::{self, ReceiveError, Received},
    gone::Gone,
    platform::{Caller, Io, Platform, Status},
    request::{RepoPath, Request, RequestError},
};

/// sysexits EX_USAGE, EX_UNAVAILABLE.
const USAGE: u8 = 64;
const UNAVAILABLE: u8 = 69;
const FAILED: u8 = 1;

/// Answers the request and returns the exit status.
pub(crate) async fn run<P: Platform>(
    platform: &P,
    caller: &Caller,
    request: Result<Request, RequestError>,
    git_protocol: Option<&str>,
    mut io: Io,
    gone: &Gone,
) -> Status {
    match request {
        Ok(Request::ReceivePack(path)) => {
            receive_pack(platform, caller, &path, git_protocol, io, gone)
                .await
                .into()
        }
        Ok(Request::UploadPack(path) | Request::UploadArchive(path)) => {
            let reason = format!(
                "fetching is not supported yet: `{}` can only be pushed to",
                path.0
            );
            refuse(&mut io.stdout, &reason).await.into()
        }
        Ok(Request::Command(words)) => platform.run(caller, words, io).await,
        Err(error) => {
            let line = format!(" !     {error}\n");
            // The client may be gone; there is nobody left to tell.
            _ = io.stderr.write_all(line.as_bytes()).await;
            USAGE.into()
        }
    }
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
        Err(reason) => return refuse(&mut io.stdout, &reason).await,
    };
    if git_protocol.is_some_and(asks_for_version_1)
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
    audit(caller, path, &received);
    match received {
        // The client takes its own exit status from the report.
        Ok(_) => 0,
        Err(error) => {
            _ = io
                .stderr
                .write_all(format!(" !     {error}\n").as_bytes())
                .await;
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

/// The highest version that both sides know; there is no push in version 2.
fn asks_for_version_1(protocol: &str) -> bool {
    protocol
        .split(':')
        .filter_map(|part| part.strip_prefix("version="))
        .max()
        == Some("1")
}

async fn announce_version_1(stdout: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
    let mut line = Vec::new();
    git::write_pkt_line(b"version 1\n", &mut line);
    stdout.write_all(&line).await
}

fn audit(caller: &Caller, path: &RepoPath, received: &Result<Received, ReceiveError>) {
    let Caller {
        user,
        fingerprint,
        remote,
    } = caller;
    let app = &path.0;
    match received {
        Ok(received) => {
            for (update, answer) in &received.updates {
                let result = answer.as_ref().map_or_else(String::as_str, |()| "ok");
                tracing::info!(user, fingerprint, %remote, app, %update, result, "push");
            }
        }
        Err(error) => tracing::info!(user, fingerprint, %remote, app, %error, "push ended"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushes_speak_version_0_unless_1_is_the_most_that_was_asked_for() {
        assert!(asks_for_version_1("version=1"));
        for other in ["", "version=2", "version=1:version=2", "version=0", "v=1"] {
            assert!(!asks_for_version_1(other), "{other}");
        }
    }
}
