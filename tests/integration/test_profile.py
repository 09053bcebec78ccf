#!/usr/bin/python3
"""Profiles from end to end: counted by `hutch run`, added up, shown, and compiled by.

    tests/integration/test_profile.py

HUTCH names the hutch to test. What a profile counts is checked against counts that follow from
the program's text.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("HUTCH_BUILD_DIR", ROOT / "build"))
HUTCH = os.environ.get("HUTCH", str(BUILD / "tools" / "hutch"))
passed = failed = 0

# work(n): n rounds, every fourth of them takes the `if`; twice and thrice are called through a
# table: thrice in every eighth round.
MODULE = """
(module
  %s
  (type $op (func (param i32) (result i32)))
  (table 2 funcref)
  (elem (i32.const 0) $twice $thrice)
  (memory 1)
  (func $twice (type $op) (i32.mul (local.get 0) (i32.const 2)))
  (func $thrice (type $op) (i32.mul (local.get 0) (i32.const 3)))
  (func $never (param i32) (result i32) (i32.div_u (local.get 0) (i32.const 7)))
  (func $work (export "work") (param $n i32) (result i32) (local $sum i32)
    (loop $again
      (if (i32.eqz (i32.and (local.get $n) (i32.const 3)))
        (then (i32.store (i32.const 8) (local.get $n))))
      (local.set $sum (i32.add (local.get $sum)
        (call_indirect (type $op) (local.get $n)
          (i32.eqz (i32.and (local.get $n) (i32.const 7))))))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $again (local.get $n)))
    (local.get $sum))
  (func (export "unused") (param i32) (result i32) (call $never (local.get 0))))
