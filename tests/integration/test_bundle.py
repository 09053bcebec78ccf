#!/usr/bin/python3
"""Bundles as people use them: made and signed, carried by stock tools, imported, run; and what is
refused, each with its own message.

    tests/integration/test_bundle.py [WORD...]

WORD picks the tests whose names contain it. HUTCH names the tool. Closes with `N passed, N failed`.
"""

import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback

import bundlelib
from bundlelib import Bundle, write_tar

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("HUTCH_BUILD_DIR", ROOT / "build")).resolve()
HUTCH = pathlib.Path(os.environ.get("HUTCH", BUILD / "tools" / "hutch")).resolve()
WORK = pathlib.Path()  # a directory of our own, set by main
TESTS = []
passed = failed = 0
MIB = 1 << 20


def test(function):
    TESTS.append(function)
    return function


def check(condition, what, *details):
    global passed, failed
    if condition:
        passed += 1
        return
    failed += 1
    print(f"FAIL {what}", flush=True)
    for detail in details:
        print("     " + str(detail)[-1500:].replace("\n", "\n     "), flush=True)


class Result:
    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    def __str__(self):
        return f"status {self.status}\nstdout: {self.out}\nstderr: {self.err}"


def environment(cache="cache", trust="trust", **more):
    names = {"PATH": os.environ["PATH"], "HOME": str(WORK / "home"), "TMPDIR": str(WORK),
             "HUTCH_CACHE_DIR": str(WORK / cache), "HUTCH_TRUST_DIR": str(WORK / trust), **more}
    for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS"):
        if name in os.environ:
            names[name] = os.environ[name]
    return names


def run(*arguments, stdin=None, cache="cache", trust="trust", tool=None, seconds=120, **more):
    given = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    try:
        done = subprocess.run([tool or HUTCH, *arguments], **given, capture_output=True, cwd=WORK,
                              env=environment(cache, trust, **more), timeout=seconds)
    except subprocess.TimeoutExpired:
        return Result("hangs", "", "")
    return Result(done.returncode, done.stdout.decode(errors="replace"),
                  done.stderr.decode(errors="replace"))


def expect(result, status, out=None, err=None, what=""):
    """out: the whole of standard output; err: words of standard error, none where it is None."""
    caller = traceback.extract_stack()[-2]
    words = [err] if isinstance(err, str) else err or []
    good = (result.status == status and (out is None or result.out == out)
            and all(word in result.err for word in words) and (words or not result.err))
    check(good, f"{caller.name}:{caller.lineno} {what}",
          f"expected status {status}, stdout {out!r}, stderr {words}", result)
    return result


def contents(cache):
    """The entries of a store, by what lies in it."""
    objects = WORK / cache / "objects"
    return sorted(p.name for p in objects.iterdir()) if objects.is_dir() else []


def forget(*caches):
    for name in caches:
        shutil.rmtree(WORK / name, ignore_errors=True)


# ---- what the tests share --------------------------------------------------------------------

def show():
    """Shows its arguments, environment and the files it is named."""
    path = WORK / "show.wasm"
    if not path.exists():
        source = WORK / "show.c"
        source.write_text(r"""
            #include <stdio.h>
            extern char **environ;
            int main(int argc, char **argv) {
                for (int i = 0; i < argc; i++) printf("[%s]", argv[i]);
                for (char **e = environ; e && *e; e++) printf("{%s}", *e);
                putchar('\n');
                for (int i = 1; i < argc; i++) {
                    FILE *f = fopen(argv[i], "r");
                    if (!f) continue;
                    for (int c; (c = getc(f)) != EOF;) putchar(c);
                    fclose(f);
                }
                return 0;
            }""")
        subprocess.run(["clang-22", "--target=wasm32-wasi", "-Wno-deprecated", "-O1", source,
                        "-o", path], check=True)
    return path


def tree():
    path = WORK / "tree"
    if not path.exists():
        (path / "lib").mkdir(parents=True)
        (path / "lib" / "a.txt").write_text("from the image\n")
    return path


