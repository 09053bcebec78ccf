#!/usr/bin/python3
"""Snapshots from end to end: made, resumed in other processes, refused, reset between requests.

    tests/integration/test_snapshots.py [NAME...]

HUTCH names the hutch to test.
"""

import contextlib
import json
import os
import pathlib
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("HUTCH_BUILD_DIR", ROOT / "build"))
HUTCH = os.environ.get("HUTCH", str(BUILD / "tools" / "hutch"))
WORK = pathlib.Path(tempfile.mkdtemp(prefix="hutch-snapshots-"))
ENV = dict(os.environ, HUTCH_CACHE_DIR=str(WORK / "cache"))
passed = failed = 0
TESTS = []


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
        print("     " + str(detail)[-2000:].replace("\n", "\n     "), flush=True)


class Result:
    def __init__(self, done):
        self.status = done.returncode
        self.out = done.stdout.decode(errors="replace")
        self.err = done.stderr.decode(errors="replace")

    def __str__(self):
        return f"status {self.status}\n{self.out}{self.err}"


def run(*arguments, limits=None, seconds=120):
    return Result(subprocess.run([HUTCH, *map(str, arguments)], env=ENV, capture_output=True,
                                 timeout=seconds, stdin=subprocess.DEVNULL, preexec_fn=limits,
                                 cwd=WORK))


def expect(result, status, out=None, err=None, what=""):
    good = (result.status == status and (out is None or re.search(out, result.out)) and
            (err is None or re.search(err, result.err)))
    check(good, f"{what or 'a run'}: status {status}, out {out!r}, err {err!r}", result)
    return result


def guest(name, *flags):
    path = WORK / f"{name}.wasm"
    source = "frozen_cgi.c" if name == "frozen_cgi" else "frozen.c"
    if not path.exists():
        subprocess.run(["clang-22", "--target=wasm32-wasi", "-Wno-deprecated", "-msimd128", "-O2",
                        *flags, ROOT / "tests/integration/guests" / source, "-o", path], check=True)
    return path


class Server:
    """`hutch run --listen` of something; answers one request a connection."""

    counter = 0

    def __init__(self, *arguments, limits=None):
        Server.counter += 1
        self.path = f"{WORK}/s{Server.counter}"
        self.process = subprocess.Popen(
            [HUTCH, "run", "--listen", f"unix:{self.path}", *map(str, arguments)], env=ENV,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=limits, cwd=WORK)

    def get(self, target="/", seconds=20):
        end = time.monotonic() + seconds
        while True:
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(seconds)
                try:
                    s.connect(self.path)
                except OSError:
                    if time.monotonic() > end or self.process.poll() is not None:
                        return None
                    time.sleep(0.01)
                    continue
                answer = b""
                with contextlib.suppress(OSError):
                    s.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                    while more := s.recv(65536):
                        answer += more
                return answer.partition(b"\r\n\r\n")[2].decode()

    def stop(self):
        self.process.kill()
        return self.ended()

    def ended(self):
        out, err = self.process.communicate(timeout=20)
        done = subprocess.CompletedProcess([], self.process.returncode, out, err)
        return Result(done)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.stop()


def snapshot(name="frozen", *more):
    """A snapshot of that guest, in a file and in the store."""
    path = WORK / f"{name}.snap"
    if not path.exists():
        expect(run("snapshot", "create", "--name", name, "-o", path, *more, guest("frozen")), 0,
               err="trial request: HTTP/1.1 200 OK", what=f"snapshot create {name}")
    return path


# ---- the way there and back ----

