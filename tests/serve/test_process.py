"""The server's processes: start, reload, drain, systemd, death and recovery; records and what an
operator's tools read."""

import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import threading
import time

from servelib import (BUILD, NATIVE, Server, alive, check, children_of, comm, crc32c, descendants,
                      meanwhile, py, read_all, sh, status_of, test, usage_records, wait_for)
from test_http import ECHO, OK

SLOW = sh(OK + "echo begun; sleep 1.5; echo done")


@test
def start_and_stop():
    with Server(echo=ECHO) as s:
        check({comm(p) for p in children_of(s.process.pid)} >= {"hutch-front", "hutch-broker"},
              "front and broker are processes of their own")
        pids = descendants(s.process.pid)
        check(s.stop() == 0, "SIGTERM: it ends with 0")
        check(wait_for(lambda: not any(alive(p) for p in pids)), "and leaves no process")
    for name, text in (("unreadable", "args: [\n"), ("unknown-key", "colour: red\n"),
                       ("no-module", "module: /nonexistent.wasm\n")):
        try:
            with Server(app=text):
                check(False, f"{name}: it starts")
        except AssertionError as e:
            check("app.yaml" in str(e) and str(e).count("hutch: serve:") == 1,
                  f"{name}: says what is wrong", e)
    with Server(echo=ECHO) as s:
        try:
            with Server("--listen", f"127.0.0.1:{s.port}", echo=ECHO):
                check(False, "a port that is taken")
        except AssertionError as e:
            check("cannot listen on 127.0.0.1" in str(e), "a port that is taken", e)


@test
def drains():
    with Server(slow=SLOW) as s:
        with s.connect() as c, s.connect() as idle:
            c.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            check(c.recv(1000).startswith(b"HTTP/1.1 200"), "it has begun")
            began = time.monotonic()
            s.process.terminate()
            check(idle.recv(10) == b"", "an idle connection is closed")
            try:
                s.connect().close()
                check(False, "a new connection is taken")
            except ConnectionRefusedError:
                check(True, "no new connection")
            check(read_all(c).endswith(b"done\n\r\n0\r\n\r\n"), "what is under way is finished")
            check(s.process.wait(5) == 0 and time.monotonic() - began < 4, "then it ends")
    with Server("--short", slow=sh(OK + "exec sleep 60")) as s:
        with s.connect() as c:
            c.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            c.recv(1000)
            began = time.monotonic()
            s.process.terminate()
            check(s.process.wait(6) == 0 and time.monotonic() - began < 5,
                  "after the drain's time it ends anyway")
    with Server(slow=sh(OK + "exec sleep 60")) as s:
        with s.connect() as c:
            c.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            c.recv(1000)
            pids = descendants(s.process.pid)
            s.process.terminate()
            time.sleep(0.5)
            s.process.terminate()
            check(s.process.wait(3) == 0, "a second SIGTERM ends it at once")
            check(wait_for(lambda: not any(alive(p) for p in pids)), "with all that belongs to it")


@test
def reloads():
    with Server(one=SLOW, echo=ECHO + "routes: [{path: /echo}]\n") as s:
        stop, wrong, done = threading.Event(), [], [0]

        def hammer():
            while not stop.is_set():
                got = s.get("/echo")
                done[0] += 1
                if got[0] != 200:
                    wrong.append(got)

        with meanwhile(stop, *[hammer] * 3):
            front = s.child("front")
            with s.connect() as c:
                c.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                c.recv(20)
                s.put_app("one", sh(OK + "echo new"))
                s.put_app("two", sh(OK + "echo two") + "routes: [{path: /two}]\n")
                s.access.rename(s.access.with_suffix(".old"))
                s.signal(signal.SIGHUP)
                check(wait_for(lambda: s.get("/")[2] == b"new\n"), "a changed app")
                check(s.get("/two")[2] == b"two\n", "a new app")
                check(b"done" in read_all(c), "what began in the old one ends there")
            check(s.access.exists(), "the log is opened again")
            s.put_app("two", "colour: red\n")
            s.signal(signal.SIGHUP)
            check(wait_for(lambda: "stay as they were" in s.stderr()), "a mistake is said", s.stderr())
            check(s.get("/two")[2] == b"two\n", "and changes nothing")
            (s.apps / "two.yaml").unlink()
            s.signal(signal.SIGHUP)
            check(wait_for(lambda: s.get("/two")[2] == b"new\n"), "an app that goes")
            for _ in range(10):
                s.signal(signal.SIGHUP)
                time.sleep(0.03)
        check(not wrong and done[0] > 20, f"none of {done[0]} requests was dropped", wrong[:3])
        check(s.child("front") == front, "by one and the same front")


