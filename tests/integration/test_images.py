#!/usr/bin/python3
"""File images and files in memory, as people use them and beside stock tools: erofs-utils reads what
`hutch image` makes and the other way round, the kernel mounts it; processes share it; reading makes
no system call; what a guest writes over it stays its own.

    tests/integration/test_images.py [WORD...]

WORD picks the tests whose names contain it. HUTCH names the tool. Closes with `N passed, N failed`.
"""

import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("HUTCH_BUILD_DIR", ROOT / "build"))
HUTCH = os.environ.get("HUTCH", str(BUILD / "tools" / "hutch"))
passed = failed = 0
TESTS = []
WORK = pathlib.Path()  # a directory of our own, set by main


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


def run(*command, **how):
    """A command to its end; its output as text."""
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=300,
                          stdin=subprocess.DEVNULL, errors="replace", check=False, **how)


def must(*command, **how):
    done = run(*command, **how)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout}"
                           f"{done.stderr}")
    return done.stdout


def expect(done, status, words, what):
    """A refusal: its status, and words that stand in its one message."""
    words = [words] if isinstance(words, str) else words
    check(done.returncode == status and all(w in done.stderr for w in words)
          and done.stderr.count("hutch: ") == (1 if status else 0), what, done)


def guest():
    """tests/integration/guests/tree.c, compiled."""
    wasm = WORK / "tree.wasm"
    if not wasm.exists():
        must("clang-22", "--target=wasm32-wasi", "-Wno-deprecated", "-O1",
             ROOT / "tests/integration/guests/tree.c", "-o", wasm)
    return wasm


def hutch_run(*arguments):
    return run(HUTCH, "run", *arguments)


def make_tree(name="tree"):
    """A bit of everything that stays readable for all tools."""
    top = WORK / name
    if top.exists():
        return top
    (top / "sub" / "deep").mkdir(parents=True)
    (top / "empty").mkdir()
    (top / "many").mkdir()
    for size in (0, 1, 31, 4031, 4032, 4063, 4064, 4095, 4096, 4097, 8191, 8192, 300000):
        (top / f"size{size}").write_bytes(bytes((i * 7 + size) % 251 for i in range(size)))
    for i in range(700):
        (top / "many" / f"{i * 37 % 1009}").write_text(str(i))
    for i in range(40):
        (top / "sub" / ("x" * (200 + i))).write_text("long")
    (top / "sub" / "deep" / "ünïcode").write_text("utf-8")
    (top / "link").symlink_to("size31")
    (top / "sub" / "up").symlink_to("../size1")
    (top / "dangling").symlink_to("nowhere")
    os.chmod(top / "size31", 0o755)
    return top


def image_of(tree, name="tree.erofs", *options):
    path = WORK / name
    must(HUTCH, "image", "create", *options, tree, "-o", path)
    return path


def listing(*preopen):
    """What a guest sees beneath /t."""
    done = hutch_run(*preopen, guest(), "list", "/t")
    if done.returncode != 0:
        raise RuntimeError(f"{preopen}: {done.stdout[-300:]}{done.stderr}")
    return sorted(done.stdout.splitlines())


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def same_trees(a, b):
    """Names, types, data, targets; the first difference as words, or nothing."""
    def look(top):
        seen = {}
        for directory, names, files in os.walk(top):
            for name in names + files:
                path = pathlib.Path(directory) / name
                key = str(path.relative_to(top))
                if path.is_symlink():
                    seen[key] = "-> " + os.readlink(path)
                elif path.is_dir():
                    seen[key] = "directory"
                else:
                    seen[key] = digest(path)
        return seen
    x, y = look(a), look(b)
    return next((f"{k}: {x.get(k)}, {y.get(k)}" for k in sorted(x.keys() | y.keys())
                 if x.get(k) != y.get(k)), "")


# ---- stock tools -----------------------------------------------------------------------------

@test
def stock_tools_read_ours():
    tree = make_tree()
    image = image_of(tree)
    done = run("fsck.erofs", image)
    check(done.returncode == 0, "fsck.erofs", done)
    out = WORK / "extracted"
    done = run("fsck.erofs", f"--extract={out}", image)
    check(done.returncode == 0, "fsck.erofs --extract", done)
    difference = same_trees(tree, out)
    check(not difference, "what fsck.erofs extracts is the tree", difference)
    check(os.stat(out / "size31").st_mode & 0o111, "an executable file stays one")
    done = run("dump.erofs", "-s", image)
    inodes = re.search(r"Filesystem inode count:\s+(\d+)", done.stdout)
    count = 1 + sum(len(d) + len(f) for _, d, f in os.walk(tree))
    check(done.returncode == 0 and inodes and int(inodes[1]) == count, "dump.erofs counts inodes",
          done, count)
    for name in ("size4097", "many", "sub/deep"):
        done = run("dump.erofs", f"--path=/{name}", image)
        check(done.returncode == 0 and "NID" in done.stdout, f"dump.erofs finds {name}", done)


