#!/usr/bin/python3
"""hutch serve beside the same apps run natively, in one run on one machine.

    tools/dev bench serve [--only hello|flask|php] [--seconds N] [--cold N]

Apps: hello in C on the raw HTTP interface (natively: the same source on a listening socket), Flask
on CPython (gunicorn with as many sync workers as there may be tenants), a PHP page by FastCGI (php-fpm
behind nginx). Instances start from a snapshot, but for "start" and CGI. For each reuse policy: the
time of a request that finds no tenant, and p50, p99 and requests per second of wrk at 1, 16 and 64
connections. Rows go to build/bench/serve.json.

One processor's worth of load generator runs on the same machine: compare the rows of one run with
each other, not with those of another.
"""

import argparse
import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time

import benchlib
from benchlib import BenchError

ROOT = benchlib.ROOT
CONNECTIONS = (1, 16, 64)
INSTANCES = 4
WORK = pathlib.Path(tempfile.mkdtemp(prefix="hutch-bench-serve-"))
FLASK = """
from flask import Flask
app = Flask(__name__)


@app.get("/")
def hello():
    return "hello from flask\\n"
"""
PHP = """<?php
header("Content-Type: text/plain");
$sum = 0;
foreach (range(1, 100) as $i) $sum += $i * $i;
echo "hello from php $sum\\n";
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_port(port, process, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise BenchError("a server does not start; see " + str(WORK))


def request(port, path):
    """Seconds of one request on a connection of its own, and its body."""
    start = time.perf_counter()
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    c.request("GET", path)
    response = c.getresponse()
    body = response.read()
    took = time.perf_counter() - start
    c.close()
    if response.status != 200:
        raise BenchError(f"{path}: status {response.status}: {body[:200]!r}")
    return took, body


# ---- systems ---------------------------------------------------------------------------------

class Process:
    def __init__(self, command, port, cwd=None, pass_fds=(), env=None):
        self.port = port
        self.log = open(WORK / f"{port}.log", "ab")
        self.process = subprocess.Popen([str(w) for w in command], stdout=self.log,
                                        stderr=self.log, stdin=subprocess.DEVNULL, cwd=cwd,
                                        pass_fds=pass_fds, env={**os.environ, **(env or {})})
        wait_port(port, self.process)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


class Hutch(Process):
    optimize = "2"

    def __init__(self, name, app):
        directory = WORK / name
        directory.mkdir(exist_ok=True)
        (directory / "app.yaml").write_text(app)
        self.admin = free_port()
        self.access = directory / "access.log"
        port = free_port()
        super().__init__([benchlib.HUTCH, "serve", "--listen", f"127.0.0.1:{port}",
                          "--admin", f"127.0.0.1:{self.admin}", "--state-dir", directory,
                          "--access-log", "off", "--log", directory / "log", "--spares", INSTANCES,
                          "-O", self.optimize, directory / "app.yaml"], port)
        try:
            self.wait_ready()
        except BaseException:
            self.__exit__()
            raise

    def wait_ready(self):
        end = time.monotonic() + 1200  # the first time, modules are compiled
        while time.monotonic() < end:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.ask("/readyz")[0] == 200:
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise BenchError((WORK / f"{self.port}.log").read_text())

    def ask(self, path):
        c = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=5)
        c.request("GET", path)
        response = c.getresponse()
        body = response.read()
        c.close()
        return response.status, body

    def tenants(self):
        return json.loads(self.ask("/status")[1])["tenant_list"]

    def to_zero(self):
        """Ends the app's tenants, and waits until there are none but spares, all ready."""
        for t in self.tenants():
            if t.get("app"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(t["pid"], signal.SIGKILL)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            tenants = self.tenants()
            if tenants and all(t["state"] == "spare" for t in tenants):
                time.sleep(0.02)
                return
            time.sleep(0.005)


def load(port, path, connections, seconds):
    """p50 and p99 in seconds, requests per second, and failures, from wrk."""
    script = WORK / "report.lua"
    script.write_text(textwrap.dedent("""
        done = function(summary, latency, requests)
          io.write(string.format("RESULT %d %d %d %d %d\\n", latency:percentile(50),
            latency:percentile(99), summary.requests, summary.duration,
            summary.errors.connect + summary.errors.read + summary.errors.status
            + summary.errors.timeout))
        end
        """))
    out = subprocess.run(["wrk", "-t", "1", "-c", str(connections), "-d", f"{seconds}s", "-s",
                          script, "--timeout", "10s", f"http://127.0.0.1:{port}{path}"],
                         capture_output=True, text=True)
    found = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) (\d+)", out.stdout)
    if not found:
        raise BenchError("wrk: " + out.stdout + out.stderr)
    p50, p99, requests, duration, errors = map(int, found.groups())
    return p50 / 1e6, p99 / 1e6, requests / (duration / 1e6), errors


# ---- apps ------------------------------------------------------------------------------------

