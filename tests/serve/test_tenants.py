"""The whole server: apps in WebAssembly in tenants of the real pool."""

import concurrent.futures
import contextlib
import functools
import http.client
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading
import time

from servelib import (HUTCH, ROOT, Server, alive, check, comm, descendants, meanwhile, read_all,
                      status_of, test, wait_for)

HERE = pathlib.Path(__file__).resolve().parent
WORK = pathlib.Path(tempfile.mkdtemp(prefix="hutch-serve-guests-"))
INTERFACES = ("cgi", "fastcgi", "http")


@functools.cache
def guest(name):
    out = WORK / f"{name}.wasm"
    subprocess.run(["clang-22", "--target=wasm32-wasi", "-Wno-deprecated", "-O1", "-o", out,
                    HERE / "guests" / f"{name}.c"], check=True)
    return out


def app(interface, reuse="keep", more="", limits="", routes=None):
    if interface == "cgi" and reuse == "keep":
        reuse = "fresh"  # a program that answers one request cannot be kept
    text = f"module: {guest(interface)}\ninterface: {interface}\nreuse: {reuse}\n"
    text += f"routes: [{{path: {routes or '/' + interface}}}]\n"
    text += f"limits: {{memory: 32M, cpu: 2s, wall: 10s, instances: 8{limits}}}\n"
    return text + more


def serve(*arguments, **apps):
    return Server("-O", "fast", *arguments, native=False,
                  env={"HUTCH_CACHE_DIR": str(WORK / "cache")}, seconds=120, **apps)


def ask(s, interface, path, **more):
    return s.get(path, headers={"Host": interface}, **more)


