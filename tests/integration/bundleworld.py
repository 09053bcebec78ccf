"""What the tests of bundles share: a directory of their own, hutch with a store and a trust
directory there, keys and bundles made once, and what a refusal looks like.
"""

import atexit
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import traceback

from bundlelib import Bundle

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("HUTCH_BUILD_DIR", ROOT / "build")).resolve()
HUTCH = pathlib.Path(os.environ.get("HUTCH", BUILD / "tools" / "hutch")).resolve()
WORK = pathlib.Path(tempfile.mkdtemp(prefix="hutch-bundle-"))
atexit.register(shutil.rmtree, WORK, ignore_errors=True)
(WORK / "home").mkdir()
TESTS = []
counts = {True: 0, False: 0}
MIB = 1 << 20


def test(function):
    TESTS.append(function)
    return function


def check(condition, what, *details):
    counts[bool(condition)] += 1
    if condition:
        return
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


def main():
    for tool in ("clang-22", "openssl", "zstd", "skopeo", "docker-registry"):
        if not shutil.which(tool):
            sys.exit(f"test_bundle: {tool} is not here (tools/dev installs it)\n0 passed, 1 failed")
    os.umask(0o022)
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
    print(f"{counts[True]} passed, {counts[False]} failed")
    return 1 if counts[False] else 0
