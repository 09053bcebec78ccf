"""What a hostile app, a hostile client and a hostile web server try. Calls of the system from within
a taken tenant are in tests/integration/test_sandbox.py; docs/threat-model.md lists where each attack
has its test."""

import contextlib
import functools
import http.client
import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import threading
import time

from servelib import (Server, alive, check, children_of, comm, descendants, meanwhile, read_all, sh,
                      status_of, test, wait_for)
from test_fastcgi import (ABORT, BEGIN, DATA, END, PARAMS, STDIN, STDOUT, Fcgi, begin, pair, params,
                          read_records, record, request, stdout)
from test_http import ECHO, OK, POST
from test_tenants import WORK, guest, hosted, serve


def attacker(name, reuse="keep", more="", limits=""):
    text = hosted("http", reuse, more, limits).replace("host: http", f"host: {name}")
    return text.replace(str(guest("http")), str(guest("attack")))


def ask(s, name, path, **more):
    return s.get(path, headers={"Host": name}, **more)


def tenants(s, **wanted):
    return [t for t in json.loads(s.get("/status", port=s.admin)[2])["tenant_list"]
            if all(t.get(k) == v for k, v in wanted.items())]


# ---- a hostile app ---------------------------------------------------------------------------

@test
def guesses_descriptors():
    with serve(a=attacker("a")) as s:
        found = dict(map(lambda p: p.split(":"), ask(s, "a", "/descriptors")[2].decode().split()))
        # 0 to 2; 3, where it accepts, and the directory whose file does that too; the stream of this
        # request. 6: a socket, 3: a directory
        check(set(found) == {"0", "1", "2", "3", "4", "5"} and (found["3"], found["4"], found["5"]) == ("6", "3", "6"),
              "only what it was given", found)
        check(ask(s, "a", "/use")[2] == b"0", "no other can be used")
        check(ask(s, "a", "/size")[0] == 200 and not s.lines("log"), "the app goes on", s.lines("log"))


@test
def reads_others_files():
    """Two apps on one module, each with files of its own; paths and links that lead out."""
    for name in ("a", "b"):
        data = WORK / f"data-{name}"
        (data / "sub").mkdir(parents=True, exist_ok=True)
        (data / f"of-{name}").write_text(f"file of {name}\n")
        for link, to in (("absolute", "/etc/passwd"), ("up", "../../../../etc/passwd"),
                         ("sub/out", "../../../etc/passwd"), ("self", "/proc/self/mem"),
                         ("other", str(WORK / "data-b/of-b"))):
            (data / link).unlink(missing_ok=True)
            (data / link).symlink_to(to)
    more = "mounts: [{{source: {0}, path: /data}}]\nvolumes: [{{kind: private, path: /tmp, size: 1M}}]\n"
    with serve(a=attacker("a", more=more.format(WORK / "data-a")),
               b=attacker("b", more=more.format(WORK / "data-b"))) as s:
        check(b"/tmp/b written" in ask(s, "b", "/paths", method="POST", body=b"/tmp/b")[2],
              "one writes a file")
        lines = ["/data/of-a", "/data/of-b", "/tmp/b", "/data/absolute", "/data/up", "/data/sub/out",
                 "/data/self", "/data/other", "/etc/passwd", "../etc/passwd", "../../etc/passwd",
                 "/data/../etc/passwd", "/data/../../etc/passwd", "/data/sub/../../../etc/passwd",
                 "/proc/self/mem", "/proc/self/maps", "/proc/1/environ", "/proc/self/cwd/etc/passwd",
                 "/dev/mem", "/dev/shm/x", "/sys/kernel", "", ".", "/", "//", str(WORK / "data-b/of-b"),
                 str(s.dir / "apps/b.yaml"), str(s.state), "/data/" + "../" * 200 + "etc/passwd",
                 "/tmp/../data/of-a", "/data/of-a/../../etc/passwd"]
        got = ask(s, "a", "/paths", method="POST", body="\n".join(lines).encode())[2].decode()
        opened = dict(x.rpartition("=")[::2] for x in got.split(";") if "=" in x)
        files = {k: v for k, v in opened.items() if v}
        check(set(files.values()) == {"file of a"}, "every file that opens is its own", got)
        check(files.get("/data/of-a") == "file of a", "which it can read", got)
        written = [x for x in got.split(";") if x.endswith(" written")]
        check(written == ["/tmp/b written"], "it writes in its own volume alone, which had no such file",
              got)
        text = got + s.access.read_text() + s.log.read_text()
        check("root:" not in text, "nothing of the host came out")
        check((WORK / "data-a/of-a").read_text() == "file of a\n", "nor was anything changed")


