#!/usr/bin/python3
"""The hutch command as people use it: options, exit statuses, messages, files, the cache.

    tests/integration/test_cli.py [WORD...]

WORD picks the tests whose names contain it. HUTCH names the tool. Closes with `N passed, N failed`.
"""

import os
import pathlib
import pty
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("HUTCH_BUILD_DIR", ROOT / "build"))
HUTCH = pathlib.Path(os.environ.get("HUTCH", BUILD / "tools" / "hutch"))
passed = failed = 0
TESTS = []
WORK = pathlib.Path()  # a directory of our own, set by main
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


def run(*arguments, stdin=b"", env=None, limits=(), cwd=None, tool=None, seconds=60, stdout=None):
    """Runs hutch; a run that takes too long is a status of its own."""
    def set_limits():
        for which, value in limits:
            resource.setrlimit(which, (value, value))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    environment = {"PATH": os.environ["PATH"], "HOME": str(WORK / "home"),
                   "HUTCH_CACHE_DIR": str(WORK / "cache"), **(env or {})}
    for name in [n for n, v in environment.items() if v is None]:
        del environment[name]
    for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS"):
        if name in os.environ:
            environment[name] = os.environ[name]
    try:
        done = subprocess.run([tool or HUTCH, *arguments], input=stdin, env=environment,
                              stdout=stdout or subprocess.PIPE, stderr=subprocess.PIPE,
                              preexec_fn=set_limits, cwd=cwd or WORK, timeout=seconds)
    except subprocess.TimeoutExpired:
        return Result("hangs", "", "")
    return Result(done.returncode, (done.stdout or b"").decode(errors="replace"),
                  done.stderr.decode(errors="replace"))


def count_messages(result):
    return len(re.findall(r"^hutch(?:-\w+)?: ", result.err, re.M))


def expect(result, status, out=None, err=None, what=""):
    """err: words that must stand in one message; out: the whole of standard output."""
    caller = traceback.extract_stack()[-2]
    what = f"{caller.name}:{caller.lineno} {what}"
    words = [err] if isinstance(err, str) else err or []
    good = (result.status == status and (out is None or result.out == out)
            and all(word in result.err for word in words))
    if err and status in (1, 2):  # printed once
        good = good and count_messages(result) == 1
    if err is None and status == 0:
        good = good and result.err == ""
    check(good, what, f"expected status {status}, stdout {out!r}, stderr {words}", result)


def wat(name, text):
    """A module in the text format to NAME.wasm."""
    path = WORK / f"{name}.wasm"
    if not path.exists():
        source = WORK / f"{name}.wat.txt"
        source.write_text(text)
        subprocess.run(["wat2wasm", "--debug-names", source, "-o", path], check=True)
    return path


def guest(name, text):
    """A C program to NAME.wasm."""
    path = WORK / f"{name}.wasm"
    if not path.exists():
        source = WORK / f"{name}.c"
        source.write_text(text)
        subprocess.run(["clang-22", "--target=wasm32-wasi", "-Wno-deprecated", "-O1", source,
                        "-o", path], check=True)
    return path


def show():
    """Shows its arguments, environment and input; exits with the number of arguments."""
    return guest("show", r"""
        #include <stdio.h>
        extern char **environ;
        int main(int argc, char **argv) {
            for (int i = 0; i < argc; i++) printf("[%s]", argv[i]);
            for (char **e = environ; e && *e; e++) printf("{%s}", *e);
            for (int c; (c = getchar()) != EOF;) putchar(c);
            putchar('\n');
            return argc - 1;
        }""")


def cat():
    """Copies files to standard output; writes argv[2] to argv[1] where that is "-w"."""
    return guest("cat", r"""
        #include <stdio.h>
        #include <string.h>
        int main(int argc, char **argv) {
            if (argc > 3 && !strcmp(argv[1], "-w")) {
                FILE *f = fopen(argv[2], "w");
                if (!f) return perror(argv[2]), 1;
                fputs(argv[3], f);
                return fclose(f) != 0;
            }
            for (int i = 1; i < argc; i++) {
                FILE *f = fopen(argv[i], "r");
                if (!f) return perror(argv[i]), 1;
                for (int c; (c = getc(f)) != EOF;) putchar(c);
                fclose(f);
            }
            return 0;
        }""")


def values():
    return wat("values", """(module
        (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add)
        (func (export "same64") (param i64) (result i64) local.get 0)
        (func (export "samef32") (param f32) (result f32) local.get 0)
        (func (export "samef64") (param f64) (result f64) local.get 0)
        (func (export "same128") (param v128) (result v128) local.get 0)
        (func (export "sameref") (param externref) (result externref) local.get 0)
        (func (export "func") (result funcref) ref.null func)
        (func (export "two") (result i32 i64) i32.const -1 i64.const 7)
        (func (export "none"))
        (func $inner unreachable)
        (func $middle call $inner)
        (func (export "trap") call $middle)
        (func (export "load") (param i32) (result i32) local.get 0 i32.load)
        (func $deep (export "deep") (param i32) (result i32)
            local.get 0 if (result i32) local.get 0 i32.const 1 i32.sub call $deep
            i32.const 1 i32.add else i32.const 0 end)
        (func (export "forever") (loop br 0))
        (func (export "grow") (param i32) (result i32) local.get 0 memory.grow)
        (memory (export "memory") 1))""")


# ---- help and usage ----

