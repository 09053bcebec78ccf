#!/usr/bin/python3
"""What x86-64-v3 and v4 gain over v2: the cases of bench codegen and the programs of bench python.

One module, compiled by hutch for each of the targets this processor has; processes are taken in turns,
results must be alike. A ratio is the time at that target over the time at x86-64-v2: below 1.00 it gains.
"""

import argparse
import os
import statistics
import subprocess
import sys

import benchlib
import codegen
import libraries
import python
from benchlib import BenchError, HUTCH, execute

OBJECTS = benchlib.OUT / "variants"
TARGETS = ["x86-64-v2", "x86-64-v3", "x86-64-v4"]
BASE = TARGETS[0]
CALIBRATION_SECONDS = 0.1


def runnable() -> list[str]:
    """The targets whose code this processor runs: an object for another is refused."""
    wasm, code = OBJECTS / "empty.wasm", OBJECTS / "empty.hutch"
    wasm.write_bytes(bytes.fromhex("0061736d01000000010401600000030201000707010373656500000a040102000b"))
    able = []
    for target in TARGETS:
        execute([HUTCH, "compile", "--no-cache", "--target", target, "-o", str(code), str(wasm)])
        if subprocess.run([HUTCH, "run", "--allow-precompiled", "--invoke", "see", str(code)],
                          capture_output=True).returncode == 0:
            able.append(target)
    if BASE not in able:
        raise BenchError(f"this processor does not run {BASE}")
    return able


def compile_for(name: str, wasm: str, target: str, level: str) -> str:
    code = OBJECTS / f"{name}.{target}.hutch"
    benchlib.progress(f"compiling {name} for {target}")
    execute([HUTCH, "compile", "--no-cache", "-O", level, "--target", target, "-o", str(code), wasm])
    return str(code)


def measure_case(name: str, targets: list[str], options: argparse.Namespace) -> dict[str, list[float]]:
    maker = libraries.build if name in libraries.LIBRARIES else codegen.build_kernel
    _, wasm = maker(name, BASE)
    pair = codegen.Pair(name, {target: [HUTCH, "run", "--allow-precompiled",
                                        compile_for(name, wasm, target, options.level)]
                               for target in targets})
    least = min(codegen.parse(execute(pair.commands[BASE] + ["4", "1"]).output)[0])
    repeat = max(1, round(codegen.SAMPLE_SECONDS / max(least, 1e-6)))
    return pair.measure([str(codegen.SAMPLES + 1), str(repeat)], options.rounds)


class Program(python.Case):
    """One Python program under the objects of the targets, without native's."""

    def __init__(self, program: str, commands: dict[str, list[str]]) -> None:
        super().__init__(program, commands)
        del self.commands["native"], self.checksums["native"]

    def measure(self, rounds: int) -> dict[str, list[float]]:
        scale = max(1, round(CALIBRATION_SECONDS / max(min(self.sample(BASE, 4, 1)), 1e-6)))
        samples = benchlib.interleave(
            {target: lambda t=target: self.sample(t, python.SAMPLES + 1, scale) for target in self.commands},
            rounds)
        if len(set.union(*self.checksums.values())) != 1:
            raise BenchError(f"{self.program}: the results differ: {self.checksums}")
        return {target: [v / scale for v in values] for target, values in samples.items()}


def record(report: benchlib.Report, title: str, samples: dict[str, dict[str, list[float]]],
           targets: list[str]) -> None:
    """Rows and the table of one group of cases."""
    lines, ratios = [], {target: [] for target in targets[1:]}
    for case, of in samples.items():
        base = statistics.median(of[BASE])
        cells = [case, f"{base * 1e3:.2f}", f"{benchlib.spread(of[BASE]) * 100:.1f}%"]
        for target in targets:
            report.add_samples(case, f"hutch {target}", of[target])
        for target in targets[1:]:
            ratio = statistics.median(of[target]) / base
            least = min(of[target]) / min(of[BASE])
            ratios[target].append(ratio)
            report.add(case, f"hutch {target}", f"ratio_to_{BASE}", ratio, "ratio", len(of[target]))
            cells += [f"{ratio:.3f}", f"{least:.3f}"]
        lines.append(cells)
    header = [title, f"{BASE} ms", "spread"]
    for target in targets[1:]:
        header += [target, "of least"]
    benchlib.progress("")
    benchlib.table(header, lines)
    for target, values in ratios.items():
        if values:
            mean = benchlib.geometric_mean(values)
            report.add(f"geometric mean, {title}", f"hutch {target}", f"ratio_to_{BASE}", mean, "ratio", len(values))
            print(f"\n{title}, {target}: geometric mean of {len(values)} ratios to {BASE} {mean:.3f}, "
                  f"least {min(values):.3f}, most {max(values):.3f}")
    print()


def programs(targets: list[str], options: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    found = python.guest("cpython", build=True)
    if found is None:
        raise BenchError("there is no CPython: tools/dev guests build python")
    wasm, *flags = found
    commands = {target: python.hutch_command(compile_for("cpython", wasm, target, options.level), flags)
                for target in targets}
    samples = {}
    for program in python.names():
        benchlib.progress(program)
        samples[program] = Program(program, commands).measure(options.rounds)
    return samples


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/dev bench variants", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", metavar="CASE", choices=codegen.known_cases() + ["cpython"],
                        help="a case of bench codegen, or cpython; may be given again")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each target (3)")
    parser.add_argument("--level", default="2", help="hutch's -O (2)")
    options = parser.parse_args()
    OBJECTS.mkdir(parents=True, exist_ok=True)
    codegen.OBJECTS.mkdir(parents=True, exist_ok=True)
    report = benchlib.Report("variants", {"options": f"-O{options.level}"})
    wanted = options.only or codegen.known_cases() + ["cpython"]
    try:
        targets = runnable()
        samples = {}
        for name in (n for n in wanted if n != "cpython"):
            benchlib.progress(name)
            samples[name] = measure_case(name, targets, options)
        if samples:
            record(report, "C", samples, targets)
        if "cpython" in wanted:
            record(report, "CPython", programs(targets, options), targets)
    except BenchError as e:
        benchlib.progress("")
        print(f"bench variants: {e}", file=sys.stderr)
        return 1
    report.finish(None)
    return 0


if __name__ == "__main__":
    os.chdir(benchlib.ROOT)
    sys.exit(main())
