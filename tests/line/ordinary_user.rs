//! No root is needed. When the tests run as root, the whole line runs once as somebody who owns nothing.

use crate::{processes, server::Server};

/// `nobody` on Debian and most others.
const NOBODY: u32 = 65_534;

#[test]
fn the_whole_line_as_an_ordinary_user() {
    if !rustix::process::geteuid().is_root() {
        // Every other test is this one then.
        return;
    }
    let server = Server::start_as(Some(NOBODY));
    server.app("shop", "node-express");
    server.push("shop").ok();
    assert_eq!(server.get("shop", "/").body, "Hello from Express\n");

    server.ssh("config:set shop COLOUR=blue").ok();
    assert_eq!(server.get("shop", "/env/COLOUR").body, "blue\n");
    server.change("shop", "server.js", "Hello from Express", "Changed");
    server.push("shop").ok();
    assert_eq!(server.get("shop", "/").body, "Changed\n");
    assert_eq!(
        server
            .sh(r#"ssh slipway run shop -- "'id -u; exit 3'""#)
            .fails(3)
            .trim_end(),
        "1000"
    );

    assert_eq!(server.ssh("ps:exec shop -- printenv DYNO").ok(), "web.1\n");

    server.kill_9();
    server.restart();
    server.sh("eventually get shop").ok();
    assert_eq!(server.get("shop", "/").body, "Changed\n");
    // Also what an earlier server has started can be entered.
    assert_eq!(server.ssh("ps:exec shop -- id -u").ok(), "1000\n");
    server.ssh("apps:destroy shop --confirm shop").ok();
    assert!(
        processes::of(server.tag())
            .iter()
            .all(|process| !process.command.starts_with("node"))
    );
}