@test
def version_and_help():
    r = run("--version")
    expect(r, 0)
    check(re.fullmatch(r"hutch \d+\.\d+\.\d+ \(LLVM \d+\.\d+\.\d+, ABI [0-9a-f]{16}\)\n", r.out),
          "version", r)
    check(run("-V").out == r.out, "-V")
    overview = run("help")
    expect(overview, 0)
    for flag in ("--help", "-h"):
        check(run(flag).out == overview.out, f"help by {flag}")
    expect(run(), 2, out=overview.out)
    for command in ("run", "compile", "inspect", "snapshot", "bundle", "import", "key", "serve"):
        check(command in overview.out, f"the overview names {command}")
        text = run("help", command)
        expect(text, 0)
        check("Usage: hutch " + command in text.out and "Examples:" in text.out, command, text)
        check(run(command, "--help").out == text.out, f"{command} --help")
        check(run(command, "-h").out == text.out, f"{command} -h")
    expect(run("help", "fly"), 2, err="no command 'fly'")


@test
def usage_errors():
    wasm = str(values())
    for arguments, words in [
        (["rnu", wasm], "did you mean 'run'"),
        (["comple"], "did you mean 'compile'"),
        (["fly"], "unknown command 'fly'"),
        ([wasm], "hutch run"),
        (["--fly"], "unknown option --fly"),
        (["run"], "no module given"),
        (["compile"], "no module given"),
        (["run", "--dri", ".", wasm], "did you mean --dir?"),
        (["run", "--allow-precompild", wasm], "did you mean --allow-precompiled?"),
        (["run", "--invok=add", wasm], "did you mean --invoke?"),
        (["run", "--allow", wasm], "did you mean --allow-precompiled?"),
        (["run", "--unheard-of", wasm], "unknown option --unheard-of"),
        (["run", "-x", wasm], "unknown option -x"),
        (["run", "-hx", wasm], "unknown option -hx"),
        (["run", "-o", "x", wasm], "unknown option -o"),
        (["compile", "--dir", ".", wasm], "no option of this command"),
        (["run", "--allow-precompiled=yes", wasm], "takes no value"),
        (["run", "--dir"], "--dir needs a value: HOST[::GUEST[:ro]]"),
        (["run", "--dir", "::x", wasm], "empty"),
        (["run", "--mapdir", "here", wasm], "GUEST:HOST"),
        (["run", "--env", "=x", wasm], "name is empty"),
        (["run", "-O9", wasm], "no optimisation level"),
        (["run", "-O", "opt-level=4", wasm], "no optimisation level"),
        (["run", "--target", "pentium", wasm], "x86-64-v3"),
        (["run", "-j", "0", wasm], "1 to 1024"),
        (["run", "-j", "many", wasm], "1 to 1024"),
        (["run", "-W", "timeout", wasm], "KEY=VALUE"),
        (["run", "-W", "time-out=5s", wasm], "did you mean timeout?"),
        (["run", "-W", "max-memory-size=12q", wasm], "no size"),
        (["run", "-W", "max-memory-size=99999999999G", wasm], "no size"),
        (["run", "-W", "max-wasm-stack=1", wasm], "64K to 1G"),
        (["run", "-W", "timeout=5x", wasm], "no duration"),
        (["run", "--timeout", "-1s", wasm], "no duration"),
        (["run", "--timeout", "0", wasm], "no time"),
        (["run", "--timeout", "99999999999h", wasm], "too long"),
        (["compile", wasm, wasm], "one too many"),
        (["compile", "-o", "-", wasm], "whole or not at all"),
        (["compile", "--placement", "floating", wasm], "pinned or relocatable"),
    ]:
        r = run(*arguments)
        expect(r, 2, out="", err=words, what=" ".join(arguments))
        check("Try 'hutch help" in r.err, f"hint after {arguments}", r)


@test
def documents_agree():
    """An option that --help lists stands in the man page, the completions and docs/cli.md."""
    bash = (ROOT / "tools/completion/hutch.bash").read_text()
    zsh = (ROOT / "tools/completion/_hutch").read_text()
    page = (ROOT / "docs/cli.md").read_text()
    for command in ("run", "compile", "inspect", "image", "bundle", "import", "key", "serve"):
        man = (ROOT / f"docs/man/hutch-{command}.1").read_text().replace("\\-", "-")
        options = re.findall(r"^ {1,6}(?:-\w, )?(--[a-z-]+)", run("help", command).out, re.M)
        check(len(options) > 1, f"{command} has options", options)
        for option in options:
            for name, text in (("man", man), ("bash", bash), ("zsh", zsh)):
                check(option in text, f"{option} of {command} in {name}")
            check(option in page or option == "--help", f"{option} of {command} in docs/cli.md")


@test
def bash_completion():
    def complete(*words):
        script = ('source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _hutch; '
                  'printf "%s\\n" "${COMPREPLY[@]}"')
        done = subprocess.run(["bash", "-c", script, "bash",
                               ROOT / "tools/completion/hutch.bash", *words],
                              capture_output=True, text=True, cwd=WORK)
        return done.stdout.split()

    values()
    (WORK / "done.hutch").touch()
    check("run" in complete("hutch", "r"), "completes a command")
    check("--allow-precompiled" in complete("hutch", "run", "--a"), "completes an option")
    check("fast" in complete("hutch", "compile", "-O", ""), "completes a level")
    files = complete("hutch", "run", "")
    check("values.wasm" in files and "done.hutch" not in files, "completes modules", files)
    check("done.hutch" in complete("hutch", "inspect", ""), "completes objects")


# ---- running ----

@test
def arguments_and_status():
    wasm = show()
    expect(run("run", wasm, "one", "two"), 2, out="[show.wasm][one][two]\n")
    expect(run("run", wasm), 0, out="[show.wasm]\n")
    expect(run("run", wasm, stdin=b"input"), 0, out="[show.wasm]input\n")
    expect(run("run", "--argv0", "me", wasm), 0, out="[me]\n")
    # What follows the program is the program's.
    expect(run("run", wasm, "--dir", "-h"), 2, out="[show.wasm][--dir][-h]\n")
    expect(run("run", "--", wasm, "--", "x"), 2, out="[show.wasm][--][x]\n")
    expect(run("run", wasm, "--", "x"), 1, out="[show.wasm][x]\n")
    expect(run("run", wasm, "x", "--"), 2, out="[show.wasm][x][--]\n")
    expect(run("run", wasm, ""), 1, out="[show.wasm][]\n")
    exits = guest("exits", "#include <stdlib.h>\nint main(int c, char **v) {exit(atoi(v[1]));}")
    for status in (0, 1, 3, 126, 134, 255):
        expect(run("run", exits, str(status)), status, out="")


