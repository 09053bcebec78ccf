"""A module as large as the largest real ones: 75 MB of code in 130,000 functions, out of a seed.

Bodies are pieces of many kinds (arithmetic of all types, loads and stores, branches, loops, a br_table,
direct and indirect calls), put together at random; locals carry values from piece to piece, so an
optimiser finds work and cannot drop it. Sizes of bodies vary as in programs: most small, some of many KiB.
The same arguments give the same bytes. The module is valid and nothing in it is meant to run.
"""

import random

FUNCTIONS = 130_000
CODE_BYTES = 75_000_000
TYPES = (0, 1, 2, 3)       # parameters of type n: n i32; all give an i32
TABLE = 4096               # entries, the first functions
LOCALS = 8                 # i32 locals behind the parameters; then two i64 and two f64

GET, SET, TEE = 0x20, 0x21, 0x22
BLOCK, LOOP, IF, ELSE, END, BR, BR_IF, BR_TABLE, RETURN = 2, 3, 4, 5, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F
VOID = 0x40
ARITHMETIC = bytes((0x6A, 0x6B, 0x6C, 0x71, 0x72, 0x73, 0x74, 0x75, 0x76))   # i32.add and its kin
COMPARE = bytes(range(0x46, 0x50))                                          # i32.eq and its kin
ARITHMETIC64 = bytes((0x7C, 0x7D, 0x7E, 0x83, 0x84, 0x85))
ARITHMETIC_F64 = bytes((0xA0, 0xA1, 0xA2))
LOADS = ((0x28, 2), (0x2C, 0), (0x2D, 0), (0x2F, 1))
STORES = ((0x36, 2), (0x3A, 0), (0x3B, 1))


def leb(value: int) -> bytes:
    out = bytearray()
    while True:
        byte, value = value & 0x7F, value >> 7
        if not value:
            out.append(byte)
            return bytes(out)
        out.append(byte | 0x80)


def sleb(value: int) -> bytes:
    out = bytearray()
    while True:
        byte, value = value & 0x7F, value >> 7
        if (value == 0 and not byte & 0x40) or (value == -1 and byte & 0x40):
            out.append(byte)
            return bytes(out)
        out.append(byte | 0x80)


def section(number: int, content: bytes) -> bytes:
    return bytes([number]) + leb(len(content)) + content


