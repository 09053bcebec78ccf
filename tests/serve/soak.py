#!/usr/bin/python3
"""The whole server under a long and random load. Closes with `N passed, N failed`.

    tests/serve/soak.py [--seconds N] [--seed N]

Apps on every interface and with every reuse policy are asked over HTTP, a Unix socket and FastCGI by
clients that keep their connections, pipeline, stream, break off, or want what traps and what is
refused; meanwhile apps are changed and reloaded, and tenants, brokers and zygotes are killed, in the
last quarter of the time the front as well. Every answer must be the right one; one that is none is
forgiven only where something that it needed was killed while it was under way. At the end nothing is
left over: no process, no descriptor, no memory in the front, no request billed twice.
"""

import argparse
import contextlib
import http.client
import json
import os
import pathlib
import random
import signal
import socket
import sys
import threading
import time

import servelib
from servelib import Server, alive, check, children_of, comm, descendants, wait_for
from test_fastcgi import read_records, request as fastcgi_request, stdout
from test_tenants import WORK, guest

CLIENTS = 8
GRACE = 0.3  # seconds after a kill in which a request may still be given to what was killed


def app(kind, name, reuse, more="", wall="10s"):
    return (f"module: {guest(kind)}\ninterface: {kind}\nreuse: {reuse}\n"
            f"routes: [{{host: {name}, path: /}}]\n"
            f"limits: {{memory: 32M, cpu: 2s, wall: {wall}, instances: 4, queue: 200}}\n" + more)


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self.path)


