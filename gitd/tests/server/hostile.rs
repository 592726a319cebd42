//! Packs, trees and command lists that nobody honest sends. Each must be refused with a reason, leave nothing behind,
//! and leave the server fit for the next push.

use std::{
    io::{Read, Write},
    process::Stdio,
    time::{Duration, Instant},
};

use gitd::git::Limits;
use gix_hash::ObjectId;

use crate::{
    common::{TestServer, Work},
    pack::{
        BLOB, COMMIT, OFS_DELTA, Pack, REF_DELTA, TREE, ZERO, command, commit, delta, distance,
        entry, id, line,
    },
};

/// Sends the bytes after a look at the advertisement, and returns all that came back.
pub(crate) fn send(server: &TestServer, parts: &[&[u8]]) -> String {
    let mut ssh = server
        .ssh(&[], &["git-receive-pack", "/shop"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut stdin = ssh.stdin.take().expect("piped");
    let parts: Vec<Vec<u8>> = parts.iter().map(|part| part.to_vec()).collect();
    let writer = std::thread::spawn(move || {
        // The server may have had enough.
        _ = parts.iter().try_for_each(|part| stdin.write_all(part));
    });
    let mut stderr = ssh.stderr.take().expect("piped");
    let errors = std::thread::spawn(move || {
        let mut text = Vec::new();
        stderr.read_to_end(&mut text).map(|_| text)
    });
    let mut said = Vec::new();
    ssh.stdout
        .take()
        .expect("piped")
        .read_to_end(&mut said)
        .expect("reads");
    ssh.wait().expect("ends");
    writer.join().expect("no panic");
    said.extend(errors.join().expect("no panic").expect("reads"));
    let said = String::from_utf8_lossy(&said).into_owned();
    said.split_once("0000")
        .map_or_else(String::new, |(_, after)| after.to_owned())
}

fn push(server: &TestServer, pack: &[u8], tip: ObjectId) -> String {
    send(server, &[&command("refs/heads/side", tip), b"0000", pack])
}

/// The pack is refused with that reason, soon, and nothing of it stays.
fn refused(server: &TestServer, what: &str, pack: &[u8], tip: ObjectId, reason: &str) {
    let start = Instant::now();
    let said = push(server, pack, tip);
    assert!(
        said.contains("unpack ") && !said.contains("unpack ok") && said.contains(reason),
        "{what}: {said}"
    );
    assert!(
        said.contains("ng refs/heads/side unpacker error"),
        "{what}: {said}"
    );
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{what} took {:?}",
        start.elapsed()
    );
    server.assert_no_quarantine("shop");
    assert_eq!(server.head("shop", "refs/heads/side"), None, "{what}");
    let packs = std::fs::read_dir(server.repo("shop").join("objects/pack"))
        .expect("lists")
        .count();
    assert_eq!(packs, 0, "{what}");
}

/// And an honest push comes through.
pub(crate) fn still_works(server: &TestServer) {
    let work = Work::new(server, "shop");
    work.write("a", "a");
    work.commit("honest");
    let (code, said) = work.push(&["main"]);
    assert_eq!(code, 0, "{said}");
    server.check("shop");
}

pub(crate) fn good() -> (Pack, ObjectId) {
    let mut pack = Pack::new();
    let blob = pack.object(BLOB, b"content\n");
    let tip = pack.commit_of(&entry("100644", "file", blob));
    (pack, tip)
}

#[test]
fn the_builder_of_these_packs_is_right() {
    let server = TestServer::start();
    let (pack, tip) = good();
    let said = push(&server, &pack.finish(), tip);
    assert!(
        said.contains("unpack ok") && said.contains("ok refs/heads/side"),
        "{said}"
    );
    server.check("shop");
}

#[test]
fn broken_packs() {
    let server = TestServer::start();
    let (good, tip) = good();
    let whole = good.clone().finish();
    let check = |what: &str, pack: &[u8], reason: &str| refused(&server, what, pack, tip, reason);

    check("nothing", b"", "cut off");
    check("half", &whole[..whole.len() / 2], "cut off");
    check("all but a byte", &whole[..whole.len() - 1], "cut off");
    check("random bytes", &[7; 4000], "not a pack");
    check(
        "version 9",
        b"PACK\0\0\0\x09\0\0\0\x01xxxxxxxxxxxxxxxxxxxxxxxx",
        "not a pack",
    );
    for (at, reason) in [
        (14, "the object at byte 12 of the pack cannot be inflated"),
        (20, "the object at byte 12 of the pack cannot be inflated"),
        (whole.len() - 30, "cannot be inflated"),
        (whole.len() - 5, "the pack's checksum is wrong"),
    ] {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        check("a flipped bit", &flipped, reason);
    }
    check(
        "bytes after it",
        &[&whole[..], b"junk"].concat(),
        "bytes after the pack",
    );
    check(
        "a second pack after it",
        &[&whole[..], &whole[..]].concat(),
        "bytes after the pack",
    );

    let mut many = good.clone();
    many.count = u32::MAX;
    check(
        "4 G objects declared",
        &many.clone().finish(),
        "4294967295 objects",
    );
    many.count = 900_000;
    check("900 k objects declared", &many.finish(), "of the pack");
    still_works(&server);
}

#[test]
fn lies_about_sizes_and_bases() {
    let server = TestServer::start();
    let (good, tip) = good();
    let check = |what: &str, pack: Pack, reason: &str| {
        refused(&server, what, &pack.finish(), tip, reason);
    };
    let with = |change: &dyn Fn(&mut Pack)| {
        let mut pack = good.clone();
        change(&mut pack);
        pack
    };
    check(
        "1 TB",
        with(&|pack| _ = pack.entry(BLOB, 1 << 40, &[], b"small")),
        "has 1099511627776 bytes, more than 100 MiB",
    );
    check(
        "400 MB",
        with(&|pack| _ = pack.entry(BLOB, 400 << 20, &[], b"small")),
        "has 419430400 bytes, more than 100 MiB",
    );
    check(
        "too short",
        with(&|pack| _ = pack.entry(BLOB, 2, &[], b"larger than two")),
        "unpacks to another size than it says",
    );
    let base = id(BLOB, b"content\n");
    let huge = delta(8, 1 << 40, b"x");
    check(
        "a delta to 1 TB",
        with(&|pack| _ = pack.entry(REF_DELTA, huge.len() as u64, base.as_slice(), &huge)),
        "has 1099511627776 bytes, more than 100 MiB",
    );
    let small = delta(8, 9, b"x");
    check(
        "a base of another size",
        with(&|pack| _ = pack.entry(REF_DELTA, small.len() as u64, tip.as_slice(), &small)),
        "is a delta that does not fit its base",
    );
    let nowhere = ObjectId::from_bytes_or_panic(&[9; 20]);
    check(
        "a base that nobody has",
        with(&|pack| _ = pack.entry(REF_DELTA, small.len() as u64, nowhere.as_slice(), &small)),
        "the delta base 0909090909090909090909090909090909090909 is neither in the pack nor here",
    );
    check(
        "a base before the pack",
        with(&|pack| _ = pack.entry(OFS_DELTA, small.len() as u64, &distance(1 << 30), &small)),
        "no object starts where it says",
    );
    check(
        "a base that is no entry",
        with(&|pack| _ = pack.entry(OFS_DELTA, small.len() as u64, &distance(3), &small)),
        "no object starts where it says",
    );
    check(
        "an unknown type",
        with(&|pack| _ = pack.entry(5, 5, &[], b"small")),
        "has the unknown type 5",
    );
    still_works(&server);
}

#[test]
fn the_same_object_twice() {
    let server = TestServer::start();
    let (good, tip) = good();
    let mut plain = good.clone();
    plain.object(BLOB, b"content\n");
    refused(&server, "a blob twice", &plain.finish(), tip, "twice");
    let mut deltas = good.clone();
    let (base, patch) = (id(BLOB, b"content\n"), delta(8, 9, b"x"));
    for _ in 0..2 {
        deltas.entry(REF_DELTA, patch.len() as u64, base.as_slice(), &patch);
    }
    refused(&server, "a delta twice", &deltas.finish(), tip, "twice");
    still_works(&server);
}

#[test]
fn bombs() {
    let server = TestServer::with_limits(Limits {
        object_bytes: 4 << 20,
        inflated_bytes: 64 << 20,
        ..Limits::default()
    });
    let (good, tip) = good();
    let zeros = vec![0; 8 << 20];
    let mut blob = good.clone();
    blob.object(BLOB, &zeros);
    refused(
        &server,
        "one large object",
        &blob.finish(),
        tip,
        "has 8388608 bytes, more than 4 MiB",
    );

    let mut many = good.clone();
    for n in 0..100u8 {
        let mut content = zeros[..2 << 20].to_vec();
        content[0] = n;
        many.object(BLOB, &content);
    }
    refused(
        &server,
        "many objects",
        &many.finish(),
        tip,
        "unpacks to more than",
    );

    // Each result is the base 250 times over.
    let base = vec![1; 60_000];
    let mut deltas = good.clone();
    let base_at = deltas.entry(BLOB, base.len() as u64, &[], &base);
    for n in 0..8u8 {
        let mut patch = Vec::new();
        for mut size in [base.len() as u64, 250 * base.len() as u64 + 1] {
            while size >= 0x80 {
                patch.push((size & 0x7f) as u8 | 0x80);
                size >>= 7;
            }
            patch.push(size as u8);
        }
        for _ in 0..250 {
            patch.extend_from_slice(&[0b1011_0000, 0x60, 0xea]);
        }
        patch.extend_from_slice(&[1, n]);
        let back = distance(deltas.bytes.len() - base_at);
        deltas.entry(OFS_DELTA, patch.len() as u64, &back, &patch);
    }
    refused(
        &server,
        "a delta that copies",
        &deltas.finish(),
        tip,
        "has 15000001 bytes, more than 4 MiB",
    );
    still_works(&server);
}

#[test]
fn limits() {
    let server = TestServer::with_limits(Limits {
        pack_bytes: 100_000,
        objects: 50,
        ..Limits::default()
    });
    let (good, tip) = good();
    let mut large = good.clone();
    let mut state = 1u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    })
    .take(200_000)
    .collect();
    large.object(BLOB, &noise);
    refused(&server, "a large pack", &large.finish(), tip, "larger than");
    let mut many = good.clone();
    for n in 0..60 {
        many.object(BLOB, format!("{n}").as_bytes());
    }
    refused(
        &server,
        "many objects",
        &many.finish(),
        tip,
        "63 objects, more than 50",
    );

    let work = Work::new(&server, "shop");
    let noise: String = noise.iter().map(|byte| format!("{byte:02x}")).collect();
    work.write("big", &noise);
    work.commit("too large");
    let (code, said) = work.push(&["main"]);
    assert!(
        code == 1 && said.contains("remote unpack failed: the pack is larger than"),
        "{said}"
    );
    server.assert_no_quarantine("shop");
    still_works(&server);
}

