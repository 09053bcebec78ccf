"""A script of the kind people write: objects, dictionaries, strings, recursion, arithmetic."""

import zlib


class Vector:
    __slots__ = ("x", "y")

    def __init__(self, x: int, y: int) -> None:
        self.x, self.y = x, y

    def __add__(self, other: "Vector") -> "Vector":
        return Vector(self.x + other.x, self.y + other.y)

    def turned(self) -> "Vector":
        return Vector(-self.y, self.x)


def queens(n: int, row: int, columns: int, left: int, right: int) -> int:
    if row == n:
        return 1
    found, free = 0, ~(columns | left | right) & ((1 << n) - 1)
    while free:
        bit = free & -free
        free ^= bit
        found += queens(n, row + 1, columns | bit, (left | bit) << 1, (right | bit) >> 1)
    return found


def words() -> int:
    counts: dict[str, int] = {}
    state = 12345
    for _ in range(60_000):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        word = "w%x" % (state >> 18)
        counts[word] = counts.get(word, 0) + 1
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:200]
    return zlib.crc32(" ".join(f"{w}:{c}" for w, c in ranked).encode())


def walk() -> int:
    at, step = Vector(0, 0), Vector(1, 0)
    seen = set()
    for i in range(60_000):
        at = at + step
        if i % 7 == 3 or (at.x, at.y) in seen:
            step = step.turned()
        seen.add((at.x, at.y))
    return len(seen) * 31 + at.x * 7 + at.y


def floats() -> int:
    rows = [[(i * j) % 17 / 4 for j in range(60)] for i in range(60)]
    product = [[sum(a * b for a, b in zip(row, column)) for column in zip(*rows)] for row in rows]
    return int(sum(map(sum, product)))


def work():
    return queens(8, 0, 0, 0, 0), words(), walk(), floats()
