#!/usr/bin/python3
"""The cache as people use it: `hutch cache`, names, limits, many processes at once.

    tests/integration/test_cache.py [--all] [WORD...]

--all: the compiler is built once more from a copy of the tree, too. WORD picks the tests whose names contain it. HUTCH names the tool. Closes with `N passed, N failed`.
"""

import fcntl
import hashlib
import json
import os
import pathlib
import pty
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("HUTCH_BUILD_DIR", ROOT / "build")).resolve()
HUTCH = pathlib.Path(os.environ.get("HUTCH", BUILD / "tools" / "hutch")).resolve()
VERBS = ("list", "show", "name", "remove", "pin", "unpin", "verify", "gc", "export-stats")
passed = failed = 0
TESTS = []
WORK = pathlib.Path()  # a directory of our own, set by main
ALL = False


def test(function):
    TESTS.append(function)
    return function


def check(condition, what, *details):
    global passed, failed
    if condition:
        passed += 1
        return
    failed += 1
    caller = traceback.extract_stack()[-2]
    print(f"FAIL {caller.name}:{caller.lineno} {what}", flush=True)
    for detail in details:
        print("     " + str(detail)[-1500:].replace("\n", "\n     "), flush=True)


class Place:
    """A cache of its own and the commands on it."""

    def __init__(self, name, **variables):
        self.path = WORK / name / "cache"
        self.path.parent.mkdir()
        self.variables = variables

    def environment(self):
        kept = {n: os.environ[n] for n in ("PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS") if n in os.environ}
        return {**kept, "HOME": str(WORK), "HUTCH_CACHE_DIR": str(self.path), **self.variables}

    def start(self, *arguments, **options):
        return subprocess.Popen([HUTCH, *map(str, arguments)], env=self.environment(), cwd=WORK,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, **options)

    def run(self, *arguments, status=0):
        """Standard output, or standard error where a failure is expected."""
        process = self.start(*arguments)
        try:
            out, err = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            err += "took too long"
        check(process.returncode == status, " ".join(map(str, arguments)),
              f"status {process.returncode}, not {status}", out, err)
        if status and process.returncode == status:
            check(len(re.findall(r"^hutch: ", err, re.M)) == 1, "one message", err)
        return err if status else out

    def json(self, *arguments, status=0):
        text = self.run(*arguments, "--json", status=status)
        try:
            return json.loads(text)
        except ValueError:
            check(False, f"{arguments} prints JSON", text)
            return {}

    def stats(self):
        return self.json("cache", "export-stats")

    def entries(self, kind=None):
        return [e for e in self.json("cache", "list").get("entries", [])
                if kind in (None, e["kind"])]

    def clean(self):
        found = self.json("cache", "verify")
        bad = [k for k in ("damaged", "missing", "dangling", "adopted") if found.get(k) != 0]
        check(not bad and found.get("index_rebuilt") is False, "verifies clean", found)


def module(number, size=0):
    """A program that exits with that number; larger with more functions."""
    path = WORK / f"exit-{number}-{size}.wasm"
    if path.exists():
        return path
    more = "\n".join(
        f"(func $f{i} (param $x i64) (result i64) (local $y i64) (loop $l (local.set $y (i64.add"
        f" (i64.mul (local.get $y) (i64.const {2 * i + number + 3})) (i64.load (i32.wrap_i64"
        f" (i64.and (local.get $x) (i64.const 4088)))))) (br_if $l (i64.ne (local.tee $x (i64.sub"
        f" (local.get $x) (i64.const 1))) (i64.const 0)))) (local.get $y)) (export \"f{i}\" (func $f{i}))"
        for i in range(size))
    source = path.with_suffix(".wat.txt")
    source.write_text(f"""(module
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1) {more}
        (func (export "_start") (call $exit (i32.const {number}))))""")
    subprocess.run(["wat2wasm", source, "-o", path], check=True)
    return path


# ---- the commands ----------------------------------------------------------------------------

