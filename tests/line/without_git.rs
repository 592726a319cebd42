//! The server speaks git's protocol itself.

use std::fs;

use crate::server::Server;

/// Whoever runs it is put down.
const GIT: &str = "#!/bin/sh\necho \"$@\" >> \"$0.calls\"\nexit 97\n";

#[test]
fn the_server_runs_no_git() {
    let server = Server::start_with_program("git", GIT);
    let calls = server.data().with_file_name("programs").join("git.calls");
    let run = || fs::read_to_string(&calls).unwrap_or_default();
    // What the server's own environment finds under that name is this one.
    let finds = format!(
        "xargs -0 -a /proc/{}/environ sh -c 'exec env -i \"$@\" git found' sh",
        server.pid()
    );
    assert_ne!(server.sh(&finds).status, 0);
    assert_eq!(run(), "found\n");

    server.app("shop", "hello");
    server.push("shop").ok();
    assert_eq!(server.get("shop", "/").body, "Hello, world\n");
    // So many that packs become one.
    server
        .sh("cd shop && for n in $(seq 60); do git commit -q --allow-empty -m $n && git push -q slipway HEAD:side || exit; done")
        .ok();
    server
        .sh("cd shop && git tag -a v1 -m one && git push -q --follow-tags slipway main && git push -q slipway --delete side")
        .ok();
    server
        .sh("git clone -q slipway:shop clone && git clone -q --depth 1 slipway:shop shallow && git -C clone fetch -q origin refs/releases/v1")
        .ok();
    server
        .sh("git -C clone -c protocol.version=0 ls-remote -q && git -C clone fsck --strict")
        .ok();
    server
        .sh("cd shop; git commit -q --allow-empty -m last; git push -o plan slipway main; git push -q -o detach slipway main; ssh slipway builds:attach shop")
        .ok();
    for command in [
        "git:set shop deploy-branch live",
        "apps:clone shop other",
        "apps:rename other another",
        "rollback shop",
        "ps:rebuild shop",
        "gc --keep 1",
        "apps:destroy another --confirm another",
    ] {
        server.ssh(command).ok();
    }
    server.sh("ssh slipway backup > backup").ok();
    assert_eq!(server.terminate(), Some(0));
    server.restart();
    server.sh("git clone -q slipway:shop after").ok();
    assert_eq!(run(), "found\n");
}
