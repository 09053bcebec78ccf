"""Sorting: keys, several keys, comparisons in Python, heaps, bisection, own algorithms."""

import bisect
import functools
import heapq
import operator


class Record:
    def __init__(self, number, name, score):
        self.number, self.name, self.score = number, name, score

    def __lt__(self, other):
        return self.score < other.score


def numbers(count, seed=42):
    result = []
    for _ in range(count):
        seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
        result.append(seed >> 8)
    return result


def quicksort(values):
    if len(values) < 2:
        return values
    pivot = values[len(values) // 2]
    return (quicksort([v for v in values if v < pivot]) + [v for v in values if v == pivot]
            + quicksort([v for v in values if v > pivot]))


def compare(a, b):
    return (a % 1000 > b % 1000) - (a % 1000 < b % 1000) or a - b


def work():
    values = numbers(5_000)
    records = [Record(v, f"n{v % 997}", v / 7) for v in values]
    by_name = sorted(records, key=lambda r: (r.name, -r.number))
    by_score = sorted(records)
    by_number = sorted(records, key=operator.attrgetter("number"), reverse=True)
    compared = sorted(values[:2_500], key=functools.cmp_to_key(compare))
    heap, popped = [], []
    for v in values:
        heapq.heappush(heap, (v & 4095, v))
        if len(heap) > 500:
            popped.append(heapq.heappop(heap))
    ordered = []
    for v in values[:2_500]:
        bisect.insort(ordered, v)
    pairs = sorted([[v % 100, str(v)] for v in values], key=operator.itemgetter(1))
    return ([r.number for r in by_name[:20]], by_score[7].score, by_number[9].name, compared[::100],
            popped[::200], ordered[::100], quicksort(values)[::500], pairs[::500],
            sorted(values, key=str)[::500], sorted(map(float, values))[::500])
