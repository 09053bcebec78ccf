#!/usr/bin/python3
"""How fast generated code is: C native and under hutch, side by side.

Each kernel (kernels/*.c) is one source, compiled with clang-22 -O3 for the machine and with
clang-22 -O3 for wasm32-wasi, the module then by hutch for the same -march. Libraries
(libraries/*.c) are Debian's sources with a driver, compiled the same two ways. A case times itself
and prints a checksum; checksums must be alike. Runs are taken in turns. why.txt says of each case
that is slower than 1.10 why.
"""

import argparse
import os
import pathlib
import statistics
import sys

import benchlib
import libraries
from benchlib import BenchError, HUTCH, execute

HERE = pathlib.Path(__file__).resolve().parent
OBJECTS = benchlib.OUT / "codegen"
SAMPLES = 3          # of a process, after one that warms up
SAMPLE_SECONDS = 0.05  # at least, natively
SLOW = 1.10            # a ratio above wants a reason in why.txt


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


def build_kernel(name: str, march: str) -> tuple[str, str]:
    """The native program and the module of a kernel."""
    source, base = HERE / "kernels" / f"{name}.c", OBJECTS / name
    native, wasm = str(base), f"{base}.wasm"
    execute(["clang-22", "-O3", f"-march={march}", "-ffp-contract=off", str(source), "-o", native, "-lm"])
    execute(["clang-22", "--target=wasm32-wasi", "-Wno-deprecated", "-O3", str(source), "-o", wasm])
    return native, wasm


def build(name: str, options: argparse.Namespace) -> Pair:
    maker = libraries.build if name in libraries.LIBRARIES else build_kernel
    native, wasm = maker(name, options.march)
    code = str(OBJECTS / f"{name}.hutch")
    execute([HUTCH, "compile", "--no-cache", "-O", options.level, "--target", options.march, "-o", code, wasm])
    return Pair(name, {"native": [native], "hutch": [HUTCH, "run", "--allow-precompiled", code]})


def known_cases() -> list[str]:
    return sorted(p.stem for p in (HERE / "kernels").glob("*.c")) + list(libraries.LIBRARIES)


def reasons() -> dict[str, str]:
    """why.txt: "CASE: why it is slower than native", a line each."""
    lines = (HERE / "why.txt").read_text().splitlines()
    return {name.strip(): why.strip() for name, _, why in
            (line.partition(":") for line in lines if line and not line.startswith("#"))}


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


def run_cases(report: benchlib.Report, options: argparse.Namespace) -> dict[str, float]:
    ratios, lines = {}, []
    for name in options.only or known_cases():
        benchlib.progress(name)
        pair = build(name, options)
        benchlib.progress(name)
        samples = pair.measure([str(SAMPLES + 1), str(calibrate(pair))], options.rounds)
        ratios[name], line = record(report, pair, samples)
        lines.append(line)
    benchlib.progress("")
    benchlib.table(HEADER, lines)
    print()
    for title, cases in (("kernels", [n for n in ratios if n not in libraries.LIBRARIES]),
                         ("libraries", [n for n in ratios if n in libraries.LIBRARIES]),
                         ("all", list(ratios))):
        if cases:
            mean = benchlib.geometric_mean(ratios[n] for n in cases)
            row = "geometric mean" if title == "all" else f"geometric mean, {title}"
            report.add(row, "hutch", "ratio_to_native", mean, "ratio", len(cases))
            print(f"geometric mean of {len(cases)} ratios hutch / native, {title}: {mean:.3f}")
    explain(report, ratios)
    print()
    return ratios


def explain(report: benchlib.Report, ratios: dict[str, float]) -> None:
    known = reasons()
    slow = {name: known.get(name, "nobody has looked yet") for name, ratio in ratios.items() if ratio > SLOW}
    report.extra["why"] = slow
    if slow:
        print(f"\nslower than {SLOW:.2f}:")
    for name, why in slow.items():
        print(f"  {name} ({ratios[name]:.2f}): {why}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/dev bench codegen", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", metavar="CASE",
                        choices=known_cases(), help="a kernel or library; may be given again")
    parser.add_argument("--rounds", type=int, default=5, help="processes of each system (5)")
    parser.add_argument("--march", default="x86-64-v2", help="for both compilers (x86-64-v2)")
    parser.add_argument("--level", default="2", help="hutch's -O (2)")
    parser.add_argument("--check", type=float, metavar="RATIO",
                        help="end with status 1 if the geometric mean is above")
    options = parser.parse_args()
    OBJECTS.mkdir(parents=True, exist_ok=True)
    report = benchlib.Report("codegen", {
        "clang": benchlib.first_line("clang-22", "--version"),
        "options": f"-O{options.level} --target {options.march}"})
    try:
        ratios = run_cases(report, options)
    except BenchError as e:
        print(f"\nbench codegen: {e}", file=sys.stderr)
        return 1
    mean = benchlib.geometric_mean(ratios.values())
    report.finish(benchlib.bars("hutch against native clang -O3", "time / native time, less is better",
                                {**ratios, "geometric mean": mean}, 1.0))
    if options.check and mean > options.check:
        print(f"bench codegen: {mean:.3f} is above {options.check}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    os.chdir(benchlib.ROOT)
    sys.exit(main())