def key(name):
    """A pair of keys, NAME.key and NAME.pub."""
    if not (WORK / f"{name}.key").exists():
        expect(run("key", "generate", "-o", name), 0)
    return WORK / f"{name}.key", WORK / f"{name}.pub"


def trusted(name="ci", trust="trust"):
    pair = key(name)
    if not (WORK / trust / f"{name}.pub").exists():
        expect(run("key", "trust", f"{name}.pub", trust=trust), 0)
    return pair


def bundle(name, *options, sign="ci", module=None, app="show:1", sequence=1000):
    """Makes NAME.tar, once."""
    path = WORK / f"{name}.tar"
    if not path.exists():
        signing = ["--sign", trusted(sign)[0]] if sign else []
        expect(run("bundle", *signing, "--sequence", str(sequence), "-o", path, *options,
                   f"{app}={module or show()}"), 0, what=name)
    return path


def plain():
    return bundle("plain", "--target", "v2,v3")


def with_image():
    return bundle("with-image", "--target", "v2,v3", "--image", f"/usr={tree()}")


def resealed(name, change, source=None, sign="ci"):
    """A bundle with changes that are signed again: what only the signer could make."""
    made = Bundle(source or plain())
    change(made)
    if sign:
        made.sign(*key(sign), WORK)
    return made.seal(WORK / f"{name}.tar")


def refused(path, words, cache="refusals", options=(), stdin=None, **more):
    """An import that ends with one line of error and leaves the store as it was."""
    caller = traceback.extract_stack()[-2]
    before = contents(cache)
    result = run("import", *options, path, cache=cache, stdin=stdin, **more)
    words = [words] if isinstance(words, str) else words
    lines = [x for x in result.err.splitlines() if ": note: " not in x]
    check(result.status == 1 and len(lines) == 1 and lines[0].startswith("hutch: import ")
          and all(w in lines[0] for w in words) and not result.out,
          f"{caller.name}:{caller.lineno} {path}", f"expected a refusal with {words}", result)
    check(contents(cache) == before, f"{caller.name}:{caller.lineno} {path}: nothing is taken",
          contents(cache))


def without_compiler():
    """A node that cannot compile: what it runs, it was given."""
    place = WORK / "bin"
    if not place.exists():
        place.mkdir()
        for name in ("hutch", "hutch-tenant", "hutch-bundle"):
            shutil.copy(HUTCH.parent / name, place / name)
    return place / "hutch"


# ---- the ordinary way ------------------------------------------------------------------------

@test
def end_to_end():
    made = run("key", "generate", "-o", "first")
    expect(made, 0)
    check((WORK / "first.key").stat().st_mode & 0o777 == 0o600, "a private key is private")
    expect(run("key", "generate", "-o", "first"), 1, err="already")
    expect(run("key", "list", trust="new"), 0)
    expect(run("key", "trust", "first.pub", trust="new"), 0)
    listed = json.loads(run("key", "list", "--json", trust="new").out)
    check(len(listed) == 1 and listed[0]["name"] == "first" and listed[0]["state"] == "trusted"
          and listed[0]["id"] in made.out, "key list", listed)
    expect(run("image", "create", tree(), "-o", "lib.erofs"), 0)
    expect(run("bundle", "--sign", "first.key", "--target", "v2,v3,v4", f"show:1={show()}",
               "--image", "/usr=lib.erofs", "-o", "app.tar", trust="new"), 0)
    shown = json.loads(run("inspect", "app.tar", "--json", trust="new").out)
    check(shown["name"] == "show:1" and shown["sound"] and shown["signature"] == "trusted"
          and shown["signer"] == "first"
          and [x["kind"] for x in shown["layers"]] == ["module"] + 3 * ["object"] + ["image"]
          and [x["target"] for x in shown["layers"][1:4]] == ["x86-64-v2", "x86-64-v3", "x86-64-v4"],
          "inspect --json", shown)
    text = run("inspect", "app.tar", trust="new")
    check(text.status == 0 and "bundle of show:1" in text.out and "x86-64-v4" in text.out, "inspect",
          text)
    taken = run("import", "app.tar", cache="node", trust="new", tool=without_compiler())
    check(taken.status == 0 and "show:1: 1 module" in taken.out and "signed by first" in taken.out,
          "import", taken)
    expect(run("run", "show:1", "x", "/usr/lib/a.txt", cache="node", tool=without_compiler()), 0,
           out="[show][x][/usr/lib/a.txt]\nfrom the image\n")
    again = json.loads(run("import", "--json", "app.tar", cache="node", trust="new").out)
    check(again["modules"] == 1 and again["images"] == 1 and again["signer"] == "first",
          "importing again", again)
    for name in (f"show@sha256:{again['statement']}", f"sha256:{again['statement']}"):
        expect(run("run", name, cache="node", tool=without_compiler()), 0, out="[show]\n")
    expect(run("run", "show:2", cache="node"), 1, err="no such app or module")
    expect(run("run", f"show@sha256:{64 * '0'}", cache="node"), 1, err="no such app or module")
    expect(run("run", f"show@sha256:{63 * '0'}", cache="node"), 1, err="show@sha256")