def answers(s, interface):
    """It is served. A request that meets a process just killed may be cut short."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        return ask(s, interface, "/x")[0] == 200
    return False


def hosted(interface, reuse="keep", more="", limits=""):
    text = app(interface, reuse, more, limits)
    return text.replace(f"routes: [{{path: /{interface}}}]",
                        f"routes: [{{host: {interface}, path: /}}]")


@test
def every_interface():
    with serve(**{i: hosted(i).replace("instances: 8", "instances: 1") for i in INTERFACES}) as s:
        for i in INTERFACES:
            got = ask(s, i, "/x")
            check((got[0], got[2]) == (200, b"hello /x\n"), f"{i}: a request", got)
            counts = [int(ask(s, i, "/count")[2]) for _ in range(4)]
            check(counts == ([1] * 4 if i == "cgi" else [2, 3, 4, 5]), f"{i}: keep", counts)
        body = os.urandom(1 << 20)
        check(ask(s, "cgi", "/echo", method="POST", body=body)[2] == body, "a MiB through CGI")
        lines = wait_for(lambda: len(s.lines()) >= 16 and s.lines())
        check(all(x["cpu_s"] > 0 and x["tenant"] for x in lines), "each is billed", lines[:3])
        warm = [x for x in lines if x["app"] == "http" and not x["cold"]]
        check(len(warm) == 4, "one tenant was started for five requests", warm)
    with serve(**{i: hosted(i, "fresh") for i in INTERFACES}) as s:
        for i in INTERFACES:
            counts = [int(ask(s, i, "/count")[2]) for _ in range(3)]
            check(counts == [1, 1, 1], f"{i}: fresh", counts)


@test
def snapshots():
    """Instances that start from a snapshot made when the app was deployed."""
    warm = "instaboot: {requests: [{path: /count}, {path: /count}]}\n"
    apps = {f"{i}-{reuse}": hosted(i, reuse, warm).replace(f"host: {i}", f"host: {i}-{reuse}")
            for i in ("fastcgi", "http") for reuse in ("fresh", "reset", "keep")}
    # A client may ask again before the instance has said that it is free: there is no other.
    apps = {name: text if "fresh" in name else text.replace("instances: 8", "instances: 1")
            for name, text in apps.items()}
    wanted = {"fresh": [3, 3, 3], "reset": [3, 3, 3], "keep": [3, 4, 5]}
    for again in ("made", "found in the store"):
        with serve(**apps) as s:
            for name in apps:
                reuse = name.split("-")[1]
                counts = [int(ask(s, name, "/count")[2]) for _ in range(3)]
                check(counts == wanted[reuse], f"{name}, {again}: two requests are in it", counts)
                lines = wait_for(lambda: len(of := [x for x in s.lines() if x["app"] == name]) == 3
                                 and of)
                check(lines and [x["cold"] for x in lines]
                      == ([True] * 3 if reuse == "fresh" else [True, False, False]),
                      f"{name}: its processes", lines)
            check("snapshot" not in s.stderr() and not any("snapshot" in x.get("message", "")
                  for x in s.lines("log")), "nothing to complain of", s.stderr())
            for name in apps:
                check(ask(s, name, "/trap")[0] == 502 and ask(s, name, "/x")[0] == 200,
                      f"{name}: a trap, and on")
    bad = hosted("http", "fresh", "instaboot: {requests: [{path: /trap}]}\n")
    with serve(http=bad) as s:
        check("no snapshot" in s.stderr() and ask(s, "http", "/x")[0] == 200,
              "an app that traps when warmed up is served all the same", s.stderr())


@test
def frozen_cgi():
    """A CGI program goes on from the end of its start-up; put back, in the same process."""
    warm = "instaboot: {requests: [{path: /x, headers: {X-Planted: of the warm-up}}]}\n"
    apps = {f"cgi-{reuse}": hosted("cgi", reuse, warm).replace("host: cgi", f"host: cgi-{reuse}")
            .replace("instances: 8", "instances: 1") for reuse in ("fresh", "reset")}
    for again in ("made", "found in the store"):
        with serve(**apps) as s:
            for name in apps:
                reset = name == "cgi-reset"
                got = [ask(s, name, "/count")[2] for _ in range(3)]
                check(got == [b"1\n"] * 3, f"{name}, {again}: the state of the snapshot", got)
                lines = wait_for(lambda: len(of := [x for x in s.lines() if x["app"] == name]) == 3
                                 and of)
                check(lines and [x["cold"] for x in lines] == [True, not reset, not reset],
                      f"{name}: its processes", lines)
                body = os.urandom(1 << 18)
                check(ask(s, name, "/echo", method="POST", body=body)[2] == body, f"{name}: a body")
                many = {f"X-Field-{i}": "v" * 50 for i in range(80)}
                first = s.get("/env", headers=dict(many, Host=name))[2].decode()
                second = ask(s, name, "/env")[2].decode()
                check(first.count("HTTP_X_FIELD_") == 80 and "FIELD" not in second and
                      "PLANTED" not in first + second and "PATH_INFO=/env" in second,
                      f"{name}: its own variables", first[-300:], second)
                check(ask(s, name, "/exit")[0] == 502 and ask(s, name, "/trap")[0] == 502 and
                      ask(s, name, "/x")[2] == b"hello /x\n", f"{name}: an end, a trap, and on")
            check("snapshot" not in s.stderr() and not any("snapshot" in x.get("message", "")
                  for x in s.lines("log")), "nothing to complain of", s.stderr())


@test
def guests_that_fail():
    with serve(**{i: hosted(i) for i in INTERFACES},
               neighbour=app("http", routes="/n").replace("path: /n", "host: neighbour, path: /")) as s:
        stop, slow = threading.Event(), []

        def neighbour():
            while not stop.is_set():
                began = time.monotonic()
                got = ask(s, "neighbour", "/x")
                if got[0] != 200 or time.monotonic() - began > 1:
                    slow.append((got, time.monotonic() - began))
                time.sleep(0.01)

        with meanwhile(stop, neighbour):
            for i in INTERFACES:
                got = ask(s, i, "/trap")
                check(got[0] == 502, f"{i}: a trap is 502", got)
                entry = wait_for(lambda: [x for x in s.lines("log")
                                          if x.get("app") == i and x.get("trouble") == "trap"])
                check(entry and "unreachable" in entry[0]["message"]
                      and "serve" in entry[0]["message"], f"{i}: the backtrace is in the log", entry)
                check(ask(s, i, "/exit")[0] == 502, f"{i}: an exit without an answer is 502")
                got = ask(s, i, "/recurse")
                check(got[0] == 502, f"{i}: endless recursion is 502", got)
                entry = wait_for(lambda: [x for x in s.lines("log") if x.get("app") == i
                                          and x.get("message", "").count("<deep>") > 10])
                check(entry, f"{i}: and is named")
                check(ask(s, i, "/x")[0] == 200, f"{i}: the app goes on")
        check(not slow, "no neighbour notices", slow[:3])


@test
def limits():
    with serve(cpu=hosted("http", limits="").replace("cpu: 2s", "cpu: 200ms")
               .replace("host: http", "host: cpu"),
               wall=hosted("http").replace("wall: 10s", "wall: 500ms")
               .replace("host: http", "host: wall"),
               memory=hosted("cgi").replace("memory: 32M", "memory: 4M")
               .replace("host: cgi", "host: memory"),
               big=hosted("cgi", limits=", response: 100K").replace("host: cgi", "host: big"),
               queue=hosted("http").replace("instances: 8", "instances: 1, queue: 2")
               .replace("host: http", "host: queue")) as s:
        began = time.monotonic()
        got = ask(s, "cpu", "/spin")
        took = time.monotonic() - began
        check(got[0] == 504 and took < 2, "CPU: 504", got, took)
        entry = wait_for(lambda: [x for x in s.lines("log") if x.get("limit") == "cpu"])
        check(entry and "spin" in entry[0]["message"] + entry[0]["target"], "in the log", entry)
        line = wait_for(lambda: [x for x in s.lines() if x.get("trouble") == "cpu-limit"])
        check(line and 0.2 <= line[0]["cpu_s"] < 0.35, "ended within 100 ms of the limit", line)
        began = time.monotonic()
        check(ask(s, "wall", "/long")[0] == 504, "wall-clock time: 504")
        check(0.5 <= time.monotonic() - began < 1.5, "in time", time.monotonic() - began)
        got = ask(s, "memory", "/grow")
        check(got[0] in (200, 502), "memory: growing fails, or the request", got)
        check(ask(s, "memory", "/x")[0] == 200, "and the app goes on")
        try:
            got = ask(s, "big", "/echo", method="POST", body=bytes(1 << 20))
            check(got[0] == 502, "an answer over the limit", got[0])
        except (http.client.IncompleteRead, ConnectionError):
            check(True, "an answer over the limit breaks off")
        entry = wait_for(lambda: [x for x in s.lines("log") if x.get("limit") == "output"])
        check(entry and entry[0]["app"] == "big" and "_start" in entry[0]["message"],
              "its backtrace is in the log", s.lines("log")[-2:])
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            got = list(pool.map(lambda _: ask(s, "queue", "/sleep"), range(6)))
        codes = sorted(g[0] for g in got)
        check(codes == [200, 200, 200, 503, 503, 503], "one at work, two wait, the rest: 503", codes)
        check(all(g[1].get("Retry-After") for g in got if g[0] == 503), "with Retry-After")


@test
def limits_in_time():
    """Each limit in turn, with a neighbour who is asked all the while. How much later than its limit
    a request has ended is the server's own figure, the least of four: others use this machine."""
    def one(name, interface="http", **changes):
        text = hosted(interface).replace(f"host: {interface}", f"host: {name}")
        for old, new in changes.items():
            text = text.replace({"cpu": "cpu: 2s", "wall": "wall: 10s", "memory": "memory: 32M",
                                 "instances": "instances: 8"}[old], new)
        return text

    cases = (  # app, path, status, trouble, limit in the log, a function of its backtrace
        ("cpu", "/spin", 504, "cpu-limit", "cpu", "serve"),
        ("wall", "/long", 504, "wall-limit", "wall", "nanosleep"),
        ("deep", "/recurse", 502, "trap", None, "deep"),
        ("trap", "/trap", 502, "trap", None, "serve"),
    )
    apps = {"cpu": one("cpu", cpu="cpu: 200ms"), "wall": one("wall", wall="wall: 300ms"),
            "deep": one("deep"), "trap": one("trap"), "loud": one("loud"), "calm": one("calm")}
    with serve(**apps) as s:
        stop, bad, asked = threading.Event(), [], []

        def calm():
            while not stop.is_set():
                began = time.monotonic()
                got = ask(s, "calm", "/x")[0]
                asked.append(time.monotonic() - began)
                if got != 200 or asked[-1] > 3:
                    bad.append((got, asked[-1]))
                time.sleep(0.01)

        with meanwhile(stop, calm):
            for name, path, status, trouble, limit, function in cases:
                for _ in range(4):
                    got = ask(s, name, path)
                    check(got[0] == status and path.encode() not in got[2] and function.encode() not in got[2],
                          f"{name}: {status}, and the client is told no more", got)
                lines = wait_for(lambda n=name: len(of := [x for x in s.lines() if x["app"] == n]) == 4 and of)
                check(lines and {x["trouble"] for x in lines} == {trouble}, f"{name}: {trouble}", lines)
                entries = [x for x in s.lines("log") if x.get("app") == name and x.get("trouble")]
                check(len(entries) == 4 and all(x.get("limit") == limit and function in x["message"]
                                                and x["request"] and x["target"] == path for x in entries),
                      f"{name}: the log has app, limit, request and backtrace", entries[:1],
                      s.lines("log")[-1:])
                if name in ("cpu", "wall"):
                    over = min(x["cpu_s"] - 0.2 if name == "cpu" else x["duration_s"] - x["queue_s"] - 0.3
                               for x in lines)
                    check(0 <= over < 0.1, f"{name}: ended within 100 ms of its limit", over)
            got = ask(s, "loud", "/logflood")
            said = sum(len(x["message"]) for x in s.lines("log") if x.get("app") == "loud")
            check(got[0] == 200 and said < 80 << 10, "output: cut off, and the request goes on", got, said)
        check(len(asked) > 20 and not bad, "the neighbour has noticed nothing", len(asked), bad[:3])


