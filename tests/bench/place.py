"""A folder with a server, a user's home beside it, and the shell that knows both."""

import http.client
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Both servers the same: the client would spend 85 ms more on the one that offers sntrup761.
KEX = "curve25519-sha256"

# Few large blobs would be unpacked into loose files, and a gc in between would be timed.
GIT_CONFIG = """\
[user]
name = B
email = b@example.com
[init]
defaultBranch = main
[gc]
auto = 0
[fastimport]
unpackLimit = 1
"""


class Place:
    """`with Place(binary) as place:` starts `slipway up`; everything ends with the block."""

    def __init__(self, binary):
        self.binary = binary
        self.folder = Path(tempfile.mkdtemp(prefix="slipway-bench-"))
        self.home = self.folder / "home"
        self.child = None

    def __enter__(self):
        ssh = self.home / ".ssh"
        ssh.mkdir(parents=True, mode=0o700)
        self.key = ssh / "id_ed25519"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", self.key], check=True)
        (self.home / ".gitconfig").write_text(GIT_CONFIG)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "SSH_", "XDG_"))}
        self.env |= {"HOME": str(self.home), "GIT_SSH_COMMAND": f"ssh -F {ssh}/config", "LC_ALL": "C.UTF-8"}
        self.ssh_port = self.http_port = 0
        self.start()
        self.knows("slipway", self.ssh_port, "git")
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.wait()
        for _ in range(200):
            left = self.processes()
            if not left:
                break
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.05)
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self):
        """Starts the server; the seconds until its `ready` line."""
        begin = time.monotonic()
        self.child = subprocess.Popen(
            [self.binary, "up", "--data", self.folder / "data", "--ssh", f"127.0.0.1:{self.ssh_port}",
             "--http", f"127.0.0.1:{self.http_port}", "--admin-key", f"{self.key}.pub"],
            env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
            stderr=open(self.folder / "narration", "a"),
        )
        line = self.child.stdout.readline()
        if not line.startswith("ready "):
            raise SystemExit(f"slipway did not get ready:\n{(self.folder / 'narration').read_text()}")
        ready = dict(word.split("=", 1) for word in line.split()[1:])
        self.ssh_port = int(ready["ssh"].rsplit(":", 1)[1])
        self.http_port = int(ready["http"].rsplit(":", 1)[1])
        return time.monotonic() - begin

    def kill_9(self):
        self.child.kill()
        self.child.wait()

    def knows(self, host, port, user):
        """Adds a host to the user's SSH configuration."""
        with open(self.home / ".ssh/config", "a") as config:
            config.write(
                f"Host {host}\n HostName 127.0.0.1\n Port {port}\n User {user}\n IdentityFile {self.key}\n IdentitiesOnly yes\n"
                f" BatchMode yes\n UserKnownHostsFile {self.home}/.ssh/known_hosts\n StrictHostKeyChecking no\n"
                f" LogLevel ERROR\n KexAlgorithms {KEX}\n"
            )

    def run(self, *command, cwd=None, check=True):
        done = subprocess.run(command, cwd=cwd or self.home, env=self.env, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
        return done

    def ssh(self, host, *words, check=True):
        return self.run("ssh", "-F", self.home / ".ssh/config", host, *words, check=check)

    def git(self, repository, *words, check=True):
        return self.run("git", "-C", repository, *words, check=check)

    def get(self, app, path="/"):
        """Status and body; None when nobody answers."""
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=30)
            connection.request("GET", path, headers={"Host": f"{app}.localhost"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode("utf-8", "replace")
        except OSError:
            return None

    def app(self, name, fixture):
        """A repository that holds a copy of a fixture, committed."""
        for folder in ("tests/fixtures/apps", "tests/line/apps"):
            if (ROOT / folder / fixture).is_dir():
                shutil.copytree(ROOT / folder / fixture, self.home / name)
        self.git(name, "init", "-q", "-b", "main")
        self.git(name, "add", "-A")
        self.git(name, "commit", "-q", "-m", "first")

    def processes(self):
        """What runs with this folder in its command line, mounts or open files, and what these have started."""
        from measure import parents

        up = parents()
        found = {pid for pid in up if self._mentioned_by(pid)}
        while more := {pid for pid, parent in up.items() if parent in found} - found:
            found |= more
        return found - {os.getpid()}

    def platform_processes(self):
        """Those of them that are Slipway itself: the server, its helper, and what holds each instance."""
        def is_ours(pid):
            try:
                return "slipway" in os.path.basename(os.readlink(f"/proc/{pid}/exe"))
            except OSError:
                return False
        return {pid for pid in self.processes() if is_ours(pid)} | {self.child.pid}

    def _mentioned_by(self, pid):
        name = self.folder.name
        try:
            if name in Path(f"/proc/{pid}/cmdline").read_text(errors="replace"):
                return True
            if name in Path(f"/proc/{pid}/mountinfo").read_text():
                return True
            return any(name in os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir())
        except OSError:
            return False
