#!/usr/bin/python3
"""Bundles as people use them: made and signed, carried by stock tools, imported, run; and snapshots
that come along (bundle_snapshots.py); what is refused (bundle_refusals.py).

    tests/integration/test_bundle.py [WORD...]

WORD picks the tests whose names contain it. HUTCH names the tool. Closes with `N passed, N failed`.
"""

import json
import random
import signal
import socket
import subprocess
import sys
import tarfile
import time

import bundlelib
import bundle_snapshots  # its tests come next
import bundleworld
from bundlelib import Bundle
from bundleworld import (HUTCH, ROOT, WORK, bundle, check, contents, environment, expect, key, plain,
                         refused, resealed, run, show, test, tree, trusted, with_image,
                         without_compiler)


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
    expect(run("bundle", "--arg", "\n", "-o", "x.tar", show()), 1, err="control characters")
    check(not (WORK / "x.tar").exists(), "what fails leaves no file")


@test
def an_app_directory():
    """hutch bundle DIR: all that app.yaml names, and what its module brings along."""
    expect(run("import", bundle("lang", "--image", f"/usr={tree()}", "--env", "HOME=/usr", "--env",
                                "A=1", "--arg", "-c", app="lang:1"), cache="builder"), 0)
    blog = WORK / "blog"
    (blog / "site").mkdir(parents=True)
    (blog / "site" / "hello.txt").write_text("from the site\n")
    (blog / "db.secret").write_text("hidden")
    (blog / "app.yaml").write_text("kind: hutch.app/v1\nname: blog\nmodule: lang:1\n"
                                   "interface: cgi\nargs: [-x]\nenv: {A: zwölf, B: '3'}\n"
                                   "secrets: {DB: db.secret}\nmounts: {/site: site}\n")
    path = WORK / "blog.tar"
    expect(run("bundle", "--sign", trusted()[0], blog, "-o", path, cache="builder"), 0)
    shown = json.loads(run("inspect", "--json", path).out)
    layers = {x["name"]: x["sha256"] for x in shown["layers"] if "name" in x}
    check(shown["name"] == "blog:latest" and sorted(layers) == ["/site", "/usr", "blog:latest"]
          and shown["args"] == ["-c", "-x"] and shown["env"] == ["HOME=/usr", "A=zwölf", "B=3"]
          and shown["app"]["module"] == "sha256:" + layers["blog:latest"]
          and {m["path"]: m["source"] for m in shown["app"]["mounts"]}
          == {p: "sha256:" + layers[p] for p in ("/site", "/usr")}
          and shown["app"]["env"] == {"HOME": "/usr", "A": "zwölf", "B": "3"}
          and shown["app"]["secrets"] == {"DB": "db.secret"}, "what it holds", shown)
    check(b"hidden" not in b"".join(Bundle(path).blobs.values()), "secrets stay behind")
    expect(run("import", path, cache="blog"), 0)
    expect(run("run", "blog:latest", "/site/hello.txt", "/usr/lib/a.txt", cache="blog",
               tool=without_compiler()), 0,
           out="[blog][-c][-x][/site/hello.txt][/usr/lib/a.txt]{HOME=/usr}{A=zwölf}{B=3}\n"
               "from the site\nfrom the image\n")
    expect(run("bundle", "--name", "shop:7", blog, "-o", "shop.tar", cache="builder"), 0)
    check(json.loads(run("inspect", "--json", "shop.tar").out)["name"] == "shop:7", "--name")
    expect(run("bundle", show(), blog, "-o", "x.tar", cache="builder"), 2, err="named first")
    expect(run("bundle", blog, "-o", "x.tar", cache="empty"), 1, err=["app.yaml", "lang:1"])
    expect(run("bundle", WORK / "home", "-o", "x.tar"), 1, err="app.yaml")
    (blog / "app.yaml").write_text("name: blog\nmodule: lang:1\nsecrets: {A: /etc/passwd}\n")
    expect(run("bundle", blog, "-o", "x.tar", cache="builder"), 1, err="/etc/passwd")
    (blog / "app.yaml").write_text("name: blog\nmodule: lang:1\nnmae: x\n")
    expect(run("bundle", blog, "-o", "x.tar", cache="builder"), 1, err="app.yaml:3")

    def app(**members):
        return lambda made: made.statement["app"].update(**members)

    for name, change, words in (
            ("mount", app(mounts=[{"source": "/etc", "path": "/site"}]), "does not hold: /etc"),
            ("image", app(mounts=[{"source": "sha256:" + 64 * "a", "path": "/site"}]), "does not hold"),
            ("module", app(module="/bin/sh.wasm"), "does not hold: /bin/sh.wasm"),
            ("stored", app(module="lang:1"), "does not hold: lang:1"),
            ("secret", app(secrets={"S": "/etc/shadow"}), "a file of this node: /etc/shadow"),
            ("climb", app(secrets={"S": "x/../../shadow"}), "a file of this node"),
            ("nonsense", app(limits={"memory": "much"}), "the bundle's app")):
        bad = resealed(f"app-{name}", change, source=path)
        refused(bad, words)
        check(not json.loads(run("inspect", "--json", bad).out)["sound"], "inspect says so too")


