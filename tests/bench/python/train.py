"""What a profile of CPython is trained on: kinds of work that programs have, none of it one of the
programs that are measured. Prints a last line only.
"""

import array
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
import io
import itertools
import json
import operator
import random
import re
import string
import textwrap
import urllib.parse


class Token(enum.Enum):
    NUMBER = 1
    NAME = 2
    SIGN = 3


class Parser:
    """An expression grammar by recursive descent, to nested tuples, and its value."""

    def __init__(self, text):
        self.tokens = list(self.cut(text))
        self.at = 0

    @staticmethod
    def cut(text):
        i = 0
        while i < len(text):
            c = text[i]
            if c.isspace():
                i += 1
            elif c.isdigit():
                j = i
                while j < len(text) and text[j].isdigit():
                    j += 1
                yield Token.NUMBER, int(text[i:j])
                i = j
            elif c.isalpha():
                yield Token.NAME, c
                i += 1
            else:
                yield Token.SIGN, c
                i += 1

    def take(self, sign):
        if self.at < len(self.tokens) and self.tokens[self.at] == (Token.SIGN, sign):
            self.at += 1
            return True
        return False

    def sum(self):
        left = self.product()
        while True:
            if self.take("+"):
                left = ("+", left, self.product())
            elif self.take("-"):
                left = ("-", left, self.product())
            else:
                return left

    def product(self):
        left = self.atom()
        while self.take("*"):
            left = ("*", left, self.atom())
        return left

    def atom(self):
        if self.take("("):
            inner = self.sum()
            if not self.take(")"):
                raise SyntaxError("no )")
            return inner
        kind, value = self.tokens[self.at]
        self.at += 1
        if kind is Token.SIGN:
            raise SyntaxError(value)
        return value


def value(tree, names):
    if isinstance(tree, int):
        return tree
    if isinstance(tree, str):
        return names[tree]
    sign, left, right = tree
    a, b = value(left, names), value(right, names)
    return a + b if sign == "+" else a - b if sign == "-" else a * b


def expressions():
    total = 0
    for i in range(120):
        text = f"({i} + x) * (y - {i % 7}) - 3 * (x + (y * {i}))" + (" )" if i % 40 == 39 else "")
        try:
            parser = Parser(text)
            total += value(parser.sum(), {"x": i, "y": 5})
            if parser.at != len(parser.tokens):
                raise SyntaxError("more")
        except SyntaxError as e:
            total -= len(str(e))
    return total


@dataclasses.dataclass(order=True)
class Job:
    due: int
    name: str = dataclasses.field(compare=False)
    needs: list = dataclasses.field(default_factory=list, compare=False)


class Account:
    rate = 3

    def __init__(self, owner, balance=0):
        self.owner, self._balance, self.log = owner, balance, []

    @property
    def balance(self):
        return self._balance

    def move(self, amount, *, note=""):
        if self._balance + amount < 0:
            raise ValueError(f"{self.owner}: {amount}")
        self._balance += amount
        self.log.append((note, amount))
        return self

    def __eq__(self, other):
        return self.owner == other.owner

    def __hash__(self):
        return hash(self.owner)

    def __lt__(self, other):
        return self._balance < other._balance


class Saver(Account):
    rate = 5

    def move(self, amount, **more):
        super().move(amount - (self.rate if amount < 0 else 0), **more)
        return self


def bank():
    chance = random.Random(7)
    accounts = [(Saver if i % 3 == 0 else Account)(f"owner {i}", i * 10) for i in range(60)]
    refused = 0
    for i in range(3000):
        a, b = chance.sample(accounts, 2)
        try:
            amount = chance.randrange(1, 90)
            a.move(-amount, note="out")
            b.move(amount, note=f"in {i}")
        except ValueError:
            refused += 1
    best = max(accounts)
    return refused, best.owner, sum(a.balance for a in set(accounts)), len(best.log)


def jobs():
    waiting = [Job(i * 37 % 101, f"job {i}", [f"job {i // 2}"] if i % 3 else []) for i in range(400)]
    done, order = set(), []
    while waiting:
        waiting.sort(key=operator.attrgetter("due", "name"))
        ready = [j for j in waiting if all(n in done or n == j.name for n in j.needs)][:25]
        if not ready:
            ready = waiting[:1]
        for job in ready:
            done.add(job.name)
            order.append(job.due)
            waiting.remove(job)
    return order[::29]


WORDS = ("when in the course of a program it becomes plain that one object must hold another and the two "
         "are bound by a name which all who read it understand").split()


