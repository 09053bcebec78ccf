#!/usr/bin/env python3
"""Hand-written cases: one file each, with what to call and what to expect in its comments. A .wat
file, or a .s file of clang's assembler for what wat2wasm does not know, with # for ;; there.

A .c file is a program, with the setjmp of tools/guests, that must print what it prints natively.

    ;; flags: -W timeout=300ms            flags for every `hutch run` of the file
    ;; invoke NAME ARGS... => RESULT      results as `hutch run --invoke` prints them, by spaces
    ;; invoke NAME ARGS... => ok          returns nothing
    ;; invoke NAME ARGS... => trap TEXT   ends with exit status 134 and TEXT in its report

Every line runs at every level, each in a process of its own. The last line is
"N passed, N failed".
"""
import argparse
import concurrent.futures
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

LEVELS = ["fast", "0", "1", "2", "3"]
TRAP_STATUS = 134


def read_case(path):
    flags, calls = [], []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        line = re.sub(r"^# (?=flags: |invoke )", ";; ", line)
        if line.startswith(";; flags: "):
            flags = shlex.split(line[len(";; flags: "):])
        elif line.startswith(";; invoke "):
            call, expected = line[len(";; invoke "):].split(" => ", 1)
            calls.append((number, call.split(), expected.strip()))
    if not calls:
        raise SystemExit(f"{path}: no invoke line")
    return flags, calls


def assemble(path, wasm):
    if path.suffix == ".wat":
        subprocess.run(["wat2wasm", str(path), "-o", str(wasm)], check=True)
        return
    part = wasm.with_suffix(".o")
    subprocess.run(["clang-22", "--target=wasm32-unknown-unknown", "-mexception-handling",
                    "-mreference-types", "-mmultivalue", "-c", str(path), "-o", str(part)],
                   check=True)
    subprocess.run(["wasm-ld-22", "--no-entry", str(part), "-o", str(wasm)], check=True)


SETJMP = pathlib.Path(__file__).resolve().parents[2] / "tools" / "guests" / "setjmp"
SETJMP_FLAGS = ["-mexception-handling", "-mllvm", "-wasm-enable-sjlj",
                "-mllvm", "-wasm-use-legacy-eh=false", f"-I{SETJMP}"]


def check_program(hutch, wasm, level, expected):
    """Runs a program; returns None where it printed what the native one did."""
    ran = subprocess.run([hutch, "run", "-O", level, str(wasm)], capture_output=True, text=True,
                         timeout=120, stdin=subprocess.DEVNULL)
    if ran.returncode == 0 and ran.stdout == expected:
        return None
    return f"status {ran.returncode}, stdout {ran.stdout!r}, stderr {ran.stderr.strip()!r}"


def build_program(path, wasm):
    """Builds it for WASI and natively; returns what the native one prints."""
    subprocess.run(["clang-22", "--target=wasm32-wasi", "-Wno-deprecated", "-O2", *SETJMP_FLAGS,
                    str(path), str(SETJMP / "setjmp.c"), "-o", str(wasm)], check=True)
    native = wasm.with_suffix(".native")
    subprocess.run(["clang-22", "-O2", str(path), "-o", str(native)], check=True)
    return subprocess.run([str(native)], check=True, capture_output=True, text=True).stdout


def check(hutch, wasm, level, flags, call, expected):
    """Runs one call; returns None where it did what was expected, else what it did instead."""
    command = [hutch, "run", "-O", level, *flags, "--invoke", call[0], str(wasm), *call[1:]]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60,
                             stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return "still running after 60 s"
    seen = f"status {ran.returncode}, stdout {ran.stdout!r}, stderr {ran.stderr.strip()!r}"
    if expected.startswith("trap "):
        good = ran.returncode == TRAP_STATUS and expected[len("trap "):] in ran.stderr
    else:
        results = [] if expected == "ok" else expected.split()
        good = ran.returncode == 0 and ran.stdout.split() == results
    return None if good else seen


def main():
    here = pathlib.Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hutch", required=True)
    parser.add_argument("--level", action="append", choices=LEVELS)
    parser.add_argument("files", nargs="*", type=pathlib.Path)
    options = parser.parse_args()
    files = options.files or sorted([*here.glob("*.wat"), *here.glob("*.s"), *here.glob("*.c")])
    passed = failed = 0
    with tempfile.TemporaryDirectory() as scratch, \
            concurrent.futures.ThreadPoolExecutor(2) as pool:
        jobs = []
        for path in files:
            wasm = pathlib.Path(scratch) / (path.stem + ".wasm")
            if path.suffix == ".c":
                native = build_program(path, wasm)
                for level in options.level or LEVELS:
                    jobs.append((f"{path.name}: -O {level}: expected {native!r}",
                                 pool.submit(check_program, options.hutch, wasm, level, native)))
                continue
            assemble(path, wasm)
            flags, calls = read_case(path)
            for level in options.level or LEVELS:
                for number, call, expected in calls:
                    job = pool.submit(check, options.hutch, wasm, level, flags, call, expected)
                    jobs.append((f"{path.name}:{number}: -O {level} {' '.join(call)}: "
                                 f"expected {expected}", job))
        for name, job in jobs:
            wrong = job.result()
            if wrong is None:
                passed += 1
            else:
                failed += 1
                print(f"FAIL {name}, got {wrong}")
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
