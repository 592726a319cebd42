"""The phases of a build in a folder of their own, ours and the Go lifecycle's, which is built once by `go` if need be."""

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path

GO_MODULE = "github.com/buildpacks/lifecycle"
GO_VERSION = "v0.21.17"
RUN = "registry.example/run:1"
APP = "registry.example/app:1"
USER = os.getuid() or 1000
PACKAGES = {"next": "15", "react": "19", "react-dom": "19", "express": "5", "typescript": "5", "webpack": "5", "jest": "29",
            "eslint": "9", "@mui/material": "6", "@emotion/react": "11", "@emotion/styled": "11", "aws-sdk": "2", "lodash": "4",
            "date-fns": "4", "rxjs": "7"}


def reference(target):
    """The folder of the Go lifecycle's programs: SLIPWAY_LIFECYCLE, or built from the module proxy; None without `go`."""
    if os.environ.get("SLIPWAY_LIFECYCLE"):
        return Path(os.environ["SLIPWAY_LIFECYCLE"])
    place = target / "bench" / f"lifecycle-{GO_VERSION}"
    if not (place / "launcher").exists():
        if not shutil.which("go"):
            return None
        place.mkdir(parents=True, exist_ok=True)
        module = place / "module"
        module.mkdir(exist_ok=True)
        go = lambda *words: subprocess.run(["go", *words], cwd=module, check=True)
        if not (module / "go.mod").exists():
            go("mod", "init", "bench")
        imports = "".join(f'\t_ "{GO_MODULE}/cmd/{program}"\n' for program in ("lifecycle", "launcher"))
        (module / "tools.go").write_text(f"//go:build tools\n\npackage tools\n\nimport (\n{imports})\n")
        go("get", f"{GO_MODULE}@{GO_VERSION}")
        go("mod", "tidy")
        for program in ("lifecycle", "launcher"):
            go("build", "-ldflags=-s -w", "-o", place / program, f"{GO_MODULE}/cmd/{program}")
    for phase in ("analyzer", "detector", "restorer", "builder", "exporter", "creator"):
        if not (place / phase).exists():
            (place / phase).symlink_to("lifecycle")
    return place


def node_modules(target):
    """Some hundred real packages, installed once."""
    place = target / "bench"
    place.mkdir(parents=True, exist_ok=True)
    if not (place / "node_modules").is_dir():
        (place / "package.json").write_text(json.dumps({"private": True, "dependencies": PACKAGES}))
        npm = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--omit=optional", "--legacy-peer-deps"]
        subprocess.run(npm, cwd=place, check=True, stdout=subprocess.DEVNULL)
    return place / "node_modules"


def memory():
    """Where files are kept in memory, if there is room: ext4 looks at each of the files that were deleted in the last minutes
    before it makes a new one, and a row would pay for what the one before it left."""
    place = "/dev/shm"
    return place if os.path.isdir(place) and shutil.disk_usage(place).free > 6 << 30 else None


class Ran:
    """What a program took: seconds, seconds of CPU, MiB at its peak."""

    def __init__(self, wall_s, usage):
        self.wall_s, self.cpu_s, self.peak_mib = wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


