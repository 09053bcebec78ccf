#!/usr/bin/python3
"""How fast CPython is under hutch: programs of many kinds, against Debian's python3.11.

The guest is CPython 3.11 built by tools/guests/build-python from Debian's own source; native is
the interpreter Debian ships. Both are built with profile feedback: native also with link-time
optimisation and computed gotos, ours has hints of its branches in it, from the same training.
hutch-no-hints is the module without those; hutch-profile is the module compiled with a profile of
python/train.py, which is none of the programs. Each program (python/*.py) times its own work, after one run to warm up, and prints a
checksum; checksums must be alike. Processes are taken in turns. Speed is native time over
hutch's: 1.00 is native speed, more is faster.
"""

import argparse
import os
import pathlib
import shutil
import statistics
import sys

import benchlib
from benchlib import BenchError, HUTCH, execute

HERE = pathlib.Path(__file__).resolve().parent
PROGRAMS = HERE / "python"
OBJECTS = benchlib.OUT / "python"
DEBIAN = "/usr/bin/python3.11"
# No site packages, no byte code written: what lies around on a machine must not count.
PLAIN = ["-s", "-S", "-B"]
PROFILED, PLAIN_MODULE = "hutch-profile", "hutch-no-hints"
SAMPLES = 3            # of a process, after one that warms up
SAMPLE_SECONDS = 0.1   # at least, natively
WANTED = {"2": (60, 2 << 30), "fast": (10, None)}
NPM = "mixed, npm build"


def names() -> list[str]:
    return sorted(p.stem for p in PROGRAMS.glob("*.py") if p.stem not in ("run", "train"))


def guest(name: str, *, build: bool = False) -> list[str] | None:
    """The module's path and the flags it wants, as tools/dev guests prints them."""
    dev = str(benchlib.ROOT / "tools" / "dev")
    if build:
        execute([dev, "guests", "build", "python"])
    for line in execute([dev, "guests"]).output.splitlines():
        first, *words = line.split()
        if first == name:
            return words
    return None


def hutch_command(code: str, flags: list[str]) -> list[str]:
    """A run of a ready-made object, up to the interpreter's own arguments."""
    return [HUTCH, "run", "--allow-precompiled", *flags, "--env", "PYTHONHASHSEED=0", "--dir",
            f"{PROGRAMS}::/bench", code]


def native_command() -> list[str]:
    return ["/usr/bin/env", "-i", "PYTHONHASHSEED=0", DEBIAN]


class Case:
    """One program as a command for each system; all must print the same checksum."""

    def __init__(self, program: str, hutches: dict[str, list[str]], *clock: str) -> None:
        self.program, self.clock = program, clock
        self.commands = {"native": native_command() + PLAIN + [str(PROGRAMS / "run.py"), program]}
        for system, command in hutches.items():
            self.commands[system] = command + PLAIN + ["/bench/run.py", program]
        self.checksums: dict[str, set[str]] = {system: set() for system in self.commands}

    def sample(self, system: str, repetitions: int, scale: int) -> list[float]:
        output = execute(self.commands[system] + [str(repetitions), str(scale), *self.clock]).output
        lines = [line.split() for line in output.splitlines()]
        self.checksums[system] |= {checksum for _, checksum in lines}
        return [float(seconds) for seconds, _ in lines][1:]

    def measure(self, rounds: int) -> dict[str, list[float]]:
        fastest = min(self.sample("native", 4, 1))
        scale = max(1, round(SAMPLE_SECONDS / max(fastest, 1e-6)))
        samples = benchlib.interleave(
            {system: lambda s=system: self.sample(s, SAMPLES + 1, scale)
             for system in self.commands}, rounds)
        if len(set.union(*self.checksums.values())) != 1:
            raise BenchError(f"{self.program}: the results differ: {self.checksums}")
        return {system: [v / scale for v in values] for system, values in samples.items()}


def startup(commands: dict[str, list[str]], rounds: int) -> dict[str, list[float]]:
    """Whole processes that do nothing."""
    return benchlib.interleave(
        {system: lambda c=command: [execute(c + PLAIN + ["-c", "pass"]).seconds for _ in range(4)]
         for system, command in commands.items()}, rounds)


