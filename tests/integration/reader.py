#!/usr/bin/python3
"""A second reader of stores and bundles, by docs/cache.md, docs/bundle.md and docs/snapshot.md alone: it
shares no line with hutch, and says as JSON what it found. An assertion that fails is a traceback.

    tests/integration/reader.py store DIRECTORY
    tests/integration/reader.py bundle FILE.tar KEY.pub...

Uses Debian's python3-lmdb, zstd(1) and openssl(1).
"""

import hashlib
import json
import os
import re
import stat
import struct
import subprocess
import sys
import tarfile
import tempfile

KINDS = {1: "module", 2: "object", 3: "image", 4: "manifest", 5: "snapshot", 6: "other"}
ORIGINS = {1: "compiled", 2: "imported", 3: "added", 4: "recovered"}
SEAL = 946684800


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


class Cursor:
    """Little-endian fields, one after the other."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, size):
        assert self.at + size <= len(self.data), "cut off"
        self.at += size
        return self.data[self.at - size:self.at]

    def number(self, letter):
        return struct.unpack("<" + letter, self.take(struct.calcsize("<" + letter)))[0]

    def string(self):
        return self.take(self.number("I")).decode()

    def end(self):
        assert self.at == len(self.data), "something is left"


# ---- a store (cache.md) ----------------------------------------------------------------------

def records(env, number, name):
    """The records of a database: key, body; each with its check."""
    database = env.open_db(name.encode(), create=False)
    found = {}
    with env.begin(db=database) as transaction:
        for key, value in transaction.cursor():
            key, check, body = bytes(key), bytes(value[:8]), bytes(value[8:])
            assert sha256(bytes([number, len(key)]) + key + body)[:8] == check, (name, key)
            found[key] = body
    return found


def entry(body):
    c = Cursor(body)
    kind, origin, flags, zero = c.number("B"), c.number("B"), c.number("B"), c.number("B")
    assert zero == 0 and flags < 4
    found = {"kind": KINDS[kind], "origin": ORIGINS[origin], "size_bytes": c.number("Q"),
             "created_ns": c.number("q"), "key": c.take(32).hex(), "module": c.take(32).hex(),
             "target": c.string(), "signer": c.string(), "media_type": c.string()}
    for bit, word in ((1, "key"), (2, "module")):
        if not flags & bit:
            assert found.pop(word) == 64 * "0"
    found["refs"] = [c.take(32).hex() for _ in range(c.number("I"))]
    c.end()
    return found


def unquote(word):
    return "" if word == "-" else re.sub(r"%([0-9A-Fa-f]{2})", lambda m: chr(int(m[1], 16)), word)


def roots(path):
    data = (path + "/roots").encode()
    text = open(data, "rb").read()
    body, end = text[:text.rindex(b"end ")], text[text.rindex(b"end "):].split()
    assert sha256(body).hex() == end[1].decode(), "the digest of roots"
    lines = [line.split(" ") for line in body.decode().splitlines()]
    assert lines[0] == ["hutch-roots", "1"]
    found = {"name": {}, "pin": set(), "entry": {}}
    for word, *rest in lines[1:]:
        rest = [unquote(w) for w in rest]
        if word == "name":
            found[word][rest[0]] = (rest[1], int(rest[2]), int(rest[3]), rest[4])
        elif word == "pin":
            found[word].add((rest[0], rest[2], int(rest[1])))
        else:
            assert word == "entry" and len(rest) == 11 + int(rest[10])
            found[word][rest[0]] = rest[1:]
    return found


def counters(path):
    data = open(path + "/counters", "rb").read()
    assert len(data) == 131584 and data[:8] == b"hukhcnt1" and struct.unpack_from("<Q", data, 8)[0] == 8192
    words = struct.unpack("<" + 9 * "Q", data[16:88])
    slots = {}
    for i in range(8192):
        digest, hits = struct.unpack_from("<QQ", data, 512 + 16 * i)
        if digest:
            slots[(digest, i // 4)] = hits
    names = ("hits", "misses", "puts", "put_bytes", "evicted", "evicted_bytes", "quarantined", "rebuilds",
             "waits")
    return dict(zip(names, words)), slots


def hits_of(digest, slots):
    first = struct.unpack("<Q", bytes.fromhex(digest)[:8])[0] or 1
    return slots.get((first, first % 2048), 0)


def known_files(path):
    """Files elsewhere: device, inode, size, mtime, ctime -> digest."""
    data, found = open(path + "/files", "rb").read(), {}
    for at in range(0, len(data), 128):
        slot = data[at:at + 128]
        if len(slot) < 128 or sha256(slot[8:])[:8] != slot[:8]:
            continue
        device, inode = struct.unpack_from("<QQ", slot, 8)
        mixed = (inode ^ device << 32) & 2**64 - 1
        assert at // 512 == (mixed * 0x9E3779B97F4A7C15 % 2**64 >> 32) % 512, "the set of a slot"
        assert not any(slot[80:])
        found["%d %d %d %d %d" % struct.unpack_from("<QQQQQ", slot, 8)] = slot[48:80].hex()
    return found


def check_file(path, digest, size):
    name = f"{path}/objects/{digest}"
    st = os.lstat(name)
    assert stat.S_ISREG(st.st_mode) and stat.S_IMODE(st.st_mode) == 0o444 and st.st_size == size
    assert st.st_mtime_ns == SEAL * 10**9, "the seal"
    assert sha256(open(name, "rb").read()).hex() == digest, "an entry is what its name says"
    return st.st_atime_ns


def store(path):
    import lmdb
    env = lmdb.open(path + "/index.lmdb", max_dbs=6, readonly=True, lock=True)
    meta = records(env, 0, "meta")
    assert Cursor(meta[b"format"]).number("I") == 1
    keys, modules = records(env, 1, "keys"), records(env, 3, "modules")
    entries = {k.hex(): entry(b) for k, b in records(env, 2, "objects").items()}
    total = Cursor(meta[b"totals"])
    assert total.number("Q") == len(entries)
    assert total.number("Q") == sum(e["size_bytes"] for e in entries.values())
    assert total.number("Q") == env.info()["last_txnid"], "the last transaction"
    names, pins = {}, set()
    for key, body in records(env, 4, "names").items():
        c = Cursor(body)
        names[key.decode()] = (c.take(32).hex(), c.number("Q"), c.number("q"), c.string())
        c.end()
    for key, body in records(env, 5, "pins").items():
        pins.add((key[:32].hex(), key[32:].decode(), Cursor(body).number("Q")))
    counts, slots = counters(path)
    for digest, e in entries.items():
        e["last_used_ns"] = check_file(path, digest, e["size_bytes"])
        e["hits"] = hits_of(digest, slots)
        if "key" in e:
            newest = keys[bytes.fromhex(e["key"])].hex()
            assert entries[newest]["created_ns"] >= e["created_ns"]
        if "module" in e:
            assert modules.pop(bytes.fromhex(e["module"] + digest)) == b""
    assert not modules, "modules lists nothing else"
    assert sorted(os.listdir(path + "/objects")) == sorted(entries)
    text = roots(path)
    assert text["name"] == names and text["pin"] == pins, (text, names, pins)
    for digest, words in text["entry"].items():
        e = entries[digest]
        said = (int(words[0]), KINDS[int(words[1])], ORIGINS[int(words[2])], int(words[3]), *words[4:9])
        assert said == (e["size_bytes"], e["kind"], e["origin"], e["created_ns"], e["signer"], e["media_type"],
                        e.get("key", ""), e.get("module", ""), e["target"]), (said, e)
        assert words[10:] == e["refs"], words
    for digest, e in entries.items():
        assert digest in text["entry"] or not (e["refs"] or e["kind"] == "manifest"), e
    return {"entries": entries, "names": {n: v[0] for n, v in names.items()},
            "pins": sorted([d, w] for d, w, _ in pins), "counters": counts,
            "files": known_files(path) if os.path.exists(path + "/files") else {}}


# ---- a bundle (bundle.md) --------------------------------------------------------------------

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
MEDIA = {"application/vnd.hutch.module.v1.wasm+zstd": "module",
         "application/vnd.hutch.object.v1.elf+zstd": "object",
         "application/vnd.hutch.image.v1.erofs+zstd": "image",
         "application/vnd.hutch.snapshot.v1+zstd": "snapshot",
         "application/vnd.hutch.signature.v1+json+zstd": None}


def text_digest(data):
    return "sha256:" + sha256(data).hex()


def files_of(path):
    files = {}
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            name = member.name.removeprefix("./").rstrip("/")
            if member.isdir():
                assert name in ("", ".", "blobs", "blobs/sha256"), name
                continue
            assert member.isreg() and not member.issparse(), f"no plain file: {name}"
            assert name in ("oci-layout", "index.json") or re.fullmatch("blobs/sha256/[0-9a-f]{64}", name), name
            assert name not in files, f"{name} twice"
            files[name] = tar.extractfile(member).read()
    assert len(files) <= 4096
    return files


def pairs(items):
    found = dict(items)
    assert len(found) == len(items), "a key twice"
    return found


def parse(data):
    assert len(data) <= 4 << 20
    value = json.loads(data.decode("utf-8", "strict"), object_pairs_hook=pairs)
    assert isinstance(value, dict)
    return value


def unzstd(data):
    return subprocess.run(["zstd", "-q", "-d", "--memory=128MB"], input=data, stdout=subprocess.PIPE,
                          check=True).stdout


def key_id(public):
    der = subprocess.run(["openssl", "pkey", "-pubin", "-in", public, "-outform", "DER"],
                         stdout=subprocess.PIPE, check=True).stdout
    return text_digest(der[-32:])


def holds(public, statement, signature):
    text = b"hutch bundle signature v1\n" + statement.encode() + b"\n"
    assert len(text) == 98
    with tempfile.TemporaryDirectory() as place:
        for name, data in (("text", text), ("signature", signature)):
            open(f"{place}/{name}", "wb").write(data)
        return subprocess.run(["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin", "-in",
                               f"{place}/text", "-sigfile", f"{place}/signature"],
                              stdout=subprocess.DEVNULL).returncode == 0


def check_signature(value, statement, trusted):
    """The id of a trusted key that has signed, or None."""
    assert value["algorithm"] == "ed25519" and value["statement"] == statement, "another statement"
    signature = bytes.fromhex(value["signature"])
    assert len(signature) == 64 and DIGEST.fullmatch(value["key"])
    if value["key"] not in trusted:
        return None
    assert holds(trusted[value["key"]], statement, signature), "a signature that is none"
    return value["key"]


def content_digest(code):
    """Of a code object (object-format.md): it stands in the compatibility record."""
    assert code[0x200:0x208] == b"HUTCHOBJ"
    stated = code[0x200 + 136:0x200 + 168]
    assert sha256(code[:0x200 + 136] + bytes(32) + code[0x200 + 168:]) == stated
    return stated


def check_snapshot(data, layer, objects):
    assert data[:8] == b"HUTCHSNP" and struct.unpack_from("<I", data, 8)[0] == 1
    assert struct.unpack_from("<Q", data, 16)[0] == len(data)
    assert f"{struct.unpack_from('<Q', data, 24)[0]:016x}" == layer["abi"]
    assert sha256(data[:32] + bytes(32) + data[64:]) == data[32:64], "the digest of a snapshot"
    assert "sha256:" + data[72:104].hex() == layer["module"]
    of, code = objects[layer["object"]]
    assert data[104:136] == content_digest(code), "the object of a snapshot"
    assert of["module"] == layer["module"] and of["abi"] == layer["abi"]


def bundle(path, *publics):
    files = files_of(path)
    used = {"oci-layout", "index.json"}

    def blob(descriptor):
        name = "blobs/sha256/" + descriptor["digest"].removeprefix("sha256:")
        used.add(name)
        data = files[name]
        assert text_digest(data) == descriptor["digest"] and len(data) == descriptor["size"]
        return data

    assert parse(files["oci-layout"])["imageLayoutVersion"] == "1.0.0"
    index = parse(files["index.json"])
    assert index["schemaVersion"] == 2 and len(index["manifests"]) == 1
    assert index["manifests"][0]["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    manifest = parse(blob(index["manifests"][0]))
    assert manifest["schemaVersion"] == 2
    assert manifest["config"]["mediaType"] == "application/vnd.hutch.app.statement.v1+json"
    statement_digest = manifest["config"]["digest"]
    s = parse(blob(manifest["config"]))
    assert s["hutchBundle"] == 1 and len(s["layers"]) <= 256
    listed = [(x["blob"], x["blobSize"], x["kind"]) for x in s["layers"]]
    carried = [(d["digest"], d["size"], MEDIA[d["mediaType"]]) for d in manifest["layers"]]
    assert {c for c in carried if c[2]} == set(listed), "manifest and statement agree"
    trusted = {key_id(p): p for p in publics}
    signatures = [d for d in manifest["layers"] if not MEDIA[d["mediaType"]]]
    assert len(signatures) <= 8
    signers = [check_signature(parse(unzstd(blob(d))), statement_digest, trusted) for d in signatures]
    contents = {}
    for x in s["layers"]:
        content = unzstd(blob({"digest": x["blob"], "size": x["blobSize"]}))
        assert text_digest(content) == x["content"] and len(content) == x["contentSize"]
        contents[x["content"]] = content
    modules = {x["content"] for x in s["layers"] if x["kind"] == "module"}
    objects = {x["content"]: (x, contents[x["content"]]) for x in s["layers"] if x["kind"] == "object"}
    assert modules
    for x, code in objects.values():
        assert x["module"] in modules and content_digest(code)
    for x in s["layers"]:
        if x["kind"] == "snapshot":
            check_snapshot(contents[x["content"]], x, objects)
    names = [(x["kind"], x["name"]) for x in s["layers"] if "name" in x]
    assert len(set(names)) == len(names)
    assert used == set(files), "nothing else is in the tar file"
    return {"name": s["name"], "sequence": s["sequence"], "statement": statement_digest,
            "signed_by": [x for x in signers if x],
            "layers": [[x["kind"], x["content"], x["contentSize"]] for x in s["layers"]]}


if __name__ == "__main__":
    print(json.dumps({"store": store, "bundle": bundle}[sys.argv[1]](*sys.argv[2:]), indent=2))