@test
def reads_others_memory():
    """What a request leaves in memory is searched for by the next one, of the same app."""
    with serve(keep=attacker("keep"), reset=attacker("reset", "reset", "instaboot: true\n"),
               fresh=attacker("fresh", "fresh"), other=attacker("other")) as s:
        for name in ("keep", "reset", "fresh"):
            for i in range(3):
                check(ask(s, name, f"/keep/{i}word")[2] == b"kept", f"{name}: a secret in memory")
        counts = {n: int(ask(s, n, "/search")[2]) for n in ("keep", "reset", "fresh", "other")}
        # the words live on the heap; the path of the last request may still lie in a buffer
        check(counts["keep"] >= 3, "with keep it is there: the search finds it", counts)
        check(counts["reset"] == counts["fresh"] == counts["other"] == 0,
              "with reset and fresh nothing is left, nor has another app any of it", counts)
        owners = {}
        for _ in range(30):
            for t in tenants(s):
                if t.get("app"):
                    owners.setdefault(t["tenant"] if "tenant" in t else t["pid"], set()).add(t["app"])
        check(owners and all(len(x) == 1 for x in owners.values()), "no process has two apps", owners)


@test
def exhausts_what_it_has():
    more = "volumes: [{kind: private, path: /tmp, size: 1M}]\n"
    with serve(a=attacker("a", more=more), b=attacker("b", more=more)) as s:
        got = ask(s, "a", "/files")[2].decode().split()
        check(20 < int(got[0]) <= 4096 and got[2] == "33", "descriptors: EMFILE", got)
        got = ask(s, "a", "/bytes")[2].decode().split()
        check(0 < int(got[0]) <= 1 << 20 and got[2] in ("51", "22"), "a volume's bytes: ENOSPC or EFBIG", got)
        got = ask(s, "a", "/names")[2].decode().split()
        check(int(got[0]) < 100000 and got[2] == "51", "a volume's names: ENOSPC", got)
        check(ask(s, "a", "/size")[0] == 200 and ask(s, "b", "/size")[0] == 200, "both apps go on")
        check(b"/tmp/x written" in ask(s, "b", "/paths", method="POST", body=b"/tmp/x")[2],
              "the neighbour's volume has room")


@test
def bombs_of_requests():
    """More requests at once than an app may have in work and waiting; its neighbour is not kept."""
    with serve(bomb=attacker("bomb", "fresh", limits=", queue: 20").replace("instances: 8", "instances: 2"),
               calm=attacker("calm")) as s:
        ask(s, "calm", "/size")
        codes, slow, stop = [], [], threading.Event()

        def calm():
            while not stop.is_set():
                began = time.monotonic()
                got = ask(s, "calm", "/size")
                took = time.monotonic() - began
                if got[0] != 200 or took > 2:
                    slow.append((got[0], took))

        def bomb():
            for _ in range(20):
                try:
                    codes.append(ask(s, "bomb", "/size")[0])
                except (OSError, http.client.HTTPException) as e:
                    codes.append(repr(e))

        with meanwhile(stop, calm, *[bomb] * 60) as threads:
            for t in threads[1:]:
                t.join()
        check(len(codes) == 1200 and set(codes) == {200, 503}, "each is answered, or refused: 503",
              {c: codes.count(c) for c in set(codes)})
        check(not slow, "the neighbour is answered all the time", slow[:3])
        most = [t for t in tenants(s, app="bomb") if t["state"] != "ending"]
        check(len(most) <= 2, "no more instances than it may have", most)


# ---- a hostile client ------------------------------------------------------------------------