class World:
    """An app with one buildpack, whose only layer is `node_modules`, and a run image in a folder of OCI layouts."""

    def __init__(self, programs, modules):
        self.programs = programs
        self.modules = modules
        self.root = Path(tempfile.mkdtemp(prefix="slipway-bench-", dir=memory()))
        self.layer = self.root / "layers/node/modules"
        for folder in ("oci", "app", "cache", "platform", "buildpacks/node/1/bin", "layers/config", "layers/node"):
            (self.root / folder).mkdir(parents=True)
        self.write("app/server.js", "console.log('up')\n")
        self.write("order.toml", "[[order]]\n[[order.group]]\nid='node'\nversion='1'\n")
        self.write("run.toml", f"[[images]]\nimage='{RUN}'\n")
        self.write("buildpacks/node/1/buildpack.toml", "api='0.10'\n[buildpack]\nid='node'\nversion='1'\n")
        self.script("buildpacks/node/1/bin/detect", "exit 0")
        # What is unchanged is left as it is, as a package manager does.
        self.script("buildpacks/node/1/bin/build", f"""
            [ -d $1/modules ] || cp -a {modules} $1/modules
            printf '[types]\\nlaunch = true\\ncache = true\\n' > $1/modules.toml
            printf '[[processes]]\\ntype = "web"\\ncommand = ["true"]\\n' > $1/launch.toml""")
        self.run_image()
        shutil.copytree(modules, self.layer, symlinks=True)
        self.write("layers/node/modules.toml", "[types]\nlaunch = true\ncache = true\n")
        self.write("layers/group.toml", "[[group]]\nid='node'\nversion='1'\napi='0.10'\n")
        self.write("layers/config/metadata.toml", """
            [[buildpacks]]\nid='node'\nversion='1'\napi='0.10'
            [[processes]]\ntype='web'\ncommand=['true']\nargs=[]\ndirect=true\nbuildpack-id='node'\n""")
        self.root.chmod(0o755)
        subprocess.run(["chown", "-Rh", f"{USER}:{USER}", self.root], check=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.root)

    def write(self, name, text):
        path = self.root / name
        path.write_text(text)
        os.chown(path, USER, USER)

    def script(self, name, text):
        self.write(name, f"#!/bin/sh -e\n{text}\n")
        (self.root / name).chmod(0o755)

    def run_image(self):
        place = self.root / "oci" / RUN.replace(":", "/")
        blobs = place / "blobs/sha256"
        blobs.mkdir(parents=True)

        def put(kind, content):
            digest = hashlib.sha256(content).hexdigest()
            (blobs / digest).write_bytes(content)
            return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(content)}

        tar = bytes(1024)
        layer = put("layer.v1.tar+gzip", gzip.compress(tar))
        diff_ids = ["sha256:" + hashlib.sha256(tar).hexdigest()]
        machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
        config = {"architecture": machine, "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
        config = put("config.v1+json", json.dumps(config).encode())
        manifest = put("manifest.v1+json", json.dumps(
            {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": [layer]}).encode())
        self.pinned = f"{place}@{manifest['digest']}"
        (place / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
        (place / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def phase(self, who, name, *args):
        at = lambda name: str(self.root / name)
        env = {"PATH": "/usr/bin:/bin", "HOME": at(""), "CNB_PLATFORM_API": "0.14", "CNB_EXPERIMENTAL_MODE": "quiet",
               "CNB_LAYERS_DIR": at("layers"), "CNB_APP_DIR": at("app"), "CNB_PLATFORM_DIR": at("platform"),
               "CNB_BUILDPACKS_DIR": at("buildpacks"), "CNB_ORDER_PATH": at("order.toml"), "CNB_RUN_PATH": at("run.toml"),
               "CNB_USE_LAYOUT": "true", "CNB_LAYOUT_DIR": at("oci"), "CNB_USER_ID": str(USER), "CNB_GROUP_ID": str(USER)}
        return run([self.programs[who] / name, *args], env)

    def analyzed(self):
        self.write("layers/analyzed.toml", f"[run-image]\nreference='{self.pinned}'\nimage='{RUN}'\n")

    def forget(self, *names):
        """Renamed first: what is made next must not wait for what is removed."""
        for name in names:
            path = self.root / name
            if path.exists():
                aside = Path(tempfile.mkdtemp(dir=self.root, prefix="old-"))
                path.rename(aside / "x")

    def tidy(self):
        for old in self.root.glob("old-*"):
            shutil.rmtree(old)

    def image_bytes(self):
        blobs = (self.root / "oci" / APP.replace(":", "/") / "blobs/sha256").iterdir()
        return sum(blob.stat().st_size for blob in blobs)

    def launcher(self):
        """Our launcher, out of an image that has it."""
        for blob in (self.root / "oci" / APP.replace(":", "/") / "blobs/sha256").iterdir():
            content = blob.read_bytes()
            if content[:2] == b"\x1f\x8b":
                with tarfile.open(fileobj=io.BytesIO(gzip.decompress(content))) as tar:
                    for entry in tar:
                        if entry.name.lstrip("/") == "cnb/lifecycle/launcher":
                            place = self.root / "launcher"
                            place.write_bytes(tar.extractfile(entry).read())
                            place.chmod(0o755)
                            return place
        raise SystemExit("the image has no launcher")


def run(command, env):
    log = tempfile.TemporaryFile()
    begin = time.monotonic()
    child = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    _, status, usage = os.wait4(child.pid, 0)
    wall_s = time.monotonic() - begin
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        log.seek(0)
        raise SystemExit(f"{command}: status {child.returncode}\n{log.read().decode(errors='replace')}")
    return Ran(wall_s, usage)