@test
def environment():
    wasm = show()
    env = {"SECRET": "x", "LANG": "de"}
    expect(run("run", wasm, env=env), 0, out="[show.wasm]\n")
    expect(run("run", "--env", "A=1", "--env=B=2=3", "--env", "LANG", wasm, env=env), 0,
           out="[show.wasm]{A=1}{B=2=3}{LANG=de}\n")
    expect(run("run", "--env", "A=1", "--env", "A=2", wasm), 0, out="[show.wasm]{A=2}\n")
    expect(run("run", "--env", "E=", wasm), 0, out="[show.wasm]{E=}\n")
    expect(run("run", "--env", "NOWHERE", wasm), 1, out="", err="--env NOWHERE")


@test
def directories():
    wasm = cat()
    (WORK / "d").mkdir(exist_ok=True)
    (WORK / "d" / "f").write_text("content")
    inside = str(WORK / "d")
    expect(run("run", "--dir", inside, wasm, inside + "/f"), 0, out="content")
    expect(run("run", "--dir", ".", wasm, "f", cwd=WORK / "d"), 0, out="content")
    expect(run("run", f"--dir={inside}::/data", wasm, "/data/f"), 0, out="content")
    expect(run("run", "--mapdir", f"/data:{inside}", wasm, "/data/f"), 0, out="content")
    expect(run("run", "--mapdir", f"/data::{inside}", wasm, "/data/f"), 0, out="content")
    (WORK / "e").mkdir(exist_ok=True)
    expect(run("run", "--dir", f"{inside}::/a", "--dir", f"{WORK / 'e'}::/b", wasm, "-w", "/b/n",
               "written"), 0, out="")
    check((WORK / "e" / "n").read_text() == "written", "wrote into the second directory")
    r = run("run", wasm, "/etc/passwd")
    check(r.status == 1 and "root" not in r.out, "no directory, no files", r)
    r = run("run", "--dir", inside, wasm, inside + "/../show.c")
    check(r.status == 1 and r.out == "", "no way up", r)
    expect(run("run", "--dir", "nowhere", wasm), 1, out="", err=["nowhere", "No such file"])
    expect(run("run", "--dir", inside + "/f", wasm), 1, out="", err="Not a directory")


@test
def invoke():
    wasm = values()
    for name, arguments, out in [
        ("add", ["2", "3"], "5\n"), ("add", ["-1", "0xffffffff"], "-2\n"),
        ("add", ["4294967295", "1"], "0\n"), ("add", ["-2147483648", "0"], "-2147483648\n"),
        ("same64", ["18446744073709551615"], "-1\n"), ("same64", ["-9223372036854775808"],
                                                       "-9223372036854775808\n"),
        ("samef32", ["1.5"], "1.5\n"), ("samef32", ["0.1"], "0.1\n"), ("samef32", ["1"], "1\n"),
        ("samef32", ["nan"], "NaN\n"), ("samef32", ["-inf"], "-inf\n"),
        ("samef32", ["16777216"], "16777216\n"), ("samef32", ["1e-3"], "0.001\n"),
        ("samef64", ["0.1"], "0.1\n"), ("samef64", ["-0"], "-0\n"),
        ("samef64", ["1e21"], "1000000000000000000000\n"), ("samef64", ["12.5"], "12.5\n"),
        ("samef64", ["123456.789"], "123456.789\n"), ("samef64", ["5e-324"],
                                                     "0." + "0" * 323 + "5\n"),
        ("same128", ["340282366920938463463374607431768211455"], str(2**128 - 1) + "\n"),
        ("same128", ["0x10000000000000000"], str(2**64) + "\n"),
        ("sameref", ["null"], "<null externref>\n"), ("func", [], "<null funcref>\n"),
        ("two", [], "-1\n7\n"), ("none", [], ""),
    ]:
        expect(run("run", "--invoke", name, wasm, *arguments), 0, out=out,
               what=f"{name} {arguments}")
    for name, arguments, words in [
        ("add", ["1"], ["2 arguments wanted, 1 given", "(i32, i32) -> (i32)"]),
        ("add", ["1", "2", "3"], "3 given"),
        ("none", ["1"], "0 arguments wanted, 1 given"),
        ("add", ["1", "x"], ["argument 2", "'x' is no i32"]),
        ("add", ["1", ""], "is no i32"),
        ("add", ["1", "4294967296"], "is no i32"),
        ("add", ["1", "-2147483649"], "is no i32"),
        ("add", ["1", "1.0"], "is no i32"),
        ("same128", [str(2**128)], "is no v128"),
        ("samef64", ["1.0x"], "is no f64"),
        ("sameref", ["1"], "only null"),
    ]:
        expect(run("run", "--invoke", name, wasm, *arguments), 2, out="", err=words,
               what=f"{name} {arguments}")
    expect(run("run", "--invoke", "sub", wasm, "1", "2"), 1, out="",
           err=["no exported function 'sub'", "add, same64"])
    expect(run("run", "--invoke", "memory", wasm), 1, out="", err="no exported function")
    with open("/dev/full", "w") as full:
        expect(run("run", "--invoke", "two", wasm, stdout=full), 1, err="No space left")


