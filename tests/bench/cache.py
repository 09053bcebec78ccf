#!/usr/bin/python3
"""What the store costs: from a key to mapped bytes, from a command line to a running program.

    tools/dev bench cache [--only PART] [--entries N] [--rounds N] [--check MICROSECONDS]

Parts: lookup (inside an open process, 100 entries against 100,000), verify (against sha256sum of the
same files), run (a cached hello world against native programs and against compiling it; a large
module whose digest is remembered against one that is hashed again).
"""

import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

import benchlib
from benchlib import BenchError, HUTCH, execute

HERE = pathlib.Path(__file__).resolve().parent
PLACE = benchlib.OUT / "cache"
BENCH = benchlib.BUILD / "tests" / "bench" / "cache_bench"
PARTS = ("lookup", "verify", "run")
FEW = 100
MIB = 1 << 20


def microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:.1f} µs" if seconds < 1e-3 else f"{seconds * 1e3:.2f} ms"


def percentile(samples: list[float], part: float) -> float:
    ordered = sorted(samples)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)]


# ---- inside a process ------------------------------------------------------------------------

def filled(entries: int) -> pathlib.Path:
    """A store with so many entries; made once, since that takes a while."""
    place = PLACE / f"entries-{entries}"
    marker = PLACE / f"entries-{entries}.done"
    if not marker.exists():
        benchlib.progress(f"making a store of {entries} entries")
        shutil.rmtree(place, ignore_errors=True)
        execute([str(BENCH), "fill", str(place), str(entries)])
        marker.touch()
    return place


def run_lookup(report: benchlib.Report, options: argparse.Namespace) -> float:
    sizes = (FEW, options.entries)
    places = {n: filled(n) for n in sizes}
    lines = []
    hot = 0.0
    for case, what, rounds in (("hot key to mapped bytes", "hot", 2000),
                               ("any key to mapped bytes", "spread", 2000),
                               ("open, find, close", "open", 500), ("put of 4 KiB", "put", 10),
                               ("gc looks at all", "gc", 1)):
        def sample(entries: int) -> list[float]:
            benchlib.progress(f"{case}, {entries} entries")
            output = execute([str(BENCH), what, str(places[entries]), str(entries), str(rounds)]).output
            return [int(line) / 1e9 for line in output.split()]

        samples = benchlib.interleave({str(n): lambda n=n: sample(n) for n in sizes}, options.rounds)
        medians = []
        for n in sizes:
            report.add_samples(f"{case}, {n} entries", "hutch", samples[str(n)])
            medians.append(statistics.median(samples[str(n)]))
        if what == "hot":
            hot = medians[1]
        lines.append([case, *(microseconds(m) for m in medians), f"{medians[1] / medians[0]:.2f}",
                      microseconds(percentile(samples[str(sizes[1])], 0.99))])
    benchlib.progress("")
    benchlib.table(["", f"{FEW} entries", f"{options.entries} entries", "ratio", "its p99"], lines)
    print()
    return hot


# ---- modules ---------------------------------------------------------------------------------

HELLO = '#include <stdio.h>\nint main(void) { return puts("hello") < 0; }\n'


def leb(n: int) -> bytes:
    out = b""
    while n > 0x7f:
        out += bytes([n & 0x7f | 0x80])
        n >>= 7
    return out + bytes([n])


def enlarged(module: bytes, size: int, seed: int) -> bytes:
    """The module with a custom section of so many bytes: as large a file, the same program."""
    import random
    body = leb(4) + b"fill" + random.Random(seed).randbytes(size)
    return module + b"\0" + leb(len(body)) + body


def programs() -> tuple[pathlib.Path, pathlib.Path, pathlib.Path]:
    """A native hello world, its module, and the module made large."""
    source, native = PLACE / "hello.c", PLACE / "hello"
    small, large = PLACE / "hello.wasm", PLACE / "large.wasm"
    source.write_text(HELLO)
    execute(["clang-22", "-O2", str(source), "-o", str(native)])
    execute(["clang-22", "--target=wasm32-wasi", "-Wno-deprecated", "-O2", str(source), "-o", str(small)])
    large.write_bytes(enlarged(small.read_bytes(), 27 * MIB, 1))
    return native, small, large


# ---- verify ----------------------------------------------------------------------------------

