"""Lists of lists: products, transposition, elimination, convolution, a game of life."""


def product(a, b):
    columns = list(zip(*b))
    return [[sum(x * y for x, y in zip(row, column)) for column in columns] for row in a]


def eliminate(rows):
    determinant = 1.0
    rows = [row[:] for row in rows]
    for i in range(len(rows)):
        pivot = max(range(i, len(rows)), key=lambda r: abs(rows[r][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        determinant *= rows[i][i]
        for j in range(i + 1, len(rows)):
            factor = rows[j][i] / rows[i][i]
            for k in range(i, len(rows)):
                rows[j][k] -= factor * rows[i][k]
    return determinant


def blur(image):
    return [[(image[y - 1][x] + image[y + 1][x] + image[y][x - 1] + image[y][x + 1]
              + 4 * image[y][x]) // 8 for x in range(1, len(image[0]) - 1)]
            for y in range(1, len(image) - 1)]


def life(cells, size):
    around = {}
    for x, y in cells:
        for dx in (-1, 0, 1):
            for dy in (-1, 0, 1):
                if dx or dy:
                    at = (x + dx) % size, (y + dy) % size
                    around[at] = around.get(at, 0) + 1
    return {at for at, n in around.items() if n == 3 or n == 2 and at in cells}


def work():
    a = [[(i * 7 + j * 3) % 11 for j in range(45)] for i in range(45)]
    image = [[(x * y + x) % 256 for x in range(90)] for y in range(90)]
    cells = {(x, x * x % 32) for x in range(32)} | {(3, 4), (3, 5), (3, 6)}
    for _ in range(10):
        cells = life(cells, 32)
    shifted = [[v + (i == j) * 2.5 for j, v in enumerate(row)] for i, row in enumerate(a)]
    return product(a, a)[5], f"{eliminate(shifted):.6e}", sum(map(sum, blur(blur(image)))), sorted(cells)
