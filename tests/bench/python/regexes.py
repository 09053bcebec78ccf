"""Regular expressions: a tokeniser, log lines, substitution, compiling patterns."""

import re

TOKEN = re.compile(r"""(?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)|(?P<name>[^\W\d]\w*)
    |(?P<string>"(?:[^"\\]|\\.)*")|(?P<op>[-+*/=<>!]=?|[(){},;])|(?P<space>\s+)""", re.X)
LOG = re.compile(r'^(\S+) \S+ (\S+) \[([^\]]+)\] "(GET|POST) ([^ "]+) HTTP/[\d.]+" (\d{3}) (\d+)')
SOURCE = 'while (count_2 <= 10.5e3) { total = total + f("a \\"b\\" c", 42) * 7; count_2 = count_2 + 1; } '


def lines():
    for i in range(500):
        yield (f'10.0.{i % 7}.{i % 251} - user{i % 5} [10/Oct/2023:13:{i % 60:02}:36 +0000] '
               f'"{"POST" if i % 4 == 0 else "GET"} /page/{i}?q={i * 7} HTTP/1.1" {200 + i % 3} {i * 31}')


def work():
    kinds = {}
    for match in TOKEN.finditer(SOURCE * 25):
        kinds[match.lastgroup] = kinds.get(match.lastgroup, 0) + len(match.group())
    hits = [LOG.match(line).groups() for line in lines()]
    text = "\n".join(lines())
    dates = re.sub(r"(\d\d)/(\w{3})/(\d{4})", r"\3-\2-\1", text)
    shouted = re.sub(r"[a-z]+(?=\d)", lambda m: m.group().upper(), text)
    found = re.findall(r"(?i)page/(\d+)\?q=(\d*7)\b", text)
    re.purge()
    compiled = [re.compile(rf"(a{{1,{n}}}b|c[d-{chr(101 + n)}]*)+?$").search("ccdaab" * n) is None
                for n in range(1, 12)]
    return (sorted(kinds.items()), hits[::97], dates[:60], shouted[:90], len(found), found[::30],
            compiled, len(re.split(r"[\s/.]+", text)))
