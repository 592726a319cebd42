"""Many apps that nobody asks: memory and CPU of the platform beside them, and the way back after `kill -9`."""

import time

from measure import cell, pss_kib, run_time_ns, table
from place import Place

REST_S = 30
GOALS = {5: "< 19 MiB", 100: "< 60 MiB"}


def run(options):
    rest, back = [], []
    with Place(options.binary) as place:
        apps = []
        for number in sorted(int(n) for n in options.apps.split(",")):
            while len(apps) < number:
                apps.append(deployed(place, len(apps)))
            rest.append(at_rest(place, len(apps)))
        back = restarts(place, apps, max(3, options.rounds // 2))
    table(["apps", "platform PSS", "goal", "of it the server", "processes", "CPU of one core", "goal", "the apps' own PSS"], rest)
    table(["restart with the apps running", "", "goal"], back)


def deployed(place, number):
    name = f"app{number}"
    place.app(name, "hello")
    place.git(name, "push", "-q", f"slipway:{name}", "main")
    return name


def at_rest(place, apps):
    # What deploys leave to be done settles first.
    time.sleep(10)
    ours = place.platform_processes()
    theirs = place.processes() - ours
    before = run_time_ns(ours)
    time.sleep(REST_S)
    share = (run_time_ns(ours) - before) / (REST_S * 1e9)
    mib = [pss_kib(pids) / 1024 for pids in (ours, {place.child.pid}, theirs)]
    return [apps, f"{mib[0]:.1f} MiB", GOALS.get(apps, "-"), f"{mib[1]:.1f} MiB", len(ours), f"{share * 100:.2f} %", "< 0.2 %",
            f"{mib[2]:.0f} MiB"]


def restarts(place, apps, rounds):
    ready, served, adopted = [], [], []
    for _ in range(rounds):
        before = place.processes() - place.platform_processes()
        place.kill_9()
        begin = time.monotonic()
        ready.append(place.start())
        left = list(apps)
        while left and time.monotonic() - begin < 120:
            left = [app for app in left if not answers(place, app)]
        served.append(time.monotonic() - begin)
        if left:
            raise SystemExit(f"not served again after 120 s: {' '.join(left)}")
        adopted.append(100 * len(before & place.processes()) / max(1, len(before)))
    return [
        ["kill -9 and start: ready", cell([s * 1000 for s in ready], "ms"), "-"],
        [f"all {len(apps)} apps have answered", cell([s * 1000 for s in served], "ms"), "< 3 s"],
        ["app processes that were kept", cell(adopted, "%", 0), "100 %"],
    ]


def answers(place, app):
    answer = place.get(app)
    return answer is not None and answer[0] == 200