def guests(*build):
    """What `tools/dev guests` lists, after it has built what is named."""
    if build:
        subprocess.run([ROOT / "tools/dev", "guests", "build", *build], stderr=subprocess.DEVNULL)
    out = subprocess.run([ROOT / "tools/dev", "guests"], capture_output=True, text=True)
    found = {}
    for line in out.stdout.splitlines():
        name, path, *flags = line.split()
        images = [f.split("::") for f in flags if "::" in f]
        found[name] = (path, {guest: image for image, guest in images})
    return found


def wasm(source, out):
    subprocess.run(["clang-22", "--target=wasm32-wasi", "-Wno-deprecated", "-O2", "-o", out, source],
                   check=True)


def app_text(name, module, interface, reuse, more=""):
    """reuse "start" is "fresh" without a snapshot."""
    boot = interface != "cgi" and reuse != "start"
    reuse = "fresh" if reuse == "start" else reuse
    return (f"name: {name}\nmodule: {module}\ninterface: {interface}\nreuse: {reuse}\n"
            f"limits: {{memory: 256M, cpu: 30s, wall: 60s, start: 60s, instances: {INSTANCES}, "
            f"queue: 1000}}\n" + ("instaboot: true\n" if boot else "") + more)


class Hello:
    path = "/x"
    policies = ("start", "fresh", "reset", "keep")
    native_name = "the same C, native"

    def __init__(self):
        source = ROOT / "tests/serve/guests/http.c"
        self.module = WORK / "hello.wasm"
        self.native_program = WORK / "hello"
        wasm(source, self.module)
        subprocess.run(["clang-22", "-O2", "-w", "-o", self.native_program, source], check=True)

    def text(self, reuse):
        return app_text("hello", self.module, "http", reuse)

    @contextlib.contextmanager
    def native(self):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", 0))
        s.listen(1024)
        starter = ("import os, sys; os.dup2(int(sys.argv[1]), 3); os.execv(sys.argv[2], sys.argv[2:])")
        command = [sys.executable, "-c", starter, s.fileno(), self.native_program]
        port = s.getsockname()[1]
        with contextlib.ExitStack() as stack:
            servers = [stack.enter_context(Process(command, port, pass_fds=(s.fileno(),)))
                       for _ in range(INSTANCES)]
            s.close()
            yield servers[0]


class Flask:
    path = "/"
    policies = ("start", "fresh", "reset", "keep")
    native_name = "gunicorn"

    def __init__(self):
        known = guests("python", "flask")
        if "cpython" not in known or "flask" not in known:
            raise BenchError("tools/dev guests knows no cpython or flask")
        self.directory = WORK / "flaskapp"
        self.directory.mkdir()
        (self.directory / "hello.py").write_text(FLASK)
        self.module, images = known["cpython"]
        images = {**images, **known["flask"][1], "/app": str(self.directory),
                  "/hutch": str(ROOT / "adapters/python")}
        self.more = ("args: [-m, hutch_wsgi, 'hello:app']\n"
                     "env: {PYTHONPATH: '/hutch:/site:/app', PYTHONDONTWRITEBYTECODE: '1'}\nmounts:\n"
                     + "".join(f"  {guest}: {image}\n" for guest, image in images.items()))

    def text(self, reuse):
        return app_text("flask", self.module, "fastcgi", reuse, self.more)

    @contextlib.contextmanager
    def native(self):
        port = free_port()
        with Process(["/usr/bin/gunicorn", "--workers", INSTANCES, "--bind", f"127.0.0.1:{port}",
                      "--log-level", "error", "hello:app"], port, cwd=self.directory) as p:
            yield p


class Php:
    path = "/index.php"
    policies = ("start", "fresh", "reset", "keep")
    native_name = "php-fpm behind nginx"

    def __init__(self):
        known = guests()
        if "php-cgi" not in known:
            raise BenchError("tools/dev guests knows no php-cgi")
        self.directory = WORK / "phpapp"
        self.directory.mkdir()
        (self.directory / "index.php").write_text(PHP)
        self.module = known["php-cgi"][0]

    def text(self, reuse):
        return app_text("php", self.module, "fastcgi", reuse,
                        f"env: {{PHPRC: /hutch, PHP_FCGI_MAX_REQUESTS: '0'}}\nmounts:\n  /srv: {self.directory}\n"
                        f"  /hutch: {ROOT}/adapters/php\n"
                        "site: {root: /srv, index: [index.php], scripts: [.php]}\n")

    @contextlib.contextmanager
    def native(self):
        d, port, fpm = WORK / "fpm", free_port(), free_port()
        d.mkdir()
        self.directory.chmod(0o755)
        WORK.chmod(0o755)
        (d / "fpm.conf").write_text(textwrap.dedent(f"""
            [global]
            error_log = {d}/fpm.log
            daemonize = no
            [www]
            {'user = nobody' if os.geteuid() == 0 else ''}
            {'group = nogroup' if os.geteuid() == 0 else ''}
            listen = 127.0.0.1:{fpm}
            pm = static
            pm.max_children = {INSTANCES}
            """))
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"):
            (d / name).mkdir()
        (d / "nginx.conf").write_text(textwrap.dedent(f"""
            pid {d}/pid; daemon off; error_log {d}/error.log;
            {'user root;' if os.geteuid() == 0 else ''}
            events {{ worker_connections 1024; }}
            http {{
                access_log off; client_body_temp_path client_body; fastcgi_temp_path fastcgi;
                proxy_temp_path proxy; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
                keepalive_requests 1000000;
                upstream php {{ server 127.0.0.1:{fpm}; }}
                server {{
                    listen 127.0.0.1:{port};
                    root {self.directory};
                    location ~ \\.php$ {{
                        include /etc/nginx/fastcgi_params;
                        fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
                        fastcgi_pass php;
                    }}
                }}
            }}
            """))
        programs = sorted(pathlib.Path("/usr/sbin").glob("php-fpm*"))
        if not programs:
            raise BenchError("there is no php-fpm")
        with Process([programs[-1], "-F", "-y", d / "fpm.conf", "-d", "opcache.enable=1"], fpm), \
                Process(["/usr/sbin/nginx", "-p", d, "-c", d / "nginx.conf"], port) as p:
            yield p


