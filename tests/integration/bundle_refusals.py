"""What an import refuses, each with its own message, and leaves the store as it was: signatures,
replays, sizes, tricks in the tar file and in the documents, damage. Tests of test_bundle.py.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import time

import bundlelib
from bundlelib import Bundle, write_tar
from bundleworld import (HUTCH, MIB, WORK, bundle, check, environment, expect, forget, key, plain,
                         refused, resealed, run, show, test, tree, trusted, with_image,
                         without_compiler)


# ---- who signed ------------------------------------------------------------------------------

@test
def unsigned():
    path = bundle("unsigned", sign=None)
    taken = run("import", path, cache="unsigned")
    check(taken.status == 0 and "0 objects" in taken.out
          and "native code left out: the bundle is unsigned (--allow-unsigned takes it)" in taken.err,
          "native code is left out", taken)
    expect(run("run", "show:1", cache="unsigned", tool=without_compiler()), 1, err="hutch-compiler")
    expect(run("run", "show:1", cache="unsigned"), 0, out="[show]\n", what="compiled here")
    expect(run("import", "--allow-unsigned", path, cache="allowed"), 0)
    expect(run("run", "show:1", cache="allowed", tool=without_compiler()), 0, out="[show]\n")
    expect(run("import", "--allow-unsig", path, cache="allowed"), 2, err="did you mean",
           what="an abbreviation does not allow it")
    key("stranger")
    path = bundle("stranger", sign=None)
    path = resealed("stranger2", lambda b: None, source=path, sign="stranger")
    taken = run("import", path, cache="stranger")
    check(taken.status == 0 and "0 objects" in taken.out and "does not trust" in taken.err
          and bundlelib.key_id(key("stranger")[1])[7:] in taken.err, "a key that nobody trusts", taken)


@test
def wrong_signatures():
    def altered(made):
        value = json.loads(made.signatures[0])
        text = value["signature"]
        value["signature"] = ("0" if text[0] != "0" else "1") + text[1:]
        made.signatures = [bundlelib.text_of(value)]

    def forged(made):
        """By another key, in the name of one that is trusted."""
        made.sign(*key("stranger"), WORK)
        value = json.loads(made.signatures[0])
        value["key"] = bundlelib.key_id(key("ci")[1])
        made.signatures = [bundlelib.text_of(value)]

    def swapped(made):
        made.signatures = Bundle(bundle("another", app="another:1")).signatures

    def no_hex(made):
        made.signatures = [made.signatures[0].replace(b'"signature":"', b'"signature":"x')]

    def algorithm(made):
        made.signatures = [made.signatures[0].replace(b"ed25519", b"none")]

    def statement_changed(made):
        made.statement["name"] = "bash:1"

    def many(made):
        made.signatures = [made.signatures[0] + b" " * i for i in range(9)]

    for change, words in (
            (altered, ["the signature is not one of the key ci"]),
            (forged, ["the signature is not one of the key ci"]),
            (swapped, ["the signature is over another statement"]),
            (no_hex, ["a signature is damaged"]),
            (algorithm, ["only ed25519 is known"]),
            (statement_changed, ["the signature is over another statement"]),
            (many, ["9 signatures are more than 8"])):
        refused(resealed(f"wrong-{change.__name__}", change, sign=None), words)


@test
def revoked():
    path = bundle("by-lost", sign="lost")
    expect(run("import", path, cache="lost"), 0)
    expect(run("run", "show:1", cache="lost", tool=without_compiler()), 0, out="[show]\n")
    gone = run("key", "revoke", "--reason", "laptop lost", "lost", cache="lost")
    check(gone.status == 0 and "1 code object that it signed taken out" in gone.out, "revoke", gone)
    expect(run("run", "show:1", cache="lost", tool=without_compiler()), 1, err="hutch-compiler",
           what="its native code does not run any more")
    expect(run("run", "show:1", cache="lost"), 0, out="[show]\n", what="the module is compiled")
    refused(path, ["signed with the key", "lost, which was revoked"])
    refused(path, ["revoked"], options=["--allow-unsigned"])
    expect(run("key", "trust", "lost.pub"), 1, err="was revoked")
    (WORK / "trust" / "again.pub").write_bytes((WORK / "lost.pub").read_bytes())
    refused(path, "revoked")  # also where configuration management puts it back
    check('"revoked"' in run("key", "list", "--json").out, "it is listed")
    for file in (WORK / "trust").glob("*.revoked"):
        file.unlink()
    (WORK / "trust" / "again.pub").unlink()


@test
def the_trust_directory_is_ours():
    trusted("ci", trust="open")
    path = plain()
    (WORK / "open").chmod(0o777)
    refused(path, ["open", "others"], trust="open")
    (WORK / "open").chmod(0o755)
    (WORK / "open" / "ci.pub").chmod(0o666)
    refused(path, "ci.pub is not a file only its owner can write", trust="open")
    (WORK / "open" / "ci.pub").chmod(0o644)
    (WORK / "open" / "b.pub").symlink_to(WORK / "ci.pub")
    refused(path, "b.pub is not a file", trust="open")
    shutil.copy(key("stranger")[0], WORK / "readable.key")
    (WORK / "readable.key").chmod(0o644)
    expect(run("bundle", "--sign", "readable.key", "-o", "x.tar", show()), 1, err="by others")


# ---- older, expired, too large ---------------------------------------------------------------

@test
def replays():
    new, old = bundle("new", sequence=2000), bundle("old", sequence=1999)
    expect(run("import", new, cache="replay"), 0)
    refused(old, ["older (sequence 1999)", "(2000)", "replay"], cache="replay")
    refused(bundle("unsigned", sign=None), "no trusted key signed", cache="replay")
    refused(old, "older", cache="replay", options=["--allow-unsigned"])
    expect(run("import", new, cache="replay"), 0, what="the same once more")
    expect(run("import", "--allow-older", old, cache="replay"), 0)
    expect(run("import", new, cache="replay"), 0)
    # Under a module's name too, in a bundle of another app.
    other = WORK / "two.tar"
    expect(run("bundle", "--sign", key("ci")[0], "--sequence", "1500", "-o", other, "--name", "two:1",
               f"first:1={show()}", f"show:1={WORK / 'empty.wasm'}"), 1, err="empty.wasm")
    (WORK / "empty.wasm").write_bytes(b"\0asm\1\0\0\0")
    expect(run("bundle", "--sign", key("ci")[0], "--sequence", "1500", "-o", other, "--name", "two:1",
               f"first:1={show()}", f"show:1={WORK / 'empty.wasm'}"), 0)
    refused(other, "imported as show:1", cache="replay")


@test
def expiry():
    path = WORK / "expired.tar"
    expect(run("bundle", "--sign", trusted()[0], "--sequence", "1000", "--expires", "1d", "-o", path,
               show()), 0)
    refused(path, "the bundle expired")
    refused(path, "expired", options=["--allow-unsigned", "--allow-older"])
    shown = json.loads(run("inspect", "--json", path).out)
    check(shown["expires"] == 1000 + 86400 and shown["sound"], "inspect shows it all the same")
    path = WORK / "fresh.tar"
    expect(run("bundle", "--sign", trusted()[0], "--expires", "1h", "-o", path, show()), 0)
    expect(run("import", path, cache="fresh"), 0)


@test
def too_large():
    path, source = plain(), with_image()
    refused(path, "more than 100000 bytes", options=["--max-size", "100000"])

    def bomb(size):
        def change(made):
            """256 MiB of zeros, of which the statement says something else."""
            layer = made.layers("image")[0]
            zeros = subprocess.Popen(["head", "-c", str(1 << 28), "/dev/zero"],
                                     stdout=subprocess.PIPE)
            packed = subprocess.run(["zstd", "-q", "-1"], stdin=zeros.stdout,
                                    stdout=subprocess.PIPE, check=True).stdout
            zeros.wait()
            made.replace(layer, b"\0" * 1000, packed)
            layer["contentSize"] = size
        return change

    started = time.monotonic()
    refused(resealed("bomb", bomb(1000), source=source), "larger than the 1000 bytes it declares")
    check(time.monotonic() - started < 30, "a bomb costs no time")
    refused(resealed("huge", bomb(1 << 40), source=source), "more than 17179869184 bytes")
    refused(resealed("less", bomb((1 << 28) + 1), source=source), "less than the 268435457 bytes")

    def window(made):
        layer = made.layers("image")[0]
        content = made.content(layer) + random.Random(1).randbytes(1 << 20)
        made.replace(layer, content, subprocess.run(
            ["zstd", "-q", "-3", "--ultra", "--long=31"], input=content, stdout=subprocess.PIPE,
            check=True).stdout)
    refused(resealed("window", window, source=source), "cannot be decompressed")


@test
def memory_stays_small():
    """An import holds pieces, whatever the size of a layer."""
    big = WORK / "big"
    big.mkdir()
    with open(big / "file", "wb") as f:
        block = random.Random(2).randbytes(64 << 10)
        for i in range(2400):
            f.write(i.to_bytes(4, "little") + block[4:])
    path = bundle("big", "--level", "1", "--image", f"/big={big}")
    shutil.rmtree(big)
    code = ("import os, sys; pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ);"
            "_, status, usage = os.wait4(pid, 0); print(usage.ru_maxrss);"
            "sys.exit(os.waitstatus_to_exitcode(status))")
    for how, options, stdin in (("file", [path], None), ("pipe", ["-"], path.read_bytes())):
        forget("big-cache")
        done = subprocess.run([sys.executable, "-c", code, HUTCH, "import", *options], cwd=WORK,
                              env=environment("big-cache"), input=stdin, capture_output=True)
        most = int(done.stdout.split()[-1]) << 10 if done.stdout.split() else 0
        sanitized = "ASAN_OPTIONS" in os.environ
        check(done.returncode == 0 and (most < 40 * MIB or sanitized),
              f"150 MiB by a {how} in under 40 MiB of memory", f"{most / MIB:.1f} MiB",
              done.stderr.decode())
    forget("big-cache")
    path.unlink()


# ---- the tar file ----------------------------------------------------------------------------

def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@test
def tricks_in_the_tar():
    entries = Bundle(plain())
    entries.sign(*key("ci"), WORK)
    files = entries.entries()
    blob = next(name for name, _ in files if name.startswith("blobs/"))
    elsewhere = WORK / "elsewhere"
    cases = [
        ("../../elsewhere", "does not belong in an OCI layout", ("../../elsewhere", b"x")),
        ("absolute", "does not belong", (str(elsewhere), b"x")),
        ("climbing", "does not belong", ("blobs/sha256/../../elsewhere", b"x")),
        ("stranger", "does not belong", ("README", b"x")),
        ("short", "does not belong", ("blobs/sha256/abcd", b"x")),
        ("upper", "does not belong", ("blobs/sha256/" + 64 * "A", b"x")),
        ("sha512", "does not belong", ("blobs/sha512/" + 64 * "a", b"x")),
        ("symlink", "holds a link", special("blobs/sha256/" + 64 * "a", tarfile.SYMTYPE, "/etc/passwd")),
        ("hardlink", "holds a link", special("blobs/sha256/" + 64 * "a", tarfile.LNKTYPE, blob)),
        ("symlink-dir", "holds a link", special("blobs", tarfile.SYMTYPE, "/tmp")),
        ("device", "does not belong", special("blobs/sha256/" + 64 * "a", tarfile.CHRTYPE)),
        ("fifo", "does not belong", special("index.json", tarfile.FIFOTYPE)),
        ("directory", "does not belong", special("index.json", tarfile.DIRTYPE)),
        ("escape", "does not belong", ("\x1b[31mred", b"x")),
        ("twice-blob", "holds an entry twice", next(f for f in files if f[0] == blob)),
        ("twice-index", "holds an entry twice", next(f for f in files if f[0] == "index.json")),
        ("twice-layout", "holds an entry twice", ("./oci-layout", entries.layout)),
    ]
    for name, words, extra in cases:
        for order, listed in (("first", [extra, *files]), ("last", [*files, extra])):
            path = write_tar(WORK / f"trick-{order}.tar", listed)
            refused(path, words)
    check(not elsewhere.exists() and not (WORK.parent / "elsewhere").exists(), "nothing is unpacked")
    many = [(f"blobs/sha256/{i:064x}", b"") for i in range(4200)]
    refused(write_tar(WORK / "many.tar", [*many, *files]), "more than 4096 entries")
    for name, listed, words in (
            ("no-layout", files[:-1], "holds no oci-layout"),
            ("no-index", [f for f in files if f[0] != "index.json"], "holds no index.json"),
            ("no-blob", [f for f in files if f[0] != blob], "not in the tar file"),
            ("nothing", [], "holds no oci-layout")):
        refused(write_tar(WORK / f"{name}.tar", listed), words)
    packed = WORK / "packed.tar"
    for mode in ("w:gz", "w:xz"):
        refused(write_tar(packed, files, mode=mode), "tar")
    for name, data in (("empty", b""), ("text", b"hello " * 1000), ("zeros", bytes(10240))):
        (WORK / f"{name}.tar").write_bytes(data)
        refused(WORK / f"{name}.tar", "")
    refused(WORK, "a directory")
    refused("/dev/zero", "not a tar file")
    refused("-", "not a tar file", stdin=b"")
    refused("-", "not a tar file", stdin=b"x" * 300)
    refused(WORK / "no-such.tar", "No such file")
    # What other writers do, and what does no harm: another order, pax headers, "./" in front.
    orders = {"reversed": files[::-1], "dots": [("./" + n, d) for n, d in files]}
    for name, listed in orders.items():
        for kind in (tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
            path = write_tar(WORK / f"{name}.tar", listed, format=kind)
            forget("order")
            expect(run("import", path, cache="order"), 0, what=name)
            forget("order")
            expect(run("import", "-", cache="order", stdin=path.read_bytes()), 0, what=f"{name} by a pipe")
            expect(run("run", "show:1", cache="order", tool=without_compiler()), 0, out="[show]\n")


@test
def tricks_in_the_documents():
    def raw(text):
        return lambda made: setattr(made, "statement_bytes", text(made))

    def words_changed(old, new):
        return raw(lambda made: bundlelib.text_of(made.statement).replace(old, new))

    def statement(**members):
        return lambda made: made.statement.update(**members)

    def layer(kind="module", **members):
        return lambda made: made.layers(kind)[0].update(**members)

    def stray(made):
        made.manifest["layers"].append({"mediaType": "text/plain", "digest": made.add(b"x"), "size": 1})

    def missing(made):
        made.manifest["layers"].pop()

    def other_layer(made):
        """The blob of another bundle in the manifest, in place of the one that was signed."""
        theirs = Bundle(bundle("stolen", app="stolen:1", module=other_module()))
        digest = theirs.layers("module")[0]["blob"]
        data = theirs.take(digest)
        made.manifest["layers"][0].update(digest=made.add(data), size=len(data))

    def lying_blob(made):
        """As long, as sound for zstd, and not what the name says."""
        layer = made.layers("image")[0]
        made.replace(layer, random.Random(5).randbytes(100000))
        data = bytearray(made.blobs[layer["blob"][7:]])
        data[len(data) // 2] ^= 1
        made.blobs[layer["blob"][7:]] = bytes(data)

    def two_images(made):
        made.index["manifests"].append(dict(made.index["manifests"][0]))

    def plain_image(made):
        made.manifest["config"]["mediaType"] = "application/vnd.oci.image.config.v1+json"

    def swapped_objects(made):
        """An object listed with a module that it was not compiled from."""
        theirs = Bundle(bundle("stolen", app="stolen:1", module=other_module()))
        made.replace(made.layers("object")[1], theirs.content(theirs.layers("object")[0]))

    def damaged_object(made):
        code = bytearray(made.content(made.layers("object")[0]))
        code[-1] ^= 1
        made.replace(made.layers("object")[0], bytes(code))

    def no_object(made):
        made.replace(made.layers("object")[0], b"not a code object" * 1000)

    source = with_image()
    cases = [
        ("json", raw(lambda m: b"{"), "not JSON"),
        ("list", raw(lambda m: b"[]"), "not a JSON object"),
        ("deep", raw(lambda m: b'{"a":' + b"[" * 100000), "not JSON"),
        ("twice", raw(lambda m: b'{"name":"x:1",' + bundlelib.text_of(m.statement)[1:]), "not JSON"),
        ("latin", words_changed(b"hutch 0", b"h\xfctch 0"), "not JSON"),
        ("nul", words_changed(b"hutch 0", b"h\\u0000"), "not JSON"),
        ("version", statement(hutchBundle=2), "bundle version 2"),
        ("no-version", lambda m: m.statement.pop("hutchBundle"), "not a bundle's"),
        ("name", statement(name="../../etc"), "damaged"),
        ("name-escape", statement(name="a\u001b[31m:1"), "damaged"),
        ("negative", statement(sequence=-1), "damaged"),
        ("real", statement(sequence=1.5), "damaged"),
        ("large", words_changed(b'"sequence":1000', b'"sequence":1' + b"0" * 30), "not JSON"),
        ("env", statement(env=["A"]), "env: item 0"),
        ("env-list", statement(env={"A": "1"}), "no list"),
        ("args", statement(args=["a\nb"]), "control characters"),
        ("args-many", statement(args=["a"] * 257), "more than 256"),
        ("app", statement(app=[]), "app is damaged"),
        ("kind", lambda m: m.layers("module")[0].update(kind="program"), "unknown kind 'program'"),
        ("digest", layer(content="sha256:abcd"), "damaged"),
        ("size", layer(contentSize=-1), "damaged"),
        ("content", layer(content="sha256:" + 64 * "a"), "not in the bundle"),
        ("image-content", layer("image", content="sha256:" + 64 * "a"), "another digest"),
        ("no-module", lambda m: m.statement.update(layers=[]), "holds no module"),
        ("layers", lambda m: m.statement.update(layers=m.statement["layers"] * 200), ""),
        ("stray", stray, "not in the signed statement"),
        ("missing", missing, "not in the manifest"),
        ("other-layer", other_layer, "not in the signed statement"),
        ("lying-blob", lying_blob, "digest is not its name"),
        ("two-images", two_images, "lists 2 images"),
        ("plain-image", plain_image, "not a bundle of hutch"),
        ("swapped-objects", swapped_objects, "from another module"),
        ("damaged-object", damaged_object, "layer 1 (object for x86-64-v2)"),
        ("no-object", no_object, "layer 1 (object for x86-64-v2)"),
    ]
    for name, change, words in cases:
        path = resealed(f"document-{name}", change, source=source)
        refused(path, words)
        path.unlink()


def other_module():
    path = WORK / "other.wasm"
    path.write_bytes(b"\0asm\1\0\0\0\0\2\1a")
    return path


@test
def damage():
    """Bytes altered and cut off; the unit test does every single one of a small bundle."""
    whole = plain().read_bytes()
    dice = random.Random(3)
    harmless = 0
    sound = run("import", "--dry-run", plain())
    check(sound.status == 0 and "sound, trusted" in sound.out, "unaltered", sound)
    with tarfile.open(plain()) as tar:
        used = [(m.offset_data, m.offset_data + m.size) for m in tar
                if m.isfile() and m.name != "index.json"]  # which has annotations for people
    places = [dice.randrange(len(whole)) for _ in range(150)]
    places += [dice.randrange(*r) for r in used for _ in range(3)]
    for at in places:
        bad = bytearray(whole)
        bad[at] ^= 1 << dice.randrange(8)
        (WORK / "bad.tar").write_bytes(bad)
        inside = any(a <= at < b for a, b in used)
        result = run("import", "--dry-run", "bad.tar")
        if result.status == 0 and not inside:
            harmless += 1
            check(result.out == sound.out and not result.err, f"byte {at} altered, to no effect", result)
            continue
        check(result.status == 1 and result.err.count("\n") == 1 and not result.out,
              f"byte {at} altered", result)
    last = used[-1][1]
    for size in [dice.randrange(last) for _ in range(40)] + [last - 1, 0, 1, 511, 512, 513]:
        (WORK / "bad.tar").write_bytes(whole[:size])
        refused("bad.tar", "")
        refused("-", "", stdin=whole[:size])
    print(f"{harmless} of {len(places)} altered bytes were fill, or a note for people")
