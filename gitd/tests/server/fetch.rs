//! Clones and fetches by stock git over stock ssh, in every protocol that it speaks.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    path::Path,
    process::Stdio,
};

use crate::common::{TestServer, Work, git_in, outcome, run, text};

const PROTOCOLS: [&str; 3] = ["0", "1", "2"];

/// A repository with branches, a merge, tags of both kinds, and files in folders.
fn history(server: &TestServer, app: &str) -> Work {
    let work = Work::new(server, app);
    for n in 0..12 {
        work.write(
            &format!("src/f{}.txt", n % 4),
            &format!("{n}\n").repeat(200 + n),
        );
        work.write("README", &n.to_string());
        commit_at(&work, n as u64, &format!("commit {n}"));
        if n == 3 {
            work.ok(&["tag", "light"]);
            work.ok(&["tag", "-a", "heavy", "-m", "annotated"]);
        }
        if n == 5 {
            work.ok(&["branch", "side"]);
        }
    }
    work.ok(&["checkout", "-q", "side"]);
    work.write("side/a", "a\n");
    commit_at(&work, 20, "on the side");
    work.ok(&["checkout", "-q", "main"]);
    work.ok(&["merge", "-q", "--no-ff", "-m", "merge", "side"]);
    let (code, said) = work.push(&["main", "side", "light", "heavy"]);
    assert_eq!(code, 0, "{said}");
    work
}

/// Days since 2020 as the commit's time.
fn commit_at(work: &Work, day: u64, message: &str) {
    let time = format!("{} +0000", 1_577_836_800 + day * 86_400);
    work.ok(&["add", "-A"]);
    run(work
        .git(&["commit", "-q", "--allow-empty", "-m", message])
        .env("GIT_COMMITTER_DATE", &time)
        .env("GIT_AUTHOR_DATE", &time));
}

fn objects(dir: &Path) -> BTreeSet<String> {
    let listed = run(git_in(dir).args([
        "cat-file",
        "--batch-all-objects",
        "--batch-check=%(objectname)",
    ]));
    text(&listed.stdout).lines().map(str::to_owned).collect()
}

fn sorted_shallow(dir: &Path) -> BTreeSet<String> {
    let file = std::fs::read_to_string(dir.join(".git/shallow")).unwrap_or_default();
    file.lines().map(str::to_owned).collect()
}

/// Clones from our server into `into`, and from the same repository by stock git's own server beside it.
struct Pair {
    dir: tempfile::TempDir,
    ssh: String,
    ours: String,
    stock: String,
    protocol: &'static str,
}

impl Pair {
    fn new(server: &TestServer, app: &str, protocol: &'static str) -> Self {
        // Stock git's server gives out by name only what it is told to.
        let repo = server.repo(app);
        for setting in ["uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"] {
            run(git_in(&repo).args(["config", setting, "true"]));
        }
        Self {
            dir: tempfile::tempdir().expect("temporary directory"),
            ssh: server.ssh_command("alice"),
            ours: format!("ssh://git@127.0.0.1/{app}"),
            stock: format!("file://{}", repo.display()),
            protocol,
        }
    }

