#!/usr/bin/python3
"""hutch app, usage and top as people use them; the JSON schema; docs and examples of app.yaml.

    tests/integration/test_app.py [WORD...]      only tests whose name holds a WORD
"""

import csv
import io
import json
import os
import pathlib
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import traceback

import jsonschema
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("HUTCH_BUILD_DIR", ROOT / "build")).resolve()
HUTCH = pathlib.Path(os.environ.get("HUTCH", BUILD / "tools/hutch")).resolve()
TESTS = []
passed = failed = 0
WORK = None


def test(function):
    TESTS.append(function)
    return function


def check(condition, what, detail=""):
    global passed, failed
    if condition:
        passed += 1
    else:
        failed += 1
        print(f"FAILED {what}\n    {str(detail)[:1500]}", flush=True)


class Result:
    def __init__(self, done):
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr

    def __str__(self):
        return f"status {self.status}\n{self.out}\n{self.err}"


def run(*args, cwd=None, env=None):
    environment = {k: v for k, v in os.environ.items() if k not in ("STATE_DIRECTORY", "HUTCH_ADMIN")}
    environment.update(env or {})
    return Result(subprocess.run([HUTCH, *map(str, args)], capture_output=True, text=True, cwd=cwd or WORK,
                                 env=environment, timeout=60))


def write(name, text):
    path = WORK / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


# ---- hutch app ----

@test
def check_command():
    place = WORK / "shop"
    write("shop/app.yaml", "name: shop\nmodule: a.wasm\nmounts: {/srv: site}\nsecrets: {KEY: key}\nowner: me\n")
    r = run("app", "check", cwd=place)
    check(r.status == 1 and "app.yaml: module: a.wasm: No such file" in r.err, "no module", r)
    check("note: app.yaml:5: owner: no effect" in r.err, "a note", r)
    (place / "a.wasm").write_bytes(b"not wasm")
    r = run("app", "check", cwd=place)
    check(r.status == 1 and "is no WebAssembly module" in r.err, "no wasm", r)
    (place / "a.wasm").write_bytes(b"\0asm\1\0\0\0")
    r = run("app", "check", cwd=place)
    check(r.status == 1 and "mounts: site" in r.err, "no mount", r)
    (place / "site").write_text("a file, no image")
    r = run("app", "check", cwd=place)
    check(r.status == 1 and "neither a directory nor a file image" in r.err, "no image", r)
    (place / "site").unlink()
    (place / "site").mkdir()
    (place / "key").write_text("secret\n")
    (place / "key").chmod(0o644)
    r = run("app", "check", cwd=place)
    check(r.status == 1 and "others can read" in r.err, "an open secret", r)
    (place / "key").chmod(0o600)
    r = run("app", "check", cwd=place)
    check(r.status == 0 and r.out == "app.yaml: app shop is in order\n", "in order", r)
    r = run("app", "check", place)
    check(r.status == 0 and f"{place}/app.yaml: app shop" in r.out, "by directory", r)
    r = run("app", "check", "--json", place / "app.yaml")
    app = json.loads(r.out)
    check(app["mounts"] == [{"source": f"{place}/site", "path": "/srv"}] and
          app["limits"]["memory"] == 256 << 20 and app["reuse"] == "fresh", "--json", r)


# As users of Wasmer Edge write it, with all that there is.
EDGE = """\
kind: wasmer.io/App.v0
name: guestbook
owner: someone
app_id: da_abcdef012345
package: someone/guestbook@1.2.0
domains:
  - guestbook.example
cli_args: [-m, guestbook]
env:
  LOG_LEVEL: info
volumes:
  - name: data
    mount: /data
capabilities:
  memory:
    limit: 512MB
  instaboot:
    mode: bootstrap
    max_age: 24h
    requests:
      - path: /
        method: GET
        headers:
          - name: host
            value: guestbook.example
        timeout: 30s
        expect:
          status_codes: [200]
          body_includes: Guestbook
          body_regex: "<h1>.*</h1>"
  network:
    http_proxy: true
  database:
    engine: mysql
scaling:
  mode: single_concurrency
redirect:
  force_https: true
health_checks:
  - http: {path: /healthz, interval: 10s, timeout: 5s, healthy_threshold: 2, unhealthy_threshold: 3}
jobs:
  - name: nightly
    trigger: "0 3 * * *"
    action: {fetch: {path: /nightly}}
locality:
  regions: [be-mons]
debug: true
"""