@test
def help_is_complete():
    """Every option of hutch cache stands in the man page, the completions and docs/cli.md."""
    place = Place("help")
    text = place.run("help", "cache")
    check(place.run("cache", "--help") == text, "cache --help")
    check("cache" in place.run("help"), "the overview")
    man = (ROOT / "docs/man/hutch-cache.1").read_text().replace("\\-", "-")
    files = {"man": man, "page": (ROOT / "docs/cli.md").read_text(),
             "bash": (ROOT / "tools/completion/hutch.bash").read_text(),
             "zsh": (ROOT / "tools/completion/_hutch").read_text()}
    for word in (*VERBS, *set(re.findall(r"--[a-z-]+", text)) - {"--help"}):
        check(word in text, f"{word} in help")
        for name, page in files.items():
            check(word in page, f"{word} in {name}")
    check(not place.path.exists(), "help makes no cache")


@test
def mistakes():
    place = Place("mistakes")
    wasm = module(1)
    for arguments, words in (
            (["cache"], "say what"), (["cache", "lst"], "did you mean 'list'"),
            (["cache", "fly"], "no 'cache fly'"), (["cache", "list", "x"], "one too many"),
            (["cache", "show"], "say which"), (["cache", "name", "x"], "NAME[:TAG]"),
            (["cache", "list", "--sort", "age"], "used, size, hits"),
            (["cache", "list", "--kind", "cat"], "module, object"),
            (["cache", "list", "--dry-run"], "no option of 'cache list'"),
            (["cache", "list", "--jsn"], "did you mean --json"),
            (["cache", "gc", "--max-size", "much"], "much"),
            (["cache", "name", "Upper:1", wasm], "Upper:1"),
            (["cache", "name", "a@sha256:" + "0" * 64, wasm], "a digest, not a name")):
        check(words in place.run(*arguments, status=2), words)
    for arguments, words in (
            (["cache", "show", "nothing"], "there is no cache"),
            (["cache", "pin", "nothing"], "there is no cache")):
        check(words in place.run(*arguments, status=1), words)
    check(not place.path.exists(), "looking makes no cache")
    (WORK / "text.wat").write_text("(module)")
    check("text format" in place.run("cache", "name", "t", WORK / "text.wat", status=1), "text")
    (WORK / "noise.wasm").write_bytes(b"\0asm\2\0\0\0")
    check("no WebAssembly module" in place.run("cache", "name", "t", WORK / "noise.wasm", status=1),
          "no module")
    place.run("cache", "name", "a", wasm)
    check("no such name" in place.run("cache", "show", "abcd", status=1), "unknown")
    check("no such app or module" in place.run("run", "cat:1", status=1), "run of an unknown name")
    check("does not pin" in place.run("cache", "unpin", "a", status=1), "unpin of nothing")
    check("named" in place.run("cache", "remove", place.entries("module")[0]["digest"], status=1),
          "what is named stays")


@test
def empty():
    place = Place("empty")
    check("0 entries" in place.run("cache", "list"), "list")
    check(place.json("cache", "list")["entries"] == [], "list --json")
    check("clean" in place.run("cache", "verify"), "verify")
    check("removed 0" in place.run("cache", "gc"), "gc")
    check("hutch_cache_hits_total 0" in place.run("cache", "export-stats"), "export-stats")
    check(not place.path.exists(), "looking makes no cache")


