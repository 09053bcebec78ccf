#!/usr/bin/python3
"""What compiling takes: CPython at every level, and a module of 75 MB with 130,000 functions.

Wall time, processor time and the compiler's peak memory, each of one whole run of `hutch compile` without
the cache, with a thread for each processor. Where two numbers of threads are asked for, the objects must
be the same bytes. The large module is made here (big_module.py) out of a seed, and kept.
"""

import argparse
import hashlib
import os
import pathlib
import sys

import benchlib
import big_module
import python
from benchlib import BenchError, HUTCH

OBJECTS = benchlib.OUT / "compile"
LEVELS = ["fast", "0", "1", "2", "3"]
BIG_LEVELS = ["fast", "2"]
SAME_LEVELS = {"fast", "2"}   # compiled with one thread too
CPYTHON, BIG = "CPython", "large module"
# What is wanted at most: seconds, with two processors, and bytes.
WANTED = {(CPYTHON, "2"): (60, 2 << 30), (CPYTHON, "fast"): (10, 2 << 30),
          (BIG, "fast"): (None, 24 << 30), (BIG, "2"): (None, 24 << 30)}
LIMIT_SECONDS = 3600  # one compilation


def big(functions: int, code_bytes: int) -> str:
    """The large module, made where it is not there yet."""
    path = OBJECTS / f"big-{functions}-{code_bytes}.wasm"
    if not path.exists():
        benchlib.progress("making the large module")
        part = path.with_suffix(".part")
        big_module.write(str(part), functions, code_bytes)
        part.rename(path)
    return str(path)


def compile_once(wasm: str, level: str, target: str, jobs: int) -> tuple[benchlib.Run, int, str]:
    """Compiles; returns the run, the object's size and its digest."""
    code = OBJECTS / "object.hutch"
    run = benchlib.execute([HUTCH, "compile", "--no-cache", "-O", level, "--target", target,
                            "--jobs", str(jobs), "-o", str(code), wasm], seconds=LIMIT_SECONDS)
    size, digest = code.stat().st_size, hashlib.file_digest(open(code, "rb"), "sha256").hexdigest()
    code.unlink()
    return run, size, digest


def measure(report: benchlib.Report, case: str, wasm: str, levels: list[str], same: bool,
            options: argparse.Namespace, lines: list[list[str]]) -> bool:
    """Compiles a module at each level. Returns whether all was as wanted."""
    good = True
    source = os.stat(wasm).st_size
    processors = options.jobs or os.cpu_count() or 1
    for level in levels:
        digests: dict[int, str] = {}
        for jobs in dict.fromkeys([processors, 1] if same and level in SAME_LEVELS else [processors]):
            benchlib.progress(f"{case}, -O {level}, {jobs} threads")
            run, size, digests[jobs] = compile_once(wasm, level, options.target, jobs)
            system = f"-O {level}, {jobs} thread" + "s" * (jobs != 1)
            for metric, value, unit in (("seconds", run.seconds, "s"), ("cpu_seconds", run.cpu_seconds, "s"),
                                        ("peak_memory", run.peak_bytes, "B"), ("object_size", size, "B")):
                report.add(case, system, metric, value, unit, 1)
            seconds, peak = WANTED.get((case, level), (None, None)) if jobs == processors else (None, None)
            wanted = ", ".join(([f"{seconds} s"] if seconds else []) + ([f"{peak >> 30} GiB"] if peak else []))
            if (seconds and run.seconds > seconds) or (peak and run.peak_bytes > peak):
                good, wanted = False, wanted + " MISSED"
            lines.append([f"{case} {system}", f"{source / 1e6:.1f} MB", f"{run.seconds:.1f} s",
                          f"{run.cpu_seconds:.1f} s", f"{run.peak_bytes / 2**20:.0f} MiB",
                          f"{size / 2**20:.1f} MiB", digests[jobs][:12], wanted])
        if len(set(digests.values())) != 1:
            good = False
            print(f"bench compile: {case} -O {level}: the object depends on the number of threads",
                  file=sys.stderr)
    return good


def bodies(path: str) -> list[bytes]:
    """The functions' bodies."""
    data = pathlib.Path(path).read_bytes()

    def leb(at: int) -> tuple[int, int]:
        result = shift = 0
        while True:
            byte, at = data[at], at + 1
            result |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return result, at
    at = 8
    while at < len(data):
        number = data[at]
        size, at = leb(at + 1)
        if number == 10:
            count, at = leb(at)
            found = []
            for _ in range(count):
                length, at = leb(at)
                found.append(data[at:at + length])
                at += length
            return found
        at += size
    return []


def compare(old: str, new: str) -> None:
    """What of a module's code the next version of it has unchanged: all that a cache of functions could
    ever find again."""
    before, after = bodies(old), bodies(new)
    kept = set(before) & set(after)
    same = [b for b in after if b in kept]
    print(f"{len(same)} of {len(after)} functions have the bytes of before, "
          f"{sum(map(len, same)) / max(1, sum(map(len, after))) * 100:.0f} % of the code")


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/dev bench compile", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["cpython", "big"], help="one of the two modules")
    parser.add_argument("--level", action="append", choices=LEVELS, help="one level; may be given again")
    parser.add_argument("--target", default="native", help="hutch's --target (native)")
    parser.add_argument("--jobs", type=int, default=0, help="threads (one for each processor)")
    parser.add_argument("--functions", type=int, default=big_module.FUNCTIONS, help="of the large module")
    parser.add_argument("--bytes", type=int, default=big_module.CODE_BYTES, help="of the large module's code")
    parser.add_argument("--check", action="store_true", help="end with status 1 where a wish is missed")
    parser.add_argument("--compare", nargs=2, metavar=("OLD", "NEW"),
                        help="compile nothing: how many functions of a module its next version has unchanged")
    options = parser.parse_args()
    if options.compare:
        compare(*options.compare)
        return 0
    OBJECTS.mkdir(parents=True, exist_ok=True)
    report = benchlib.Report("compile", {"options": f"--target {options.target}"})
    lines: list[list[str]] = []
    good = True
    try:
        if options.only != "big":
            found = python.guest("cpython", build=True)
            if found is None:
                raise BenchError("there is no CPython: tools/dev guests build python")
            good = measure(report, CPYTHON, found[0], options.level or LEVELS, True, options, lines)
        if options.only != "cpython":
            wasm = big(options.functions, options.bytes)
            good = measure(report, BIG, wasm, options.level or BIG_LEVELS, False, options, lines) and good
    except BenchError as e:
        benchlib.progress("")
        print(f"bench compile: {e}", file=sys.stderr)
        good = False
    benchlib.progress("")
    benchlib.table(["compile", "module", "time", "processor", "peak memory", "object", "sha256",
                    "wanted at most"], lines)
    print()
    report.finish(None)
    return 0 if good or not options.check else 1


if __name__ == "__main__":
    os.chdir(benchlib.ROOT)
    sys.exit(main())
