#!/usr/bin/python3
"""What instances that keep their state cost, awake and asleep, and many apps of which few are awake.

    tools/dev bench hibernate [--guest flask|c] [--apps N] [--awake N] [--clients N] [--seconds N]
                              [--wakes N] [--optimize LEVEL]

One server with --apps apps (500) of the same program (a Flask application on CPython, or a small C
program), reuse: keep, one instance each, a snapshot made on deploy. Every app counts its requests and
keeps what it was given; each answer is compared with what this app has been told so far.

  awake     unique memory of an instance's process (private pages, smaps_rollup), mean of --sample (16)
            that have just gone on from the snapshot and answered; the same once they were idle for a
            second and have given back what they need not hold; and both after 100 requests more, and
            after hibernation
  asleep    what is resident of it (0: there is no process), the bytes of its file, and what
            the server's front takes for an app, processes and descriptors left
  woken     a request to an instance that is awake, and one that wakes it: from the wire to the first
            byte, p50 and p99
  load      --seconds (60) of requests by --clients (4) to apps within a window of --awake (50)
            that moves on over all of them: how many were awake, how often one was woken, wrong answers

Writes build/bench/hibernate.json, rows {"case", "metric", "value", "unit"}. Exit status 1 where an
answer was wrong. Memory of processes needs root or the same user and no sandbox; else it is missing.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import benchlib
import coldstart
from benchlib import BenchError, HUTCH

WORK = coldstart.WORK
FLASK = """
from flask import Flask, request
app = Flask(__name__)
kept = []


@app.get("/")
def hello():
    return "hello\\n"


@app.get("/<word>")
def keep(word):
    kept.append(word)
    return f"{len(kept)} {kept[0]} {kept[-1]} {sum(map(int, kept))}\\n"
"""
C = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
int main(void) {
    static long count, first, sum;
    for (;;) {
        char in[4096], text[200], out[400];
        int fd = accept(3, 0, 0);
        if (fd < 0) return 1;
        ssize_t n = read(fd, in, sizeof in - 1);
        in[n < 0 ? 0 : n] = 0;
        const char *path = strstr(in, " /");
        long word = path ? atol(path + 2) : 0;
        if (path && path[2] != ' ') {
            if (!count++) first = word;
            sum += word;
            snprintf(text, sizeof text, "%ld %ld %ld %ld\n", count, first, word, sum);
        } else strcpy(text, "hello\n");
        int size = snprintf(out, sizeof out, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
                            strlen(text), text);
        (void)!write(fd, out, (size_t)size);
        close(fd);
    }
}
"""


class Small:
    def __init__(self):
        source, self.wasm = WORK / "small.c", WORK / "small.wasm"
        source.write_text(C)
        benchlib.execute(["clang-22", "--target=wasm32-wasi", "-Wno-deprecated", "-O2", str(source),
                          "-o", str(self.wasm)])

    def yaml(self):
        return f"module: {self.wasm}\ninterface: http\n"


GUESTS = {"flask": lambda: coldstart.Wsgi("flask", "bench_app:app", {"bench_app.py": FLASK}),
          "c": Small}


class Model:
    """What an app has been told; one request at a time."""

    def __init__(self, name):
        self.name = name
        self.words = []
        self.lock = threading.Lock()

    def ask(self, server):
        """(seconds, right, what came)"""
        with self.lock:
            word = str(random.randrange(1, 10**6))
            seconds, text = server.get(self.name, word)
            self.words.append(word)
            wanted = f"{len(self.words)} {self.words[0]} {word} {sum(map(int, self.words))}"
            return seconds, text.strip() == wanted, (self.name, text, wanted)