@test
def waiting_is_free():
    with serve(**{i: hosted(i) for i in INTERFACES}) as s:
        for i in INTERFACES:
            ask(s, i, "/x")
            ask(s, i, "/sleep")
            record = wait_for(lambda: [r for r in s.records() if r["app"] == i
                                       and r["kind"] == 3 and r["wall_ns"] > 9e8])
            # microseconds; a CGI program is started for it as well
            most = 2e6 if i == "cgi" else 1e6
            check(record and record[0]["cpu_ns"] < most, f"{i}: a second's sleep costs nothing",
                  record)
        with s.connect() as c:
            c.sendall(b"POST /echo HTTP/1.1\r\nHost: cgi\r\nContent-Length: 8\r\n"
                      b"Connection: close\r\n\r\n")
            for byte in b"slowness":
                time.sleep(0.25)
                c.send(bytes([byte]))
            check(read_all(c).endswith(b"slowness\r\n0\r\n\r\n"), "a slow client's body")
        record = wait_for(lambda: [r for r in s.records() if r["received_bytes"] == 8])
        check(record and record[0]["wall_ns"] > 1.9e9 and record[0]["cpu_ns"] < 2e6,
              "a slow client costs nothing", record)
        ask(s, "http", "/burn")
        record = wait_for(lambda: [r for r in s.records() if r["cpu_ns"] > 2e7])
        check(record, "work costs", s.records()[-3:])
        total = sum(r["cpu_ns"] for r in s.records() if r["kind"] == 3)
        metric = sum(s.metric("hutch_app_cpu_seconds_total", app=i) for i in INTERFACES)
        check(abs(total / 1e9 - metric) < 1e-6, "records and metrics agree", total, metric)