def record(report: benchlib.Report, case: str, samples: dict[str, list[float]],
           lines: list[list[str]]) -> dict[str, float]:
    """Adds a case's rows and its line of the table; returns the speed of each hutch."""
    for system, values in samples.items():
        report.add_samples(case, system, values)
    native = samples["native"]
    cells = [case, f"{statistics.median(native) * 1e3:.2f}", f"{benchlib.spread(native) * 100:.1f}%"]
    speeds = {}
    for system, values in samples.items():
        if system == "native":
            continue
        speeds[system] = statistics.median(native) / statistics.median(values)
        best = min(native) / min(values)
        report.add(case, system, "speed", speeds[system], "ratio", len(values))
        report.add(case, system, "speed_of_least", best, "ratio", len(values))
        cells += [f"{statistics.median(values) * 1e3:.2f}",
                  f"{benchlib.spread(values) * 100:.1f}%", f"{speeds[system]:.3f}", f"{best:.3f}"]
    lines.append(cells)
    return speeds


def compile_guest(report: benchlib.Report, wasm: str, level: str, target: str,
                  lines: list[list[str]], profile: pathlib.Path | None = None, hints: bool = True) -> str:
    """Compiles, and records what it took."""
    what = "profile" if profile else "" if hints else "no hints"
    name = f"-O {level}" + (f", {what}" if what else "")
    code = OBJECTS / f"cpython-{level}{'-' + what.replace(' ', '-') if what else ''}.hutch"
    benchlib.progress(f"compiling, {name}")
    run = execute([HUTCH, "compile", "--no-cache", "-O", level, "--target", target,
                   *(["--profile", str(profile)] if profile else []), "-o", str(code), wasm])
    case, system = f"compile {name}", PROFILED if profile else "hutch" if hints else PLAIN_MODULE
    size = code.stat().st_size
    report.add(case, system, "seconds", run.seconds, "s", 1)
    report.add(case, system, "peak_memory", run.peak_bytes, "B", 1)
    report.add(case, system, "object_size", size, "B", 1)
    seconds, peak = WANTED.get(level, (None, None))
    wanted = (f"{seconds} s" if seconds else "") + (f", {peak >> 30} GiB" if peak else "")
    lines.append([case, f"{run.seconds:.1f} s", f"{run.peak_bytes / 2**20:.0f} MiB",
                  f"{size / 2**20:.1f} MiB", wanted])
    return str(code)


def without_hints(wasm: str) -> str:
    plain = OBJECTS / "no-hints.wasm"
    execute(["llvm-objcopy-22", "--remove-section=metadata.code.branch_hint", wasm, str(plain)])
    return str(plain)


def train(wasm: str, flags: list[str], target: str) -> pathlib.Path:
    """A profile of the training program, which is none of those that are measured. How code that counts
    is optimised does not change what it counts."""
    profile, code = OBJECTS / "train.prof", OBJECTS / "cpython-counts.hutch"
    benchlib.progress("training")
    execute([HUTCH, "compile", "--no-cache", "-O", "fast", "--target", target,
             "--profile-generate", "-o", str(code), wasm])
    profile.unlink(missing_ok=True)
    command = hutch_command(str(code), ["--profile-out", str(profile), *flags])
    execute(command + PLAIN + ["/bench/train.py"])
    return profile


