"""Pushes without a build, a command, clones and fetches: Slipway beside OpenSSH and git."""

import os
import shutil
import socket
import subprocess
import time

import fetches
from measure import cell, cpu_s, ms, ratio, table, timed, version
from place import Place
from repositories import MAKERS

GOALS = {"tiny": "<= 0.25x", "thin": "<= 0.35x", "medium": "<= 0.35x", "many": "<= 0.45x", "bigblobs": "<= 0.35x", "large": "<= 0.45x"}

SERIES = 500


def run(options):
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if not sshd:
        raise SystemExit("`push` compares with sshd: apt-get install openssh-server")
    with Place(options.binary) as place, Peer(place, sshd) as peer:
        rows = [command(place, peer, options.rounds * 4)]
        for size in options.sizes.split(","):
            rows.append(push(place, peer, size, options.rounds))
        print(f"Peer: {version(sshd, '-V')}, git receive-pack; the same client, keys and key exchange.\n")
        table(["what", "Slipway", "sshd + git", "ratio", "goal", "server CPU", "theirs", "ratio"], rows)
        print(series(place), "\n")
        table(fetches.HEAD, fetches.rows(place, peer, target, add_commits, options.rounds))


class Peer:
    """An sshd of our own, for the user who runs this."""

    def __init__(self, place, sshd):
        self.place, self.sshd = place, sshd

    def __enter__(self):
        folder = self.place.folder / "sshd"
        folder.mkdir()
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "host_key"], check=True)
        shutil.copy(f"{self.place.key}.pub", folder / "authorized_keys")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        (folder / "config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\nAuthorizedKeysFile {folder}/authorized_keys\n"
            f"PidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\nPrintMotd no\nMaxStartups 100\n")
        os.makedirs("/run/sshd", exist_ok=True) if os.geteuid() == 0 else None
        command = [self.sshd, "-D", "-f", str(folder / "config")]
        if os.geteuid() == 0:
            # The account's shell start-up file is not what is compared.
            hide = 'for f in /root/.bashrc /root/.profile; do [ -e $f ] && mount --bind /dev/null $f; done; exec "$@"'
            command = ["unshare", "-m", "sh", "-c", hide, "sh", *command]
        self.child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self.place.knows("peer", self.port, os.environ.get("USER") or subprocess.getoutput("id -un"))
        for _ in range(100):
            if self.place.ssh("peer", "true", check=False).returncode == 0:
                return self
            time.sleep(0.1)
        raise SystemExit("sshd does not let us in")

    def __exit__(self, *_):
        self.child.terminate()
        self.child.wait()

    def repository(self, name):
        path = self.place.folder / "peer" / name
        self.place.run("git", "init", "-q", "--bare", path)
        return path


def command(place, peer, rounds):
    ours, theirs = [], []
    cpu = cpu_s(place.child.pid), cpu_s(peer.child.pid)
    for _ in range(rounds):
        ours.append(timed(lambda: place.ssh("slipway", "apps")))
        theirs.append(timed(lambda: place.ssh("peer", "true")))
    cpu = [(cpu_s(place.child.pid) - cpu[0]) / rounds], [(cpu_s(peer.child.pid) - cpu[1]) / rounds]
    return ["a command", ms(ours), ms(theirs), ratio(ours, theirs), "<= 0.15x", ms(cpu[0]), ms(cpu[1]), ratio(*cpu)]


def push(place, peer, size, rounds):
    """A branch that is not deployed; for `tiny` and `thin` commits on top of what is there, else everything anew."""
    repository = f"repo-{size}"
    MAKERS[size](place, repository)
    on_top = {"tiny": 1, "thin": 10}.get(size)
    rounds = {"tiny": rounds * 4, "thin": rounds * 2, "large": 2}.get(size, rounds)
    walls, cpus = ([], []), ([], [])
    if on_top:
        targets = target(place, peer, size)
        for to in targets:
            place.git(repository, "push", "-q", to, "main:bench")
    for number in range(rounds):
        if on_top:
            add_commits(place, repository, number, on_top)
        else:
            targets = target(place, peer, f"{size}-{number}")
        for who, (to, server) in enumerate(zip(targets, (place.child.pid, peer.child.pid))):
            before = cpu_s(server)
            walls[who].append(timed(lambda: place.git(repository, "push", "-q", to, "main:bench")))
            cpus[who].append(cpu_s(server) - before)
    shutil.rmtree(place.home / repository)
    objects = {"tiny": "1 commit", "thin": "10 commits on 45 k objects"}.get(size, size)
    as_cpu = [cell([1000 * sum(c) / len(c)], "ms") for c in cpus]
    return [f"push: {objects}", ms(walls[0]), ms(walls[1]), ratio(*walls), GOALS[size], *as_cpu,
            ratio([sum(cpus[0])], [sum(cpus[1])])]


def series(place):
    """Small packs must not pile up: every push would look into all of them."""
    MAKERS["tiny"](place, "repo-series")
    place.ssh("slipway", "apps:create", "push-series")
    walls = []
    for number in range(SERIES):
        add_commits(place, "repo-series", number, 1)
        walls.append(timed(lambda: place.git("repo-series", "push", "-q", "slipway:push-series", "main:bench")))
    packs = len(list(place.folder.glob("data/repos/*/objects/pack/*.pack")))
    shutil.rmtree(place.home / "repo-series")
    tenth = SERIES // 10
    return f"{SERIES} pushes in a row: the first {tenth} {ms(walls[:tenth])}, the last {tenth} {ms(walls[-tenth:])}; {packs} packs."


def target(place, peer, name):
    app = f"push-{name}"
    place.ssh("slipway", "apps:create", app)
    return f"slipway:{app}", f"peer:{peer.repository(app)}"


def add_commits(place, repository, number, commits):
    for step in range(commits):
        (place.home / repository / "note.txt").write_text(f"{number} {step}\n")
        place.git(repository, "add", "note.txt")
        place.git(repository, "commit", "-q", "-m", f"note {number} {step}")