"""


def check(condition, what, *details):
    global passed, failed
    if condition:
        passed += 1
        return
    failed += 1
    print(f"FAIL {what}", flush=True)
    for detail in details:
        print("     " + str(detail)[-2000:].replace("\n", "\n     "), flush=True)


class Place:
    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.env = dict(os.environ, HUTCH_CACHE_DIR=str(self.directory / "cache"))

    def __truediv__(self, name):
        return self.directory / name

    def run(self, *words, status=0, err=""):
        r = subprocess.run([HUTCH, *map(str, words)], capture_output=True, text=True, timeout=120,
                           stdin=subprocess.DEVNULL, env=self.env, cwd=self.directory)
        check(r.returncode == status and err in r.stderr, f"hutch {' '.join(map(str, words))}",
              f"status {r.returncode}", r.stdout, r.stderr)
        return r.stdout

    def wat(self, name, text, *options):
        (self / f"{name}.wat").write_text(text)
        subprocess.run(["wat2wasm", "--debug-names", *options, self / f"{name}.wat", "-o",
                        self / f"{name}.wasm"], check=True, timeout=60)
        return self / f"{name}.wasm"


def shown(place, *words):
    return json.loads(place.run("profile", "show", "--json", *words))


def by_name(profile):
    return {row["name"].split("[")[0]: row for row in profile["functions"]}


def counted(place, wasm):
    out = place.run("run", "--profile-out", "a.prof", "--invoke", "work", wasm, "800")
    check(out == str(sum(n * (3 if n % 8 == 0 else 2) for n in range(1, 801))) + "\n",
          "the result is right while counting", out)
    profile = shown(place, "a.prof", wasm)
    rows = by_name(profile)
    check(profile["runs"] == 1 and profile["matched"] == 5, "one run, all functions", profile)
    check(rows["work"]["calls"] == 1 and rows["work"]["hottest"] == 800, "work", rows)
    check(rows["twice"]["calls"] == 700 and rows["thrice"]["calls"] == 100, "callees", rows)
    check(rows["never"]["calls"] == 0 and rows["never"]["hottest"] == 0, "never", rows)
    # A second run is added to the first.
    place.run("run", "--profile-out", "a.prof", "--invoke", "work", wasm, "8")
    again = by_name(shown(place, "a.prof", wasm))
    check(again["twice"]["calls"] == 707 and again["work"]["calls"] == 2, "runs add up", again)


def merged(place, wasm):
    for name, n in (("x", 80), ("y", 160)):
        place.run("run", "--profile-out", f"{name}.prof", "--invoke", "work", wasm, n)
    place.run("profile", "merge", "-o", "sum.prof", "x.prof", "y.prof")
    rows = by_name(shown(place, "sum.prof", wasm))
    check(rows["twice"]["calls"] == 210 and rows["thrice"]["calls"] == 30, "the sum", rows)
    text = place.run("profile", "show", "--top", "2", "sum.prof", wasm)
    check("runs       2" in text and "work" in text, "the text", text)
    check(len(re.findall(r"^ +\d+ +\d+  ", text, re.MULTILINE)) == 2, "--top 2", text)


def compiled(place, wasm):
    place.run("compile", "--no-cache", wasm, "-o", "plain.hutch")
    for name in ("one", "two"):
        place.run("compile", "--no-cache", "--profile", "sum.prof", wasm, "-o", f"{name}.hutch")
    plain, one, two = ((place / f"{n}.hutch").read_bytes() for n in ("plain", "one", "two"))
    check(one == two, "the same profile gives the same bytes")
    check(plain != one, "a profile changes the code")
    keys = {n: json.loads(place.run("inspect", "--json", f"{n}.hutch")) for n in ("plain", "one")}
    check(len({k["compatibility"]["compiler_sha256"] for k in keys.values()}) == 2, "another key", keys)
    out = place.run("run", "--allow-precompiled", "--invoke", "work", "one.hutch", "800")
    check(out == place.run("run", "--invoke", "work", wasm, "800"), "the same result", out)
    # The two callees, called where they were seen, are compared against and inlined.
    place.run("compile", "--no-cache", "--profile", "sum.prof", "--dump-dir", ".", "-o", "d.hutch",
              wasm)
    dump = "".join(p.read_text() for p in place.directory.glob("*.optimised.ll"))
    work = re.search(r"^define [^\n]*@f3\(.*?^}", dump, re.MULTILINE | re.DOTALL)
    check(work and re.search(r" shl [a-z ]*i\d+ ", work[0]) and " mul i32" in work[0], "indirect calls inlined",
          work and work[0])
    # Through the cache: each has its own entry, and neither is taken for the other.
    for extra in ((), ("--profile", "sum.prof")):
        check(place.run("run", *extra, "--invoke", "work", wasm, "8") == "80\n", f"run {extra}")


# ask(i) calls through entry i; in the second form the first function stands in the table twice, and
# in the third the table may change.
TABLE = """
(module
  (type $op (func (param i32) (result i32)))
  (table %s 6 funcref)
  (elem (i32.const 0) $twice $thrice)
  (elem (i32.const 3) $other %s)
  (func $twice (type $op) (i32.mul (local.get 0) (i32.const 2)))
  (func $thrice (type $op) (i32.mul (local.get 0) (i32.const 3)))
  (func $fifth (type $op) (i32.div_u (local.get 0) (i32.const 5)))
  (func $other (param i64) (result i32) (i32.const 9))
  (func $ask (export "ask") (param $i i32) (result i32)
    (call_indirect (type $op) (i32.const 100) (local.get $i)))
  (func (export "train") (result i32) (local $n i32) (local $sum i32)
    (loop $again
      (local.set $sum (i32.add (local.get $sum) (call $ask (i32.and (local.get $n) (i32.const 1)))))
      (br_if $again (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 1000))))
    (local.get $sum)))
