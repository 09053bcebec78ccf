"""Text: splitting, joining, searching, formatting, encoding, translating."""

TEXT = ("The quick brown fox jumps over the lazy dog; pack my box with five dozen liquor jugs. "
        "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. ") * 12


def caesar(text, by):
    return "".join(chr((ord(c) - 97 + by) % 26 + 97) if "a" <= c <= "z" else c for c in text)


def wrap(text, width):
    lines, line = [], ""
    for word in text.split():
        if len(line) + len(word) + 1 > width:
            lines.append(line.ljust(width))
            line = word
        else:
            line = line + " " + word if line else word
    return lines + [line]


def distance(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


def work():
    out = [caesar(TEXT.lower(), 13)[:50]]
    table = str.maketrans("aeiouäöü", "43100AOU", ".;")
    for i in range(12):
        words = TEXT.title().swapcase().split(" ")
        out.append("-".join(reversed(words))[i * 10:i * 10 + 40])
        out.append(TEXT.translate(table).replace("qu", "KW").count("KW"))
        out.append(TEXT.encode("utf-8").decode("utf-8").find("Sylter", i * 100))
        out.append(TEXT.encode("utf-16-le")[i::97].hex())
    out += wrap(TEXT, 40)[:3]
    for i in range(4_000):
        line = f"{i:>6}|{i / 7:.3f}|{'x' * (i % 5):^7}|{i:#x}"
        line = "%s %d %r" % (line, i, line[2:5])
        out.append(len("{0}:{1!s:<4}".format(line, i)) if i % 50 else line)
        if line.startswith("   1") and line.strip().endswith("'") and line[3].isdigit():
            out.append(line.partition("|")[2].upper())
    out.append(distance(TEXT[:110], TEXT[40:150]))
    return out