@test
def the_kernel_mounts_ours():
    tree, at = make_tree(), WORK / "mounted"
    image = image_of(tree)
    at.mkdir(exist_ok=True)
    done = run("mount", "-t", "erofs", "-o", "loop,ro", image, at)
    if done.returncode != 0:
        print(f"not mounted here, so not looked at: {done.stderr.strip()}")
        return
    try:
        difference = same_trees(tree, at)
        check(not difference, "what the kernel mounts is the tree", difference)
        check(os.stat(at / "size1").st_mtime == 315532800, "the time of every file: 1980")
    finally:
        must("umount", at)


@test
def ours_reads_stock_images():
    tree = make_tree()
    want = listing("--dir", f"{tree}::/t")
    check(len(want) > 700, "the tree has files", len(want))
    check(listing("--image", f"{image_of(tree)}::/t") == want, "our own image")
    variants = {"plain": [], "extended": ["-Eforce-inode-extended"],
                "compact": ["-Eforce-inode-compact", "-T1000"], "no-inline": ["-Enoinline_data"],
                "no-xattrs": ["-x-1"], "root": ["--all-root", "-T", "86400"]}
    for name, options in variants.items():
        image = WORK / f"stock-{name}.erofs"
        must("mkfs.erofs", *options, image, tree)
        done = run(HUTCH, "image", "check", image)
        check(done.returncode == 0 and "sound" in done.stdout, f"check of {name}", done)
        check(listing("--image", f"{image}::/t") == want, f"mkfs.erofs {name}")
        check(listing("--image", f"{image}::/t:rw") == want, f"mkfs.erofs {name}, writable")
    for name, options in {"compressed": ["-zlz4hc"], "chunks": ["--chunksize=4096"]}.items():
        image = WORK / f"stock-{name}.erofs"
        must("mkfs.erofs", *options, image, tree)
        # The padding flag of compression is set in images that hold nothing compressed, too: then
        # it shows when a file is read.
        expect(run(HUTCH, "image", "check", image), 1, "", f"{name} is refused")
        done = hutch_run("--image", f"{image}::/t", guest(), "list", "/t")
        check(done.returncode == 1 and ("I/O error" in done.stderr or "without" in done.stderr),
              f"{name} cannot be read", done)


@test
def hard_links_of_stock_images():
    """One file with two names, written through one of them, also where the other is open."""
    tree = WORK / "hard"
    (tree / "sub").mkdir(parents=True)
    (tree / "a").write_text("before")
    os.link(tree / "a", tree / "sub" / "b")
    image = WORK / "hard.erofs"
    must("mkfs.erofs", image, tree)
    done = hutch_run("--image", f"{image}::/t:rw", guest(), "pair", "/t/a", "/t/sub/b", "changed")
    check(done.stdout == "changed 2 2 1 1\n", "in a layer", done)
    done = hutch_run("--dir", f"{tree}::/t", guest(), "pair", "/t/a", "/t/sub/b", "changed")
    check(done.stdout == "changed 2 2 1 1\n", "and so it is on the host", done)


# ---- making ----------------------------------------------------------------------------------

@test
def the_same_bytes():
    """Of the same files, whenever and in whatever order they were written."""
    tree = make_tree()
    image, copy = image_of(tree), WORK / "copy"
    copy.mkdir()
    for path in sorted(tree.rglob("*"), reverse=True):
        to = copy / path.relative_to(tree)
        to.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            to.symlink_to(os.readlink(path))
        elif path.is_dir():
            to.mkdir(exist_ok=True)
        else:
            shutil.copy(path, to)
            os.utime(to, (1, 1))
    check(digest(image_of(copy, "copy.erofs")) == digest(image), "the same bytes")
    later = image_of(tree, "later.erofs", "--mtime", "86400")
    check(digest(later) != digest(image), "another time, other bytes")
    env = {**os.environ, "SOURCE_DATE_EPOCH": "86400"}
    must(HUTCH, "image", "create", tree, "-o", WORK / "epoch.erofs", env=env)
    check(digest(WORK / "epoch.erofs") == digest(later), "SOURCE_DATE_EPOCH")
    check(f"sha256:{digest(image)}" in must(HUTCH, "image", "create", tree, "-o", image),
          "the digest that is printed")


