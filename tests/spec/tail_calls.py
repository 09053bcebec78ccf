"""Scripts of exceptions whose modules also have tail calls, without those.

The official modules for try_table and for the older form have a few functions with return_call among
many without, and a compiler that lacks tail calls refuses them whole. variant() makes a copy of
such a script in which each return_call is a call and a return, and leaves out the assertions about
those functions ("return-call-..."): with a call in its place, the handler around it would still be
there.
"""

import json
import pathlib
import re
import shutil
import subprocess

NEEDED = re.compile(r"opcode 0x(12|13) needs Wasm 3\.0 tail calls at 0x([0-9a-f]+)")
CALLS = {0x12: (0x10, 1), 0x13: (0x11, 2)}  # the call in its place, and how many numbers follow
RETURN, CODE = 0x0f, 10


def read_leb(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 0x7f) << shift
        shift += 7
        at += 1
        if not data[at - 1] & 0x80:
            return value, at


def write_leb(value: int) -> bytes:
    out = bytearray()
    while True:
        out.append(value & 0x7f | (0x80 if value > 0x7f else 0))
        value >>= 7
        if not value:
            return bytes(out)


def replace_call(module: bytes, at: int) -> bytes:
    """The module with the tail call at this offset replaced; sizes of body and section follow."""
    call, numbers = CALLS[module[at]]
    out, i = bytearray(module[:8]), 8
    while i < len(module):
        size, start = read_leb(module, i + 1)
        end = start + size
        if module[i] != CODE:
            out += module[i:end]
            i = end
            continue
        count, k = read_leb(module, start)
        content = bytearray(write_leb(count))
        while k < end:
            length, body_start = read_leb(module, k)
            k = body_start + length
            body = bytearray(module[body_start:k])
            if body_start <= at < k:
                after = at - body_start + 1
                body[after - 1] = call
                for _ in range(numbers):
                    _, after = read_leb(body, after)
                body[after:after] = bytes([RETURN])
            content += write_leb(len(body)) + body
        out += bytes([CODE]) + write_leb(len(content)) + content
        i = end
    return bytes(out)


def rewrite(hutch: pathlib.Path, path: pathlib.Path) -> bool:
    """Whether the module had tail calls, of which it has none now."""
    changed = False
    while True:
        done = subprocess.run([hutch, "compile", "--no-cache", "-O", "0", "-o", path.with_suffix(".o"), path],
                              capture_output=True, text=True)
        found = NEEDED.search(done.stderr)
        if not found:
            return changed
        path.write_bytes(replace_call(path.read_bytes(), int(found.group(2), 16)))
        changed = True


def variant(hutch: pathlib.Path, script: pathlib.Path, place: pathlib.Path) -> pathlib.Path | None:
    """The copy of a script, or None where there is no tail call in it."""
    directory = place / f"{script.stem}-without-tail-calls"
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(script.parent, directory)
    # A list, and not any(): every module is looked at.
    if not any([rewrite(hutch, module) for module in sorted(directory.glob("*.wasm"))]):
        return None
    text = json.loads((directory / script.name).read_text())
    text["commands"] = [c for c in text["commands"]
                        if not c.get("action", {}).get("field", "").startswith("return-call")]
    copy = directory / f"{script.stem}-without-tail-calls.json"
    copy.write_text(json.dumps(text))
    return copy
