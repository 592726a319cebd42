//! Pushes by stock git over stock ssh.

use std::os::unix::process::CommandExt;

use crate::common::{TestServer, Work, git_in, outcome, run, text, wait_until};

#[test]
fn a_first_push_an_update_and_a_force() {
    let server = TestServer::start();
    let work = Work::new(&server, "shop");
    work.write("a.txt", "one\n");
    let first = work.commit("first");
    let (code, said) = work.push(&["main"]);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("remote: -----> Deploying first of Ada to refs/heads/main"),
        "{said}"
    );
    assert!(said.contains("[new branch]"), "{said}");
    assert!(
        !said.contains('\x1b'),
        "no colours where there is no terminal: {said}"
    );
    assert_eq!(server.head("shop", "refs/heads/main"), Some(first));

    work.write("a.txt", "two\n");
    let second = work.commit("second");
    assert_eq!(work.push(&["main"]).0, 0);
    assert_eq!(server.head("shop", "refs/heads/main"), Some(second));

    work.ok(&["reset", "-q", "--hard", "HEAD~1"]);
    work.write("b.txt", "three\n");
    let third = work.commit("third");
    assert_eq!(work.push(&["main"]).0, 1, "git itself wants a force");
    assert_eq!(work.push(&["-f", "main"]).0, 0);
    assert_eq!(server.head("shop", "refs/heads/main"), Some(third));
    server.check("shop");
}