@test
def edge_files():
    """A file of Wasmer Edge: what has no effect is noted, the rest is read."""
    path = write("edge/app.yaml", EDGE)
    r = run("app", "check", path)
    check(r.status == 1 and "app.yaml:5: package:" in r.err
          and "as someone/guestbook:1.2.0" in r.err, "a registry's version: what to write instead", r)
    path = write("edge/app.yaml", EDGE.replace("guestbook@1.2.0", "guestbook:1.2.0"))
    r = run("app", "check", path)
    notes = [line.split("app.yaml:")[1].split(": ")[1] for line in r.err.splitlines()]
    check(r.status == 0 and notes == ["owner", "app_id", "capabilities.network", "capabilities.database",
                                          "scaling", "redirect", "health_checks", "jobs", "locality"],
          "notes for these, and no others", r)
    for old, new, message in (("mode: bootstrap", "mode: triggers", "app.yaml:18: capabilities.instaboot.mode: 'triggers'"),
                              ('"<h1>.*</h1>"', '"<h1>(.*</h1>"', "body_regex: '<h1>(.*</h1>' is no regular expression"),
                              ("max_age: 24h", "max_age: soon", "app.yaml:19: capabilities.instaboot.max_age")):
        r = run("app", "check", write("edge/app.yaml", EDGE.replace("guestbook@1.2.0", "guestbook:1").replace(old, new)))
        check(r.status == 1 and message in r.err, message, r)


@test
def check_directories():
    for name, text in (("many/a.yaml", "name: a\nmodule: a.wasm\nroutes: [/a]\n"),
                       ("many/b/app.yaml", "name: b\nmodule: a.wasm\nroutes: [/b]\n"),
                       ("many/.hidden.yaml", "{"), ("many/readme.txt", "{")):
        write(name, text)
    r = run("app", "check", "--no-files", "many")
    check(r.status == 0 and r.out.splitlines() == ["many/a.yaml: app a is in order",
                                                   "many/b/app.yaml: app b is in order"], "two", r)
    write("many/c.yaml", "name: a\nmodule: a.wasm\nroutes: [/c]\n")
    r = run("app", "check", "--no-files", "many")
    check(r.status == 1 and "many/c.yaml: name: 'a' is also the name of many/a.yaml" in r.err, "names", r)
    write("many/c.yaml", "name: c\nmodule: a.wasm\nroutes: [/b/]\n")
    r = run("app", "check", "--no-files", "many")
    check(r.status == 1 and "(any host)/b is also a route of app b" in r.err, "routes", r)
    write("many/c.yaml", "name: c\n")
    write("many/d.yaml", "name: d\nmodule: a.wasm\nlimit: {}\n")
    r = run("app", "check", "--no-files", "many")
    check("many/c.yaml:1: module: is missing" in r.err and "many/d.yaml:3: unknown key 'limit', did you mean "
          "'limits'?" in r.err, "a mistake of each file", r)
    (WORK / "none").mkdir()
    r = run("app", "check", "none")
    check(r.status == 1 and "holds no app.yaml" in r.err, "none", r)


@test
def check_usage():
    for args, words in ((["app"], "give check or schema"), (["app", "chekc"], "did you mean check?"),
                        (["app", "check", "--jsno"], "did you mean --json?")):
        r = run(*args)
        check(r.status == 2 and words in r.err, args, r)
    for command in ("app", "usage", "top"):
        r = run(command, "--help")
        check(r.status == 0 and r.out == run("help", command).out and "Usage: hutch " + command in r.out,
              f"{command} --help", r)


@test
def documentation():
    """Every option and key stands where people look."""
    page = (ROOT / "docs/cli.md").read_text()
    bash, zsh = ((ROOT / "tools/completion" / n).read_text() for n in ("hutch.bash", "_hutch"))
    for command in ("app", "usage", "top"):
        man = (ROOT / f"docs/man/hutch-{command}.1").read_text().replace("\\-", "-")
        options = set(re.findall(r"(--[a-z-]+)", run("help", command).out)) - {"--help"}
        for option in options:
            for name, text in (("man", man), ("bash", bash), ("zsh", zsh), ("cli.md", page)):
                check(option in text, f"{option} of {command} in {name}")
        check(f"hutch-{command}.1" in (ROOT / "tools/meson.build").read_text(), f"hutch-{command}.1 is installed")
        check(f"`hutch {command}" in page or f"## hutch {command}" in page, f"{command} in cli.md")
    described = (ROOT / "docs/app.md").read_text()
    table = (ROOT / "serve/app.def").read_text()
    for section, key in re.findall(r'^APP_KEY\((\w+),\s*"(\w+)"', table, re.M) + re.findall(
            r'^APP_ALIAS\((\w+),\s*"(\w+)"', table, re.M):
        check(f"`{key}`" in described or f".{key}`" in described, f"key {key} of {section} in docs/app.md")