def run(report: benchlib.Report, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Everything; returns the speeds, by system and program."""
    found = guest("cpython", build=True)
    if found is None:
        raise BenchError("there is no CPython: tools/dev guests build python")
    wasm, *flags = found
    OBJECTS.mkdir(parents=True, exist_ok=True)
    lines: list[list[str]] = []
    code = options.object or compile_guest(report, wasm, options.level, options.march, lines)
    profiled = plain = None
    if options.hints:
        plain = compile_guest(report, without_hints(wasm), options.level, options.march, lines, hints=False)
    if options.profile:
        profile = train(wasm, flags, options.march)
        profiled = compile_guest(report, wasm, options.level, options.march, lines, profile)
    if not options.object and not options.only:
        compile_guest(report, wasm, "fast", options.march, lines)
    benchlib.progress("")
    if lines:
        benchlib.table(["CPython", "time", "peak memory", "object", "wanted at most"], lines)
        print()

    hutches = {"hutch": hutch_command(code, flags)}
    if plain:
        hutches[PLAIN_MODULE] = hutch_command(plain, flags)
    if profiled:
        hutches[PROFILED] = hutch_command(profiled, flags)
    for also in options.also or []:
        name, _, path = also.partition("=")
        hutches[name] = hutch_command(path, flags)
    speeds: dict[str, dict[str, float]] = {system: {} for system in hutches}
    lines = []
    for program in options.only or names():
        benchlib.progress(program)
        try:
            samples = Case(program, hutches).measure(options.rounds)
        except BenchError as e:
            # The others are worth having even so.
            benchlib.progress("")
            print(f"bench python: {e}", file=sys.stderr)
            report.extra.setdefault("failed", []).append(program)
            continue
        for system, speed in record(report, program, samples, lines).items():
            speeds[system][program] = speed
    if not all(speeds.values()):
        raise BenchError("no program ran")
    means = {system: benchlib.geometric_mean(of.values()) for system, of in speeds.items()}
    for system, mean in means.items():
        report.add("geometric mean", system, "speed", mean, "ratio", len(speeds[system]))
    if not options.only:
        benchlib.progress("startup")
        record(report, "start and stop", startup({"native": native_command(), **hutches},
                                                 options.rounds), lines)
        record_library(report, wasm, code, options, lines)
        record_npm(report, options, lines)
    benchlib.progress("")
    header = ["program", "native ms", "spread"]
    for system in hutches:
        header += [f"{system} ms", "spread", "speed", "of least"]
    benchlib.table(header, [line + [""] * (len(header) - len(line)) for line in lines])
    for system, mean in means.items():
        least = min(speeds[system], key=speeds[system].get)
        print(f"\n{system}: geometric mean of {len(speeds[system])} speeds {mean:.3f}, least "
              f"{speeds[system][least]:.3f} ({least})")
    print()
    return speeds


def record_library(report: benchlib.Report, wasm: str, code: str, options: argparse.Namespace,
                   lines: list[list[str]]) -> None:
    """Starting with the standard library in a directory and in a zip file, beside the image above."""
    place = pathlib.Path(wasm).parent
    zipped = OBJECTS / "zipped" / "lib"
    (zipped / "python3.11" / "lib-dynload").mkdir(parents=True, exist_ok=True)
    shutil.copy(place / "stdlib.zip", zipped / "python311.zip")
    # What it knows its library's place by.
    shutil.copy(place / "usr/lib/python3.11/os.py", zipped / "python3.11")
    for name, tree in (("directory", place / "usr"), ("zip", zipped.parent)):
        command = hutch_command(code, ["--dir", f"{tree}::/usr:ro"])
        record(report, f"start, library in a {name}",
               startup({"native": native_command(), "hutch": command}, options.rounds), lines)


def record_npm(report: benchlib.Report, options: argparse.Namespace,
               lines: list[list[str]]) -> None:
    """One program under the CPython of the npm registry, which its publisher built at -O0: how much
    the guest's own build matters."""
    found = guest("python")
    if found is None:
        return
    wasm, *flags = found
    benchlib.progress(NPM)
    code = OBJECTS / "npm.hutch"
    execute([HUTCH, "compile", "-O", "1", "--target", options.march, "-o", str(code), wasm])
    # its process_time() counts in units of its own
    samples = Case("mixed", {"hutch": hutch_command(str(code), flags)}, "wall").measure(2)
    record(report, NPM, samples, lines)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--object", metavar="FILE", help="a code object of this CPython, ready made")
    parser.add_argument("--also", action="append", metavar="NAME=FILE",
                        help="another code object of it to measure beside; may be given again")
    parser.add_argument("--no-profile", dest="profile", action="store_false",
                        help="without the object that is compiled with a profile")
    parser.add_argument("--no-plain", dest="hints", action="store_false",
                        help="without the object of the module that has lost its hints")


def plot(speeds: dict[str, dict[str, float]]) -> str:
    values = {system: {**of, "geometric mean": benchlib.geometric_mean(of.values())}
              for system, of in speeds.items()}
    return benchlib.bars("CPython under hutch against Debian's python3.11",
                         "native time / hutch time, more is better", values, 1.0,
                         more_is_better=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/dev bench python", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", metavar="PROGRAM", choices=names(),
                        help="one program; may be given again")
    parser.add_argument("--rounds", type=int, default=5, help="processes of each system (5)")
    parser.add_argument("--march", default="native", help="hutch's --target (native)")
    parser.add_argument("--level", default="2", help="hutch's -O (2)")
    parser.add_argument("--check", type=float, metavar="SPEED",
                        help="end with status 1 if the geometric mean is below")
    add_options(parser)
    options = parser.parse_args()
    report = benchlib.Report("python", {
        "python": benchlib.first_line(DEBIAN, "--version"),
        "options": options.object or f"-O{options.level} --target {options.march}"})
    try:
        speeds = run(report, options)
    except BenchError as e:
        benchlib.progress("")
        print(f"\nbench python: {e}", file=sys.stderr)
        return 1
    report.finish(plot(speeds))
    if "failed" in report.extra:
        return 1
    mean = benchlib.geometric_mean(speeds["hutch"].values())
    if options.check and mean < options.check:
        print(f"bench python: {mean:.3f} is below {options.check}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    os.chdir(benchlib.ROOT)
    sys.exit(main())
