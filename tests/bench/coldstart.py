#!/usr/bin/python3
"""From a request on the wire to the first byte of its answer, where no instance of the app runs.

    tools/dev bench coldstart [--only CASE]... [--starts N] [--cold-starts N] [--native-starts N]
                              [--seconds S] [--optimize LEVEL] [--awake]

Systems: hutch-cold (`hutch serve`, reuse fresh, without a snapshot: the program is started for each
request), hutch-snapshot (it goes on from a snapshot made on deploy), hutch-prefault (and what the
first request touches is made present first), these three with --prepared 0: no process has heard of the
app before its request; hutch-prepared (what `hutch serve` does for an app that was asked lately: a spare
has done all this before the request, and the guest goes on with it), native (the same app natively: the
process started, the app imported, the request answered). The systems of a case take turns.
"flask-x10" is the Flask application with about ten times as many modules imported. DokuWiki is
PHP over FastCGI; natively Debian's php-cgi, started for each request as a CGI program (native) or as
a FastCGI process whose first request it is (native-fastcgi). Sinatra is Ruby over FastCGI, natively
Debian's ruby with the same adapter.

A request wakes four processes one after the other. Where the processors sleep between requests, and on a
virtual machine a sleeping one belongs to the host, waking them can take longer than all else of a
small start. With --awake they do not sleep: the kernel is asked for no latency at all in
/dev/cpu_dma_latency, as for cyclictest.

A row of build/bench/coldstart.json is {"case", "system", "p50_us", "p99_us", "n"}.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import benchlib
sys.path.insert(0, str(benchlib.ROOT / "tests/integration"))
import fastcgi_client  # noqa: E402
from benchlib import BenchError, HUTCH  # noqa: E402

ROOT = benchlib.ROOT
WORK = pathlib.Path(tempfile.mkdtemp(prefix="hutch-bench-coldstart-"))
HELLO = r"""
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
int main(void) {
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n";
    for (;;) {
        char in[4096];
        int fd = accept(3, 0, 0);
        if (fd < 0) return 1;
        if (read(fd, in, sizeof in) > 0) (void)!write(fd, answer, sizeof answer - 1);
        close(fd);
    }
}
"""
FLASK = """
from flask import Flask
app = Flask(__name__)


@app.get("/")
def hello():
    return "hello\\n"
"""
# Modules that do not need a thread, a socket or a process.
MANY = """
import importlib
for name in '''argparse ast asyncio.events asyncio.futures base64 bisect bz2 calendar cgi chunk cmd
code codecs codeop collections colorsys compileall configparser contextlib copy copyreg csv dataclasses
datetime decimal difflib dis doctest email email.headerregistry email.mime.text encodings.idna enum
filecmp fileinput fnmatch fractions ftplib functools gettext glob graphlib gzip hashlib heapq hmac html
html.parser http.client http.cookiejar http.cookies imaplib imghdr inspect io ipaddress itertools json
keyword lib2to3.pgen2.driver lib2to3.pytree linecache locale logging logging.config logging.handlers
lzma mailbox mimetypes modulefinder netrc nntplib numbers operator optparse os pathlib pdb pickle
pickletools pipes pkgutil platform plistlib poplib pprint profile pstats py_compile pyclbr pydoc
pydoc_data.topics queue quopri random re reprlib rlcompleter sched secrets shelve shlex shutil smtplib
sndhdr sqlite3 statistics string stringprep struct sunau symtable tabnanny tarfile telnetlib tempfile
textwrap this timeit token tokenize trace traceback tracemalloc types typing unicodedata unittest
unittest.mock urllib.request urllib.robotparser uu uuid warnings wave weakref wsgiref.simple_server
wsgiref.validate xdrlib xml.dom.minidom xml.etree.ElementTree xml.sax xmlrpc.client zipapp zipfile
jinja2.ext jinja2.sandbox werkzeug.debug werkzeug.serving werkzeug.middleware.profiler
werkzeug.test click.testing flask.testing flask.cli flask.views'''.split():
    try:
        importlib.import_module(name)
    except Exception:
        pass