    fn side(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// Runs the words in both clones; the same must come out.
    fn both(&self, args: &[&str]) {
        let [ours, stock] = [("ours", &self.ours), ("stock", &self.stock)].map(|(name, url)| {
            let args: Vec<&str> = args
                .iter()
                .map(|arg| match *arg {
                    "URL" => url.as_str(),
                    "DIR" => name,
                    arg => arg,
                })
                .collect();
            let at = self.side(name);
            let at = if at.exists() {
                at
            } else {
                self.dir.path().to_owned()
            };
            outcome(
                git_in(&at)
                    .env("GIT_SSH_COMMAND", &self.ssh)
                    .args(["-c", &format!("protocol.version={}", self.protocol)])
                    .args(args),
            )
        });
        let what = format!("{args:?} in protocol {}", self.protocol);
        assert_eq!(
            ours.0, stock.0,
            "{what}\nours: {}\nstock: {}",
            ours.1, stock.1
        );
    }

    /// Refs, boundaries and objects are the same, and stock git finds nothing wrong.
    fn same(&self, what: &str) {
        let what = format!("{what} in protocol {}", self.protocol);
        let (ours, stock) = (self.side("ours"), self.side("stock"));
        let refs = |dir: &Path| text(&run(git_in(dir).args(["for-each-ref"])).stdout);
        assert_eq!(refs(&ours), refs(&stock), "{what}");
        assert_eq!(sorted_shallow(&ours), sorted_shallow(&stock), "{what}");
        let (ours_has, stock_has) = (objects(&ours), objects(&stock));
        let missing: Vec<_> = stock_has.difference(&ours_has).collect();
        let surplus: Vec<_> = ours_has.difference(&stock_has).collect();
        assert!(
            missing.is_empty() && surplus.is_empty(),
            "{what}: missing {missing:?}, surplus {surplus:?}"
        );
        run(git_in(&ours).args(["fsck", "--full", "--strict", "--no-dangling"]));
    }
}

#[test]
fn clones_are_what_stock_git_serves() {
    let server = TestServer::start();
    let _work = history(&server, "shop");
    for protocol in PROTOCOLS {
        for (what, args) in [
            ("a clone", &["clone", "-q", "URL", "DIR"][..]),
            (
                "a bare depth",
                &["clone", "-q", "--depth", "1", "URL", "DIR"],
            ),
            (
                "a depth of all branches",
                &[
                    "clone",
                    "-q",
                    "--depth",
                    "3",
                    "--no-single-branch",
                    "URL",
                    "DIR",
                ],
            ),
            (
                "one branch",
                &["clone", "-q", "--single-branch", "-b", "side", "URL", "DIR"],
            ),
            ("no tags", &["clone", "-q", "--no-tags", "URL", "DIR"]),
            (
                "since",
                &["clone", "-q", "--shallow-since=2020-01-06", "URL", "DIR"],
            ),
            (
                "exclude",
                &["clone", "-q", "--shallow-exclude=heavy", "URL", "DIR"],
            ),
            (
                "no blobs",
                &[
                    "clone",
                    "-q",
                    "--no-checkout",
                    "--filter=blob:none",
                    "URL",
                    "DIR",
                ],
            ),
            (
                "small blobs",
                &[
                    "clone",
                    "-q",
                    "--no-checkout",
                    "--filter=blob:limit=100",
                    "URL",
                    "DIR",
                ],
            ),
            (
                "no trees",
                &[
                    "clone",
                    "-q",
                    "--no-checkout",
                    "--filter=tree:0",
                    "URL",
                    "DIR",
                ],
            ),
            (
                "few trees",
                &[
                    "clone",
                    "-q",
                    "--no-checkout",
                    "--filter=tree:2",
                    "URL",
                    "DIR",
                ],
            ),
        ] {
            let pair = Pair::new(&server, "shop", protocol);
            pair.both(args);
            pair.same(what);
        }
    }
}

#[test]
fn fetches_bring_what_stock_git_brings() {
    let server = TestServer::start();
    let work = history(&server, "shop");
    for protocol in PROTOCOLS {
        let pair = Pair::new(&server, "shop", protocol);
        pair.both(&["clone", "-q", "--depth", "2", "URL", "DIR"]);
        pair.both(&["fetch", "-q", "--deepen", "2"]);
        pair.same("deepen");
        pair.both(&["fetch", "-q", "--depth", "5", "origin", "main"]);
        pair.same("depth 5");
        pair.both(&["fetch", "-q", "--depth", "1", "origin", "main"]);
        pair.both(&["fetch", "-q", "--unshallow"]);
        pair.same("unshallow");
        pair.both(&["fetch", "-q", "origin", "side:new", "heavy"]);

        // New commits on both sides of a fork, and a tag on the way.
        work.write("src/f1.txt", &format!("changed {protocol}\n").repeat(300));
        work.commit(&format!("new {protocol}"));
        work.ok(&["tag", "-a", &format!("t{protocol}"), "-m", "new"]);
        work.commit(&format!("newer {protocol}"));
        assert_eq!(work.push(&["main", &format!("t{protocol}")]).0, 0);
        for name in ["ours", "stock"] {
            run(git_in(&pair.side(name))
                .args(["commit", "-q", "--allow-empty", "-m", "local"])
                .env("GIT_COMMITTER_DATE", "1700000000 +0000")
                .env("GIT_AUTHOR_DATE", "1700000000 +0000"));
        }
        pair.both(&["fetch", "-q"]);
        pair.same("an update");
        pair.both(&["fetch", "-q"]);
        pair.same("nothing new");
    }
}

#[test]
fn a_partial_clone_fills_itself() {
    let server = TestServer::start();
    let _work = history(&server, "shop");
    let pair = Pair::new(&server, "shop", "2");
    pair.both(&["clone", "-q", "--filter=blob:none", "URL", "DIR"]);
    pair.both(&["log", "-p", "--oneline", "--all"]);
    pair.same("filled");
}

#[test]
fn refs_are_listed_as_stock_git_lists_them() {
    let server = TestServer::start();
    let _work = history(&server, "shop");
    for protocol in PROTOCOLS {
        let pair = Pair::new(&server, "shop", protocol);
        for args in [
            &["--symref"][..],
            &["--heads"],
            &["--tags"],
            &["--refs"],
            &["--symref", "HEAD"],
        ] {
            let list = |url: &str| {
                let mut command = git_in(pair.dir.path());
                command
                    .env("GIT_SSH_COMMAND", &pair.ssh)
                    .args(["-c", &format!("protocol.version={protocol}"), "ls-remote"])
                    .args(args.iter().filter(|arg| arg.starts_with('-')))
                    .arg(url)
                    .args(args.iter().filter(|arg| !arg.starts_with('-')));
                outcome(&mut command)
            };
            assert_eq!(list(&pair.ours), list(&pair.stock), "{args:?} {protocol}");
        }
    }
}

#[test]
fn an_empty_app_is_cloned_and_a_missing_one_is_not_made() {
    let server = TestServer::start();
    let work = Work::new(&server, "shop");
    work.commit("first");
    assert_eq!(work.push(&["-o", "fail=no", "main"]).0, 1);
    for protocol in PROTOCOLS {
        let dir = tempfile::tempdir().expect("temporary directory");
        let clone = |app: &str| {
            outcome(
                git_in(dir.path())
                    .env("GIT_SSH_COMMAND", &work.ssh)
                    .args(["-c", &format!("protocol.version={protocol}"), "clone"])
                    .arg(format!("ssh://git@127.0.0.1/{app}")),
            )
        };
        let (code, said) = clone("shop");
        assert!(code == 0 && said.contains("empty repository"), "{said}");
        let (code, said) = clone("nothing");
        assert_eq!(code, 128);
        assert!(
            said.contains("fatal: remote error: there is no app `nothing`"),
            "{said}"
        );
        assert!(!server.repo("nothing").exists());
    }
}

#[test]
fn only_what_a_ref_leads_to_can_be_had() {
    let server = TestServer::start();
    let work = history(&server, "shop");
    let before = work.head();
    work.write("secret", "of a failed deploy\n");
    let failed = work.commit("failed");
    let blob = work.ok(&["rev-parse", "HEAD:secret"]).trim().to_owned();
    assert_eq!(work.push(&["-o", "fail=no", "main"]).0, 1);
    let old_blob = work.ok(&["rev-parse", "HEAD:README"]).trim().to_owned();
    for protocol in PROTOCOLS {
        let dir = tempfile::tempdir().expect("temporary directory");
        run(git_in(dir.path()).args(["init", "-q"]));
        let fetch = |id: &str| {
            outcome(
                git_in(dir.path())
                    .env("GIT_SSH_COMMAND", &work.ssh)
                    .args(["-c", &format!("protocol.version={protocol}"), "fetch", "-q"])
                    .args([&work.url, id]),
            )
        };
        for id in [&failed, &blob] {
            let (code, said) = fetch(id);
            assert!(
                code != 0 && said.contains("not our ref"),
                "{protocol}: {said}"
            );
        }
        for id in [&before, &old_blob] {
            let (code, said) = fetch(id);
            assert_eq!(code, 0, "{protocol} {id}: {said}");
        }
    }
}

#[test]
fn a_repository_of_a_shallow_push_is_cloned() {
    let server = TestServer::start();
    let origin = history(&server, "origin");
    let work = Work::new(&server, "shop");
    work.ok(&[
        "fetch",
        "-q",
        "--depth",
        "2",
        &format!("file://{}", origin.path().display()),
        "main",
    ]);
    work.ok(&["reset", "-q", "--hard", "FETCH_HEAD"]);
    let (code, said) = work.push(&["main"]);
    assert_eq!(code, 0, "{said}");
    for protocol in PROTOCOLS {
        let pair = Pair::new(&server, "shop", protocol);
        pair.both(&["clone", "-q", "URL", "DIR"]);
        pair.same("a clone of a shallow repository");
    }
}

#[test]
fn unknown_filters_and_archives_are_refused_with_a_reason() {
    let server = TestServer::start();
    let work = history(&server, "shop");
    let filtered = [
        "clone",
        "-q",
        "--filter=sparse:oid=main",
        &work.url,
        "other",
    ];
    let (code, said) = outcome(&mut work.git(&filtered));
    assert!(
        code != 0 && said.contains("is not supported; there are blob:none"),
        "{said}"
    );
    let (code, said) = outcome(&mut work.git(&["archive", "--remote", &work.url, "main"]));
    assert!(code != 0 && said.contains("clone `shop`"), "{said}");
}

/// Sends the bytes and nothing more; all that came back.
fn send(server: &TestServer, protocol: &str, request: &str) -> String {
    let mut child = server
        .ssh(
            &["-o", "SendEnv=GIT_PROTOCOL"],
            &["git-upload-pack", "/shop"],
        )
        .env("GIT_PROTOCOL", protocol)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut stdin = child.stdin.take().expect("piped");
    // The server may have had enough.
    _ = stdin.write_all(request.as_bytes());
    drop(stdin);
    text(&child.wait_with_output().expect("ends").stdout)
}

/// Between the list of refs and the wants somebody else may push.
#[test]
fn what_was_shown_may_be_had_though_its_branch_moves() {
    let server = TestServer::start();
    let work = history(&server, "shop");
    work.write("new", "x");
    work.commit("one");
    let (code, said) = work.push(&["HEAD:refs/heads/moves"]);
    assert_eq!(code, 0, "{said}");
    let old = work.head();
    let mut child = server
        .ssh(
            &["-o", "SendEnv=GIT_PROTOCOL"],
            &["git-upload-pack", "/shop"],
        )
        .env("GIT_PROTOCOL", "version=2")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut stdin = child.stdin.take().expect("piped");
    let mut stdout = child.stdout.take().expect("piped");
    stdin
        .write_all(b"0014command=ls-refs\n0000")
        .expect("writes");
    let mut said = Vec::new();
    let shown = format!("{old} refs/heads/moves");
    while !(text(&said).contains(&shown) && said.ends_with(b"0000")) {
        let mut bytes = [0; 4096];
        let read = stdout.read(&mut bytes).expect("reads");
        assert_ne!(read, 0, "{}", text(&said));
        said.extend_from_slice(&bytes[..read]);
    }
    work.ok(&["commit", "-q", "--amend", "-m", "another one"]);
    for branch in ["main", "moves"] {
        let (code, said) = work.push(&["-f", &format!("HEAD:refs/heads/{branch}")]);
        assert_eq!(code, 0, "{said}");
    }
    let want = |id: &str| format!("0012command=fetch\n00010032want {id}\n0009done\n0000");
    stdin.write_all(want(&old).as_bytes()).expect("writes");
    drop(stdin);
    said.clear();
    stdout.read_to_end(&mut said).expect("reads");
    assert!(text(&said).contains("packfile"), "{}", text(&said));
    child.wait().expect("ends");
    // Who was not told of it does not get it.
    let late = send(&server, "version=2", &want(&old));
    assert!(late.contains(&format!("not our ref {old}")), "{late}");
}

#[test]
fn what_is_no_fetch_is_answered_with_a_reason() {
    let server = TestServer::start();
    let _work = history(&server, "shop");
    let check = |protocol: &str, request: &str, answer: &str| {
        let said = send(&server, protocol, request);
        let (_, said) = said.split_once("0000").expect("an advertisement");
        match answer {
            "" => assert_eq!(said, "", "{request}"),
            answer => assert!(
                said.contains("ERR upload-pack: ") && said.contains(answer),
                "{request}: {said}"
            ),
        }
    };
    let want = "0032want 1111111111111111111111111111111111111111\n";
    for nothing in ["", "0000"] {
        check("version=0", nothing, "");
        check("version=2", nothing, "");
    }
    check("version=0", "0009done\n0000", "");
    check("version=0", "zzzz", "not the length of a pkt-line");
    check(
        "version=0",
        "000ehello\x1b[2J\n",
        "`hello[2J` is not expected",
    );
    check("version=0", &format!("{want}0000"), "not our ref 1111");
    check("version=2", "0014command=ls-refs\n", "");
    check("version=2", "0012command=bogus\n0000", "no command `bogus`");
    check("version=2", "0012command=fetch\n0000", "");
    check("version=2", "00010001", "malformed");
    check(
        "version=2",
        "0012command=fetch\n0001000afoo=1\n0000",
        "no argument `foo=1`",
    );
    check(
        "version=2",
        &format!("0012command=fetch\n0001{want}0000"),
        "not our ref 1111",
    );
    // More than anybody has to say is not kept.
    let long = format!("fff0{}", "x".repeat(0xffec)).repeat(300);
    let long = format!("0012command=fetch\n0001{long}0000");
    check("version=2", &long, "the request is too long");
    let many = format!(
        "0014command=ls-refs\n0001{}0000",
        "0009peel\n".repeat(200_001)
    );
    check("version=2", &many, "the request is too long");
    let pair = Pair::new(&server, "shop", "2");
    pair.both(&["clone", "-q", "URL", "DIR"]);
    pair.same("after them");
}
