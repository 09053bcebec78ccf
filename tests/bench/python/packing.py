"""Bytes: struct, pickle, zlib, hashes, base64, bytearrays and memoryviews."""

import base64
import hashlib
import pickle
import struct
import zlib


def pack(records):
    out = bytearray()
    for number, name, value in records:
        raw = name.encode()
        out += struct.pack("<IHd", number, len(raw), value) + raw
    return bytes(out)


def unpack(data):
    at, view, records = 0, memoryview(data), []
    while at < len(data):
        number, length, value = struct.unpack_from("<IHd", data, at)
        at += 14
        records.append((number, str(view[at:at + length], "utf-8"), value))
        at += length
    return records


def checksum(data):
    a, b = 1, 0
    for byte in data:
        a = (a + byte) % 65521
        b = (b + a) % 65521
    return b << 16 | a


def work():
    records = [(i, f"record {i * 37 % 101}", i / 8) for i in range(3_000)]
    data = pack(records)
    same = unpack(data) == records
    pickled = pickle.loads(pickle.dumps({"r": records, "d": data, 3: {1, 2}}, 4))
    squeezed = zlib.decompress(zlib.compress(data, 6))
    key = bytes(range(64))
    mixed = bytes(x ^ key[i & 63] for i, x in enumerate(data[:12_000]))
    return (same, pickled["r"][-1], squeezed == data, checksum(data[:20_000]), zlib.crc32(mixed),
            hashlib.sha256(data).hexdigest(), hashlib.md5(mixed).hexdigest(),
            hashlib.blake2b(data).hexdigest()[:16],
            base64.b64decode(base64.b64encode(mixed)) == mixed, mixed.hex()[-20:])