""".replace("this ", "")


def guests():
    """NAME -> (path, images) of `tools/dev guests`."""
    out = subprocess.run([ROOT / "tools/dev", "guests"], capture_output=True, text=True, cwd=ROOT)
    if out.returncode != 0:
        raise BenchError("tools/dev guests: " + out.stderr[-500:])
    found = {}
    for line in out.stdout.splitlines():
        name, path, *flags = line.split()
        images = [tuple(flags[i + 1].split("::")) for i, f in enumerate(flags) if f == "--image"]
        found[name] = (pathlib.Path(path), images)
    return found


# ---- cases -----------------------------------------------------------------------------------

class Hello:
    def __init__(self):
        source, self.wasm, self.binary = WORK / "hello.c", WORK / "hello.wasm", WORK / "hello"
        source.write_text(HELLO)
        benchlib.execute(["clang-22", "--target=wasm32-wasi", "-Wno-deprecated", "-O2", str(source),
                          "-o", str(self.wasm)])
        benchlib.execute(["clang-22", "-O2", str(source), "-o", str(self.binary)])

    def yaml(self):
        return f"module: {self.wasm}\ninterface: http\n"

    def natives(self):
        return {"native": Native(self, [str(self.binary)], {})}


class Wsgi:
    """A WSGI application on CPython."""

    def __init__(self, framework, application, files):
        available = guests()
        if "cpython" not in available or framework not in available:
            raise BenchError(f"no guest: tools/dev guests build python {framework}")
        self.python, self.images = available["cpython"]
        self.site, site_images = available[framework]
        self.images = self.images + site_images
        self.application = application
        self.directory = WORK / f"app-{len(list(WORK.iterdir()))}"
        self.directory.mkdir()
        for name, text in files.items():
            path = self.directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def yaml(self):
        mounts = "".join(f"  - source: {image}\n    path: {path}\n" for image, path in self.images)
        return (f"module: {self.python}\ninterface: fastcgi\n"
                f"args: [-m, hutch_wsgi, \"{self.application}\"]\n"
                "env:\n  PYTHONPATH: /adapters:/site:/app\n  PYTHONDONTWRITEBYTECODE: \"1\"\n"
                f"mounts:\n{mounts}"
                f"  - source: {ROOT / 'adapters/python'}\n    path: /adapters\n"
                f"  - source: {self.directory}\n    path: /app\n")

    def natives(self):
        site = next(p for p in (self.site / "site", self.site) if p.is_dir())
        path = f"{ROOT / 'adapters/python'}:{site}:{self.directory}"
        return {"native": Native(
            self, ["/usr/bin/python3.11", "-m", "hutch_wsgi", self.application],
            {"PYTHONPATH": path, "LISTEN_FDS": "1", "PYTHONPYCACHEPREFIX": str(WORK / "pyc")})}


def django():
    settings = """
DEBUG = False
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "urls"
SECRET_KEY = "bench"
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
USE_TZ = True
"""
    urls = """
from django.http import HttpResponse
from django.urls import path
urlpatterns = [path("", lambda request: HttpResponse("hello\\n"))]
"""
    site = """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