/// Reversed, each delta before its base.
fn chain(length: u32) -> (Pack, ObjectId) {
    let (mut pack, tip) = good();
    let mut content = b"content\n".to_vec();
    let mut entries = Vec::new();
    for n in 0..length {
        let base = id(BLOB, &content);
        // One byte more each time would be quadratic; the last four change.
        let tail = n.to_be_bytes();
        let patch = [
            vec![content.len() as u8, 12],
            vec![0b1001_0000, 8, 4],
            tail.to_vec(),
        ]
        .concat();
        content = [b"content\n", &tail[..]].concat();
        entries.push((base, patch));
    }
    for (base, patch) in entries.iter().rev() {
        pack.entry(REF_DELTA, patch.len() as u64, base.as_slice(), patch);
    }
    (pack, tip)
}

#[test]
fn chains_of_deltas_are_as_long_as_git_makes_them() {
    let server = TestServer::start();
    let (pack, tip) = chain(4096);
    refused(
        &server,
        "a chain too long",
        &pack.finish(),
        tip,
        "is a delta upon more than 4095 others",
    );
    let (pack, tip) = chain(4095);
    let said = push(&server, &pack.finish(), tip);
    assert!(said.contains("unpack ok"), "{said}");
    server.check("shop");
}

#[test]
fn no_circle_through_what_is_here_already() {
    let server = TestServer::start();
    let (pack, here) = good();
    let said = push(&server, &pack.finish(), here);
    assert!(said.contains("unpack ok"), "{said}");

    // The new blob builds upon the old one, and the old one, sent again, upon the new one.
    let (old, new) = (b"content\n", b"content\nx");
    let mut pack = Pack::new();
    let grow = delta(8, 9, b"x");
    let grown_at = pack.entry(
        REF_DELTA,
        grow.len() as u64,
        id(BLOB, old).as_slice(),
        &grow,
    );
    let shrink = [9, 8, 0b1001_0000, 8];
    let back = distance(pack.bytes.len() - grown_at);
    pack.entry(OFS_DELTA, shrink.len() as u64, &back, &shrink);
    let tip = pack.commit_of(&entry("100644", "file", id(BLOB, new)));
    let said = send(
        &server,
        &[&command("refs/heads/other", tip), b"0000", &pack.finish()],
    );
    assert!(said.contains("form a circle at object"), "{said}");

    // What is here is known for what it is.
    let mut pack = Pack::new();
    let tip = pack.commit_of(&entry("40000", "dir", id(BLOB, old)));
    let said = send(
        &server,
        &[&command("refs/heads/other", tip), b"0000", &pack.finish()],
    );
    assert!(said.contains("as a tree, but it is a blob"), "{said}");
    assert_eq!(server.head("shop", "refs/heads/other"), None);
    server.check("shop");
}