def prose():
    text = " ".join(WORDS[i * 7 % len(WORDS)] for i in range(2500))
    lines = textwrap.wrap(text, 60)
    title = [line.title().swapcase().center(70, "*") for line in lines]
    vowels = sum(map(text.count, "aeiou"))
    table = str.maketrans("aeiou", "uoiea", "x")
    longest = sorted({w.strip(".,") for w in text.translate(table).split()}, key=len)[-5:]
    acronyms = ["".join(w[0].upper() for w in line.split(" ")) for line in lines]
    encoded = text.encode("utf-16-le").decode("utf-16-le").replace("the", "thé").encode()
    return vowels, longest, acronyms[3], len(encoded), title[1], text.find("bound"), f"{vowels:>10,d}|{vowels / 3:.3e}"


def tables():
    out = io.StringIO()
    writer = csv.writer(out)
    for i in range(500):
        writer.writerow([i, f"name {i}", i * 1.5, "a, b" if i % 5 == 0 else ""])
    rows = list(csv.reader(io.StringIO(out.getvalue())))
    groups = {}
    for number, name, amount, note in rows:
        groups.setdefault(name[-1], []).append(float(amount))
    means = {k: sum(v) / len(v) for k, v in groups.items()}
    counts = collections.Counter(itertools.chain.from_iterable(name for _, name, _, _ in rows))
    return sorted(means.items())[:3], counts.most_common(3)


def documents():
    data = {"items": [{"id": i, "tags": ["a", "b"] * (i % 3), "price": i / 7, "text": f"é {i}\n"} for i in range(150)],
            "none": None, "flags": [True, False]}
    text = json.dumps(data)
    again = json.loads(text)
    return again == data, len(json.dumps(again, indent=1, sort_keys=True)), hashlib.sha1(text.encode()).hexdigest()


LINE = re.compile(r"(\w+)=(?:\"([^\"]*)\"|(\S+))")


def settings():
    text = "\n".join(f'key{i}=value{i * 3} name="a b {i}" # {i}' for i in range(300))
    found = {}
    for line in text.splitlines():
        for key, quoted, plain in LINE.findall(line):
            found[key] = quoted or plain
    cleaned = re.sub(r"#.*$", "", text, flags=re.M)
    parts = re.split(r"[=\s]+", cleaned)
    url = urllib.parse.urlsplit("http://user@example.org:80/a/b;c?d=e&f=%20g#h")
    return len(found), len(parts), url.port, urllib.parse.parse_qs(url.query)


def numbers():
    seen, n = {}, 871
    for start in range(1, 400):
        n, steps = start, 0
        while n != 1 and n not in seen:
            n = n // 2 if n % 2 == 0 else 3 * n + 1
            steps += 1
        seen[start] = steps + seen.get(n, 0)
    flips = bytearray(5000)
    for step in range(1, 300):
        for i in range(0, 5000, step):
            flips[i] ^= 1
    pair = (0, 1)
    for _ in range(600):
        pair = pair[1], (pair[0] + pair[1]) % (1 << 90)
    x, area = 0.0, 0.0
    while x < 40:
        area += abs(x * x - 3 * x + 1) ** 0.5 * 0.02
        x += 0.02
    bits = [bin(i ^ i >> 1).count("1") << 2 | i & 3 for i in range(3000)]
    whole = sum(fractions.Fraction(1, i) for i in range(1, 60))
    exact = sum(decimal.Decimal(i) / 7 for i in range(200))
    return max(seen.values()), sum(flips), pair[1], round(area, 6), sum(bits), whole.numerator % 997, str(exact)[:12]


def walk(tree, depth=0):
    if isinstance(tree, list):
        for branch in tree:
            yield from walk(branch, depth + 1)
    else:
        yield depth, tree


def lazy():
    tree = [i if i % 4 else [i, [i + 1, [i + 2]]] for i in range(800)]
    flat = list(walk(tree))
    runs = [(k, len(list(g))) for k, g in itertools.groupby(flat, key=lambda p: p[0])]
    pairs = {a: b for a, b in zip(string.ascii_letters, itertools.cycle(range(7)))}
    windows = sum(a * b for a, b in itertools.pairwise(n for _, n in flat))

    @functools.lru_cache(maxsize=None)
    def ways(amount, coins):
        if amount == 0:
            return 1
        return 0 if amount < 0 or not coins else ways(amount - coins[0], coins) + ways(amount, coins[1:])

    return len(runs), windows, sum(pairs.values()), ways(150, (50, 20, 10, 5, 2, 1))


