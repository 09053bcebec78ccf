"""Snapshots in bundles: made on bundling or before, carried, gone on from; left out and refused
where native code would be. Tests of test_bundle.py.
"""

import json
import shutil
import socket
import subprocess
import time

import bundlelib
from bundleworld import (HUTCH, ROOT, WORK, check, environment, expect, refused, resealed, run,
                         test, trusted, without_compiler)


def frozen():
    path = WORK / "frozen.wasm"
    if not path.exists():
        subprocess.run(["clang-22", "--target=wasm32-wasi", "-Wno-deprecated", "-msimd128", "-O2",
                        ROOT / "tests/integration/guests/frozen.c", "-o", path], check=True)
    return path


def warm():
    """A module, its objects for v2 and v3, a snapshot with each."""
    path = WORK / "warm.tar"
    if not path.exists():
        made = run("bundle", "--sign", trusted()[0], "--sequence", "1000", "--target", "v2,v3",
                   "--instaboot", "--json", "-o", path, f"warm:1={frozen()}")
        check(made.status == 0 and json.loads(made.out)["layers"] == 5, "bundle --instaboot", made)
    return path


class Listening:
    """`hutch run --listen` of something a store holds."""

    counter = 0

    def __init__(self, *arguments, cache):
        Listening.counter += 1
        self.path = WORK / f"listening{Listening.counter}"
        self.process = subprocess.Popen(
            ["timeout", "60", HUTCH, "run", "--listen", f"unix:{self.path}", *arguments], cwd=WORK,
            env=environment(cache), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE)

    def __enter__(self):
        return self

    def get(self, target):
        return get(self.path, target, self.process)

    def __exit__(self, *_):
        self.process.terminate()
        out, err = self.process.communicate(timeout=30)
        self.out, self.err = out.decode(), err.decode()


def get(path, target, process):
    end = time.monotonic() + 30
    while time.monotonic() < end and process.poll() is None:
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(30)
            try:
                s.connect(str(path))
                s.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
                answer = b"".join(iter(lambda: s.recv(65536), b""))
            except OSError:
                time.sleep(0.05)
                continue
            return answer.partition(b"\r\n\r\n")[2].decode()
    return ""


def generation(cache, *arguments):
    """What the program says of its start: 0 from the beginning; and what hutch says."""
    with Listening(*arguments, cache=cache) as server:
        answer = server.get("/token").split()
    return int(answer[1]) if len(answer) == 3 else None, server.err


def resumes(cache, what, *arguments):
    number, err = generation(cache, *(arguments or ["warm:1"]))
    check(number and not err, f"{what}: goes on from the snapshot", number, err)


def starts(cache, what, words, *arguments):
    number, err = generation(cache, *(arguments or ["warm:1"]))
    check(number == 0 and err.count("\n") == bool(words) and words in err,
          f"{what}: starts from the beginning", number, err)


@test
def a_snapshot_comes_along():
    shown = json.loads(run("inspect", "--json", warm()).out)
    kinds = [x["kind"] for x in shown["layers"]]
    objects = [x["sha256"] for x in shown["layers"] if x["kind"] == "object"]
    snapshots = [x for x in shown["layers"] if x["kind"] == "snapshot"]
    check(shown["sound"] and kinds == ["module", "object", "object", "snapshot", "snapshot"]
          and [x["object"] for x in snapshots] == objects, "inspect --json lists them", shown)
    text = run("inspect", warm())
    check("with the object for x86-64-v3" in text.out, "inspect lists them", text)
    taken = run("import", "--json", warm(), cache="warm", tool=without_compiler())
    report = json.loads(taken.out)
    check(taken.status == 0 and report["snapshots"] == 2 and report["snapshots_unfit"] == 0,
          "import", taken)
    resumes("warm", "an imported app")
    starts("warm", "another variable", "'request socket 3' then, 'environment A", "--env", "A=1",
           "warm:1")
    starts("warm", "another object", "made with another code object", "-O", "0", "warm:1")
    # Kept as long as the app is, and what it goes on with too.
    kept = json.loads(run("cache", "gc", "--max-size", "0", "--json", cache="warm").out)
    check(kept["entries"] == 6 and kept["removed_entries"] == 1, "all but what -O 0 compiled is kept", kept)
    resumes("warm", "after a collection")
    gone = shutil.copytree(WORK / "warm", WORK / "gone") / "objects"
    for layer in snapshots:
        (gone / layer["sha256"]).unlink()
    missing = run("cache", "verify", cache="gone")
    check(missing.status == 1 and "2 missing" in missing.out, "verify misses them", missing)
    starts("gone", "its snapshots are gone", "")