@test
def what_guests_write():
    with serve(**{i: hosted(i, limits=", output: 10K") for i in INTERFACES}) as s:
        for i in INTERFACES:
            ask(s, i, "/log")
            entry = wait_for(lambda: [x for x in s.lines("log") if x.get("app") == i
                                      and x.get("message") == "a line from the guest"])
            check(entry and entry[0]["level"] == "app" and entry[0].get("request"),
                  f"{i}: a line in the log, with its request", entry)
            check(entry and wait_for(lambda: entry[0]["request"] in [
                x["request"] for x in s.lines() if x["app"] == i]),
                f"{i}: the same as in the access log")
        got = ask(s, "http", "/logflood")
        check(got[0] == 200, "a flood does no harm", got)
        size = sum(len(x["message"]) for x in s.lines("log") if x.get("app") == "http")
        check(size < 40000, "and is cut off", size)


@test
def what_apps_bring():
    data = WORK / "data"
    data.mkdir(exist_ok=True)
    (data / "hello.txt").write_text("from an image\n")
    secret = WORK / "secret"
    secret.write_text("hidden\n")
    secret.chmod(0o600)
    more = f"mounts: [{{source: {data}, path: /data}}]\nsecrets: {{SECRET: {secret}}}\n"
    with serve(**{i: hosted(i, more=more) for i in INTERFACES}) as s:
        for i in INTERFACES:
            check(ask(s, i, "/file")[2] == b"from an image\n", f"{i}: a mount")
            check(ask(s, i, "/secret")[2] == b"hidden\n", f"{i}: a secret")
        text = s.access.read_text() + s.log.read_text() + s.stderr()
        check("hidden" not in text, "the secret is in no log")


