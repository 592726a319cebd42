"""A build's phases beside the Go lifecycle's: a layer of some hundred npm packages new, unchanged and restored; the launcher."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import images
from lifecycle import APP, GO_VERSION, World, node_modules, reference
from measure import cell, ratio, table

STARTS = 200
RUNC_STARTS = 30


def run(options):
    go = reference(options.target)
    if not go:
        raise SystemExit("`go` is missing: it builds the peer; or SLIPWAY_LIFECYCLE names a folder with its programs")
    modules = node_modules(options.target)
    ours = names(options)
    files, size = 0, 0
    for path in modules.rglob("*"):
        files, size = files + 1, size + (path.lstat().st_size if path.is_file() and not path.is_symlink() else 0)
    print(f"A layer of {files} files, {size / 1e6:.0f} MB; the Go lifecycle {GO_VERSION}\n", flush=True)
    with World({"slipway": ours, "go": go}, modules) as world:
        for rows in (new, unchanged, restored, again, started):
            table(["", "slipway", "Go lifecycle", "ratio", "goal"], rows(world, options.rounds))
        pushed(world, options)
        isolated(options)
    images.ready(options)


def names(options):
    """Folder of our phases by their names."""
    place = options.target / "bench" / "names"
    place.mkdir(parents=True, exist_ok=True)
    for phase in ("analyzer", "detector", "restorer", "builder", "exporter", "creator"):
        (place / phase).unlink(missing_ok=True)
        (place / phase).symlink_to(options.binary)
    return place


def rounds(world, count, one):
    """Interleaved; what each round leaves is removed when nothing is timed."""
    found = {"slipway": [], "go": []}
    for number in range(count):
        for who in ("slipway", "go") if number % 2 else ("go", "slipway"):
            found[who].append(one(who))
            world.tidy()
    return found


def compared(what, found, goals):
    """Rows of time, CPU and memory."""
    rows = []
    for (name, of, unit, digits), goal in zip(
        (("time", "wall_s", "s", 2), ("CPU", "cpu_s", "s", 2), ("peak memory", "peak_mib", "MiB", 0)), goals
    ):
        ours, theirs = ([getattr(ran, of) for ran in found[who]] for who in ("slipway", "go"))
        rows.append([f"{what}, {name}", cell(ours, unit, digits), cell(theirs, unit, digits), ratio(ours, theirs), goal])
    return rows


def launcher(world, who):
    return ["-launcher", world.programs["go"] / "launcher"] if who == "go" else []


def new(world, count):
    sizes = {"slipway": [], "go": []}

    def one(who):
        world.analyzed()
        world.forget("oci/registry.example/app")
        ran = world.phase(who, "exporter", *launcher(world, who), APP)
        sizes[who].append(world.image_bytes() / 1e6)
        return ran

    rows = compared("new layer to an image", rounds(world, count, one), ["<= 0.17x", "<= 0.29x", "< 64 MiB"])
    return [*rows, ["the image", cell(sizes["slipway"], "MB"), cell(sizes["go"], "MB"), ratio(sizes["slipway"], sizes["go"]), "<= 1x"]]


def unchanged(world, count):
    """Each on what it has made itself, with a cache: there we keep what tells that nothing was touched."""
    cache = ["-cache-dir", world.root / "cache"]

    def one(who):
        world.analyzed()
        world.forget("oci/registry.example/app", "cache")
        folder(world, "cache")
        world.phase(who, "exporter", *cache, *launcher(world, who), APP)
        world.phase(who, "analyzer", APP)
        return world.phase(who, "exporter", *cache, *launcher(world, who), APP)

    return compared("the same layer unchanged", rounds(world, count, one), ["", "", "< 64 MiB"])


def restored(world, count):
    cache = ["-cache-dir", world.root / "cache"]

    def one(who):
        world.forget("oci/registry.example/app", "cache")
        folder(world, "cache")
        world.analyzed()
        world.phase(who, "exporter", *cache, *launcher(world, who), APP)
        world.phase(who, "analyzer", APP)
        world.forget("layers/node/modules")
        ran = world.phase(who, "restorer", *cache)
        world.write("layers/node/modules.toml", "[types]\nlaunch = true\ncache = true\n")
        return ran

    return compared("restored from a cache", rounds(world, count, one), ["", "", ""])


def again(world, count):
    """The second of two builds of the same app."""
    args = ["-cache-dir", world.root / "cache"]

    def one(who):
        world.forget("oci/registry.example/app", "cache", "layers")
        folder(world, "cache")
        folder(world, "layers")
        world.phase(who, "creator", *args, *launcher(world, who), APP)
        world.forget("layers")
        folder(world, "layers")
        return world.phase(who, "creator", *args, *launcher(world, who), APP)

    return compared("no-change rebuild, all phases", rounds(world, count, one), ["<= 0.1x", "", ""])


def pushed(world, options):
    """The same app as a push builds it: on overlays of the store's layers, which are neither copied nor read again."""
    buildpack = seeded(world)
    command = [options.binary, "build", world.root / "app", "--data", world.root / "data", "-b", buildpack,
               "-t", f"oci:{world.root / 'pushed'}"]
    found = []
    for _ in range(options.rounds + 1):
        done = subprocess.run(command, check=True, capture_output=True)
        seconds = re.findall(r"^ +(?:analyze|detect|restore|build|export) +([0-9.]+)s$", done.stderr.decode(), re.M)
        found.append(sum(float(second) for second in seconds))
    table(["", "slipway", "goal"], [
        ["first build as in a push, all phases", cell(found[:1], "s", 2), ""],
        ["no-change rebuild as in a push, all phases", cell(found[1:], "s", 2), "< 0.3 s"],
    ])


