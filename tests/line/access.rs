//! Who may do what, against those who try for more.

use std::{collections::BTreeSet, net::TcpListener};

use crate::{gate::Gate, server::Server};

/// A user with a key of their own: `as_NAME` is their ssh, also for git.
fn user(server: &Server, name: &str) {
    server
        .sh(&format!(
            "ssh-keygen -q -t ed25519 -N '' -C {name} -f ~/.ssh/{name}
             sed 's/id_ed25519/{name}/' ~/.ssh/config > ~/.ssh/{name}.config
             printf '#!/bin/sh\\nexec ssh -F ~/.ssh/{name}.config \"$@\"\\n' > as_{name}; chmod +x as_{name}
             ssh slipway users:add {name}; ssh slipway keys:add --user {name} < ~/.ssh/{name}.pub"
        ))
        .ok();
}

/// The examples of help, of all commands that take an app.
fn examples(server: &Server) -> Vec<String> {
    let overview = server.ssh("help").ok();
    let usages = overview.lines().filter(|line| line.starts_with("  "));
    let taking_an_app: BTreeSet<String> = usages
        // What the command is about follows behind.
        .filter(|usage| {
            usage
                .split_whitespace()
                .take(2)
                .any(|word| word.contains("APP"))
        })
        .filter_map(|usage| usage.split_whitespace().next().map(str::to_owned))
        .collect();
    assert!(taking_an_app.len() > 40, "{overview}");
    let topics: BTreeSet<&str> = overview
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split([' ', ':']).next())
        .collect();
    let topics: Vec<&str> = topics.into_iter().collect();
    let help = server
        .sh(&format!(
            "for topic in {}; do ssh slipway help $topic; done",
            topics.join(" ")
        ))
        .ok();
    let of_an_app = |line: &&str| {
        let command = line.split(' ').next().unwrap_or_default();
        let words = line.split(' ').any(|word| word == "shop");
        words && (taking_an_app.contains(command) || line.contains("--app "))
    };
    let examples = help.lines().filter_map(|line| line.strip_prefix("  "));
    let examples: Vec<String> = examples
        .filter(of_an_app)
        // What is for the caller's own shell does not matter.
        .map(|line| {
            let ends = [" < ", " > ", " || "].map(|end| line.find(end).unwrap_or(line.len()));
            let end = ends.into_iter().min().unwrap_or(line.len());
            line[..end].to_owned()
        })
        .collect();
    let without_one = taking_an_app.iter().filter(|command| {
        let is_it = |line: &String| line.split(' ').next() == Some(command);
        !examples.iter().any(is_it)
    });
    let plain: Vec<String> = without_one.map(|name| format!("{name} shop")).collect();
    examples.into_iter().chain(plain).collect()
}

#[test]
fn for_every_command_a_forbidden_app_is_one_that_is_not_there() {
    let server = Server::start();
    user(&server, "grace");
    server.ssh("apps:create hidden").ok();
    let examples = examples(&server);
    let answers = |app: &str| {
        let lines: Vec<String> = examples
            .iter()
            .map(|line| line.replace("shop", app))
            .collect();
        let lines = lines.join("\n");
        let said = server.sh(&format!(
            "while IFS= read -r line; do ./as_grace slipway \"$line\" < /dev/null; echo \"$? of $line\"; done <<'END'\n{lines}\nEND"
        ));
        said.ok().replace(app, "APP")
    };
    let hidden = answers("hidden");
    assert_eq!(hidden, answers("absent"));
    let no_app = no_app("APP");
    let denied = hidden.matches(&no_app);
    assert_eq!(denied.count(), examples.len(), "{hidden}");
    let failed = hidden.lines().filter(|line| line.starts_with("1 of "));
    assert_eq!(failed.count(), examples.len(), "{hidden}");
}

