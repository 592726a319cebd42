"""Repositories to push, made by git fast-import from a fixed seed: the same bytes on every machine."""

import random
import subprocess

WORDS = "ship mast keel hull deck bow stern port helm sail rope anchor tide wave harbour pilot crane dock".split()


def text(rng, lines):
    return "".join(" ".join(rng.choices(WORDS, k=8)) + "\n" for _ in range(lines))


class Writer:
    """Feeds git fast-import."""

    def __init__(self, place, name):
        place.run("git", "init", "-q", "-b", "main", name)
        self.importer = subprocess.Popen(
            ["git", "-C", str(place.home / name), "fast-import", "--quiet"], stdin=subprocess.PIPE, env=place.env)
        self.out = self.importer.stdin
        self.when = 1_700_000_000

    def commit(self, files, branch="main"):
        """`files`: (path, bytes) that change."""
        self.when += 60
        head = f"commit refs/heads/{branch}\ncommitter B <b@example.com> {self.when} +0000\ndata 4\nwork\n"
        self.out.write(head.encode())
        for path, content in files:
            self.out.write(f"M 100644 inline {path}\ndata {len(content)}\n".encode())
            self.out.write(content)
            self.out.write(b"\n")
        self.out.write(b"\n")

    def close(self):
        self.out.close()
        if self.importer.wait():
            raise SystemExit("git fast-import failed")


def small(place, name):
    rng, writer = random.Random(1), Writer(place, name)
    writer.commit([(f"src/file{n}.txt", text(rng, 20).encode()) for n in range(35)])
    writer.close()


def history(place, name, commits, files):
    """Commits that each change a few of many files: three or four objects a commit beside the first tree."""
    rng, writer = random.Random(2), Writer(place, name)
    content = {f"dir{n % 40}/sub{n % 7}/file{n}.txt": text(rng, 40) for n in range(files)}
    paths = list(content)
    writer.commit([(path, body.encode()) for path, body in content.items()])
    for _ in range(commits):
        changed = rng.sample(paths, 2)
        for path in changed:
            lines = content[path].splitlines(keepends=True)
            lines[rng.randrange(len(lines))] = text(rng, 1)
            content[path] = "".join(lines)
        writer.commit([(path, content[path].encode()) for path in changed])
    writer.close()
    # One pack with deltas, as a clone has it; fast-import's own deltas are poor.
    place.git(name, "repack", "-q", "-a", "-d", "-f")


def many(place, name):
    writer = Writer(place, name)
    writer.commit([(f"d{n // 500}/f{n}", f"{n}\n".encode()) for n in range(50_000)])
    writer.close()


def bigblobs(place, name):
    rng, writer = random.Random(3), Writer(place, name)
    writer.commit([(f"blob{n}", rng.randbytes(20 << 20)) for n in range(10)])
    writer.close()


# Objects: small 40, medium about 45,000, large about 400,000.
MAKERS = {
    "tiny": small,
    "thin": lambda place, name: history(place, name, 6_000, 1_600),
    "medium": lambda place, name: history(place, name, 6_000, 1_600),
    "many": many,
    "bigblobs": bigblobs,
    "large": lambda place, name: history(place, name, 56_000, 5_000),
}
