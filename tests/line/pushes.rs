//! Pushes beside each other, refs, and what git itself shows of them.

use crate::server::Server;

/// Says that it is under way, then takes long enough for another push to arrive.
const SLOW_BUILD: &str = r#"{"name":"slow","version":"1.0.0","scripts":{"build":"echo building; sleep 3","start":"node server.js"}}"#;
const SERVER_JS: &str =
    "require('http').createServer((q, r) => r.end('slow\\n')).listen(process.env.PORT)";

fn slow_app(server: &Server, name: &str) {
    let files = format!(
        "mkdir {name}; echo '{SLOW_BUILD}' > {name}/package.json; echo \"{SERVER_JS}\" > {name}/server.js"
    );
    server.sh(&format!("{files}; app {name}")).ok();
}

#[test]
fn a_second_push_to_the_same_app_waits_and_says_so() {
    let server = Server::start();
    slow_app(&server, "slow");
    server
        .sh("cp -r slow again && cd again && git commit -q --allow-empty -m second")
        .ok();

    let first = server.sh_beside("push slow 2>&1 | tee first.txt");
    server.sh("eventually grep building first.txt").ok();
    let second = server.sh("git -C again push slipway main").ok();
    let first = first.wait().ok();

    assert!(first.contains("v1 is live"), "{first}");
    assert!(
        second.contains("wait") || second.contains("queue"),
        "the second push does not say that it waits:\n{second}"
    );
    assert!(second.contains("v2 is live"), "{second}");
}

#[test]
fn pushes_to_different_apps_run_side_by_side() {
    let server = Server::start();
    slow_app(&server, "one");
    slow_app(&server, "two");
    let one = server.sh_beside("push one 2>&1 | tee one.txt");
    server.sh("eventually grep building one.txt").ok();
    let two = server.sh_beside("push two 2>&1 | tee two.txt");
    server
        .sh("eventually grep building two.txt; ! grep 'is live' one.txt")
        .ok();
    one.wait().ok();
    two.wait().ok();
    assert_eq!(server.get("one", "/").body, "slow\n");
    assert_eq!(server.get("two", "/").body, "slow\n");
}

#[test]
fn a_forced_push_of_rewritten_history_deploys() {
    let server = Server::start();
    server.app("shop", "hello");
    server.push("shop").ok();
    server.sh("sed -i 's/Hello, world/Rewritten/' shop/web.py; git -C shop commit -qa --amend -m other").ok();
    let refused = server.push("shop").fails(1);
    assert!(refused.contains("rejected"), "{refused}");
    server.sh("git -C shop push --force slipway main").ok();
    assert_eq!(server.get("shop", "/").body, "Rewritten\n");
}

#[test]
fn a_name_that_no_app_can_have_is_refused_before_anything_is_sent() {
    let server = Server::start();
    server.app("shop", "hello");
    for name in [
        "../../etc",
        "Shop_1",
        "a.b",
        "-x",
        "x'; touch /tmp/pwned; '",
    ] {
        let said = server.sh(&format!("git -C shop push \"slipway:{name}\" main"));
        assert_ne!(said.status, 0, "`{name}` was taken:\n{}", said.text);
    }
    let apps = server.sh("ssh slipway apps 2>/dev/null").ok();
    assert_eq!(apps, "");
}

#[test]
fn a_stranger_s_key_gets_nowhere() {
    let server = Server::start();
    server.app("shop", "hello");
    server
        .sh("ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_stranger")
        .ok();
    server
        .sh("sed 's/id_ed25519/id_stranger/' ~/.ssh/config > ~/.ssh/stranger")
        .ok();
    let said = server
        .sh("command ssh -F ~/.ssh/stranger slipway apps")
        .fails(255);
    assert!(said.contains("Permission denied (publickey)"), "{said}");
    let said = server
        .sh("GIT_SSH_COMMAND='ssh -F ~/.ssh/stranger' git -C shop push slipway main")
        .fails(128);
    assert!(said.contains("Permission denied (publickey)"), "{said}");
}