#[test]
fn objects_that_are_missing_or_something_else() {
    let server = TestServer::start();
    let nowhere = ObjectId::from_bytes_or_panic(&[9; 20]);
    let check = |what: &str, pack: Pack, tip, reason: &str| {
        refused(&server, what, &pack.finish(), tip, reason)
    };

    let mut pack = Pack::new();
    let tip = pack.commit_of(&entry("100644", "file", nowhere));
    check("a missing file", pack, tip, "file 0909");
    let mut pack = Pack::new();
    let tip = pack.object(COMMIT, &commit(nowhere, None));
    check("a missing tree", pack, tip, "tree 0909");
    let (mut pack, _) = good();
    let tree = id(TREE, &entry("100644", "file", id(BLOB, b"content\n")));
    let tip = pack.object(COMMIT, &commit(tree, Some(nowhere)));
    check("a missing parent", pack, tip, "commit 0909");
    let (mut pack, tip) = good();
    let odd = pack.commit_of(&entry("40000", "dir", id(BLOB, b"content\n")));
    assert_ne!(odd, tip);
    check(
        "a file for a folder",
        pack,
        odd,
        "as a tree, but it is a blob",
    );
    let mut pack = Pack::new();
    let tip = pack.object(COMMIT, b"tree x\n\nnot a commit\n");
    check("a malformed commit", pack, tip, "malformed");

    let (pack, _) = good();
    let said = push(&server, &pack.clone().finish(), nowhere);
    assert!(
        said.contains("ng refs/heads/side missing necessary objects"),
        "{said}"
    );
    let said = push(&server, &pack.finish(), id(BLOB, b"content\n"));
    assert!(
        said.contains("ng refs/heads/side a branch must name a commit"),
        "{said}"
    );
    still_works(&server);
}