class Server:
    """hutch serve of what a store holds, for as long as the block runs and no longer than a
    minute."""

    def __init__(self, *sources, cache, **options):
        self.command = ["timeout", "60", HUTCH, "serve", "--access-log", "off", "--state-dir",
                        WORK / "state", "--listen", f"unix:{WORK / 'http'}"]
        for name, value in options.items():
            self.command += ["--" + name.replace("_", "-"), value]
        self.command += sources
        self.cache = cache

    def __enter__(self):
        self.log = open(WORK / "serve.log", "wb")
        self.process = subprocess.Popen(self.command, cwd=WORK, env=environment(self.cache),
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        return self

    def get(self, path):
        for _ in range(300):
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(30)
                try:
                    s.connect(str(WORK / "http"))
                except OSError:
                    if self.process.poll() is not None:
                        break
                    time.sleep(0.1)
                    continue
                s.sendall(f"GET {path} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
                return b"".join(iter(lambda: s.recv(65536), b"")).decode(errors="replace")
        return (WORK / "serve.log").read_text()

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)


@test
def an_imported_app_is_served():
    source = WORK / "answer.c"
    source.write_text(r"""
        #include <stdio.h>
        #include <stdlib.h>
        int main(void) {
            char line[80] = "";
            FILE *f = fopen("/site/hello.txt", "r");
            if (f) fgets(line, sizeof line, f);
            printf("Content-Type: text/plain\r\n\r\n%s, %s, %s", getenv("B"), getenv("DB"), line);
        }""")
    place = WORK / "answer"
    (place / "site").mkdir(parents=True)
    (place / "site" / "hello.txt").write_text("from the site\n")
    subprocess.run(["clang-22", "--target=wasm32-wasi", "-Wno-deprecated", "-O1", source, "-o",
                    place / "answer.wasm"], check=True)
    (place / "app.yaml").write_text("kind: hutch.app/v1\nname: answer\nmodule: answer.wasm\n"
                                    "interface: cgi\nenv: {B: '3'}\nsecrets: {DB: db.secret}\n"
                                    "mounts: {/site: site}\n")
    expect(run("bundle", "--sign", trusted()[0], place, "-o", "answer.tar"), 0)
    expect(run("import", "answer.tar", cache="serving"), 0)
    for name, secret in (("answer", "ours"), ("other", "theirs")):
        (WORK / "secrets" / name).mkdir(parents=True)
        (WORK / "secrets" / name / "db.secret").write_text(secret)
        (WORK / "secrets" / name / "db.secret").chmod(0o600)
    with Server("answer:latest", cache="serving", secrets_dir=WORK / "secrets") as server:
        answer = server.get("/")
        check(" 200 OK\r\n" in answer and answer.endswith("3, ours, from the site\n"),
              "an imported app answers, with its own secret", answer,
              (WORK / "serve.log").read_text())


@test
def the_same_bytes():
    for name in ("same1", "same2"):
        expect(run("bundle", "--sign", trusted()[0], "--image", f"/usr={tree()}", "-o", f"{name}.tar",
                   show(), SOURCE_DATE_EPOCH="1700000000"), 0)
    check((WORK / "same1.tar").read_bytes() == (WORK / "same2.tar").read_bytes(),
          "the same input gives the same bundle")


def second_reader(path, *publics):
    """What a reader written by the pages alone finds in a bundle; None where it refuses it."""
    done = subprocess.run(["/usr/bin/python3", ROOT / "tests/integration/reader.py", "bundle", path, *publics],
                          capture_output=True)
    return json.loads(done.stdout) if done.returncode == 0 else None


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
    whole = bundle_snapshots.warm()
    shown = json.loads(run("inspect", "--json", whole).out)
    found = second_reader(whole, key("ci")[1])
    check(found and found["name"] == "warm:1" and found["signed_by"] == ["sha256:" + shown["key"]]
          and found["layers"] == [[x["kind"], "sha256:" + x["sha256"], x["size_bytes"]] for x in shown["layers"]],
          "a second reader finds the same", found, shown)
    check(second_reader(with_image(), key("ci")[1])["layers"][-1][0] == "image", "an image too")
    check(second_reader(whole, key("stranger")[1])["signed_by"] == [], "signed by nobody that it knows")
    dice, data = random.Random(7), whole.read_bytes()
    with tarfile.open(whole) as tar:
        used = [m for m in tar if m.isfile() and m.name != "index.json"]
    for member in used:
        bad = bytearray(data)
        bad[member.offset_data + dice.randrange(member.size)] ^= 1 << dice.randrange(8)
        (WORK / "bad.tar").write_bytes(bad)
        refused("bad.tar", "")
        check(second_reader(WORK / "bad.tar", key("ci")[1]) is None, f"both refuse {member.name}")
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


@test
def objects_of_another_build():
    """One with another ABI is left out, however its sections may be laid out; the module is compiled."""
    def another(made):
        layer = made.layers("object")[0]
        code = bytearray(made.content(layer))
        code[bundlelib.COMPAT + 16:bundlelib.COMPAT + 24] = bytes(range(8, 0, -1))
        code[len(code) - 1500:len(code) - 1000] = bytes(500)
        at = bundlelib.COMPAT_DIGEST
        code[at:at + 32] = bytes(32)
        code[at:at + 32] = bytes.fromhex(bundlelib.sha256(bytes(code))[7:])
        made.replace(layer, bytes(code))
        layer["abi"] = bytes(range(1, 9)).hex()

    path = resealed("another-build", another)
    taken = run("import", path, cache="another-build")
    check(taken.status == 0 and "1 object," in taken.out
          and "object for x86-64-v2 left out: compiled for ABI fingerprint 0102030405060708" in taken.err,
          "another build's object", taken)
    shown = json.loads(run("inspect", "--json", path).out)
    check(shown["sound"] and "ABI fingerprint" in shown["notes"][0], "inspect says so", shown)


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
def a_cache_that_is_full():
    """What comes in is not collected before its name is there, however small the cache."""
    path = bundle("stop", "--target", "v2,v3", "--image", f"/usr={tree()}")
    expect(run("run", "-O", "0", show(), cache="small"), 0, out="[show.wasm]\n")
    before = contents("small")
    expect(run("import", path, cache="small", HUTCH_CACHE_MAX_SIZE="4K"), 0)
    check(not set(before) & set(contents("small")), "what nobody needs made room")
    expect(run("run", "show:1", "/usr/lib/a.txt", cache="small", tool=without_compiler(),
               HUTCH_CACHE_MAX_SIZE="4K"), 0, out="[show][/usr/lib/a.txt]\nfrom the image\n")


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


import bundle_refusals  # noqa: E402, F401: its tests come last

sys.exit(bundleworld.main())