"""


def promoted(place):
    """Through an entry that the profile knows or not, a call does what it would without one."""
    for form, (export, more) in enumerate((("", "$fifth"), ("", "$twice"), ('(export "t")', "$fifth"))):
        wasm = place.wat(f"table{form}", TABLE % (export, more))
        place.run("run", "--profile-out", f"table{form}.prof", "--invoke", "train", wasm)
        for level in "123":
            place.run("compile", "--no-cache", f"-O{level}", "--profile", f"table{form}.prof", wasm, "-o", "t.hutch")
            for index, answer in ((0, "200\n"), (1, "300\n"), (4, "200\n" if form == 1 else "20\n")):
                out = place.run("run", "--allow-precompiled", "--invoke", "ask", "t.hutch", index)
                check(out == answer, f"form {form}, -O{level}, entry {index}", out)
            for index, why in ((2, "uninitialized element"), (3, "type mismatch"), (5, "uninitialized element"),
                               (6, "undefined element"), (-1, "undefined element")):
                place.run("run", "--allow-precompiled", "--invoke", "ask", "t.hutch", index, status=134, err=why)


def survives(place, wasm):
    """Another module with the same functions, at other indices: the profile still fits."""
    other = place.wat("other", MODULE % "(func $first (export \"first\") (result i64) i64.const 3)\n"
                      "  (global (mut i32) (i32.const 0))")
    profile = shown(place, "sum.prof", other)
    check(profile["matched"] == 5, "all five found again", profile)
    rows = by_name(profile)
    check(rows["twice"]["calls"] == 210, "with their counts", rows)
    place.run("compile", "--no-cache", "--profile", "sum.prof", other, "-o", "other.hutch")
    stranger = place.wat("stranger", "(module (func (export \"f\") (result i32) i32.const 1))")
    place.run("compile", "--no-cache", "--profile", "sum.prof", stranger, "-o", "s.hutch")
    check(place.run("run", "--profile", "sum.prof", "--invoke", "f", stranger) == "1\n",
          "a profile of another program does no harm")
    # One run at another level and target fills the same counters.
    place.run("run", "-O0", "--target", "x86-64-v2", "--profile-out", "o.prof", "--invoke", "work",
              wasm, "80")
    check((place / "o.prof").read_bytes() == (place / "x.prof").read_bytes(),
          "counts do not depend on level or target")


def traps(place):
    """What ran before a trap, an exit or the end of the time is counted."""
    wasm = place.wat("trap", """(module (memory 1)
      (func (export "_start") (local i32)
        (loop $again
          (drop (i32.load (i32.mul (local.get 0) (i32.const 4096))))
          (local.set 0 (i32.add (local.get 0) (i32.const 1)))
          (br $again))))""")
    place.run("run", "--profile-out", "t.prof", wasm, status=134, err="out of bounds")
    rows = shown(place, "t.prof")["functions"]
    check(rows[0]["calls"] == 1, "counted up to the trap", rows)
    wasm = place.wat("exit", """(module
      (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (memory (export "memory") 1)
      (func (export "_start") (call $exit (i32.const 7))))""")
    place.run("run", "--profile-out", "e.prof", wasm, status=7)
    check(shown(place, "e.prof")["functions"][0]["calls"] == 1, "counted up to the exit")


def across_partitions(place):
    """A hot function is inlined where it is called, although another partition defines it."""
    def filler(first):
        return "".join(f"""(func $fill{i} (param i32) (result i32)
            {"(local.set 0 (i32.mul (i32.add (local.get 0) (i32.const 7777777)) (i32.const 99999)))" * 12}
            (local.get 0))\n""" for i in range(first, first + 2000))
    wasm = place.wat("large", f"""(module (memory 1)
        (func $hot (param i32) (result i32)
          (i32.rotl (i32.xor (local.get 0) (i32.const 12345)) (i32.const 5)))
        (func $rare (param i32) (result i32)
          (i32.rotr (i32.xor (local.get 0) (i32.const 54321)) (i32.const 9)))
        {filler(0)} {filler(2000)}
        (func $work (export "work") (param $n i32) (result i32) (local $x i32)
          (local.set $x (call $rare (local.get $n)))
          (loop $again
            (local.set $x (call $hot (local.get $x)))
            (local.set $n (i32.sub (local.get $n) (i32.const 1)))
            (br_if $again (local.get $n)))
          (local.get $x)))""")
    plain = place.run("run", "-O0", "--profile-out", "l.prof", "--invoke", "work", wasm, "100000")
    (place / "parts").mkdir()
    place.run("compile", "--no-cache", "--profile", "l.prof", "--dump-dir", "parts", "-o",
              "l.hutch", wasm)
    dumps = sorted((place / "parts").glob("partition-*.optimised.ll"))
    check(len(dumps) > 1, "more than one partition", dumps)
    dump = next(t for t in (p.read_text() for p in dumps) if re.search(r"^define hidden [^@]*@f4002\(", t, re.MULTILINE))
    work = re.search(r"^define [^\n]*@f4002\(.*?^}", dump, re.MULTILINE | re.DOTALL)[0]
    check("@f0(" not in work, "the hot function is inlined", work)
    check(re.search(r" call [^@\n]*@f1\(", work), "the rare one is not", work)
    check("define available_externally" not in dump, "no copy is left", dump[:400])
    # Hot code lies together, first; cold code last. work is the last function of the last partition.
    symbols = subprocess.run(["llvm-nm-22", "--defined-only", place / "l.hutch"], check=True, timeout=60,
                             capture_output=True, text=True).stdout
    at = {name: int(address, 16) for address, _, name in map(str.split, symbols.splitlines())}
    check(max(at["hot"], at["work"]) < min(v for n, v in at.items() if n.startswith("fill")),
          "hot code of all partitions lies before the rest", symbols[-400:])
    # Without a profile what is small is inlined all the same.
    (place / "plain").mkdir()
    place.run("compile", "--no-cache", "--dump-dir", "plain", "-o", "p.hutch", wasm)
    dumps = [p.read_text() for p in sorted((place / "plain").glob("partition-*.optimised.ll"))]
    dump = next(t for t in dumps if re.search(r"^define hidden [^@]*@f4002\(", t, re.MULTILINE))
    work_body = re.search(r"^define [^\n]*@f4002\(.*?^}", dump, re.MULTILINE | re.DOTALL)[0]
    check("@f0(" not in work_body and "@f1(" not in work_body, "small functions are inlined", work_body)
    check(place.run("run", "--allow-precompiled", "--invoke", "work", "p.hutch", "100000") == plain,
          "the same result without a profile")
    check(place.run("run", "--allow-precompiled", "--invoke", "work", "l.hutch", "100000") == plain,
          "the same result")


# As another assembler writes them. The function's second branch has no hint.
HINTED = """
(module
  (func $rare (import "env" "none") (param i32))
  (func (export "f") (param i32) (result i32)
    (block
      (i32.eqz (local.get 0)) (@metadata.code.branch_hint "\\01") br_if 0
      (if (i32.eq (local.get 0) (i32.const 5)) (then (call $rare (i32.const 1))))
      (i32.gt_u (local.get 0) (i32.const 99)) (@metadata.code.branch_hint "\\00") if
        (call $rare (i32.const 2))
      end)
    (local.get 0)))
"""


def weights(place, wasm, *options):
    """The weights of the branches of a module, as LLVM is told them."""
    place.run("compile", "--no-cache", "-O0", *options, "--dump-dir", ".", "-o", "weighed.hutch", wasm)
    text = "".join(p.read_text() for p in place.directory.glob("*.ll") if "optimised" not in p.name)
    for p in place.directory.glob("*.ll"):
        p.unlink()
    return re.findall(r'"branch_weights", i32 (\d+), i32 (\d+)', text)


def hints(place, wasm):
    """Branch hints of the module's own, written by others and by `hutch profile hints`."""
    hinted = place.wat("hinted", HINTED, "--enable-annotations", "--enable-code-metadata")
    check(weights(place, hinted) == [("64", "1"), ("1", "64")], "both ways, and none that has no hint")
    data = hinted.read_bytes()
    section = data.index(b"metadata.code.branch_hint") + 25
    end = section + 9
    check(data[section:section + 3] == b"\x01\x01\x02" and data[end] == 10, "one function with two hints, then the code", data)
    for what, at, byte in (("another function", 1, 9), ("an import", 1, 0), ("a value of 2", 5, 2),
                           ("two bytes", 4, 2), ("offsets out of order", 6, 0), ("a place outside", 6, 120),
                           ("too many", 2, 0x7f), ("fewer", 2, 1), ("more functions", 0, 2)):
        (place / "bad.wasm").write_bytes(data[:section + at] + bytes([byte]) + data[section + at + 1:])
        check(weights(place, place / "bad.wasm") == [], f"damaged: {what}: as if there were none")
    before = section - 28  # id, size, length of the name
    (place / "late.wasm").write_bytes(data[:before] + data[end:] + data[before:end])
    check(weights(place, place / "late.wasm") == [], "behind the code: likewise")

    place.run("profile", "hints", "-o", "out.wasm", "sum.prof", wasm, err="1 branch has a hint")
    check(weights(place, place / "out.wasm") == [("64", "1")], "the loop's end has one, what happens every fourth time none")
    out = place.run("run", "--invoke", "work", "out.wasm", "800")
    check(out == place.run("run", "--invoke", "work", wasm, "800"), "the same result", out)
    check(shown(place, "sum.prof", "out.wasm")["matched"] == 5, "its functions are the same")
    counted_weights = weights(place, place / "out.wasm", "--profile", "sum.prof")
    check(counted_weights and ("64", "1") not in counted_weights, "counts say more", counted_weights)
    place.run("profile", "hints", "-o", "again.wasm", "sum.prof", "out.wasm", err="1 branch has a hint")
    check((place / "again.wasm").read_bytes() == (place / "out.wasm").read_bytes(), "new ones take the place of old ones")
    place.run("profile", "hints", "-o", "none.wasm", "sum.prof", place / "stranger.wasm", status=1, err="another program")
    check(not (place / "none.wasm").exists(), "and leave nothing")
    place.run("profile", "hints", "sum.prof", wasm, status=2, err="-o FILE")
    place.run("profile", "hints", "-o", "none.wasm", "sum.prof", status=2, err="a profile and a module")


def refused(place, wasm):
    good = (place / "x.prof").read_bytes()
    bad = place / "bad.prof"
    for what, data, words in (
            ("empty", b"", "no profile"), ("text", b"hello " * 40, "no profile"),
            ("cut", good[:-5], "damaged profile"), ("longer", good + b"x", "damaged profile"),
            ("a byte", good[:-40] + bytes([good[-40] ^ 1]) + good[-39:], "checksum"),
            ("version", good[:8] + b"\x07" + good[9:], "version 7")):
        bad.write_bytes(data)
        place.run("compile", "--no-cache", "--profile", bad, wasm, "-o", "b.hutch", status=1,
                  err=words)
        place.run("profile", "show", bad, status=1, err=words)
        check(not (place / "b.hutch").exists(), f"no object by a profile that is {what}")
        if data:
            place.run("run", "--profile-out", bad, "--invoke", "work", wasm, "8", status=1,
                      err="rofile")
            check(bad.read_bytes() == data, f"a file that is no profile is left alone: {what}")
    place.run("run", "--profile-out", "x.prof", "--invoke", "f", place / "stranger.wasm", status=1,
              err="another program")
    check((place / "x.prof").read_bytes() == good, "and so is another program's profile")
    place.run("compile", "--profile", "x.prof", "--profile-generate", wasm, status=2)
    place.run("compile", "--profile", "missing.prof", wasm, status=1, err="missing.prof")
    place.run("profile", "merge", "x.prof", status=2, err="-o FILE")
    place.run("profile", "fly", status=2, err="merge, show or hints")


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="hutch-profile-") as directory:
        place = Place(directory)
        wasm = place.wat("program", MODULE % "")
        counted(place, wasm)
        merged(place, wasm)
        compiled(place, wasm)
        survives(place, wasm)
        promoted(place)
        traps(place)
        across_partitions(place)
        hints(place, wasm)
        refused(place, wasm)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
