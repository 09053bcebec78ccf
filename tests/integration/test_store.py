#!/usr/bin/python3
"""The store under faults: killed, full and broken disks, changed bytes. Nothing is lost or torn.

    tests/integration/test_store.py [--all] [WORD...]

Runs tests/fault/fault_store (changes of the store) and fault_damage (changed bytes), and `hutch
import` and `hutch run` under fault_trace. --all: at every system call and byte; otherwise at every
few. WORD picks the tests whose names contain it. Closes with `N passed, N failed`.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("HUTCH_BUILD_DIR", ROOT / "build")).resolve()
HUTCH = pathlib.Path(os.environ.get("HUTCH", BUILD / "tools" / "hutch")).resolve()
FAULT = (BUILD / "tests" / "fault").resolve()
passed = failed = 0
TESTS = []
WORK = pathlib.Path()  # a directory of our own, set by main
ALL = False


def test(function):
    TESTS.append(function)
    return function


def check(condition, what, *details):
    global passed, failed
    if condition:
        passed += 1
        return
    failed += 1
    caller = traceback.extract_stack()[-2]
    print(f"FAIL {caller.name}:{caller.lineno} {what}", flush=True)
    for detail in details:
        print("     " + str(detail)[-1500:].replace("\n", "\n     "), flush=True)


def environment():
    kept = {n: os.environ[n] for n in ("PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS") if n in os.environ}
    return {**kept, "HOME": str(WORK), "HUTCH_CACHE_DIR": str(WORK / "store")}


def run(*command, seconds=120):
    try:
        return subprocess.run([str(w) for w in command], env=environment(), cwd=WORK, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", "took too long")


def program(name, *arguments):
    """A test program of its own; its counts are ours too."""
    global passed, failed
    if not (FAULT / name).exists():
        check(False, f"{name} is built")
        return
    done = run(FAULT / name, *arguments, seconds=3600)
    counts = re.search(r"^(\d+) passed, (\d+) failed$", done.stdout, re.M)
    check(counts is not None and (done.returncode == 0) == (counts[2] == "0"),
          f"{name} ends with its counts", done.stdout[-3000:], done.stderr[-1000:])
    if counts:
        passed += int(counts[1])
        failed += int(counts[2])
        if counts[2] != "0":
            print(done.stdout[-6000:], flush=True)


def module():
    path = WORK / "seven.wasm"
    if not path.exists():
        source = WORK / "seven.wat.txt"
        source.write_text("""(module
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1) (data (i32.const 8) "here")
            (func (export "_start") (call $exit (i32.const 7))))""")
        subprocess.run(["wat2wasm", source, "-o", path], check=True)
    return path


def fresh(template="template"):
    shutil.rmtree(WORK / "store", ignore_errors=True)
    shutil.copytree(WORK / template, WORK / "store", symlinks=True)  # keeps modes and times


def sound(what):
    """Whatever verify finds at first it repairs, and no name or kept entry is gone."""
    first = run(HUTCH, "cache", "verify", "--json")
    second = run(HUTCH, "cache", "verify", "--json")
    check(first.returncode == 0, f"{what}: verify", first.stdout, first.stderr)
    try:
        found = json.loads(second.stdout)
        bad = [k for k in ("damaged", "missing", "dangling", "adopted") if found[k]]
        check(not bad and not found["index_rebuilt"], f"{what}: clean", second.stdout)
    except (ValueError, KeyError):
        check(False, f"{what}: verify again", second.stdout, second.stderr)
    kept = run(HUTCH, "cache", "show", "--json", "kept:1")
    check(kept.returncode == 0, f"{what}: what was there", kept.stderr)


def faults(stride, command, after):
    """command under each fault at every so many calls; after(what, fault, its exit status)."""
    for offset, fault in enumerate(("kill-all", "kill-one", "ENOSPC", "EIO")):
        step = 1 if ALL else stride if fault.startswith("kill") else max(stride // 4, 1)
        at, points = offset % step, 0
        while True:
            fresh()
            done = run(FAULT / "fault_trace", fault, at, *command)
            words = done.stdout.split()
            what = f"{fault} at call {at}"
            check(done.returncode == 0 and len(words) == 3, f"{what}: ends", done)
            if len(words) != 3 or words[1] == "0":
                break
            status = int(words[2])
            check(fault.startswith("kill") or status < 128, f"{what}: no crash", status)
            after(what, fault, status)
            at += step
            points += 1
        print(f"{command[1]}: {fault} at {points} calls, every {step}", flush=True)
        check(points > 3, "there were calls", points)


@test
def changes():
    program("fault_store", *(["--all"] if ALL else ["--stride", "2"]))


@test
def hibernated():
    program("fault_hibernated")


@test
def damage():
    program("fault_damage", *(["--all"] if ALL else []), BUILD / "tests/unit/seed.hutch")


@test
def imports():
    command = [HUTCH, "import", "--allow-unsigned", WORK / "app.tar"]

    def after(what, fault, status):
        there = run(HUTCH, "cache", "show", "--json", "app:1")
        if fault != "kill-all" and status == 0:
            check(there.returncode == 0, f"{what}: said done", there.stderr)
        sound(what)
        if there.returncode == 0:  # all of it, if it has its name
            ran = run(HUTCH, "run", "app:1")
            check(ran.returncode == 7, f"{what}: the app runs", ran.stderr)
        again = run(*command)
        check(again.returncode == 0, f"{what}: goes through afterwards", again.stderr)
        ran = run(HUTCH, "run", "app:1")
        check(ran.returncode == 7, f"{what}: the app runs then", ran.stderr)

    faults(29, command, after)


@test
def runs():
    """A run that meets a fault of the store runs all the same, or says why not."""
    command = [HUTCH, "run", module()]

    def after(what, fault, status):
        if not fault.startswith("kill"):
            # 127: the dynamic linker could not read a library
            check(status in (1, 7, 127), f"{what}: the program's status or a message", status)
        sound(what)
        ran = run(HUTCH, "run", module())
        check(ran.returncode == 7 and ran.stderr == "", f"{what}: runs afterwards", ran.stderr)

    faults(61, command, after)


@test
def small_disk():
    """A disk that is really full: programs run, the store stays sound, and works once there is room."""
    (WORK / "disk").mkdir()
    many = []
    for number in range(12):
        source = WORK / f"many{number}.wat.txt"
        source.write_text(f"""(module
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1) (data (i32.const 8) "{'x' * 3000}")
            (func (export "_start") (call $exit (i32.const {number}))))""")
        subprocess.run(["wat2wasm", source, "-o", WORK / f"many{number}.wasm"], check=True)
        many.append(f"many{number}.wasm")
    script = WORK / "small.sh"
    script.write_text(f"""
        mount -t tmpfs -o size=400k none disk || exit 77
        export HUTCH_CACHE_DIR={WORK}/disk/cache
        n=0
        for m in {' '.join(many)}; do
            {HUTCH} run $m; [ $? = $n ] || echo "run of $m: not $n"
            n=$((n + 1))
        done
        {HUTCH} cache verify || echo "verify 1"
        {HUTCH} cache export-stats | grep -E '^hutch_cache_(evicted_total|disk)'
        dd if=/dev/zero of=disk/filler bs=4k 2>/dev/null
        {HUTCH} cache gc --max-size 0 >/dev/null || echo "gc on a full disk"
        dd if=/dev/zero of=disk/filler2 bs=4k 2>/dev/null
        n=0
        for m in {' '.join(many)}; do
            {HUTCH} run $m 2>>notes; [ $? = $n ] || echo "full: run of $m: not $n"
            n=$((n + 1))
        done
        {HUTCH} cache name x {many[0]} 2>/dev/null && echo "named on a full disk"
        rm disk/filler disk/filler2
        {HUTCH} cache verify || echo "verify 2"
        {HUTCH} cache verify --json | grep -q '"index_rebuilt": false' || echo "verify 3"
        {HUTCH} run {many[3]}; [ $? = 3 ] || echo "with room again"
        {HUTCH} cache list | grep -q '^[1-9]' || echo "nothing kept"
        # Not even the index has room: everything is new on a full disk.
        rm -rf disk/cache; dd if=/dev/zero of=disk/filler bs=4k 2>/dev/null
        {HUTCH} run {many[5]} 2>>notes; [ $? = 5 ] || echo "first run on a full disk"
        umount disk
        """)
    done = run("unshare", "-m", "sh", script, seconds=300)
    if done.returncode == 77 or "unshare" in done.stderr:
        print("small_disk: no mounts here, left out", flush=True)
        return
    lines = [l for l in done.stdout.splitlines() if not re.match(r"hutch_cache_|\d+ entr", l)]
    check(not lines, "a small disk", done.stdout, done.stderr)
    evicted = re.search(r"^hutch_cache_evicted_total (\d+)$", done.stdout, re.M)
    check(evicted and int(evicted[1]) > 0, "entries went to keep room", done.stdout)
    notes = (WORK / "notes").read_text().splitlines()
    check(notes and all(re.match(r"hutch: run \S+: note: the object is not kept for the next run: .+", n)
                        for n in notes), "notes", "\n".join(notes[:5]))


def make_templates():
    for command in (["cache", "name", "kept:1", module()], ["bundle", "--target", "v2", "--name", "app:1",
                    "-o", WORK / "app.tar", "--cache-dir", WORK / "other", module()]):
        done = run(HUTCH, *command)
        if done.returncode != 0:
            sys.exit(f"test_store: {done.stderr}\n0 passed, 1 failed")
    (WORK / "store").rename(WORK / "template")


def main():
    global WORK, ALL
    words = [w for w in sys.argv[1:] if not w.startswith("-")]
    ALL = "--all" in sys.argv[1:]
    if not shutil.which("wat2wasm"):
        sys.exit("test_store: wat2wasm is not here (tools/dev installs it)\n0 passed, 1 failed")
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # where fsync costs nothing
    with tempfile.TemporaryDirectory(prefix="hutch-store-", dir=memory) as place:
        WORK = pathlib.Path(place)
        make_templates()
        for function in TESTS:
            if words and not any(w in function.__name__ for w in words):
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
