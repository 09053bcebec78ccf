"""What the benches share: runs taken in turns, rows, a table, a plot, a JSON file.

A row is {"case", "system", "metric", "value", "unit", "n"}; system is native, hutch or the name
of a peer. Report.finish writes build/bench/NAME.json and NAME.svg.
"""

import dataclasses
import json
import math
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import threading
import time
from html import escape
from typing import Callable, Iterable, Sequence

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("HUTCH_BUILD_DIR", ROOT / "build"))
HUTCH = os.environ.get("HUTCH", str(BUILD / "tools" / "hutch"))
OUT = BUILD / "bench"


class BenchError(Exception):
    """A bench that cannot go on; the message is for the terminal."""


# ---- running ---------------------------------------------------------------------------------

@dataclasses.dataclass
class Run:
    seconds: float
    peak_bytes: int
    output: str
    cpu_seconds: float


def execute(command: Sequence[str], stdin: int = subprocess.DEVNULL, seconds: float | None = None) -> Run:
    """Runs a command to its end: wall time, peak memory (its own or its largest child's), output,
    processor time of both. Whatever but status 0, and more than so many seconds, is a BenchError."""
    start = time.monotonic()
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   stdin=stdin)
    except OSError as e:
        raise BenchError(f"{command[0]}: {e}") from e
    timer = threading.Timer(seconds, process.kill) if seconds is not None else None
    if timer:
        timer.start()
    # Little goes to standard error: reading one after the other cannot fill the other's pipe.
    output, errors = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    taken = time.monotonic() - start
    if timer:
        timer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    process.stderr.close()
    if process.returncode != 0:
        tail = errors.decode(errors="replace")[-1500:]
        raise BenchError(f"{' '.join(map(str, command))}: status {process.returncode}\n{tail}")
    return Run(taken, usage.ru_maxrss * 1024, output.decode(), usage.ru_utime + usage.ru_stime)


def interleave(systems: dict[str, Callable[[], Iterable[float]]],
               rounds: int) -> dict[str, list[float]]:
    """Samples of each system, taken in turns, so that what disturbs the machine disturbs all. The
    order is turned round each time."""
    samples: dict[str, list[float]] = {name: [] for name in systems}
    for i in range(rounds):
        names = list(systems) if i % 2 == 0 else list(reversed(systems))
        for name in names:
            samples[name] += systems[name]()
    return samples


def spread(samples: Sequence[float]) -> float:
    """The distance between the quartiles, as a part of the median."""
    if len(samples) < 4:
        return 0.0
    low, middle, high = statistics.quantiles(samples, n=4)
    return (high - low) / middle


def geometric_mean(values: Iterable[float]) -> float:
    logs = [math.log(v) for v in values]
    return math.exp(sum(logs) / len(logs))


# ---- the report ------------------------------------------------------------------------------

def first_line(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.split("\n")[0].strip()
    except OSError:
        return "none"


def machine() -> dict:
    cpu = "unknown"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": cpu, "processors": os.cpu_count(), "memory_bytes": memory,
            "kernel": platform.release()}


class Report:
    def __init__(self, name: str, versions: dict[str, str]) -> None:
        self.name = name
        self.versions = {"hutch": first_line(HUTCH, "--version"), **versions}
        self.rows: list[dict] = []
        self.extra: dict = {}  # further keys of the file

    def add(self, case: str, system: str, metric: str, value: float, unit: str, n: int) -> None:
        self.rows.append({"case": case, "system": system, "metric": metric,
                          "value": value, "unit": unit, "n": n})

    def add_samples(self, case: str, system: str, samples: Sequence[float]) -> None:
        """Seconds: the median is the metric "seconds", beside it the least and the spread."""
        n = len(samples)
        self.add(case, system, "seconds", statistics.median(samples), "s", n)
        self.add(case, system, "seconds_min", min(samples), "s", n)
        self.add(case, system, "spread", spread(samples), "ratio", n)

    def finish(self, svg: str | None) -> None:
        OUT.mkdir(parents=True, exist_ok=True)
        path = OUT / f"{self.name}.json"
        path.write_text(json.dumps({"machine": machine(), "versions": self.versions,
                                    **self.extra, "rows": self.rows}, indent=1) + "\n")
        written = [path]
        if svg is not None:
            written.append(OUT / f"{self.name}.svg")
            written[-1].write_text(svg)
        print("written:", *(os.path.relpath(p) for p in written))