@test
def bodies_that_are_requests():
    """An answer that comes before the body is read: the body is not taken for a request."""
    inner = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    with Server(echo=ECHO + "limits: {body: 10}\n",
                early=sh(r"printf 'Content-Length: 2\r\n\r\nok'") + "routes: [{path: /early}]\n",
                bad=sh("exit 70") + "routes: [{path: /bad}]\n",
                files=sh(OK) + "routes: [{host: only, path: /}]\n") as s:
        for name, path, host in (("413", b"/", b"a"), ("an app that does not read", b"/early", b"a"),
                                 ("502", b"/bad", b"a"), ("404", b"/x", b"nobody")):
            for framing in (b"Content-Length: %d\r\n\r\n" % len(inner) + inner,
                            b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(inner), inner)):
                with s.connect() as c:
                    c.sendall(b"POST " + path + b" HTTP/1.1\r\nHost: " + host + b"\r\n" + framing
                              + b"GET /after HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                    answer = read_all(c)
                check(answer.count(b"HTTP/1.1 ") in (1, 2), f"{name}: no third answer", answer)
        wait_for(lambda: len(s.lines()) >= 8)
        targets = [x.get("target", "") for x in s.lines()]
        check("/smuggled" not in targets, "no body was served as a request", targets)


@test
def floods_of_pipelined_requests():
    """A client that sends and does not read: it is stopped, memory does not grow, all is answered."""
    with serve(a=attacker("a")) as s:
        ask(s, "a", "/size")
        before = s.metric("process_resident_memory_bytes")
        one = b"GET /size HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 200 + b"\r\n\r\n"
        with s.connect(seconds=1) as c:
            c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            data, sent = memoryview(one * 40000), 0
            with contextlib.suppress(socket.timeout):
                while sent < len(data):
                    sent += c.send(data[sent:sent + 65536])
            grown = s.metric("process_resident_memory_bytes") - before
            check(grown < 4 << 20, "nothing of it is kept", grown)
            check(s.get("/size", headers={"Host": "a"})[0] == 200, "others are served")
            whole, answers = sent // len(one), 0
            end = time.monotonic() + 40
            tail = b""
            c.settimeout(5)
            while answers < whole and time.monotonic() < end:
                with contextlib.suppress(socket.timeout):
                    piece = c.recv(1 << 16)
                    if not piece:
                        break
                    answers += (tail + piece).count(b"HTTP/1.1 200 OK")
                    tail = (tail + piece)[-14:]
                    continue
                break
            check(whole > 100 and answers == whole, "each that was sent whole is answered", answers, whole)


@test
def bodies_in_crumbs():
    """A body of many chunks of one byte, and a head in pieces of a byte, cost the server no more
    memory than one of any other shape."""
    with serve(a=attacker("a")) as s:
        before = s.metric("process_resident_memory_bytes")
        with s.connect(seconds=20) as c:
            for byte in b"POST /size HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n":
                c.send(bytes([byte]))
            for _ in range(100):
                c.sendall(b"1;extension=of-no-use\r\nx\r\n" * 1000)
            c.sendall(b"0\r\nTrailer: x\r\n\r\n")
            # the guest reads up to the end of the head alone and answers; what comes after is dropped
            check(b"200 OK" in c.recv(1000), "a body in chunks of a byte")
        grown = s.metric("process_resident_memory_bytes") - before
        check(grown < 4 << 20, "no memory for it", grown)


@test
def slow_in_every_part():
    """Slowloris in each part of a request, and in reading: the connection ends in its time, and a
    request beside it is answered at once."""
    parts = {
        "the request line": b"GET / HT", "a field": b"GET / HTTP/1.1\r\nHost: a\r\nX: y",
        "the end of the head": b"GET / HTTP/1.1\r\nHost: a\r\n\r",
        "a body": POST.replace(b"/ ", b"/reads ") + b"Content-Length: 100\r\n\r\nabc",
        "a chunk's size": POST.replace(b"/ ", b"/reads ") + b"Transfer-Encoding: chunked\r\n\r\n3",
        "a chunk": POST.replace(b"/ ", b"/reads ") + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
        "the trailers": POST.replace(b"/ ", b"/reads ") + b"Transfer-Encoding: chunked\r\n\r\n0\r\nA: b",
        "nothing at all": b""}
    reads = sh("x=$(cat); " + OK) + "routes: [{path: /reads}]\n"
    with Server("--short", echo=ECHO, reads=reads) as s:
        for name, data in parts.items():
            with s.connect() as c:
                c.sendall(data)
                began = time.monotonic()
                check(s.get("/")[0] == 200 and time.monotonic() - began < 1, f"{name}: others are served")
                answer = read_all(c)
                took = time.monotonic() - began
                check(took < 5 and status_of(answer) in (408, None), f"{name}: it ends in its time",
                      took, answer)
        check(wait_for(lambda: s.metric("hutch_connections") == 0), "no connection is left")


# ---- a hostile web server --------------------------------------------------------------------

@test
def records_out_of_order():
    whole = record(PARAMS, params()) + record(PARAMS)
    attacks = {
        "PARAMS without BEGIN": whole, "STDIN without BEGIN": record(STDIN, b"abc"),
        "STDIN before the end of PARAMS": begin() + record(STDIN, b"abc") + whole + record(STDIN),
        "PARAMS after their end": begin() + whole + record(PARAMS, params()) + record(STDIN),
        "END_REQUEST from a web server": begin() + record(END, bytes(8)) + whole + record(STDIN),
        "STDOUT from a web server": begin() + record(STDOUT, b"abc") + whole + record(STDIN),
        "another request's PARAMS": begin() + record(PARAMS, params(), 2) + record(PARAMS, b"", 2),
        "DATA": begin() + record(DATA, b"abc") + whole + record(STDIN),
        "ABORT of nothing": record(ABORT) + begin() + whole + record(STDIN),
        "a name of 2 GiB": begin() + record(PARAMS, b"\xff\xff\xff\xff\x01") + record(PARAMS) + record(STDIN),
        "names of no length": begin() + record(PARAMS, params() + b"\0\0" * 300) + record(PARAMS) + record(STDIN),
        "PARAMS without end": begin() + record(PARAMS, pair("A", "b" * 60000)) * 40,
        "only padding": begin() + record(PARAMS, b"", padding=255) + record(STDIN),
        "a thousand ends": request() + record(STDIN) * 1000,
        "half a record": begin() + record(PARAMS, params())[:-3],
        "BEGIN twice with one id": begin() + begin() + whole + record(STDIN)}
    with Fcgi("--short", echo=ECHO) as f:
        before = f.server.metric("process_resident_memory_bytes")
        for name, data in attacks.items():
            began = time.monotonic()
            with f.connect() as c:
                with contextlib.suppress(OSError):
                    c.sendall(data)
                answered = []
                with contextlib.suppress(OSError):
                    answered = read_records(c)
            took = time.monotonic() - began
            check(took < 5, f"{name}: it comes to an end", took)
            good = stdout(answered).startswith((b"Status: 200", b"Status: 4"))
            check(not answered or good or answered[-1][0] == END, f"{name}: an answer, or none", answered)
            check(stdout(f.raw(request())).endswith(b"GET /a none\n"), f"{name}: the next one is served")
        grown = f.server.metric("process_resident_memory_bytes") - before
        check(grown < 4 << 20, "and no memory for it", grown)
        check(wait_for(lambda: f.server.metric("hutch_connections") == 0), "no connection is left")


# ---- processes killed ------------------------------------------------------------------------

@test
def tenants_killed_at_any_moment():
    """Tenants of every policy are killed at random, whatever they are doing, under load: each request
    comes to one end and is billed once, the front and its neighbours go on, nothing is left."""
    apps = {"keep": attacker("keep"), "fresh": attacker("fresh", "fresh"),
            "reset": attacker("reset", "reset", "instaboot: true\n"), "calm": attacker("calm")}
    with serve(**apps) as s:
        front, stop, codes, random_ = s.child("front"), threading.Event(), [], random.Random(5)

        def client(name):
            while not stop.is_set():
                try:
                    codes.append(ask(s, name, "/size")[0])
                except http.client.IncompleteRead:  # killed within its answer
                    codes.append("cut")
                except (OSError, http.client.HTTPException) as e:
                    codes.append(repr(e))

        with meanwhile(stop, *[functools.partial(client, n) for n in ("keep", "fresh", "reset") * 2]):
            killed, end = 0, time.monotonic() + 8
            while time.monotonic() < end:
                guards = children_of(front)
                zygotes = [z for g in guards for z in children_of(g)]
                victims = [t for z in zygotes for t in children_of(z)]
                for pid in random_.sample(victims, min(len(victims), 2)):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        killed += 1
                time.sleep(random_.random() * 0.02)
        check(killed > 50 and len(codes) > 50, "enough was killed and asked", killed, len(codes))
        check(set(codes) <= {200, 502, 503, "cut"} and 200 in codes, "each request has one end",
              {c: codes.count(c) for c in set(codes)})
        check(s.child("front") == front and s.metric("hutch_zygote_restarts_total") == 0,
              "front and zygote go on")
        for name in apps:
            check(wait_for(lambda: ask(s, name, "/size")[0] == 200), f"{name} is served")
        records = wait_for(lambda: len(r := [x for x in s.records() if x["kind"] == 3]) >= len(codes) and r)
        ids = [r["request"] for r in records or []]
        check(ids and len(ids) == len(set(ids)), "none is billed twice", len(ids), len(set(ids)))
        check(wait_for(lambda: not tenants(s, state="ending")), "none is left dying", tenants(s))
        pids = descendants(s.process.pid)
        check(s.stop() == 0 and wait_for(lambda: not any(alive(p) for p in pids)), "at the end nothing is left",
              [(p, comm(p)) for p in pids if alive(p)])


@test
def broker_killed_while_reloading():
    with serve(a=attacker("a")) as s:
        ask(s, "a", "/size")
        stop, wrong, done = threading.Event(), [], [0]

        def client():
            while not stop.is_set():
                got = ask(s, "a", "/size")
                done[0] += 1
                if got[0] != 200:
                    wrong.append(got)

        with meanwhile(stop, client, client):
            front = s.child("front")
            for i, delay in enumerate((0, 0.002, 0.01, 0.03, 0.1)):
                s.put_app(f"new{i}", attacker(f"new{i}"))
                broker = s.child("broker")
                s.signal(signal.SIGHUP)
                time.sleep(delay)
                if broker:
                    os.kill(broker, signal.SIGKILL)
                check(wait_for(lambda: s.child("broker") not in (None, broker)), f"{i}: another broker")
                check(wait_for(lambda: ask(s, f"new{i}", "/size")[0] == 200, 10), f"{i}: the reload is done all the same",
                      s.stderr()[-500:])
        check(not wrong and done[0] > 20, f"none of {done[0]} requests was dropped", wrong[:3])
        check(s.child("front") == front, "the front has not noticed")


@test
def bills_and_the_kernel():
    """All records of a server's life beside what the kernel has counted for all its tenants."""
    names = {n: attacker(n, r) for n, r in (("keep", "keep"), ("fresh", "fresh"))}
    with serve(cgi=hosted("cgi"), burn=hosted("http").replace("host: http", "host: burn"), **names) as s:
        for i in range(200):
            for name in ("keep", "fresh", "cgi"):
                s.get("/size", headers={"Host": name})
        for _ in range(3):
            s.get("/burn", headers={"Host": "burn"})
        for path in s.apps.glob("*.yaml"):
            if path.stem != "cgi":
                path.unlink()
        s.signal(signal.SIGHUP)
        wait_for(lambda: "were read again" in s.stderr())
        for t in tenants(s):
            if t.get("app"):
                os.kill(t["pid"], signal.SIGKILL)
        check(wait_for(lambda: not [t for t in tenants(s) if t.get("app") or t["state"] == "ending"]),
              "all tenants have ended", tenants(s))
        zygote = [z for g in children_of(s.child("front")) for z in children_of(g)][0]
        fields = pathlib.Path(f"/proc/{zygote}/stat").read_text().rpartition(")")[2].split()
        kernel = (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")
        check(s.stop() == 0, "it ends")
        records = s.records()
        billed = sum(r["cpu_ns"] for r in records) / 1e9
        requests = sum(r["cpu_ns"] for r in records if r["kind"] == 3) / 1e9
        # the kernel tells it in hundredths of a second, user and system each
        check(kernel > 0.1 and abs(billed - kernel) < 0.03 + kernel * 0.02, "records sum to what the kernel reports",
              billed, kernel, requests)
        usage = subprocess.run([os.environ.get("HUTCH", str(__import__("servelib").HUTCH)), "usage", "--json",
                                "--state-dir", s.state], capture_output=True, text=True)
        told = json.loads(usage.stdout)["usage"] if usage.returncode == 0 else []
        check(sum(r["requests"] for r in told) == sum(r["kind"] == 3 for r in records), "hutch usage counts them",
              usage.stdout, usage.stderr)