#[test]
fn git_keeps_to_the_roles_too() {
    let server = Server::start();
    user(&server, "grace");
    server.ssh("apps:create hidden").ok();
    server
        .sh("git init -q repo; git -C repo commit -q --allow-empty -m one")
        .ok();
    let git = |line: &str| server.sh(&format!("GIT_SSH_COMMAND=$PWD/as_grace git -C repo {line}"));
    let fetched = |app: &str| {
        let said = git(&format!("ls-remote slipway:{app}"));
        said.fails(128).replace(app, "APP")
    };
    let hidden = fetched("hidden");
    assert!(hidden.contains(&no_app("APP")), "{hidden}");
    assert_eq!(hidden, fetched("absent"));
    let push = "push slipway:hidden HEAD:main";
    let pushed = git(push).fails(128);
    assert!(pushed.contains(&no_app("hidden")), "{pushed}");

    server.ssh("access:add hidden grace viewer").ok();
    git("ls-remote slipway:hidden").ok();
    let pushed = git(push).fails(128);
    let takes = "you are a viewer of `hidden`, and this takes a deployer";
    assert!(pushed.contains(takes), "{pushed}");

    // There is nothing to build, but an app now, and the record of who made it stays with it.
    git("push slipway:made HEAD:main").fails(1);
    server.sh("./as_grace slipway apps:rename made other").ok();
    let audit = server.ssh("audit other").ok();
    for what in ["create by push", "push", "apps:rename made other"] {
        let is_told = |line: &str| line.contains(" grace ") && line.contains(what);
        assert!(audit.lines().any(is_told), "{what}: {audit}");
    }
}

fn no_app(name: &str) -> String {
    format!("there is no app `{name}`, or you have no access to it")
}

/// Whoever waits for a turn under a name that they then give up has no rights on the next app of that name.
#[test]
fn a_name_that_changes_hands_takes_no_rights_along() {
    let server = Server::start();
    user(&server, "grace");
    // The build goes on until we hang up: builds share this machine's network.
    let line = TcpListener::bind("127.0.0.1:0").expect("listens");
    let port = line.local_addr().expect("bound").port();
    server
        .sh(&format!(
            r#"mkdir name; echo "require('net').connect({port}, '127.0.0.1').on('error', () => {{}}).on('close', () => process.exit(0)).resume(); console.log('building')" > name/wait.js
            echo '{{"name":"name","version":"1.0.0","scripts":{{"build":"node wait.js"}}}}' > name/package.json
            echo "require('http').createServer((q, r) => r.end('up')).listen(process.env.PORT)" > name/server.js
            app name; cp -r name again"#
        ))
        .ok();
    let first =
        server.sh_beside("export GIT_SSH_COMMAND=$PWD/as_grace; push name 2>&1 | tee first.txt");
    server.sh("eventually grep building first.txt").ok();
    let queued = |what: &str| {
        server
            .sh(&format!(
                "eventually bash -c 'ssh slipway audit name | grep -q \"{what}.*unfinished\"'"
            ))
            .ok();
    };
    let rename = server.sh_beside("./as_grace slipway apps:rename name mine");
    queued("apps:rename");
    let destroy = server.sh_beside("./as_grace slipway apps:destroy name --confirm name");
    queued("apps:destroy");
    let second = server.sh_beside(
        "export GIT_SSH_COMMAND=$PWD/as_grace; git -C again commit -q --allow-empty -m second; git -C again push slipway main 2>&1 | tee second.txt",
    );
    // Who pushes to an app that is being renamed need not wait to hear it.
    let pushed = second.wait().fails(1);
    assert!(pushed.contains("`name` is being changed"), "{pushed}");
    drop(line);
    server.sh("eventually ssh slipway apps:create name").ok();

    first.wait().ok();
    rename.wait().ok();
    let no_longer = no_app("name");
    let destroyed = destroy.wait().fails(1);
    assert!(destroyed.contains(&no_longer), "{destroyed}");
    assert_eq!(server.ssh("apps").ok(), "mine\nname\n");
    assert_eq!(server.sh("ssh slipway releases name 2>/dev/null").ok(), "");
}