class Server:
    def __init__(self, app, options):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="hutch-bench-hibernate-"))
        (self.dir / "apps").mkdir()
        text = app.yaml()
        self.names = [f"app{i}" for i in range(options.apps)]
        for name in self.names:
            (self.dir / "apps" / f"{name}.yaml").write_text(
                f"kind: hutch.app/v1\nname: {name}\n{text}routes: [{{host: {name}, path: /}}]\n"
                "reuse: keep\nlimits: {instances: 1, queue_time: 60s}\n"
                f"hibernate: {{idle: {options.idle}}}\ninstaboot:\n  requests:\n"
                "  - {path: /, headers: {Host: localhost}}\n")  # so that one snapshot is all apps'

        self.path, self.admin, self.log = (f"{self.dir}/{x}" for x in ("socket", "admin", "log"))
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [HUTCH, "serve", "--listen", f"unix:{self.path}", "--admin", f"unix:{self.admin}",
                 "--access-log", "off", "--state-dir", self.dir / "state", "--spares", "8", "-O",
                 options.optimize, self.dir / "apps"], stdout=log, stderr=log)
        begin = time.monotonic()
        while "ready" not in (text := pathlib.Path(self.log).read_text()):
            if self.process.poll() is not None or time.monotonic() - begin > 1800:
                raise BenchError(f"hutch serve does not come up: {text[-800:]}")
            time.sleep(0.05)
        self.deploy_seconds = time.monotonic() - begin
        if "no snapshot" in text:
            raise BenchError(f"hutch serve: {text[-800:]}")

    def get(self, host, word, path=None):
        """Seconds to the first byte, and the body."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(120)
            s.connect(path or self.path)
            start = time.perf_counter()
            s.sendall(f"GET /{word} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            answer = s.recv(65536)
            seconds = time.perf_counter() - start
            while more := s.recv(1 << 20):
                answer += more
        head, _, body = answer.partition(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n")[0]:
            return seconds, head.split(b"\r\n")[0].decode()
        return seconds, body.decode()

    def status(self):
        body = self.get("admin", "status", self.admin)[1]
        return json.loads(body[body.index("{"):body.rindex("}") + 1])

    def counts(self):
        """Instances awake, asleep, and woken so far."""
        apps = self.status()["apps"]
        awake = sum(a["tenants_idle"] + a["tenants_busy"] + a["tenants_starting"] for a in apps)
        return awake, sum(a["hibernated"] for a in apps), sum(a["resumes"] for a in apps)

    def wait_asleep(self, number, seconds):
        end = time.monotonic() + seconds
        while (now := self.counts()) and (now[0] or now[1] != number):
            if time.monotonic() > end:
                raise BenchError(f"{now[0]} instances are awake, {now[1]} of {number} asleep: "
                                 + pathlib.Path(self.log).read_text()[-800:])
            time.sleep(0.1)

    def pids(self, names):
        return [t["pid"] for t in self.status()["tenant_list"]
                if t.get("app") in names and t["state"] != "ending"]

    def front(self):
        for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                words = path.read_text().rsplit(")", 1)
                if int(words[1].split()[1]) == self.process.pid and "hutch-front" in words[0]:
                    return int(path.parent.name)
            except (OSError, ValueError):
                pass
        raise BenchError("no front")

    def files(self):
        return [p.stat().st_size for p in (self.dir / "state/hibernated").iterdir() if p.name != "lock"]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def private_kib(pid):
    """Pages that no other process has: all, and those of them that are no file's."""
    total = dirty = 0
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        words = line.split()
        if words[0] in ("Private_Clean:", "Private_Dirty:"):
            total += int(words[1])
        if words[0] == "Private_Dirty:":
            dirty += int(words[1])
    return total, dirty


def rss_kib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


class Results:
    def __init__(self):
        self.rows = []
        self.wrong = []

    def add(self, case, metric, value, unit, digits=1):
        self.rows.append({"case": case, "metric": metric, "value": round(value, digits), "unit": unit})

    def take(self, outcome):
        if not outcome[1]:
            self.wrong.append(outcome[2])
        return outcome[0]


def percentiles(results, case, metric, samples):
    results.add(case, f"{metric} p50", statistics.median(samples) * 1e3, "ms", 2)
    results.add(case, f"{metric} p99", coldstart.percentile(samples, 0.99) * 1e3, "ms", 2)


def memory(results, server, models, case, more=0):
    """Of instances that have just answered, and of the same once they had the time to give back."""
    seconds = [results.take(m.ask(server)) for m in models for _ in range(more or 1)]
    sizes_of(results, server, models, case)
    time.sleep(1.3)  # tenants give back after 1 s (loader/tenant.c), and sleep after --idle
    sizes_of(results, server, models, f"{case}, idle for a second")
    return seconds


def sizes_of(results, server, models, case):
    try:
        sizes = [private_kib(pid) for pid in server.pids({m.name for m in models})]
        if not sizes:
            raise BenchError("no instance is awake; a longer --idle is needed")
        for metric, column in zip(("unique memory of an instance", "of that, written"), zip(*sizes)):
            results.add(case, metric, statistics.fmean(column) / 1024, "MiB", 2)
    except PermissionError as e:
        print(f"hibernate: {e}: no figures of single processes", file=sys.stderr)