from django.core.wsgi import get_wsgi_application
application = get_wsgi_application()
"""
    return Wsgi("django", "site_app:application",
                {"settings.py": settings, "urls.py": urls, "site_app.py": site})


class DokuWiki:
    """DokuWiki from Debian, on our own PHP over FastCGI. Natively on Debian's php-cgi."""
    target = "/doku.php?id=wiki:syntax"
    wanted = b"Formatting Syntax"
    tcp = True  # Host and port are part of the key of its cache of pages

    def __init__(self):
        available = guests()
        if "php-cgi" not in available or "dokuwiki" not in available:
            raise BenchError("no guest: tools/dev guests build php dokuwiki")
        self.php = available["php-cgi"][0]
        self.place, images = available["dokuwiki"]
        self.images = [(image, path.removesuffix(":rw")) for image, path in images]
        # Natively it lies where its own paths say, in a directory that PHP sees as the root.
        self.cgi = shutil.which("php-cgi")

    def yaml(self):
        mounts = "".join(f"  - source: {image}\n    path: {path}\n" for image, path in self.images)
        return (f"module: {self.php}\ninterface: fastcgi\n"
                f"env: {{PHPRC: /hutch, PHP_FCGI_MAX_REQUESTS: \"0\"}}\n"
                f"mounts:\n{mounts}  - source: {ROOT / 'adapters/php'}\n    path: /hutch\n"
                "volumes:\n  - {path: /var/lib/dokuwiki/data, kind: private, size: 16M}\n"
                "  - {path: /tmp, kind: private, size: 4M}\n"
                "site: {root: /usr/share/dokuwiki, index: [doku.php]}\n"
                "limits: {memory: 256M, cpu: 60s, wall: 120s, response: 16M}\n")

    def natives(self):
        if not self.cgi:
            raise BenchError("no php-cgi here, so there is no native row")
        root = WORK / "dokuwiki-root"
        if not root.exists():
            shutil.copytree(self.place / "site", root, symlinks=True)
            shutil.copytree(self.place / "data", root / "var/lib/dokuwiki/data", dirs_exist_ok=True)
            # Debian's paths are absolute: they are made to lie beneath the copy.
            for path in root.rglob("*.php"):
                text = path.read_bytes()
                new = text.replace(b"'/usr/share/", f"'{root}/usr/share/".encode()) \
                    .replace(b"'/etc/dokuwiki", f"'{root}/etc/dokuwiki".encode()) \
                    .replace(b"'/var/lib/dokuwiki", f"'{root}/var/lib/dokuwiki".encode()) \
                    .replace(b'"/etc/dokuwiki', f'"{root}/etc/dokuwiki'.encode())
                if new != text:
                    path.write_bytes(new)
        command = [self.cgi, "-d", "session.save_path=/tmp"]
        request = {"SCRIPT_FILENAME": f"{root}/usr/share/dokuwiki/doku.php", "SCRIPT_NAME": "/doku.php",
                   "DOCUMENT_ROOT": f"{root}/usr/share/dokuwiki", "SERVER_SOFTWARE": "bench",
                   "REDIRECT_STATUS": "200", "PATH_INFO": ""}
        variables = {**fastcgi_client.environment("GET", self.target, {}, None), **request}
        return {"native": NativeCgi(self, command, variables),
                "native-fastcgi": Native(self, command, {}, descriptor=0,
                                         request=fastcgi_client.request(variables))}


class Sinatra:
    """A Sinatra application on Ruby, by the Rack adapter. Natively Debian's ruby with the same adapter."""

    def __init__(self):
        available = guests()
        if "ruby" not in available or "sinatra" not in available:
            raise BenchError("no guest: tools/dev guests build sinatra")
        self.ruby = available["ruby"][0]
        self.place, self.images = available["sinatra"]
        self.native_ruby = shutil.which("ruby")

    def yaml(self):
        mounts = "".join(f"  - source: {image}\n    path: {path}\n" for image, path in self.images)
        return (f"module: {self.ruby}\ninterface: fastcgi\nenv: {{RUBYLIB: /gems}}\n"
                "args: [/hutch/rack_server.rb, /app/config.ru]\n"
                f"mounts:\n{mounts}  - source: {ROOT / 'adapters/ruby'}\n    path: /hutch\n"
                f"  - source: {ROOT / 'tests/integration/apps/sinatra'}\n    path: /app\n"
                "limits: {memory: 256M, cpu: 60s, wall: 120s, start: 120s}\n")

    def natives(self):
        if not self.native_ruby:
            raise BenchError("no ruby here, so there is no native row")
        return {"native": Native(
            self, [self.native_ruby, str(ROOT / "adapters/ruby/rack_server.rb"),
                   str(ROOT / "tests/integration/apps/sinatra/config.ru")],
            {"RUBYLIB": str(self.place / "site")}, descriptor=0,
            request=fastcgi_client.request(fastcgi_client.environment("GET", "/", {}, None)))}


LEAST = 50
CASES = {
    "hello": Hello,
    "flask": lambda: Wsgi("flask", "bench_app:app", {"bench_app.py": FLASK}),
    "flask-x10": lambda: Wsgi("flask", "bench_app:app", {"bench_app.py": FLASK + MANY}),
    "django": django,
    "sinatra": Sinatra,
    "dokuwiki": DokuWiki,
}
INSTABOOT = "instaboot: {requests: [{path: \"PATH\", headers: {Host: \"HOST\"}}]}\n"
SYSTEMS = {"hutch-cold": "", "hutch-snapshot": INSTABOOT, "hutch-prefault": INSTABOOT,
           "hutch-prepared": INSTABOOT}


