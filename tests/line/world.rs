//! Two users and a server whose deploys stop where a test wants them to.

use crate::{
    gate::Gate,
    server::{Server, Started},
};

/// Another user's key, known to the server: `GIT_SSH_COMMAND="$BOB" git ...`.
const BOB: &str = r#"BOB="ssh -F $HOME/.ssh/bob""#;

/// A server, a gate for its deploys, and two who push: ada and bob.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) gate: Gate,
}

impl World {
    pub(crate) fn new() -> Self {
        let server = Server::start();
        let gate = Gate::new(&server);
        server
            .sh("ssh-keygen -q -t ed25519 -N '' -C bob -f ~/.ssh/id_bob && ssh slipway users:add bob --admin && \
                 ssh slipway keys:add bob --user bob < ~/.ssh/id_bob.pub && sed 's/id_ed25519/id_bob/' ~/.ssh/config > ~/.ssh/bob")
            .ok();
        Self { server, gate }
    }

    /// A push by ada in the background, which says what it is told into `FILE.txt`: one file a push, so that nobody reads
    /// what an earlier one was told.
    pub(crate) fn push(&self, folder: &str, options: &str, file: &str) -> Started {
        self.server.sh_beside(&format!(
            "git -C {folder} push {options} slipway main 2>&1 | tee {file}.txt"
        ))
    }

    pub(crate) fn push_as_bob(&self, folder: &str, options: &str, file: &str) -> Started {
        self.server.sh_beside(&format!(
            "{BOB}; GIT_SSH_COMMAND=$BOB git -C {folder} push {options} slipway main 2>&1 | tee {file}.txt"
        ))
    }

    /// Waits until a push in the background has been told this.
    pub(crate) fn told(&self, file: &str, words: &str) {
        self.server
            .sh(&format!("eventually grep -- '{words}' {file}.txt"))
            .ok();
    }

    pub(crate) fn builds(&self) -> String {
        self.server.ssh("builds shop").ok()
    }

    /// What `builds:info` says of the build.
    pub(crate) fn build(&self, number: usize) -> String {
        self.server.ssh(&format!("builds:info shop {number}")).ok()
    }

    /// Waits until a build has come to this state.
    pub(crate) fn becomes(&self, number: usize, status: &str) {
        let look = format!("ssh slipway builds:info shop {number} | grep -w {status}");
        self.server.sh(&format!("eventually bash -c '{look}'")).ok();
    }

    /// Waits until it does: after a start it takes a moment.
    pub(crate) fn serves(&self, version: &str) {
        let look = format!("get shop /version | grep -x {version}");
        self.server.sh(&format!("eventually bash -c '{look}'")).ok();
    }

    /// A clone of ./shop beside it, one commit further.
    pub(crate) fn further(&self, folder: &str, version: &str, stages: &str) {
        self.server.sh(&format!("cp -r shop {folder}")).ok();
        self.gate.commit(&self.server, folder, version, stages);
    }
}
