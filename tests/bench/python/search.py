"""Search: queens with bit sets, a sudoku, knapsack, a shortest path."""

import heapq


def queens(n, row=0, columns=0, left=0, right=0):
    if row == n:
        return 1
    found, free = 0, ~(columns | left | right) & ((1 << n) - 1)
    while free:
        bit = free & -free
        free ^= bit
        found += queens(n, row + 1, columns | bit, (left | bit) << 1, (right | bit) >> 1)
    return found


GRID = "530070000600195000098000060800060003400803001700020006060000280000419005000080079"


def solve(cells):
    best = None
    for i in range(81):
        if cells[i] == "0":
            row, column = divmod(i, 9)
            box = row // 3 * 27 + column // 3 * 3
            used = set(cells[row * 9:row * 9 + 9]) | set(cells[column::9])
            for r in range(3):
                used |= set(cells[box + r * 9:box + r * 9 + 3])
            options = [d for d in "123456789" if d not in used]
            if best is None or len(options) < len(best[1]):
                best = i, options
    if best is None:
        return cells
    for digit in best[1]:
        solved = solve(cells[:best[0]] + digit + cells[best[0] + 1:])
        if solved:
            return solved
    return None


def knapsack(items, room):
    best = [0] * (room + 1)
    for weight, value in items:
        for r in range(room, weight - 1, -1):
            candidate = best[r - weight] + value
            if candidate > best[r]:
                best[r] = candidate
    return best[-1]


def path(size):
    costs, todo = {(0, 0): 0}, [(0, 0, 0)]
    while todo:
        cost, x, y = heapq.heappop(todo)
        if cost > costs[x, y]:
            continue
        for a, b in ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)):
            if 0 <= a < size and 0 <= b < size:
                new = cost + (a * 7 + b * 13) % 11 + 1
                if new < costs.get((a, b), 1 << 30):
                    costs[a, b] = new
                    heapq.heappush(todo, (new, a, b))
    return costs[size - 1, size - 1]


def work():
    items = [(i * 7 % 23 + 1, i * 13 % 37 + 1) for i in range(60)]
    return queens(7), solve(GRID), knapsack(items, 500), path(40)