/// A change is not made with rights that were lost before all its input was there.
#[test]
fn a_role_that_is_lost_while_input_is_awaited_changes_nothing() {
    let server = Server::start();
    user(&server, "grace");
    server.ssh("apps:create shop").ok();
    server.ssh("access:add shop grace operator").ok();
    let said = server
        .sh(
            "mkfifo held; ./as_grace slipway config:edit shop < held & edit=$!
             exec 3> held; echo A=1 >&3
             eventually bash -c 'ssh slipway audit shop | grep -q \"config:edit.*unfinished\"'
             ssh slipway access:remove shop grace
             wait $edit; echo \"status $?\"; exec 3>&-
             ssh slipway config shop; ssh slipway audit shop | grep config:edit",
        )
        .ok();
    assert!(said.contains("your access was taken away"), "{said}");
    assert!(said.contains("status 77"), "{said}");
    assert!(!said.contains("A="), "{said}");
    assert!(
        said.lines()
            .any(|line| line.contains("config:edit") && !line.ends_with("ok")),
        "{said}"
    );
}

/// Also when the command waits for a client that does not read.
#[test]
fn a_backup_ends_with_the_right_to_it() {
    let server = Server::start();
    user(&server, "grace");
    server.ssh("users:promote grace").ok();
    // More than fits into windows and pipes.
    server
        .sh("git init -q big; head -c 12000000 /dev/urandom > big/random; git -C big add -A; git -C big commit -q -m big
             git -C big push -q slipway:big HEAD:keep")
        .ok();
    let said = server
        .sh(
            "mkfifo held; exec 3<> held; ./as_grace slipway backup >&3 & client=$!
             eventually bash -c 'ssh slipway audit | grep -q \"backup.*unfinished\"'
             ssh slipway users:demote grace
             eventually bash -c '! ssh slipway audit | grep -q \"backup.*unfinished\"'
             kill $client; ssh slipway audit | grep backup",
        )
        .ok();
    let backup = said.lines().find(|line| line.contains(" backup "));
    assert!(
        backup.is_some_and(|line| line.ends_with("failed")),
        "{said}"
    );
}

/// It goes on for those of its pushers who still may, and the release is theirs.
#[test]
fn a_shared_build_is_deployed_for_whom_it_may_be() {
    let server = Server::start();
    let gate = Gate::new(&server);
    for name in ["grace", "heidi"] {
        user(&server, name);
    }
    gate.app(&server, "shop", "build");
    server.ssh("apps:create shop").ok();
    for name in ["grace", "heidi"] {
        server.ssh(&format!("access:add shop {name} deployer")).ok();
    }
    let push = |name: &str| {
        server.sh_beside(&format!(
            "export GIT_SSH_COMMAND=$PWD/as_{name}; git -C shop push slipway main 2>&1 | tee {name}.txt"
        ))
    };
    let grace = push("grace");
    let held = gate.wait("build one");
    let heidi = push("heidi");
    server
        .sh("eventually grep 'pushed by grace, is of the same commit' heidi.txt")
        .ok();
    server.ssh("access:remove shop grace").ok();
    held.open();
    let said = heidi.wait().ok();
    assert!(said.contains("v1 is live"), "{said}");
    // She sees the end of what she was let in for.
    _ = grace.wait();
    let releases = server.ssh("releases shop").ok();
    assert!(
        releases.contains("heidi") && !releases.contains("grace"),
        "{releases}"
    );

    // Nobody of those who want it may.
    gate.commit(&server, "shop", "two", "build");
    let heidi = push("heidi");
    let held = gate.wait("build two");
    server.ssh("access:remove shop heidi").ok();
    held.open();
    let said = heidi.wait().fails(1);
    assert!(said.contains(&no_app("shop")), "{said}");
    assert_eq!(server.get("shop", "/version").body, "one\n");
}
