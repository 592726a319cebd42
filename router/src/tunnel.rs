//! An upgraded connection: bytes both ways until either side ends, or nothing moves for too long.

use http::StatusCode;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::{
    endpoint::Lease,
    failure::Code,
    log::{Outcome, RequestLine},
};

/// Holds the lease as long as it runs: a drain waits for it.
pub(crate) async fn run(
    client: OnUpgrade,
    endpoint: OnUpgrade,
    mut line: RequestLine,
    lease: Lease,
) {
    let (Ok(client), Ok(endpoint)) = tokio::join!(client, endpoint) else {
        return;
    };
    let (mut client, mut endpoint) = (TokioIo::new(client), TokioIo::new(endpoint));
    let copied = tokio::select! {
        copied = tokio::io::copy_bidirectional(&mut client, &mut endpoint) => Some(copied),
        () = silent(&line) => None,
    };
    line.facts.outcome = match copied {
        None => Outcome::Failed(Code::H15),
        Some(copied) => {
            line.facts.bytes = copied.map_or(0, |(_, to_client)| to_client);
            Outcome::Answered(StatusCode::SWITCHING_PROTOCOLS.as_u16())
        }
    };
    drop(lease);
}

/// Resolves when the client's side has been silent for the idle timeout; everything that crosses passes there.
async fn silent(line: &RequestLine) {
    let idle_max = line.shared.timeouts.idle;
    while let Some(left) = idle_max.checked_sub(line.serving.0.silence()) {
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left).await;
    }
}
