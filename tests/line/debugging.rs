//! `builds:debug`: a look inside a build that has failed.

use crate::{server::Server, typist::Typist};

/// Its build step fails until a file is there.
const PACKAGE: &str = r#"{"name":"shop","version":"1.0.0","scripts":{"build":"test -e mended","start":"node web.js"}}"#;

#[test]
fn a_failed_build_can_be_entered() {
    let server = Server::start();
    server.app("shop", "hello");
    server.ssh("apps:create shop").ok();
    let said = server.ssh("builds:debug shop").fails(1);
    assert!(said.contains("no failed build of `shop` is kept"), "{said}");

    server
        .sh(&format!(
            "cd shop && printf %s '{PACKAGE}' >package.json && git add -A && git commit -qm broken"
        ))
        .ok();
    let said = server.push("shop").fails(1);
    let line = format!(
        "To look around in it: ssh -t -p {} git@localhost builds:debug shop",
        server.ssh.port()
    );
    assert!(said.contains(&line), "{said}");

    let mut typist = Typist::ssh(&server, "builds:debug shop");
    typist.wait_for("-----> Build 1 of shop: buildpack slipway/nodejs failed: exit status");
    typist.wait_for("To run it once more: /tmp/again");
    typist.wait_for("/workspace$ ");
    typist.type_in("stty size; echo $TERM $CNB_BUILDPACK_DIR\r");
    typist.wait_for("33 121\r\nxterm-256color /cnb/buildpacks/slipway_nodejs/");
    let said = server.ssh("builds:debug shop -- true").fails(1);
    assert!(said.contains("somebody is in build 1 of `shop`"), "{said}");
    typist.type_in("touch mended; /tmp/again; echo stat''us $?\r");
    typist.wait_for("status 0\r\n");
    typist.type_in("exit 3\r");
    assert_eq!(typist.rest().1, Some(3));

    let said = server.ssh("builds:debug shop 9 -- true").fails(1);
    assert!(said.contains("build 9 of `shop` is not kept"), "{said}");
    // Somebody is in it when the server dies.
    let mut typist = Typist::ssh(&server, "builds:debug shop 1");
    typist.wait_for("/workspace$ ");
    server.kill_9();
    typist.rest();
    server.restart();
    let said = server.ssh("builds:debug shop -- 'ls | grep mended; exit 5'");
    assert_eq!(said.status, 5, "{}", said.text);
    assert!(said.text.contains("mended\n"), "{}", said.text);

    server.sh("cd shop && git revert --no-edit HEAD").ok();
    server.push("shop").ok();
    server.ssh("builds:debug shop").fails(1);

    server
        .sh("cd shop && git revert --no-edit HEAD && ! git push slipway main")
        .ok();
    // One that was cancelled does not take the place of one that failed.
    server
        .sh("cd shop && sed -i 's/test -e mended/sleep 300/' package.json && git commit -qam slow && git push -q -o detach slipway main
             ssh slipway builds:cancel shop 4")
        .ok();
    server.ssh("builds:debug shop 3 -- true").ok();
    // A look at an app does not outlive it.
    let mut typist = Typist::ssh(&server, "builds:debug shop");
    typist.wait_for("/workspace$ ");
    // Nor is a build kept that is forgotten, but for whoever is in it.
    server.ssh("builds:prune shop --keep 1").ok();
    let said = server.ssh("builds:debug shop").fails(1);
    assert!(said.contains("no failed build of `shop` is kept"), "{said}");
    server.ssh("apps:destroy shop --confirm shop").ok();
    assert_eq!(typist.rest().1, Some(137));
    server
        .sh("eventually bash -c '! ls -A $DATA/failed/* 2>/dev/null | grep .'")
        .ok();
}