class Body:
    """One function's code."""

    def __init__(self, chance: random.Random, index: int, functions: int) -> None:
        self.chance, self.index, self.functions = chance, index, functions
        self.params = index % len(TYPES)
        self.code = bytearray()

    def local(self) -> int:
        return self.chance.randrange(self.params + LOCALS)

    def get(self) -> bytes:
        return bytes((GET, self.local()))

    def constant(self) -> bytes:
        return b"\x41" + sleb(self.chance.randrange(-1 << self.chance.randrange(1, 31), 1 << 16))

    def operand(self) -> bytes:
        return self.get() if self.chance.random() < 0.6 else self.constant()

    def condition(self) -> bytes:
        return self.get() + self.operand() + bytes((self.chance.choice(COMPARE),))

    def address(self) -> bytes:
        return self.get() + (b"" if self.chance.random() < 0.5 else self.operand() + b"\x6a")

    def piece(self, depth: int) -> None:
        """Appends code that leaves the stack as it was."""
        chance, code = self.chance, self.code
        kind = chance.randrange(14 if depth < 3 else 8)
        if kind < 3:
            code += self.get() + self.operand() + bytes((chance.choice(ARITHMETIC), SET, self.local()))
        elif kind == 3:
            opcode, align = chance.choice(LOADS)
            code += self.address() + bytes((opcode, align)) + leb(chance.randrange(512)) + bytes((SET, self.local()))
        elif kind == 4:
            opcode, align = chance.choice(STORES)
            code += self.address() + self.get() + bytes((opcode, align)) + leb(chance.randrange(512))
        elif kind == 5:
            wide = self.params + LOCALS
            code += (bytes((GET, wide)) + self.get() + b"\xad" +
                     bytes((chance.choice(ARITHMETIC64), TEE, wide + chance.randrange(2), 0xA7, SET, self.local())))
        elif kind == 6:
            wide = self.params + LOCALS + 2
            code += (bytes((GET, wide)) + self.get() + b"\xb7" +
                     bytes((chance.choice(ARITHMETIC_F64), SET, wide + chance.randrange(2))))
        elif kind == 7:
            # Most callees are near, as linkers leave them.
            callee = min(self.functions - 1, max(0, self.index + round(chance.gauss(0, 200))))
            code += b"".join(self.get() for _ in range(callee % len(TYPES)))
            code += b"\x10" + leb(callee) + bytes((SET, self.local()))
        elif kind == 8:
            kind = chance.randrange(len(TYPES))
            code += b"".join(self.get() for _ in range(kind)) + self.get()
            code += b"\x11" + leb(kind) + b"\0" + bytes((SET, self.local()))
        elif kind < 11:
            code += self.condition() + bytes((IF, VOID))
            self.pieces(depth + 1)
            if chance.random() < 0.4:
                code.append(ELSE)
                self.pieces(depth + 1)
            code.append(END)
        elif kind == 11:
            counter = bytes((self.local(),))
            code += bytes((LOOP, VOID))
            self.pieces(depth + 1)
            code += b"\x20" + counter + b"\x41\x01\x6b\x22" + counter + bytes((BR_IF, 0, END))
        elif kind == 12:
            code += bytes((BLOCK, VOID))
            self.pieces(depth + 1)
            code += self.condition() + bytes((BR_IF, 0))
            self.pieces(depth + 1)
            code.append(END)
        else:
            cases = chance.randrange(2, 9)
            code += bytes((BLOCK, VOID)) * (cases + 1) + self.get() + bytes((BR_TABLE,)) + leb(cases)
            code += bytes(range(cases + 1))
            for case in range(cases + 1):
                code.append(END)
                self.piece(3)
                if chance.random() < 0.7:
                    code += bytes((BR, cases - case - 1)) if case < cases else b""

    def pieces(self, depth: int) -> None:
        for _ in range(self.chance.randrange(1, 5)):
            self.piece(depth)

    def make(self, size: int) -> bytes:
        while len(self.code) < size:
            self.piece(0)
        locals_ = bytes((3, LOCALS, 0x7F, 2, 0x7E, 2, 0x7C))
        body = locals_ + bytes(self.code) + self.get() + bytes((END,))
        return leb(len(body)) + body


def write(path: str, functions: int = FUNCTIONS, code_bytes: int = CODE_BYTES, seed: int = 1) -> None:
    chance = random.Random(seed)
    mean = code_bytes / functions
    bodies, total = [], 0
    for index in range(functions):
        # What is left, spread over those that are left; sizes fall off as in programs.
        left = max(mean / 4, (code_bytes - total) / (functions - index))
        body = Body(chance, index, functions).make(round(min(chance.lognormvariate(0, 1.2) / 2.05 * left, 60_000)))
        bodies.append(body)
        total += len(body)
    types = b"".join(b"\x60" + leb(n) + b"\x7f" * n + b"\x01\x7f" for n in TYPES)
    entries = min(TABLE, functions)
    with open(path, "wb") as f:
        f.write(b"\0asm\1\0\0\0")
        f.write(section(1, leb(len(TYPES)) + types))
        f.write(section(3, leb(functions) + bytes(i % len(TYPES) for i in range(functions))))
        f.write(section(4, b"\x01\x70\x00" + leb(entries)))
        f.write(section(5, b"\x01\x00" + leb(256)))
        f.write(section(7, b"\x01\x03run\x00\x00"))
        f.write(section(9, b"\x01\x00\x41\x00\x0b" + leb(entries) + b"".join(leb(i) for i in range(entries))))
        content = leb(functions) + b"".join(bodies)
        f.write(section(10, content))
