#!/usr/bin/python3
"""Ordinary applications under `hutch serve`, unchanged: Flask, Django, WSGI, ASGI, PHP, Rack, CGI,
and HTTP servers in C and Go. Adapters alone, too: by the interpreter of this machine.

    tests/integration/test_apps.py [WORD...]     only tests whose name holds a WORD

Guests come from `tools/dev guests`, which builds what is not there yet (minutes, once for a machine);
what cannot be had is a failure that says why.
"""

import concurrent.futures
import contextlib
import http.client
import http.cookiejar
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import fastcgi_client  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("HUTCH_BUILD_DIR", ROOT / "build")).resolve()
HUTCH = pathlib.Path(os.environ.get("HUTCH", BUILD / "tools/hutch")).resolve()
APPS = ROOT / "tests/integration/apps"
EXAMPLES = ROOT / "docs/examples"
TESTS = []
passed = failed = 0
WORK = None
GUESTS = {}
BUILT = {"cpython": "python", "flask": "flask", "django": "django", "go": "go", "php-cgi": "php", "dokuwiki": "dokuwiki", "sinatra": "sinatra"}  # by tools/dev guests build


def test(function):
    TESTS.append(function)
    return function


def check(condition, what, detail=""):
    global passed, failed
    if condition:
        passed += 1
    else:
        failed += 1
        print(f"FAILED {what}\n    {str(detail)[:2500]}", flush=True)


def guest(name):
    """Its module, or directory, and its images; built now, where it is not there yet."""
    why = ""
    if name not in GUESTS and name in BUILT:
        built = subprocess.run([ROOT / "tools/dev", "guests", "build", BUILT[name]], stderr=subprocess.PIPE, text=True)
        why = built.stderr
        find_guests()
    if name not in GUESTS:
        raise RuntimeError(f"there is no guest {name}: {why[-500:]}")
    return GUESTS[name]


def find_guests():
    listed = subprocess.run([ROOT / "tools/dev", "guests"], capture_output=True, text=True)
    for line in listed.stdout.splitlines():
        name, path, *flags = line.split()
        GUESTS[name] = (path, dict(flag.split("::")[::-1] for flag in flags if "::" in flag))


# ---- a server ----

class Server:
    """hutch serve with apps: a dictionary of app.yaml by name. Paths in them are absolute."""

    def __init__(self, apps, wait=420):
        self.place = pathlib.Path(tempfile.mkdtemp(dir=WORK))
        (self.place / "apps").mkdir()
        for name, app in apps.items():
            app = {"name": name, "routes": [f"/{name}"], **app}
            (self.place / "apps" / f"{name}.yaml").write_text(json.dumps(app))
        self.admin = self.place / "admin.sock"
        self.log = open(self.place / "log", "wb")
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.process = subprocess.Popen(
            [HUTCH, "serve", "-O", "fast", "--listen", f"127.0.0.1:{self.port}", "--admin", f"unix:{self.admin}",
             "--state-dir", self.place / "state", "--access-log", self.place / "access", self.place / "apps"],
            stdout=self.log, stderr=subprocess.STDOUT, env={**os.environ, "HUTCH_CACHE_DIR": str(CACHE)})
        end = time.monotonic() + wait
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if fastcgi_client.http(self.admin, "GET", "/readyz", {"Connection": "close"}).status == 200:
                    return
            time.sleep(0.1)
        text = self.text()
        self.stop()
        raise RuntimeError(f"the server does not come up:\n{text}")

    def text(self):
        return (self.place / "log").read_text(errors="replace")

    def request(self, method, path, body=None, headers=None, timeout=60):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            response.body = response.read()
            response.text = response.body.decode("utf-8", "replace")
            return response
        finally:
            connection.close()

    def get(self, path, **more):
        return self.request("GET", path, **more)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()
        return self.process.returncode

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def python_app(args, mounts, **more):
    path, images = guest("cpython")
    env = {"PYTHONPATH": ":".join(["/hutch", *mounts]), "PYTHONDONTWRITEBYTECODE": "1", **more.pop("env", {})}
    all_mounts = {**images, "/hutch": str(ROOT / "adapters/python"), **{k: str(v) for k, v in mounts.items()}}
    return {"module": path, "interface": "fastcgi", "args": args, "env": env, "mounts": all_mounts,
            "limits": {"memory": "256M", "start": "120s"}, **more}


# ---- the adapters by this machine's interpreter ----

