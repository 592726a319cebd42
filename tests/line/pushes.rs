//! Pushes beside each other, refs, and what git itself shows of them.

use crate::{gate::Gate, server::Server};

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
    let long = "x".repeat(60_000);
    for name in [
        "0123456789abcdef0123456789abcdef01234567",
        &long,
        "../../etc",
        "Shop_1",
        "a.b",
        "-x",
        "x'; touch /tmp/pwned; '",
    ] {
        let said = server.sh(&format!("git -C shop push \"slipway:{name}\" main"));
        assert_ne!(said.status, 0, "`{name}` was taken:\n{}", said.text);
        // Ours is the line, and git's the warnings above it.
        let refusal = said.text.lines().find(|line| line.starts_with("fatal: "));
        assert!(refusal.is_none_or(|line| line.len() < 500), "{}", said.text);
    }
    let apps = server.sh("ssh slipway apps 2>/dev/null").ok();
    assert_eq!(apps, "");
}

#[test]
fn a_push_larger_than_the_operator_allows_is_refused() {
    let server = Server::start_with(None, &["--max-pack-size", "64K"]);
    server.app("shop", "hello");
    let commit = "git -C shop add -A && git -C shop commit -qm noise";
    server
        .sh(&format!(
            "head -c 100K /dev/urandom > shop/noise && {commit}"
        ))
        .ok();
    let said = server.push("shop").fails(1);
    assert!(
        said.contains("the pack is larger than the 64 KiB that this server takes"),
        "{said}"
    );
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

/// Colours alone pass, and only to a terminal; everything that is text passes to both.
#[test]
fn what_a_build_prints_cannot_command_the_pusher_s_terminal() {
    let server = Server::start();
    let gate = Gate::new(&server);
    gate.app(&server, "shop", "");
    let push = r#"
        printf 'a\033[31mred\033[0m\n\033]0;title\007b\033[2J\033[1;1Hc\n10%%\r99%%\nlast' > shop/print
        git -C shop add -A && git -C shop commit -qm print
        script -qec "git -C shop push slipway main" terminal.txt > /dev/null
        git -C shop commit -q --allow-empty -m again
        git -C shop push slipway main 2> pipe.txt"#;
    server.sh(push).ok();
    let seen = |file: &str| server.sh(&format!("cat -v {file}")).ok();
    let (terminal, pipe) = (seen("terminal.txt"), seen("pipe.txt"));
    assert!(terminal.contains("a^[[31mred^[[0m"), "{terminal}");
    assert!(pipe.contains("remote: ared"), "{pipe}");
    for said in [&terminal, &pipe] {
        for part in ["bc", "99%", "last", "is live"] {
            assert!(said.contains(part), "no `{part}` in:\n{said}");
        }
        for part in ["^[[2J", "^[]0", "^G", "^[[1;1H"] {
            assert!(!said.contains(part), "`{part}` in:\n{said}");
        }
    }
    assert!(!pipe.contains("^["), "{pipe}");
}
