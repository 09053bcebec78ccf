"""Exceptions: raised near and far, chained, with finally and context managers."""

import contextlib


class Trouble(Exception):
    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


class Guard:
    entered = 0

    def __enter__(self):
        Guard.entered += 1
        return self

    def __exit__(self, kind, value, trace):
        return kind is KeyError


@contextlib.contextmanager
def noted(log):
    try:
        yield log
    except ValueError as e:
        log.append(str(e)[:20])
    finally:
        log.append(1)


def deep(n):
    if n == 0:
        raise Trouble(7, "at the bottom")
    try:
        return deep(n - 1)
    finally:
        Guard.entered += 1


def parse(text):
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError as e:
            raise Trouble(len(text), text) from e


def work():
    Guard.entered = total = 0
    log = []
    for i in range(6_000):
        try:
            total += parse((str(i), f"{i}.5", f"x{i}")[i % 3])
        except Trouble as e:
            total += e.code + (e.__cause__ is not None)
        with Guard():
            if i % 2:
                raise KeyError(i)
        try:
            total += (1, 2)[i % 4]
        except IndexError:
            total -= 1
        total += getattr(log, "nothing", 1)
    for i in range(250):
        try:
            deep(25)
        except Trouble as e:
            total += e.code
    for i in range(1_500):
        with noted(log):
            int("5" if i % 2 else "five")
    return total, Guard.entered, len(log), log[:3]