@test
def resumed_in_the_middle():
    """50 frames deep, floats and vectors live: the result is that of a run from the beginning."""
    with Server(guest("frozen")) as cold:
        check(cold.get() == "1" and cold.get() == "2", "a run from the beginning answers")
        deep = cold.get("/deep")
        cold.get("/exit")
        result = re.search(r"result (\S+)", cold.ended().out)
    path = snapshot()
    layouts = set()
    for i in range(3):
        with Server("--snapshot", "frozen") as server:
            check(server.get() == "1", "resumed by name")
            maps = pathlib.Path(f"/proc/{server.process.pid}/maps").read_text()
            layouts.add(re.search(r"^(\S+)-\S+ .*hutch-tenant$", maps, re.M)[1])
            check(server.get("/deep") == deep, "what was live in the innermost frame")
            server.get("/exit")
            ended = server.ended()
            check(ended.status == 7 and result and result[0] in ended.out and
                  "starting" not in ended.out, "what was live in the outer frames", ended, result)
    check(len(layouts) > 1 or "0\n" == pathlib.Path(
        "/proc/sys/kernel/randomize_va_space").read_text(), "at other addresses of the host", layouts)
    with Server("--snapshot", path, guest("frozen")) as server:
        check(server.get() == "1", "resumed by its file")


@test
def no_host_address():
    """Not a word of stack or instance block looks like an address of the host."""
    data = snapshot().read_bytes()
    runs, = struct.unpack_from("<I", data, 192)
    seen = 0
    for i in range(runs):
        address, offset, size = struct.unpack_from("<QQQ", data, 256 + 24 * i)
        if address == 0x3f000000 or 0x3c0000000 <= address < 0x400000000:
            seen += 1
            words = struct.unpack_from(f"<{size // 8}Q", data, offset)
            bad = [hex(w) for w in words if w >> 40 in (0x55, 0x56, 0x7f)]
            check(not bad, f"the run at {address:#x}", bad[:10])
    check(seen == 2, "block and stack were looked at")


@test
def warm_ups():
    """Requests sent before count; the trial does not."""
    (WORK / "get.txt").write_bytes(b"GET /warm HTTP/1.1\r\n\r\n")
    expect(run("snapshot", "create", "-o", WORK / "warm.snap", "--request", WORK / "get.txt",
               "--request", WORK / "get.txt", guest("frozen")), 0,
           err=r"(?s)warm-up request 1: .*warm-up request 2: .*trial request: ")
    with Server("--snapshot", WORK / "warm.snap", guest("frozen")) as server:
        check(server.get() == "3", "goes on counting")
    facts = json.loads(run("snapshot", "inspect", "--json", WORK / "warm.snap").out)
    check(facts["warm_ranges"] > 0 and facts["stored_bytes"] < facts["file_bytes"], "the facts",
          facts)


@test
def afterwards():
    """Traps, backtraces, limits and time-outs hold after a resume too."""
    snapshot()
    with Server("--snapshot", "frozen") as server:
        server.get("/trap")
        ended = server.ended()
        check(ended.status == 134 and "unreachable" in ended.err and "<deep>" in ended.err and
              "_start" in ended.err, "a trap after a resume", ended)
    with Server("--snapshot", "frozen", "--timeout", "300ms") as server:
        server.get("/spin")
        ended = server.ended()
        check(ended.status == 134 and "interrupt" in ended.err, "a time-out", ended)
    with Server("--snapshot", "frozen", "-W", "max-memory-size=512K") as server:
        check(server.get("/grow") == str(2**32 - 1), "the limit of memory is that of now")


@test
def tokens_differ():
    snapshot()
    seen = []
    for _ in range(4):
        with Server("--snapshot", "frozen", "--reset") as server:
            seen += [server.get("/token").split() for _ in range(3)]
    check(len({s[0] for s in seen}) == 12, "random bytes", seen)
    check(len({s[1] for s in seen}) == 12 and "0" not in {s[1] for s in seen}, "generations", seen)
    now = time.time()
    check(all(abs(int(s[2]) - now) < 60 for s in seen), "the clock", seen)
    with Server(guest("frozen")) as cold:
        check(cold.get("/token").split()[1] == "0", "no generation before a resume")


# ---- reset ----

