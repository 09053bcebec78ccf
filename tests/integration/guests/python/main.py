"""What CPython does most, with output that no version or platform changes.

Arguments: the directory with the data, a directory to write in. Floats are only added,
multiplied and rooted (the C library's other functions may differ in the last bit).
"""
import asyncio
import bisect
import collections
import contextlib
import csv
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import hashlib
import heapq
import io
import itertools
import json
import math
import os
import pathlib
import pickle
import random
import re
import sqlite3
import statistics
import string
import struct
import sys
import textwrap
import traceback
import typing
import unicodedata
import xml.etree.ElementTree as ElementTree
import zipfile
import zlib

DATA, SCRATCH = (pathlib.Path(p) for p in sys.argv[1:3])


def section(name: str) -> None:
    print(f"== {name}")


def files_and_json() -> list[dict]:
    section("files and json")
    records = json.loads((DATA / "records.json").read_text(encoding="utf-8"))
    print(len(records), records[0]["name"], sum(r["score"] for r in records))
    by_city = collections.defaultdict(list)
    for record in records:
        by_city[record["city"]].append(record["score"])
    for city in sorted(by_city):
        print(city, len(by_city[city]), statistics.median(by_city[city]))
    out = SCRATCH / "deep" / "er"
    out.mkdir(parents=True)
    target = out / "copy.json"
    target.write_text(json.dumps(records, sort_keys=True, indent=1, ensure_ascii=False), "utf-8")
    assert json.loads(target.read_text("utf-8")) == records
    print(target.stat().st_size, hashlib.sha256(target.read_bytes()).hexdigest())
    target.rename(out / "moved.json")
    with open(out / "moved.json", "r+b") as f:
        f.seek(-20, os.SEEK_END)
        tail = f.read()
        f.truncate(100)
        f.seek(0)
        f.write(b"#")
    print(tail, (out / "moved.json").stat().st_size, (out / "moved.json").read_bytes()[:20])
    for root, dirs, names in sorted(os.walk(DATA / "tree")):
        dirs.sort()
        print(pathlib.Path(root).relative_to(DATA), sorted(dirs), sorted(names))
    try:
        (DATA / "missing").open()
    except FileNotFoundError as e:
        print(type(e).__name__, e.errno == 2 or e.errno == 44)
    (out / "moved.json").unlink()
    out.rmdir()
    print(sorted(p.name for p in SCRATCH.iterdir()))
    return records


def regular_expressions() -> None:
    section("regular expressions")
    line = re.compile(r'(?P<ip>[\d.]+) \S+ \S+ \[(?P<when>[^\]]+)\] "(?P<verb>[A-Z]+) (?P<path>[^" ?]+)'
                      r'(?:\?[^" ]*)? HTTP/[\d.]+" (?P<status>\d{3}) (?P<size>\d+)')
    hits, sizes, days = collections.Counter(), collections.Counter(), collections.Counter()
    for text in (DATA / "access.log").read_text().splitlines():
        m = line.fullmatch(text)
        hits[m["verb"], m["status"]] += 1
        sizes[m["path"]] += int(m["size"])
        when = datetime.datetime.strptime(m["when"], "%d/%b/%Y:%H:%M:%S %z")
        days[when.strftime("%A")] += 1
    print(sorted(hits.items()))
    print(sizes.most_common())
    print(sorted(days.items()))
    print(re.sub(r"(\w+) (\w+)", r"\2-\1", "one two three four five"))
    print(re.findall(r"(?<=\$)\d+(?:\.\d\d)?(?!\d)", "$3.50 and $20 or 17 or $1.999"))
    print(re.split(r"[,;]\s*", "a, b;c,d;  e"), bool(re.match(r"(a|b)*?c$", "ab" * 200 + "c")))
    print(sorted(set(re.findall(r"\b\w*ö\w*\b", "Köln schön öde Ort", re.IGNORECASE))))