@test
def an_app_brings_what_it_needs():
    path = bundle("words", "--image", f"/usr={tree()}", "--env", "HOME=/usr", "--env", "A=1",
                  "--arg", "-c", "--arg", "two words")
    expect(run("import", path, cache="words"), 0)
    expect(run("run", "show:1", cache="words"), 0, out="[show][-c][two words]{HOME=/usr}{A=1}\n")
    expect(run("run", "--env", "A=2", "--env", "B=", "show:1", "more", "/usr/lib/a.txt",
               cache="words"), 0,
           out="[show][-c][two words][more][/usr/lib/a.txt]{HOME=/usr}{A=2}{B=}\nfrom the image\n")
    over = WORK / "over" / "lib"
    over.mkdir(parents=True)
    (over / "a.txt").write_text("from the directory\n")
    expect(run("run", "--dir", f"{over.parent}::/usr", "show:1", "/usr/lib/a.txt", cache="words"),
           0, out="[show][-c][two words][/usr/lib/a.txt]{HOME=/usr}{A=1}\nfrom the directory\n")
    expect(run("run", "--argv0", "x", "show:1", cache="words"), 0,
           out="[x][-c][two words]{HOME=/usr}{A=1}\n")
    expect(run("bundle", "--env", "A", "-o", "x.tar", show()), 2, err=["--env A", "NAME=VALUE"])
    expect(run("bundle", "--image", "/usr", "-o", "x.tar", show()), 2, err="GUEST=FILE")
    expect(run("bundle", "--image", f"/usr={show()}", "-o", "x.tar", show()), 1, err="no EROFS")
    expect(run("bundle", "--arg", "\n", "-o", "x.tar", show()), 1, err="printable")
    check(not (WORK / "x.tar").exists(), "what fails leaves no file")


@test
def the_same_bytes():
    for name in ("same1", "same2"):
        expect(run("bundle", "--sign", trusted()[0], "--image", f"/usr={tree()}", "-o", f"{name}.tar",
                   show(), SOURCE_DATE_EPOCH="1700000000"), 0)
    check((WORK / "same1.tar").read_bytes() == (WORK / "same2.tar").read_bytes(),
          "the same input gives the same bundle")


@test
def another_implementation():
    """What docs/bundle.md says is enough to check a bundle, and to make one."""
    made = Bundle(plain())
    text = bundlelib.signed_text(made.statement_digest())
    signature = json.loads(made.signatures[0])
    check(len(text) == 98 and signature["key"] == bundlelib.key_id(key("ci")[1])
          and signature["statement"] == made.statement_digest()
          and bundlelib.verifies(key("ci")[1], text, bytes.fromhex(signature["signature"]), WORK),
          "openssl verifies the signature", signature)
    for layer in made.statement["layers"]:
        content = made.content(layer)
        check(bundlelib.sha256(content) == layer["content"] and len(content) == layer["contentSize"],
              "zstd unpacks a layer", layer)
    path = resealed("other", lambda b: b.statement.update(sequence=2000, creator="openssl"))
    expect(run("import", path, cache="other"), 0)
    expect(run("run", "show:1", cache="other", tool=without_compiler()), 0, out="[show]\n")