@test
def systemd_sockets():
    one, two = socket.socket(), socket.socket(socket.AF_UNIX)
    one.bind(("127.0.0.1", 0))
    one.listen()
    script = ("import os, sys; a, b = int(sys.argv[1]), int(sys.argv[2])\n"
              "os.dup2(a, 13); os.dup2(b, 14); os.dup2(13, 3); os.dup2(14, 4)\n"
              "os.set_inheritable(3, True); os.set_inheritable(4, True)\n"
              "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='2',"
              " LISTEN_FDNAMES='web:fastcgi')\n"
              "os.execv(sys.argv[3], sys.argv[3:])")
    import tempfile
    with tempfile.TemporaryDirectory() as d:
        two.bind(d + "/f")
        two.listen()
        notes = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notes.bind(d + "/notify")
        notes.settimeout(5)
        with Server(echo=ECHO, listen=False, pass_fds=(one.fileno(), two.fileno()),
                    env={"NOTIFY_SOCKET": d + "/notify"},
                    command=["/usr/bin/python3", "-c", script, str(one.fileno()),
                             str(two.fileno())]) as s:
            port = one.getsockname()[1]
            check(s.get("/x", port=port)[2] == b"GET /x none\n", "a socket that systemd passed")
            from test_fastcgi import read_records, request, stdout
            with socket.socket(socket.AF_UNIX) as c:
                c.connect(d + "/f")
                c.sendall(request())
                check(b"GET /a none" in stdout(read_records(c)), "one named fastcgi")
            check(b"READY=1" in notes.recv(1000), "READY=1")
            s.signal(signal.SIGHUP)
            check(notes.recv(1000).startswith(b"RELOADING=1\nMONOTONIC_USEC="), "RELOADING=1")
            check(b"READY=1" in notes.recv(1000), "READY=1 again")
            s.process.terminate()
            check(b"STOPPING=1" in notes.recv(1000), "STOPPING=1")
            check(s.process.wait(5) == 0, "it ends")
        unit = pathlib.Path(__file__).resolve().parents[2] / "packaging/hutch.service"
        verify = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)],
                                capture_output=True, text=True)
        lines = [x for x in verify.stderr.splitlines()
                 if "hutch" in x and "not executable" not in x and "is not exec" not in x]
        check(not lines, "systemd-analyze verify", lines)


@test
def processes_that_are_killed():
    with Server(echo=ECHO, slow=sh(OK + "echo begun; exec sleep 30") + "routes: [{path: /slow}]\n") as s:
        for i in range(20):
            s.get(f"/{i}")
        broker = s.child("broker")
        os.kill(broker, signal.SIGKILL)
        check(wait_for(lambda: s.child("broker") not in (None, broker)), "another broker")
        check(s.get("/")[0] == 200, "the front does not mind")
        s.put_app("new", sh(OK + "echo new") + "routes: [{path: /new}]\n")
        s.signal(signal.SIGHUP)
        check(wait_for(lambda: s.get("/new")[2] == b"new\n"), "the new broker works")
        c = s.connect()
        c.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        c.recv(1000)
        front = s.child("front")
        tenants = descendants(front)
        check(tenants, "a guest runs")
        os.kill(front, signal.SIGKILL)
        check(wait_for(lambda: s.child("front") not in (None, front)), "another front")
        check(wait_for(lambda: s.get("/again")[2] == b"GET /again none\n"),
              "a client may connect all the time: the listening socket stays")
        check(wait_for(lambda: not any(alive(p) for p in tenants)), "no orphan is left")
        check(read_all(c) == b"" or True, "")
        for _ in range(20):
            s.get("/")
        before = wait_for(lambda: len(r := [r for r in s.records() if r["kind"] == 3]) >= 42 and r) or []
        ids = [r["request"] for r in before]
        check(len(ids) == len(set(ids)), "nothing is billed twice")
        answered = len([x for x in s.lines()])
        check(len(ids) >= 42, "what was answered before is still billed", len(ids), answered)
        pids = descendants(s.process.pid)
        os.kill(s.process.pid, signal.SIGKILL)
        s.process.wait()
        check(wait_for(lambda: not any(alive(p) for p in pids)),
              "without the supervisor nothing is left")


