//! The same pushes to our server and to stock `git receive-pack`: what the client says and returns, the refs and the
//! objects afterwards must be the same.

use std::{collections::BTreeSet, path::Path};

use crate::common::{TestServer, Work, git_in, outcome, run, text};

struct Pair {
    server: TestServer,
    stock: tempfile::TempDir,
    work: Work,
    protocol: String,
}

impl Pair {
    fn new() -> Self {
        Self::of_protocol(2)
    }

    fn of_protocol(version: u8) -> Self {
        let server = TestServer::start();
        let stock = tempfile::tempdir().expect("temporary directory");
        run(git_in(stock.path()).args(["init", "-q", "--bare", "."]));
        for setting in ["receive.advertisePushOptions", "receive.shallowUpdate"] {
            run(git_in(stock.path()).args(["config", setting, "true"]));
        }
        // Ours has it by its landing: what is live is not deleted.
        run(git_in(stock.path()).args(["config", "receive.denyDeleteCurrent", "refuse"]));
        let work = Work::new(&server, "shop");
        let pair = Self {
            server,
            stock,
            work,
            protocol: format!("protocol.version={version}"),
        };
        pair.remotes(&pair.work);
        pair
    }

    /// Without tracking refs, which a mirror of the one would bring to the other.
    fn remotes(&self, work: &Work) {
        let stock = self.stock.path().display().to_string();
        work.ok(&["remote", "add", "stock", &stock]);
        for remote in ["slipway", "stock"] {
            work.ok(&["config", "--unset-all", &format!("remote.{remote}.fetch")]);
        }
    }

    fn push(&self, args: &[&str]) {
        self.push_from(&self.work, args);
    }

    fn push_from(&self, work: &Work, args: &[&str]) {
        let push = |remote: &str| {
            let mut git = work.git(&["-c", &self.protocol]);
            git.args(["push", "--porcelain", remote]).args(args);
            let (code, said) = outcome(&mut git);
            (
                code,
                said.lines().filter_map(status).collect::<Vec<_>>(),
                said,
            )
        };
        let (ours, stock) = (push("slipway"), push("stock"));
        let both = format!("{args:?}\nours: {}\nstock: {}", ours.2, stock.2);
        assert_eq!((ours.0, &ours.1), (stock.0, &stock.1), "{both}");
        let (ours, stock) = (self.server.repo("shop"), self.stock.path());
        assert_eq!(refs(&ours), refs(stock), "{both}");
        assert_eq!(objects(&ours), objects(stock), "{both}");
        assert_eq!(shallow(&ours), shallow(stock), "{both}");
    }
}

/// `<flag>\t<from>:<to>\t<summary> (<reason>)`: all but the reason of a remote, which is each server's own.
fn status(line: &str) -> Option<String> {
    let mut parts = line.split('\t');
    let (flag, refs, summary) = (parts.next()?, parts.next()?, parts.next()?);
    let summary = match summary.split_once("[remote rejected]") {
        Some(_) => "[remote rejected]",
        None => summary,
    };
    Some(format!("{flag} {refs} {summary}"))
}

fn refs(repo: &Path) -> String {
    text(&run(git_in(repo).args(["for-each-ref"])).stdout)
}

fn objects(repo: &Path) -> BTreeSet<String> {
    let listed = run(git_in(repo).args(["rev-list", "--objects", "--all"]));
    text(&listed.stdout).lines().map(str::to_owned).collect()
}

fn shallow(repo: &Path) -> BTreeSet<String> {
    let file = std::fs::read_to_string(repo.join("shallow")).unwrap_or_default();
    file.lines().map(str::to_owned).collect()
}

#[test]
fn branches_tags_and_what_is_in_the_packs() {
    let pair = Pair::new();
    let (work, lines) = (&pair.work, "a line of some length\n".repeat(2000));
    work.write("large", &lines);
    work.commit("one");
    pair.push(&["--dry-run", "main"]);
    pair.push(&["main"]);
    pair.push(&["main"]);
    work.write("large", &format!("{lines}changed\n"));
    work.commit("two");
    pair.push(&["--thin", "main"]);
    work.write("large", &format!("changed\n{lines}"));
    work.commit("three");
    pair.push(&["-q", "--no-thin", "main"]);
    // A new name for what is there: a pack without objects.
    pair.push(&["main~1:refs/heads/older"]);
    work.ok(&["tag", "light"]);
    work.ok(&["tag", "-a", "heavy", "-m", "annotated"]);
    work.ok(&["tag", "-a", "nested", "-m", "of a tag", "heavy"]);
    pair.push(&["light", "nested"]);
    work.commit("four");
    pair.push(&["--follow-tags", "main"]);
    work.ok(&["tag", "-f", "light", "HEAD"]);
    pair.push(&["light"]);
    pair.push(&["-f", "light"]);
    pair.push(&[":refs/tags/light", ":refs/heads/older"]);
    pair.push(&[":refs/heads/never-there"]);
    pair.push(&["main:refs/notes/x", "main^{tree}:refs/tags/tree"]);
    // A name cannot be a folder of names as well.
    pair.push(&["main:refs/heads/a/b", "main:refs/heads/a"]);
    pair.push(&[":refs/heads/a/b"]);
    pair.push(&["main~1:refs/heads/a"]);
    pair.push(&["--tags"]);
    pair.server.check("shop");
}