@test
def private_volumes():
    more = "volumes: [{kind: private, path: /tmp, size: 1M}]\n"
    # one instance: another might answer while the first still says that it is done
    with serve(**{i: hosted(i, more=more).replace("instances: 8", "instances: 1")
                  for i in INTERFACES}) as s:
        for i in INTERFACES:
            sizes = [ask(s, i, "/write")[2] for _ in range(3)]
            check(sizes == ([b"1\n"] * 3 if i == "cgi" else [b"1\n", b"2\n", b"3\n"]),
                  f"{i}: a directory in memory", sizes, s.lines("log")[-1:])


def code_of(pid):
    """What a tenant's executable pages are mapped from: {inode}."""
    maps = pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {tuple(x.split()[3:5]) for x in maps
            if " r-xs " in x and x.startswith(("1000", "0100", "100"))}


@test
def sharing_of_code():
    private = hosted("http").replace("host: http", "host: private") + "share: none\n"
    with serve(one=hosted("http").replace("host: http", "host: one"),
               two=hosted("http").replace("host: http", "host: two"), private=private) as s:
        for name in ("one", "two", "private"):
            check(ask(s, name, "/x")[0] == 200, f"{name} answers")
        tenants = json.loads(s.get("/status", port=s.admin)[2])["tenant_list"]
        code = {t["app"]: code_of(t["pid"]) for t in tenants if t.get("app")}
        check(code["one"] and code["one"] == code["two"], "one copy for two apps", code)
        check(code["private"] and code["private"] != code["one"], "share: none has its own", code)


