//! `git push -o plan`: a build whose result is described and thrown away.

use crate::{gate::Gate, server::Server};

#[test]
fn a_plan_tells_what_would_change_and_changes_nothing() {
    let server = Server::start();
    let gate = Gate::new(&server);
    gate.app(&server, "shop", "");
    let said = plan(&server);
    assert!(
        said.contains("What would be deployed; shop runs nothing yet"),
        "{said}"
    );
    assert!(said.contains("+ test/gate 1.0.0"), "{said}");
    assert_eq!(server.ssh("releases shop").ok(), "");

    server.push("shop").ok();
    server.ssh("config:set shop SECRET_WORD=hush").ok();
    let images = images(&server);
    gate.commit(&server, "shop", "two", "");
    let said = plan(&server);
    for line in [
        "-----> What would change in shop against v2",
        "       Buildpacks: 1, unchanged",
        "       Process types: 2, unchanged",
        "         ~ test/gate:data 4 B",
        "         ~ left-pad one -> two",
        "       Config vars: SECRET_WORD, as in v2",
        "       Image size: ",
    ] {
        assert!(said.contains(line), "no `{line}` in:\n{said}");
    }
    assert!(
        said.contains("         = "),
        "layers that are there already: {said}"
    );
    assert!(!said.contains("hush"), "no values: {said}");

    assert_eq!(self::images(&server), images, "the image is not kept");
    assert_eq!(server.ssh("releases shop").ok().lines().count(), 2);
    assert_eq!(server.get("shop", "/version").body, "one\n");
    let info = server.ssh("builds:info shop 3").ok();
    assert!(
        info.contains("succeeded") && info.contains("plan only: nothing was deployed"),
        "{info}"
    );

    let other = server
        .sh("git -C shop push -o plan slipway main:side")
        .fails(1);
    assert!(other.contains("`plan` changes nothing"), "{other}");
    // The branch has not moved: the same commit can be deployed.
    let said = server.push("shop").ok();
    assert!(said.contains("v3 is live"), "{said}");
    assert_eq!(server.get("shop", "/version").body, "two\n");
}

fn plan(server: &Server) -> String {
    let said = server.sh("git -C shop push -o plan slipway main").fails(1);
    let refused = "! [remote rejected] main -> main (plan only: nothing was deployed)";
    assert!(said.contains(refused), "{said}");
    said.replace("remote: ", "")
}

fn images(server: &Server) -> String {
    server.sh("ls $DATA/store/images").ok()
}
