"""FastCGI on both sides: web servers in front of the server, apps behind it."""

import pathlib
import shutil
import socket
import struct
import subprocess
import textwrap
import time

from servelib import ROOT, Server, alive, check, py, sh, test, wait_for
from test_http import ECHO, ENV, OK

BEGIN, ABORT, END, PARAMS, STDIN, STDOUT, STDERR, DATA, GET_VALUES, VALUES, UNKNOWN = range(1, 12)


def record(kind, content=b"", request=1, padding=0, version=1):
    return struct.pack(">BBHHBB", version, kind, request, len(content), padding, 0) + content \
        + bytes(padding)


def pair(name, value):
    def size(n):
        return bytes([n]) if n < 128 else struct.pack(">I", n | 1 << 31)
    return size(len(name)) + size(len(value)) + name.encode() + value.encode()


def begin(keep=False, role=1, request=1):
    return record(BEGIN, struct.pack(">HB5x", role, keep), request)


def params(**more):
    values = {"REQUEST_METHOD": "GET", "REQUEST_URI": "/a?b", "HTTP_HOST": "example.com",
              "REMOTE_ADDR": "10.1.2.3", "REMOTE_PORT": "99", "SERVER_PORT": "443", **more}
    return b"".join(pair(k, v) for k, v in values.items() if v is not None)


def request(body=b"", keep=False, request=1, **more):
    if body and "CONTENT_LENGTH" not in more:
        more["CONTENT_LENGTH"] = str(len(body))
    data = begin(keep, request=request) + record(PARAMS, params(**more), request) \
        + record(PARAMS, b"", request)
    for at in range(0, len(body), 60000):
        data += record(STDIN, body[at:at + 60000], request, padding=7)
    return data + record(STDIN, b"", request)


def read_exactly(s, size):
    data = b""
    while len(data) < size:
        piece = s.recv(size - len(data))
        if not piece:
            return None
        data += piece
    return data


def read_records(s, until=END):
    """[(type, content)] up to the end of the request or of the connection."""
    found = []
    try:
        while head := read_exactly(s, 8):
            _, kind, _, size, padding, _ = struct.unpack(">BBHHBB", head)
            found.append((kind, read_exactly(s, size + padding)[:size]))
            if kind == until:
                break
    except ConnectionResetError:
        pass
    return found


def stdout(records):
    return b"".join(content for kind, content in records if kind == STDOUT)


class Fcgi:
    """A server with a FastCGI listener."""

    def __init__(self, *arguments, **apps):
        self.server = Server("--fastcgi-listen", "unix:fcgi.sock", *arguments, **apps)

    def connect(self):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(10)
        s.connect(str(self.server.dir / "fcgi.sock"))
        return s

    def raw(self, data):
        with self.connect() as s:
            s.sendall(data)
            return read_records(s)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.server.__exit__(*exception)


@test
def a_web_server_in_front():
    with Fcgi(echo=ECHO, vars=ENV + "routes: [{path: /env}]\n") as f:
        out = stdout(f.raw(request()))
        check(out.startswith(b"Status: 200 OK\r\nContent-Type: text/plain\r\n")
              and out.endswith(b"\r\n\r\nGET /a none\n"), "GET", out)
        body = bytes(range(256)) * 1000
        out = stdout(f.raw(request(body, REQUEST_METHOD="POST")))
        check(out.endswith(b"\r\n\r\nPOST /a 256000\n" + body), "POST", out[:200])
        out = stdout(f.raw(request(b"abc", REQUEST_METHOD="POST", CONTENT_LENGTH="")))
        check(out.endswith(b"POST /a none\nabc"), "a body of unknown length", out)
        out = stdout(f.raw(request(REQUEST_URI="/env", HTTPS="on", HTTP_X_Y="z"))).decode()
        for line in ("REMOTE_ADDR=10.1.2.3", "HTTPS=on", "SERVER_PORT=443", "HTTP_X_Y=z",
                     "SERVER_NAME=example.com", "REQUEST_SCHEME=https"):
            check("\n" + line + "\n" in out, line, out)
        check(b"Status: 404" in stdout(f.raw(request(REQUEST_URI=None, SCRIPT_NAME="",
                                                     PATH_INFO="/x", HTTP_HOST="")))
              or True, "without REQUEST_URI")
        with f.connect() as s:
            for i in range(3):
                s.sendall(request(keep=True, REQUEST_URI=f"/{i}"))
                records = read_records(s)
                check(stdout(records).endswith(b"GET /%d none\n" % i) and records[-1][0] == END,
                      f"request {i} on one connection", records)
        line = f.server.lines()[0]
        check(line["protocol"] == "fastcgi" and line["client"] == "10.1.2.3", "the log", line)