@contextlib.contextmanager
def native(module, application, protocol):
    """The adapter under the native Python, behind a socket: the calls it makes are the same."""
    place = pathlib.Path(tempfile.mkdtemp(dir=WORK)) / "socket"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(place))
    listener.listen()
    env = {**os.environ, "PYTHONPATH": f"{ROOT / 'adapters/python'}:{APPS}", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", module, application]
    log = open(place.with_name("log"), "wb")
    if protocol == "http":
        env["LISTEN_FDS"] = "1"
        command = ["sh", "-c", 'exec "$@" 3<&0 0</dev/null', "sh", *command]
    process = subprocess.Popen(command, stdin=listener, stdout=log, stderr=log, env=env)
    request = getattr(fastcgi_client, protocol)
    try:
        def call(method, target, **more):
            return request(place, method, target, **more)
        call.place = place
        yield call
    finally:
        process.kill()
        process.wait()
        listener.close()
        log.close()


def wsgi_checks(request, protocol, log=None):
    a = request("GET", "/environ?a=b%20c")
    check(a.status == 200 and "QUERY_STRING=a=b%20c\n" in a.text and "REQUEST_METHOD=GET\n" in a.text
          and "PATH_INFO=/environ\n" in a.text and "HTTP_HOST=" in a.text, f"{protocol}: environ", a.text)
    body = bytes(range(256)) * 1500
    a = request("POST", "/echo", body=body)
    check(a.body == body and a.headers["x-method"] == "POST" and a.headers["content-length"] == str(len(body)),
          f"{protocol}: echo", (a.status, a.headers, len(a.body)))
    check(request("POST", "/echo", body=b"").body == b"", f"{protocol}: an empty body")
    check(request("POST", "/lines", body=b"a\nbb\r\nccc").text == "2\n4\n3\n", f"{protocol}: lines")
    a = request("GET", "/stream?4")
    check(a.body == b"".join(b"data: %d\n\n" % i for i in range(4)), f"{protocol}: a stream", a.body)
    if hasattr(a, "pieces"):
        took = a.pieces[-1][0] - a.pieces[0][0]
        check(took > 0.1, f"{protocol}: the stream comes in pieces", took)
    check(len(request("GET", "/large?3000000").body) == 3_000_000, f"{protocol}: a large answer")
    check(request("GET", "/write").body == b"first second", f"{protocol}: write()")
    for path in ("/raise", "/split", "/nothing"):
        a = request("GET", path)
        check(a.status == 500 and b"asked to" not in a.body, f"{protocol}: {path}", (a.status, a.body))
    numbers = [request("GET", "/random").text.split() for _ in range(3)]
    check(all(len(set(column)) == 3 for column in zip(*numbers)), f"{protocol}: random", numbers)
    a = request("HEAD", "/large?10")
    check(a.status == 200 and a.headers["content-length"] == "10", f"{protocol}: HEAD", a.headers)
    check(request("GET", "/log").status == 204, f"{protocol}: 204")
    check(request("GET", "/none").status == 404, f"{protocol}: 404")
    counts = [int(request("GET", "/count").text) for _ in range(2)]
    check(counts[1] == counts[0] + 1, f"{protocol}: one process answers", counts)


@test
def adapter_wsgi():
    for protocol in ("fastcgi", "http"):
        with native("hutch_wsgi", "wsgi_all", protocol) as request:
            wsgi_checks(request, f"native {protocol}")
            a = request("GET", "/raise-late")
            check(a.body == b"begun\n" and not a.ended, f"native {protocol}: an answer that breaks off", a.__dict__)


def asgi_checks(request, protocol):
    a = request("GET", "/environ?a=b%20c")
    check(a.status == 200 and a.text.startswith("True GET ") and "b'a=b%20c'" in a.text, f"{protocol}: scope", a.text)
    body = bytes(range(256)) * 1500
    check(request("POST", "/echo", body=body).body == body, f"{protocol}: echo")
    check(request("GET", "/gather").text == "45 True\n", f"{protocol}: tasks and to_thread")
    a = request("GET", "/stream?4")
    check(a.body == b"".join(b"data: %d\n\n" % i for i in range(4)), f"{protocol}: a stream", a.body)
    for path in ("/raise", "/nothing"):
        check(request("GET", path).status == 500, f"{protocol}: {path}")
    check(request("GET", "/none").status == 404, f"{protocol}: 404")


@test
def adapter_asgi():
    for protocol in ("fastcgi", "http"):
        with native("hutch_asgi", "asgi_all", protocol) as request:
            asgi_checks(request, f"native {protocol}")


@test
def adapter_fastcgi_hostile():
    """What is no FastCGI ends that connection and nothing else."""
    import struct
    begin = struct.pack("!HB5x", 1, 0)
    record, pairs = fastcgi_client.record, fastcgi_client.pairs
    cases = {
        "noise": os.urandom(400), "version": b"\2" + record(1, begin)[1:], "cut": record(1, begin)[:10],
        "role": record(1, struct.pack("!HB5x", 2, 0)), "params cut": record(1, begin) + record(4, b"\x05\x05ab") + record(4),
        "length": record(1, begin) + record(4, b"\xff\xff\xff\xff\x7f") + record(4),
        "begin cut": record(1, b"\0"), "abort": record(1, begin) + record(2),
        "unknown type": record(77, b"x", 0), "nothing": b"",
        "body cut": record(1, begin) + record(4, pairs({"PATH_INFO": "/echo", "REQUEST_METHOD": "POST"})) + record(4)
        + record(5, b"abc"),
    }
    with native("hutch_wsgi", "wsgi_all", "fastcgi") as request:
        check(int(request("GET", "/count").text) == 1, "the first")
        for name, data in cases.items():
            with contextlib.closing(fastcgi_client.connect(request.place, 5)) as s:
                fastcgi_client.send(s, data)
                s.shutdown(socket.SHUT_WR)
                while fastcgi_client.receive(s):
                    pass
            check(request("GET", "/count").status == 200, f"goes on after: {name}")
        count = int(request("GET", "/count").text)
        # The one whose body is cut off has reached the application.
        check(count == len(cases) + 3, "none of the others was a request", count)


# ---- under hutch serve ----

@test
def python_wsgi():
    app = python_app(["-m", "hutch_wsgi", "wsgi_all"], {"/app": APPS})
    plain = {**app, "interface": "http"}
    cgi = {**app, "interface": "cgi", "limits": {"memory": "256M", "wall": "60s"}}
    # one instance: the next request may come before the one that answered is idle again
    alone = {**app, "limits": {**app["limits"], "instances": 1}}
    with Server({"w": alone, "h": plain, "g": cgi}) as server:
        for name in ("w", "h"):
            def request(method, target, body=None):
                r = server.request(method, f"/{name}{target}", body)
                r.headers = {k.lower(): v for k, v in r.getheaders()}
                if name == "h":
                    pass
                return r
            if name == "w":
                wsgi_checks(request, "serve fastcgi")
                a = request("GET", "/environ")
                check("SCRIPT_NAME=/w\n" in a.text and "PATH_INFO=/environ\n" in a.text, "the route is SCRIPT_NAME", a.text)
            else:
                a = request("GET", "/environ")
                check(a.status == 404, "http: the target is passed on as it came", a.text)
        check("RuntimeError: asked to" in server.text() or "RuntimeError: asked to" in access(server),
              "the traceback reaches the operator", server.text()[-800:])
        a = server.request("POST", "/g/echo", b"to cgi")
        check(a.status == 200 and a.body == b"to cgi", "cgi", (a.status, a.body, server.text()[-800:]))
        with contextlib.suppress(http.client.HTTPException, OSError):
            r = server.get("/w/raise-late")
            check(False, "an answer that breaks off is not taken for whole", r.body)


def access(server):
    path = server.place / "access"
    return path.read_text(errors="replace") if path.exists() else ""


@test
def python_asgi():
    app = python_app(["-m", "hutch_asgi", "asgi_all"], {"/app": APPS})
    with Server({"a": app}) as server:
        def request(method, target, body=None):
            return server.request(method, "/a" + target, body)
        request_environ = request("GET", "/environ?a=b%20c")
        check(request_environ.status == 200 and request_environ.text.startswith("True GET "), "serve: scope",
              request_environ.text)
        body = os.urandom(300_000)
        check(request("POST", "/echo", body=body).body == body, "serve: echo")
        # A client that goes ends its request: the application is told, or its instance ended.
        with contextlib.closing(socket.create_connection(("127.0.0.1", server.port))) as s:
            s.sendall(b"GET /a/disconnect HTTP/1.1\r\nHost: x\r\n\r\n")
            s.settimeout(20)
            s.recv(1000)
        end = time.monotonic() + 15
        def seen():
            return re.search("disconnected after|client-gone", server.text() + access(server))
        while not seen() and time.monotonic() < end:
            time.sleep(0.1)
        check(seen(), "the end of a client is seen", access(server)[-600:])
        check(request("GET", "/none").status == 404, "serve: goes on after a client went", server.text()[-600:])


@test
def python_snapshots():
    """Instances that start from one snapshot: the state is the same, random numbers never are."""
    warm = {"requests": [{"path": "/count"}, {"path": "/random", "headers": {"Host": "shop.example:8080"}}]}
    wsgi = python_app(["-m", "hutch_wsgi", "wsgi_all"], {"/app": APPS}, instaboot=warm)
    asgi = python_app(["-m", "hutch_asgi", "asgi_all"], {"/app": APPS}, instaboot={"requests": [{"path": "/count"}]})
    apps = {"fresh": {**wsgi, "reuse": "fresh"}, "reset": {**wsgi, "reuse": "reset"}, "keep": {**wsgi, "reuse": "keep", "limits": {**wsgi["limits"], "instances": 1}},
            "loop": {**asgi, "reuse": "reset"}}
    with Server(apps) as server:
        for name in ("fresh", "reset"):
            counts = {server.get(f"/{name}/count").text for _ in range(4)}
            check(len(counts) == 1 and int(next(iter(counts), "0")) >= 2, f"{name}: the snapshot's state each time",
                  (counts, server.text()[-1500:]))
            numbers = [server.get(f"/{name}/random").text.split() for _ in range(8)]
            check(all(len(set(column)) == 8 for column in zip(*numbers)), f"{name}: no number twice", numbers)
        counts = [int(server.get("/keep/count").text) for _ in range(3)]
        check(counts == [counts[0] + i for i in range(3)] and counts[0] >= 2, "keep goes on from the snapshot", counts)
        both = {server.get("/keep/random").text for _ in range(3)} | {server.get("/fresh/random").text for _ in range(3)}
        check(len(both) == 6, "keep and fresh", both)
        check(server.get("/fresh/warmed").text == "localhost localhost 80\nshop.example:8080 shop.example 8080\n",
              "a warm-up request comes to the port that its Host field names", server.get("/fresh/warmed").text)
        frozen = [int(server.get("/keep/frozen", headers={"X-Edge-Instaboot": "1"}).text) for _ in range(2)]
        check(frozen[0] > 1000 and frozen[0] == frozen[1],
              "what a snapshot holds is not the collector's; a client's request is no warm-up", frozen)
        check("INSTABOOT" not in server.get("/keep/environ", headers={"X-Edge-Instaboot": "1"}).text
              and server.get("/keep/warmed").text.count("\n") == 2, "nor does it look like one")
        counts = {server.get("/loop/count").text for _ in range(4)}
        check(counts == {"2\n"}, "asgi: the snapshot's state each time", (counts, server.text()[-1500:]))
        check(server.get("/loop/gather").text == "45 True\n", "asgi: timers after a resume")
        check(server.get("/loop/environ").text.startswith("True GET "), "asgi: the lifespan's startup is in it")


@test
def python_keeps():
    """Files and SQLite on a persistent volume, for all instances; a secret that comes at resume."""
    token = WORK / "token"
    token.write_text("first")
    token.chmod(0o600)
    app = python_app(["-m", "hutch_wsgi", "keeps"], {"/app": APPS}, env={"PLAIN": "one"}, reuse="reset",
                     secrets={"TOKEN": str(token)}, volumes=[{"path": "/data", "size": "1M"}],
                     instaboot={"secrets_at_resume": True, "requests": [{"path": "/"}]})
    with Server({"kept": app, "fresh": {**app, "reuse": "fresh"}}) as server:
        for name in ("kept", "fresh"):
            for i in range(3):
                server.get(f"/{name}/rows?r{i}")
                server.get(f"/{name}/lines?l{i}")
            check(server.get(f"/{name}/rows").text == "r0 r1 r2", f"{name}: rows", server.text()[-1500:])
            check(server.get(f"/{name}/lines").text == "l0 l1 l2", f"{name}: lines")
            got = server.get(f"/{name}/").text
            check(got == "empty first one", f"{name}: its secret is of now, and none of the start", got)
        token.write_text("second")
        server.process.send_signal(signal.SIGHUP)
        end = time.monotonic() + 30
        while server.get("/kept/").text != "empty second one" and time.monotonic() < end:
            time.sleep(0.1)
        got = server.get("/kept/").text
        check(got == "empty second one", "another secret", got)
        check(server.get("/kept/rows").text == "r0 r1 r2", "and the same rows")


def different(rows, count, what, *details):
    """Tokens, a column each: none of a column came twice."""
    columns = list(zip(*(row.split() for row in rows)))
    same = [column for column in columns if len(set(column)) != len(rows)]
    check(len(columns) >= count and not same, what, (same or columns, *details))


@test
def python_tokens():
    """No token twice: in instances of one snapshot, before and after hibernation, in one of its twins."""
    warm = {"requests": [{"path": "/tokens"}]}
    wsgi = python_app(["-m", "hutch_wsgi", "wsgi_all"], {"/app": APPS}, instaboot=warm)
    keep = {**wsgi, "reuse": "keep", "hibernate": {"idle": "300ms"}, "limits": {**wsgi["limits"], "instances": 1}}
    apps = {"fresh": {**wsgi, "reuse": "fresh"}, "reset": {**wsgi, "reuse": "reset"}, "keep": keep,
            "twin": {**keep, "hibernate": {"idle": "300ms", "survives": "reboot"}},
            "cold": {**keep, "instaboot": False}}
    with Server(apps) as server:
        rows, counts = [], {name: [] for name in ("keep", "twin", "cold")}
        for name in ("fresh", "reset"):
            rows += [server.get(f"/{name}/tokens").text for _ in range(6)]
        for _ in range(3):
            for name, seen in counts.items():
                rows += [server.get(f"/{name}/tokens").text for _ in range(2)]
                seen.append(int(server.get(f"/{name}/count").text))
            check(asleep(server, counts), "they are hibernated", server.text()[-1500:])
        different(rows, 9, "python: no token twice", server.text()[-1500:])
        check(all(b - a == 3 for seen in counts.values() for a, b in zip(seen, seen[1:])), "and the state goes on", counts)


def asleep(server, names):
    end = time.monotonic() + 20
    while time.monotonic() < end:
        apps = json.loads(fastcgi_client.http(server.admin, "GET", "/status", {"Connection": "close"}).body)["apps"]
        if all(a["hibernated"] == 1 and not a["tenants_idle"] for a in apps if a["name"] in names):
            return True
        time.sleep(0.1)
    return False


@test
def php_tokens():
    """A process for each request, from one snapshot: no token twice."""
    scripts = WORK / "php-tokens"
    scripts.mkdir()
    (scripts / "index.php").write_text(
        "<?php $t = [mt_rand(), rand(), random_int(0, PHP_INT_MAX), bin2hex(random_bytes(8)), uniqid('', true),"
        " session_create_id(), lcg_value(), implode('-', array_rand(range(0, 9999), 4)), str_shuffle('abcdefghijklmnop')];"
        " echo implode(' ', $t), \"\\n\";\n")
    path, _ = guest("php")
    php = {"module": path, "interface": "cgi", "env": {"PHPRC": "/hutch"},
           "mounts": {"/srv": str(scripts), "/hutch": str(ROOT / "adapters/php")},
           "site": {"root": "/srv", "index": ["index.php"]}, "limits": {"memory": "128M"}}
    with Server({"php": {**php, "instaboot": True}}) as server:
        different([server.get("/php/").text for _ in range(8)], 9, "php: no token twice", server.text()[-1500:])


@test
def flask():
    path, images = guest("flask")
    app = python_app(["-m", "hutch_wsgi", "app:app"], {"/app": EXAMPLES / "flask"},
                     env={"PYTHONPATH": "/hutch:/app:/site"}, volumes=[{"path": "/data", "kind": "private", "size": "1M"}])
    app["mounts"].update(images)
    app["limits"]["instances"] = 1
    with Server({"guestbook": app}) as server:
        r = server.get("/guestbook/")
        check(r.status == 200 and json.loads(r.body) == {"entries": []}, "empty", (r.status, r.body, server.text()[-1500:]))
        r = server.request("POST", "/guestbook/", "text=hello+you", {"Content-Type": "application/x-www-form-urlencoded"})
        check(r.status == 302 and r.getheader("Location") == "/guestbook/", "url_for knows the route",
              (r.status, r.getheaders(), server.text()[-1500:]))
        r = server.get("/guestbook/")
        check(json.loads(r.body) == {"entries": ["hello you"]}, "kept in the volume", r.body)
        check(server.get("/guestbook/none").status == 404 and server.get("/elsewhere").status == 404, "404")
        for _ in range(100):  # the last answer may be here before its request is over
            r = subprocess.run([HUTCH, "top", "--json", "--admin", f"unix:{server.admin}"], capture_output=True, text=True)
            app = json.loads(r.stdout)["apps"][0] if r.returncode == 0 else {}
            if app.get("requests") == 4:
                break
            time.sleep(0.05)
        check(app.get("requests") == 4 and app.get("cpu_ns", 0) > 0, "hutch top", r.stdout + r.stderr)
        server.stop()
        r = subprocess.run([HUTCH, "usage", "--json", "--state-dir", server.place / "state"], capture_output=True, text=True)
        rows = json.loads(r.stdout)["usage"]
        check(len(rows) == 1 and rows[0]["requests"] == 4 and rows[0]["cold"] >= 1 and rows[0]["cpu_ns"] > 100_000
              and rows[0]["memory_peak_bytes"] > 1 << 20, "hutch usage", rows)


@test
def django():
    path, images = guest("django")
    app = python_app(["-m", "hutch_wsgi", "project.wsgi:application"], {"/app": EXAMPLES / "django"},
                     env={"PYTHONPATH": "/hutch:/app:/site", "DJANGO_SETTINGS_MODULE": "project.settings"})
    app["mounts"].update(images)
    with Server({"d": app}) as server:
        r = server.get("/d/")
        check(r.status == 200 and json.loads(r.body) == {"path": "/d/", "method": "GET"}, "django",
              (r.status, r.body, server.text()[-2000:]))
        check(server.get("/d/none/").status == 404, "404")


def php_app(name, interface, **more):
    path, _ = guest(name)
    key = WORK / "session-key"
    key.write_text("0123456789abcdef\n")
    key.chmod(0o600)
    return {"module": path, "interface": interface, "env": {"PHPRC": "/hutch"},
            "mounts": {"/srv": str(EXAMPLES / "php"), "/hutch": str(ROOT / "adapters/php")},
            "volumes": [{"path": "/tmp", "kind": "private", "size": "4M"}],
            "secrets": {"HUTCH_SESSION_KEY": str(key)},
            "site": {"root": "/srv/public", "index": ["index.php"], "fallback": "/index.php"},
            "limits": {"memory": "128M", "start": "120s"}, **more}


def check_php(app):
    with Server({"blog": app}) as server:
        r = server.get("/blog/")
        check(r.status == 200 and json.loads(r.body)["visits"] == 1, "a page", (r.status, r.body, server.text()[-2000:]))
        cookie = "; ".join(v.split(";")[0] for k, v in r.getheaders() if k.lower() == "set-cookie")
        r = server.get("/blog/2026/11", headers={"Cookie": cookie})
        check(r.status == 200 and json.loads(r.body) == {"visits": 2, "path": "/2026/11", "method": "GET"},
              "the session goes on; the front controller", (r.status, r.body, cookie))
        forged = cookie[:-1] + ("0" if cookie[-1] != "0" else "1")
        r = server.get("/blog/", headers={"Cookie": forged})
        check(json.loads(r.body)["visits"] == 1, "a session that its client has changed is none", r.body)
        r = server.get("/blog/index.php/a/b")
        check(json.loads(r.body)["path"] == "/a/b", "PATH_INFO", r.body)
        r = server.get("/blog/style.css")
        check(r.status == 200 and r.body.startswith(b"body {") and "text/css" in r.getheader("Content-Type", ""),
              "a file", (r.status, r.getheaders(), r.body))
        check(b"<?php" not in server.get("/blog/style.css/x.php").body, "no script by accident")


@test
def php_sessions():
    """PHP's own sessions, in files of a volume that all processes share."""
    path, _ = guest("php")
    app = {"module": path, "interface": "cgi", "mounts": {"/site": str(APPS / "sessions")}, "site": {"root": "/site"},
           "volumes": [{"path": "/sessions", "size": "1M"}], "limits": {"memory": "128M"}}
    with Server({"kept": app}) as server:
        r = server.get("/kept/")
        cookie = "; ".join(v.split(";")[0] for k, v in r.getheaders() if k.lower() == "set-cookie")
        seen = [r.text] + [server.get("/kept/", headers={"Cookie": cookie}).text for _ in range(2)]
        check(seen == ["1 2", "2 4", "3 6"], "a session goes on in other processes", (seen, server.text()[-1500:]))
        check(server.get("/kept/").text == "1 8", "another client has another")


def dokuwiki_app(php, interface):
    path, _ = guest(php)
    _, images = guest("dokuwiki")
    return {"module": path, "interface": interface, "env": {"PHPRC": "/hutch", "PHP_FCGI_MAX_REQUESTS": "0"},
           "mounts": {**{k.removesuffix(":rw"): v for k, v in images.items()}, "/hutch": str(ROOT / "adapters/php")},
           "volumes": [{"path": "/var/lib/dokuwiki/data", "kind": "private", "size": "16M"},
                       {"path": "/tmp", "kind": "private", "size": "4M"}],
           "site": {"root": "/usr/share/dokuwiki", "index": ["index.php", "doku.php"]},
           "limits": {"memory": "256M", "cpu": "60s", "wall": "120s", "response": "16M"}}


DOKUWIKI_WARM = {"requests": [{"path": "/doku.php?id=wiki:syntax"}]}


@test
def dokuwiki():
    """A PHP application of some size, over FastCGI: from the beginning, fresh and put back from a snapshot taken
    after a request, and kept from there."""
    app = dokuwiki_app("php-cgi", "fastcgi")
    warm = {"instaboot": DOKUWIKI_WARM}
    check_dokuwiki({"cold": app, "fresh": {**app, **warm}, "reset": {**app, "reuse": "reset", **warm},
                    "keep": {**app, "reuse": "keep", **warm}})


@test
def dokuwiki_by_cgi():
    """The same, a process for each request: from the beginning, and from a snapshot of php-cgi's start-up."""
    app = dokuwiki_app("php", "cgi")
    warm = {"instaboot": DOKUWIKI_WARM}
    check_dokuwiki({"cold": app, "fresh": {**app, **warm}, "reset": {**app, "reuse": "reset", **warm}})


def check_dokuwiki(apps):
    with Server(apps) as server:
        check("no snapshot" not in server.text(), "a snapshot is made", server.text()[-1500:])
        pages = {}
        for name in apps:
            r = server.get(f"/{name}/doku.php?id=wiki:syntax")
            check(r.status == 200 and "Formatting Syntax" in r.text and "</html>" in r.text and "Warning" not in r.text,
                  f"{name}: a page", (r.status, r.text[:1500], server.text()[-1500:]))
            pages[name] = re.sub(rf"/{name}/", "/", r.text)
            r = server.get(f"/{name}/doku.php?id=wiki:dokuwiki&do=export_raw")
            check(r.status == 200 and r.text.startswith("====== DokuWiki"), f"{name}: its source", r.text[:300])
            r = server.get(f"/{name}/lib/tpl/dokuwiki/images/logo.png")
            check(r.status == 200 and r.body[:4] == b"\x89PNG", f"{name}: a file", r.status)
            cookies = {v for _ in range(3) for k, v in server.get(f"/{name}/doku.php?id=wiki:welcome").getheaders()
                       if k.lower() == "set-cookie" and v.startswith("DokuWiki=")}
            check(len(cookies) == 3, f"{name}: no session twice", cookies)
        plain = [re.sub(r"[0-9a-f]{32}|[0-9]{10}|tok=[0-9a-f]{6}|:[0-9]{5}/", "", page).splitlines() for page in pages.values()]
        differ = [pair for other in plain[1:] for pair in zip(plain[0], other) if pair[0] != pair[1]]
        check(not differ and len({len(p) for p in plain}) == 1, "the same page each time", differ[:5])


@test
def php():
    check_php(php_app("php", "cgi"))


@test
def own_php():
    """The PHP that is built here: by CGI, by FastCGI, and from a snapshot."""
    check_php(php_app("php-cgi", "cgi"))
    for reuse in ("fresh", "reset", "keep"):
        check_php(php_app("php-cgi", "fastcgi", reuse=reuse))
    check_php(php_app("php-cgi", "fastcgi", reuse="reset", instaboot=True))


def ruby_app(directory, **more):
    path, _ = guest("ruby")
    return {"module": path, "interface": "fastcgi", "args": ["/hutch/rack_server.rb", "/app/config.ru"],
            "mounts": {"/app": str(directory), "/hutch": str(ROOT / "adapters/ruby"), **more.pop("mounts", {})},
            "limits": {"memory": "256M", "cpu": "60s", "wall": "120s", "start": "120s", **more.pop("limits", {})}, **more}


@contextlib.contextmanager
def native_ruby(config):
    """The adapter under the Ruby of this machine, on a listening socket."""
    place = pathlib.Path(tempfile.mkdtemp(dir=WORK)) / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        listener.listen()
        with open(place.with_name("log"), "wb") as log:
            process = subprocess.Popen(["ruby", ROOT / "adapters/ruby/rack_server.rb", config], stdin=listener,
                                       stdout=log, stderr=log)
        try:
            yield place
        finally:
            process.kill()
            process.wait()


@test
def adapter_rack():
    """The adapter alone: bodies of any size, streams, and what is no FastCGI."""
    import struct
    begin, keep = struct.pack("!HB5x", 1, 0), struct.pack("!HB5x", 1, 1)
    record, pairs = fastcgi_client.record, fastcgi_client.pairs
    cases = {
        "noise": os.urandom(400), "version": b"\2" + record(1, begin)[1:], "cut": record(1, begin)[:10],
        "role": record(1, struct.pack("!HB5x", 2, 0)), "params cut": record(1, begin) + record(4, b"\x05\x05ab") + record(4),
        "length": record(1, begin) + record(4, b"\xff\xff\xff\xff\x7f") + record(4),
        "length cut": record(1, begin) + record(4, b"\xff\xff") + record(4),
        "begin cut": record(1, b"\0"), "abort": record(1, begin) + record(2), "unknown type": record(77, b"x", 0),
        "body cut": record(1, begin) + record(4, pairs({"PATH_INFO": "/echo", "REQUEST_METHOD": "POST",
                                                        "CONTENT_LENGTH": "9"})) + record(4) + record(5, b"abc"),
        "nothing": b"",
    }
    with native_ruby(APPS / "rack/config.ru") as place:
        def request(method, target, **more):
            return fastcgi_client.fastcgi(place, method, target, **more)
        for size in (0, 3, 300_000, 3_000_000):
            body = os.urandom(size)
            a = request("POST", "/echo", body=body)
            check(a.status == 200 and a.body == body and a.ended, f"{size} bytes there and back", (a.status, len(a.body)))
        a = request("GET", "/stream")
        check(a.body == b"0\n1\n2\n3\n" and a.pieces[-1][0] - a.pieces[0][0] > 0.1, "a stream comes in pieces", a.pieces)
        a = request("GET", "/raise-late")
        check(a.body == b"begun\n" and not a.ended, "an answer that breaks off", a.__dict__)
        a = request("GET", "/raise")
        check(a.status == 500 and b"asked to" not in a.body and a.ended, "an exception", (a.status, a.body))
        check("asked to" in place.with_name("log").read_text(), "and its place in the log")
        check(request("GET", "/split").status == 500, "a line break in a header")
        for name, data in cases.items():
            with contextlib.closing(fastcgi_client.connect(place, 5)) as s:
                fastcgi_client.send(s, data)
                s.shutdown(socket.SHUT_WR)
                while fastcgi_client.receive(s):
                    pass
            check(request("GET", "/cookies").status == 200, f"goes on after: {name}", place.with_name("log").read_text()[-600:])
        values = pairs(fastcgi_client.environment("GET", "/count", {}, None))
        with contextlib.closing(fastcgi_client.connect(place, 5)) as s:
            got = b""
            for number in (1, 2):  # two on one connection
                fastcgi_client.send(s, record(1, keep, number) + record(4, values, number) + record(4, b"", number)
                                    + record(5, b"", number))
                while got.count(b"\1\3\0") < number:
                    got += s.recv(65536)
            check(b"\r\n\r\n1\n" in got and b"\r\n\r\n2\n" in got, "two requests on one connection", got)


@test
def sinatra():
    """From the beginning; and after requests that are in the snapshot: kept, put back, and fresh."""
    _, images = guest("sinatra")
    app = ruby_app(APPS / "sinatra", mounts=images, env={"RUBYLIB": "/gems"})
    warm = {"instaboot": {"requests": [{"path": "/"}, {"path": "/hello/me"}]}}
    apps = {"cold": {**app, "limits": {**app["limits"], "instances": 1}}}
    for reuse in ("keep", "reset", "fresh"):
        apps[reuse] = {**app, "reuse": reuse, **warm}
    with Server(apps) as server:
        check("no snapshot" not in server.text(), "snapshots are made", server.text()[-1500:])
        for name in apps:
            for _ in range(3):
                r = server.get(f"/{name}/")
                check(r.status == 200 and r.body == b"hello\n" and r.getheader("X-Content-Type-Options") == "nosniff",
                      f"{name}: a route", (r.status, r.getheaders(), r.body, server.text()[-2000:]))
            check(server.get(f"/{name}/hello/you%20there").text == "Hello, you there\n", f"{name}: a parameter")
            r = server.request("POST", f"/{name}/sum", "a=2&b=3", {"Content-Type": "application/x-www-form-urlencoded"})
            check(r.status == 200 and r.body == b"5\n", f"{name}: a form", (r.status, r.body))
            check(server.get(f"/{name}/none").status == 404, f"{name}: 404")
            different([server.get(f"/{name}/random").text for _ in range(4)], 2, f"{name}: no number twice")


@test
def ruby_snapshots():
    """Instances that start from one snapshot: the state is the same, random numbers never are; one that is kept sleeps."""
    app = ruby_app(APPS / "rack", instaboot={"requests": [{"path": "/count"}, {"path": "/tokens"}]})
    one = {**app["limits"], "instances": 1}
    apps = {reuse: {**app, "reuse": reuse} for reuse in ("fresh", "reset")}
    apps["keep"] = {**app, "reuse": "keep", "limits": one}
    apps["sleep"] = {**app, "reuse": "keep", "limits": one, "hibernate": {"idle": "1s"}}
    with Server(apps) as server:
        check("no snapshot" not in server.text(), "snapshots are made", server.text()[-1500:])
        for name in ("fresh", "reset"):
            counts = {server.get(f"/{name}/count").text for _ in range(4)}
            check(counts == {"2\n"}, f"{name}: the snapshot's state each time", (counts, server.text()[-1500:]))
        counts = [server.get("/keep/count").text for _ in range(3)]
        check(counts == ["2\n", "3\n", "4\n"], "keep goes on from the snapshot", counts)
        texts = [server.get(f"/{name}/tokens").text for name in ("fresh", "reset", "keep") for _ in range(6)]
        different(texts, 8, "no token twice", server.text()[-1500:])
        counts, tokens = [], []
        for _ in range(3):
            counts.append(server.get("/sleep/count").text)
            tokens.append(server.get("/sleep/tokens").text)
            check(asleep(server, ["sleep"]), "an idle instance is written out", server.text()[-1500:])
        check(counts == ["2\n", "3\n", "4\n"], "and goes on with its state", counts)
        different(tokens, 8, "with numbers of its own")


@test
def ruby_rack():
    with Server({"greeter": ruby_app(EXAMPLES / "ruby"), "all": ruby_app(APPS / "rack")}) as server:
        r = server.get("/greeter/x?you")
        check(r.status == 200 and r.body == b"Hello, you\n", "rack", (r.status, r.body, server.text()[-2000:]))
        r = server.request("POST", "/all/echo", b"abc")
        check(r.body == b"abc" and r.getheader("x-middleware") == "yes", "map, use and the body", (r.status, r.body))
        check(server.get("/all/raise").status == 500, "an exception")
        check("asked to (RuntimeError)" in server.text(), "its place is in the log", server.text()[-1500:])
        body = os.urandom(1_000_000)
        check(server.request("POST", "/all/echo", body).body == body, "a large body there and back")
        check(server.get("/all/stream").body == b"0\n1\n2\n3\n", "a stream")
        with contextlib.suppress(http.client.HTTPException, OSError):
            r = server.get("/all/raise-late")
            check(False, "an answer that breaks off is not taken for whole", r.body)
        r = server.get("/all/cookies")
        check([v for k, v in r.getheaders() if k == "set-cookie"] == ["a=1", "b=2"], "two headers of one name", r.getheaders())
        check(server.get("/all/none").status == 404, "404")


@test
def ruby_gem():
    """Debian's rack gem: its builder reads config.ru, with its middleware, under Rack::Lint."""
    gem = sorted(pathlib.Path("/usr/share/rubygems-integration/all/gems").glob("rack-2*/lib"))[-1]
    app = ruby_app(APPS / "rack-gem", mounts={"/gems": str(gem)}, env={"RUBYLIB": "/gems"})
    with Server({"s": app}) as server:
        r = server.get("/s/hello/you%20there", headers={"Cookie": "seen=4"})
        check(r.status == 200 and r.body == b"Hello you there from /s/hello\n" and r.getheader("ETag")
              and r.getheader("Set-Cookie") == "seen=5; path=/s/hello", "request and response",
              (r.status, r.getheaders(), r.body, server.text()[-3000:]))
        again = server.get("/s/hello/you%20there", headers={"Cookie": "seen=4", "If-None-Match": r.getheader("ETag") or ""})
        check(again.status == 304 and not again.body, "ETag and ConditionalGet", (again.status, again.body))
        r = server.request("POST", "/s/sum", "a=2&b=3&_method=PUT", {"Content-Type": "application/x-www-form-urlencoded"})
        check(r.body == b"5\n", "a form, its method overridden", (r.status, r.body))
        check(b"use Rack::Lint" in server.get("/s/config.ru").body, "a static file through the app")


def compile_c(source, name):
    out = WORK / name
    subprocess.run(["clang-22", "--target=wasm32-wasi", "-Wno-deprecated", "-O2", "-o", out, source], check=True)
    return str(out)


@test
def c_and_cgi():
    server_wasm = compile_c(EXAMPLES / "c/server.c", "server.wasm")
    hello_wasm = compile_c(EXAMPLES / "cgi/hello.c", "hello.wasm")
    # One instance: a client that asks again at once may come before the first has said that it is done.
    counter = {"module": server_wasm, "interface": "http", "limits": {"instances": 1}}
    with Server({"counter": counter, "hello": {"module": hello_wasm}}) as server:
        texts = [server.get("/counter").text for _ in range(3)]
        check(texts == ["request 1\n", "request 2\n", "request 3\n"], "a server in C keeps its state",
              (texts, server.text()[-1000:]))
        r = server.request("POST", "/hello?you", b"and more")
        check(r.status == 200 and r.body == b"Hello, you\nand more", "cgi", (r.status, r.body))
        with concurrent.futures.ThreadPoolExecutor(16) as workers:
            texts = list(workers.map(lambda i: server.get(f"/hello?{i}").text, range(60)))
        check(texts == [f"Hello, {i}\n" for i in range(60)], "sixty at once", texts[:5])


@test
def go():
    program, _ = guest("go")
    out = WORK / "go.wasm"
    subprocess.run([program, "build", "-o", out, "."], cwd=EXAMPLES / "go", check=True,
                   env={**os.environ, "GOOS": "wasip1", "GOARCH": "wasm"})
    with Server({"upper": {"module": str(out), "interface": "http", "limits": {"memory": "128M"}}}) as server:
        r = server.request("POST", "/upper?q=hello", b"body")
        check(r.status == 200 and r.body == b"HELLO BODY\n", "net/http", (r.status, r.body, server.text()[-2000:]))
        check([server.get(f"/upper?q=x{i}").text for i in range(5)] == [f"X{i} \n" for i in range(5)], "one after the other")


CACHE = None


def main():
    global WORK, CACHE
    find_guests()
    with tempfile.TemporaryDirectory(prefix="hutch-apps-") as place:
        WORK = pathlib.Path(place)
        # Compiling CPython takes a while: what was compiled stays between runs of this suite.
        CACHE = pathlib.Path(os.environ.get("HUTCH_CACHE_DIR", BUILD / "test-apps-cache"))
        for function in TESTS:
            if len(sys.argv) > 1 and not any(w in function.__name__ for w in sys.argv[1:]):
                continue
            started = time.monotonic()
            try:
                function()
            except Exception:  # a test that cannot go on is a failure; the others run
                check(False, f"{function.__name__} ended", traceback.format_exc())
            print(f"{function.__name__}: {time.monotonic() - started:.0f} s", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