def run_verify(report: benchlib.Report, options: argparse.Namespace) -> None:
    _, small, _ = programs()
    place = PLACE / "verify"
    shutil.rmtree(place, ignore_errors=True)
    for i in range(4):
        module = PLACE / "big.wasm"
        module.write_bytes(enlarged(small.read_bytes(), 64 * MIB, i))
        execute([HUTCH, "cache", "name", f"big:{i}", str(module), "--cache-dir", str(place)])
        module.unlink()
    files = [str(p) for p in (place / "objects").iterdir()]
    size = sum(os.path.getsize(f) for f in files)

    def timed(*command: str) -> list[float]:
        benchlib.progress(command[0])
        return [size / execute(command).seconds]

    samples = benchlib.interleave({
        "sha256sum": lambda: timed("sha256sum", *files),
        "hutch": lambda: timed(HUTCH, "cache", "verify", "--cache-dir", str(place))}, options.rounds)
    benchlib.progress("")
    lines = []
    for system, rates in samples.items():
        report.add("verify", system, "bytes_per_second", statistics.median(rates), "B/s", len(rates))
        lines.append([system, f"{statistics.median(rates) / MIB:.0f} MiB/s"])
    benchlib.table(["every byte hashed again", "throughput"], lines)
    print()
    shutil.rmtree(place)


# ---- whole processes -------------------------------------------------------------------------

def spawn(command: list[str], count: int, environment: dict[str, str]) -> list[float]:
    """Wall times of so many processes, each from start to end, output thrown away."""
    null = os.open(os.devnull, os.O_RDWR)
    samples = []
    try:
        for _ in range(count):
            start = time.perf_counter()
            pid = os.posix_spawn(command[0], command, environment, file_actions=[
                (os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1)])
            _, status = os.waitpid(pid, 0)
            samples.append(time.perf_counter() - start)
            if status:
                raise BenchError(f"{' '.join(command)}: status {status}")
    finally:
        os.close(null)
    return samples


def run_processes(report: benchlib.Report, options: argparse.Namespace) -> dict[str, float]:
    native, small, large = programs()
    store = PLACE / "run"
    shutil.rmtree(store, ignore_errors=True)
    environment = {**os.environ, "HUTCH_CACHE_DIR": str(store)}

    def again() -> list[float]:
        """As if the file were another: it is hashed, the object found by its digest."""
        samples = []
        for _ in range(5):
            os.utime(large)
            samples += spawn([HUTCH, "run", str(large)], 1, environment)
        return samples

    time.sleep(max(0.0, 2.5 - (time.time() - large.stat().st_ctime)))  # young files are not remembered
    for module in (small, large):
        spawn([HUTCH, "run", str(module)], 2, environment)

    def known() -> list[float]:
        time.sleep(2.2)
        spawn([HUTCH, "run", str(large)], 1, environment)
        return spawn([HUTCH, "run", str(large)], 40, environment)

    systems = {
        "/bin/true": lambda: spawn(["/bin/true"], 40, environment),
        "native hello world": lambda: spawn([str(native)], 40, environment),
        "hutch run, cached": lambda: spawn([HUTCH, "run", str(small)], 40, environment),
        "hutch run, cached, 27 MiB module, digest known": known,
        "hutch run, cached, 27 MiB module, hashed": again,
        "hutch run --no-cache (compiles)": lambda: spawn([HUTCH, "run", "--no-cache", str(small)], 3, environment),
    }
    samples = benchlib.interleave(systems, options.rounds)
    lines = []
    medians = {name: statistics.median(s) for name, s in samples.items()}
    for name, taken in samples.items():
        report.add_samples(f"process: {name}", "hutch" if "hutch" in name else "native", taken)
        lines.append([name, microseconds(medians[name]), microseconds(min(taken)),
                      f"{medians[name] / medians['native hello world']:.1f}"])
    benchlib.table(["from start to end of a process", "median", "least", "native hello = 1"], lines)
    print()
    return medians


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/dev bench cache", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", metavar="PART", choices=PARTS, help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=5, help="turns of each system (5)")
    parser.add_argument("--entries", type=int, default=100000, help="of the large store (100000)")
    parser.add_argument("--check", type=float, metavar="MICROSECONDS",
                        help="end with status 1 if a hot key in the large store takes longer")
    options = parser.parse_args()
    parts = options.only or PARTS
    PLACE.mkdir(parents=True, exist_ok=True)
    report = benchlib.Report("cache", {"sha256sum": benchlib.first_line("sha256sum", "--version"),
                                       "options": f"--entries {options.entries}"})
    hot, medians = 0.0, None
    try:
        if "lookup" in parts:
            hot = run_lookup(report, options)
        if "verify" in parts:
            run_verify(report, options)
        if "run" in parts:
            medians = run_processes(report, options)
    except (BenchError, OSError, subprocess.SubprocessError) as e:
        print(f"\nbench cache: {e}", file=sys.stderr)
        return 1
    plot = None
    if medians:
        native = medians["native hello world"]
        plot = benchlib.bars("a process from start to end", "time / native hello world, less is better",
                             {n.replace("hutch run", "run"): m / native for n, m in medians.items()
                              if "compiles" not in n}, 1.0)
    report.finish(plot)
    if options.check and hot * 1e6 > options.check:
        print(f"bench cache: {hot * 1e6:.1f} µs is above {options.check}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    os.chdir(benchlib.ROOT)
    sys.exit(main())