def seeded(world):
    """The same buildpack with the packages in an archive of its own: a sandbox does not see ours."""
    place = world.root / "seeded"
    shutil.copytree(world.root / "buildpacks/node/1", place)
    subprocess.run(["tar", "-cf", place / "seed.tar", "-C", world.modules, "."], check=True)
    world.script("seeded/bin/build", """
        [ -d $1/modules ] || { mkdir $1/modules; tar -xf $CNB_BUILDPACK_DIR/seed.tar -C $1/modules; }
        printf '[types]\\nlaunch = true\\ncache = true\\n' > $1/modules.toml
        printf '[[processes]]\\ntype = "web"\\ncommand = ["true"]\\n' > $1/launch.toml""")
    return place


def isolated(options):
    """From the request to the end of `true`, with namespaces, limits and a file system of its own."""
    cargo = ["cargo", "run", "--release", "--quiet", "-p", "container", "--example", "start"]
    said = subprocess.run(cargo, cwd=Path(__file__).resolve().parents[2], capture_output=True, text=True, check=True).stdout
    ours = [line for line in said.splitlines() if line.startswith(("sandbox", "the same"))]
    rows = [[f"an isolated process: {line}", "< 4 ms p50"] for line in ours]
    if not shutil.which("runc"):
        print("runc is missing: it is no part of the comparison\n")
    else:
        rows.append([f"the same by runc, {runc()}", ""])
    table(["", "goal"], rows)


def runc():
    bundle = Path(tempfile.mkdtemp(prefix="slipway-bench-"))
    root = bundle / "rootfs"
    for name in ("usr", "proc", "dev", "sys"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    subprocess.run(["runc", "spec"], cwd=bundle, check=True)
    config = json.loads((bundle / "config.json").read_text())
    config["process"] |= {"terminal": False, "args": ["/usr/bin/true"]}
    config["linux"].setdefault("resources", {})["memory"] = {"limit": 256 << 20}
    config["mounts"].append({"destination": "/usr", "source": "/usr", "type": "none", "options": ["rbind", "ro"]})
    (bundle / "config.json").write_text(json.dumps(config))
    times = []
    for number in range(RUNC_STARTS):
        begin = time.monotonic()
        subprocess.run(["runc", "run", f"slipway-bench-{os.getpid()}-{number}"], cwd=bundle, check=True)
        times.append((time.monotonic() - begin) * 1000)
    shutil.rmtree(bundle)
    return cell(times, "ms")


def folder(world, name):
    path = world.root / name
    path.mkdir()
    subprocess.run(["chown", "--reference", world.root, path], check=True)


def started(world, _):
    """Milliseconds from the launcher's start to the end of `true`."""
    programs = {"slipway": world.launcher(), "go": world.programs["go"] / "launcher"}
    env = {"PATH": "/usr/bin:/bin", "CNB_PLATFORM_API": "0.14", "CNB_LAYERS_DIR": str(world.root / "layers"), "CNB_APP_DIR": str(world.root / "app")}
    found = {"slipway": [], "go": [], "alone": []}
    for _ in range(STARTS):
        for who in found:
            command = [programs[who], "--", "true"] if who in programs else ["true"]
            begin = time.monotonic()
            subprocess.run(command, env=env, check=True)
            found[who].append((time.monotonic() - begin) * 1000)
    kib = {who: [path.stat().st_size / 1024] for who, path in programs.items()}
    return [
        ["a process started by the launcher", cell(found["slipway"], "ms", 2), cell(found["go"], "ms", 2), ratio(found["slipway"], found["go"]), "< 5 ms"],
        ["the same without a launcher", cell(found["alone"], "ms", 2), "", "", ""],
        ["size of the launcher", cell(kib["slipway"], "KiB", 0), cell(kib["go"], "KiB", 0), ratio(kib["slipway"], kib["go"]), "< 1024 KiB"],
    ]
