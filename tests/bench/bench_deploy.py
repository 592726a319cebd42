"""From `git push` to the first new answer, with the time of each step of the push's own output."""

import re
import subprocess
import threading
import time

from measure import cell, ms, table
from place import Place

# What the greeting stands in, and piku's figures (reference measurement on such a machine, quoted, not of this run).
APPS = {
    "hello": ("web.py", "Hello, world", "trivial app (Procfile)", "3960 / 3360 ms", "<= 0.1x, < 0.35 s + boot"),
    "node-express": ("server.js", "Hello from Express", "express", "6310 / 3130 ms", "first < 0.5x; < 0.5 s + boot"),
    "python-flask": ("app.py", "Hello from Flask", "flask", "5890 / 4250 ms", "first < 0.5x; < 0.5 s + boot"),
}
POLL_S = 0.005


def run(options):
    rows, steps = [], []
    with Place(options.binary) as place:
        for fixture, (file, words, title, piku, goal) in APPS.items():
            first = [deploy(place, app(place, fixture, n), words) for n in range(max(2, options.rounds // 2))]
            name, repeated, now = f"{fixture}-0", [], words
            for number in range(options.rounds * 2):
                now, before = f"Changed {number}", now
                path = place.home / name / file
                path.write_text(path.read_text().replace(before, now))
                place.git(name, "commit", "-q", "-a", "-m", now)
                repeated.append(deploy(place, name, now))
            answered = sum(d.answered for d in first + repeated)
            rows.append([title, ms([d.live for d in first[:1]]), ms([d.live for d in first[1:]]), ms([d.live for d in repeated]),
                         ms([d.pushed for d in repeated]), f"{answered} of {len(first + repeated)}", piku, goal])
            for what, one in [("first push", first[-1]), ("changed line", repeated[len(repeated) // 2])]:
                steps.append((f"{what}, {title}", one))
        changes = operator_changes(place, "hello-0", options.rounds)
    print("Seconds count from the exec of `git push`; a poller asks every 5 ms. piku's figures are quoted from an earlier run.\n")
    table(["app", "first, cold cache", "first, warm cache", "changed line: live", "changed line: push returned",
           "live at the return", "piku, first / repeated (quoted)", "goal"], rows)
    table(["change", "to done", "goal"], changes)
    for title, one in steps:
        steps_ms = ", ".join(f"{text} {seconds * 1000:.0f} ms" for text, seconds in one.steps)
        print(f"{title}: {one.phases}; between the steps that the pusher sees: {steps_ms}\n")


class Deploy:
    def __init__(self, live, pushed, answered, steps, phases):
        self.live, self.pushed, self.answered, self.steps, self.phases = live, pushed, answered, steps, phases


def app(place, fixture, number):
    place.app(f"{fixture}-{number}", fixture)
    return f"{fixture}-{number}"


def deploy(place, name, words):
    """Pushes, while a poller looks for `words` in the answer."""
    live, failed = [], threading.Event()
    begin = time.monotonic()

    def poll():
        while not failed.is_set():
            answer = place.get(name)
            if answer and answer[0] == 200 and words in answer[1]:
                live.append(time.monotonic() - begin)
                return
            time.sleep(POLL_S)

    poller = threading.Thread(target=poll)
    poller.start()
    push = subprocess.Popen(["git", "-C", place.home / name, "push", f"slipway:{name}", "main"],
                            env=place.env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    steps, said, last = [], [], begin
    for line in push.stderr:
        said.append(line)
        step = re.match(r"remote: [-=]{5}> (.*\S)", line)
        if step:
            now = time.monotonic()
            steps.append((step.group(1)[:40], now - last))
            last = now
    status = push.wait()
    pushed = time.monotonic() - begin
    # The poller may be behind; who asks now gets the new answer or does not.
    answer = place.get(name)
    answered = bool(answer) and answer[0] == 200 and words in answer[1]
    if status:
        failed.set()
        raise SystemExit(f"the push of {name} failed:\n{''.join(said)}")
    poller.join(60)
    if not live:
        failed.set()
        raise SystemExit(f"{name} never answered with `{words}`")
    phases = re.search(r"Built in .*\S", "".join(said))
    return Deploy(live[0], pushed, answered, steps, phases.group() if phases else "")


def operator_changes(place, name, rounds):
    rows = []
    for title, words in {
        "config:set": lambda n: ["config:set", name, f"N={n}"],
        "ps:scale up": lambda n: ["ps:scale", name, f"web={n + 2}"],
        "ps:restart": lambda n: ["ps:restart", name, "web.1"],
        "rollback": lambda n: ["rollback", name],
    }.items():
        times = []
        for number in range(rounds):
            begin = time.monotonic()
            place.ssh("slipway", *words(number))
            times.append(time.monotonic() - begin)
        rows.append([title, cell([t * 1000 for t in times], "ms"), "< 300 ms + boot"])
    return rows