# ---- which object runs -----------------------------------------------------------------------

def demanding(made, targets):
    """The objects of these targets ask for a feature that no processor has."""
    for layer in made.layers("object"):
        if layer["target"] in targets:
            made.replace(layer, bundlelib.demand_feature(made.content(layer), 19))
            layer["cpuFeatures"] += ",unknown CPU feature"


@test
def the_best_variant():
    path = resealed("demands3", lambda b: demanding(b, ["x86-64-v3"]))
    taken = run("import", path, cache="variants")
    check(taken.status == 0 and "2 objects" not in taken.out and "1 object" in taken.out
          and "object for x86-64-v3 left out" in taken.err and "unknown CPU feature" in taken.err,
          "an object that cannot run here is left out by the feature's name", taken)
    expect(run("run", "show:1", cache="variants", tool=without_compiler()), 0, out="[show]\n",
           what="the other variant runs")
    path = resealed("demands", lambda b: demanding(b, ["x86-64-v2", "x86-64-v3"]))
    taken = run("import", path, cache="none-fits")
    check(taken.status == 0 and "0 objects" in taken.out and taken.err.count("left out") == 2,
          "none fits", taken)
    expect(run("run", "show:1", cache="none-fits", tool=without_compiler()), 1, err="hutch-compiler",
           what="nothing is left but to compile")
    expect(run("run", "show:1", cache="none-fits"), 0, out="[show]\n", what="the module is compiled")
    lies = resealed("lies", lambda b: b.layers("object")[0].update(cpuFeatures="cx16"))
    refused(lies, "another CPU features than the bundle says")


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
        ("args", statement(args=["a\nb"]), "printable"),
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
    with tarfile.open(plain()) as tar:
        used = [(m.offset_data, m.offset_data + m.size) for m in tar if m.isfile()]
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
            continue
        check(result.status == 1 and result.err.count("\n") == 1 and not result.out,
              f"byte {at} altered", result)
    last = used[-1][1]
    for size in [dice.randrange(last) for _ in range(40)] + [last - 1, 0, 1, 511, 512, 513]:
        (WORK / "bad.tar").write_bytes(whole[:size])
        refused("bad.tar", "")
        refused("-", "", stdin=whole[:size])
    print(f"{harmless} of {len(places)} altered bytes were fill between tar entries")


# ---- interrupted, repeated, at once ----------------------------------------------------------

