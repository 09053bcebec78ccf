"""Bundles taken apart, changed and put together again, as an attacker or another implementation
would: by docs/bundle.md, with tarfile, zstd(1) and openssl(1), and nothing of hutch's.
"""

import hashlib
import io
import json
import pathlib
import subprocess
import tarfile

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
STATEMENT = "application/vnd.hutch.app.statement.v1+json"
SIGNATURE = "application/vnd.hutch.signature.v1+json+zstd"
COMPAT, COMPAT_FEATURES, COMPAT_DIGEST = 0x200, 0x218, 0x200 + 136  # docs/object-format.md


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def text_of(value) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def zstd(data: bytes, *options: str) -> bytes:
    """One frame with its size in the header, which a pipe alone does not give."""
    return subprocess.run(["zstd", "-q", "-3", "--no-check", f"--stream-size={len(data)}", *options], input=data,
                          stdout=subprocess.PIPE, check=True).stdout


def unzstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-q", "-d", "--long=31"], input=data, stdout=subprocess.PIPE,
                          check=True).stdout


def key_id(public: pathlib.Path) -> str:
    """SHA-256 of the 32 bytes at the end of a SubjectPublicKeyInfo (RFC 8410)."""
    der = subprocess.run(["openssl", "pkey", "-pubin", "-in", public, "-outform", "DER"],
                         stdout=subprocess.PIPE, check=True).stdout
    return sha256(der[-32:])


def signed_text(statement: str) -> bytes:
    return b"hutch bundle signature v1\n" + statement.encode() + b"\n"


def sign(key: pathlib.Path, text: bytes, work: pathlib.Path) -> bytes:
    """openssl signs files only, where the algorithm takes the whole message at once."""
    message, made = work / "message", work / "message.sig"
    message.write_bytes(text)
    subprocess.run(["openssl", "pkeyutl", "-sign", "-inkey", key, "-rawin", "-in", message,
                    "-out", made], check=True)
    return made.read_bytes()


def verifies(public: pathlib.Path, text: bytes, signature: bytes, work: pathlib.Path) -> bool:
    message, made = work / "message", work / "message.sig"
    message.write_bytes(text)
    made.write_bytes(signature)
    return subprocess.run(["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin",
                           "-in", message, "-sigfile", made],
                          stdout=subprocess.DEVNULL).returncode == 0


class Bundle:
    """The documents of a bundle, open to be changed; seal writes them with digests that fit."""

    def __init__(self, path: pathlib.Path):
        with tarfile.open(path) as tar:
            files = {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}
        self.layout = files.pop("oci-layout")
        self.index = json.loads(files.pop("index.json"))
        self.blobs = {name.split("/")[-1]: data for name, data in files.items()}
        self.manifest = json.loads(self.take(self.index["manifests"][0]["digest"]))
        self.statement = json.loads(self.take(self.manifest["config"]["digest"]))
        self.statement_bytes = None  # in place of the statement's own text
        self.signatures = []
        for layer in [x for x in self.manifest["layers"] if x["mediaType"] == SIGNATURE]:
            self.signatures.append(unzstd(self.take(layer["digest"])))
            self.manifest["layers"].remove(layer)

    def take(self, digest: str) -> bytes:
        return self.blobs.pop(digest.removeprefix("sha256:"))

    def add(self, data: bytes) -> str:
        digest = sha256(data)
        self.blobs[digest.removeprefix("sha256:")] = data
        return digest

    def layers(self, kind: str) -> list[dict]:
        return [x for x in self.statement["layers"] if x["kind"] == kind]

    def content(self, layer: dict) -> bytes:
        return unzstd(self.blobs[layer["blob"].removeprefix("sha256:")])

    def replace(self, layer: dict, content: bytes, packed: bytes | None = None) -> None:
        """Other contents for a layer, in statement and manifest."""
        packed = zstd(content) if packed is None else packed
        descriptor = next(x for x in self.manifest["layers"] if x["digest"] == layer["blob"])
        self.take(layer["blob"])
        layer["blob"] = descriptor["digest"] = self.add(packed)
        layer["blobSize"] = descriptor["size"] = len(packed)
        layer["content"] = sha256(content)
        layer["contentSize"] = len(content)

    def statement_digest(self) -> str:
        return sha256(self.statement_bytes or text_of(self.statement))

    def sign(self, key: pathlib.Path, public: pathlib.Path, work: pathlib.Path) -> None:
        digest = self.statement_digest()
        made = sign(key, signed_text(digest), work)
        self.signatures = [text_of({"algorithm": "ed25519", "key": key_id(public),
                                    "statement": digest, "signature": made.hex()})]

    def entries(self) -> list[tuple[str, bytes]]:
        """The files of the layout: blobs by name, then the two others."""
        blobs = dict(self.blobs)

        def put(data):
            blobs[sha256(data).removeprefix("sha256:")] = data
            return {"digest": sha256(data), "size": len(data)}

        manifest = json.loads(json.dumps(self.manifest))
        statement = self.statement_bytes or text_of(self.statement)
        manifest["config"].update(put(statement))
        for signature in self.signatures:
            manifest["layers"].append({"mediaType": SIGNATURE, **put(zstd(signature))})
        index = json.loads(json.dumps(self.index))
        index["manifests"][0].update(put(text_of(manifest)))
        files = [(f"blobs/sha256/{name}", data) for name, data in sorted(blobs.items())]
        return [*files, ("index.json", text_of(index)), ("oci-layout", self.layout)]

    def seal(self, path: pathlib.Path) -> pathlib.Path:
        return write_tar(path, self.entries())


def write_tar(path: pathlib.Path, entries, *, format=tarfile.USTAR_FORMAT,
              mode="w") -> pathlib.Path:
    """entries: (name, bytes), or a TarInfo for what is no file."""
    with tarfile.open(path, mode, format=format) as tar:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                tar.addfile(entry)
                continue
            info = tarfile.TarInfo(entry[0])
            info.size = len(entry[1])
            tar.addfile(info, io.BytesIO(entry[1]))
    return path


def demand_feature(code: bytes, bit: int) -> bytes:
    """A code object that says it needs one more feature of the processor, its digest right."""
    made = bytearray(code)
    assert made[COMPAT:COMPAT + 8] == b"HUTCHOBJ"
    features = int.from_bytes(made[COMPAT_FEATURES:COMPAT_FEATURES + 8], "little") | 1 << bit
    made[COMPAT_FEATURES:COMPAT_FEATURES + 8] = features.to_bytes(8, "little")
    made[COMPAT_DIGEST:COMPAT_DIGEST + 32] = bytes(32)
    made[COMPAT_DIGEST:COMPAT_DIGEST + 32] = hashlib.sha256(made).digest()
    return bytes(made)