@contextlib.contextmanager
def counted(counts, name):
    counts[name] = counts.get(name, 0) + 1
    try:
        yield counts
    finally:
        counts["ends"] = counts.get("ends", 0) + 1


def mistakes():
    counts, what = {}, [{"a": 1}, [1, 2], None, "text", 7, ("x",)]
    for i in range(1500):
        with counted(counts, i % 5):
            try:
                thing = what[i % 6]
                thing["a" if i % 2 else 1] += i % 3
            except (TypeError, KeyError, IndexError) as e:
                name = type(e).__name__
                counts[name] = counts.get(name, 0) + 1
    return sorted(counts.items(), key=str)


def grids():
    size = 40
    land = [[(x * y + x) % 5 != 0 for x in range(size)] for y in range(size)]
    best, todo = {(0, 1): 0}, collections.deque([(0, 1)])
    while todo:
        x, y = todo.popleft()
        for dx, dy in ((1, 0), (0, 1), (-1, 0), (0, -1)):
            u, v = x + dx, y + dy
            if 0 <= u < size and 0 <= v < size and land[v][u] and (u, v) not in best:
                best[u, v] = best[x, y] + 1
                todo.append((u, v))
    sums = [sum(row) for row in zip(*land)]
    points = array.array("d", (i * 0.25 for i in range(2000)))
    return len(best), max(best.values()), sums[:4], sum(points[::3]), sorted(points, reverse=True)[1]


def dates():
    day, weekdays = datetime.date(2023, 12, 1), collections.defaultdict(int)
    for i in range(400):
        weekdays[(day + datetime.timedelta(days=i)).strftime("%a")] += i
    return dict(weekdays), datetime.datetime.fromisoformat("2024-02-29T12:30:00+02:00").isoformat()


def route(pattern, *parts, method="GET", **options):
    return pattern.format(*parts), method, options.get("cache", 0) + len(parts)


def ladder(n, step=1, /, *, down=False):
    return 0 if n <= 0 else 1 + ladder(n - step, step, down=not down)


def compose(*functions):
    return functools.reduce(lambda f, g: lambda x: g(f(x)), functions)


def accumulator(start):
    seen = []

    def add(value, *, times=1):
        nonlocal start
        for _ in range(times):
            start += value
        seen.append(value)
        return start

    return add, seen


def calling():
    """Arguments of every kind: by position, name, default, star; closures, partials, recursion."""
    add, seen = accumulator(10)
    get, plus = functools.partial(route, "/a/{}/{}", cache=1), compose(str, len, lambda n: n + 1)
    out = 0
    for i in range(900):
        options = {"method": "PUT", "cache": i % 3} if i % 2 else {}
        path, method, weight = route("/b/{}", i, **options)
        out += len(path) + weight + len(get(i, method)[0]) + plus(i * 11)
        out += add(i & 3, times=2) + add(1) + max(i % 7, *(3, i % 5), key=lambda v: -v)
    return out + ladder(300) + ladder(90, 3, down=True) + sum(map(operator.mul, seen, range(len(seen))))


def reports():
    """Lines as logs and bills have them: every way to format, and to take apart again."""
    lines, total = [], 0.0
    for i in range(700):
        amount, name = i * 1.37 + 0.005, WORDS[i % len(WORDS)]
        total += amount
        lines.append(f"{i:05d} {name:<12}|{amount:>10.2f}|{total:12.4e}|{i % 97:#06x}|{i / 7:g}")
        lines.append("%-8s %3d%% %6.1f %r %x" % (name, i % 101, amount, name[:2], i))
        lines.append("{:>4} {!r:>9} {n:,}".format(i, name, n=i * 1009).rjust(30, "."))
    fields = [line.split("|") for line in lines if "|" in line]
    sums = sum(float(f[1].strip()) for f in fields), sum(int(f[3], 16) for f in fields)
    shout = "\n".join(line.upper() if line.startswith("0") else line.strip(". ") for line in lines)
    letters = [chr(ord(c) ^ 1) for c in shout[:3000] if c.isalnum() and not c.isspace()]
    return sums, len(shout), "".join(reversed(letters))[:20], shout.rpartition(" ")[2], str(total), repr(total / 3)


PARTS = (calling, reports, expressions, bank, jobs, prose, tables, documents, settings, numbers, lazy, mistakes, grids, dates)


def work():
    return [part() for part in PARTS]


if __name__ == "__main__":
    for _ in range(12):
        result = work()
    print(len(result), "kinds of work")