# ---- the schema ----

def schema():
    return json.loads(run("app", "schema").out)


@test
def schema_file():
    made = run("app", "schema").out
    check((ROOT / "docs/app.schema.json").read_text() == made,
          "docs/app.schema.json is what `hutch app schema` prints")
    jsonschema.Draft202012Validator.check_schema(json.loads(made))


BASE = "name: a\nmodule: a.wasm\n"
# What is wrong with a single value: the schema and the command must say so both. The first word: which.
VERDICTS = [
    ("good", BASE), ("good", "name: a\npackage: b/c:1\n"), ("bad", "name: a\n"), ("bad", "module: a.wasm\n"),
    ("bad", BASE + "package: b\n"), ("bad", "name: A\nmodule: a.wasm\n"), ("bad", BASE + "x: 1\n"),
    ("bad", BASE + "interface: tcp\n"), ("good", BASE + "interface: http\n"), ("bad", BASE + "kind: v2\n"),
    ("good", BASE + "kind: wasmer.io/App.v0\nowner: x\nlocality: {regions: [eu]}\n"),
    ("good", BASE + "args: [a, 1, true]\n"), ("bad", BASE + "args: a\n"), ("bad", BASE + "args: [[a]]\n"),
    ("good", BASE + "cli_args: [a]\n"), ("bad", BASE + "cli_args: [a]\nargs: [b]\n"),
    ("good", BASE + "env: {A: 1, B: true, C: null}\n"), ("good", BASE + "env: [A=b]\n"), ("bad", BASE + "env: [A]\n"),
    ("bad", BASE + "env: {A: [b]}\n"), ("good", BASE + "secrets: {A: f}\n"),
    ("good", BASE + "secrets: [{name: A, file: f}]\n"), ("bad", BASE + "secrets: [{name: A}]\n"),
    ("good", BASE + "mounts: {/a: b}\n"), ("good", BASE + "mounts: [{source: a, path: /b}]\n"),
    ("good", BASE + "mounts: [{source: a, mount: /b}]\n"), ("bad", BASE + "mounts: [{source: a}]\n"),
    ("bad", BASE + "mounts: [{source: a, path: b}]\n"), ("bad", BASE + "mounts: [{source: a, path: /b, mount: /b}]\n"),
    ("good", BASE + "volumes: [{name: d, mount: /d, size: 1G}]\n"), ("bad", BASE + "volumes: [{name: d}]\n"),
    ("bad", BASE + "volumes: {d: /d}\n"), ("bad", BASE + "volumes: [{path: /d, kind: shared}]\n"),
    ("good", BASE + "routes: [a.example, /b, {host: c.example, path: /d}]\n"), ("bad", BASE + "routes: a.example\n"),
    ("bad", BASE + "routes: [{path: d}]\n"), ("good", BASE + "domains: [a.example]\n"),
    ("good", BASE + "limits: {memory: 1M, cpu: 1.5s, wall: 10, instances: 3, files: '9'}\n"),
    ("good", BASE + "limits: {memory: 1048576}\n"), ("bad", BASE + "limits: {memory: 1X}\n"),
    ("bad", BASE + "limits: {memory: -1}\n"), ("bad", BASE + "limits: {cpu: 1y}\n"),
    ("bad", BASE + "limits: {instances: x}\n"), ("bad", BASE + "limits: {instances: 1000001}\n"),
    ("bad", BASE + "limits: {memroy: 1M}\n"), ("bad", BASE + "limits: [1]\n"),
    ("good", BASE + "instaboot: true\n"), ("bad", BASE + "instaboot: maybe\n"),
    ("good", BASE + "instaboot: {requests: [{path: /, headers: {A: b}, expect: {status_codes: [200]}}]}\n"),
    ("good", BASE + "capabilities: {memory: {limit: 1M}, instaboot: {requests: [{headers: [{name: a, value: b}]}]}}\n"),
    ("bad", BASE + "instaboot: {requests: [{path: x}]}\n"), ("bad", BASE + "instaboot: {request: []}\n"),
    ("bad", BASE + "instaboot: {requests: [{expect: {status_codes: [99]}}]}\n"),
    ("good", BASE + "debug: true\nshare: none\nmax_requests: 100\n"), ("bad", BASE + "share: some\n"),
    ("bad", BASE + "debug: 1\n"), ("good", BASE + "interface: http\nreuse: keep\nhibernate: {idle: 1m, survives: reboot}\n"),
    ("bad", BASE + "interface: http\nreuse: keep\nhibernate: {idle: soon}\n"),
    ("good", BASE + "mounts: {/s: x}\nsite: {root: /s, index: [a.php], scripts: [.php], fallback: /a.php, files: false}\n"),
    ("bad", BASE + "mounts: {/s: x}\nsite: {index: [a.php]}\n"),
]