@test
def entry_points():
    expect(run("run", values()), 1, out="", err=["_start", "--invoke", "add, same64"])
    reactor = wat("reactor", """(module (global $g (mut i32) (i32.const 0))
        (func (export "_initialize") i32.const 42 global.set $g)
        (func (export "get") (result i32) global.get $g))""")
    expect(run("run", reactor), 0, out="")
    expect(run("run", "--invoke", "get", reactor), 0, out="42\n")
    expect(run("run", wat("starts", "(module (func $f) (start $f))")), 0, out="")
    expect(run("run", wat("start_traps", "(module (func $f unreachable) (start $f))")), 134,
           out="", err="unreachable")
    expect(run("run", wat("empty_name", '(module (func (export "") unreachable))')), 134,
           err="unreachable")
    expect(run("run", wat("bad_start", '(module (func (export "_start") (param i32)))')), 1,
           err="_start")
    expect(run("run", wat("nothing", "(module)")), 1, err="_start")


@test
def imports():
    expect(run("run", wat("missing", """(module (import "env" "helper" (func (param i32)))
        (func (export "_start")))""")), 1, out="", err=["env", "helper"])
    expect(run("run", wat("mistyped", """(module
        (import "wasi_snapshot_preview1" "fd_close" (func (param i64)))
        (func (export "_start")))""")), 1, out="", err=["fd_close"])
    expect(run("run", wat("unknown_wasi", """(module
        (import "wasi_snapshot_preview1" "fd_fly" (func))
        (func (export "_start")))""")), 1, out="", err=["fd_fly"])
    expect(run("run", wat("memory_import", """(module (import "env" "memory" (memory 1))
        (func (export "_start")))""")), 1, out="", err=["memory"])


@test
def traps():
    wasm = values()
    expect(run("run", "--invoke", "trap", wasm), 134, out="", err=["unreachable", "0x"])
    r = run("run", "-O0", "--invoke", "trap", wasm)
    expect(r, 134, out="", err=["unreachable", "inner", "middle", "0x"])
    check(r.err.find("inner") < r.err.find("middle"), "innermost frame first", r)
    expect(run("run", "--invoke", "load", wasm, "65532"), 0, out="0\n")
    expect(run("run", "--invoke", "load", wasm, "65533"), 134, out="",
           err="out of bounds memory access")
    expect(run("run", "--invoke", "deep", wasm, "1000000000"), 134, out="",
           err="call stack exhausted")
    check(count_messages(r) == 1, "one message", r)
    red = WORK / "\x1b[31mred.wasm"
    shutil.copy(wasm, red)
    r = run("run", "--invoke", "trap", red)
    check(r.status == 134 and "\x1b" not in r.err and "unreachable" in r.err, "a clean report", r)
    # Still a trap where the guest closed the standard error it is reported on.
    expect(run("run", "--invoke", "trap", wasm, stdout=open("/dev/full", "w")), 134)


@test
def limits():
    wasm = values()
    started = time.monotonic()
    for level in ("0", "2"):
        r = run("run", "-O", level, "-W", "timeout=300ms", "--invoke", "forever", wasm, seconds=20)
        expect(r, 134, out="", err="interrupt", what=f"level {level}")
    check(time.monotonic() - started < 15, "the timeout is kept")
    expect(run("run", "--timeout", "60s", "--invoke", "add", wasm, "1", "2"), 0, out="3\n")
    sleeps = guest("sleeps", "#include <unistd.h>\nint main(void) { sleep(30); return 0; }")
    started = time.monotonic()
    r = run("run", "--timeout", "0.3s", sleeps, seconds=20)
    check(r.status == 134 and time.monotonic() - started < 15, "the timeout ends a sleep", r)

    for size, pages, out in (("1M", 15, "1\n"), ("1M", 16, "-1\n"), ("65536", 1, "-1\n"),
                             ("2m", 31, "1\n"), ("1MiB", 16, "-1\n")):
        expect(run("run", "-W", f"max-memory-size={size}", "--invoke", "grow", wasm, str(pages)), 0,
               out=out, what=f"{size} {pages}")
    for size in ("65535", "0", "1"):
        expect(run("run", "-W", f"max-memory-size={size}", "--invoke", "none", wasm), 1, out="",
               err="memory")
    expect(run("run", "-W", "max-wasm-stack=64K", "--invoke", "deep", wasm, "1000000"), 134,
           err="call stack exhausted")
    expect(run("run", "-W", "max-wasm-stack=512M", "--invoke", "deep", wasm, "1000000"), 0,
           out="1000000\n")
    expect(run("run", "-Wmax-wasm-stack=64K,max-memory-size=1M", "--wasm", "timeout=9s",
               "--invoke", "add", wasm, "1", "2"), 0, out="3\n")


@test
def pipes_and_closed_files():
    writes = guest("writes", r"""
        #include <stdio.h>
        int main(void) { for (;;) if (puts("y") < 0) { fputs("told\n", stderr); return 7; } }""")
    with subprocess.Popen([HUTCH, "run", writes], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env={**os.environ, "HUTCH_CACHE_DIR": str(WORK / "cache")}) as p:
        p.stdout.readline()
        p.stdout.close()
        err = p.stderr.read()
        check(p.wait(30) == 7 and err == b"told\n", "a broken pipe is an error number", err)
    with open("/dev/full", "w") as full:
        expect(run("--version", stdout=full), 1, err="No space left")
        expect(run("help", stdout=full), 1, err="No space left")
    done = subprocess.run(["bash", "-c", '"$0" run "$1" <&- >&- 2>&-', HUTCH, show()],
                          env={**os.environ, "HUTCH_CACHE_DIR": str(WORK / "cache")})
    check(done.returncode in (0, 1), "standard files closed", done)


