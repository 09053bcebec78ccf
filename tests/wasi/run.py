#!/usr/bin/env python3
"""Runs the official WASI preview1 suite with the hutch command.

Every test is a module with an optional JSON file of the same name beside it: args, env, root (or
dirs) to preopen, and the expected exit_code, stdout and stderr. A directory is copied afresh for
each test, so that tests can run side by side and leave nothing behind. The last line is
"N passed, N failed", the exit status 1 where anything failed.

Each test that preopens a directory runs once for each kind of directory there is: one of the host
(dir), the same through the process that holds it as a volume (volume), the writable layer over an
image of it (layer), and, where it needs no files that are there before, an empty one in memory
(tmpfs), and, where it changes nothing, the image alone (image).

    run.py --hutch build/tools/hutch --suite wasi-testsuite [--jobs 2] [--filter NAME] [--kind KIND]
           [-- HUTCH ARGS]
"""
import argparse
import concurrent.futures
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

SUITE = "tests/*/testsuite/wasm32-wasip1/*.wasm"
KINDS = ("dir", "volume", "layer", "tmpfs", "image")

# What changes no file, by what its sources do.
READ_ONLY = {"close_preopen", "fdopendir-with-access", "fopen-with-access", "lseek",
             "path_open_preopen", "pread-with-access", "stat-dev-ino"}


def specification(wasm):
    path = wasm.with_suffix(".json")
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def directories(spec, wasm):
    """Host directories to preopen, each with the guest's name for it."""
    if "root" in spec:
        yield wasm.parent / spec["root"], "/"
    for name in spec.get("dirs", []):
        yield wasm.parent / name, name


def is_empty(directory):
    return all(f.name.startswith(".") for f in directory.iterdir())


def kinds(wasm):
    """The kinds of directory a test runs with."""
    roots = [host for host, _ in directories(specification(wasm), wasm)]
    yield "dir"
    if not roots:
        return
    yield "volume"
    yield "layer"
    if all(is_empty(host) for host in roots):
        yield "tmpfs"
    if wasm.stem in READ_ONLY:
        yield "image"


def preopen(hutch, kind, host, guest, scratch):
    """The arguments of hutch run that give a guest a directory of this kind."""
    if kind == "tmpfs":
        return ["--tmpfs", guest]
    if kind in ("dir", "volume"):
        shutil.copytree(host, scratch, symlinks=True)
        return [f"--{kind}", f"{scratch}::{guest}"]
    image = f"{scratch}.erofs"
    subprocess.run([hutch, "image", "create", host, "-o", image], check=True,
                   stdout=subprocess.DEVNULL)
    return ["--image", f"{image}::{guest}" + (":rw" if kind == "layer" else "")]


def command(hutch, hutch_args, wasm, spec, kind, scratch):
    argv = [hutch, "run", *hutch_args]
    for number, (host, guest) in enumerate(directories(spec, wasm)):
        argv += preopen(hutch, kind, host, guest, scratch / str(number))
    for name, value in spec.get("env", {}).items():
        argv += ["--env", f"{name}={value}"]
    return argv + [str(wasm)] + spec.get("args", [])


def complaints(spec, result):
    expected = spec.get("exit_code", 0)
    if result.returncode != expected:
        yield f"exit code {result.returncode}, expected {expected}"
    for stream in ("stdout", "stderr"):
        actual = getattr(result, stream)
        if stream in spec and actual != spec[stream].encode():
            yield f"{stream} {actual!r}, expected {spec[stream]!r}"


def run(options, wasm, kind):
    """The lines to print for a test; none where it passed."""
    spec = specification(wasm)
    with tempfile.TemporaryDirectory(prefix="hutch-wasi-") as scratch:
        argv = command(options.hutch, options.hutch_args, wasm, spec, kind, pathlib.Path(scratch))
        try:
            result = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True,
                                    timeout=options.timeout, check=False)
        except subprocess.TimeoutExpired:
            return [f"timeout after {options.timeout} s"]
        lines = list(complaints(spec, result))
        if lines:
            lines += result.stderr.decode(errors="replace").splitlines()[:12]
        return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hutch", required=True, help="the hutch command")
    parser.add_argument("--suite", required=True, type=pathlib.Path,
                        help="a checkout of the suite, with compiled tests")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=120, help="seconds for a test")
    parser.add_argument("--filter", default="", help="only tests whose name contains this")
    parser.add_argument("--kind", choices=KINDS, help="only with this kind of directory")
    parser.add_argument("hutch_args", nargs="*", help="further arguments for hutch run")
    options = parser.parse_args()
    tests = sorted(t for t in options.suite.glob(SUITE) if options.filter in t.stem)
    if not tests:
        sys.exit(f"no tests in {options.suite}/{SUITE}")
    cases = [(t, kind) for t in tests for kind in kinds(t) if options.kind in (None, kind)]
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for (test, kind), lines in zip(cases, pool.map(lambda c: run(options, *c), cases)):
            if lines:
                failed += 1
                print(f"FAILED {test.relative_to(options.suite)} ({kind})")
                print("\n".join("    " + line for line in lines))
    print(f"{len(cases) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
