"""Clones and fetches: Slipway beside OpenSSH and `git upload-pack`."""

import shutil
import subprocess

from measure import AnonymousPeak, cell, cpu_s, ms, ratio, timed
from repositories import MAKERS

REPOSITORY = "repo-fetch"
HEAD = ["what", "Slipway", "sshd + git", "ratio", "server CPU", "theirs", "ratio", "server memory", "theirs"]
COMMITS = 10
AT_ONCE = 20


def rows(place, peer, target, add_commits, rounds):
    """`target` makes an empty repository on both; `add_commits` commits to a local one."""
    MAKERS["medium"](place, REPOSITORY)
    targets = target(place, peer, "fetch")
    servers = place.child.pid, peer.child.pid
    for to in targets:
        place.git(REPOSITORY, "push", "-q", to, "main:bench")

    clones = Row("clone: medium", servers)
    for _ in range(rounds):
        for who, url in enumerate(targets):
            clear(place, ["clone"])
            clones.measure(who, lambda: clone(place, url, "clone"))
    yield clones.cells()

    names = [f"clone-{number}" for number in range(AT_ONCE)]
    crowd = Row(f"{AT_ONCE} clones at once: medium", servers)
    for _ in range(max(rounds // 2, 1)):
        for who, url in enumerate(targets):
            clear(place, names)
            crowd.measure(who, lambda: clones_at_once(place, url, names))
    yield crowd.cells()

    fetches = Row(f"fetch: {COMMITS} commits of 45 k objects", servers)
    for who, url in enumerate(targets):
        clone(place, url, f"kept-{who}")
    for number in range(rounds * 2):
        add_commits(place, REPOSITORY, number, COMMITS)
        for who, url in enumerate(targets):
            place.git(REPOSITORY, "push", "-q", url, "main:bench")
            fetches.measure(who, lambda: place.git(f"kept-{who}", "fetch", "-q", url, "bench"))
    yield fetches.cells()

    nothing = Row("fetch: nothing new", servers)
    for _ in range(rounds * 2):
        for who, url in enumerate(targets):
            nothing.measure(who, lambda: place.git(f"kept-{who}", "fetch", "-q", url, "bench"))
    yield nothing.cells()
    clear(place, [REPOSITORY, "clone", *names, "kept-0", "kept-1"])


class Row:
    """Ours and theirs of one measurement."""

    def __init__(self, what, servers):
        self.what, self.servers = what, servers
        self.walls, self.cpus, self.memory = ([], []), ([], []), ([], [])

    def measure(self, who, action):
        before = cpu_s(self.servers[who])
        with AnonymousPeak(self.servers[who]) as peak:
            self.walls[who].append(timed(action))
        self.cpus[who].append(cpu_s(self.servers[who]) - before)
        self.memory[who].append(peak.kib / 1024)

    def cells(self):
        means = [[sum(cpus) / len(cpus)] for cpus in self.cpus]
        return [self.what, *map(ms, self.walls), ratio(*self.walls), *map(ms, means), ratio(*means),
                *(cell([max(memory)], "MiB") for memory in self.memory)]


def clone(place, url, name):
    """Without a work tree: to write one takes as long from either server."""
    place.run("git", "clone", "-q", "--bare", url, name)


def clones_at_once(place, url, names):
    started = [subprocess.Popen(["git", "clone", "-q", "--bare", url, name], cwd=place.home, env=place.env) for name in names]
    if any([child.wait() for child in started]):
        raise SystemExit("a clone failed")


def clear(place, names):
    for name in names:
        shutil.rmtree(place.home / name, ignore_errors=True)