@test
def a_snapshot_made_before():
    """hutch snapshot create makes one; it must be of an object of the bundle."""
    path = WORK / "before.tar"
    for options, snap in ((["-O", "2", "--target", "x86-64-v3"], "same"), (["-O", "0"], "other")):
        expect(run("snapshot", "create", "-o", f"{snap}.snap", "--argv0", "warm", *options, frozen()),
               0, err="trial request")
    named = ["bundle", "--sign", trusted()[0], "--target", "v3", "-o", path, f"warm:1={frozen()}"]
    expect(run(*named, "--snapshot", "./other.snap"), 1, err="another code object than those of the bundle")
    expect(run(*named, "--snapshot", frozen()), 1, err="--snapshot")
    expect(run(*named, "--snapshot", "./no.snap"), 1, err="No such file")
    expect(run(*named, "--snapshot", "no-such-name"), 1, err="no-such-name")
    bad = bytearray((WORK / "same.snap").read_bytes())
    bad[-1] ^= 1
    (WORK / "bad.snap").write_bytes(bad)
    expect(run(*named, "--snapshot", "./bad.snap"), 1, err="digest mismatch")
    check(not path.exists(), "what fails leaves no file")
    expect(run(*named, "--snapshot", "./same.snap"), 0)
    expect(run("import", path, cache="before"), 0)
    resumes("before", "made before")


@test
def an_app_with_a_snapshot():
    """hutch bundle DIR --instaboot: as the app is served, after its warm-up requests."""
    place = WORK / "cold"
    (place / "files").mkdir(parents=True)
    (place / "files" / "a.txt").write_text("a file\n")
    shutil.copy(frozen(), place / "cold.wasm")

    def describe(more):
        (place / "app.yaml").write_text("kind: hutch.app/v1\nname: cold\nmodule: cold.wasm\n"
                                        "mounts: {/files: files}\nenv: {B: '2', A: '1'}\n" + more)

    made = ["bundle", "--sign", trusted()[0], "--instaboot", "-o", WORK / "cold.tar", place]
    describe("interface: http\n")
    expect(run(*made), 1, err="says nothing of instaboot")
    describe("interface: http\ninstaboot: true\nsecrets: {S: s}\n")
    (place / "s").write_text("hidden")
    expect(run(*made), 1, err="the app has secrets")
    describe("interface: http\ninstaboot: {requests: [{path: /size}, {path: /size}]}\n")
    result = run(*made)
    check(result.status == 0, "bundle DIR --instaboot", result)
    expect(run("import", WORK / "cold.tar", cache="cold-node", tool=without_compiler()), 0)
    log = open(WORK / "cold.log", "wb")
    process = subprocess.Popen(
        ["timeout", "60", HUTCH, "serve", "--access-log", "off", "--state-dir", WORK / "cold-state",
         "--listen", f"unix:{WORK / 'cold-http'}", "cold:latest"], cwd=WORK, stdin=subprocess.DEVNULL,
        env=environment("cold-node"), stdout=log, stderr=log)
    answers = [get(WORK / "cold-http", "/token", process), get(WORK / "cold-http", "/", process)]
    process.terminate()
    process.wait(30)
    said = (WORK / "cold.log").read_text()
    check(answers[0].split()[1:2] not in ([], ["0"]) and "snapshot" not in said
          and "starting" not in said, "an app is served from the snapshot it brought", answers, said)
    check(answers[1] in ("3", "4"), "which two requests have warmed up", answers)
    made = [x for x in json.loads(run("cache", "list", "--json", cache="cold-node").out)["entries"]
            if x["kind"] == "snapshot"]
    check([x["origin"] for x in made] == ["imported"], "and no other is made", made)


@test
def snapshots_are_native_code():
    """Without trust they are left out, whatever else calls them what they are not."""
    unsigned = resealed("warm-unsigned", lambda b: b.signatures.clear(), source=warm(), sign=None)
    taken = run("import", "--json", unsigned, cache="warm-unsigned")
    report = json.loads(taken.out)
    check(taken.status == 0 and report["snapshots"] == 0 and report["snapshots_unsigned"] == 2
          and "native code left out: the bundle is unsigned" in taken.err, "unsigned", taken)
    starts("warm-unsigned", "unsigned", "")
    stranger = resealed("warm-stranger", lambda b: None, source=warm(), sign="stranger")
    taken = run("import", "--json", stranger, cache="warm-stranger")
    check(json.loads(taken.out)["snapshots"] == 0 and "does not trust" in taken.err, "a stranger's", taken)
    expect(run("import", "--allow-unsigned", unsigned, cache="warm-allowed"), 0)
    resumes("warm-allowed", "--allow-unsigned")

    def smuggled(made):
        """The same bytes as images too, which need no signature."""
        made.signatures.clear()
        for number, layer in enumerate(made.layers("snapshot")):
            image = {k: layer[k] for k in ("blob", "blobSize", "content", "contentSize")}
            made.statement["layers"].append({**image, "kind": "image", "name": f"/{number}"})
            made.manifest["layers"].append({
                "mediaType": "application/vnd.hutch.image.v1.erofs+zstd", "digest": layer["blob"],
                "size": layer["blobSize"]})

    path = resealed("warm-smuggled", smuggled, source=warm(), sign=None)
    refused(path, "these bytes are a snapshot, not an image", cache="warm-smuggled")
    expect(run("import", warm(), cache="warm"), 0)
    refused(path, "contradict each other", cache="warm",
            options=["--allow-unsigned"])
    resumes("warm", "one that was imported stays what it is")