def progress(what: str) -> None:
    """What is being measured, on a terminal only; "" takes the line away."""
    if sys.stderr.isatty():
        print(f"\r\033[K{what}", end="", file=sys.stderr, flush=True)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints columns: the first to the left, the others to the right."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    for number, line in enumerate(lines):
        print("  ".join(c.rjust(w) if i else c.ljust(w)
                        for i, (c, w) in enumerate(zip(line, widths))).rstrip())
        if number == 0:
            print("  ".join("-" * w for w in widths))
    sys.stdout.flush()


COLOURS = ("#3d6fa8", "#7fa650", "#8a6db1")
POOR = "#b45f06"


def bars(title: str, unit: str, values: dict[str, float] | dict[str, dict[str, float]],
         reference: float, more_is_better: bool = False) -> str:
    """Horizontal bars with a line at the reference, as an SVG: one for each case, or, where values
    are given by series and case, one for each series beside the others. A single series shows what
    is a quarter worse than the reference in another colour."""
    first = next(iter(values.values()))
    series = values if isinstance(first, dict) else {"": values}
    cases = list(next(iter(series.values())))
    label, width, bar, top = 150, 420, 15 if len(series) == 1 else 9, 56
    row = bar * len(series) + 7
    most = max([reference, *(v for of in series.values() for v in of.values())]) * 1.05
    height = top + row * len(cases) + 40 + 18 * (len(series) > 1)

    def x(value: float) -> float:
        return label + width * value / most

    def colour(number: int, value: float) -> str:
        worse = value < reference / 1.25 if more_is_better else value > reference * 1.25
        return POOR if worse and len(series) == 1 else COLOURS[number % len(COLOURS)]

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{label + width + 80}" '
             f'height="{height}" font-family="sans-serif" font-size="12">',
             '<rect width="100%" height="100%" fill="white"/>',
             f'<text x="12" y="24" font-size="15" font-weight="bold">{escape(title)}</text>',
             f'<text x="12" y="42" fill="#555">{escape(unit)}</text>']
    for i, name in enumerate(cases):
        middle = top + row * i + row / 2
        parts.append(f'<text x="{label - 8}" y="{middle + 4:.1f}" text-anchor="end">{escape(name)}</text>')
        for number, of in enumerate(series.values()):
            if name not in of:
                continue
            value, y = of[name], middle - bar * len(series) / 2 + bar * number
            parts.append(f'<rect x="{label}" y="{y:.1f}" width="{x(value) - label:.1f}" '
                         f'height="{bar - 1}" fill="{colour(number, value)}"/>')
            parts.append(f'<text x="{x(value) + 5:.1f}" y="{y + bar - 3:.1f}" '
                         f'font-size="{min(bar, 12)}">{value:.2f}</text>')
    bottom = top + row * len(cases)
    parts.append(f'<line x1="{x(reference):.1f}" y1="{top - 4}" x2="{x(reference):.1f}" '
                 f'y2="{bottom + 4}" stroke="black" stroke-dasharray="4 3"/>')
    parts.append(f'<text x="{x(reference):.1f}" y="{bottom + 20}" text-anchor="middle">'
                 f'{reference:g}</text>')
    if len(series) > 1:
        for number, name in enumerate(series):
            at = label + number * 130
            parts.append(f'<rect x="{at}" y="{bottom + 30}" width="10" height="10" '
                         f'fill="{colour(number, reference)}"/>')
            parts.append(f'<text x="{at + 15}" y="{bottom + 39}">{escape(name)}</text>')
    parts.append("</svg>\n")
    return "\n".join(parts)