def load(results, server, models, options):
    end = time.monotonic() + options.seconds
    lock = threading.Lock()
    warm, awake = [], []
    window = models[:options.awake]

    def client(seed):
        chance = random.Random(seed)
        while time.monotonic() < end:
            with lock:
                model = chance.choice(window)
            seconds, right, what = model.ask(server)
            with lock:
                warm.append(results.take((seconds, right, what)))

    def move():
        at = options.awake
        while time.monotonic() < end:
            time.sleep(0.25)
            awake.append(server.counts()[0])
            with lock:
                for _ in range(max(1, options.awake // 25)):
                    window.pop(0)
                    window.append(models[at % len(models)])
                    at += 1

    woken_before = server.counts()[2]
    threads = [threading.Thread(target=client, args=(i,)) for i in range(options.clients)]
    threads.append(threading.Thread(target=move))
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if not warm or not awake:
        raise BenchError("no request in the time given")
    results.add("load", "requests", len(warm), "", 0)
    results.add("load", "instances awake, mean", statistics.fmean(awake), "", 0)
    results.add("load", "instances awake, most", max(awake), "", 0)
    results.add("load", "instances woken", server.counts()[2] - woken_before, "", 0)
    percentiles(results, "load", "a request", warm)


def measure(options, results):
    app = GUESTS[options.guest]()
    benchlib.progress(f"deploying {options.apps} apps")
    server = Server(app, options)
    try:
        models = [Model(name) for name in server.names]
        results.add("deploy", "apps", options.apps, "", 0)
        results.add("deploy", "time", server.deploy_seconds, "s")
        front = server.front()
        sample = models[:options.sample]
        memory(results, server, sample, "awake, from the snapshot")
        memory(results, server, sample, "awake, 100 requests more", 100)
        for i, model in enumerate(models):
            if i % 25 == 0:
                benchlib.progress(f"first requests: {i} of {options.apps}")
            results.take(model.ask(server))
        benchlib.progress("all go to sleep")
        server.wait_asleep(options.apps, 120)
        sizes = server.files()
        left = server.pids(set(server.names))
        results.add("asleep", "processes of instances", len(left), "", 0)
        results.add("asleep", "resident memory of an instance",
                    sum(map(rss_kib, left)) / 1024 / options.apps, "MiB", 2)
        results.add("asleep", "file of an instance, mean", statistics.fmean(sizes) / 2**20, "MiB", 2)
        results.add("asleep", "file of an instance, largest", max(sizes) / 2**20, "MiB", 2)
        results.add("asleep", "the server's front, for an app", rss_kib(front) / options.apps, "KiB")
        fds = len(list(pathlib.Path(f"/proc/{front}/fd").iterdir()))
        results.add("asleep", "descriptors of the front, for an app", fds / options.apps, "")
        memory(results, server, sample, "awake, from its file")
        server.wait_asleep(options.apps, 60)
        woken, warm = [], []
        for i in range(options.wakes):
            model = models[i % len(models)]
            woken.append(results.take(model.ask(server)))
            warm.append(results.take(model.ask(server)))
            time.sleep(0.01)  # the next spare process comes up
            if i % len(models) == len(models) - 1:
                server.wait_asleep(options.apps, 60)
        percentiles(results, "woken", "a request that wakes", woken)
        percentiles(results, "woken", "a request to one awake", warm)
        server.wait_asleep(options.apps, 60)
        benchlib.progress(f"load for {options.seconds} s")
        load(results, server, models, options)
        server.wait_asleep(options.apps, 120)
        for i, model in enumerate(models):
            if i % 25 == 0:
                benchlib.progress(f"the last word of each: {i} of {options.apps}")
            results.take(model.ask(server))
        results.add("load", "answers that were wrong", len(results.wrong), "", 0)
    finally:
        server.stop()


def main():
    parser = argparse.ArgumentParser(prog="tools/dev bench hibernate", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--guest", choices=GUESTS, default="flask")
    parser.add_argument("--apps", type=int, default=500)
    parser.add_argument("--awake", type=int, default=50)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--wakes", type=int, default=200)
    parser.add_argument("--sample", type=int, default=16)
    parser.add_argument("--idle", default="2s", help="after which an instance is written out (2s)")
    parser.add_argument("--optimize", default="2", help="level the apps are compiled at (2)")
    options = parser.parse_args()
    options.awake = min(options.awake, options.apps)
    options.sample = min(options.sample, options.apps)
    results, status = Results(), 0
    try:
        measure(options, results)
    except (BenchError, OSError, subprocess.SubprocessError) as e:
        print(f"\nhibernate: {str(e).strip()[-800:]}", file=sys.stderr)
        status = 1
    benchlib.progress("")
    benchlib.table(("case", "metric", "value", "unit"),
                   [(r["case"], r["metric"], f"{r['value']:g}", r["unit"]) for r in results.rows])
    for wrong in results.wrong[:5]:
        print("wrong:", *wrong)
    benchlib.OUT.mkdir(parents=True, exist_ok=True)
    path = benchlib.OUT / "hibernate.json"
    path.write_text(json.dumps({"machine": benchlib.machine(), "guest": options.guest,
                                "wrong": len(results.wrong), "rows": results.rows}, indent=1) + "\n")
    print(path)
    shutil.rmtree(WORK, ignore_errors=True)
    return status or bool(results.wrong)


if __name__ == "__main__":
    os.chdir(benchlib.ROOT)
    sys.exit(main())