def find_in_process(pid, secret):
    """Where in all of a process's memory these bytes are."""
    found = []
    maps = pathlib.Path(f"/proc/{pid}/maps").read_text()
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps.splitlines():
            span, rights = line.split()[:2]
            start, end = (int(x, 16) for x in span.split("-"))
            if rights[0] != "r" or "[v" in line:
                continue
            while start < end:
                size = min(end - start, 1 << 24)
                try:
                    memory.seek(start)
                    data = memory.read(size)
                except OSError:
                    data = b""
                if secret in data:
                    found.append(line)
                start += size
    return found


@test
def nothing_is_left():
    snapshot()
    secret = "s3cr3t" + os.urandom(12).hex()
    expect(run("snapshot", "create", "--name", "files-in-memory", "--tmpfs", "/tmp", guest("frozen")), 0)
    with Server("--snapshot", "files-in-memory", "--reset", "--tmpfs", "/tmp") as server:
        check(server.get(f"/plant?{secret}") == "planted" and server.get("/left") == "0 0", "in files too")
        found = find_in_process(server.process.pid, secret.encode())
        check(not found, "nothing is left in the files' region", found)
    with Server("--snapshot", "files-in-memory", "--tmpfs", "/tmp") as server:
        server.get(f"/plant?{secret}")
        check(server.get("/left") == "1 1", "without reset the files are there")
    with Server("--snapshot", "frozen", "--reset") as server:
        size = server.get("/size")
        check(server.get(f"/plant?{secret}") == "planted", "planted")
        check(server.get() == "1" and server.get() == "1", "each request is the first one")
        check(not find_in_process(server.process.pid, secret.encode()),
              "the secret is nowhere", find_in_process(server.process.pid, secret.encode()))
        check(server.get("/grow") == size and server.get("/size") == size, "memory shrinks again")
    with Server("--snapshot", "frozen") as server:
        server.get(f"/plant?{secret}")
        check(server.get() == "2", "without reset it is the second")
        check(find_in_process(server.process.pid, secret.encode()), "and the search finds it")


@test
def all_state_comes_back():
    """Globals, tables, segments and the size of memory, also in tables outside of the instance block."""
    wasm = WORK / "state.wasm"
    subprocess.run(["wat2wasm", ROOT / "tests/integration/guests/state.wat", "-o", wasm], check=True)
    expect(run("snapshot", "create", "--name", "state", wasm), 0)
    with Server("--snapshot", "state", "--reset") as server:
        got = [server.get(path) for path in ("/see", "/q", "/see", "/p", "/q", "/see")]
        check(got[0] == "bcaebbbcd" and set(got) == {got[0]}, "each request sees the snapshot", got)
    with Server("--snapshot", "state") as server:
        got = [server.get(path) for path in ("/see", "/p", "/see")]
        check(got[0] == got[1] and all(a != b for a, b in zip(got[0][:8], got[2])), "without reset all differ", got)
    with Server("--snapshot", "state", "--reset") as server:
        for _ in range(3):
            server.get("/q")
            server.get("/see")  # once it answers, the one before is over
            found = [n for n in find_in_process(server.process.pid, b"\xff\xff\xff\xff" + bytes(60))
                     if n.startswith("4")]
            check(not found, "what lay in memory that had grown", found)


@test
def descriptors_come_back():
    (WORK / "dir").mkdir(exist_ok=True)
    (WORK / "dir/file").write_text("x")
    expect(run("snapshot", "create", "--name", "files", "--dir", "dir", guest("frozen")), 0)
    with Server("--snapshot", "files", "--reset", "--dir", "dir") as server:
        first = server.get("/open")
        links = len(os.listdir(f"/proc/{server.process.pid}/fd"))
        check(first not in (None, "-1") and all(server.get("/open") == first for _ in range(5)),
              "a file left open is closed", first)
        server.get()
        check(len(os.listdir(f"/proc/{server.process.pid}/fd")) <= links, "also in the host")


# ---- refused ----

