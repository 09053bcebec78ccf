"""Generators: pipelines, yield from, send, coroutines, itertools, comprehensions."""

import itertools


class Tree:
    def __init__(self, low, high):
        middle = (low + high) // 2
        self.value = middle
        self.left = Tree(low, middle) if low < middle else None
        self.right = Tree(middle + 1, high) if middle + 1 < high else None

    def __iter__(self):
        if self.left:
            yield from self.left
        yield self.value
        if self.right:
            yield from self.right


def primes():
    found = {}
    for n in itertools.count(2):
        factor = found.pop(n, None)
        if factor is None:
            found[n * n] = n
            yield n
        else:
            at = n + factor
            while at in found:
                at += factor
            found[at] = factor


def average():
    total = count = 0
    value = None
    while True:
        value = yield total // count if count else value
        total += value
        count += 1


async def add(a, b):
    return a + b


async def chain(n):
    total = 0
    for i in range(n):
        total = await add(total, i)
    return total


def finish(coroutine):
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value


def permutations(items):
    if not items:
        yield []
    for i, item in enumerate(items):
        for rest in permutations(items[:i] + items[i + 1:]):
            yield [item, *rest]


def work():
    running = average()
    next(running)
    means = [running.send(i * i % 97) for i in range(8_000)]
    squares = (x * x for x in range(20_000) if x % 3)
    pipeline = (a ^ b for a, b in zip(squares, itertools.cycle((1, 2, 3))))
    return (sum(Tree(0, 2_500)), sum(itertools.islice(primes(), 1_200)), means[-1], sum(pipeline),
            finish(chain(6_000)), sum(p[0] * p[-1] for p in permutations([1, 2, 3, 4, 5, 6])),
            sum(1 for _ in itertools.combinations(range(18), 5)),
            [k for k, g in itertools.groupby(means[:50])])
