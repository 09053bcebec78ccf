#!/usr/bin/python3
"""What a bundle saves: importing CPython from one against compiling it, and its size.

CPython is compiled, and a bundle of it with its library image made and signed. Then, in turns: the
bundle is imported into an empty store, from a file and from a pipe, and the module compiled again,
as a node without the bundle would. Sizes are of the parts in the store and as they travel.
"""

import argparse
import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile

import benchlib
from benchlib import BenchError, HUTCH, execute

GOAL = 100  # times faster than compiling


def guest() -> tuple[str, str, list[str]]:
    """CPython as tools/dev guests has it: its name, its module and its images, GUEST=FILE."""
    found = {}
    for line in execute([str(benchlib.ROOT / "tools" / "dev"), "guests"]).output.splitlines():
        name, path, *flags = line.split()
        images = [value for flag, value in zip(flags, flags[1:]) if flag == "--image"]
        found[name] = (name, path, ["=".join(i.split("::")[::-1]) for i in images])
    if "cpython" not in found and "python" not in found:
        raise BenchError("there is no CPython: tools/dev guests lists none")
    return found.get("cpython") or found["python"]


class Bench:
    def __init__(self, options: argparse.Namespace, work: pathlib.Path) -> None:
        self.options, self.work = options, work
        self.name, self.module, self.images = guest()
        self.bundle = work / "python.tar"
        self.peak = 0
        self.cpu: dict[str, list[float]] = {}
        self.compiled: list[float] = []
        os.environ.update(HUTCH_TRUST_DIR=str(work / "trust"), HUTCH_CACHE_DIR=str(work / "ci"))

    def time(self, what: str, command: list[str], **options) -> benchlib.Run:
        """Runs a command; keeps the processor time that it and its children took."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run = execute(command, **options)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.cpu.setdefault(what, []).append(after.ru_utime + after.ru_stime
                                             - before.ru_utime - before.ru_stime)
        return run

    def prepare(self) -> None:
        execute([HUTCH, "key", "generate", "-o", str(self.work / "bench")])
        execute([HUTCH, "key", "trust", str(self.work / "bench.pub")])
        self.compiled = self.compile("--cache-dir", str(self.work / "ci"))
        benchlib.progress("making the bundle")  # of what has just been compiled
        images = [word for image in self.images for word in ("--image", image)]
        execute([HUTCH, "bundle", "--sign", str(self.work / "bench.key"), "--target",
                 self.options.target, "-O", self.options.optimize, *images, "-o", str(self.bundle),
                 f"python:3.11={self.module}"])

    def compile(self, *options: str) -> list[float]:
        benchlib.progress("compiling")
        times = []
        for target in self.options.target.split(","):
            cpu = target if target == "native" else f"x86-64-{target}"
            times.append(self.time("compile", [
                HUTCH, "compile", *(options or ["--no-cache"]), "-O", self.options.optimize,
                "--target", cpu, "-o", str(self.work / "object.hutch"), self.module]).seconds)
        cpu = self.cpu["compile"]
        cpu[-len(times):] = [sum(cpu[-len(times):])]
        return [sum(times)]

    def take(self, *, pipe: bool) -> list[float]:
        """Imports into a store that is new, several times: each is short."""
        benchlib.progress("importing")
        times = []
        for _ in range(3):
            store = self.work / "node"
            shutil.rmtree(store, ignore_errors=True)
            os.sync()  # what others have written is not ours to wait for
            with open(self.bundle, "rb") as file:
                run = self.time("import, pipe" if pipe else "import", [
                    HUTCH, "import", "--cache-dir", str(store), "-" if pipe else str(self.bundle)],
                    stdin=file if pipe else subprocess.DEVNULL)
            times.append(run.seconds)
            self.peak = max(self.peak, run.peak_bytes)
        return times

    def run(self) -> float:
        return execute([HUTCH, "run", "--cache-dir", str(self.work / "node"), "python:3.11", "-c",
                        "print(6 * 7)"]).seconds


def measure(options: argparse.Namespace, work: pathlib.Path) -> None:
    bench = Bench(options, work)
    bench.prepare()
    shown = json.loads(execute([HUTCH, "inspect", "--json", str(bench.bundle)]).output)
    report = benchlib.Report("bundle", {"guest": bench.name, "optimize": options.optimize,
                                        "target": options.target})
    imports = {"import": lambda: bench.take(pipe=False),
               "import, pipe": lambda: bench.take(pipe=True)}
    samples = benchlib.interleave(imports, 1)
    more = benchlib.interleave({"compile": bench.compile, **imports}, options.rounds - 1)
    samples = {"compile": bench.compiled, **samples}
    for what, times in more.items():
        samples[what] += times
    first = bench.run()
    benchlib.progress("")

    rows, medians = [], {}
    for what, times in samples.items():
        report.add_samples("bring CPython", what, times)
        medians[what] = report.rows[-3]["value"]
    for what, seconds in medians.items():
        ratio = medians["compile"] / seconds
        report.add("bring CPython", what, "speed against compiling", ratio, "ratio",
                   len(samples[what]))
        cpu = statistics.median(bench.cpu[what])
        report.add("bring CPython", what, "processor time", cpu, "s", len(bench.cpu[what]))
        rows.append([what, f"{seconds:.3f} s", f"{ratio:.0f}x", f"{cpu:.3f} s"])
    report.add("bring CPython", "import", "peak memory", bench.peak, "B", 1)
    report.add("first run", "import", "seconds", first, "s", 1)
    print(f"CPython ({bench.name}), -O {options.optimize}, {options.target}:\n")
    benchlib.table(["", "time", "against compiling", "processor time"], rows)

    rows = []
    total_raw = total_packed = 0
    for layer in shown["layers"]:
        name = layer.get("name") or layer["target"]
        raw, packed = layer["size_bytes"], layer["blob_bytes"]
        total_raw, total_packed = total_raw + raw, total_packed + packed
        for metric, value in (("raw", raw), ("in the bundle", packed)):
            report.add(f"{layer['kind']} {name}", "bundle", metric, value, "B", 1)
        rows.append([f"{layer['kind']} {name}", f"{raw / 1e6:.1f} MB", f"{packed / 1e6:.1f} MB",
                     f"{packed / raw:.2f}"])
    size = bench.bundle.stat().st_size
    report.add("whole", "bundle", "raw", total_raw, "B", 1)
    report.add("whole", "bundle", "in the bundle", size, "B", 1)
    rows.append(["whole", f"{total_raw / 1e6:.1f} MB", f"{size / 1e6:.1f} MB",
                 f"{size / total_raw:.2f}"])
    print()
    benchlib.table(["size of", "raw", "in the bundle", "ratio"], rows)
    print(f"\nimport: peak memory {bench.peak / (1 << 20):.0f} MiB; first run after it: "
          f"{first * 1000:.0f} ms")
    ratio = medians["compile"] / medians["import"]
    print(f"goal: {GOAL} times faster than compiling: "
          + ("met" if ratio >= GOAL else f"missed, {ratio:.0f} times"))
    report.finish(benchlib.bars("Bringing CPython to a node", "seconds; less is better", medians,
                                medians["import"]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--optimize", default="2", metavar="LEVEL", help="as of hutch compile (2)")
    parser.add_argument("--target", default="v3", metavar="LIST", help="as of hutch bundle (v3)")
    parser.add_argument("--rounds", type=int, default=2,
                        help="of one compilation and three imports each way (2)")
    options = parser.parse_args()
    directory = os.environ.get("TMPDIR", "/var/tmp")
    with tempfile.TemporaryDirectory(prefix="hutch-bench-", dir=directory) as place:
        try:
            measure(options, pathlib.Path(place))
        except BenchError as e:
            print(f"bench bundle: {e}", file=sys.stderr)
            return 1
    return 0


sys.exit(main())