#[test]
fn trees_that_harm_whoever_checks_them_out() {
    let server = TestServer::start();
    let check = |mode: &str, name: &str, content: &[u8], reason: &str| {
        let mut pack = Pack::new();
        let blob = pack.object(BLOB, content);
        let inner = pack.object(TREE, &entry("100644", "config", blob));
        let named = if mode == "40000" { inner } else { blob };
        let tip = pack.commit_of(&entry(mode, name, named));
        refused(&server, name, &pack.finish(), tip, reason);
    };
    check("40000", ".git", b"x", "takes for `.git`");
    check("40000", ".GIT", b"x", "takes for `.git`");
    check("40000", "git~1", b"x", "takes for `.git`");
    check("40000", "..", b"x", "leads out");
    check("100644", "a/b", b"x", "slash");
    check("100666", "mode", b"x", "mode");
    check("120000", ".gitmodules", b"/etc/passwd", "symbolic link");
    check(
        "100644",
        ".gitmodules",
        b"[submodule \"a\"]\n\turl = --upload-pack=x\n",
        "url `--upload-pack=x`",
    );
    still_works(&server);
}

#[test]
fn command_lists() {
    let server = TestServer::start();
    let (pack, tip) = good();
    let pack = pack.finish();
    let check = |what: &str, parts: &[&[u8]], reason: &str| {
        let said = send(&server, parts);
        assert!(said.contains(reason), "{what}: {said:?}");
        server.assert_no_quarantine("shop");
    };
    check("no command", &[b"0000"], "");
    check("a bad length", &[b"zzzz"], "not the length of a pkt-line");
    check(
        "a length without a line",
        &[b"fff0abc"],
        "broke inside a pkt-line",
    );
    check(
        "no command at all",
        &[&line("hello"), b"0000"],
        "not a command",
    );
    let many = (0..10_001).map(|n| line(&format!("{ZERO} {tip} refs/heads/b{n}")));
    let many: Vec<u8> = many.flatten().collect();
    let first = command("refs/heads/first", tip);
    check(
        "too many",
        &[&first, &many, b"0000", &pack],
        "ng refs/heads/b1 more than 10000 refs in one push",
    );
    let other = line(&format!("{ZERO} {tip} refs/heads/x\0object-format=sha256"));
    check("another hash", &[&other, b"0000"], "only sha1");
    let options: Vec<u8> = (0..40).flat_map(|n| line(&format!("o{n}"))).collect();
    let first = line(&format!(
        "{ZERO} {tip} refs/heads/x\0push-options side-band-64k report-status"
    ));
    check(
        "too many options",
        &[&first, b"0000", &options, b"0000", &pack],
        "ng refs/heads/x more than 32 push options",
    );

    for name in [
        "HEAD",
        "config",
        "refs/../../x",
        "refs/heads/../../../x",
        "refs/heads/a..b",
        "refs/heads/-x",
        "refs/heads/1111111111111111111111111111111111111111",
        "refs/heads/x.lock",
        "refs/heads/",
    ] {
        let expected = format!("ng {name} ");
        check(name, &[&command(name, tip), b"0000", &pack], &expected);
    }
    let said = send(&server, &[&command("refs/heads/ok", tip), b"0000", &pack]);
    assert!(said.contains("ok refs/heads/ok"), "{said}");
    let without_band = line(&format!("{ZERO} {tip} refs/heads/plain\0report-status"));
    check(
        "no side-band",
        &[&without_band, b"0000", &pack],
        "000eunpack ok\n0018ok refs/heads/plain\n0000",
    );
    still_works(&server);
}
