#!/usr/bin/python3
"""Real programs under hutch: each guest runs a long program, and its output must be, byte for
byte, what the same program prints under the machine's own interpreter.

    tests/integration/test_guests.py [CASE...]

tools/dev guests fetches the guests, and builds those that are made here. They are compiled with the
fast tier: this is about being right, tests/bench is about speed. HUTCH names the tool.
"""

import dataclasses
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent / "guests"
ROOT = HERE.parents[2]
BUILD = pathlib.Path(os.environ.get("HUTCH_BUILD_DIR", ROOT / "build"))
HUTCH = os.environ.get("HUTCH", str(BUILD / "tools" / "hutch"))


@dataclasses.dataclass
class Case:
    """The guest sees its program as /app, the shared data as /data and a directory to write in as
    /scratch; the native interpreter gets the same with {app}, {data}, {scratch}, and {packages} for
    the packages of another guest line, whose flags are given too."""

    guest: str
    app: str
    arguments: list[str]
    native: list[str]
    packages: str | None = None
    stdin: str | None = None


PYTHON = "/usr/bin/python3.11"
CASES = {
    "python": Case("python", "python", ["/app/main.py", "/data", "/scratch"],
                   ["/usr/bin/python3", "-I", "{app}/main.py", "{data}", "{scratch}"]),
    "php": Case("php", "php", ["-q", "/app/main.php", "/data", "/scratch"],
                ["/usr/bin/php", "{app}/main.php", "{data}", "{scratch}"]),
    "php-cgi": Case("php-cgi", "php", ["-q", "/app/main.php", "/data", "/scratch"],
                    ["/usr/bin/php", "{app}/main.php", "{data}", "{scratch}"]),
    "ruby": Case("ruby", "ruby", ["/app/main.rb", "/data", "/scratch"],
                 ["/usr/bin/ruby", "{app}/main.rb", "{data}", "{scratch}"]),
    # The shell's statements name /scratch; for the native one they are given its directory.
    "sqlite": Case("sqlite", "sqlite", ["-batch"], ["/usr/bin/sqlite3", "-batch"], stdin="main.sql"),
    "cpython": Case("cpython", "python", ["/app/main.py", "/data", "/scratch"],
                    [PYTHON, "-I", "{app}/main.py", "{data}", "{scratch}"]),
    "flask": Case("cpython", "flask", ["-B", "/app/main.py"],
                  ["/usr/bin/env", "-i", "PYTHONPATH={packages}/site", PYTHON, "-S", "-s", "-B", "{app}/main.py"],
                  packages="flask"),
    "django": Case("cpython", "django", ["-B", "/app/main.py", "/scratch"],
                   ["/usr/bin/env", "-i", "PYTHONPATH={packages}/site", PYTHON, "-S", "-s", "-B", "{app}/main.py",
                    "{scratch}"],
                   packages="django"),
}
SOCKETS = "sockets"
BUILT = ["php-cgi", "cpython", "flask", "django", SOCKETS]


class Failure(Exception):
    pass


def execute(what: str, command: list[str], stdin: bytes, seconds: int) -> bytes:
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, timeout=seconds)
    except subprocess.TimeoutExpired as e:
        raise Failure(f"{what}: more than {seconds} s") from e
    except OSError as e:
        raise Failure(f"{what}: {e}") from e
    if done.returncode != 0:
        tail = done.stderr.decode(errors="replace")[-2000:]
        raise Failure(f"{what}: status {done.returncode}\n{tail}")
    return done.stdout


def compare(native: bytes, guest: bytes) -> None:
    if native == guest:
        return
    a, b = native.splitlines(), guest.splitlines()
    for number, (x, y) in enumerate(zip(a, b), 1):
        if x != y:
            raise Failure(f"line {number} differs\n  native: {x[:300]!r}\n  hutch:  {y[:300]!r}")
    raise Failure(f"{len(a)} lines native, {len(b)} under hutch")


class Guests:
    """What `tools/dev guests` lists; a module is compiled once."""

    def __init__(self, work: pathlib.Path, build: bool) -> None:
        self.reason = "see tools/dev guests"
        if build:
            built = subprocess.run([str(ROOT / "tools" / "dev"), "guests", "build"],
                                   stderr=subprocess.PIPE, text=True)
            sys.stderr.write(built.stderr)
            if built.returncode != 0 and built.stderr.strip():
                self.reason = f"tools/dev guests build: {built.stderr.strip().splitlines()[-1]}"
        listed = subprocess.run([str(ROOT / "tools" / "dev"), "guests"], stdout=subprocess.PIPE,
                                text=True)
        self.lines = {words[0]: words[1:] for words in map(str.split, listed.stdout.splitlines())}
        self.work = work
        self.objects: dict[str, pathlib.Path] = {}

    def line(self, name: str) -> tuple[str, list[str]]:
        if name not in self.lines:
            raise Failure(f"there is no {name}: {self.reason}")
        return self.lines[name][0], self.lines[name][1:]

    def compiled(self, name: str) -> pathlib.Path:
        if name not in self.objects:
            code = self.work / f"{name}.hutch"
            execute("compile", [HUTCH, "compile", "--no-cache", "-O", "fast", "-o", str(code),
                                self.line(name)[0]], b"", 240)
            self.objects[name] = code
        return self.objects[name]