class Soak:
    def __init__(self, seconds, seed):
        self.seconds, self.seed = seconds, seed
        self.stop, self.pause = threading.Event(), threading.Event()
        self.lock = threading.Lock()
        self.kills = []  # (time, what)
        self.counts, self.wrong, self.forgiven, self.working = {}, [], 0, 0
        site = WORK / "soak-site"
        site.mkdir(exist_ok=True)
        (site / "file.txt").write_text("a file\n" * 1000)
        self.apps = {
            "keep": app("http", "keep", "keep"), "fresh": app("http", "fresh", "fresh"),
            "reset": app("http", "reset", "reset", "instaboot: true\n"),
            "fcgi": app("fastcgi", "fcgi", "keep"), "fcgi-reset": app("fastcgi", "fcgi-reset", "reset", "instaboot: true\n"),
            "cgi": app("cgi", "cgi", "fresh"),
            "files": app("cgi", "files", "fresh", f"mounts: [{{source: {site}, path: /srv}}]\n"
                         "site: {root: /srv, scripts: [.cgi]}\n")}
        self.server = Server("-O", "fast", "--listen", "unix:http.sock", "--fastcgi-listen", "unix:fcgi.sock",
                             native=False, env={"HUTCH_CACHE_DIR": str(WORK / "cache")}, seconds=120, **self.apps)

    # ---- clients -----------------------------------------------------------------------------

    def count(self, what):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def one(self, rng, connection):
        """One request and its answer; None where it is right, else what came."""
        kind = rng.choices(["hello", "count", "echo", "file", "trap", "sleep", "log", "nobody", "malformed"],
                           [40, 5, 15, 10, 2, 1, 5, 2, 2])[0]
        host = rng.choice([a for a in self.apps if a != "files"])
        path, word = f"/{rng.randrange(1 << 30)}", kind
        method, body, wanted, status = "GET", None, None, 200
        headers = {"X-Padding": "x" * rng.randrange(200)}
        if kind == "hello":
            wanted = f"hello {path}\n".encode()
        elif kind == "echo":
            host, path, method = "cgi", "/echo", "POST"
            wanted = body = rng.randbytes(rng.choice([0, 1, 1000, 70000, 300000]))
        elif kind == "file":
            host, path, wanted = "files", "/file.txt", b"a file\n" * 1000
        elif kind == "nobody":
            host, status = "no.such.host", 404
        elif kind == "malformed":
            method, path, status = "GET", "/%zz", 400
        else:
            path, status = "/" + kind, 502 if kind == "trap" else 200
        headers["Host"] = host
        self.count(word)
        connection.request(method, path, iter([body]) if body and rng.random() < 0.3 else body, headers)
        response = connection.getresponse()
        data = response.read()
        if response.status != status or (wanted is not None and data != wanted):
            return (word, host, path, response.status, len(data), len(wanted or b""),
                    "a part" if (wanted or b"").startswith(data) else data[:80], response.getheaders())
        return None

    def fastcgi(self, rng):
        path = f"/{rng.randrange(1 << 30)}"
        host = rng.choice(["keep", "fcgi", "cgi"])
        self.count("over FastCGI")
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(30)
            s.connect(str(self.server.dir / "fcgi.sock"))
            s.sendall(fastcgi_request(REQUEST_URI=path, HTTP_HOST=host))
            out = stdout(read_records(s))
        return None if out.endswith(f"\r\n\r\nhello {path}\n".encode()) else ("fastcgi", host, path, out[:200])

    def pipelined(self, rng):
        host, paths = rng.choice(["keep", "reset", "fcgi"]), [f"/{rng.randrange(1 << 30)}" for _ in range(10)]
        self.count("pipelined")
        with self.server.connect(seconds=30) as s:
            for path in paths:
                last = "Connection: close\r\n" if path == paths[-1] else ""
                s.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{last}\r\n".encode())
            answer = b""
            while piece := s.recv(65536):
                answer += piece
        at = -1
        for path in paths:
            at = answer.find(f"hello {path}\n".encode(), at + 1)
            if at < 0:
                return ("pipelined", host, path, answer[-200:])
        return None

    def breaks_off(self, rng):
        self.count("broken off")
        with self.server.connect(seconds=30) as s:
            s.sendall(b"POST /echo HTTP/1.1\r\nHost: cgi\r\nContent-Length: 100000\r\n\r\n" + b"x" * rng.randrange(50000))
            if rng.random() < 0.5:
                time.sleep(rng.random() * 0.05)

    @staticmethod
    def is_end(wrong):
        """No answer, or one that says so, and not one that is another's or half of one taken for whole."""
        if len(wrong) == 2 or wrong[0] in ("fastcgi", "pipelined"):
            return b"200 OK" not in wrong[-1][-60:] if len(wrong) > 2 else True
        return wrong[3] in (502, 503)

    def client(self, number):
        rng, connection = random.Random(f"{self.seed} {number}"), None
        while not self.stop.is_set():
            if self.pause.is_set():
                if connection:
                    connection.close()
                connection = None
                time.sleep(0.05)
                continue
            with self.lock:
                self.working += 1
            began, wrong = time.monotonic(), None
            try:
                what = rng.random()
                if what < 0.08:
                    wrong = self.fastcgi(rng)
                elif what < 0.11:
                    wrong = self.pipelined(rng)
                elif what < 0.14:
                    self.breaks_off(rng)
                else:
                    if not connection:
                        connection = Unix(self.server.dir / "http.sock") if rng.random() < 0.3 else \
                            http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
                    wrong = self.one(rng, connection)
                    if rng.random() < 0.05:
                        connection.close()
            except (OSError, http.client.HTTPException) as e:
                wrong = (type(e).__name__, str(e))
                connection = None
            with self.lock:
                self.working -= 1
                if wrong and self.is_end(wrong) and any(began - GRACE <= at for at, _ in self.kills):
                    self.forgiven += 1
                elif wrong:
                    self.wrong.append((round(began, 3), round(time.monotonic() - began, 3), *wrong))

    # ---- trouble -----------------------------------------------------------------------------

    def kill(self, pid, what):
        if pid:
            with self.lock:
                self.kills.append((time.monotonic(), what))
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def zygotes(self):
        return [z for g in children_of(self.server.child("front") or 0) for z in children_of(g)]

    def trouble(self, rng, with_front):
        what = rng.choices(["reload", "tenant", "broker", "zygote", "front"], [5, 10, 2, 1, 2 if with_front else 0])[0]
        self.count(f"trouble: {what}")
        if what == "reload":
            name = rng.choice(list(self.apps))
            self.server.put_app(name, self.apps[name].replace("wall: 10s", f"wall: {rng.randrange(10, 60)}s"))
            self.server.signal(signal.SIGHUP)
        elif what == "tenant":
            tenants = [t for z in self.zygotes() for t in children_of(z)]
            self.kill(rng.choice(tenants) if tenants else None, what)
        elif what == "broker":
            self.kill(self.server.child("broker"), what)
        elif what == "zygote":
            self.kill(next(iter(self.zygotes()), None), what)
        else:
            front = self.server.child("front")
            self.kill(front, what)
            wait_for(lambda: self.server.child("front") not in (None, front) and self.ready(), 20)
            with self.lock:
                self.kills.append((time.monotonic(), "front is back"))

    def ready(self):
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.server.get("/readyz", port=self.server.admin)[0] == 200
        return False

    def run_for(self, seconds, rng, with_front=False):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(min(rng.random() * 0.6, max(0, end - time.monotonic())))
            self.trouble(rng, with_front)

    # ---- what is left ------------------------------------------------------------------------

    def quiet(self):
        """Nobody asks, nothing is under way: what the front holds then."""
        self.pause.set()
        wait_for(lambda: self.working == 0, 40)
        s = self.server
        wait_for(self.ready, 20)

        restless = None

        def settled():
            nonlocal restless
            with contextlib.suppress(OSError, http.client.HTTPException):
                connections = s.metric("hutch_connections")
                tenants = json.loads(s.get("/status", port=s.admin)[2])["tenant_list"]
                restless = connections, [t for t in tenants if t["state"] not in ("idle", "spare")]
                return restless == (0, []) and tenants
            return None

        tenants = wait_for(settled, 20)
        check(tenants, "everything comes to rest", restless, s.stderr()[-500:])
        front = s.child("front")
        place = pathlib.Path(f"/proc/{front}")
        status = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines())
        held = {"front": front, "tenants": len(tenants or []), "processes": len(descendants(s.process.pid)),
                "descriptors": len(os.listdir(place / "fd")), "rss_kib": int(status["VmRSS"].split()[0]),
                "zombies": sum(not alive(p) for p in descendants(s.process.pid))}
        self.pause.clear()
        print(f"at rest: {held}", flush=True)
        return held

    def run(self):
        s, rng = self.server, random.Random(self.seed)
        threads = [threading.Thread(target=self.client, args=(n,)) for n in range(CLIENTS)]
        for t in threads:
            t.start()
        # What a front takes once (buffers, apps, histograms) it has taken after a while.
        self.run_for(self.seconds * 0.25, rng)
        before = self.quiet()
        self.run_for(self.seconds * 0.5, rng)
        after = self.quiet()
        check(before["front"] == after["front"], "one and the same front")
        # three descriptors a tenant: its control socket, its process, its log
        rest = [h["descriptors"] - 3 * h["tenants"] for h in (before, after)]
        check(abs(rest[1] - rest[0]) <= 4, "no descriptor is left over in the front", before, after)
        check(after["rss_kib"] - before["rss_kib"] < 4096, "nor memory", before, after)
        check(after["zombies"] == 0, "nor dead processes", after)
        # supervisor's children, the guard and the zygote, and the tenants
        check(after["processes"] == after["tenants"] + 4, "nor living ones", after,
              [(p, comm(p)) for p in descendants(s.process.pid)])
        self.run_for(self.seconds * 0.25, rng, with_front=True)
        self.quiet()
        self.stop.set()
        for t in threads:
            t.join()
        answered = sum(n for what, n in self.counts.items() if not what.startswith("trouble"))
        print("asked: " + ", ".join(f"{n} {what}" for what, n in sorted(self.counts.items())), flush=True)
        check(not self.wrong, f"every answer of {answered} is right", self.wrong[:5])
        # A tenant has one request; with a zygote or a front goes what every client has under way.
        most = sum(1 if what == "tenant" else 0 if what == "broker" else 3 * CLIENTS for _, what in self.kills)
        print(f"lost with what was killed: {self.forgiven}", flush=True)
        check(self.forgiven <= most, "no more was lost than was killed", self.forgiven, most)
        for name in self.apps:
            path, wanted = ("/file.txt", 200) if name == "files" else ("/x", 200)
            check(s.get(path, headers={"Host": name})[0] == wanted, f"{name} is served at the end")
        pids = descendants(s.process.pid)
        check(s.stop(40) == 0, "SIGTERM: it ends with 0")
        check(wait_for(lambda: not any(alive(p) for p in pids)), "and leaves no process")
        ids = [r["request"] for r in s.records() if r["kind"] == 3]
        check(len(ids) == len(set(ids)), f"none of {len(ids)} records is there twice")
        check(not [x for x in s.lines("log") if "odd" in x.get("message", "")], "no tenant said something odd")
        s.__exit__()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120, help="of load (120)")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    if not 5 <= options.seconds <= 3600:
        parser.error("--seconds takes 5 to 3600")
    print(f"seed {options.seed}, {options.seconds:g} s", flush=True)
    Soak(options.seconds, options.seed).run()
    print(f"{servelib.passed} passed, {servelib.failed} failed")
    return 1 if servelib.failed else 0


if __name__ == "__main__":
    sys.exit(main())