@test
def schema_agrees():
    """The schema and the reader refuse the same values."""
    validator = jsonschema.Draft202012Validator(schema())
    for i, (verdict, text) in enumerate(VERDICTS):
        path = write(f"verdict/{i}.yaml", text)
        r = run("app", "check", "--no-files", path)
        check((r.status == 0) == (verdict == "good"), f"{verdict}: {text!r}", r)
        wrong = [e.message for e in validator.iter_errors(yaml.safe_load(text))]
        check((not wrong) == (verdict == "good"), f"schema: {verdict}: {text!r}", wrong)


@test
def examples():
    r = run("app", "check", "--no-files", ROOT / "docs/examples")
    check(r.status == 0 and len(r.out.splitlines()) >= 8, "docs/examples", r)
    validator = jsonschema.Draft202012Validator(schema())
    for path in (ROOT / "docs/examples").glob("*/app.yaml"):
        wrong = [e.message for e in validator.iter_errors(yaml.safe_load(path.read_text()))]
        check(not wrong, f"{path} fits the schema", wrong)
        again = run("app", "check", "--no-files", "--json", path)
        copy = write("copy.json", again.out)
        wrong = [e.message for e in validator.iter_errors(json.loads(again.out))]
        check(not wrong, f"{path} as JSON fits the schema", wrong)
        twice = run("app", "check", "--no-files", "--json", copy)
        check(json.loads(twice.out)["limits"] == json.loads(again.out)["limits"], f"{path} as JSON", twice)


# ---- hutch usage ----

def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc


class UsageFile:
    """Records as serve/usage_record.c lays them out."""

    def __init__(self, file_id, began_s):
        self.data, self.sequence, self.apps = b"", 0, {}
        self.add(1, struct.pack("<QQQ", file_id, 0, int(began_s * 1e9)))

    def add(self, kind, rest):
        body = struct.pack("<BBHQ", kind, 1, 0, self.sequence) + rest
        body = body.ljust(124, b"\0")
        self.data += struct.pack("<I", crc32c(body)) + body
        self.sequence += 1

    def app(self, name):
        if name not in self.apps:
            self.apps[name] = len(self.apps) + 1
            self.add(2, struct.pack("<II", self.apps[name], len(name)) + name.encode())
        return self.apps[name]

    def request(self, name, began_s, cpu_ns, status=200, cold=0, wall_ns=10, received=1, sent=2, peak=3):
        number = self.app(name)
        self.add(3, struct.pack("<IHBB9Q", number, status, 0, cold, 7, int(began_s * 1e9), wall_ns, 5, cpu_ns,
                                received, sent, peak, 1))

    def overhead(self, name, began_s, cpu_ns):
        number = self.app(name)
        self.add(4, struct.pack("<IHBB9Q", number, 0, 0, 0, 0, int(began_s * 1e9), 0, 0, cpu_ns, 0, 0, 0, 0))


DAY = 1764028800  # 2025-11-25T00:00Z


def records():
    place = WORK / "state" / "usage"
    place.mkdir(parents=True, exist_ok=True)
    one, two = UsageFile(1, DAY), UsageFile(2, DAY + 86400)
    one.request("a", DAY + 60, 1000, cold=1, peak=100)
    one.request("b", DAY + 61, 2000, status=503)
    one.request("a", DAY + 3700, 3000, peak=50)
    one.overhead("a", DAY + 3701, 500)
    two.request("b", DAY + 86401, 10_000_000_000)
    two.request("a", DAY + 86402, 7)
    (place / "001.usage").write_bytes(one.data)
    (place / "002.usage").write_bytes(two.data)
    return place, one, two