@test
def nothing_leaks():
    """The guest's process holds no descriptor, argument or variable it was not given."""
    wasm = show()
    run("run", wasm)
    extra = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(extra, True)
    p = subprocess.Popen([HUTCH, "run", "--dir", WORK, "--env", "TOKEN", wasm, "word"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         close_fds=False,
                         env={**os.environ, "TOKEN": "hushhush",
                              "HUTCH_CACHE_DIR": str(WORK / "cache")})
    try:
        proc = pathlib.Path("/proc") / str(p.pid)
        for _ in range(200):
            if b"hutch-tenant" in (proc / "cmdline").read_bytes():
                break
            time.sleep(0.05)
        time.sleep(0.3)
        check(b"hutch-tenant" in (proc / "cmdline").read_bytes(), "became the tenant")
        check(b"hushhush" not in (proc / "cmdline").read_bytes(), "no secrets in cmdline")
        check(b"hushhush" not in (proc / "environ").read_bytes(), "no secrets in environ")
        links = {os.readlink(f) for f in (proc / "fd").iterdir() if int(f.name) > 2}
        check(not any("null" in link or link.endswith(".wasm") for link in links)
              and len(links) <= 2, "only the object and the directory are open", links)
        for line in (proc / "maps").read_text().splitlines():
            check("wx" not in line.split()[1], "no mapping is writable and executable", line)
    finally:
        os.close(extra)
        out, err = p.communicate(b"", timeout=30)
    check(out == b"[show.wasm][word]{TOKEN=hushhush}\n", "the guest has it", out, err)


@test
def tenant_is_small():
    tenant = HUTCH.parent / "hutch-tenant"
    needed = subprocess.run(["readelf", "-dW", tenant], capture_output=True, text=True).stdout
    libraries = re.findall(r"NEEDED.*\[(.*)\]", needed)
    check("Dynamic section" in needed, "the tenant is position-independent", needed)
    check(not libraries or any("san" in library for library in libraries),
          "the tenant is one file, but for a build with sanitizers", needed)
    for library in libraries:
        check(re.match(r"(libc|libm|ld-linux[-\w]*|libasan|libubsan)\.so", library),
              f"the tenant needs {library}")
    symbols = subprocess.run(["nm", tenant], capture_output=True, text=True).stdout
    check(len(symbols) > 1000, "symbols can be read")
    for word in ("LLVM", "elf_", "mdb_", "evhttp", "MHD_", "SSL_", "EVP_", "SHA256", "json_",
                 "ZSTD_", "archive_entry", "compile_module", "module_decode"):
        found = [s for s in symbols.split() if s.startswith(word)]
        check(not found, f"the tenant contains {word}", found)
    needed = subprocess.run(["readelf", "-dW", HUTCH], capture_output=True, text=True).stdout
    check("LLVM" not in needed, "hutch does not load LLVM", needed)
    needed = subprocess.run(["readelf", "-dW", HUTCH.parent / "hutch-compiler"],
                            capture_output=True, text=True).stdout
    check("LLVM" in needed, "hutch-compiler does", needed)
    for program in ("hutch-tenant", "hutch-compiler"):
        expect(run(tool=HUTCH.parent / program), 2, err="a part of hutch")
    expect(run("9", "x", tool=tenant), 1, err="configuration")


# ---- compiling ----

@test
def compile_files():
    place = WORK / "compile"
    place.mkdir()
    wasm = values()
    expect(run("compile", wasm, cwd=place), 0, out="")
    made = place / "values.hutch"
    check(made.read_bytes()[:4] == b"\x7fELF", "an ELF file")
    check(stat.S_IMODE(made.stat().st_mode) == 0o644, "mode 0644", oct(made.stat().st_mode))
    first = made.read_bytes()
    for arguments in (["-j1"], ["-j", "3"], ["--jobs=2", "-O2"], ["-O", "opt-level=2"],
                      ["--optimize", "2", "--target", "native"]):
        expect(run("compile", "--no-cache", *arguments, wasm, "-o", "again", cwd=place), 0)
        check((place / "again").read_bytes() == first, f"the same bytes with {arguments}")
    for arguments in (["-O0"], ["-O", "fast"], ["--target", "x86-64-v2"],
                      ["--placement", "relocatable"]):
        expect(run("compile", wasm, *arguments, "--output=other", cwd=place), 0)
        check((place / "other").read_bytes() != first, f"other bytes with {arguments}")
        expect(run("run", "--allow-precompiled", "--invoke", "add", "other", "2", "3", cwd=place),
               0, out="5\n", what=str(arguments))
    shutil.copy(wasm, place / "bare")
    expect(run("compile", "bare", cwd=place), 0)
    check((place / "bare.hutch").read_bytes() == first, "NAME.hutch for NAME")
    (place / "-odd.wasm").write_bytes(wasm.read_bytes())
    expect(run("compile", "--", "-odd.wasm", cwd=place), 0)
    check((place / "-odd.hutch").exists(), "a name that begins with -")
    check(not list(place.glob(".hutch-tmp*")), "no temporary files left")


@test
def compile_refuses_outputs():
    wasm = values()
    place = WORK / "outputs"
    place.mkdir()
    before = wasm.read_bytes()
    for output, words in [("/dev/null", "no regular file"), (str(place), "directory"),
                          (str(wasm), "replace the module"),
                          (str(place / "no" / "x"), "No such file")]:
        r = run("compile", "-o", output, wasm)
        check(r.status in (1, 2) and words in r.err, f"-o {output}", r)
    check(stat.S_ISCHR(os.stat("/dev/null").st_mode), "/dev/null is still there")
    check(wasm.read_bytes() == before, "the module is still there")
    (place / "x.hutch").write_text("old")
    invalid = WORK / "invalid.wasm"
    invalid.write_bytes(b"\0asm\1\0\0\0\1")
    expect(run("compile", "-o", place / "x.hutch", invalid), 1, err="0x")
    check((place / "x.hutch").read_text() == "old", "a failure leaves the old file")
    # A full disk: the file size limit stops the write, the old file stays.
    r = run("compile", "-o", place / "x.hutch", wasm, limits=[(resource.RLIMIT_FSIZE, 4096)])
    check(r.status == 1 and count_messages(r) == 1, "file size limit", r)
    check((place / "x.hutch").read_text() == "old", "the old file stays")
    check(not list(place.glob(".hutch-tmp*")), "no temporary file", list(place.iterdir()))


@test
def full_disk():
    mount = WORK / "small"
    mount.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", mount],
                          capture_output=True)
    if done.returncode != 0:
        print("full_disk: not root, or no mounts here: left out")
        return
    try:
        expect(run("compile", "-o", mount / "x.hutch", show()), 1, out="",
               err=["No space left", "x.hutch"])
        check(not list(mount.iterdir()), "nothing is left", list(mount.iterdir()))
        r = run("run", show(), env={"HUTCH_CACHE_DIR": str(mount / "cache")})
        expect(r, 0, out="[show.wasm]\n", err=["note: ", "not kept", "No space left"])
        left = [p for d in ("objects", "tmp") for p in (mount / "cache" / d).rglob("*")]
        check(not left, "no entry and nothing half-written in the cache", left)
    finally:
        subprocess.run(["umount", mount], check=True)