def numbers() -> None:
    section("numbers")
    print(math.factorial(200))
    print(pow(3, 10**6, 10**50 + 151), 2**521 - 1, (7**333) // (5**200), (7**333) % (5**200))
    print(math.gcd(2**200 - 1, 2**120 - 1), math.isqrt(10**60), int("zz" * 30, 36))
    a, b = 0, 1
    for _ in range(3000):
        a, b = b, a + b
    print(hashlib.sha1(str(a).encode()).hexdigest(), a.bit_length())
    decimal.getcontext().prec = 60
    print(decimal.Decimal(2).sqrt(), decimal.Decimal(1) / 7)
    print(sum((fractions.Fraction(1, n) for n in range(1, 60)), fractions.Fraction()))
    print(0.1 + 0.2, 1e308 * 10, -0.0, math.sqrt(2), float("1e-320"), (0.1).hex(), round(2.675, 2))
    print([f"{x:>12.4e}|{x:,.3f}|{x!r}" for x in (1.0, 123456.789, 1 / 3, 5e-324)])
    sieve = bytearray([1]) * 200_000
    for i in range(2, 448):
        if sieve[i]:
            sieve[i * i::i] = bytes(len(range(i * i, len(sieve), i)))
    print(sum(sieve) - 2)
    rng = random.Random(20240229)
    print([rng.randrange(1000) for _ in range(8)], rng.random(), rng.sample(range(100), 6))
    print(struct.pack("<bHiqfd", -1, 65535, -2**31, 2**62, 1.5, 0.1).hex())


@functools.total_ordering
@dataclasses.dataclass
class Version:
    major: int
    minor: int = 0

    def __lt__(self, other: "Version") -> bool:
        return (self.major, self.minor) < (other.major, other.minor)


class Colour(enum.Flag):
    RED = enum.auto()
    GREEN = enum.auto()
    BLUE = enum.auto()


def objects_and_sorting(records: list[dict]) -> None:
    section("objects and sorting")
    ranked = sorted(records, key=lambda r: (-r["score"], r["name"], r["id"]))
    print([(r["id"], r["name"], r["score"]) for r in ranked[:5]])
    print(heapq.nsmallest(4, (r["ratio"] for r in records)), heapq.nlargest(3, range(10**5), key=lambda n: n * 7919 % 10007))
    versions = [Version(*v) for v in ((3, 1), (2, 9), (3,), (1, 10))]
    print(sorted(versions), max(versions), Version(3) <= Version(3, 0))
    print((Colour.RED | Colour.BLUE) & Colour.BLUE == Colour.BLUE, [c.name for c in Colour])
    points = list(range(0, 1000, 7))
    print(bisect.bisect(points, 500), bisect.bisect_left(points, 497))
    print([(k, len(list(g))) for k, g in itertools.groupby(sorted(r["name"] for r in records))])
    print(pickle.loads(pickle.dumps({"a": (1, [2, {3}]), "v": Version(4, 2)})))
    words = "".join(random.Random(7).choice(string.ascii_lowercase + " ") for _ in range(4000)).split()
    print(collections.Counter(w[0] for w in words).most_common(3), sorted(words, key=lambda w: (len(w), w))[-1])


def countdown(n: int) -> typing.Iterator[int]:
    try:
        while n:
            got = yield n
            n -= got or 1
    finally:
        print("closed")


@contextlib.contextmanager
def noted(log: list[str], name: str) -> typing.Iterator[None]:
    log.append("enter " + name)
    try:
        yield
    except KeyError as e:
        log.append(f"swallowed {e}")
    finally:
        log.append("leave " + name)


def exceptions_and_generators() -> None:
    section("exceptions and generators")
    g = countdown(10)
    print(next(g), g.send(3), next(g))
    g.close()
    log: list[str] = []
    with noted(log, "a"), noted(log, "b"):
        raise KeyError("gone")
    print(log)
    try:
        try:
            [][1]
        except IndexError as e:
            raise ValueError("outer") from e
    except ValueError as e:
        print(repr(e), repr(e.__cause__), len(traceback.extract_tb(e.__traceback__)))

    def deep(n: int) -> int:
        return 0 if n == 0 else 1 + deep(n - 1)

    print(deep(400))
    try:
        deep(10**6)
    except RecursionError as e:
        print(type(e).__name__)
    try:
        raise ExceptionGroup("many", [ValueError(1), TypeError(2), ValueError(3)])
    except* ValueError as group:
        print(len(group.exceptions))
    except* TypeError as group:
        print(group.exceptions[0].args)

    async def child(n: int) -> int:
        await asyncio.sleep(0)
        return n * n

    step = asyncio.sleep(0)
    with contextlib.suppress(StopIteration):
        while True:
            step.send(None)
    coroutine, result = child(12), None
    try:
        while True:
            coroutine.send(None)
    except StopIteration as stop:
        result = stop.value
    print(result)


def dates() -> None:
    section("dates")
    day = datetime.date(2024, 2, 29)
    print(day.isoformat(), day.isocalendar().week, day.toordinal(), day.strftime("%a %d %b %Y"))
    print(day + datetime.timedelta(days=366), (datetime.date(2100, 3, 1) - day).days)
    t = datetime.datetime(2024, 2, 29, 23, 59, 59, 999999, datetime.timezone.utc)
    print(t + datetime.timedelta(microseconds=1), t.timestamp(), t.isoformat(timespec="milliseconds"))
    print(datetime.datetime.fromisoformat("2023-11-05T01:30:00+05:30").astimezone(datetime.timezone.utc))


def text_and_formats() -> None:
    section("text and formats")
    rows = list(csv.DictReader(io.StringIO((DATA / "people.csv").read_text("utf-8"))))
    print(len(rows), rows[3], max(rows, key=lambda r: float(r["height"]))["born"])
    print(unicodedata.normalize("NFD", "Łódź é").encode("utf-8"), "ß".upper(), "İ".lower(), "東京".encode("utf-16-le"))
    print(textwrap.fill("the quick brown fox jumps over the lazy dog " * 3, 32))
    tree = ElementTree.fromstring("<r><i n='1'>a</i><i n='2'><j/>b &amp; c</i></r>")
    print([(e.tag, e.attrib, e.text) for e in tree.iter()], ElementTree.tostring(tree))
    blob = bytes(range(256)) * 300
    packed = zlib.compress(blob, 9)
    print(zlib.crc32(blob), zlib.adler32(blob), zlib.decompress(packed) == blob, len(packed) < 2000)
    archive = SCRATCH / "t.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr(zipfile.ZipInfo("x/y.txt"), "hello " * 1000)
    with zipfile.ZipFile(archive) as z:
        print(z.namelist(), len(z.read("x/y.txt")), z.testzip())
    archive.unlink()
    for name in ("md5", "sha1", "sha512", "blake2b", "sha3_256"):
        print(name, hashlib.new(name, blob).hexdigest()[:32])


def database() -> None:
    section("database")
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        db.execute("create table t(k integer primary key, v text, n real)")
        db.executemany("insert into t values(?, ?, ?)", ((i, f"v{i % 97}", i / 8) for i in range(50_000)))
        print(db.execute("select count(*), sum(k), sum(n), max(v) from t where v like 'v4%'").fetchone())
        print(db.execute("select v, count(*) from t group by v order by 2 desc, 1 limit 3").fetchall())


def main() -> None:
    records = files_and_json()
    regular_expressions()
    numbers()
    objects_and_sorting(records)
    exceptions_and_generators()
    dates()
    text_and_formats()
    database()
    os.rmdir(SCRATCH / "deep")
    print("done")


main()