def check(name: str, guests: Guests) -> str:
    case = CASES[name]
    flags = guests.line(case.guest)[1]
    packages = ""
    if case.packages:
        packages, more = guests.line(case.packages)
        flags = [*flags, *more, "--env", "TMPDIR=/scratch"]
    scratch, native_scratch = guests.work / f"{name}-scratch", guests.work / f"{name}-native"
    scratch.mkdir()
    native_scratch.mkdir()
    app = HERE / case.app
    stdin = (app / case.stdin).read_bytes() if case.stdin else b""

    start = time.monotonic()
    code = guests.compiled(case.guest)
    compile_seconds = time.monotonic() - start

    start = time.monotonic()
    output = execute("run", [HUTCH, "run", "--allow-precompiled", *flags,
                             "--dir", f"{HERE / 'data'}::/data", "--dir", f"{scratch}::/scratch",
                             "--dir", f"{app}::/app", str(code), *case.arguments],
                     stdin, 240)
    run_seconds = time.monotonic() - start

    places = {"app": app, "data": HERE / "data", "scratch": native_scratch, "packages": packages}
    native = execute("native", [word.format(**places) for word in case.native],
                     stdin.replace(b"/scratch/", f"{native_scratch}/".encode()), 240)
    if not native:
        raise Failure("the native interpreter printed nothing: the test would prove nothing")
    compare(native, output)
    left = sorted(p.name for p in scratch.iterdir())
    expected = sorted(p.name for p in native_scratch.iterdir())
    if left != expected:
        raise Failure(f"files left: {left}, natively {expected}")
    return (f"{len(output.splitlines())} lines alike, compiled in {compile_seconds:.1f} s, "
            f"ran in {run_seconds:.1f} s")


def ask(address: tuple[str, int], line: bytes) -> bytes:
    """What the guest answers to a line; it is told that no more follows."""
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(line)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(1000):
            answer += piece
        return answer


def check_sockets(guests: Guests) -> str:
    """The own CPython answers connections in each of the ways it has for that."""
    code, flags = guests.compiled("cpython"), guests.line("cpython")[1]
    ways = ["calls", "descriptors", "sockets", "select", "asyncio"]
    with socket.create_server(("127.0.0.1", 0)) as listening:
        process = subprocess.Popen(
            [HUTCH, "run", "--allow-precompiled", "--timeout", "60s", *flags, "--dir", f"{HERE / SOCKETS}::/app",
             str(code), "-B", "/app/main.py"],
            stdin=listening, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        address = listening.getsockname()
    try:
        for way in ways:
            line = f"hello {way}\n".encode()
            try:
                answer = ask(address, line)
            except OSError as e:
                answer = str(e).encode()
            expected = way.encode() + b" " + (line[:4] + b" " if way == "calls" else b"") + line
            if answer != expected:
                process.kill()
                raise Failure(f"{way}: answered {answer!r}\n{process.communicate()[1][-2000:]}")
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    expected = ["OSError"] * 3 + ["ValueError"] * 2 + ["OSError", "done wasi"]
    if process.returncode != 0 or output.split("\n") != expected + [""]:
        raise Failure(f"status {process.returncode}, {output!r}\n{errors[-2000:]}")
    return f"{len(ways)} ways to answer a connection"


def main() -> int:
    known = [*CASES, SOCKETS]
    wanted = sys.argv[1:] or known
    unknown = [name for name in wanted if name not in known]
    if unknown:
        print(f"no case {unknown[0]}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    passed = failed = 0
    work = pathlib.Path(tempfile.mkdtemp(prefix="hutch-guests-"))
    try:
        guests = Guests(work, build=bool(set(wanted) & set(BUILT)))
        for name in wanted:
            try:
                result = check_sockets(guests) if name == SOCKETS else check(name, guests)
                print(f"ok {name}: {result}")
                passed += 1
            except Failure as e:
                print(f"FAILED {name}: {e}")
                failed += 1
            sys.stdout.flush()
    finally:
        shutil.rmtree(work)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
