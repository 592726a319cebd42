//! Clients that are not stock git: libgit2 (as pygit2) with its own SSH, dulwich over stock ssh, and git-lfs.

use std::{env, process::Command};

use crate::common::{TestServer, Work, run, text, tool};

/// The script clones, commits, pushes, and fetches what somebody else pushed; then it pushes a branch, and deletes it.
fn check(package: &str, script: &str) {
    if tool("python").is_none() {
        return;
    }
    let server = TestServer::start();
    let work = Work::new(&server, "shop");
    for n in 0..20 {
        work.write(&format!("d{}/f", n % 3), &format!("{n}\n").repeat(100));
        work.commit("history");
    }
    work.ok(&["tag", "-a", "v1", "-m", "annotated"]);
    assert_eq!(work.push(&["main", "v1"]).0, 0);

    let dir = tempfile::tempdir().expect("temporary directory");
    let step = |step: &str, expected: &str| {
        let mut python = tool("python").expect("it was there");
        let output = run(python
            .args(["-c", script, step])
            .arg(format!(
                "ssh://git@127.0.0.1:{}/shop",
                server.address.port()
            ))
            .arg(dir.path().join("clone"))
            .arg(server.key("alice"))
            .env("GIT_SSH_COMMAND", server.ssh_command("alice"))
            .env("HOME", dir.path()));
        assert_eq!(text(&output.stdout).trim(), expected, "{package}, {step}");
    };
    step("clone", &work.head());
    step("push", "pushed");
    let pushed = server.head("shop", "refs/heads/main").expect("it is there");
    assert_ne!(pushed, work.head());
    server.check("shop");

    work.ok(&["pull", "-q", "--rebase", "slipway", "main"]);
    assert_eq!(work.head(), pushed);
    work.write("d1/f", "from stock git\n");
    let next = work.commit("from stock git");
    assert_eq!(work.push(&["main"]).0, 0);
    step("fetch", &next);
    step("branch", "branched");
    assert_eq!(server.head("shop", "refs/heads/side"), Some(pushed));
    step("delete", "deleted");
    assert_eq!(server.head("shop", "refs/heads/side"), None);
    server.check("shop");
}

#[test]
fn git_lfs_is_told_before_it_sends_anything() {
    let has = Command::new("git-lfs").arg("version").output().is_ok();
    assert!(has || env::var_os("CI").is_none(), "git-lfs is missing");
    if !has {
        return eprintln!("skipped: no git-lfs");
    }
    let server = TestServer::start();
    let work = Work::new(&server, "shop");
    work.ok(&["lfs", "install", "--local"]);
    work.ok(&["lfs", "track", "*.bin"]);
    work.write("large.bin", &"x".repeat(100_000));
    work.commit("with a large file");
    let (code, said) = work.push(&["main"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("Git LFS is not supported"), "{said}");
    assert_eq!(server.head("shop", "refs/heads/main"), None);
}

#[test]
fn libgit2_clones_pushes_and_fetches() {
    check(
        "pygit2",
        r#"
import sys, pygit2
step, url, path, key = sys.argv[1:]
class Callbacks(pygit2.RemoteCallbacks):
    def credentials(self, url, user, allowed):
        return pygit2.Keypair("git", key + ".pub", key, "")
    def certificate_check(self, certificate, valid, host):
        return True
    def push_update_reference(self, name, message):
        assert message is None, (name, message)
if step == "clone":
    repo = pygit2.clone_repository(url, path, callbacks=Callbacks())
    assert "refs/tags/v1" in repo.references
    print(repo.head.target)
    sys.exit()
repo = pygit2.Repository(path)
origin = repo.remotes["origin"]
if step == "push":
    open(path + "/new", "w").write("from libgit2\n")
    repo.index.add("new")
    repo.index.write()
    who = pygit2.Signature("Ada", "ada@example.com")
    repo.create_commit("HEAD", who, who, "new", repo.index.write_tree(), [repo.head.target])
    origin.push(["refs/heads/main"], callbacks=Callbacks())
    print("pushed")
elif step == "fetch":
    origin.fetch(callbacks=Callbacks())
    print(repo.references["refs/remotes/origin/main"].target)
elif step == "branch":
    origin.push(["refs/heads/main:refs/heads/side"], callbacks=Callbacks())
    print("branched")
else:
    origin.push([":refs/heads/side"], callbacks=Callbacks())
    print("deleted")
"#,
    );
}

#[test]
fn dulwich_clones_pushes_and_fetches() {
    check(
        "dulwich",
        r#"
import sys, io
from dulwich import porcelain
from dulwich.repo import Repo
step, url, path, key = sys.argv[1:]
quiet = io.BytesIO()
if step == "clone":
    repo = porcelain.clone(url, path, errstream=quiet)
    assert b"refs/tags/v1" in repo.refs.allkeys()
    print(repo.head().decode())
elif step == "push":
    open(path + "/new", "w").write("from dulwich\n")
    porcelain.add(path, [path + "/new"])
    porcelain.commit(path, message=b"new", author=b"Ada <ada@example.com>", committer=b"Ada <ada@example.com>")
    porcelain.push(path, "origin", "refs/heads/main", outstream=quiet, errstream=quiet)
    print("pushed")
elif step == "fetch":
    porcelain.fetch(path, "origin", outstream=io.StringIO(), errstream=quiet)
    print(Repo(path).refs[b"refs/remotes/origin/main"].decode())
elif step == "branch":
    porcelain.push(path, "origin", "refs/heads/main:refs/heads/side", outstream=quiet, errstream=quiet)
    print("branched")
else:
    porcelain.push(path, "origin", ":refs/heads/side", outstream=quiet, errstream=quiet)
    print("deleted")
"#,
    );
}
