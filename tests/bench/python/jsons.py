"""JSON: writing and reading nested data, indented, with hooks."""

import json


def data():
    return {"users": [{"id": i, "name": f"user {i} \u00e4\u20ac", "tags": ["a", "b\n", str(i)],
                       "score": i / 3, "active": i % 2 == 0, "parent": None,
                       "address": {"street": f"{i} Road", "zip": f"{i:05}"}}
                      for i in range(350)], "total": 350, "ratio": 1e-7}


class Point:
    def __init__(self, x, y):
        self.x, self.y = x, y


def encode(value):
    return {"x": value.x, "y": value.y}


def decode(pairs):
    return Point(*pairs.values()) if pairs.keys() == {"x", "y"} else pairs


def work():
    value, sizes = data(), []
    for _ in range(4):
        text = json.dumps(value)
        sizes.append(len(text))
        value = json.loads(text)
    indented = json.dumps(value["users"][:150], indent=2, sort_keys=True, ensure_ascii=False)
    points = json.loads(json.dumps([Point(i, -i) for i in range(800)], default=encode),
                        object_hook=decode)
    return sizes, indented[-80:], json.loads(indented)[-1], sum(p.x - p.y for p in points)
