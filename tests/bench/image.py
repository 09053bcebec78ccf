#!/usr/bin/python3
"""Reading 1,000 files: from an image, from an image with a writable layer, from a directory of the
host. A guest opens, reads and closes each, in an order of chance, and looks at each; it takes the
times itself, so that starting it does not count. The files lie in the page cache.
"""

import argparse
import pathlib
import random
import statistics
import subprocess
import tempfile

import benchlib
from benchlib import BenchError, HUTCH, execute

FILES = 1000
GUEST = r"""
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char bytes[1 << 16];
static long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}
int main(int argc, char **argv) {
    int count = atoi(argv[1]), rounds = atoi(argv[2]), sum = 0;
    char path[64];
    struct stat st;
    for (int round = 0; round < rounds; round++) {
        long long start = now(), size = 0;
        for (int i = 0; i < count; i++) {
            snprintf(path, sizeof path, "/t/d%d/f%d", i * 7919 % count / 100, i * 7919 % count);
            int fd = open(path, O_RDONLY);
            for (ssize_t n; (n = read(fd, bytes, sizeof bytes)) > 0;) {
                size += n;
                sum += bytes[0] + bytes[n - 1];
            }
            close(fd);
        }
        long long middle = now();
        for (int i = 0; i < count; i++) {
            snprintf(path, sizeof path, "/t/d%d/f%d", i * 7919 % count / 100, i * 7919 % count);
            if (stat(path, &st)) return 1;
            size += st.st_size;
        }
        printf("%lld %lld %lld %d\n", middle - start, now() - middle, size, sum);
    }
    return 0;
}
"""


def make_files(top: pathlib.Path) -> int:
    """As many as a web framework has, of the sizes of sources."""
    chance = random.Random(1)
    total = 0
    for i in range(FILES):
        directory = top / f"d{i // 100}"
        directory.mkdir(exist_ok=True)
        size = min(int(chance.expovariate(1 / 8000)), 60000)
        (directory / f"f{i}").write_bytes(chance.randbytes(size))
        total += size
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="of each, in turns")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hutch-bench-") as place:
        work = pathlib.Path(place)
        tree, image, wasm = work / "tree", work / "tree.erofs", work / "guest.wasm"
        tree.mkdir()
        total = make_files(tree)
        (work / "guest.c").write_text(GUEST)
        execute(["clang-22", "--target=wasm32-wasi", "-Wno-deprecated", "-O2", str(work / "guest.c"),
                 "-o", str(wasm)])
        execute([HUTCH, "image", "create", str(tree), "-o", str(image)])
        preopens = {"image": ["--image", f"{image}::/t"], "layer": ["--image", f"{image}::/t:rw"],
                    "directory": ["--dir", f"{tree}::/t"]}
        looks: dict[str, list[float]] = {name: [] for name in preopens}
        sizes = set()

        def sample(name: str) -> list[float]:
            run = execute([HUTCH, "run", "--cache-dir", str(work / "cache"), *preopens[name],
                           str(wasm), str(FILES), "5"])
            lines = [list(map(int, line.split())) for line in run.output.splitlines()][1:]
            sizes.update(line[2] for line in lines)
            looks[name].append(statistics.median(line[1] for line in lines) / 1e9)
            return [statistics.median(line[0] for line in lines) / 1e9]

        samples = benchlib.interleave({name: lambda n=name: sample(n) for name in preopens},
                                      options.rounds)
        if sizes != {2 * total}:
            raise BenchError(f"the guest read {sizes}, not {2 * total} bytes")
        report = benchlib.Report("image", {})
        rows = []
        for name in preopens:
            report.add_samples("open-read-close", name, samples[name])
            report.add_samples("stat", name, looks[name])
            rows.append([name, *(f"{statistics.median(s) * 1e9 / FILES:.0f}"
                                 for s in (samples[name], looks[name]))])
        print(f"{FILES} files, {total >> 20} MiB; ns a file, median of {options.rounds} runs")
        benchlib.table(["", "open, read, close", "stat"], rows)
        report.finish(None)


if __name__ == "__main__":
    try:
        main()
    except (BenchError, subprocess.CalledProcessError) as e:
        raise SystemExit(f"bench image: {e}") from e