@test
def from_file_to_name():
    """What a person does: run, look, name, run by name, pin, collect, take it all away."""
    place = Place("names")
    wasm = module(7)
    process = place.start("run", wasm)
    process.communicate()
    check(process.returncode == 7, "runs", process.returncode)
    (made,) = place.entries()
    check(made["kind"] == "object" and made["origin"] == "compiled" and made["hits"] == 0,
          "one object", made)
    check(made["target"].startswith("x86-64-v"), "its target", made)
    shown = place.json("cache", "show", wasm)
    check(shown["stored"] is False and len(shown["objects"]) == 1, "the module by its file", shown)

    named = place.json("cache", "name", "seven:1", wasm)
    check(named["digest"] == made["module"], "named by its digest", named)
    for word in ("seven:1", named["digest"], "seven@" + named["digest"],
                 "no/matter@" + named["digest"]):
        for _ in range(2):
            process = place.start("run", word)
            out, err = process.communicate()
            check(process.returncode == 7, f"run {word}", err)
    check(place.entries("object")[0]["hits"] == 8, "each was a hit", place.entries("object"))
    place.run("cache", "name", "seven", "seven:1")
    digits = named["digest"][7:15]
    for word in ("seven", "seven:latest", digits, "sha256:" + digits, wasm):
        check(place.json("cache", "show", word)["digest"] == named["digest"], f"show {word}")
    text = place.run("cache", "show", "seven")
    check("name        seven:1" in text and "module" in text and "object" in text, "show", text)

    check("pinned 2" in place.run("cache", "pin", "--as", "deploy", wasm), "pin")
    check("pinned 2" in place.run("cache", "pin", "seven:1"), "pin for another")
    would = place.json("cache", "gc", "--max-size", "0", "--dry-run")
    check(would["removed_entries"] == 0 and would["kept"] == 2, "all is kept", would)
    text = place.run("cache", "list")
    check("deploy (pin)" in text and "manual (pin)" in text and "seven:1" in text, "list", text)
    place.run("cache", "unpin", "--as", "deploy", wasm)
    place.run("cache", "unpin", "seven")
    text = place.run("cache", "gc", "--max-size", "0", "--dry-run")
    check(f"would remove {made['digest']}" in text, "dry run", text)
    check(len(place.entries()) == 2, "and nothing else")
    gone = place.json("cache", "gc", "--max-size", "0")
    check(gone["removed_entries"] == 1 and gone["entries"] == 1, "the object goes", gone)
    process = place.start("run", "seven")
    process.communicate()
    check(process.returncode == 1, "a name without ':' is a file's", process.returncode)
    process = place.start("run", "seven:latest")
    process.communicate()
    check(process.returncode == 7, "compiled again from the module", process.returncode)
    place.run("cache", "remove", "seven:1", "seven")
    place.run("cache", "remove", named["digest"])
    check([e["kind"] for e in place.entries()] == ["object"], "only the object", place.entries())
    place.clean()


@test
def listing():
    place = Place("listing")
    for i in range(3):
        place.run("cache", "name", f"m{i}:x", module(i, i * 3))
    place.start("run", "m1:x").communicate()
    rows = place.json("cache", "list", "--sort", "size")["entries"]
    sizes = [r["size_bytes"] for r in rows]
    check(sizes == sorted(sizes, reverse=True), "by size", sizes)
    check(place.json("cache", "list", "--sort", "used")["entries"] != [], "by use")
    only = place.json("cache", "list", "--kind", "module")
    check(len(only["entries"]) == 3 and only["size_bytes"] == sum(
        e["size_bytes"] for e in only["entries"]), "by kind", only)
    full = place.run("cache", "list", "--full")
    check(all(r["digest"][7:] in full for r in rows), "full digests", full)
    check("4 entries" in full and str(place.path) in full, "the closing line", full)
    text = place.run("cache", "export-stats")
    check(re.search(r'^hutch_cache_entries\{kind="module"\} 3$', text, re.M), "per kind", text)
    for line in text.splitlines():
        check(re.fullmatch(r"# (HELP|TYPE) hutch_cache_\w+ .+|hutch_cache_\w+(\{kind=\"\w+\"\})? "
                           r"(\d+|\+Inf)", line), "a line of the format", line)
    names = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M)
    check(len(names) == len(set(names)) == 17, "each metric once", names)
    check(all(n.endswith("_total") == (t == "counter") for n, t in names), "types", names)


