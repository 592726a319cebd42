"""An image until it can be run, beside umoci: the first time, and again."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from measure import cell, ratio, table

LAYERS = 5
LAYER_BYTES = 93_000_000
ROUNDS = 3
SOURCE = Path("/usr")


def ready(options):
    if not shutil.which("umoci"):
        print("umoci is missing: images are not compared\n")
        return
    cargo = ["cargo", "build", "--release", "--quiet", "-p", "container", "--example", "ready"]
    root = Path(__file__).resolve().parents[2]
    subprocess.run(cargo, cwd=root, check=True)
    program = Path(os.environ.get("CARGO_TARGET_DIR", root / "target")) / "release/examples/ready"
    with tempfile.TemporaryDirectory(prefix="slipway-bench-", dir=options.target) as place:
        place = Path(place)
        files, size = image(place)
        first, again, umoci = [], [], []
        # Nothing is removed in between: ext4 looks long for free inodes next to those of what has just gone.
        for number in range(ROUNDS):
            said = subprocess.run([program, place / "image", place / f"ours-{number}"], capture_output=True, text=True, check=True)
            found = [line.split() for line in said.stdout.splitlines()]
            first += [float(value) for what, value in found if what == "first"]
            again += [float(value) for what, value in found if what == "again"]
            begin = time.monotonic()
            umoci_unpack = ["umoci", "raw", "unpack", "--image", f"{place}/image:latest", place / f"theirs-{number}"]
            subprocess.run(umoci_unpack, check=True, stdout=subprocess.DEVNULL)
            umoci.append((time.monotonic() - begin) * 1000)
    print(f"An image of {LAYERS} layers, {files} files, {size / 1e6:.0f} MB\n")
    table(
        ["", "slipway", "umoci", "ratio", "goal"],
        [
            ["ready to run, first time", cell(first, "ms", 0), cell(umoci, "ms", 0), ratio(first, umoci), "<= 0.33"],
            ["again", cell(again, "ms", 2), "", "", "< 5 ms"],
        ],
    )


def image(place):
    """Of this machine's files, a layer each time that there are enough."""
    def tool(*args):
        subprocess.run(["umoci", *args], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    tool("init", "--layout", place / "image")
    tool("new", "--image", f"{place}/image:latest")
    files, size, layers = 0, 0, 0
    layer, filled = place / "layer", 0
    for path in sorted(SOURCE.rglob("*")):
        if path.is_symlink() or not path.is_file() or path.stat().st_size > LAYER_BYTES // 2:
            continue
        to = layer / path.relative_to(SOURCE)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, to)
        files, filled = files + 1, filled + path.stat().st_size
        if filled >= LAYER_BYTES:
            tool("insert", "--image", f"{place}/image:latest", layer, f"/layer-{layers}")
            shutil.rmtree(layer)
            size, filled, layers = size + filled, 0, layers + 1
            if layers == LAYERS:
                return files, size
    raise SystemExit(f"{SOURCE} has too few files for an image")