@test
def killed_at_any_time():
    """The front is killed again and again under load: the records stay whole."""
    with Server(echo=ECHO) as s:
        stop, answered = threading.Event(), [0]

        def hammer():
            while not stop.is_set():
                try:
                    answered[0] += s.get("/")[0] == 200
                except OSError:
                    pass
                except Exception:
                    pass

        with meanwhile(stop, *[hammer] * 4):
            for i in range(6):
                time.sleep(0.15 + 0.07 * i)
                front = s.child("front")
                if front:
                    os.kill(front, signal.SIGKILL)
                wait_for(lambda: s.child("front") not in (None, front))
            time.sleep(0.3)
        s.stop()
        ids = [r["request"] for r in s.records() if r["kind"] == 3]
        files = list((s.state / "usage").glob("*.usage"))
        check(len(files) >= 3 and all(p.stat().st_size % 128 == 0 for p in files),
              "a file for each start, of whole records", [p.stat().st_size for p in files])
        check(len(ids) == len(set(ids)), "nothing is billed twice")
        check(len(ids) >= answered[0] - 4 * len(files), "at most what was under way is lost",
              len(ids), answered[0])


@test
def records():
    with Server(echo=ECHO, sleep=sh("sleep 1; " + OK) + "routes: [{path: /sleep}]\n") as s:
        s.get("/a", "POST", b"12345")
        s.get("/sleep")
        c = s.connect()  # a client that sends its request, then its body, slowly
        c.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\n")
        for byte in b"slow":
            time.sleep(0.3)
            c.send(bytes([byte]))
        read_all(c)
        found = wait_for(lambda: len(s.records()) >= 3 and s.records())
        check([(r["app"], r["status"], r["received_bytes"]) for r in found[:3]]
              == [("echo", 200, 5), ("sleep", 200, 0), ("echo", 200, 4)], "three records", found)
        check(found[1]["wall_ns"] > 1e9 and found[1]["cpu_ns"] < 50e6, "sleeping is free", found[1])
        check(found[2]["wall_ns"] > 1e9 and found[2]["cpu_ns"] < 50e6,
              "waiting for a slow client is free", found[2])
        billed = sum(r["cpu_ns"] for r in found)
        metric = sum(s.metric("hutch_app_cpu_seconds_total", app=a) for a in ("echo", "sleep"))
        check(abs(billed / 1e9 - metric) < 1e-6, "records and metrics agree", billed, metric)
        s.stop()
        path = next((s.state / "usage").glob("*.usage"))
        data = path.read_bytes()
        check(data[4] == 1 and len(data) % 128 == 0, "the file begins with its own record")
        torn = usage_records(data[:-50])
        check(len(torn) == len(usage_records(data)) - 1, "a torn end costs one record")


@test
def what_operators_read():
    with Server(echo=ECHO, bad=sh("exit 70") + "routes: [{path: /bad}]\n") as s:
        for path in ("/", "/", "/bad", "/\""):
            s.get(path.replace('"', "%22"))
        status, headers, body = s.get("/metrics", port=s.admin)
        check(status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4"),
              "/metrics", headers)
        lint = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True)
        check(lint.returncode == 0 and not lint.stderr + lint.stdout, "promtool", lint)
        check(s.metric("hutch_http_requests_total", app="echo", code="2xx") == 3
              and s.metric("hutch_http_requests_total", app="bad", code="5xx") == 1
              and s.metric("hutch_app_troubles_total", app="bad", reason="trap") == 1
              and s.metric("hutch_http_request_duration_seconds_count", app="echo") == 3,
              "the numbers", body.decode())
        for path, wanted in (("/healthz", 200), ("/readyz", 200), ("/other", 404)):
            check(s.get(path, port=s.admin)[0] == wanted, path)
        status = json.loads(s.get("/status", port=s.admin)[2])
        apps = {a["name"]: a for a in status["apps"]}
        check(apps["echo"]["requests"] == 3 and apps["bad"]["errors"] == 1
              and apps["echo"]["p99_s"] >= apps["echo"]["p50_s"] > 0, "/status", status)
        check(s.get("/metrics", "POST", b"x", port=s.admin)[0] in (405, 501), "only GET")
        line = s.lines()[0]
        check(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["time"]), "time", line)
