#!/usr/bin/python3
"""The native code of known library routines against the routines themselves (compiler/known.h).

    tests/known/test_known.py [--cases N]

A module that exports wasi-libc's own strlen, memcpy and so on runs the same script at level 0,
where the originals run, and at the levels that put native code before them: random operands, many
of them at the end of memory, at 64 KiB boundaries and overlapping. Expected results come from a
model of memory in this file; after a routine that stores, and after one that traps while it stores,
all of memory is compared. The seed is fixed, so that every run is the same.
"""

import argparse
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("HUTCH_BUILD_DIR", ROOT / "build"))
RUNNER = BUILD / "tests" / "spec" / "spec_runner"
DIGESTS = BUILD / "tests" / "known" / "routine_digests"
PAGE = 65536
SIZE = 3 * PAGE
FREE = PAGE  # below: the libc's data and stack
EXPORTS = ["strlen", "strchrnul", "memchr", "memcmp", "strcmp", "strncmp", "memcpy", "memmove",
           "memset", "stpcpy", "strstr"]
# Rust's own, in compiler_builtins: what a program has that links no C library.
RUST = pathlib.Path(os.environ.get("HUTCH_RUSTLIB", "/usr/lib/rustlib")) / "wasm32-unknown-unknown/lib"
RUST_EXPORTS = ["strlen", "memcmp", "memcpy", "memmove", "memset"]
KNOWN = {"strchrnul": "__strchrnul", "stpcpy": "__stpcpy"}

GUEST = r"""
#define _GNU_SOURCE
#include <string.h>
#ifndef BARE
void *keep[] = {strlen, strchrnul, memchr, memcmp, strcmp, strncmp, memcpy, memmove, memset, stpcpy,
                strstr};
#endif
__attribute__((export_name("fill")))
void fill(unsigned char *from, unsigned size, unsigned seed, unsigned letters) {
    for (volatile unsigned char *p = from; size; size--) {
        seed = seed * 1664525u + 1013904223u;
        *p++ = (unsigned char)(1 + (seed >> 24) % letters);
    }
}
__attribute__((export_name("put")))
void put(volatile unsigned char *at, unsigned byte) { *at = (unsigned char)byte; }
__attribute__((export_name("sum")))
unsigned sum(const unsigned char *from, unsigned size) {
    unsigned hash = 2166136261u;
    for (const volatile unsigned char *p = from; size; size--) hash = (hash ^ *p++) * 16777619u;
    return hash;
}
"""


