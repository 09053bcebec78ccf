#!/usr/bin/python3
"""Runs the official WebAssembly test scripts in both placements at levels 0 and 2.

    tests/spec/run.py [--placement P] [--level L] [--list-skips] [NAME...]

The scripts are looked for at $HUTCH_SPEC_TESTS (an archive .tar.zst, a directory that holds json/,
or a checkout of the official test suite, whose .wast files wast2json then turns into JSON), else
in ../shared/vectors/spec-testsuite.tar.zst. The runner is $HUTCH_BUILD_DIR/tests/spec/spec_runner.
NAME picks scripts, as in `run.py i32 linking`. Closes with `N passed, N failed, N skipped`; what is
skipped is counted by reason, and named with --list-skips.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys

import tail_calls

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ.get("HUTCH_BUILD_DIR", ROOT / "build"))
RUNNER = BUILD / "tests" / "spec" / "spec_runner"
# About exceptions, and most of their modules have a tail call somewhere: run without those too.
WITH_TAIL_CALLS = {"try_table", "try_catch", "try_delegate"}
NOT_RUN = {
    "proposals": "proposals beyond Wasm 3.0",
    "threads": "the threads proposal",
}


def find_suite() -> pathlib.Path | None:
    named = os.environ.get("HUTCH_SPEC_TESTS")
    path = pathlib.Path(named or ROOT.parent / "shared" / "vectors" / "spec-testsuite.tar.zst")
    return path if path.exists() else None


def unpack(archive: pathlib.Path) -> pathlib.Path:
    """Unpacks once; again where the archive is newer."""
    place = BUILD / "spec-testsuite"
    stamp = place / ".unpacked"
    if stamp.exists() and stamp.stat().st_mtime >= archive.stat().st_mtime:
        return place
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    subprocess.run(["tar", "--zstd", "-xf", archive.resolve(), "-C", place], check=True)
    stamp.touch()
    return place


def convert(checkout: pathlib.Path) -> tuple[pathlib.Path, int]:
    """A checkout's .wast files to JSON; how many wast2json could not read."""
    tool, place = shutil.which("wast2json"), BUILD / "spec-testsuite-converted"
    if not tool:
        sys.exit(f"{checkout} holds .wast files: wast2json (package wabt) is needed to read them")
    unread = 0
    for script in sorted(checkout.glob("*.wast")):
        output = place / "json" / script.stem / f"{script.stem}.json"
        if output.exists() and output.stat().st_mtime >= script.stat().st_mtime:
            continue
        output.parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run([tool, "--enable-all", "-o", output, script], capture_output=True)
        if done.returncode != 0:
            shutil.rmtree(output.parent)
            unread += 1
    return place, unread


def find_scripts(suite: pathlib.Path) -> tuple[list[pathlib.Path], int]:
    unread = 0
    if suite.is_file():
        suite = unpack(suite)
    inner = [d for d in (suite, suite / "spec-testsuite") if (d / "json").is_dir()]
    if not inner and any(suite.glob("*.wast")):
        suite, unread = convert(suite)
        inner = [suite]
    if not inner:
        sys.exit(f"{suite} holds neither json/ nor .wast files")
    base = inner[0] / "json"
    scripts = sorted(p for p in base.rglob("*.json") if p.relative_to(base).parts[0] not in NOT_RUN)
    for name, why in NOT_RUN.items():
        if (base / name).is_dir():
            print(f"not run: {name}/ ({why})")
    if unread:
        print(f"not run: {unread} scripts that wast2json cannot read")
    return scripts, unread


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--placement", choices=["pinned", "relocatable"])
    parser.add_argument("--level", choices=["0", "1", "2", "3", "fast"])
    parser.add_argument("--list-skips", action="store_true")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    suite = find_suite()
    if not suite:
        print("the official test suite is not there; set HUTCH_SPEC_TESTS")
        print("0 passed, 1 failed, 0 skipped")
        return 1
    scripts, _ = find_scripts(suite)
    if options.names:
        scripts = [s for s in scripts if s.stem in options.names]
    if not scripts:
        sys.exit("no such script")
    variants = [tail_calls.variant(BUILD / "tools" / "hutch", s, BUILD / "spec-variants")
                for s in scripts if s.stem in WITH_TAIL_CALLS]
    scripts += [v for v in variants if v]

    totals = [0, 0, 0]
    for placement in [options.placement] if options.placement else ["relocatable", "pinned"]:
        for level in [options.level] if options.level else ["0", "2"]:
            command = [RUNNER, "--placement", placement, "--level", level]
            if options.list_skips:
                command.append("--list-skips")
            done = subprocess.run(command + scripts, stdout=subprocess.PIPE, text=True,
                                  errors="replace")
            print(done.stdout, end="", flush=True)
            found = re.findall(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", done.stdout, re.M)
            if not found or (done.returncode != 0) != (int(found[-1][1]) > 0):
                print(f"FAIL spec_runner ended with status {done.returncode}")
                totals[1] += 1
            for i, n in enumerate(found[-1] if found else ()):
                totals[i] += int(n)
            print(flush=True)
    print("{} passed, {} failed, {} skipped".format(*totals))
    return 1 if totals[1] else 0


sys.exit(main())