@test
def scripts_and_files():
    site = WORK / "site"
    (site / "sub").mkdir(parents=True, exist_ok=True)
    (site / "index.cgi").write_text("")
    (site / "style.css").write_text("body {}\n")
    (site / "big.bin").write_bytes(os.urandom(300001))
    (site / "sub" / "index.cgi").write_text("")
    text = (f"module: {guest('cgi')}\ninterface: cgi\nreuse: fresh\nroutes: [{{path: /s}}]\n"
            f"mounts: [{{source: {site}, path: /srv}}]\n"
            "site: {root: /srv, index: [index.cgi], scripts: [.cgi], fallback: /index.cgi}\n")
    with serve(site=text) as s:
        got = s.get("/s/style.css")
        check((got[0], got[2], got[1]["Content-Type"]) == (200, b"body {}\n",
              "text/css; charset=utf-8"), "a file", got)
        tag = got[1]["ETag"]
        got = s.get("/s/style.css", headers={"If-None-Match": tag})
        check((got[0], got[2]) == (304, b""), "304", got)
        check(s.get("/s/style.css", "HEAD")[1]["Content-Length"] == "8", "HEAD")
        check(s.get("/s/style.css", "POST", b"x")[0] == 405, "POST to a file")
        check(s.get("/s/big.bin")[2] == (site / "big.bin").read_bytes(), "a larger file")
        check(s.get("/s/index.cgi/count")[2] == b"1\n", "a script with PATH_INFO")
        got = s.get("/s/sub?x")
        check((got[0], got[1].get("Location")) == (301, "/s/sub/?x"), "a directory", got)
        check(s.get("/s")[1].get("Location") == "/s/", "the route itself")
        check(s.get("/s/../../etc/passwd")[0] in (400, 404), "nothing above")
        check(s.get("/s/.hidden")[0] in (404, 200), "hidden files")


@test
def many_at_once():
    with serve(**{i: hosted(i, limits=", queue: 200") for i in INTERFACES}) as s:
        def client(n):
            i = INTERFACES[n % 3]
            c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=30)
            good = 0
            for j in range(10):
                c.request("GET", f"/{n}/{j}", headers={"Host": i})
                good += c.getresponse().read() == f"hello /{n}/{j}\n".encode()
            c.close()
            return good
        with concurrent.futures.ThreadPoolExecutor(50) as pool:
            good = sum(pool.map(client, range(50)))
        check(good == 500, "50 connections, 10 requests each", good)
        ids = [r["request"] for r in wait_for(lambda: len(s.records()) >= 500 and s.records()) or []
               if r["kind"] == 3]
        check(len(ids) == 500 == len(set(ids)), "each is billed once", len(ids))


@test
def one_after_the_other():
    """Who asks again as soon as he has the answer needs one instance, not two."""
    def instances(s, pause, times):
        connection = http.client.HTTPConnection("127.0.0.1", s.port, timeout=30)
        for _ in range(times):
            connection.request("GET", f"/linger/{pause}", headers={"Host": "http"})
            connection.getresponse().read()
        connection.close()
        return len([t for t in json.loads(s.get("/status", port=s.admin)[2])["tenant_list"] if t.get("app") == "http"])

    def one_is_enough(pause, times):
        # Where the machine has other things to do, an instance may get no processor for too long; a
        # server that does not wait for it would start another each time.
        for _ in range(10):
            with serve(http=hosted("http")) as s:
                if instances(s, pause, times) == 1:
                    return True
        return False

    check(one_is_enough(0, 300), "300 in a row go to one instance")
    check(one_is_enough(700, 50), "though it has something to do after each")
    with serve(http=hosted("http")) as s:
        check(instances(s, 200_000, 4) > 1, "where that takes long, to another")
        with s.connect() as raw:
            get = "GET /linger/700 HTTP/1.1\r\nHost: http\r\n"
            raw.sendall(f"{get}\r\n".encode() * 40 + f"{get}Connection: close\r\n\r\n".encode())
            check(read_all(raw).count(b"hello /linger/700") == 41, "pipelined ones are answered")


