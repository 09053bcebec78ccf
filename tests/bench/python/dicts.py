"""Dictionaries and sets: counting, grouping, tuple keys, graphs, merging."""

from collections import Counter, OrderedDict, defaultdict, deque


def words(count, seed=7):
    for _ in range(count):
        seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
        yield "w%x" % (seed >> 19)


def reach(graph, start):
    seen, todo = {start: 0}, deque([start])
    while todo:
        node = todo.popleft()
        for other in graph.get(node, ()):
            if other not in seen:
                seen[other] = seen[node] + 1
                todo.append(other)
    return seen


def work():
    counts, groups = {}, defaultdict(list)
    for word in words(20_000):
        counts[word] = counts.get(word, 0) + 1
        groups[len(word), word[-1]].append(word)
    graph = {i: [(i * 7 + 3) % 4_000, (i * i + 1) % 4_000, i // 2] for i in range(4_000)}
    grid = {(x, y): x * y for x in range(60) for y in range(60)}
    near = sum(grid.get((x + 1, y), 0) - grid.get((x, y - 1), 0) for x, y in grid)
    inverted = {count: word for word, count in sorted(counts.items())}
    merged = {**inverted, **{-k: v for k, v in inverted.items()}}
    recent = OrderedDict()
    for word in words(6_000, 99):
        recent[word] = None
        recent.move_to_end(word)
        if len(recent) > 200:
            recent.popitem(last=False)
    evens, threes = set(range(0, 9_000, 2)), set(range(0, 9_000, 3))
    for word in list(counts)[::2]:
        del counts[word]
    return (len(counts), sorted((k, len(v)) for k, v in groups.items()), near, sorted(merged),
            sum(reach(graph, 1).values()), len(evens & threes), len(evens ^ threes),
            list(recent)[:5], Counter(words(8_000)).most_common(3))
