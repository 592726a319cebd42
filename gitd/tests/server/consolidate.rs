//! Many pushes leave few packs, and nothing is lost on the way.

use std::{fs, path::Path};

use crate::common::{TestServer, Work, git_in, run, text, wait_until};

/// What the server keeps without a consolidation, and one more push.
const PACKS_MAX: usize = 17;

fn packs(repo: &Path) -> Vec<String> {
    let entries = fs::read_dir(repo.join("objects/pack")).expect("lists");
    let names = entries.map(|entry| {
        entry
            .expect("lists")
            .file_name()
            .to_string_lossy()
            .into_owned()
    });
    names.filter(|name| name.ends_with(".pack")).collect()
}

fn objects(repo: &Path) -> Vec<String> {
    let listed = run(git_in(repo).args(["rev-list", "--objects", "--all"]));
    let mut lines: Vec<String> = text(&listed.stdout).lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Thin pushes: each pack holds a whole copy of the large file, as the base of its change.
fn push_often(server: &TestServer, work: &Work, times: std::ops::Range<usize>) {
    for n in times {
        let lines: String = (0..3000)
            .map(|line| format!("{line} {}\n", line.max(n)))
            .collect();
        work.write("large", &lines);
        work.commit(&format!("change {n}"));
        let (code, said) = work.push(&["main"]);
        assert_eq!(code, 0, "{said}");
        assert!(
            packs(&server.repo("shop")).len() < 3 * PACKS_MAX,
            "somebody consolidates"
        );
    }
}

#[test]
fn many_small_pushes_leave_few_packs() {
    let server = TestServer::start();
    let work = Work::new(&server, "shop");
    push_often(&server, &work, 0..60);
    let repo = server.repo("shop");
    wait_until("the packs are one", || packs(&repo).len() <= PACKS_MAX);
    server.check("shop");
    assert_eq!(objects(&repo), objects(work.path()));

    // Nobody's delta chain has become too long to read.
    let index = fs::read_dir(repo.join("objects/pack"))
        .expect("lists")
        .map(|entry| entry.expect("lists").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "idx"));
    for index in index {
        let verified = run(git_in(&repo).args(["verify-pack", "-v"]).arg(&index));
        for line in text(&verified.stdout).lines() {
            // `<id> <kind> <size> <packed size> <offset> <depth> <base>`
            let depth = line
                .split_whitespace()
                .nth(5)
                .and_then(|depth| depth.parse().ok());
            assert!(depth.unwrap_or(0) <= 50, "{line}");
        }
    }

    // And a client gets all of it.
    let dir = tempfile::tempdir().expect("temporary directory");
    run(work
        .git(&["clone", "-q", "--bare", &work.url])
        .arg(dir.path()));
    assert_eq!(objects(dir.path()), objects(work.path()));
}

#[test]
fn packs_that_a_crash_left_beside_the_new_one_do_no_harm() {
    let server = TestServer::start();
    let work = Work::new(&server, "shop");
    push_often(&server, &work, 0..10);
    let (repo, kept) = (
        server.repo("shop"),
        tempfile::tempdir().expect("temporary directory"),
    );
    let copy = |from: &Path, to: &Path| {
        for entry in fs::read_dir(from).expect("lists") {
            let entry = entry.expect("lists");
            if !to.join(entry.file_name()).exists() {
                fs::copy(entry.path(), to.join(entry.file_name())).expect("copies");
            }
        }
    };
    copy(&repo.join("objects/pack"), kept.path());
    push_often(&server, &work, 10..25);
    wait_until("the packs are one", || packs(&repo).len() <= PACKS_MAX);
    server.assert_no_quarantine("shop");
    // As if the server had died before it removed the old ones.
    copy(kept.path(), &repo.join("objects/pack"));
    push_often(&server, &work, 25..40);
    wait_until("the packs are one", || packs(&repo).len() <= PACKS_MAX);
    server.check("shop");
    assert_eq!(objects(&repo), objects(work.path()));
}

#[test]
fn pushes_fetches_and_consolidations_at_once() {
    let server = TestServer::start();
    let base = Work::new(&server, "shop");
    push_often(&server, &base, 0..14);
    std::thread::scope(|scope| {
        for who in 0..3 {
            let (server, base) = (&server, &base);
            scope.spawn(move || {
                let work = Work::new(server, "shop");
                work.ok(&["fetch", "-q", "slipway", "main"]);
                work.ok(&["reset", "-q", "--hard", "FETCH_HEAD"]);
                for n in 0..8 {
                    work.write(&format!("of{who}"), &format!("{n}\n").repeat(100));
                    work.commit("mine");
                    let (code, said) = work.push(&[&format!("HEAD:refs/heads/b{who}")]);
                    assert_eq!(code, 0, "{said}");
                    let dir = tempfile::tempdir().expect("temporary directory");
                    run(base
                        .git(&["clone", "-q", "--bare", &base.url])
                        .arg(dir.path()));
                    run(git_in(dir.path()).args(["fsck", "--full", "--strict"]));
                }
            });
        }
    });
    server.check("shop");
}