@test
def a_second_reader():
    """What docs/cache.md says is enough to read a store: a reader that shares nothing with hutch."""
    place = Place("reader")
    keys = WORK / "reader-keys"
    place.variables.update(HUTCH_TRUST_DIR=str(keys))
    place.run("key", "generate", "-o", WORK / "reader")
    place.run("key", "trust", WORK / "reader.pub")
    place.run("bundle", "--sign", WORK / "reader.key", "--target", "v2", "--cache-dir", WORK / "elsewhere", "-o",
              WORK / "reader.tar", f"app:1={module(1)}")
    place.run("import", WORK / "reader.tar")
    place.run("cache", "name", "two:2", module(2))
    place.run("cache", "pin", "--as", "who %", "two:2")
    module(3)
    time.sleep(2.1)  # so that the digest of a file can be remembered
    for _ in range(2):
        for number in (2, 3):
            place.start("run", module(number)).communicate()
    done = subprocess.run(["/usr/bin/python3", ROOT / "tests/integration/reader.py", "store", place.path],
                          capture_output=True, text=True)
    check(done.returncode == 0, "it reads the store", done.stderr)
    found = json.loads(done.stdout or "{}")
    listed = place.json("cache", "list")["entries"]
    check(len(listed) == 6 and set(found["entries"]) == {e["digest"][7:] for e in listed}, "its entries", found)
    for e in listed:
        own = found["entries"][e["digest"][7:]]
        same = [own[k] == e[k] for k in ("kind", "origin", "size_bytes", "hits")]
        same += [own.get(k, "") == e.get(k, "")[7:] for k in ("key", "module")]
        check(all(same) and own["refs"] == [r[7:] for r in e["refs"]], "an entry", own, e)
        check([n for n, d in found["names"].items() if d == e["digest"][7:]] == e["names"], "its names", e)
    check([w for _, w in found["pins"]] == ["who %"], "who pins", found["pins"])
    stats = place.stats()
    check(all(stats[k] == v for k, v in found["counters"].items()), "counters", found["counters"], stats)
    own = hashlib.sha256(module(3).read_bytes()).hexdigest()
    check(not found["files"] or own in found["files"].values(), "files elsewhere", found["files"])
    roots = place.path / "roots"
    roots.write_bytes(roots.read_bytes().replace(b"two:2", b"two:3"))
    again = subprocess.run(["/usr/bin/python3", ROOT / "tests/integration/reader.py", "store", place.path],
                           capture_output=True, text=True)
    check(again.returncode != 0 and "the digest of roots" in again.stderr, "and sees what is altered", again)


@test
def places():
    """HUTCH_CACHE_DIR, then the state of a service, then XDG_CACHE_HOME, then HOME."""
    def place(**variables):
        def ask(*words):
            return subprocess.run([HUTCH, "cache", *words], cwd=WORK, capture_output=True, text=True,
                                  env={"PATH": os.environ["PATH"], **variables})

        missing = ask("show", "nothing").stderr
        found = re.search(r"there is no cache at (/.*)", missing)
        if found or "no such name" not in missing:
            return found[1] if found else missing
        return json.loads(ask("list", "--json").stdout)["path"]

    home, xdg, own = str(WORK / "at"), str(WORK / "xdg"), str(WORK / "own")
    check(place(HOME=home) == home + "/.cache/hutch", "HOME")
    check(place(HOME=home, XDG_CACHE_HOME=xdg) == xdg + "/hutch", "XDG_CACHE_HOME")
    check(place(HOME=home, XDG_CACHE_HOME="xdg") == home + "/.cache/hutch", "a relative one")
    check(place(HOME=home, STATE_DIRECTORY="/var/lib/runner") == home + "/.cache/hutch", "another service")
    service = {"HOME": home, "XDG_CACHE_HOME": xdg, "STATE_DIRECTORY": "/var/lib/hutch"}
    check(place(**service) == "/var/lib/hutch", "a service")
    check(place(**service, HUTCH_CACHE_DIR=own) == own, "HUTCH_CACHE_DIR")
    check("neither HUTCH_CACHE_DIR nor HOME" in place(), "nothing")


