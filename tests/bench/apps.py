#!/usr/bin/python3
"""What the apps cost that nobody asks for: a server with few apps, and with thousands.

    tools/dev bench apps [--apps N,N...] [--requests N]

Each app is the same small C program, with a host of its own and `reuse: keep`. For each number of apps
(10, 1000, 10000): how long the server takes to come up; a request to an instance that is awake, and
one that has to start an instance, in microseconds from the wire to the whole answer, p50 (the figure to
look at: does it grow with the number of apps?); the time of /metrics; how long a reload takes that changes
nothing, and one that changes every app; and what the front has in memory.

Writes build/bench/apps.json, rows {"case", "metric", "value", "unit"}.
"""

import argparse
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import benchlib
import hibernate
from benchlib import HUTCH, BenchError


class Server(hibernate.Server):  # its front and its end
    def __init__(self, text, count):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="hutch-bench-apps-"))
        (self.dir / "apps").mkdir()
        self.text = text
        self.names = [f"app{i}" for i in range(count)]
        self.write("")
        self.log = self.dir / "log"
        self.ports = []
        for _ in range(2):
            with socket.socket() as s:
                s.bind(("127.0.0.1", 0))
                self.ports.append(s.getsockname()[1])
        begin = time.monotonic()
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [HUTCH, "serve", "--listen", f"127.0.0.1:{self.ports[0]}", "--admin", f"127.0.0.1:{self.ports[1]}",
                 "--access-log", "off", "--state-dir", self.dir / "state", "--spares", "8", self.dir / "apps"],
                stdout=log, stderr=log)
        self.wait("serve: ready", 1, "it does not come up")
        self.up_seconds = time.monotonic() - begin

    def write(self, more):
        for name in self.names:
            (self.dir / "apps" / f"{name}.yaml").write_text(
                f"kind: hutch.app/v1\nname: {name}\n{self.text}routes: [{{host: {name}.test, path: /}}]\n"
                f"reuse: keep\nlimits: {{instances: 1}}\nhibernate: {{idle: 1h}}\n{more}")

    def wait(self, words, times, trouble):
        begin = time.monotonic()
        while self.log.read_text().count(words) < times:
            if self.process.poll() is not None or time.monotonic() - begin > 1800:
                raise BenchError(f"hutch serve: {trouble}: {self.log.read_text()[-800:]}")
            time.sleep(0.01)

    def get(self, path, port=0, host="x"):
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[port], timeout=120)
        begin = time.perf_counter()
        connection.request("GET", path, headers={"Host": host})
        response = connection.getresponse()
        body = response.read()
        seconds = time.perf_counter() - begin
        connection.close()
        if response.status != 200:
            raise BenchError(f"{host}{path}: {response.status}")
        return seconds, body

    def reload(self, turn):
        begin = time.monotonic()
        self.process.send_signal(signal.SIGHUP)
        self.wait("read again", turn, "no reload")
        return time.monotonic() - begin


def measure(app, count, options, rows):
    def add(metric, value, unit, digits=2):
        rows.append({"case": f"{count} apps", "metric": metric, "value": round(value, digits), "unit": unit})

    server = Server(app.yaml(), count)
    try:
        add("coming up", server.up_seconds, "s")
        middle = f"{server.names[count // 2]}.test"
        for _ in range(20):
            server.get("/1", host=middle)
        add("request to one awake, p50",
            1e6 * statistics.median(server.get("/1", host=middle)[0] for _ in range(options.requests)), "us", 0)
        starts = []
        for name in server.names[:200]:
            starts.append(server.get("/1", host=f"{name}.test")[0])
            time.sleep(0.005)  # a spare in the place of the one that was taken
        add("request that starts one, p50", 1e6 * statistics.median(starts), "us", 0)
        add("/metrics", server.get("/metrics", port=1)[0], "s", 3)
        add("a reload, nothing changed", server.reload(1), "s")
        server.write("debug: true\n")
        add("a reload, every app changed", server.reload(2), "s")
        add("memory of the front", hibernate.rss_kib(server.front()) / 1024, "MiB", 1)
    finally:
        server.stop()


def main():
    parser = argparse.ArgumentParser(prog="tools/dev bench apps", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--apps", default="10,1000,10000", help="numbers of apps (10,1000,10000)")
    parser.add_argument("--requests", type=int, default=1000, help="to one that is awake (1000)")
    options = parser.parse_args()
    rows, status = [], 0
    hibernate.WORK.mkdir(parents=True, exist_ok=True)
    try:
        app = hibernate.Small()
        for count in map(int, options.apps.split(",")):
            benchlib.progress(f"{count} apps")
            measure(app, count, options, rows)
    except (BenchError, OSError, subprocess.SubprocessError) as e:
        print(f"\napps: {str(e).strip()[-800:]}", file=sys.stderr)
        status = 1
    benchlib.progress("")
    benchlib.table(("case", "metric", "value", "unit"),
                   [(r["case"], r["metric"], f"{r['value']:g}", r["unit"]) for r in rows])
    benchlib.OUT.mkdir(parents=True, exist_ok=True)
    path = benchlib.OUT / "apps.json"
    path.write_text(json.dumps({"machine": benchlib.machine(), "rows": rows}, indent=1) + "\n")
    print(path)
    shutil.rmtree(hibernate.WORK, ignore_errors=True)
    return status


if __name__ == "__main__":
    os.chdir(benchlib.ROOT)
    sys.exit(main())