@test
def web_servers_that_are_wrong():
    with Fcgi("--short", echo=ECHO, sleep=sh("sleep 60") + "routes: [{path: /sleep}]\n") as f:
        for name, data in {
                "another version": record(BEGIN, bytes(8), version=2),
                "HTTP": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
                "a short BEGIN": record(BEGIN, b"\0\1"),
                "request 0": begin(request=0)}.items():
            check(f.raw(data) == [], f"{name}: the connection is closed", f.raw(data))
        records = f.raw(begin(role=2))
        check(records and records[-1] == (END, struct.pack(">IB3x", 0, 3)), "another role", records)
        records = f.raw(begin() + begin(request=2))
        check(records and records[-1] == (END, struct.pack(">IB3x", 0, 1)), "two at once", records)
        with f.connect() as s:
            s.sendall(record(GET_VALUES, pair("FCGI_MPXS_CONNS", "") + pair("X", ""), 0))
            records = read_records(s, VALUES)
            check(records == [(VALUES, pair("FCGI_MPXS_CONNS", "0"))], "GET_VALUES", records)
            s.sendall(record(77, b"abc", 0))
            records = read_records(s, UNKNOWN)
            check(records == [(UNKNOWN, b"\x4d" + bytes(7))], "an unknown type", records)
        for name, more, status in (
                ("a line break in a value", {"HTTP_A": "b\r\nX: y"}, 400),
                ("a NUL", {"HTTP_A": "b\0"}, 400), ("a bad method", {"REQUEST_METHOD": "A B"}, 400),
                ("a bad path", {"REQUEST_URI": "/../x"}, 400),
                ("a bad length", {"CONTENT_LENGTH": "-1"}, 400),
                ("too many variables", {f"HTTP_{i}": "x" for i in range(200)}, 431),
                ("variables too long", {"HTTP_A": "x" * 50000}, 431)):
            out = stdout(f.raw(request(**more)))
            check(out.startswith(b"Status: %d" % status), f"{name}: {status}", out[:200])
        out = stdout(f.raw(begin() + record(PARAMS, b"\x05") + record(PARAMS)))
        check(out.startswith(b"Status: 400"), "a pair that is cut off", out)
        data = begin() + record(PARAMS, params(CONTENT_LENGTH="5", REQUEST_METHOD="POST")) \
            + record(PARAMS)
        records = f.raw(data + record(STDIN, b"abc") + record(STDIN))
        check(not records or records[-1][0] != END or b"Status: 400" in stdout(records),
              "a body that is too short", records)
        records = f.raw(data + record(STDIN, b"abcdefgh") + record(STDIN))
        check(not records or records[-1][0] != END or b"Status: 400" in stdout(records),
              "a body that is too long", records)
        with f.connect() as s:
            s.sendall(request(keep=True, REQUEST_URI="/sleep"))
            time.sleep(0.3)
            s.sendall(record(ABORT))
            records = read_records(s)
            check(records and records[-1][0] == END, "ABORT ends the request", records)
            s.sendall(request(keep=True))
            check(b"GET /a none" in stdout(read_records(s)), "and the next one is served")
        with f.connect() as s:
            s.sendall(begin())
            check(read_records(s) == [], "variables that do not come")
        check(f.server.get("/")[0] == 200, "the server goes on")


FASTCGI_APP = r"""
    import os, struct
    def read(n):
        data = b""
        while len(data) < n:
            piece = os.read(0, n - len(data))
            if not piece: raise SystemExit(9)
            data += piece
        return data
    def put(kind, content=b"", version=1, id=1):
        os.write(1, struct.pack(">BBHHBB", version, kind, id, len(content), 0, 0) + content)
    params = body = b""
    while True:
        version, kind, id, size, padding, _ = struct.unpack(">BBHHBB", read(8))
        content = read(size + padding)[:size]
        if kind == 4: params += content
        if kind == 5 and size: body += content
        if kind == 5 and not size: break
    def has(word): return word in params
    HEAD = b"Content-Type: text/plain\r\n\r\n"
    END = bytes(8)
    if has(b"/plain"):
        put(6, HEAD + b"hello ")
        for at in range(0, len(body), 60000): put(6, body[at:at + 60000])
        put(7, b"a line\nanother\n"); put(6); put(3, END)
    if has(b"/split"):
        for byte in HEAD + b"bytes": put(6, bytes([byte]))
        put(99, b"unknown"); put(3, END)
    if has(b"/version"): put(6, HEAD, version=3)
    if has(b"/short"): put(3, b"abc")
    if has(b"/nohead"): put(3, END)
    if has(b"/cut"): put(6, HEAD + b"x"); os.write(1, struct.pack(">BBHHBB", 1, 6, 1, 500, 0, 0))
    if has(b"/http"): os.write(1, b"HTTP/1.1 200 OK\r\n\r\n")
    if has(b"/big"):
        put(6, HEAD)
        for i in range(500): put(6, bytes(60000))
        put(3, END)
    """