@test
def reloads_under_load():
    with serve(http=hosted("http"), other=hosted("fastcgi").replace("host: fastcgi", "host: other")) as s:
        stop, wrong, done = threading.Event(), [], [0]

        def hammer(host):
            while not stop.is_set():
                got = ask(s, host, "/x")
                done[0] += 1
                if got[0] != 200:
                    wrong.append(got)

        with meanwhile(stop, *[functools.partial(hammer, h) for h in ("http", "http", "other")]):
            front = s.child("front")
            for i in range(4):
                s.put_app("http", hosted("http").replace("wall: 10s", f"wall: {11 + i}s"))
                before = s.stderr().count("were read again")
                s.signal(signal.SIGHUP)
                check(wait_for(lambda: s.stderr().count("were read again") > before), f"reload {i}")
        check(not wrong and done[0] > 20, f"none of {done[0]} requests was dropped", wrong[:3])
        check(s.child("front") == front, "by one and the same front")
        tenants = wait_for(lambda: len([t for t in json.loads(s.get("/status", port=s.admin)[2])
                                        ["tenant_list"] if t.get("app") == "http"]) <= 8)
        check(tenants, "old instances have gone")


@test
def tenants_that_are_killed():
    with serve(http=hosted("http"), cgi=hosted("cgi")) as s:
        front = s.child("front")
        ask(s, "http", "/x")
        tenants = json.loads(s.get("/status", port=s.admin)[2])["tenant_list"]
        idle = [t for t in tenants if t["state"] == "idle"]
        check(idle, "a tenant is idle", tenants)
        check(all(t["pid"] is None or t["pid"] > 1 for t in tenants), "each has a process, or null", tenants)
        for t in tenants:
            if t["pid"] is not None:  # one that is being started has none yet
                os.kill(t["pid"], signal.SIGKILL)
        check(wait_for(lambda: answers(s, "http")), "tenants killed while they wait")
        with s.connect() as c:
            c.sendall(b"GET /long HTTP/1.1\r\nHost: http\r\nConnection: close\r\n\r\n")
            busy = wait_for(lambda: [t for t in json.loads(
                s.get("/status", port=s.admin)[2])["tenant_list"] if t["state"] == "busy"])
            os.kill(busy[0]["pid"], signal.SIGKILL)
            answer = read_all(c)
            check(status_of(answer) == 502, "one killed at work: 502", answer)
        line = wait_for(lambda: [x for x in s.lines() if x.get("trouble") == "died"])
        check(line, "the log says so", s.lines()[-2:])
        check(ask(s, "http", "/x")[0] == 200 and ask(s, "cgi", "/x")[0] == 200, "the apps go on")
        check(s.child("front") == front, "the front has not noticed")

        pids = descendants(front)
        os.kill(front, signal.SIGKILL)
        check(wait_for(lambda: s.child("front") not in (None, front)), "another front")
        check(wait_for(lambda: answers(s, "http"), 10), "serves again")
        check(wait_for(lambda: not any(alive(p) for p in pids)), "no orphan is left",
              [(p, comm(p)) for p in pids if alive(p)])
        zygote = [p for p in descendants(s.child("front")) if len(descendants(p)) > 0]
        check(zygote, "there is a zygote")
        if zygote:
            os.kill(zygote[0], signal.SIGKILL)
        check(wait_for(lambda: answers(s, "http"), 10), "another zygote")
        ids = [r["request"] for r in s.records() if r["kind"] == 3]
        check(len(ids) == len(set(ids)), "nothing is billed twice")
        pids = descendants(s.process.pid)
        check(s.stop() == 0 and wait_for(lambda: not any(alive(p) for p in pids)),
              "at the end nothing is left", [(p, comm(p)) for p in pids if alive(p)])