@test
def objects_as_images():
    """Native code that calls itself an image would come back as an object where the index is lost."""
    def smuggled(made):
        made.signatures.clear()
        code = made.content(made.layers("object")[0])
        made.manifest["layers"] = [x for x in made.manifest["layers"] if "module" in x["mediaType"]]
        made.statement["layers"] = made.layers("module")
        packed = bundlelib.zstd(code)
        made.statement["layers"].append({
            "kind": "image", "name": "/x", "blob": made.add(packed), "blobSize": len(packed),
            "content": bundlelib.sha256(code), "contentSize": len(code)})
        made.manifest["layers"].append({"mediaType": "application/vnd.hutch.image.v1.erofs+zstd",
                                        "digest": bundlelib.sha256(packed), "size": len(packed)})

    path = resealed("object-as-image", smuggled, source=warm(), sign=None)
    refused(path, "layer 1 (image): these bytes are native code, not an image", cache="object-as-image")
    shutil.rmtree(WORK / "object-as-image" / "index.lmdb", ignore_errors=True)
    listed = json.loads(run("cache", "list", "--json", cache="object-as-image").out)
    check(not [e for e in listed["entries"] if e["kind"] == "object"], "nor afterwards", listed)


@test
def snapshots_that_are_refused():
    def snapshot(**members):
        return lambda made: made.layers("snapshot")[0].update(**members)

    def altered(made):
        data = bytearray(made.content(made.layers("snapshot")[0]))
        data[-1] ^= 1
        made.replace(made.layers("snapshot")[0], bytes(data))

    def swapped(made):
        one, two = made.layers("snapshot")
        one["object"], two["object"] = two["object"], one["object"]

    def twice(made):
        made.statement["layers"].append(dict(made.layers("snapshot")[0]))

    def another_format(made):
        layer = made.layers("snapshot")[0]
        data = bytearray(made.content(layer))
        data[8:12] = (99).to_bytes(4, "little")
        data[32:64] = bytes(32)
        data[32:64] = bytes.fromhex(bundlelib.sha256(bytes(data))[7:])
        made.replace(layer, bytes(data))

    for name, change, words in (
            ("altered", altered, ["layer 3 (snapshot for x86-64-v2)", "digest mismatch"]),
            ("swapped", swapped, ["made with another code object than the bundle says"]),
            ("nothing", lambda b: b.replace(b.layers("snapshot")[0], b"x" * 5000), "layer 3"),
            ("empty", lambda b: b.replace(b.layers("snapshot")[0], b""), "not a snapshot"),
            ("abi", snapshot(abi=16 * "0"), "snapshot of an object that is not in the bundle"),
            ("object", snapshot(object="sha256:" + 64 * "a"), "not in the bundle"),
            ("module", snapshot(module="sha256:" + 64 * "a"), "not in the bundle"),
            ("members", snapshot(object=1), "layer 3 (snapshot) is damaged"),
            ("twice", twice, "one snapshot")):
        bad = resealed(f"warm-{name}", change, source=warm())
        refused(bad, words)
        if name in ("altered", "swapped", "nothing"):
            check(not json.loads(run("inspect", "--json", bad).out)["sound"], f"{name}: inspect says so too")
    path = resealed("warm-format", another_format, source=warm())
    taken = run("import", path, cache="warm-format")
    check(taken.status == 0 and "snapshot for x86-64-v2 left out: " in taken.err and "format 99" in taken.err
          and "1 snapshot," in taken.out, "another format is left out", taken)

    def no_v3(made):
        """Where an object cannot run, its snapshot is not taken either."""
        layer = made.layers("object")[1]
        made.replace(layer, bundlelib.demand_feature(made.content(layer), 19))
        layer["cpuFeatures"] += ",unknown CPU feature"
        made.layers("snapshot")[1]["object"] = layer["content"]

    taken = run("import", resealed("warm-unfit", no_v3, source=warm()), cache="warm-unfit")
    check(taken.status == 0 and "snapshot for x86-64-v3 left out: its object is" in taken.err
          and "1 object, 0 images, 1 snapshot" in taken.out, "an object that is left out", taken)
    resumes("warm-unfit", "the other one")
