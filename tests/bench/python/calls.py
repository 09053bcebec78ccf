"""Calls of functions: recursion, defaults, keywords, *args, closures, partials."""

import functools


def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def ackermann(m, n):
    if m == 0:
        return n + 1
    if n == 0:
        return ackermann(m - 1, 1)
    return ackermann(m - 1, ackermann(m, n - 1))


def hanoi(n, source="a", target="b", spare="c"):
    if n == 0:
        return 0
    return (hanoi(n - 1, source, target=spare, spare=target) + 1
            + hanoi(n - 1, source=spare, target=target, spare=source))


def spread(*values, weight=1, **more):
    return sum(values) * weight + len(more)


def counter():
    count = 0

    def up(by):
        nonlocal count
        count += by
        return count
    return up


def work():
    total, up, twice = 0, counter(), functools.partial(spread, weight=2)
    for i in range(12_000):
        total += spread(i, 2, 3, weight=2) + spread(*(i, i), **{"a": 1, "b": 2}) + twice(i)
        total += up(i & 7)
    return fib(20), ackermann(2, 30), hanoi(12), total, max(map(lambda x: -x, range(20_000)))