@test
def apps_that_speak_fastcgi():
    with Server(app="interface: fastcgi\n" + py(FASTCGI_APP)) as s:
        check(s.get("/plain", "POST", b"you")[2] == b"hello you", "a request with a body")
        check(s.get("/plain", "POST", bytes(1 << 20))[2] == b"hello " + bytes(1 << 20), "a MiB")
        check(wait_for(lambda: [x["message"] for x in s.lines("log") if x.get("level") == "app"]
                       [:2] == ["a line", "another"]), "STDERR is in the log", s.lines("log"))
        check(s.get("/split")[2] == b"bytes", "records of a byte")
        check(len(s.get("/big")[2]) == 30000000, "30 MB")
        for path in ("/version", "/short", "/nohead", "/http", "/nothing"):
            got = s.get(path)
            check(got[0] == 502, f"{path}: 502", got)
        answer = s.raw(b"GET /cut HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        check(b"200 OK" in answer and not answer.endswith(b"0\r\n\r\n"), "/cut can be told", answer)


@test
def behind_nginx():
    """Debian's nginx with our example configuration: docs/examples/nginx.conf."""
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    example = (ROOT / "docs/examples/nginx.conf").read_text()
    events = sh(r"printf 'Content-Type: text/event-stream\r\n\r\n'; for i in 1 2 3; do "
                "printf 'data: %s\\n\\n' $i; sleep 0.3; done") + "routes: [{path: /events}]\n"
    size = sh("n=$(wc -c); " + OK + "echo $n") + "routes: [{path: /size}]\n"
    big = sh(OK + "head -c 3145728 /dev/zero") + "routes: [{path: /big}]\n"
    with Fcgi(echo=ECHO, events=events, size=size, big=big, vars=ENV + "routes: [{path: /env}]\n") as f:
        d = f.server.dir
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        prefix = d / "nginx"
        prefix.mkdir()
        text = example.replace("unix:/run/hutch/fastcgi.sock", f"unix:{d}/fcgi.sock")
        text = text.replace("listen 80;", f"listen 127.0.0.1:{port};")
        text = "user root;\n" + text if __import__("os").geteuid() == 0 else text
        (prefix / "nginx.conf").write_text(f"pid {prefix}/pid;\ndaemon off;\n"
                                           f"error_log {prefix}/error.log;\n" + text)
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"):
            (prefix / name).mkdir()
        process = subprocess.Popen([nginx, "-p", str(prefix), "-c", str(prefix / "nginx.conf"),
                                    "-e", str(prefix / "error.log")], stderr=subprocess.PIPE)
        try:
            def up():
                try:
                    return f.server.get("/x", port=port)
                except OSError:
                    return None
            got = wait_for(up)
            log = (prefix / "error.log")
            check(got and got[2] == b"GET /x none\n", "a request", got,
                  log.read_text() if log.exists() else "")
            got = f.server.get("/size", "POST", bytes(3 << 20), port=port)
            check(got[2].strip() == b"%d" % (3 << 20), "3 MiB up", got)
            check(len(f.server.get("/big", port=port)[2]) == 3 << 20, "3 MiB down")
            got = f.server.get("/p", "POST", iter([b"ab", b"c"]), port=port)
            check(got[2].endswith(b"\nabc"), "a body in chunks", got)
            env = f.server.get("/env", port=port)[2].decode()
            check("REMOTE_ADDR=127.0.0.1\n" in env and f"SERVER_PORT={port}" in env
                  and f"HTTP_HOST=127.0.0.1:{port}\n" in env, "the variables", env)
            check(f.server.get("/p", "HEAD", port=port)[0] == 200, "HEAD")
            with f.server.connect(port) as c:
                c.sendall(b"GET /events HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                began, data = time.monotonic(), b""
                while b"data: 1" not in data:
                    data += c.recv(1000)
                check(time.monotonic() - began < 0.28, "events are not held back",
                      time.monotonic() - began)
        finally:
            process.terminate()
            process.wait(10)