APPS = {"hello": Hello, "flask": Flask, "php": Php}


# ---- measuring -------------------------------------------------------------------------------

def percentile(samples, share):
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def measure_load(report, case, system, port, path, seconds, rows):
    for connections in CONNECTIONS:
        benchlib.progress(f"{case}, {system}, {connections} connections")
        p50, p99, rate, errors = load(port, path, connections, seconds)
        name = f"{case} c{connections}"
        for metric, value, unit in (("p50", p50, "s"), ("p99", p99, "s"),
                                    ("requests_per_second", rate, "1/s"),
                                    ("errors", errors, "requests")):
            report.add(name, system, metric, value, unit, round(rate * seconds))
        rows.append((name, system, f"{p50 * 1e3:.2f}", f"{p99 * 1e3:.2f}", f"{rate:.0f}", str(errors)))


def measure_cold(report, case, server, path, count, rows):
    samples = []
    for i in range(count):
        benchlib.progress(f"{case}, cold start {i + 1} of {count}")
        server.to_zero()
        samples.append(request(server.port, path)[0])
    p50, p99 = statistics.median(samples), percentile(samples, 0.99)
    report.add(f"{case} cold", "hutch", "p50", p50, "s", count)
    report.add(f"{case} cold", "hutch", "p99", p99, "s", count)
    rows.append((f"{case} cold", "hutch", f"{p50 * 1e3:.2f}", f"{p99 * 1e3:.2f}", "", ""))


def measure(name, report, options, rows):
    app = APPS[name]()
    with app.native() as native:
        request(native.port, app.path)
        measure_load(report, name, app.native_name, native.port, app.path, options.seconds, rows)
    for reuse in app.policies:
        if options.reuse and reuse not in options.reuse:
            continue
        case = f"{name} {reuse}"
        try:
            with Hutch(f"{name}-{reuse}", app.text(reuse)) as server:
                for _ in range(INSTANCES):
                    request(server.port, app.path)
                measure_cold(report, case, server, app.path, options.cold, rows)
                if reuse == "start":
                    continue  # each request costs a cold start
                request(server.port, app.path)
                measure_load(report, case, "hutch", server.port, app.path, options.seconds, rows)
        except BenchError as e:
            # What cannot be had is said, and counts as no figure.
            print(f"\n{case}: not measured: {str(e).strip()[-400:]}", file=sys.stderr)
            report.extra.setdefault("not_measured", []).append(case)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/dev bench serve", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=APPS, metavar="APP", help=", ".join(APPS))
    parser.add_argument("--reuse", action="append", choices=("start", "fresh", "reset", "keep"))
    parser.add_argument("--seconds", type=int, default=5, help="of load for each figure (5)")
    parser.add_argument("--cold", type=int, default=50, help="cold starts for each app (50)")
    parser.add_argument("-O", dest="optimize", default="2", help="level for the modules (2)")
    options = parser.parse_args()
    Hutch.optimize = options.optimize
    report = benchlib.Report("serve", {
        "options": f"-O {options.optimize} --seconds {options.seconds}",
        "wrk": benchlib.first_line("wrk", "-v"), "nginx": benchlib.first_line("nginx", "-V"),
        "gunicorn": benchlib.first_line("/usr/bin/gunicorn", "--version"),
        "php": benchlib.first_line("php", "-v")})
    rows = []
    status = 0
    for name in options.only or APPS:
        try:
            measure(name, report, options, rows)
        except (BenchError, OSError, subprocess.SubprocessError) as e:
            # The others are measured all the same.
            print(f"\nbench serve: {name}: {e}", file=sys.stderr)
            report.extra.setdefault("not_measured", []).append(name)
            status = 1
    benchlib.progress("")
    benchlib.table(("case", "system", "p50 ms", "p99 ms", "requests/s", "errors"), rows)
    report.finish(None)
    shutil.rmtree(WORK, ignore_errors=True)
    return status


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
