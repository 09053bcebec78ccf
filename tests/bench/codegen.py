#!/usr/bin/python3
"""How fast generated code is: C kernels native and under hutch, side by side, and CPython.

Each kernel (kernels/*.c) is one source, compiled with clang-22 -O3 for the machine and with
clang-22 -O3 for wasm32-wasi, the module then by hutch for the same -march. It times itself and
prints a checksum; checksums must be alike. Runs are taken in turns. The geometric mean of the
ratios hutch / native is over the kernels alone: the CPython of the npm registry was compiled
without optimisation by its publisher, so its ratio to Debian's python3 says little about hutch.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys

import benchlib
from benchlib import BenchError, HUTCH, execute

HERE = pathlib.Path(__file__).resolve().parent
OBJECTS = benchlib.OUT / "codegen"
SAMPLES = 3          # of a process, after one that warms up
SAMPLE_SECONDS = 0.05  # at least, natively


def parse(output: str) -> tuple[list[float], set[str]]:
    lines = [line.split() for line in output.splitlines()]
    return [float(seconds) for seconds, _ in lines], {checksum for _, checksum in lines}


class Pair:
    """A case as a native and a hutch command that print lines "SECONDS CHECKSUM"."""

    def __init__(self, case: str, commands: dict[str, list[str]]) -> None:
        self.case, self.commands = case, commands
        self.checksums: dict[str, set[str]] = {name: set() for name in commands}

    def sample(self, system: str, arguments: list[str]) -> list[float]:
        times, checksums = parse(execute(self.commands[system] + arguments).output)
        self.checksums[system] |= checksums
        return times[1:]

    def measure(self, arguments: list[str], rounds: int) -> dict[str, list[float]]:
        samples = benchlib.interleave(
            {system: lambda s=system: self.sample(s, arguments) for system in self.commands}, rounds)
        if len(set.union(*self.checksums.values())) != 1:
            raise BenchError(f"{self.case}: the checksums differ: {self.checksums}")
        return samples


def build_kernel(source: pathlib.Path, options: argparse.Namespace) -> Pair:
    base = OBJECTS / source.stem
    native, wasm, code = str(base), f"{base}.wasm", f"{base}.hutch"
    execute(["clang-22", "-O3", f"-march={options.march}", "-ffp-contract=off", str(source), "-o",
             native, "-lm"])
    execute(["clang-22", "--target=wasm32-wasi", "-Wno-deprecated", "-O3", str(source), "-o", wasm])
    execute([HUTCH, "compile", "--no-cache", "-O", options.level, "--target", options.march, "-o", code, wasm])
    return Pair(source.stem, {"native": [native],
                              "hutch": [HUTCH, "run", "--allow-precompiled", code]})


def calibrate(pair: Pair) -> int:
    """How many runs a sample takes, so that it lasts long enough natively."""
    least = min(parse(execute(pair.commands["native"] + ["4", "1"]).output)[0])
    return max(1, round(SAMPLE_SECONDS / max(least, 1e-6)))


def record(report: benchlib.Report, pair: Pair, samples: dict[str, list[float]]) -> tuple:
    """Adds the rows of a case; returns its ratio and its line of the table."""
    median = {system: statistics.median(values) for system, values in samples.items()}
    for system, values in samples.items():
        report.add_samples(pair.case, system, values)
    ratio = median["hutch"] / median["native"]
    report.add(pair.case, "hutch", "ratio_to_native", ratio, "ratio", len(samples["hutch"]))
    cells = [pair.case]
    for system in ("native", "hutch"):
        values = samples[system]
        cells += [f"{median[system] * 1e3:.2f}", f"{min(values) * 1e3:.2f}",
                  f"{benchlib.spread(values) * 100:.1f}%"]
    return ratio, cells + [f"{ratio:.3f}"]


HEADER = ["case", "native ms", "least", "spread", "hutch ms", "least", "spread", "ratio"]


def run_kernels(report: benchlib.Report, options: argparse.Namespace) -> dict[str, float]:
    sources = sorted((HERE / "kernels").glob("*.c"))
    if options.only:
        sources = [s for s in sources if s.stem in options.only]
    ratios, lines = {}, []
    for source in sources:
        benchlib.progress(source.stem)
        pair = build_kernel(source, options)
        samples = pair.measure([str(SAMPLES + 1), str(calibrate(pair))], options.rounds)
        ratios[pair.case], line = record(report, pair, samples)
        lines.append(line)
    benchlib.progress("")
    if ratios:
        benchlib.table(HEADER, lines)
        mean = benchlib.geometric_mean(ratios.values())
        report.add("geometric mean", "hutch", "ratio_to_native", mean, "ratio", len(ratios))
        print(f"\ngeometric mean of {len(ratios)} ratios hutch / native: {mean:.3f}\n")
    return ratios


def find_python() -> list[str] | None:
    fetched = subprocess.run([str(benchlib.ROOT / "tools" / "dev"), "guests"],
                             stdout=subprocess.PIPE, text=True)
    for line in fetched.stdout.splitlines():
        name, *words = line.split()
        if name == "python":
            return words
    return None


def run_python(report: benchlib.Report, options: argparse.Namespace) -> None:
    found = find_python()
    if found is None:
        print("CPython: not fetched, left out")
        return
    wasm, *flags = found
    lines = []
    for case, level, limit_seconds, limit_bytes in (
            ("compile CPython, default", options.level, 120, 3 << 30),
            ("compile CPython, fast tier", "fast", 15, None)):
        code = OBJECTS / f"python-{level}.hutch"
        run = execute([HUTCH, "compile", "--no-cache", "-O", level, "--target", options.march, "-o", str(code),
                       wasm])
        report.add(case, "hutch", "seconds", run.seconds, "s", 1)
        report.add(case, "hutch", "peak_memory", run.peak_bytes, "B", 1)
        report.add(case, "hutch", "object_size", code.stat().st_size, "B", 1)
        wanted = f"{limit_seconds} s" + (f", {limit_bytes >> 30} GiB" if limit_bytes else "")
        lines.append([case, f"{run.seconds:.1f} s", f"{run.peak_bytes / 2**20:.0f} MiB",
                      f"{code.stat().st_size / 2**20:.1f} MiB", wanted])
    benchlib.table(["", "time", "peak memory", "object", "wanted at most"], lines)
    print()

    script = HERE / "python" / "mixed.py"
    pair = Pair("CPython (built at -O0)", {
        "native": ["/usr/bin/python3", "-I", str(script)],
        "hutch": [HUTCH, "run", "--allow-precompiled", *flags, "--dir", f"{script.parent}::/bench",
                  str(OBJECTS / f"python-{options.level}.hutch"), "/bench/mixed.py"]})
    samples = pair.measure([str(SAMPLES + 1)], min(options.rounds, 4))
    _, line = record(report, pair, samples)
    benchlib.table(HEADER, [line])
    print()


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/dev bench codegen", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", metavar="CASE",
                        help="a kernel's name, or python; may be given again")
    parser.add_argument("--rounds", type=int, default=5, help="processes of each system (5)")
    parser.add_argument("--march", default="x86-64-v2", help="for both compilers (x86-64-v2)")
    parser.add_argument("--level", default="2", help="hutch's -O (2)")
    parser.add_argument("--check", type=float, metavar="RATIO",
                        help="end with status 1 if the geometric mean is above")
    options = parser.parse_args()
    known = [p.stem for p in (HERE / "kernels").glob("*.c")] + ["python"]
    for name in options.only or []:
        if name not in known:
            parser.error(f"no case {name}; there are {', '.join(sorted(known))}")

    OBJECTS.mkdir(parents=True, exist_ok=True)
    report = benchlib.Report("codegen", {
        "clang": benchlib.first_line("clang-22", "--version"),
        "python": benchlib.first_line("/usr/bin/python3", "--version"),
        "options": f"-O{options.level} --target {options.march}"})
    try:
        ratios = run_kernels(report, options)
        if not options.only or "python" in options.only:
            run_python(report, options)
    except BenchError as e:
        print(f"\nbench codegen: {e}", file=sys.stderr)
        return 1
    plot = None
    if ratios:
        mean = benchlib.geometric_mean(ratios.values())
        plot = benchlib.bars("hutch against native clang -O3", "time / native time, less is better",
                             {**ratios, "geometric mean": mean}, 1.0)
    report.finish(plot)
    if options.check and ratios and mean > options.check:
        print(f"bench codegen: {mean:.3f} is above {options.check}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    os.chdir(benchlib.ROOT)
    sys.exit(main())
