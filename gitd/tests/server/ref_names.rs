//! Names of refs that nobody honest sends, and names that cannot stand beside each other.

use crate::{
    common::{TestServer, Work},
    hostile::{good, send, still_works},
    pack::{ZERO, command, line},
};

#[test]
fn names_that_are_no_text_or_too_long() {
    let server = TestServer::start();
    let (pack, tip) = good();
    let pack = pack.finish();
    let check = |what: &str, name: &str, reason: &str| {
        let second = line(&format!("{ZERO} {tip} {name}"));
        let said = send(
            &server,
            &[&command("refs/heads/first", tip), &second, b"0000", &pack],
        );
        assert!(said.contains(reason), "{what}: {said:?}");
        assert!(!said.contains('\x1b'), "{what}");
        assert_eq!(server.head("shop", "refs/heads/first"), None, "{what}");
        server.assert_no_quarantine("shop");
    };
    check(
        "a NUL",
        "refs/heads/a\0b",
        "is not a command of the push protocol",
    );
    check(
        "an escape",
        "refs/heads/a\x1b[31m",
        "is not a command of the push protocol",
    );
    check(
        "a line break",
        "refs/heads/a\nb",
        "is not a command of the push protocol",
    );
    let long = format!("refs/heads/{}", "x".repeat(65_000));
    let said = send(
        &server,
        &[
            &command("refs/heads/first", tip),
            &line(&format!("{ZERO} {tip} {long}")),
            b"0000",
            &pack,
        ],
    );
    assert!(said.contains("ok refs/heads/first"), "{said}");
    assert!(said.contains(" a ref name has at most 1024 bytes"));
    still_works(&server);
}

#[test]
fn twins_by_case_and_a_folder_for_a_file() {
    let server = TestServer::start();
    let work = Work::new(&server, "shop");
    work.write("a", "a");
    work.commit("one");
    let refused = |refs: &[&str], reason: &str| {
        let (code, said) = work.push(refs);
        assert!(code == 1 && said.contains(reason), "{refs:?}: {said}");
    };
    assert_eq!(work.push(&["main:refs/heads/side"]).0, 0);

    refused(
        &["main:refs/heads/Side"],
        "(differs from `refs/heads/side` only by case)",
    );
    refused(
        &["main:refs/heads/side/x"],
        "(cannot be there beside `refs/heads/side`)",
    );
    refused(
        &["main:refs/heads/x/y", "main:refs/heads/x"],
        "(cannot be there beside `refs/heads/x",
    );
    refused(
        &["--atomic", "main:refs/heads/t", "main:refs/heads/T"],
        "only by case)",
    );
    for never in ["Side", "side/x", "t", "T"] {
        assert_eq!(server.head("shop", &format!("refs/heads/{never}")), None);
    }

    // One goes, and the other comes.
    let (code, said) = work.push(&[":refs/heads/side", "main:refs/heads/side/x"]);
    assert_eq!(code, 0, "{said}");
    assert!(server.head("shop", "refs/heads/side/x").is_some());
    server.check("shop");
}

/// git reads neither through a symbolic link, and refuses neither under `fsck --strict`; nothing of ours reads them at
/// all. Histories that have them can be deployed.
#[test]
fn attributes_that_are_links_are_only_links() {
    let server = TestServer::start();
    let work = Work::new(&server, "shop");
    for name in [".gitattributes", ".gitignore", ".mailmap"] {
        std::os::unix::fs::symlink("/etc/passwd", work.path().join(name)).expect("a link");
    }
    work.commit("links");
    let (code, said) = work.push(&["main"]);
    assert_eq!(code, 0, "{said}");
    server.check("shop");
}