@test
def bad_modules():
    def file(name, content):
        path = WORK / name
        path.write_bytes(content)
        return path

    good = values().read_bytes()
    sparse = file("sparse.wasm", b"")
    os.truncate(sparse, 3 << 30)
    for path, words in [
        (WORK / "nowhere.wasm", "No such file"),
        (WORK, "Is a directory"),
        (file("empty.wasm", b""), "empty"),
        (file("garbage.wasm", b"GARBAGE!" * 10), "0x0"),
        (file("short.wasm", b"\0as"), "0x"),
        (file("version.wasm", b"\0asm\2\0\0\0"), "version"),
        (file("component.wasm", b"\0asm\x0d\0\1\0"), "component"),
        (file("text.wasm", b";; comment\n  (module)"), "wat2wasm"),
        (file("text.wat", b"(module)"), "wat2wasm"),
        (file("odd.wat", b"module"), "wat2wasm"),
        (file("cut.wasm", good[:len(good) // 2]), "0x"),
        (file("locals.wasm", b"\0asm\1\0\0\0\1\4\1\x60\0\0\3\2\1\0\x0a\x0a\1\x08\1"
              b"\xff\xff\xff\xff\x0f\x7f\x0b"), ["local", "0x"]),
        (file("type_error.wasm", wat("t", "(module (func (export \"f\") nop nop))").read_bytes()
              .replace(b"\x01\x01\x0b", b"\x01\x6a\x0b")), ["type", "0x"]),
        (sparse, "larger than"),
    ]:
        for command in ("run", "compile"):
            expect(run(command, path, cwd=WORK), 1, out="", err=words, what=f"{command} {path}")
    expect(run("compile", file("native.wasm", b"\x7fELF" + bytes(100))), 1, err="native code")
    if os.getuid() != 0:
        unreadable = file("unreadable.wasm", good)
        unreadable.chmod(0)
        expect(run("run", unreadable), 1, err="Permission denied")
    check(not list(WORK.glob("*.hutch")) or not (WORK / "cut.hutch").exists(), "no object is left")
    escape = file("\x1b[31mred.wasm", b"GARBAGE!")
    r = run("run", escape)
    check(r.status == 1 and "\x1b" not in r.err, "control bytes do not reach the terminal", r)


@test
def compiler_dies():
    """Whatever kills the compiler becomes one message, and the cache stays as it was."""
    place = WORK / "dies"
    place.mkdir()
    for program in ("hutch", "hutch-tenant"):
        shutil.copy(HUTCH.parent / program, place / program)
    compiler, cache = place / "hutch-compiler", place / "cache"
    env = {"HUTCH_CACHE_DIR": str(cache)}
    wasm = values()
    expect(run("run", "--invoke", "none", wasm, tool=place / "hutch", env=env), 1,
           err="hutch-compiler is neither beside hutch nor in")
    for script, words in [
        ("kill -9 $$", "out of memory?"),
        ("kill -SEGV $$", ["the compiler failed", "Segmentation fault"]),
        ("echo 'LLVM ERROR: Cannot select' >&2; echo more >&2; kill -ABRT $$",
         ["the compiler failed", "LLVM ERROR: Cannot select"]),
        ("echo 'LLVM ERROR: out of memory' >&2; exit 1", "out of memory"),
        ("echo \"terminate called after throwing an instance of 'std::bad_alloc'\" >&2; exit 1",
         "out of memory"),
        ("exit 1", "the compiler failed"),
        ("printf 'E 2 0 255\\tfunction 3: no such thing\\n' >&5; exit 1",
         "function 3: no such thing at 0xff"),
        ("printf 'E 999999999999 x' >&5; exit 1", "the compiler failed"),
        ("printf 'P a\\tb' >&5; exit 1", "the compiler failed"),
        ("head -c 200000 /dev/zero >&5; exit 1", "the compiler"),
        ("exit 0", ["what the compiler made is not sound", "code object"]),
        ("echo rubbish >&4; exit 0", "what the compiler made is not sound"),
    ]:
        compiler.write_text(f"#!/bin/bash\n{script}\n")
        compiler.chmod(0o755)
        r = run("run", "--invoke", "none", wasm, tool=place / "hutch", env=env)
        expect(r, 1, out="", err=words, what=script)
        r = run("compile", "-o", place / "x", wasm, tool=place / "hutch", env=env)
        expect(r, 1, out="", err=words, what=script)
        check(not (place / "x").exists(), f"no file after {script}")
    check(not list((cache / "objects").iterdir()), "nothing in the cache", list(cache.rglob("*")))


@test
def compiler_is_sealed():
    """The compiler gives up its rights before it sees the module; tests/unit/test_compiler_seal.c
    says which."""
    log = WORK / "seal.log"
    r = subprocess.run(["strace", "-f", "-qq", "-e", "trace=seccomp,mmap", "-y", "-o", log, HUTCH,
                        "compile", "--no-cache", "-o", WORK / "sealed.hutch", values()],
                       capture_output=True)
    calls = log.read_text()
    seal = re.search(r"seccomp\(SECCOMP_SET_MODE_FILTER, .*\) = 0\n", calls)
    check(r.returncode == 0 and seal and seal.start() < calls.find("hutch-module"),
          "a filter, and then the module", r.stderr, calls[-2000:])


@test
def progress_line():
    place = WORK / "slow"
    place.mkdir()
    for program in ("hutch", "hutch-tenant"):
        shutil.copy(HUTCH.parent / program, place / program)
    compiler = place / "hutch-compiler"
    compiler.write_text("#!/bin/bash\nprintf 'P optimise\\t12 345\\n' >&5; sleep 1.2\n"
                        "printf 'E 2 0 -\\tboom\\n' >&5; exit 1\n")
    compiler.chmod(0o755)
    main, side = pty.openpty()
    p = subprocess.Popen([place / "hutch", "compile", "--no-cache", values()], stdin=subprocess.DEVNULL,
                         stdout=subprocess.DEVNULL, stderr=side, cwd=place)
    os.close(side)
    text = b""
    while True:
        try:
            more = os.read(main, 4096)
        except OSError:
            break
        if not more:
            break
        text += more
    os.close(main)
    check(p.wait(20) == 1, "status")
    check(b"values.wasm: optimise 12/345 functions, 0." in text, "the line", text)
    last = text.rsplit(b"\x1b[K", 1)[-1]
    check(last.startswith(b"hutch: compile ") and b"boom" in last, "cleared at the end", text)
    r = run("compile", "--no-cache", values(), tool=place / "hutch", cwd=place)
    check("optimise" not in r.err, "no line where there is no terminal", r)


@test
def address_space():
    """`ulimit -v`: what cannot be reserved is said, not died of."""
    wasm = values()
    run("run", "--invoke", "none", wasm)
    r = run("run", "--invoke", "none", wasm, limits=[(resource.RLIMIT_AS, 1024 * MIB)])
    expect(r, 1, out="", err="memory")
    for mib in (30, 100, 160, 250):
        r = run("compile", "-o", WORK / "as.hutch", wasm, limits=[(resource.RLIMIT_AS, mib * MIB)])
        check(r.status in (0, 1) and (r.status == 0 or count_messages(r) == 1),
              f"compile in {mib} MiB", r)
    r = run("run", "--invoke", "none", wasm, limits=[(resource.RLIMIT_AS, 8 * MIB)])
    check(r.status in (1, 127), "run in 8 MiB", r)
    expect(run("run", show(), limits=[(resource.RLIMIT_NOFILE, 4)]), 1)


# ---- the cache and precompiled objects ----

@test
def cache_use():
    cache = WORK / "cache2"
    env = {"HUTCH_CACHE_DIR": str(cache)}
    wasm = values()

    def add(*options, **more):
        return run("run", *options, "--invoke", "add", wasm, "2", "3", env=env, **more)

    expect(add(), 0, out="5\n")
    objects = list((cache / "objects").iterdir())
    check(len(objects) == 1 and re.fullmatch(r"[0-9a-f]{64}", objects[0].name),
          "one object", objects)
    entry = objects[0]
    check(stat.S_IMODE(entry.stat().st_mode) == 0o444, "mode 0444")
    check(stat.S_IMODE((cache / "objects").stat().st_mode) == 0o700, "the directory is ours")
    first = entry.stat()
    expect(add(), 0, out="5\n")
    check(entry.stat().st_ino == first.st_ino, "the second run uses it")
    # Other options, other objects; the number of threads is none.
    expect(add("-j1"), 0, out="5\n")
    check(len(list((cache / "objects").iterdir())) == 1, "-j makes no other object")
    expect(add("-O0"), 0, out="5\n")
    expect(add("--target", "x86-64-v2"), 0, out="5\n")
    check(len(list((cache / "objects").iterdir())) == 3, "three objects")

    good = entry.read_bytes()

    def spoil(what, mutate):
        entry.unlink()
        mutate()
        expect(add(), 0, out="5\n", what=what)
        check(entry.is_file() and not entry.is_symlink() and entry.read_bytes() == good
              and stat.S_IMODE(entry.stat().st_mode) == 0o444, f"replaced: {what}")

    def damaged():
        entry.write_bytes(good[:-100] + bytes(100))
        entry.chmod(0o444)

    def writable():
        entry.write_bytes(good)
        entry.chmod(0o666)

    spoil("cut short", lambda: entry.write_bytes(good[:len(good) // 2]))
    spoil("empty", lambda: entry.touch())
    spoil("another byte", damaged)
    spoil("writable by others", writable)
    spoil("a symbolic link", lambda: entry.symlink_to(WORK / "cache" / "objects" / entry.name))
    spoil("a pipe", lambda: os.mkfifo(entry))
    others = [p for p in (cache / "objects").iterdir() if p != entry]
    spoil("the object of other options", lambda: shutil.copy(others[0], entry))
    wrong = wat("wrong", "(module (func (export \"add\") (param i32 i32) (result i32) i32.const 9))")
    run("run", "--invoke", "add", wrong, "2", "3", env=env)
    theirs = next(p for p in (cache / "objects").iterdir()
                  if p != entry and p not in others)
    spoil("another module's object", lambda: shutil.copy(theirs, entry))

    # A cache that everyone can write to is not used.
    (cache / "objects").chmod(0o777)
    theirs = b"anything"
    entry.unlink()
    entry.write_bytes(theirs)
    expect(add(), 0, out="5\n", err=["note: ", "others can write to", "mode 0777"])
    check(entry.read_bytes() == theirs, "a directory open to all is left alone")
    (cache / "objects").chmod(0o700)


@test
def cache_places():
    wasm = values()

    def add(**env):
        env = {"HUTCH_CACHE_DIR": None, "HOME": None, **env}
        return run("run", "--invoke", "add", wasm, "2", "3", env=env)

    for env, place in [
        ({"HUTCH_CACHE_DIR": str(WORK / "p1" / "deep")}, WORK / "p1" / "deep"),
        ({"XDG_CACHE_HOME": str(WORK / "p2")}, WORK / "p2" / "hutch"),
        ({"HOME": str(WORK / "p3")}, WORK / "p3" / ".cache" / "hutch"),
        ({"XDG_CACHE_HOME": "relative", "HOME": str(WORK / "p4")}, WORK / "p4/.cache/hutch"),
    ]:
        expect(add(**env), 0, out="5\n")
        check(len(list((place / "objects").iterdir())) == 1, f"kept in {place}")
    expect(add(), 0, out="5\n", err=["note:", "HOME"])
    (WORK / "file").touch()
    expect(add(HUTCH_CACHE_DIR=str(WORK / "file")), 0, out="5\n", err=["note:", "not kept"])
    expect(add(HUTCH_CACHE_DIR="/" + "x" * 5000), 0, out="5\n", err=["note:", "too long"])


@test
def run_without_compiler():
    place = WORK / "bare"
    place.mkdir()
    for program in ("hutch", "hutch-tenant"):
        shutil.copy(HUTCH.parent / program, place / program)
    env = {"HUTCH_CACHE_DIR": str(WORK / "cache3")}
    run("run", show(), env=env)
    expect(run("run", show(), "x", env=env, tool=place / "hutch"), 1, out="[show.wasm][x]\n")
    (place / "hutch-tenant").unlink()
    expect(run("run", show(), env=env, tool=place / "hutch"), 1, err="hutch-tenant is neither")


@test
def precompiled():
    place = WORK / "pre"
    place.mkdir()
    wasm = show()
    expect(run("compile", wasm, "-o", place / "show.hutch"), 0)
    made = place / "show.hutch"
    good = made.read_bytes()
    expect(run("run", made), 1, out="", err="--allow-precompiled")
    expect(run("run", "--allow-precompiled", made, "a"), 1, out="[show.hutch][a]\n")
    expect(run("run", "--allow-precompiled", wasm, "a"), 1, out="[show.wasm][a]\n")
    shutil.copy(made, place / "x.wasm")
    expect(run("run", place / "x.wasm"), 1, out="", err="--allow-precompiled")

    def refused(what, content, words):
        (place / "bad.hutch").write_bytes(content)
        expect(run("run", "--allow-precompiled", place / "bad.hutch"), 1, out="", err=words,
               what=what)

    middle = len(good) // 2
    refused("a byte changed", good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1:], "hutch")
    refused("cut short", good[:middle], "hutch")
    refused("the head only", good[:64], "hutch")
    refused("another ELF file", pathlib.Path("/bin/true").read_bytes(), "hutch")
    compat = good.index(b"HUTCHOBJ")
    for at, value, words in [(0, b"X", "magic"), (8, b"\x63", "version"), (12, b"\xb7", ""),
                             (16, bytes([good[compat + 16] ^ 0xff]), "ABI")]:
        refused(f"compat byte {at}", good[:compat + at] + value + good[compat + at + 1:], words)


@test
def inspect_command():
    made = WORK / "inspect.hutch"
    expect(run("compile", values(), "-o", made), 0)
    r = run("inspect", made)
    expect(r, 0)
    check("add" in r.out, "exports are shown", r)
    r = run("inspect", "--json", made)
    expect(r, 0)
    import json
    check(isinstance(json.loads(r.out), dict), "JSON", r)
    check(run("inspect", WORK / "nowhere").status == 1, "a missing file")
    check(run("inspect", "--fly", made).status == 2, "a wrong option")


@test
def signals():
    """Ctrl-C and kill reach the guest's process; nothing is left behind."""
    values()
    run("run", "--invoke", "none", values())
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        p = subprocess.Popen([HUTCH, "run", "--invoke", "forever", values()],
                             env={**os.environ, "HUTCH_CACHE_DIR": str(WORK / "cache")})
        time.sleep(0.5)
        p.send_signal(number)
        check(p.wait(10) == -number, f"ended by {number}", p.returncode)
    # A compiler goes with the hutch that started it.
    place = WORK / "orphan"
    place.mkdir()
    shutil.copy(HUTCH, place / "hutch")
    (place / "hutch-compiler").write_text(f"#!/bin/bash\necho $$ > {place}/pid\nexec sleep 60\n")
    (place / "hutch-compiler").chmod(0o755)
    p = subprocess.Popen([place / "hutch", "compile", "--no-cache", values()], cwd=place)
    for _ in range(100):
        if (place / "pid").exists() and (place / "pid").read_text().strip():
            break
        time.sleep(0.05)
    child = int((place / "pid").read_text())
    p.kill()
    p.wait(10)
    gone = False
    for _ in range(100):
        try:
            state = pathlib.Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            state = "Z"
        gone = state == "Z"
        if gone:
            break
        time.sleep(0.05)
    check(gone, "the compiler is gone too")


def main():
    global WORK
    for tool in ("wat2wasm", "clang-22", "readelf", "nm"):
        if not shutil.which(tool):
            sys.exit(f"test_cli: {tool} is not here (tools/dev installs it)\n0 passed, 1 failed")
    with tempfile.TemporaryDirectory(prefix="hutch-cli-") as place:
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