class Script:
    """Commands for the runner, and memory as it is after them."""

    def __init__(self, chance, names):
        self.names = names
        self.commands = []
        self.unknown = []  # commands whose result level 0 gives
        self.memory = bytearray(SIZE)
        self.chance = chance

    def add(self, kind, field, args, expected=None):
        command = {"type": kind, "line": len(self.commands) + 1,
                   "action": {"type": "invoke", "field": field,
                              "args": [{"type": "i32", "value": str(a & 0xFFFFFFFF)}
                                       for a in args]}}
        if kind == "assert_trap":
            command["text"] = "out of bounds memory access"
            command["expected"] = [{"type": "i32"}]
        else:
            command["expected"] = [] if expected is None else [
                {"type": "i32", "value": str(expected & 0xFFFFFFFF)}]
        self.commands.append(command)

    def fill(self, at, size, letters):
        seed = self.chance.getrandbits(32)
        self.add("assert_return", "fill", [at, size, seed, letters])
        for i in range(size):
            seed = (seed * 1664525 + 1013904223) & 0xFFFFFFFF
            self.memory[at + i] = 1 + (seed >> 24) % letters

    def put(self, at, byte):
        self.add("assert_return", "put", [at, byte])
        self.memory[at] = byte

    def compare(self, at, size):
        value = 2166136261
        for byte in self.memory[at:at + size]:
            value = ((value ^ byte) * 16777619) & 0xFFFFFFFF
        self.add("assert_return", "sum", [at, size], value)

    def returns(self, name, args, value):
        if name in self.names:
            self.add("assert_return", name, args, value)

    def traps(self, name, args):
        if name in self.names:
            self.add("assert_trap", name, args)

    # ---- operands ----

    def place(self, size):
        """Where `size` bytes fit: at random, or close to a boundary or to the end of memory."""
        kind = self.chance.randrange(4)
        if kind == 0:
            return SIZE - size
        if kind == 1:
            return max(FREE, min(SIZE - size, 2 * PAGE - self.chance.randrange(size + 20)))
        return self.chance.randrange(FREE, SIZE - size)

    def length(self):
        return self.chance.choice([self.chance.randrange(20), self.chance.randrange(70),
                                   self.chance.randrange(400)])

    def string(self, at, length, letters=3):
        self.fill(at, length, letters)
        if at + length < SIZE:
            self.put(at + length, 0)

    # ---- reading ----

    def find(self):
        n = self.length()
        at = self.place(n + 1)
        self.string(at, n)
        self.returns("strlen", [at], n)
        c = self.chance.choice([1, 2, 3, 4, 0, 256 + 2])
        text = bytes(self.memory[at:at + n])
        found = text.find(bytes([c & 255]))
        self.returns("strchrnul", [at, c], at + (found if found >= 0 else n))
        limit = self.chance.choice([0, n, n + 1, self.chance.randrange(n + 1)])
        seen = bytes(self.memory[at:at + limit]).find(bytes([c & 255]))
        self.returns("memchr", [at, c, limit], at + seen if seen >= 0 else 0)
        if found >= 0:  # just out of reach
            self.returns("memchr", [at, c, found], 0)
        if seen >= 0:  # a limit beyond memory does not matter to what is found before
            self.returns("memchr", [at, c, 0x7FFFFFFF], at + seen)

    def find_last(self):
        """A byte just within reach and just out of it, around the lengths of blocks."""
        for n in (*range(1, 20), *range(30, 36), *range(60, 70), *range(124, 133)):
            for at in (FREE, FREE + 1, FREE + 15, FREE + 47, FREE + 63, 2 * PAGE - 10, SIZE - n):
                self.fill(at, n, 3)
                self.put(at + n - 1, 77)
                self.returns("memchr", [at, 77, n], at + n - 1)
                self.returns("memchr", [at, 77, n - 1], 0)
                self.returns("strchrnul", [at, 77], at + n - 1)
                self.put(at + n - 1, 0)
                self.returns("strlen", [at], n - 1)
                self.returns("strchrnul", [at, 77], at + n - 1)

    def unended(self):
        n = 1 + self.length()
        at = SIZE - n
        self.fill(at, n, 3)
        self.traps("strlen", [at])
        self.traps("strchrnul", [at, 9])
        self.traps("memchr", [at, 9, n + 1])
        self.returns("memchr", [at, 9, n], 0)
        self.returns("memchr", [SIZE, 9, 0], 0)
        self.traps("memchr", [SIZE, 9, 1])
        self.traps("strlen", [SIZE])

    def search(self):
        n = self.length()
        h = self.place(n + 1)
        letters = self.chance.choice([3, 25])  # of 25, most blocks have no pair, or one and no more
        self.string(h, n, letters)
        text = bytes(self.memory[h:h + n])
        size = self.chance.choice([0, 1, 2, 2, 3, 3, 4, 4, 5, 8])
        needle = bytes(1 + self.chance.randrange(letters) for _ in range(size))
        if size and n >= size and self.chance.randrange(4):  # one that is there
            at = self.chance.randrange(n - size + 1)
            needle = text[at:at + size]
        if size > 2 and n > size and self.chance.randrange(4) == 0:  # its first pair is there before
            at = self.chance.randrange(n - 1)
            for i in range(2):
                self.put(h + at + i, needle[i])
            text = bytes(self.memory[h:h + n])
        # in the libc's page, so that the haystack is as it was; at the end of it, too
        at = self.chance.choice([FREE - 4096, FREE - size - 1])
        for i, byte in enumerate(needle + b"\0"):
            self.put(at + i, byte)
        found = text.find(needle)
        self.returns("strstr", [h, at], h + found if found >= 0 else 0)

    def search_across(self):
        """A pair that lies across two of the blocks at a boundary."""
        h, needle = 2 * PAGE - 100, FREE - 4096
        for i, byte in enumerate((30, 31, 0)):
            self.put(needle + i, byte)
        for first in range(2 * PAGE - 50, 2 * PAGE + 20):
            self.string(h, 160, 25)
            self.put(first, 30)
            self.put(first + 1, 31)
            for start in (h, h + 40, first):
                self.returns("strstr", [start, needle], first)
        for n in range(55, 75):  # its end is the last byte of memory
            self.string(SIZE - n, n - 1, 25)
            self.returns("strstr", [SIZE - n, needle], 0)

    def search_unended(self):
        n = 4 + self.length()
        h = SIZE - n
        self.fill(h, n, 3)
        for size in (2, 3, 4):
            for i, byte in enumerate(bytes([9] * size) + b"\0"):
                self.put(FREE - 4096 + i, byte)
            self.traps("strstr", [h, FREE - 4096])
            for i in range(size):  # its own first bytes, and its last: found without the end
                self.put(FREE - 4096 + i, self.memory[h + i])
            self.returns("strstr", [h, FREE - 4096], h)
        self.traps("strstr", [SIZE, FREE - 4096])

    def order(self):
        n = self.length()
        a, b = self.place(n + 1), self.place(n + 1)
        self.string(a, n)
        self.string(b, n)
        same = min(n, self.chance.choice([0, n, n, self.chance.randrange(n + 1)]))
        for i in range(0 if abs(a - b) <= n else same):  # b's text becomes a's
            if self.memory[b + i] != self.memory[a + i]:
                self.put(b + i, self.memory[a + i])
        if self.chance.randrange(2) and n:
            self.put(a + self.chance.randrange(n), 200)
        self.returns("memcmp", [a, b, n], self.difference(a, b, n, False))
        self.returns("strcmp", [a, b], self.difference(a, b, SIZE, True))
        limit = self.chance.choice([0, n, n + 5, 0xFFFFFFFF, self.chance.randrange(n + 1)])
        self.returns("strncmp", [a, b, limit], self.difference(a, b, limit, True))

    def difference(self, a, b, limit, strings):
        for i in range(min(limit, SIZE)):
            x = self.memory[a + i] if a + i < SIZE else None
            y = self.memory[b + i] if b + i < SIZE else None
            if x is None or y is None:
                raise AssertionError("the case should not leave memory")
            if x != y or (strings and x == 0):
                return x - y
        return 0

    def order_ends(self):
        """Equal up to the end of memory, or different just before it."""
        n = 1 + self.length()
        a, b = SIZE - n, self.chance.randrange(FREE, SIZE - 3 * n - 64)
        self.fill(a, n, 3)
        self.fill(b, n + 40, 3)
        for i in range(n):
            self.put(b + i, self.memory[a + i])
        for name in ("memcmp", "strncmp"):
            self.returns(name, [a, b, n], 0)
            self.traps(name, [a, b, n + 1])
            self.traps(name, [b, a, 0x7FFFFFFF])
        self.traps("strcmp", [a, b])
        at = self.chance.randrange(n)
        self.put(b + at, 77)
        minus = self.memory[a + at] - 77
        self.returns("memcmp", [a, b, 0x7FFFFFFF], minus)
        self.returns("strcmp", [a, b], minus)
        self.returns("strcmp", [b, a], -minus)
        self.returns("strncmp", [a, b, 0x7FFFFFFF], minus)
        self.returns("memcmp", [a, SIZE + 5, 0], 0)
        self.traps("memcmp", [a, SIZE, 1])

    # ---- storing ----

    def copy(self):
        n = self.length()
        d, s = self.place(n), self.place(n)
        self.fill(s, n, 250)
        if abs(d - s) >= n:
            self.returns("memcpy", [d, s, n], d)
            self.memory[d:d + n] = self.memory[s:s + n]
            self.compare(FREE, SIZE - FREE)
        d = max(FREE, min(SIZE - n, s + self.chance.randrange(-n - 1, n + 2)))
        self.returns("memmove", [d, s, n], d)
        self.memory[d:d + n] = bytes(self.memory[s:s + n])
        c, d = self.chance.getrandbits(12), self.place(n)
        self.returns("memset", [d, c, n], d)
        self.memory[d:d + n] = bytes([c & 255]) * n
        self.compare(FREE, SIZE - FREE)
        self.returns("memcpy", [SIZE + 9, SIZE + 7, 0], SIZE + 9)

    def copy_overlapping(self):
        """What memcpy does then is the original's business: level 0 says what that is."""
        n = self.length()
        s = self.place(n + 40)
        d = max(FREE, min(SIZE - n, s + self.chance.randrange(-n - 1, n + 2)))
        low, size = min(d, s), abs(d - s) + n
        self.fill(low, size, 250)
        self.returns("memcpy", [d, s, n], d)
        self.unknown.append(len(self.commands))
        self.compare(low, size)
        self.fill(low, size, 250)

    def copy_string(self):
        n = self.length()
        s, d = self.place(n + 1), self.place(n + 1)
        self.string(s, n, 250)
        if abs(d - s) > n:
            self.returns("stpcpy", [d, s], d + n)
            self.memory[d:d + n + 1] = self.memory[s:s + n + 1]
            self.compare(FREE, SIZE - FREE)

    def store_ends(self):
        """Traps in the middle of storing: what the original had stored by then is there."""
        n = 80 + self.length()
        s, d = FREE + 4 * self.chance.randrange(1000), SIZE - 4 * (n // 8)
        self.fill(s, n, 250)
        self.put(s + n, 0)
        self.fill(d, SIZE - d, 250)
        stored = SIZE - d
        self.traps("memcpy", [d, s, n])
        whole = stored - stored % 16  # words of 4, 16 bytes a turn
        self.memory[d:d + whole] = self.memory[s:s + whole]
        self.compare(d, whole)
        self.fill(d, stored, 250)
        self.traps("stpcpy", [d, s])
        self.memory[d:SIZE] = self.memory[s:s + stored]
        self.compare(FREE, SIZE - FREE)
        self.traps("memset", [d, 7, stored + 1])  # the first byte and the last come first
        self.memory[d] = 7
        self.compare(FREE, SIZE - FREE)
        self.traps("memmove", [s, SIZE - 8, 100])  # what can be read was stored
        self.memory[s:s + 8] = self.memory[SIZE - 8:SIZE]
        self.compare(FREE, SIZE - FREE)
        self.traps("memcpy", [s, 0xFFFFFFF0, 32])


    def store_ends_somehow(self):
        """The same; what a trap leaves of Rust's loops depends on the level (docs/compiler.md, Traps)."""
        n = 80 + self.length()
        s, d = FREE + 4 * self.chance.randrange(1000), SIZE - 4 * (n // 8)
        for name, args in (("memcpy", [d, s, n]), ("memmove", [s, SIZE - 8, 100]),
                           ("memmove", [d, s, n]), ("memset", [d, 7, SIZE - d + 1])):
            self.traps(name, args)
        self.fill(s, n + 100, 250)
        self.fill(d, SIZE - d, 250)


def build_rust(place):
    """The same guest on Rust's routines alone."""
    source, bare, wasm = place / "bare.c", place / "bare.o", place / "bare.wasm"
    source.write_text(GUEST)
    subprocess.run(["clang-22", "--target=wasm32-unknown-unknown", "-O2", "-DBARE", "-fno-builtin",
                    "-ffreestanding", "-isystem", "/usr/include/wasm32-wasi", "-c", source,
                    "-o", bare], check=True, timeout=120)
    libraries = [next(RUST.glob(f"lib{name}-*.rlib"), None) for name in ("compiler_builtins", "core")]
    if None in libraries:
        sys.exit(f"{RUST} has no Rust: install libstd-rust-dev-wasm32")
    subprocess.run(["wasm-ld-22", "--no-entry", bare, *libraries, "-o", wasm,
                    "-z", "stack-size=8192", f"--initial-memory={SIZE}", f"--max-memory={SIZE}",
                    *[f"--export={name}" for name in RUST_EXPORTS + ["bcmp"]]], check=True, timeout=120,
                   stderr=subprocess.DEVNULL)
    return wasm


def build(place):
    source, wasm = place / "guest.c", place / "guest.wasm"
    source.write_text(GUEST)
    subprocess.run(["clang-22", "--target=wasm32-wasi", "-Wno-deprecated", "-O2", "-fno-builtin",
                    "-nostartfiles", source, "-o", wasm, "-Wl,--no-entry", "-Wl,-z,stack-size=8192",
                    f"-Wl,--initial-memory={SIZE},--max-memory={SIZE}",
                    *[f"-Wl,--export={name}" for name in EXPORTS]], check=True, timeout=120)
    return wasm


def recognised(wasm, names):
    out = subprocess.run([DIGESTS, wasm], capture_output=True, text=True, check=True).stdout
    rows = dict(reversed(line.split()[1:]) for line in out.splitlines())
    failed = 0
    for name in names:
        seen = rows.get(name) or rows.get(KNOWN.get(name))
        if seen != name:
            failed += 1
            print(f"FAIL {name} is taken for {seen}: another wasi-libc? See compiler/known.def")
    return len(names) - failed, failed


def write(place, wasm, script):
    (place / "known.json").write_text(json.dumps(
        {"source_filename": "known.wast",
         "commands": [{"type": "module", "line": 0, "filename": wasm.name}] + script.commands}))


def learn(place, script):
    out = subprocess.run([RUNNER, "--level", "0", place / "known.json"], capture_output=True,
                         text=True, timeout=300).stdout
    got = {int(line): value for line, value in
           re.findall(r"assert_return sum \(line (\d+)\): .* got i32 (\d+)", out)}
    for index in script.unknown:
        command = script.commands[index]
        if command["line"] in got:
            command["expected"][0]["value"] = got[command["line"]]


STEPS = [Script.find, Script.unended, Script.search, Script.search, Script.search,
         Script.search_unended, Script.order, Script.order_ends, Script.copy,
         Script.copy_overlapping, Script.copy_string, Script.store_ends]
RUST_STEPS = [Script.find, Script.unended, Script.order, Script.order_ends, Script.copy,
              Script.copy_overlapping, Script.store_ends_somehow]


def compare_levels(make, names, steps, cases):
    """One library's routines at all levels; how many passed and failed."""
    script = Script(random.Random(20), names)
    for _ in range(cases):
        for step in steps:
            step(script)
    script.find_last()
    script.search_across()
    with tempfile.TemporaryDirectory(prefix="hutch-known-") as directory:
        place = pathlib.Path(directory)
        wasm = make(place)
        passed, failed = recognised(wasm, names)
        write(place, wasm, script)
        learn(place, script)
        write(place, wasm, script)
        for placement in ("pinned", "relocatable"):
            # an object for x86-64-v2 has routines for v3 as well, and asks where it runs
            for level, target, *more in (("0", "native"), ("1", "native"), ("2", "native"), ("3", "native"),
                                         ("2", "x86-64-v2"), ("2", "x86-64-v2", "--cpu-level", "2")):
                r = subprocess.run([RUNNER, "--placement", placement, "--level", level, "--target",
                                    target, *more, place / "known.json"], capture_output=True, text=True,
                                   timeout=300)
                words = r.stdout.splitlines()[-1].split() if r.stdout else ["0", "", "1"]
                passed, failed = passed + int(words[0]), failed + int(words[2])
                if r.returncode:
                    print(f"FAIL {placement} at level {level} for {target}\n" + r.stdout[-1500:] + r.stderr)
    return passed, failed


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=40, help="rounds (40)")
    cases = parser.parse_args().cases
    passed, failed = compare_levels(build, EXPORTS, STEPS, cases)
    rust_passed, rust_failed = compare_levels(build_rust, RUST_EXPORTS, RUST_STEPS, cases)
    passed, failed = passed + rust_passed, failed + rust_failed
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