def usage(*args):
    r = run("usage", "--state-dir", WORK / "state", "--json", *args)
    return json.loads(r.out) if r.status == 0 else {}, r


@test
def usage_sums():
    place, one, two = records()
    got, r = usage()
    rows = {row["app"]: row for row in got["usage"]}
    a, b = rows["a"], rows["b"]
    check(a["period"] == "total" and a["requests"] == 3 and a["cpu_ns"] == 4007 and a["overhead_ns"] == 500
          and a["cold"] == 1 and a["memory_peak_bytes"] == 100 and a["received_bytes"] == 3
          and a["sent_bytes"] == 6 and a["wall_ns"] == 30 and a["queue_ns"] == 15, "app a", a)
    check(b["requests"] == 2 and b["errors"] == 1 and b["cpu_ns"] == 10_000_002_000, "app b", b)
    got, r = usage("--by", "hour", "--app", "a")
    check([(row["period"], row["requests"]) for row in got["usage"]] ==
          [("2025-11-25T00:00Z", 1), ("2025-11-25T01:00Z", 1), ("2025-11-26T00:00Z", 1)], "by hour", r)
    got, r = usage("--by", "day", "--since", "2025-11-26")
    check([(row["period"], row["app"], row["cpu_ns"]) for row in got["usage"]] ==
          [("2025-11-26", "a", 7), ("2025-11-26", "b", 10_000_000_000)], "since", r)
    got, r = usage("--by", "month", "--until", "2025-11-25T00:01:01")
    check([(row["period"], row["app"], row["cpu_ns"]) for row in got["usage"]] == [("2025-11", "a", 1000)],
          "until: the end is not in it", r)
    r = run("usage", "--state-dir", WORK / "state", "--csv", "--by", "day")
    rows = list(csv.DictReader(io.StringIO(r.out)))
    check(len(rows) == 4 and rows[0]["app"] == "a" and rows[0]["cpu_ns"] == "4000", "--csv", r)
    r = run("usage", "--state-dir", WORK / "state")
    check("REQUESTS" in r.out and "10.00 s" in r.out and r.err == "", "text", r)
    got, r = usage("--since", "1d")
    check(got["usage"] == [], "long ago", r)
    r = run("usage", env={"STATE_DIRECTORY": str(WORK / "state")})
    check(r.status == 0 and "10.00 s" in r.out, "$STATE_DIRECTORY", r)


@test
def usage_damage():
    place, one, two = records()
    full, _ = usage()
    # A write that a kill cut short.
    (place / "001.usage").write_bytes(one.data + b"\1" * 60)
    got, r = usage()
    check(got == full and r.err == "", "a torn end", r)
    # A copy is not billed twice.
    (place / "003.usage").write_bytes(one.data)
    got, r = usage()
    check(got == full and r.err == "", "a copy", r)
    (place / "003.usage").unlink()
    # A byte changed: that record is not counted, and it is said.
    at = 128 * 2 + 70
    (place / "001.usage").write_bytes(one.data[:at] + bytes([one.data[at] ^ 1]) + one.data[at + 1:])
    got, r = usage()
    check(got["damaged_records"] == 1 and "1 records are damaged or missing, first in 001.usage" in r.err, "damaged", r)
    check({row["app"]: row["requests"] for row in got["usage"]} == {"a": 2, "b": 2}, "the others count", r)
    # A record taken out, or there twice.
    (place / "001.usage").write_bytes(one.data[:256] + one.data[384:])
    check(usage()[0]["damaged_records"] == 1, "one is missing")
    (place / "001.usage").write_bytes(one.data[:384] + one.data[256:384] + one.data[384:])
    got, r = usage()
    check(got["damaged_records"] == 1 and got["usage"] == full["usage"], "one is there twice", r)
    (place / "001.usage").write_bytes(os.urandom(5000))
    got, r = usage()
    check(r.status == 0 and got["damaged_records"] > 0, "noise", r)
    (place / "001.usage").write_bytes(b"")
    (place / "notes.txt").write_text("not a record")
    check(usage()[1].status == 0, "an empty file")


@test
def usage_mistakes():
    for args, words in ((["--by", "week"], "give hour, day, month or total"), (["--since", "soon"], "give a date"),
                        (["--json", "--csv"], "give one"), (["x"], "unexpected argument")):
        r = run("usage", *args)
        check(r.status == 2 and words in r.err, args, r)
    r = run("usage", "--state-dir", WORK / "nowhere")
    check(r.status == 1 and "no records are there" in r.err, "nowhere", r)