@test
def looking_makes_none():
    """Also where the directory is there: a server's records may lie in it."""
    found = Place("looking")
    (found.path / "usage").mkdir(parents=True)
    for verb in ("list", "verify", "gc", "export-stats"):
        found.run("cache", verb)
    check("there is no cache at" in found.run("cache", "show", "x", status=1), "show")
    check([p.name for p in found.path.iterdir()] == ["usage"], "nothing is made", list(found.path.iterdir()))


@test
def a_limit_misspelt():
    place = Place("misspelt")
    place.run("cache", "name", "x", module(1))
    for text in ("2g", "much", "-1", "1GB", "9" * 30, "G"):
        place.variables["HUTCH_CACHE_MAX_SIZE"] = text
        check("HUTCH_CACHE_MAX_SIZE" in place.run("cache", "list", status=1), text)
    process = place.start("run", module(1))
    out, err = process.communicate()
    check(process.returncode == 1 and "HUTCH_CACHE_MAX_SIZE" in err, "a run says so and goes on", err)
    for text in ("", "2G", "0", "1048576"):
        place.variables["HUTCH_CACHE_MAX_SIZE"] = text
        place.run("cache", "list")


# ---- limits ----------------------------------------------------------------------------------

@test
def automatic_limit():
    place = Place("limit", HUTCH_CACHE_MAX_SIZE="150K")
    for i in range(24):
        place.start("run", module(i)).communicate()
    stats = place.stats()
    size = sum(e["size_bytes"] for e in place.entries())
    check(stats["max_bytes"] == 150 << 10, "the limit in force", stats)
    check(0 < size <= 150 << 10, "kept below it", size)
    check(stats["evicted"] > 0 and stats["evicted"] + len(place.entries()) == 24, "evicted", stats)
    place.variables["HUTCH_CACHE_MAX_SIZE"] = "1M"
    place.start("run", module(0)).communicate()
    check(place.stats()["max_bytes"] == 1 << 20, "a limit is the process's", place.stats())
    place.clean()


# ---- many at once ----------------------------------------------------------------------------

@test
def sixteen_on_one_key():
    place = Place("one-key")
    wasm = module(3, 600)
    started = [place.start("run", wasm) for _ in range(16)]
    for process in started:
        out, err = process.communicate(timeout=300)
        check(process.returncode == 3 and err == "", "runs", process.returncode, err)
    stats = place.stats()
    check(stats["puts"] == 1 and len(place.entries()) == 1, "compiled once", stats)
    check(stats["waits"] >= 1, "some waited", stats)
    place.clean()


@test
def sixteen_keys():
    place = Place("many-keys")
    started = [(i, place.start("run", module(i, 2))) for i in range(16)]
    for number, process in started:
        out, err = process.communicate(timeout=300)
        check(process.returncode == number and err == "", "runs", process.returncode, err)
    check(place.stats()["puts"] == 16 and len(place.entries()) == 16, "sixteen", place.stats())
    place.clean()