# ---- measuring -------------------------------------------------------------------------------

def first_byte(s, start, wanted, status=b" 200 "):
    """Seconds from start to the first byte of the answer; the answer is read to its end."""
    answer = s.recv(65536)
    seconds = time.perf_counter() - start
    while more := s.recv(65536):
        answer += more
    if status not in answer.split(b"\r\n")[0] or wanted not in answer:
        raise BenchError(f"the answer is {answer[:200]!r}")
    return seconds


def request_of(app, host="localhost"):
    target = getattr(app, "target", "/")
    return f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()


def wanted_of(app):
    return getattr(app, "wanted", b"hello")


class NoSnapshot(BenchError):
    pass


class Server:
    """`hutch serve` of one app, a new instance for each request."""

    def __init__(self, case, system, app, level):
        self.directory = WORK / f"{case}-{system}"
        self.directory.mkdir()
        if getattr(app, "tcp", False):
            with socket.socket() as s:
                s.bind(("127.0.0.1", 0))
                self.family, self.address = socket.AF_INET, s.getsockname()
            host = listen = "%s:%d" % self.address
        else:
            self.family, self.address = socket.AF_UNIX, f"{self.directory}/socket"
            host, listen = "localhost", f"unix:{self.address}"
        self.request, self.wanted = request_of(app, host), wanted_of(app)
        self.log = self.directory / "log"
        (self.directory / "app.yaml").write_text(
            f"kind: hutch.app/v1\nname: {case}\n{app.yaml()}routes: [/]\nreuse: fresh\n"
            + SYSTEMS[system].replace("PATH", getattr(app, "target", "/")).replace("HOST", host))
        env = dict(os.environ)
        if system == "hutch-snapshot":
            env["HUTCH_NO_PREFAULT"] = "1"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [HUTCH, "serve", "--listen", listen, "--access-log", "off",
                 "--state-dir", self.directory / "state", "--spares", "4", "-O", level,
                 "--prepared", "4" if system == "hutch-prepared" else "0",
                 self.directory / "app.yaml"], env=env, stdout=log, stderr=log)
        end = time.monotonic() + 1200  # the first time, the module is compiled
        while "ready" not in (text := self.log.read_text()):
            if self.process.poll() is not None or time.monotonic() > end:
                raise BenchError(f"hutch serve does not come up: {text[-800:]}")
            time.sleep(0.05)
        if "no snapshot" in text:
            self.stop()
            raise NoSnapshot(next(x for x in text.splitlines() if "no snapshot" in x))

    def sample(self):
        with socket.socket(self.family) as s:
            s.settimeout(60)
            s.connect(self.address)
            start = time.perf_counter()
            s.sendall(self.request)
            seconds = first_byte(s, start, self.wanted)
        time.sleep(0.01)  # the next spare process comes up
        return seconds

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class NativeCgi:
    """The process is started as a web server starts it; its answer comes over a pipe."""

    def __init__(self, app, command, env):
        self.command, self.env, self.wanted = command, env, wanted_of(app)

    def sample(self):
        start = time.perf_counter()
        with subprocess.Popen(self.command, env={**self.env, "PATH": os.environ["PATH"]},
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL) as process:
            answer = os.read(process.stdout.fileno(), 65536)
            seconds = time.perf_counter() - start
            while more := os.read(process.stdout.fileno(), 65536):
                answer += more
        if self.wanted not in answer:
            raise BenchError(f"the native answer is {answer[:300]!r}")
        return seconds

    def stop(self):
        pass


class Native:
    """The request, in HTTP where it is no other, waits in the backlog of the socket that the process
    is started with."""

    def __init__(self, app, command, env, request=None, descriptor=3):
        self.command, self.env, self.descriptor = command, env, descriptor
        self.request, self.wanted = request or request_of(app), wanted_of(app)
        self.status = b"" if request else b" 200 "

    def sample(self):
        with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as s:
            path = f"{WORK}/native"
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            listener.bind(path)
            listener.listen(1)
            s.settimeout(60)
            s.connect(path)
            s.sendall(self.request)

            def as_wanted():
                os.dup2(listener.fileno(), self.descriptor)

            start = time.perf_counter()
            process = subprocess.Popen(self.command, env=dict(os.environ, **self.env),
                                       preexec_fn=as_wanted, pass_fds=(self.descriptor,),
                                       stderr=subprocess.DEVNULL)
            try:
                return first_byte(s, start, self.wanted, self.status)
            finally:
                process.kill()
                process.wait()

    def stop(self):
        pass