@test
def interrupted():
    path = bundle("stop", "--target", "v2,v3", "--image", f"/usr={tree()}")
    started = time.monotonic()
    expect(run("import", path, cache="whole"), 0)
    usual = time.monotonic() - started
    dice = random.Random(4)
    killed = 0
    for turn in range(40):
        process = subprocess.Popen([HUTCH, "import", path], cwd=WORK, env=environment("killed"),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(dice.uniform(0, usual * 1.2))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL
        if turn % 8 == 7:
            again = run("run", "show:1", "/usr/lib/a.txt", cache="killed", tool=without_compiler())
            check(again.status in (0, 1) and ("from the image" in again.out or "no such app" in again.err),
                  "all of it or nothing", again)
    check(killed > 5, f"{killed} imports were killed")
    expect(run("import", path, cache="killed"), 0, what="and importing again completes it")
    expect(run("run", "show:1", "/usr/lib/a.txt", cache="killed", tool=without_compiler()), 0,
           out="[show][/usr/lib/a.txt]\nfrom the image\n")
    check(contents("killed") == contents("whole"), "and leaves what one import leaves")


@test
def at_once():
    paths = [bundle(f"at-once-{i}", app=f"at-once:{i}", sequence=1000 + i) for i in range(4)]
    running = [subprocess.Popen([HUTCH, "import", paths[i % 4]], cwd=WORK, env=environment("crowd"),
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
               for i in range(12)]
    for process in running:
        err = process.communicate(timeout=120)[1]
        check(process.returncode == 0 and not err, "twelve imports at once", err)
    for i in range(4):
        expect(run("run", f"at-once:{i}", cache="crowd", tool=without_compiler()), 0, out="[at-once]\n")


# ---- stock tools -----------------------------------------------------------------------------

class Registry:
    """Debian's docker-registry on loopback, for as long as the block runs and no longer than
    five minutes."""

    def __enter__(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        (WORK / "registry.yml").write_text(
            "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
            f"storage: {{filesystem: {{rootdirectory: {WORK / 'registry'}}}}}\n"
            f"http: {{addr: 127.0.0.1:{self.port}}}\n")
        self.process = subprocess.Popen(
            ["timeout", "300", "docker-registry", "serve", WORK / "registry.yml"], cwd=WORK,
            stdout=subprocess.DEVNULL, stderr=open(WORK / "registry.log", "wb"))
        for _ in range(200):
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.05)
        raise RuntimeError("docker-registry does not answer: "
                           + (WORK / "registry.log").read_text()[-500:])

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(10)


def skopeo(*arguments):
    done = subprocess.run(["skopeo", "--insecure-policy", *arguments], cwd=WORK, timeout=120,
                          stdin=subprocess.DEVNULL, capture_output=True, env=environment())
    check(done.returncode == 0, "skopeo " + " ".join(map(str, arguments)), done.stderr.decode())


@test
def through_a_registry():
    path = bundle("pushed", "--target", "v2,v3", "--image", f"/usr={tree()}", "--env", "A=1")
    with Registry() as registry:
        place = f"docker://127.0.0.1:{registry.port}/apps/show:1"
        skopeo("copy", "--dest-tls-verify=false", f"oci-archive:{path}", place)
        skopeo("copy", "--src-tls-verify=false", place, "oci-archive:pulled.tar:show:1")
    shown = json.loads(run("inspect", "--json", "pulled.tar").out)
    before = json.loads(run("inspect", "--json", path).out)
    check(shown["signature"] == "trusted" and shown["sound"]
          and shown["manifest"] == before["manifest"] and shown["layers"] == before["layers"],
          "the registry gives back what it was given, signature and all", shown, before)
    expect(run("import", "pulled.tar", cache="pulled"), 0)
    expect(run("run", "show:1", "/usr/lib/a.txt", cache="pulled", tool=without_compiler()), 0,
           out="[show][/usr/lib/a.txt]{A=1}\nfrom the image\n")
    skopeo("copy", f"oci-archive:{path}", f"oci:{WORK / 'layout'}:show")
    check((WORK / "layout" / "index.json").exists(), "skopeo unpacks it to a layout")
    skopeo("copy", f"oci:{WORK / 'layout'}:show", "oci-archive:again.tar")
    expect(run("import", "again.tar", cache="again"), 0)


def main():
    global WORK
    for tool in ("clang-22", "openssl", "zstd", "skopeo", "docker-registry"):
        if not shutil.which(tool):
            sys.exit(f"test_bundle: {tool} is not here (tools/dev installs it)\n0 passed, 1 failed")
    os.umask(0o022)
    with tempfile.TemporaryDirectory(prefix="hutch-bundle-") as place:
        WORK = pathlib.Path(place)
        (WORK / "home").mkdir()
        for function in TESTS:
            if len(sys.argv) > 1 and not any(w in function.__name__ for w in sys.argv[1:]):
                continue
            started = time.monotonic()
            try:
                function()
            except Exception:  # a test that cannot go on is a failure; the others run
                check(False, f"{function.__name__} ended", traceback.format_exc())
            if time.monotonic() - started > 10:
                print(f"{function.__name__}: {time.monotonic() - started:.0f} s", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