@test
def control_groups():
    """With a real group of the kernel's, where this user may make one."""
    mounts = [line.split() for line in open("/proc/self/mountinfo")]
    tops = [m[4] for m in mounts if m[m.index("-") + 1] == "cgroup2" and m[3] == "/"]
    place = pathlib.Path(tops[0], f"hutch-test-{os.getpid()}") if tops else None
    try:
        if place:
            place.mkdir()
    except OSError:
        place = None
    if place is None:
        print("     (no control group can be made here; test_cgroup has the rest)")
    else:
        try:
            with serve("--cgroup", place, http=hosted("http")) as s:
                check(f"tenants are in the control group {place}/tenants" in s.stderr(),
                      "it says so", s.stderr())
                check(ask(s, "http", "/x")[0] == 200, "it serves")
                # as this process sees them; tenants have a pid namespace, not a group of another
                others = descendants(s.process.pid)  # first: a spare may be started meanwhile
                inside = {g: [int(p) for p in (place / g / "cgroup.procs").read_text().split()]
                          for g in ("server", "tenants")}
                check(s.process.pid in inside["server"] and s.child("front") in inside["server"],
                      "the server is in its group", inside)
                tenants = [p for p in others if p not in inside["server"] and alive(p)]
                check(tenants and set(tenants) <= set(inside["tenants"]),
                      "all others are in the tenants' group", tenants, inside)
                front = s.child("front")
                os.kill(front, signal.SIGKILL)
                wait_for(lambda: s.child("front") not in (None, front))
                check(wait_for(lambda: ask(s, "http", "/x")[0] == 200), "a new front")
                now = [int(p) for p in (place / "tenants" / "cgroup.procs").read_text().split()]
                check(len(now) > 1 and not set(now) & set(tenants), "its tenants are there, too")
            check(wait_for(lambda: not (place / "tenants" / "cgroup.procs").read_text()),
                  "nobody is left")
        finally:
            for name in ("server", "tenants", ""):
                with contextlib.suppress(OSError):
                    (place / name).rmdir()
    wrong = subprocess.run([HUTCH, "serve", "--cgroup", "/tmp", "/nowhere"],
                           capture_output=True, text=True, check=False)
    check("/tmp is no control group" in wrong.stderr and wrong.returncode == 1, "what is none",
          wrong)


def bytes_read(pid):
    """By read(2) and its like, whether or not a disk was asked."""
    rows = pathlib.Path(f"/proc/{pid}/io").read_text().splitlines()
    return {k: int(v) for k, v in (row.split(":") for row in rows)}["rchar"]


@test
def what_apps_share_is_read_once():
    """Thirty apps on one module and one directory: both are read for the first of them."""
    size, count = 3 << 20, 30
    module, tree = WORK / "large.wasm", WORK / "shared-tree"
    section = b"\5large" + bytes(size)  # a custom section
    length = len(section)
    leb = bytes([length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14 & 0x7F | 0x80,
                 length >> 21])
    module.write_bytes(guest("http").read_bytes() + b"\0" + leb + section)
    tree.mkdir(exist_ok=True)
    (tree / "file").write_bytes(os.urandom(size))
    text = app("http", more=f"mounts: [{{source: {tree}, path: /tree}}]\n").replace(
        str(guest("http")), str(module))
    apps = {f"app{i}": text.replace("{path: /http}", f"{{host: app{i}, path: /}}")
            for i in range(count)}
    with serve(**apps) as s:
        check(all(s.get("/x", headers={"Host": name})[0] == 200 for name in ("app0", "app29")),
              "the first and the last are served")
        try:
            read = bytes_read(s.child("broker"))
        except PermissionError:
            return
        check(read < 6 * size, "the module and the directory are read once", read, size)
        # a reload looks again
        (tree / "file").write_bytes(os.urandom(size))
        s.signal(signal.SIGHUP)
        check(wait_for(lambda: bytes_read(s.child("broker")) >= read + size, 20),
              "and again after SIGHUP")
        time.sleep(0.5)
        again = bytes_read(s.child("broker")) - read
        check(again < 6 * size, "and again once", again, size)