@test
def words_when_it_cannot():
    tree = make_tree()
    image = image_of(tree)
    text = WORK / "text"
    text.write_text("no image\n" * 1000)
    expect(run(HUTCH, "image", "check", text), 1, "no EROFS image", "a text")
    expect(run(HUTCH, "image", "check", WORK / "missing"), 1, "No such file", "nothing there")
    expect(run(HUTCH, "image", "create", tree, "-o", tree / "x"), 2, "directory itself", "into itself")
    expect(run(HUTCH, "image", "create", text, "-o", WORK / "x"), 1, "directory", "of a file")
    expect(run(HUTCH, "image", "creat", tree), 2, "did you mean 'create'", "a slip")
    expect(run(HUTCH, "image", "create", tree), 2, "-o FILE", "no output")
    expect(hutch_run("--image", f"{text}::/t", guest(), "list", "/t"), 1, "no EROFS image", "run")
    expect(hutch_run("--image", image, guest(), "list", "/t"), 2, "FILE::GUEST", "no guest path")
    expect(hutch_run("--image", f"{image}::/t:rx", guest(), "x", "y"), 2, "unknown option", "rx")
    expect(hutch_run("--image", f"{image}::/t:size=1M", guest(), "x", "y"), 2, "rw", "size alone")
    expect(hutch_run("--tmpfs", "/t:size=1", guest(), "x", "y"), 2, "16K to 32G", "a small size")
    expect(hutch_run("--tmpfs", "/t:size=x", guest(), "x", "y"), 2, "size", "no size")
    expect(hutch_run("--tmpfs", "", guest(), "x", "y"), 2, "empty", "no name")
    special = WORK / "special"
    special.mkdir()
    os.mkfifo(special / "pipe")
    expect(run(HUTCH, "image", "create", special, "-o", WORK / "x"), 1, "pipe", "a named pipe")
    check(not (WORK / "x").exists(), "nothing is left behind")
    whole = image.read_bytes()
    cut = WORK / "cut.erofs"
    for size in (0, 1, 1023, 1100, 4096, len(whole) // 2, len(whole) - 1):
        cut.write_bytes(whole[:size])
        done = hutch_run("--image", f"{cut}::/t", guest(), "list", "/t")
        check(done.returncode == 1 and done.stderr.count("hutch: ") == 1, f"cut to {size}", done)


# ---- sharing ---------------------------------------------------------------------------------

def mapped(pid, name):
    """The sums of a process's mappings of a file, from smaps: KiB by name."""
    sums, inside = {}, False
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"^[0-9a-f]+-[0-9a-f]+ ", line):
            inside = line.endswith(name)
        elif inside and (m := re.match(r"^(\w+):\s+(\d+) kB$", line)):
            sums[m[1]] = sums.get(m[1], 0) + int(m[2])
    return sums


