#!/usr/bin/python3
"""The shape of the tree: who may include whom, and what no tracked file may say.

    tests/integration/test_arrows.py [TREE]

One test for each folder, one for each rule. TREE (default: this checkout) serves to see it fail.
"""

import pathlib
import re
import subprocess
import sys

TREE = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__).resolve()
if TREE.is_file():
    TREE = TREE.parents[2]

# The table of docs/architecture.md: folder, and the folders it may include from besides itself.
ARROWS = {
    "base": (),
    "abi": ("base",),
    "compiler": ("base", "abi"),
    "cache": ("base",),
    "runtime": ("base", "abi"),
    "loader": ("base", "abi", "runtime"),
    "serve": ("base", "abi", "runtime", "loader", "cache"),
    "tools": ("base", "abi", "compiler", "cache", "runtime", "loader", "serve"),
    "tests": ("base", "abi", "compiler", "cache", "runtime", "loader", "serve", "tools"),
}
# abi/ is tables as well as a header: whoever may use the folder may include the tables.
# `hutch profile` reads profiles and the modules they are of, for which the compiler has the code;
# `hutch app` reads what the server reads.
PUBLIC = re.compile(r"^(\w+)/(\1\.h|\w+\.def)$|^compiler/(module|profile)\.h$"
                    r"|^serve/(app|usage)\.h$|^loader/tenant_(config|protocol)\.h$")
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)

# Libraries that must stay out of a folder, by the headers they come with.
HEADERS = {
    "LLVM": (re.compile(r"<(llvm|llvm-c)/"), ("compiler", "tests")),
    "libelf": (re.compile(r"<(libelf|gelf)\.h>"), ("compiler", "tests")),
    "lmdb": (re.compile(r"<lmdb\.h>"), ("cache", "tests")),
}

LONG_LINES = 800
# Pieced together, so that this file does not say what it forbids.
PRIVATE = re.compile(r"(^|[^a-z.])/(work|farm)/|/" + r"root/|//[a-z0-9.-]*("
                     + "|".join(("debian", "npmjs", "pypi", "pythonhosted", "crates", "golang"))
                     + r")[a-z0-9.-]*", re.IGNORECASE | re.MULTILINE)


def tracked() -> list[str]:
    """Tracked files and new ones that are not ignored; a plain walk where there is no git."""
    try:
        listed = subprocess.run(["git", "-C", str(TREE), "ls-files", "-z", "--cached", "--others",
                                 "--exclude-standard"], capture_output=True, check=True)
        names = [n for n in listed.stdout.decode().split("\0") if n]
    except (OSError, subprocess.CalledProcessError):
        names = [str(p.relative_to(TREE)) for p in TREE.rglob("*") if p.is_file()]
    return sorted(n for n in names if (TREE / n).is_file() and not n.startswith(".git/"))


def line_of(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def crossed(name: str, text: str) -> list[str]:
    """What is wrong with the includes of one source file."""
    folder = name.split("/")[0]
    wrong = []
    for m in INCLUDE.finditer(text):
        target, where = m[1], f"{name}:{line_of(text, m.start())}"
        if ".." in target.split("/"):
            wrong.append(f'{where}: "{target}" climbs; name it from the root of the tree')
            continue
        if "/" not in target:
            continue  # beside the file itself
        to = target.split("/")[0]
        if to not in ARROWS:
            continue
        if to == folder:
            continue
        if to not in ARROWS[folder]:
            wrong.append(f'{where}: {folder}/ may not use {to}/ ("{target}")')
        elif folder != "tests" and not PUBLIC.match(target):
            wrong.append(f'{where}: "{target}" is private to {to}/')
    for library, (header, folders) in HEADERS.items():
        if folder not in folders:
            wrong += [f"{name}:{line_of(text, m.start())}: {library} in {folder}/"
                      for m in header.finditer(text)]
    return wrong


def main() -> int:
    names = tracked()
    texts = {}
    for name in names:
        try:
            texts[name] = (TREE / name).read_text()
        except UnicodeDecodeError:
            pass  # binary

    problems: dict[str, list[str]] = {f"includes of {folder}/": [] for folder in ARROWS}
    sources = [n for n in texts if n.endswith((".c", ".h", ".S", ".def", ".cpp"))]
    for name in sources:
        folder = name.split("/")[0]
        if folder in ARROWS:
            problems[f"includes of {folder}/"] += crossed(name, texts[name])
    problems["private paths and hosts"] = [
        f"{name}:{line_of(text, m.start())}: {m[0].strip()!r}"
        for name, text in texts.items() for m in PRIVATE.finditer(text)]
    problems["sources found"] = [] if sources else [f"no source file under {TREE}"]

    for name in sources:
        length = texts[name].count("\n")
        if length > LONG_LINES:
            print(f"note: {name} has {length} lines: is there a second idea in it?")
    failed = 0
    for test, wrong in problems.items():
        print(f"{'FAILED' if wrong else 'ok'} {test}")
        failed += bool(wrong)
        for line in wrong:
            print(f"  {line}")
    print(f"{len(problems) - failed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
