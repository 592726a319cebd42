"""CPU per request of the router beside nginx and HAProxy: one worker each, pinned, in a network namespace of its own.

The router alone (`route.rs` beside this) is compared, because the others do nothing else either. Load by wrk (as
fast as it goes) and h2load (10,000 requests/s), backend nginx. CPU is the process's own run time over the requests
that were answered.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import cell, ratio, run_time_ns, table, tree, version

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ["nginx", "haproxy", "wrk", "h2load", "taskset", "ip", "unshare"]
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
BACKEND, PORTS = 9000, {"slipway": 9001, "nginx": 9002, "haproxy": 9003}
HOST = "hello.localhost"
SECONDS = 4
# Title, path, load, goals (to nginx, to HAProxy)
CASES = [
    ("1 KiB, saturated", "/1k", "wrk", "-", "-"),
    ("1 KiB at 10 k/s", "/1k", "h2load", "<= 0.85x", "<= 0.75x"),
    ("64 KiB", "/64k", "wrk", "<= 0.7x", "-"),
    ("1 MiB", "/1m", "wrk", "<= 0.35x", "-"),
]


def run(options):
    missing = [program for program in NEEDED if not shutil.which(program, path=PATH)]
    if missing:
        print(f"Left out: not here: {', '.join(missing)}.")
        return
    if os.geteuid() != 0 or os.cpu_count() < 2:
        print("Left out: needs root (for a network namespace) and two cores.")
        return
    build = ["cargo", "build", "--release", "--quiet", "-p", "router", "--example", "route"]
    subprocess.run(build, cwd=ROOT, check=True)
    router = options.target / "release/examples/route"
    inside = ["unshare", "-n", sys.executable, "-B", __file__, str(router), str(options.rounds)]
    done = subprocess.run(inside, check=True, stdout=subprocess.PIPE, text=True)
    seen = json.loads(done.stdout)
    print(f"{version('nginx', '-v')}; {version('haproxy', '-v')}; {version('wrk', '-v')}; {version('h2load', '--version')}\n")
    rows = []
    for title, _, _, goal_nginx, goal_haproxy in CASES:
        us = seen[title]
        rows.append([title, *(cell(us[name], "us") for name in PORTS), ratio(us["slipway"], us["nginx"]), goal_nginx,
                     ratio(us["slipway"], us["haproxy"]), goal_haproxy])
    table(["CPU per request", "Slipway", "nginx", "HAProxy", "to nginx", "goal", "to HAProxy", "goal"], rows)


def inside(router, rounds):
    """In the namespace: loopback is ours alone, without the machine's packet filter in the way."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    seen = {title: {name: [] for name in PORTS} for title, *_ in CASES}
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
        children = []
        try:
            children.append(start(1, nginx(folder, "backend", backend(folder))))
            proxies = {
                "slipway": start(0, [router, f"127.0.0.1:{PORTS['slipway']}", "1", f"{HOST}=127.0.0.1:{BACKEND}"]),
                "nginx": start(0, nginx(folder, "proxy", NGINX)),
                "haproxy": start(0, haproxy(folder)),
            }
            children += proxies.values()
            for name, port in PORTS.items():
                wait_for(name, port)
            for _ in range(rounds):
                for title, path, load, *_ in CASES:
                    for name, child in proxies.items():
                        seen[title][name].append(us_per_request(tree(child.pid), LOADS[load], PORTS[name], path))
        finally:
            for child in children:
                child.terminate()
            for child in children:
                child.wait()
    json.dump(seen, sys.stdout)


def us_per_request(pids, load, port, path):
    load(port, path, 1)
    before = run_time_ns(pids)
    requests = load(port, path, SECONDS)
    return (run_time_ns(pids) - before) / 1000 / requests


def wrk(port, path, seconds):
    said = client("wrk", "-t1", "-c64", f"-d{seconds}s", "-H", f"Host: {HOST}", f"http://127.0.0.1:{port}{path}")
    if "Non-2xx" in said:
        raise SystemExit(f"answers that are none:\n{said}")
    return int(re.search(r"(\d+) requests in", said).group(1))


def h2load(port, path, seconds):
    # 100 requests/s on each of 100 connections. By count: with a duration, HTTP/1.1 and a rate it does not end.
    said = client("h2load", "--h1", "-t1", "-c100", "--rps=100", f"-n{10_000 * seconds}",
                  f"--connect-to=127.0.0.1:{port}", f"http://{HOST}:{port}{path}")
    counts = re.search(r"(\d+) succeeded, (\d+) failed", said)
    if int(counts.group(2)):
        raise SystemExit(f"failed requests:\n{said}")
    return int(counts.group(1))


LOADS = {"wrk": wrk, "h2load": h2load}


def client(*command):
    done = subprocess.run(["taskset", "-c", "1", *command], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def start(core, command):
    command = ["taskset", "-c", str(core), *map(str, command)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | {"PATH": PATH})


def wait_for(name, port):
    for _ in range(100):
        ask = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", f"Host: {HOST}", f"http://127.0.0.1:{port}/1k"]
        if subprocess.run(ask, capture_output=True, text=True, check=False).stdout == "200":
            return
        time.sleep(0.1)
    raise SystemExit(f"{name} does not answer")


def backend(folder):
    files = Path(folder) / "files"
    files.mkdir()
    for name, size in {"1k": 1 << 10, "64k": 64 << 10, "1m": 1 << 20}.items():
        (files / name).write_bytes(b"x" * size)
    files.chmod(0o755)
    Path(folder).chmod(0o755)
    return f"server {{ listen 127.0.0.1:{BACKEND} backlog=1024; root {files}; }}\nkeepalive_requests 1000000000;"


NGINX = f"""
map $host $backend {{ default ""; {HOST} app; }}
upstream app {{ server 127.0.0.1:{BACKEND}; keepalive 128; keepalive_requests 1000000000; }}
keepalive_requests 1000000000;
server {{
    listen 127.0.0.1:{PORTS['nginx']} backlog=1024;
    location / {{
        proxy_pass http://$backend;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header X-Request-Id $request_id;
    }}
}}"""


def nginx(folder, name, http):
    config = Path(folder) / f"{name}.conf"
    paths = " ".join(f"{kind}_temp_path {folder}/{name}-{kind};" for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"])
    config.write_text(
        f"daemon off; master_process off; worker_processes 1; pid {folder}/{name}.pid; error_log /dev/null;\n"
        f"events {{ worker_connections 4096; }}\nhttp {{ access_log off; sendfile on; tcp_nopush on; {paths}\n{http}\n}}\n")
    return ["nginx", "-c", config]


def haproxy(folder):
    config = Path(folder) / "haproxy.cfg"
    config.write_text(
        f"global\n nbthread 1\n maxconn 4096\ndefaults\n mode http\n timeout client 60s\n timeout server 60s\n timeout connect 5s\n"
        f" http-reuse always\n option forwardfor\n unique-id-format %[uuid()]\n unique-id-header X-Request-Id\n"
        f"frontend in\n bind 127.0.0.1:{PORTS['haproxy']} backlog 1024\n http-request set-header X-Forwarded-Proto http\n"
        f" use_backend app if {{ hdr(host),field(1,:) -i {HOST} }}\n"
        f"backend app\n server one 127.0.0.1:{BACKEND} maxconn 4096\n")
    return ["haproxy", "-db", "-f", config]


if __name__ == "__main__":
    inside(sys.argv[1], int(sys.argv[2]))
