#!/usr/bin/python3
"""Real programs under hutch: each guest runs a long program, and its output must be, byte for
byte, what the same program prints under the machine's own interpreter.

    tests/integration/test_guests.py [GUEST...]

tools/dev guests fetches the guests. They are compiled with the fast tier: this is about being
right, tests/bench is about speed. HUTCH names the tool.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent / "guests"
ROOT = HERE.parents[2]
BUILD = pathlib.Path(os.environ.get("HUTCH_BUILD_DIR", ROOT / "build"))
HUTCH = os.environ.get("HUTCH", str(BUILD / "tools" / "hutch"))

# name: arguments of the guest, the native command, the file fed to standard input. The guest sees
# its program as /app, the shared data as /data and a directory to write in as /scratch; the
# native interpreter gets the same with {app}, {data} and {scratch}.
PROGRAMS = {
    "python": (["/app/main.py", "/data", "/scratch"],
               ["/usr/bin/python3", "-I", "{app}/main.py", "{data}", "{scratch}"], None),
    "php": (["-q", "/app/main.php", "/data", "/scratch"],
            ["/usr/bin/php", "{app}/main.php", "{data}", "{scratch}"], None),
    "ruby": (["/app/main.rb", "/data", "/scratch"],
             ["/usr/bin/ruby", "{app}/main.rb", "{data}", "{scratch}"], None),
    # The shell's statements name /scratch; for the native one they are given its directory.
    "sqlite": (["-batch"], ["/usr/bin/sqlite3", "-batch"], "main.sql"),
}


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


def check(name: str, wasm: str, flags: list[str], work: pathlib.Path) -> str:
    arguments, native_command, stdin_file = PROGRAMS[name]
    compiled = work / f"{name}.hutch"
    scratch, native_scratch = work / f"{name}-scratch", work / f"{name}-native"
    scratch.mkdir()
    native_scratch.mkdir()
    stdin = (HERE / name / stdin_file).read_bytes() if stdin_file else b""

    start = time.monotonic()
    execute("compile", [HUTCH, "compile", "--no-cache", "-O", "fast", "-o", str(compiled), wasm], b"", 240)
    compile_seconds = time.monotonic() - start

    start = time.monotonic()
    output = execute("run", [HUTCH, "run", "--allow-precompiled", *flags,
                             "--dir", f"{HERE / 'data'}::/data", "--dir", f"{scratch}::/scratch",
                             "--dir", f"{HERE / name}::/app", str(compiled), *arguments],
                     stdin, 240)
    run_seconds = time.monotonic() - start

    places = {"app": HERE / name, "data": HERE / "data", "scratch": native_scratch}
    native = execute("native", [word.format(**places) for word in native_command],
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


def main() -> int:
    wanted = sys.argv[1:] or list(PROGRAMS)
    unknown = [name for name in wanted if name not in PROGRAMS]
    if unknown:
        print(f"no guest {unknown[0]}; there are {', '.join(PROGRAMS)}", file=sys.stderr)
        return 2
    fetched = subprocess.run([str(ROOT / "tools" / "dev"), "guests"], stdout=subprocess.PIPE,
                             text=True)
    guests = {words[0]: words[1:] for words in map(str.split, fetched.stdout.splitlines())}
    passed = failed = 0
    work = pathlib.Path(tempfile.mkdtemp(prefix="hutch-guests-"))
    try:
        for name in wanted:
            try:
                if name not in guests:
                    raise Failure("not fetched: see tools/dev guests")
                print(f"ok {name}: {check(name, guests[name][0], guests[name][1:], work)}")
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