@test
def processes_share_an_image():
    tree = WORK / "shared"
    tree.mkdir()
    (tree / "large").write_bytes(os.urandom(8 << 20))
    image = image_of(tree, "shared.erofs")
    for layer in ("", ":rw"):
        holders = [subprocess.Popen([HUTCH, "run", "--image", f"{image}::/t{layer}", str(guest()), "hold",
                                     "/t/large"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                    text=True) for _ in range(5)]
        answers = {h.stdout.readline() for h in holders}
        check(len(answers) == 1 and answers.pop().startswith("held"), "all read the same")
        for holder in holders:
            sums = mapped(holder.pid, str(image))
            check(sums.get("Shared_Clean", 0) >= 8 << 10, f"shared{layer}", sums)
            check(sum(sums.get(k, 1) for k in ("Private_Clean", "Private_Dirty", "Shared_Dirty")) == 0,
                  f"nothing private{layer}", sums)
            check(sums.get("Pss", 1 << 30) <= (8 << 10) // 5 + 64, f"a fifth of it each{layer}", sums)
        for holder in holders:
            holder.stdin.close()
            check(holder.wait(60) == 0, "ends")
            holder.stdout.close()


@test
def reading_makes_no_system_call():
    tree, image = make_tree(), image_of(make_tree())
    files = [f"/t/many/{i * 37 % 1009}" for i in range(300)] + ["/t/size300000", "/t/link"]
    calls = {}
    for name, preopen in {"image": ["--image", f"{image}::/t"], "layer": ["--image", f"{image}::/t:rw"],
                          "host": ["--dir", f"{tree}::/t"]}.items():
        log = WORK / f"strace-{name}"
        must(HUTCH, "run", *preopen, guest(), "quiet", *files)  # compiled before
        must("strace", "-f", "-o", log, HUTCH, "run", *preopen, guest(), "quiet", *files)
        lines = [line.split(maxsplit=1)[1] for line in log.read_text(errors="replace").splitlines()]
        begin = next(i for i, line in enumerate(lines) if re.match(r'writev?\(1, .*"begin', line))
        end = next(i for i, line in enumerate(lines) if re.match(r'writev?\(1, .*"end', line))
        calls[name] = lines[begin + 1:end]
    check(not calls["image"], "an image: none", calls["image"][:5])
    check(not calls["layer"], "with a layer: none", calls["layer"][:5])
    check(len(calls["host"]) >= 3 * len(files), "a directory of the host: many", len(calls["host"]))


# ---- writing over ----------------------------------------------------------------------------

@test
def a_layer_is_private():
    tree = make_tree()
    image = image_of(tree)
    before, want = digest(image), listing("--dir", f"{tree}::/t")
    for preopen in (["--image", f"{image}::/t:rw"], ["--image", f"{image}::/t:rw,size=16M"],
                    ["--tmpfs", "/t"], ["--tmpfs", "/t:size=16M,nr_inodes=1000"]):
        done = hutch_run(*preopen, guest(), "change", "/t")
        check(done.returncode == 0 and not done.stderr, f"changes {preopen}", done)
    check(digest(image) == before, "the image is as it was")
    check(listing("--image", f"{image}::/t:rw") == want, "and the next guest sees it so")
    done = hutch_run("--image", f"{image}::/t", guest(), "write", "/t/size1", "x")
    check(done.returncode == 1 and "Read-only file system" in done.stderr, "without rw", done)
    done = hutch_run("--tmpfs", "/t:size=64K", guest(), "change", "/t")
    check(done.returncode != 0, "more than there is room for", done)
    done = hutch_run("--tmpfs", "/t:nr_inodes=20", guest(), "change", "/t")
    check(done.returncode != 0, "more files than it may hold", done)
    # Changed alike on the host.
    copy = WORK / "changed"
    shutil.copytree(tree, copy, symlinks=True)
    must(HUTCH, "run", "--dir", f"{copy}::/t", guest(), "change", "/t")
    check((copy / "made" / "hard").read_text() == "4\n", "the same guest on the host")


@test
def a_layer_in_an_app():
    """A private volume with the path of a mount: each instance has the files as they were."""
    source = WORK / "cgi.c"
    source.write_text(r"""
        #include <stdio.h>
        int main(void) {
            char before[32] = "?", after[32] = "?";
            FILE *f = fopen("/app/count", "r+");
            if (f && fgets(before, sizeof before, f) && !fseek(f, 0, SEEK_SET) && fputs("after", f) >= 0) {
                fclose(f);
                f = fopen("/app/count", "r");
                if (!f || !fgets(after, sizeof after, f)) return 1;
            }
            printf("Content-Type: text/plain\r\n\r\n%s %s\n", before, after);
            return 0;
        }""")
    must("clang-22", "--target=wasm32-wasi", "-Wno-deprecated", "-O1", source, "-o", WORK / "cgi.wasm")
    files, apps, at = WORK / "app", WORK / "apps", WORK / "serve.sock"
    files.mkdir()
    apps.mkdir()
    (files / "count").write_text("start")
    (apps / "a.yaml").write_text(f"name: a\nmodule: {WORK}/cgi.wasm\ninterface: cgi\n"
                                 f"mounts: {{/app: {files}}}\n"
                                 "volumes: [{path: /app, kind: private, size: 1M}]\n")
    with open(WORK / "serve.log", "wb") as log:
        server = subprocess.Popen([HUTCH, "serve", "--listen", f"unix:{at}", "--state-dir",
                                   WORK / "state", apps], stdout=log, stderr=subprocess.STDOUT)
    try:
        answers, end = [], time.monotonic() + 120
        while len(answers) < 3 and time.monotonic() < end and server.poll() is None:
            done = run("curl", "-s", "--unix-socket", at, "http://localhost/")
            if done.returncode == 0 and done.stdout:
                answers.append(done.stdout)
            else:
                time.sleep(0.2)
        check(answers == ["start after\n"] * 3, "each instance anew", answers,
              (WORK / "serve.log").read_text(errors="replace"))
    finally:
        server.terminate()
        server.wait(30)
    check((files / "count").read_text() == "start", "and the files are as they were")


def main():
    global WORK
    for tool in ("clang-22", "mkfs.erofs", "fsck.erofs", "dump.erofs", "strace", "curl"):
        if not shutil.which(tool):
            sys.exit(f"test_images: {tool} is not here (tools/dev installs it)\n0 passed, 1 failed")
    with tempfile.TemporaryDirectory(prefix="hutch-images-") as place:
        WORK = pathlib.Path(place)
        os.environ["HUTCH_CACHE_DIR"] = str(WORK / "cache")
        for function in TESTS:
            if len(sys.argv) > 1 and not any(w in function.__name__ for w in sys.argv[1:]):
                continue
            try:
                function()
            except Exception:  # a test that cannot go on is a failure; the others run
                check(False, f"{function.__name__} ended", traceback.format_exc())
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