# ---- hutch top ----

STATUS = {
    "version": "1", "time_unix_ns": 20_000_000_000, "started_unix_ns": 10_000_000_000, "connections": 3,
    "tenants": 2, "spares": 1, "draining": False,
    "apps": [{"name": "small", "interface": "cgi", "reuse": "fresh", "requests": 50, "errors": 1, "in_flight": 0,
              "queued": 0, "tenants_starting": 0, "tenants_idle": 0, "tenants_busy": 0, "cold_starts": 5,
              "cpu_ns": 1_000_000, "overhead_cpu_ns": 0, "p50_s": 0.0005, "p99_s": 0.25},
             {"name": "shop", "interface": "http", "reuse": "keep", "requests": 1000, "errors": 0, "in_flight": 1,
              "queued": 2, "tenants_starting": 0, "tenants_idle": 1, "hibernated": 3, "tenants_busy": 1, "cold_starts": 1,
              "cpu_ns": 5_000_000_000, "overhead_cpu_ns": 0, "p50_s": 0.002, "p99_s": 1.5}],
}


def serve_once(answer):
    """An admin listener for one request; its address."""
    listener = socket.socket(socket.AF_UNIX)
    path = tempfile.mktemp(dir=WORK)
    listener.bind(path)
    listener.listen()
    listener.settimeout(20)

    def answer_one():
        try:
            peer = listener.accept()[0]
            peer.recv(4096)
            peer.sendall(answer)
            peer.close()
        finally:
            listener.close()

    threading.Thread(target=answer_one, daemon=True).start()
    return "unix:" + path


@test
def top():
    status = json.loads(json.dumps(STATUS))
    status["tenant_list"] = [{"tenant": 1, "pid": os.getpid(), "app": "shop", "state": "busy"},
                             {"tenant": 2, "pid": 0, "app": "shop", "state": "idle"}]
    reply = b"HTTP/1.0 200 OK\r\n\r\n" + json.dumps(status).encode()
    r = run("top", "--once", "--admin", serve_once(reply))
    lines = r.out.splitlines()
    check(r.status == 0 and len(lines) == 4 and lines[0].startswith("hutch 1, up 10.0s, 3 connections, 2 tenants"),
          "once", r)
    shop = lines[2].split()
    check(shop[:9] == ["shop", "http", "keep", "1", "1", "3", "2", "100.0", "1000"] and
          shop[9:14] == ["0", "2.0ms", "1.5s", "50.0", "5.0s"], "the busiest first", shop)
    check(lines[3].split()[0] == "small" and shop[13] != "-", "memory of a process that is there", r)
    r = run("top", "--json", "--admin", serve_once(reply))
    got = json.loads(r.out)["apps"]
    by_name = {app["name"]: app for app in got}
    check(by_name["shop"]["requests_per_s"] == 100 and by_name["shop"]["cpu_share"] == 0.5 and
          by_name["shop"]["private_bytes"] > 1 << 20 and by_name["small"]["requests_per_s"] == 5, "--json", r)
    for reply, words in ((b"", "not the admin listener"), (b"HTTP/1.0 404 No\r\n\r\n{}", "not the admin listener"),
                         (b"HTTP/1.0 200 OK\r\n\r\n[]", "/status is not"), (b"SSH-2.0\r\n", "not the admin")):
        r = run("top", "--once", "--admin", serve_once(reply))
        check(r.status == 1 and words in r.err, reply, r)
    r = run("top", "--admin", "unix:/nowhere/admin.sock")
    check(r.status == 1 and "no server answers" in r.err, "nowhere", r)
    r = run("top", env={"HUTCH_ADMIN": serve_once(b"HTTP/1.0 200 OK\r\n\r\n" + json.dumps(STATUS).encode())})
    check(r.status == 0 and "shop" in r.out, "$HUTCH_ADMIN; no terminal", r)
    r = run("top", "--interval", "1ms")
    check(r.status == 2 and "from 100ms" in r.err, "--interval", r)


def main():
    global WORK
    with tempfile.TemporaryDirectory(prefix="hutch-app-") as place:
        WORK = pathlib.Path(place)
        for function in TESTS:
            if len(sys.argv) > 1 and not any(w in function.__name__ for w in sys.argv[1:]):
                continue
            try:
                function()
            except Exception:  # a test that cannot go on is a failure; the others run
                check(False, f"{function.__name__} ended", traceback.format_exc())
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