@test
def refused_and_started_instead():
    path = snapshot()
    cases = (
        ((guest("frozen"), "other"), "argument other"),
        (("--env", "A=1", guest("frozen")), "environment A ("),
        (("-O0", guest("frozen")), "another code object"),
        ((guest("other", "-DOTHER", "-O1"),), "another module"),
        (("--dir", ".", guest("frozen")), "1 preopened director"),
    )
    for arguments, reason in cases:
        with Server("--snapshot", path, *arguments) as server:
            check(server.get() == "1", f"starts instead: {reason}")
            ended = server.stop()
            check("starting" in ended.out and "the snapshot is not used" in ended.err and
                  reason in ended.err, f"says why: {reason}", ended)
    expect(run("run", "--snapshot", "frozen", "--dir", ".", "--listen", f"unix:{WORK}/no"), 1,
           err="1 preopened director", what="where it cannot be started instead")
    expect(run("run", "--snapshot", "frozen"), 2, err="--listen")
    expect(run("run", "--snapshot", "nosuch", "--listen", f"unix:{WORK}/no"), 1, err="nosuch")
    expect(run("run", "--snapshot", "./nosuch", "--listen", f"unix:{WORK}/no"), 1,
           err="cannot open")


@test
def damaged_files():
    data = snapshot().read_bytes()
    path = WORK / "damaged.snap"
    for size in {0, 1, 100, 255, 256, 4095, 4096, 4097, 8192, len(data) - 1, len(data) // 2}:
        path.write_bytes(data[:size])
        expect(run("snapshot", "inspect", path), 1, err="snapshot", what=f"cut to {size} bytes")
    path.write_bytes(data + b"\0")
    expect(run("snapshot", "inspect", path), 1, err="digest mismatch")
    for at in list(range(0, 300, 23)) + list(range(300, len(data), len(data) // 20)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1:])
        expect(run("snapshot", "inspect", path), 1, err="digest mismatch", what=f"byte {at}")
    with Server("--snapshot", path, guest("frozen")) as server:
        check(server.get() == "1", "a damaged one costs a start")
        ended = server.stop()
        check("digest mismatch" in ended.err and "starting" in ended.out, "and a note", ended)



# ---- CGI programs ----

def cgi(*more, body=b"", env=(), seconds=60):
    """One run for a request; the answer's body as lines without the token, and the token."""
    variables = [x for e in env for x in ("--env", e)]
    done = subprocess.run([HUTCH, "run", *variables, *map(str, more)], env=ENV, input=body,
                          capture_output=True, timeout=seconds, cwd=WORK)
    head, _, text = done.stdout.decode(errors="replace").partition("\r\n\r\n")
    lines = text.split("\n")
    token = [x for x in lines if x.startswith("token")]
    return Result(done), [head] + [x for x in lines if x not in token], token


def in_order(lines):
    """The environment's order may be another."""
    return sorted(x for x in lines if x.startswith("env")), [x for x in lines if x[:3] != "env"]


def frozen_cgi(what, *more, status=0, err=None):
    path = WORK / f"cgi-{what}.snap"
    return path, expect(run("snapshot", "create", "--cgi", "-o", path, "--env", f"DO={what}",
                            "--env", "KEPT=what it was given", *more, guest("frozen_cgi")),
                        status, err=err, what=f"snapshot create --cgi, {what}")


GET = ["REQUEST_METHOD=GET", "QUERY_STRING=a=1&b=2", "HTTP_COOKIE=session=7", "SCRIPT_NAME=/x"]


@test
def cgi_programs():
    """Each request as a run from the beginning answers it; and nothing of the one before."""
    for what in ("nothing", "early", "copies", "files"):
        memory = ["--tmpfs", "/tmp"] if what == "files" else []
        path, made = frozen_cgi(what, *memory)
        number = int(re.search(r"frozen before call (\d+)", made.err)[1])
        check(number >= 40, f"{what}: frozen after its start-up", made)
        given = ["--env", f"DO={what}", "--env", "KEPT=what it was given", *memory]
        requests = [(GET, b""), (["REQUEST_METHOD=POST", "QUERY_STRING=exit"], b"body " * 50000),
                    (["REQUEST_METHOD=GET", "QUERY_STRING="] + [f"HTTP_X{i}={'v' * 60}" for i in range(240)], b""),
                    ([f"HTTP_LONG={'l' * 100000}", "REQUEST_METHOD=GET", "QUERY_STRING=" + "q" * 9000], b"x"),
                    (["HTTPS=on", "QUERY_STRING=word", "REQUEST_METHOD=OPTIONS"], b"")]
        for env, body in requests:
            cold, wanted, token = cgi(*given, guest("frozen_cgi"), env=env, body=body)
            warm, got, other = cgi("--snapshot", path, *given, guest("frozen_cgi"), env=env, body=body)
            # What the first half of the head was is not written again.
            if what == "early":
                got[0], wanted[0] = got[0].split("\r\n")[-1], wanted[0].split("\r\n")[-1]
            check(in_order(got) == in_order(wanted) and warm.status == cold.status and token and token != other,
                  f"{what}: {env[0][:40]}, {len(env)} variables", str(got)[:600], str(wanted)[:600],
                  warm.err)
            check(token[0].endswith(" 0") and other[0].endswith(" 1"), "it can know", token, other)
        tokens = {cgi("--snapshot", path, *given, guest("frozen_cgi"), env=GET)[2][0] for _ in range(5)}
        check(len(tokens) == 5, f"{what}: random numbers are new", tokens)


@test
def cgi_by_name():
    """Without the module: all variables given are the request's."""
    expect(run("snapshot", "create", "--cgi", "--name", "cgi", "--env", "KEPT=k",
               "--env", "HTTP_SECRET=of the trial request", guest("frozen_cgi")), 0)
    result, lines, _ = cgi("--snapshot", "cgi", env=["QUERY_STRING=q", "REQUEST_METHOD=PUT", "OTHER=1"],
                           body=b"the body")
    check(lines[1].startswith("PUT q kept k") and lines[-1] == "the body" and
          [x for x in lines if x.startswith("env")] ==
          ["env KEPT=k", "env QUERY_STRING=q", "env REQUEST_METHOD=PUT", "env OTHER=1"], "by name", result)
    many = [f"V{i}=1" for i in range(300)]
    result, _, _ = cgi("--snapshot", "cgi", env=many)
    check(result.status == 1 and "more than the program has room for" in result.err, "too many", result)
    expect(run("snapshot", "inspect", "cgi"), 0, out="requests by the environment")


@test
def cgi_refused():
    given = ["--env", "DO=nothing", "--env", "KEPT=another"]
    path, _ = frozen_cgi("nothing")
    result, lines, _ = cgi("--snapshot", path, *given, guest("frozen_cgi"), env=GET)
    check("another configuration: 'environment KEPT" in result.err and "kept another" in lines[1],
          "other variables of the configuration: started from the beginning", result)
    result, _, _ = cgi("--snapshot", "frozen")
    snapshot()
    result, _, _ = cgi("--snapshot", "frozen")
    check(result.status != 0 and "--listen" in result.err, "no CGI program: --listen is wanted", result)
    with Server("--snapshot", path, guest("frozen_cgi")) as s:
        check("another configuration" in s.ended().err, "a CGI program takes no connections")
    (WORK / "d").mkdir(exist_ok=True)
    (WORK / "d/number").write_text("1\n")
    frozen_cgi("counts", "--dir", "d::/d", status=1,
               err="does not answer the trial request as it does from the beginning")
    frozen_cgi("clock", status=1, err="another way with another clock|ended before its call")
    expect(run("snapshot", "create", "--cgi", "--fastcgi", "-o", "x", guest("frozen_cgi")), 2)


@test
def cannot_be_made():
    path = WORK / "no.snap"
    expect(run("snapshot", "create", "-o", path, guest("frozen"), "end"), 1,
           err="ended, with exit status 5")
    (WORK / "dir").mkdir(exist_ok=True)
    (WORK / "dir/file").write_text("x")
    expect(run("snapshot", "create", "-o", path, "--dir", "dir", guest("frozen"), "open"), 1,
           err="descriptor 6 is an open file")
    expect(run("snapshot", "create", "-o", WORK / "none/x", guest("frozen")), 1, err="No such file")
    small = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))  # noqa: E731
    expect(run("snapshot", "create", "-o", path, guest("frozen"), limits=small), 1,
           err="File too large|cannot write")
    check(not path.exists(), "nothing is left behind")
    before = sorted(p.name for p in WORK.iterdir() if ".snap" in p.name)
    process = subprocess.Popen([HUTCH, "snapshot", "create", "-o", path, guest("frozen")], env=ENV,
                               stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.3)
    after = sorted(p.name for p in WORK.iterdir() if ".snap" in p.name)
    check(before == after or path.exists(), "interrupted: nothing, or all", before, after)
    for words, message in (((), "say create"), (("creat",), "did you mean 'create'"),
                           (("create", guest("frozen")), "--name NAME or -o"),
                           (("create", "-o", "x"), "no module"), (("rm",), "say which"),
                           (("list", "x"), "no names")):
        expect(run("snapshot", *words), 2, err=message)


@test
def interrupted_anywhere():
    """A snapshot that is being made, killed at system calls all along the way, all processes or one, and
    a disk that is full or broken: there is a whole one under its name, or none and nothing else."""
    trace = BUILD / "tests/fault/fault_trace"
    if not trace.exists():
        print("no tracer for this machine", flush=True)
        return
    module, place = guest("frozen"), WORK / "interrupted"
    run("compile", module)
    command = [trace, "kill-all", "1000000000", HUTCH, "snapshot", "create", "-o", place / "x", "--name", "x", module]

    def traced(fault, at):
        command[1:3] = fault, str(at)
        done = subprocess.run([*map(str, command)], env=ENV, capture_output=True, text=True, timeout=120, check=False)
        return [int(word) for word in done.stdout.split()[-3:]]

    place.mkdir()
    calls = traced("count", 10**9)[0]
    check(calls > 200, "there are calls", calls)
    for fault, points in (("kill-all", 24), ("kill-one", 16), ("ENOSPC", 10), ("EIO", 10)):
        most = calls if fault.startswith("kill") else traced(fault, 10**9)[0]
        for n in range(points):
            at = most * n // points + n % 2
            for old in place.iterdir():
                old.unlink()
            _, hit, status = traced(fault, at)
            left = sorted(p.name for p in place.iterdir())
            what = f"{fault} at call {at} of {most}, exit status {status}"
            if "x" in left:
                expect(run("snapshot", "inspect", place / "x"), 0, what=f"{what}: it is whole")
            check(left in ([], ["x"]) or fault.startswith("kill"), f"{what}: nothing else is left", left)
            check(not hit or status != 0 or "x" in left, f"{what}: it was said to be there", left)
    expect(run("snapshot", "create", "-o", place / "x", "--name", "x", module), 0, what="and then it can be made")
    with Server("--snapshot", "x") as server:
        check(server.get() == "1", "and gone on from")


@test
def the_store():
    snapshot()
    listed = expect(run("snapshot", "list"), 0, out=r"frozen:latest +[0-9a-f]{12}")
    check("NAME" in listed.out, "a heading")
    expect(run("snapshot", "inspect", "frozen"), 0, out=r"(?s)argument frozen.wasm.*request socket 3")
    expect(run("snapshot", "inspect", guest("frozen")), 1, err="not a snapshot|digest")
    expect(run("snapshot", "create", "--name", "gone", guest("frozen")), 0)
    expect(run("snapshot", "rm", "gone"), 0)
    expect(run("snapshot", "rm", "gone"), 1, err="gone")
    check("gone" not in run("snapshot", "list").out, "its name is gone")


def main():
    names = sys.argv[1:]
    for function in TESTS:
        if names and function.__name__ not in names:
            continue
        try:
            function()
        except Exception:  # the other tests still say something
            check(False, function.__name__, traceback.format_exc())
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    finally:
        import shutil
        shutil.rmtree(WORK, ignore_errors=True)
