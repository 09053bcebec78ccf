"""Objects: attributes, methods, properties, inheritance, operators, slots."""


class Shape:
    count = 0

    def __init__(self, name):
        self.name = name
        self.tags = []
        Shape.count += 1

    def area(self):
        raise NotImplementedError

    def describe(self):
        return (self.name, round(self.area(), 3))

    @property
    def size(self):
        return int(self.area())

    @classmethod
    def square(cls, side):
        return Box(side, side)

    @staticmethod
    def half(value):
        return value / 2


class Box(Shape):
    def __init__(self, width, height):
        super().__init__("box")
        self.width, self.height = width, height

    def area(self):
        return self.width * self.height

    def __eq__(self, other):
        return self.width == other.width and self.height == other.height

    def __lt__(self, other):
        return self.area() < other.area()


class Disc(Shape):
    def __init__(self, radius):
        super().__init__("disc")
        self.radius = radius

    def area(self):
        return 3.14159 * self.radius ** 2


class Vector:
    __slots__ = ("x", "y")

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __add__(self, other):
        return Vector(self.x + other.x, self.y + other.y)

    def __mul__(self, factor):
        return Vector(self.x * factor, self.y * factor)

    def __getitem__(self, index):
        return (self.x, self.y)[index]

    def __len__(self):
        return 2


class Tally(dict):
    def __missing__(self, key):
        return 0


def work():
    shapes = []
    for i in range(1, 4_000):
        shapes.append(Box(i % 13, i % 7) if i % 3 else Disc(i % 5))
        shapes[-1].tags.append(i)
    tally, size = Tally(), 0
    for shape in shapes:
        tally[shape.describe()] += 1
        size += shape.size + Shape.square(2).size + int(Shape.half(size & 63))
        if isinstance(shape, Box) and shape == shapes[0]:
            size += 1
    at = Vector(0, 0)
    for i in range(8_000):
        at = at + Vector(i & 15, 1) * 3
        size += at[i & 1] % len(at)
    best = max(s for s in shapes if isinstance(s, Box))
    return sorted(tally.items()), size, at.x, at.y, best.area()