/// There is no push in protocol 2; who asks for it gets the one that there is.
#[test]
fn every_protocol() {
    for version in [0, 1, 2] {
        let pair = Pair::of_protocol(version);
        pair.work.commit("one");
        pair.push(&["main", "main:refs/tags/t"]);
        pair.work.commit("two");
        pair.push(&["main", "+main:refs/tags/t", "main^{tree}:refs/heads/tree"]);
        pair.push(&[":refs/tags/t"]);
        pair.server.check("shop");
    }
}

#[test]
fn force_and_leases() {
    let pair = Pair::new();
    let work = &pair.work;
    work.commit("one");
    work.commit("two");
    pair.push(&["main", "main:side"]);
    work.ok(&["reset", "-q", "--hard", "HEAD~1"]);
    let other = work.commit("another two");
    pair.push(&["main"]);
    pair.push(&["main", "main:new"]);
    pair.push(&[&format!("--force-with-lease=main:{other}"), "main"]);
    pair.push(&["--force-with-lease=fresh:", "main:fresh"]);
    pair.push(&["--force-with-lease=fresh:", "main~1:fresh"]);
    pair.push(&["+main"]);
    pair.push(&["-f", "main~1:side", "main:third"]);
    pair.server.check("shop");
}

#[test]
fn all_or_nothing() {
    let pair = Pair::new();
    let work = &pair.work;
    work.commit("one");
    pair.push(&["--atomic", "main", "main:side"]);
    work.commit("two");
    // The server refuses one: a branch that is no commit; a name below another name.
    pair.push(&["--atomic", "main", "main^{tree}:refs/heads/tree"]);
    pair.push(&["main", "main^{tree}:refs/heads/tree"]);
    pair.push(&["--atomic", "main:other", "main:side/below"]);
    pair.push(&["main:other", "main:side/below"]);
    pair.push(&["--atomic", "main:third", ":side"]);
    pair.server.check("shop");
}

#[test]
fn mirrors() {
    let pair = Pair::new();
    let work = &pair.work;
    work.commit("one");
    for branch in ["a", "b/c", "b/d"] {
        work.ok(&["branch", branch]);
    }
    work.ok(&["tag", "v1"]);
    pair.push(&["--mirror"]);
    work.ok(&["branch", "-D", "b/c"]);
    work.ok(&["tag", "-d", "v1"]);
    work.ok(&["checkout", "-q", "a"]);
    work.commit("on a");
    pair.push(&["--mirror"]);
    pair.push(&["--all"]);
    work.ok(&["branch", "-D", "b/d"]);
    pair.push(&["--prune", "refs/heads/*:refs/heads/*"]);
    pair.server.check("shop");
}

#[test]
fn shallow_clones() {
    let pair = Pair::new();
    for n in 0..6 {
        pair.work.write("n", &n.to_string());
        pair.work.commit("history");
    }
    pair.push(&["main~3:main"]);
    let source = format!("file://{}", pair.work.path().display());
    for (depth, branch) in [("5", "knows-all"), ("1", "knows-nothing")] {
        let clone = Work::new(&pair.server, "shop");
        pair.remotes(&clone);
        clone.ok(&["fetch", "-q", "--depth", depth, &source, "main"]);
        clone.ok(&["reset", "-q", "--hard", "FETCH_HEAD"]);
        clone.write("n", depth);
        clone.commit("on a shallow clone");
        pair.push_from(&clone, &[&format!("main:{branch}")]);
    }
    // The history that was missing, by somebody who has it.
    pair.push(&["main:later"]);
    pair.server.check("shop");
}

#[test]
fn submodules() {
    let pair = Pair::new();
    let work = &pair.work;
    work.write(
        ".gitmodules",
        "[submodule \"lib\"]\n\tpath = lib\n\turl = https://example.com/lib.git\n",
    );
    work.ok(&["add", ".gitmodules"]);
    let link = format!("160000,{},lib", "1".repeat(40));
    work.ok(&["update-index", "--add", "--cacheinfo", &link]);
    work.ok(&["commit", "-q", "-m", "with a submodule"]);
    pair.push(&["main"]);
    pair.server.check("shop");
}
