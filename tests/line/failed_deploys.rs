//! Deploys that must fail: the push is rejected with the reason, the ref does not move, the old release goes on serving,
//! the same commit can be pushed again, and the repaired one goes live.

use crate::server::Server;

/// An app that is live, and then broken by putting `content` into `file`.
struct Broken {
    server: Server,
}

impl Broken {
    fn new(file: &str, content: &str) -> Self {
        let server = Server::start();
        server.app("shop", "hello");
        server.push("shop").ok();
        server.sh(&format!("cd shop && cat > {file} <<'END'\n{content}\nEND\ngit add -A && git commit -qm broken")).ok();
        Self { server }
    }

    /// Pushes the broken commit twice: had the ref moved, git would call the second `Everything up-to-date`.
    fn must_be_rejected(&self, reason: &str, words: &[&str]) {
        for _ in 0..2 {
            let said = self.server.push("shop").fails(1);
            let rejected = said
                .lines()
                .find(|line| line.contains("! [remote rejected] main -> main ("));
            assert!(
                rejected.is_some_and(|line| line.contains(reason)),
                "no `{reason}` as the reason:\n{said}"
            );
            for word in words {
                assert!(said.contains(word), "no `{word}` in:\n{said}");
            }
            assert_eq!(
                self.server.get("shop", "/").body,
                "Hello, world\n",
                "the old release serves"
            );
        }
        self.repair();
    }

    fn repair(&self) {
        self.server.sh("cd shop && git revert --no-edit HEAD").ok();
        self.server
            .change("shop", "web.py", "Hello, world", "Hello again");
        self.server.push("shop").ok();
        assert_eq!(self.server.get("shop", "/").body, "Hello again\n");
        let releases = self.server.ssh("releases shop").ok();
        assert!(!releases.contains("pending"), "{releases}");
    }
}

#[test]
fn a_build_that_fails() {
    let package = r#"{"name":"shop","version":"1.0.0","scripts":{"build":"echo the build breaks here; exit 3","start":"node x"}}"#;
    Broken::new("package.json", package)
        .must_be_rejected("", &["the build breaks here", " !     "]);
}

#[test]
fn a_procfile_with_a_bad_line() {
    Broken::new("Procfile", "web python3 web.py").must_be_rejected("", &["Procfile", "line 1"]);
}

#[test]
fn a_release_phase_that_fails() {
    let procfile = "web: python3 -u web.py\nrelease: echo no such table >&2; exit 7";
    Broken::new("Procfile", procfile).must_be_rejected("release", &["no such table", "7"]);
}

#[test]
fn a_crash_at_boot() {
    Broken::new("web.py", "raise SystemExit('the database is not there')")
        .must_be_rejected("exited with status", &["the database is not there"]);
}

#[test]
fn a_command_that_is_not_there() {
    Broken::new("Procfile", "web: gunicorm app")
        .must_be_rejected("exited with status", &["gunicorm"]);
}

/// Takes the whole boot time-out of 60 s, twice.
#[test]
fn a_port_that_is_never_bound() {
    Broken::new(
        "web.py",
        "import time\nprint('thinking', flush=True)\nwhile True: time.sleep(1)",
    )
    .must_be_rejected("PORT", &["thinking"]);
}

#[test]
fn nothing_is_detected() {
    let server = Server::start();
    server
        .sh("mkdir shop && echo words > shop/notes.txt && app shop")
        .ok();
    let said = server.push("shop").fails(1);
    assert!(
        said.contains("! [remote rejected] main -> main ("),
        "{said}"
    );
    for file in ["package.json", "requirements.txt", "index.html", "Procfile"] {
        assert!(
            said.contains(file),
            "`{file}` would have been detected, which is not said:\n{said}"
        );
    }
    assert_eq!(
        server.get("shop", "/").status,
        502,
        "an app without a release is blank (H81)"
    );

    server.sh("echo '<h1>Hi</h1>' > shop/index.html && git -C shop add -A && git -C shop commit -qm page").ok();
    server.push("shop").ok();
    assert_eq!(server.get("shop", "/").body, "<h1>Hi</h1>\n");
}

#[test]
fn too_much_memory() {
    let hog = "hog = []\nwhile True: hog.append(bytearray(16 * 1024 * 1024))";
    Broken::new("web.py", hog).must_be_rejected("memory", &[]);
}

#[test]
fn the_first_push_of_all_can_fail_and_be_tried_again() {
    let server = Server::start();
    server.app("shop", "hello");
    server.change("shop", "web.py", "import os", "import nonsense");
    let said = server.push("shop").fails(1);
    assert!(said.contains("ModuleNotFoundError"), "{said}");
    let again = server.push("shop").fails(1);
    assert!(!again.contains("up-to-date"), "{again}");
    server.change("shop", "web.py", "import nonsense", "import os");
    server.push("shop").ok();
    assert_eq!(server.get("shop", "/").body, "Hello, world\n");
}

#[test]
fn a_build_that_the_user_interrupts_leaves_nothing_running() {
    let server = Server::start();
    let package = r#"{"name":"shop","version":"1.0.0","scripts":{"build":"echo building; sleep 6543","start":"node x"}}"#;
    server
        .sh(&format!(
            "mkdir shop && echo '{package}' > shop/package.json && app shop"
        ))
        .ok();
    let push = server.sh_beside("push shop 2>&1 | tee push.txt");
    server.sh("eventually grep building push.txt").ok();
    push.interrupt();
    let said = push.wait();
    assert_ne!(said.status, 0, "{}", said.text);
    server
        .sh("eventually bash -c '! pgrep -f \"^sleep 6543\"'")
        .ok();
    let builds = server
        .sh("eventually bash -c 'ssh slipway builds shop | grep -v running'")
        .ok();
    assert!(builds.contains("cancelled"), "{builds}");
}