LATENCY = "/dev/cpu_dma_latency"  # kernel: Documentation/power/pm_qos_interface.rst


@contextlib.contextmanager
def processors(awake):
    """As long as the file is open, the longest time a processor may take to wake, in microseconds."""
    if not awake:
        yield
        return
    with open(LATENCY, "wb", buffering=0) as file:
        file.write((0).to_bytes(4, sys.byteorder))
        yield


def percentile(samples, share):
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def measure(case, options, rows):
    app = CASES[case]()
    counts = {"hutch-cold": options.cold_starts, "hutch-snapshot": options.starts,
              "hutch-prefault": options.starts, "hutch-prepared": options.starts}
    samples = {system: [] for system in counts}
    running = {}
    try:
        for system in SYSTEMS:
            benchlib.progress(f"{case}: {system}: deploying")
            try:
                running[system] = Server(case, system, app, options.optimize)
            except NoSnapshot as e:
                print(f"\n{case}: {system}: {e}", file=sys.stderr)
                del samples[system]
        try:
            natives = app.natives()
        except BenchError as e:
            print(f"\n{case}: native: {e}", file=sys.stderr)
            natives = {}
        for system, one in natives.items():
            running[system], samples[system], counts[system] = one, [], options.native_starts
        for system in list(running):  # what is compiled, cached and faulted in once
            for _ in range(3):
                running[system].sample()
        spent = dict.fromkeys(running, 0.0)
        for i in range(max(counts.values())):
            if i % 10 == 0:
                benchlib.progress(f"{case}: {i} of {max(counts.values())}")
            for system, one in running.items():
                # Slow ones are stopped by the clock, once there are enough to speak of.
                if len(samples[system]) < counts[system] and \
                        (spent[system] < options.seconds or len(samples[system]) < LEAST):
                    began = time.monotonic()
                    samples[system].append(one.sample())
                    spent[system] += time.monotonic() - began
    finally:
        for one in running.values():
            one.stop()
    for system, values in samples.items():
        rows.append({"case": case, "system": system, "p50_us": round(statistics.median(values) * 1e6),
                     "p99_us": round(percentile(values, 0.99) * 1e6), "n": len(values)})


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/dev bench coldstart", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=CASES, metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--starts", type=int, default=500, help="from a snapshot (500)")
    parser.add_argument("--cold-starts", type=int, default=500, help="without one (500)")
    parser.add_argument("--native-starts", type=int, default=500, help="natively (500)")
    parser.add_argument("--seconds", type=float, default=90,
                        help="a system that has taken so long gets no more starts, once it had 50 (90)")
    parser.add_argument("--optimize", default="2", help="level the apps are compiled at (2)")
    parser.add_argument("--awake", action="store_true", help="no processor sleeps")
    options = parser.parse_args()
    rows, missing, status = [], [], 0
    for case in options.only or CASES:
        try:
            with processors(options.awake):
                measure(case, options, rows)
        except (BenchError, OSError, subprocess.SubprocessError) as e:
            print(f"\n{case}: not measured: {str(e).strip()[-800:]}", file=sys.stderr)
            missing.append(case)
            status = 1
    benchlib.progress("")
    benchlib.table(("case", "system", "p50 ms", "p99 ms", "n"),
                   [(r["case"], r["system"], f"{r['p50_us'] / 1e3:.2f}", f"{r['p99_us'] / 1e3:.2f}",
                     str(r["n"])) for r in rows])
    benchlib.OUT.mkdir(parents=True, exist_ok=True)
    path = benchlib.OUT / "coldstart.json"
    path.write_text(json.dumps({"machine": benchlib.machine(), "awake": options.awake,
                                "not_measured": missing, "rows": rows}, indent=1) + "\n")
    print(path)
    shutil.rmtree(WORK, ignore_errors=True)
    return status


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