#[test]
fn a_failed_deploy_leaves_the_ref_and_can_be_repeated() {
    let server = TestServer::start();
    let work = Work::new(&server, "shop");
    let first = work.commit("first");
    assert_eq!(work.push(&["main"]).0, 0);
    work.write("a.txt", "two\n");
    let second = work.commit("second");
    let (code, said) = work.push(&["--porcelain", "-o", "fail=build failed (exit 1)", "main"]);
    assert_eq!(code, 1);
    assert!(
        said.contains(
            "!\trefs/heads/main:refs/heads/main\t[remote rejected] (build failed (exit 1))"
        ),
        "{said}"
    );
    assert!(
        said.contains("remote:  !     It does not compile"),
        "{said}"
    );
    assert_eq!(server.head("shop", "refs/heads/main"), Some(first));
    let (code, said) = work.push(&["main"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(server.head("shop", "refs/heads/main"), Some(second));
    server.check("shop");
}

#[test]
fn branches_tags_and_deletes() {
    let server = TestServer::start();
    let work = Work::new(&server, "shop");
    let first = work.commit("first");
    assert_eq!(work.push(&["main"]).0, 0);
    work.ok(&["tag", "v1"]);
    work.ok(&["tag", "-a", "v2", "-m", "annotated"]);
    let (code, said) = work.push(&["HEAD:refs/heads/feature/x", "v1", "v2"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("git push <remote> HEAD:main"), "{said}");
    assert_eq!(
        server.head("shop", "refs/heads/feature/x"),
        Some(first.clone())
    );
    assert_eq!(
        server.head("shop", "refs/tags/v2^{commit}"),
        Some(first.clone())
    );

    let (code, said) = work.push(&[":refs/heads/feature/x", ":v1"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(server.head("shop", "refs/heads/feature/x"), None);
    let (code, said) = work.push(&[":main"]);
    assert_eq!(code, 1);
    assert!(said.contains("apps:destroy"), "{said}");
    assert_eq!(server.head("shop", "refs/heads/main"), Some(first));
    let (code, said) = work.push(&[":refs/heads/never-there"]);
    assert!(
        code == 0 || said.contains("remote ref does not exist"),
        "{said}"
    );
    server.check("shop");
}

#[test]
fn an_atomic_push_is_all_or_nothing() {
    let server = TestServer::start();
    let work = Work::new(&server, "shop");
    let first = work.commit("first");
    let (code, said) = work.push(&["--atomic", "main", "main:side"]);
    assert!(
        code == 0 && said.contains("only `main` is deployed"),
        "{said}"
    );
    assert_eq!(server.head("shop", "refs/heads/side"), Some(first.clone()));
    work.write("a", "a");
    let second = work.commit("second");
    let (code, said) = work.push(&[
        "--atomic",
        "-o",
        "fail=no",
        "main",
        "main:side",
        "main:other",
    ]);
    assert_eq!(code, 1);
    assert!(
        said.contains("(no)") && said.contains("atomic push failed"),
        "{said}"
    );
    assert_eq!(server.head("shop", "refs/heads/side"), Some(first.clone()));
    assert_eq!(server.head("shop", "refs/heads/other"), None);
    assert_eq!(work.push(&["main", "main:side", "-o", "fail=no"]).0, 1);
    assert_eq!(
        server.head("shop", "refs/heads/side"),
        Some(second.clone()),
        "each by itself without --atomic"
    );
    assert_eq!(server.head("shop", "refs/heads/main"), Some(first));
    assert_eq!(work.push(&["--atomic", "main", "main:other"]).0, 0);
    assert_eq!(server.head("shop", "refs/heads/main"), Some(second));
    server.check("shop");
}

#[test]
fn thousands_of_tags_at_once() {
    const TAGS: usize = 1_200;
    let server = TestServer::start();
    let work = Work::new(&server, "shop");
    work.write("a", "1");
    let tip = work.commit("one");
    work.fast_import(
        &(0..TAGS)
            .map(|n| format!("reset refs/tags/t{n}\nfrom {tip}\n\n"))
            .collect::<String>(),
    );
    for n in 0..8 {
        work.ok(&["branch", &format!("b{n}")]);
    }
    let (code, said) = work.push(&["--mirror"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(said.matches("only `main` is deployed").count(), 5, "{said}");
    assert!(
        said.contains("3 more refs are stored and not deployed."),
        "{said}"
    );
    assert_eq!(
        work.ok(&["ls-remote", "--tags", "slipway"]).lines().count(),
        TAGS
    );
    server.check("shop");
}

/// More, or longer, than it takes: a reason for each ref, as for anything else.
#[test]
fn too_many_push_options() {
    let server = TestServer::start();
    let work = Work::new(&server, "shop");
    work.write("a", "1");
    work.commit("one");
    let refused = |options: Vec<String>, reason: &str| {
        let options = options.iter().flat_map(|option| ["-o", option]);
        let args: Vec<&str> = options.chain(["main"]).collect();
        let (code, said) = work.push(&args);
        assert!(
            code == 1 && said.contains(&format!("main -> main ({reason}")),
            "{said}"
        );
    };
    refused(vec!["x".to_owned(); 33], "more than 32 push options)");
    refused(
        vec!["x".repeat(1025)],
        "a push option has 1025 bytes, more than 1024)",
    );
    assert_eq!(server.head("shop", "refs/heads/main"), None);
}

#[test]
fn one_deploy_per_push() {
    let server = TestServer::start();
    let work = Work::new(&server, "shop");
    let head = work.commit("first");
    let (code, said) = work.push(&["main", "main:master"]);
    assert_eq!(code, 1);
    assert!(said.contains("one deploy per push"), "{said}");
    assert_eq!(server.head("shop", "refs/heads/main"), Some(head));
    assert_eq!(server.head("shop", "refs/heads/master"), None);
}

#[test]
fn quiet_dry_run_and_nothing_to_do() {
    let server = TestServer::start();
    let work = Work::new(&server, "shop");
    work.commit("first");
    assert_eq!(work.push(&["--dry-run", "main"]).0, 0);
    assert_eq!(server.head("shop", "refs/heads/main"), None);
    let (code, said) = work.push(&["-q", "main"]);
    assert_eq!(code, 0);
    assert!(
        said.contains("=====> Live"),
        "the log is not what -q leaves out: {said}"
    );
    let (code, said) = work.push(&["main"]);
    assert_eq!(
        (code, said.contains("Everything up-to-date")),
        (0, true),
        "{said}"
    );
    server.check("shop");
}

#[test]
fn thin_packs_empty_packs_and_many_files() {
    let server = TestServer::start();
    let work = Work::new(&server, "shop");
    let lines: String = (0..2000).map(|n| format!("line {n}\n")).collect();
    let mut stream = String::from(
        "commit refs/heads/main\ncommitter Ada <ada@example.com> 1 +0000\ndata 4\nmany\n",
    );
    stream += &format!("M 644 inline big.txt\ndata {}\n{lines}\n", lines.len());
    for n in 0..10_000 {
        let content = format!("file {n}");
        stream += &format!(
            "M 644 inline d{}/f{n}\ndata {}\n{content}\n",
            n % 100,
            content.len()
        );
    }
    work.fast_import(&stream);
    let (code, said) = work.push(&["-o", "export", "main"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("remote: 10001 files"), "{said}");
    server.check("shop");

    // Deltas against what the server has.
    for n in 0..5 {
        work.write(
            "big.txt",
            &lines.replace(&format!("line {n}\n"), "changed\n"),
        );
        work.commit("small change");
        assert_eq!(work.push(&["main"]).0, 0);
    }
    // A new name for what is there: the pack has no object.
    assert_eq!(work.push(&["HEAD~2:refs/heads/older"]).0, 0);
    server.check("shop");
}

#[test]
fn an_export_is_the_tree_and_nothing_else() {
    let server = TestServer::start();
    let work = Work::new(&server, "shop");
    work.write("dir/run.sh", "#!/bin/sh\n");
    work.write("empty", "");
    run(std::process::Command::new("chmod")
        .arg("755")
        .arg(work.path().join("dir/run.sh")));
    std::os::unix::fs::symlink("/etc/passwd", work.path().join("link")).expect("links");
    let commit = work.commit("first");
    let (code, said) = work.push(&["-o", "export", "main"]);
    assert_eq!(code, 0, "{said}");
    let export = server.dir.path().join("repos/shop.exports").join(commit);
    let listed = run(std::process::Command::new("find").arg(&export).args([
        "-mindepth",
        "1",
        "-printf",
        "%P %m %l\n",
    ]));
    let mut lines: Vec<String> = text(&listed.stdout)
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    lines.sort();
    assert_eq!(
        lines,
        [
            "dir 755",
            "dir/run.sh 755",
            "empty 644",
            "link 777 /etc/passwd"
        ]
    );
}

#[test]
fn what_a_build_cannot_have_is_named() {
    let server = TestServer::start();
    let work = Work::new(&server, "shop");
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
    work.write("assets/video.mp4", pointer);
    work.commit("lfs");
    let (code, said) = work.push(&["-o", "export", "main"]);
    assert!(
        code == 1 && said.contains("`assets/video.mp4` is stored in Git LFS"),
        "{said}"
    );

    work.ok(&["rm", "-q", "-r", "assets"]);
    let link = format!("160000,{},vendor/lib", "1".repeat(40));
    work.ok(&["update-index", "--add", "--cacheinfo", &link]);
    work.ok(&["commit", "-q", "-m", "submodule"]);
    let (code, said) = work.push(&["-o", "export", "main"]);
    assert!(
        code == 1 && said.contains("`vendor/lib` is a submodule"),
        "{said}"
    );
    assert_eq!(work.push(&["main"]).0, 0, "the repository may have it");
}

/// Thirty trees, each ten times in the next.
#[test]
fn a_tree_that_is_small_and_writes_out_without_end_is_refused_before_it_is_written() {
    let server = TestServer::start();
    let work = Work::new(&server, "shop");
    work.write("file", "a");
    work.ok(&["add", "."]);
    let mut tree = work.ok(&["write-tree"]).trim().to_owned();
    let grow = |tree: &str, times: usize| {
        let entry = |n| format!("040000 tree {tree}\t{n}\n");
        let listed: String = (0..times).map(entry).collect();
        let file = work.path().join("listed");
        std::fs::write(&file, listed).expect("written");
        let mut mktree = work.git(&["mktree"]);
        mktree.stdin(std::fs::File::open(file).expect("opens"));
        text(&run(&mut mktree).stdout).trim().to_owned()
    };
    let push = |tree: &str| {
        let commit = work.ok(&["commit-tree", "-m", "tree", tree]);
        work.push(&[
            "-f",
            "-o",
            "export",
            &format!("{}:refs/heads/main", commit.trim()),
        ])
    };
    let small = grow(&tree, 3);
    let (code, said) = push(&small);
    assert_eq!(code, 0, "{said}");
    for _ in 0..30 {
        tree = grow(&tree, 10);
    }
    let (code, said) = push(&tree);
    assert!(
        code == 1 && said.contains("entries, more than 1000000"),
        "{said}"
    );
    let mut deep = small;
    for _ in 0..200 {
        deep = grow(&deep, 1);
    }
    let (code, said) = push(&deep);
    assert!(
        code == 1 && said.contains("/0/...` is too long or too deep"),
        "{said}"
    );
}

#[test]
fn a_shallow_clone_can_push() {
    let server = TestServer::start();
    let origin = Work::new(&server, "unused");
    for n in 0..5 {
        origin.write("n", &n.to_string());
        origin.commit("history");
    }
    let work = Work::new(&server, "shop");
    let origin_url = format!("file://{}", origin.path().display());
    work.ok(&["fetch", "-q", "--depth", "1", &origin_url, "main"]);
    work.ok(&["reset", "-q", "--hard", "FETCH_HEAD"]);
    let (code, said) = work.push(&["main"]);
    assert_eq!(code, 0, "{said}");
    server.check("shop");
    work.write("n", "more");
    let head = work.commit("on top");
    assert_eq!(work.push(&["main"]).0, 0);
    assert_eq!(server.head("shop", "refs/heads/main"), Some(head));
    let log = run(git_in(&server.repo("shop")).args(["log", "--format=%s", "main"]));
    assert_eq!(text(&log.stdout), "on top\nhistory\n");
    server.check("shop");

    // The whole history, later, from somewhere else.
    let full = Work {
        url: work.url.clone(),
        ssh: work.ssh.clone(),
        dir: origin.dir,
    };
    full.ok(&["remote", "set-url", "slipway", &full.url]);
    let (code, said) = full.push(&["-f", "main"]);
    assert_eq!(code, 0, "{said}");
    server.check("shop");
}

#[test]
fn twenty_pushes_at_once_to_one_app_and_to_many() {
    let server = TestServer::start();
    let base = Work::new(&server, "one");
    base.commit("base");
    assert_eq!(base.push(&["main"]).0, 0);
    let results: Vec<(i32, String)> = std::thread::scope(|scope| {
        let pushes: Vec<_> = (0..20)
            .map(|n| {
                let (server, base) = (&server, &base);
                scope.spawn(move || {
                    let app = if n % 2 == 0 {
                        "one".to_owned()
                    } else {
                        format!("app{n}")
                    };
                    let work = Work::new(server, &app);
                    work.ok(&["fetch", "-q", &base.path().display().to_string(), "main"]);
                    work.ok(&["reset", "-q", "--hard", "FETCH_HEAD"]);
                    work.write("n", &n.to_string());
                    work.commit("mine");
                    work.push(&["main"])
                })
            })
            .collect();
        pushes
            .into_iter()
            .map(|push| push.join().expect("no panic"))
            .collect()
    });
    let won = results
        .iter()
        .step_by(2)
        .filter(|(code, _)| *code == 0)
        .count();
    assert_eq!(won, 1, "all came from the same base: {results:#?}");
    for (code, said) in results.iter().step_by(2).filter(|(code, _)| *code != 0) {
        assert!(
            *code == 1 && said.contains("has moved to") || said.contains("fetch first"),
            "{said}"
        );
    }
    assert!(
        results
            .iter()
            .skip(1)
            .step_by(2)
            .all(|(code, _)| *code == 0),
        "{results:#?}"
    );
    server.check("one");
    server.check("app1");
}

/// What a detached push shows.
#[test]
fn a_ref_made_in_place_of_another() {
    let server = TestServer::start();
    let work = Work::new(&server, "shop");
    work.commit("first");
    let (code, said) = work.push(&["-o", "instead=refs/builds/7", "main"]);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("[new reference]") && said.contains("main -> refs/builds/7"),
        "{said}"
    );
    assert_eq!(server.head("shop", "refs/heads/main"), None);
    let tracking = work.git(&["rev-parse", "-q", "--verify", "slipway/main"]);
    let (code, _) = outcome(&mut { tracking });
    assert_eq!(code, 1, "the client does not believe that main has moved");

    let (code, said) = work.push(&["-o", "unknown", "main"]);
    assert_eq!(code, 1);
    assert!(
        said.contains("(push option `unknown` is not known)"),
        "{said}"
    );
    let events = server.events();
    let recorded = |reason: &str| events.iter().any(|event| event.ends_with(reason));
    assert!(
        recorded("Err(\"not yet\")") && recorded("Err(\"push option `unknown` is not known\")"),
        "the records say what has not moved: {events:?}"
    );
    server.check("shop");
}

#[test]
fn wrong_names_are_told_before_anything_is_sent() {
    let server = TestServer::start();
    for name in ["Shop", "../etc", "a'b", "-x", ""] {
        let work = Work::new(&server, "unused");
        work.commit("first");
        work.ok(&[
            "remote",
            "set-url",
            "slipway",
            &format!("git@127.0.0.1:{name}"),
        ]);
        let (code, said) = work.push(&["main"]);
        assert_eq!(code, 128, "{name}: {said}");
        assert!(
            said.contains("fatal: remote error: ") && said.contains("not a valid app name")
                || name == "-x",
            "{name}: {said}"
        );
    }
    assert!(
        std::fs::read_dir(&server.platform.repos)
            .expect("reads")
            .next()
            .is_none()
    );
    let (code, said) = outcome(&mut Work::new(&server, "shop").git(&["ls-remote", "slipway"]));
    assert_eq!(code, 128);
    assert!(
        said.contains("fatal: remote error: there is no app `shop`"),
        "{said}"
    );
}

#[test]
fn a_push_that_is_interrupted_cancels_its_deploy() {
    let server = TestServer::start();
    let work = Work::new(&server, "shop");
    work.commit("first");
    let log = work.path().join(".git/log");
    let mut push = work.git(&["push", "slipway", "main", "-o", "wait"]);
    push.stderr(std::fs::File::create(&log).expect("log"));
    let mut push = push.process_group(0).spawn().expect("starts");
    wait_until("the deploy runs", || {
        std::fs::read_to_string(&log)
            .unwrap_or_default()
            .contains("waiting")
    });
    // As Ctrl-C does, to the whole group of processes, git and its ssh; but a shell that runs the tests in the background
    // has them ignore SIGINT.
    run(std::process::Command::new("kill").args(["-TERM", "--", &format!("-{}", push.id())]));
    assert!(!push.wait().expect("ends").success());
    // The lock is free, and the same commit can be pushed.
    let (code, said) = work.push(&["main"]);
    assert_eq!(code, 0, "{said}");
    server.check("shop");
}