@test
def waiting_is_shown():
    """Who waits for another's compilation says so on a terminal, and goes on when that one dies."""
    place = Place("waiting")
    wasm = module(5)
    place.start("run", wasm).communicate()
    (made,) = place.entries()
    place.run("cache", "remove", made["digest"])
    lock = os.open(place.path / "locks" / made["key"][7:], os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    master, slave = pty.openpty()
    process = subprocess.Popen([HUTCH, "run", wasm], env=place.environment(), stdin=slave,
                               stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    shown = b""
    end = time.monotonic() + 20
    while b"another process" not in shown and time.monotonic() < end:
        shown += os.read(master, 1000)
    check(b"another process is compiling it" in shown, "the wait is shown", shown)
    check(process.poll() is None, "it waits")
    os.close(lock)  # as where the holder dies
    check(process.wait(30) == 5, "and compiles then", process.returncode)
    os.close(master)


@test
def readers_do_not_wait():
    """A hit needs none of the locks that writers take."""
    place = Place("readers")
    wasm = module(6)
    place.start("run", wasm).communicate()
    with open(place.path / "index.lock", "r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        started = time.monotonic()
        process = place.start("run", wasm)
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
        check(process.returncode == 6 and time.monotonic() - started < 5, "a hit", process.returncode)
        check(len(place.entries()) == 1, "a list")


# ---- the same on every machine ---------------------------------------------------------------

@test
def same_object_anywhere():
    """Neither the place of the programs, nor of the module, nor environment or threads, are in an object."""
    wasm = module(9, 40)
    objects = []
    for i, name in enumerate(("here", "a/much/longer/place/for/the/same/programs")):
        place = WORK / name
        place.mkdir(parents=True)
        for program in ("hutch", "hutch-compiler", "hutch-tenant"):
            shutil.copy2(HUTCH.parent / program, place)
        copy = place / f"module{i}.wasm"
        shutil.copyfile(wasm, copy)
        environment = {"PATH": os.environ["PATH"], "HOME": str(place), "TMPDIR": str(place), "TZ": f"UTC{i}",
                       "LANG": ("C", "C.UTF-8")[i]}
        subprocess.run([place / "hutch", "compile", "--target", "x86-64-v2", "-j", str(i + 1), "-o",
                        "object.hutch", copy], env=environment, cwd=place, check=True)
        objects.append((place / "object.hutch").read_bytes())
    check(objects[0] == objects[1], "the same bytes")


@test
def two_checkouts():
    """Two copies of the tree make the same compiler: the same fingerprint, the same objects."""
    copies = [BUILD]
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            capture_output=True)
    names = [n for n in listed.stdout.decode().split("\0") if n and (ROOT / n).is_file()]
    if not names:
        print("two_checkouts: no git here, left out", flush=True)
        return
    for number in (1,) if ALL else (1, 2):
        tree = WORK / ("checkout" * number)
        for name in names:
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, tree / name)  # new times, no modes
        build = WORK / f"build-of-{number}"
        setup = subprocess.run(["/usr/bin/meson", "setup", build, tree], capture_output=True, text=True)
        check(setup.returncode == 0, "a copy configures", setup.stdout[-1500:])
        targets = ["tools/hutch", "tools/hutch-compiler"] if ALL else ["compiler/sources_digest.h"]
        made = subprocess.run(["ninja", "-C", build, *targets], capture_output=True, text=True)
        check(made.returncode == 0, "a copy builds", made.stdout[-1500:])
        copies.append(build)
    digests = {(b / "compiler/sources_digest.h").read_text() for b in copies[1:]}
    check(len(digests) == 1, "the same fingerprint", digests)
    if ALL:
        here = {(b / "compiler/sources_digest.h").read_text() for b in copies}
        check(len(here) == 1, "and as in this build (if it is up to date)", here)
        objects = []
        for i, build in enumerate(copies):
            output = WORK / f"checkout-{i}.hutch"
            subprocess.run([build / "tools/hutch", "compile", "--no-cache", "--target", "x86-64-v2", "-o", output,
                            module(9, 40)], check=True)
            objects.append(output.read_bytes())
        check(len(set(objects)) == 1, "the same objects")


def main():
    global WORK, ALL
    words = [w for w in sys.argv[1:] if not w.startswith("-")]
    ALL = "--all" in sys.argv[1:]
    if not shutil.which("wat2wasm"):
        sys.exit("test_cache: wat2wasm is not here (tools/dev installs it)\n0 passed, 1 failed")
    with tempfile.TemporaryDirectory(prefix="hutch-cache-") as place:
        WORK = pathlib.Path(place)
        for function in TESTS:
            if words and not any(w in function.__name__ for w in words):
                continue
            started = time.monotonic()
            try:
                function()
            except Exception:  # a test that cannot go on is a failure; the others run
                check(False, f"{function.__name__} ended", traceback.format_exc())
            if time.monotonic() - started > 10:
                print(f"{function.__name__}: {time.monotonic() - started:.0f} s", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
