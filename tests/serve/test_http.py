"""HTTP/1.1: what clients send, rightly and wrongly, and what comes back."""

import concurrent.futures
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time

from servelib import (Server, alive, check, py, read_all, sh, status_of, test, wait_for)

OK = r"printf 'Content-Type: text/plain\r\n\r\n'; "
ECHO = sh(OK + "echo \"$REQUEST_METHOD $PATH_INFO ${CONTENT_LENGTH-none}\"; cat")
ENV = sh(OK + "env")


@test
def plain_requests():
    with Server(echo=ECHO) as s:
        status, headers, body = s.get("/a/b?x=1")
        check((status, body) == (200, b"GET /a/b none\n"), "GET", status, body)
        check(headers["Content-Type"] == "text/plain" and "Date" in headers, "fields", headers)
        status, headers, body = s.get("/", "HEAD")
        check((status, body) == (200, b"") and "Transfer-Encoding" not in headers, "HEAD",
              headers)
        check(s.get("/p", "POST", b"hello")[2] == b"POST /p 5\nhello", "POST with a length")
        check(s.get("/p", "POST", iter([b"hel", b"lo"]))[2] == b"POST /p none\nhello",
              "POST in chunks")
        big = os.urandom(5 << 20)
        check(s.get("/", "PUT", big)[2] == b"PUT / %d\n" % len(big) + big, "5 MiB there and back")
        out = subprocess.run(["curl", "-sS", "--data-binary", "@-", "-H", "Expect: 100-continue",
                              f"http://127.0.0.1:{s.port}/c"], input=b"curl", capture_output=True)
        check(out.stdout == b"POST /c 4\ncurl", "curl", out)
        line = s.lines()[0]
        check(line["app"] == "echo" and line["status"] == 200 and line["target"] == "/a/b?x=1"
              and line["method"] == "GET" and line["client"] == "127.0.0.1"
              and line["sent_bytes"] == 14 and line["cpu_s"] > 0, "the access log", line)


@test
def persistent_connections():
    with Server(echo=ECHO) as s:
        c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=5)
        for i in range(5):
            c.request("POST", f"/{i}", b"x" * i)
            check(c.getresponse().read() == b"POST /%d %d\n" % (i, i) + b"x" * i, f"request {i}")
        check(s.metric("hutch_connections_accepted_total") == 1, "one connection")
        c.close()
        answer = s.raw(b"GET / HTTP/1.0\r\n\r\n")
        check(b"Connection: close" in answer and answer.endswith(b"GET / none\n")
              and b"chunked" not in answer, "HTTP/1.0 is answered until the close", answer)
        answer = s.raw(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        check(b"Connection: close" in answer, "Connection: close", answer)
        requests = b"".join(b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" % i
                            for i in range(20))
        answer = s.raw(requests + b"GET /end HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        check(re.findall(rb"POST /(\d+) 3", answer) == [b"%d" % i for i in range(20)]
              and answer.count(b"HTTP/1.1 200") == 21, "20 pipelined requests, in order", answer)


@test
def expectations():
    with Server(echo=ECHO, small=ECHO + "routes: [{path: /small}]\nlimits: {body: 10}\n") as s:
        with s.connect() as c:
            c.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n"
                      b"Expect: 100-continue\r\nConnection: close\r\n\r\n")
            interim = b"HTTP/1.1 100 Continue\r\n\r\n"
            check(c.recv(len(interim), socket.MSG_WAITALL) == interim, "100 Continue")
            c.sendall(b"hi")
            check(read_all(c).endswith(b"hi\r\n0\r\n\r\n"), "and then the answer")
        answer = s.raw(b"POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n"
                       b"Expect: 100-continue\r\n\r\n")
        check(status_of(answer) == 413 and b"100 Continue" not in answer, "413 instead", answer)
        answer = s.raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: tea\r\n\r\n")
        check(status_of(answer) == 417, "another expectation", answer)


# What must be refused, and with what. Each has been used to smuggle a request past a proxy, to
# confuse a cache or to take a server down.
HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
WRONG = {
    "two lengths that differ": (400, POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
    "two lengths that agree": (400, POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
    "a list of lengths": (400, POST + b"Content-Length: 3, 3\r\n\r\nabc"),
    "length and chunked": (400, POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
                           b"0\r\n\r\n"),
    "chunked and length": (400, POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"
                           b"0\r\n\r\n"),
    "a negative length": (400, POST + b"Content-Length: -1\r\n\r\n"),
    "a length with a sign": (400, POST + b"Content-Length: +3\r\n\r\nabc"),
    "a hexadecimal length": (400, POST + b"Content-Length: 0x3\r\n\r\nabc"),
    "an empty length": (400, POST + b"Content-Length:\r\n\r\nabc"),
    "a length beyond all": (400, POST + b"Content-Length: 99999999999999999999\r\n\r\n"),
    "an unknown coding": (501, POST + b"Transfer-Encoding: gzip\r\n\r\n"),
    "two codings": (501, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "chunked twice": (400, POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"
                      b"\r\n\r\n0\r\n\r\n"),
    "chunked, identity": (501, POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    "xchunked": (501, POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "a coding with a vertical tab": (400, POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n"),
    "chunked in HTTP/1.0": (400, b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "a space before the colon": (400, POST + b"Content-Length : 3\r\n\r\nabc"),
    "a folded field": (400, HEAD + b"A: b\r\n c\r\n\r\n"),
    "a folded first field": (400, b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    "bare LFs": (400, b"GET / HTTP/1.1\nHost: a\n\n"),
    "a bare LF between fields": (400, HEAD + b"A: b\nB: c\r\n\r\n"),
    "a bare LF as the last line": (400, HEAD + b"A: b\r\n\n"),
    "a bare CR": (400, HEAD + b"A: b\rc\r\n\r\n"),
    "a NUL": (400, HEAD + b"A: b\0c\r\n\r\n"),
    "a field without a colon": (400, HEAD + b"A\r\n\r\n"),
    "a field without a name": (400, HEAD + b": a\r\n\r\n"),
    "a name with a byte that does not belong": (400, HEAD + b"A(b): c\r\n\r\n"),
    "no host": (400, b"GET / HTTP/1.1\r\n\r\n"),
    "two hosts": (400, HEAD + b"Host: b\r\n\r\n"),
    "a host with a path": (400, b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    "HTTP/2.0": (505, b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    "HTTP/1.2": (505, b"GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    "no version": (400, b"GET /\r\nHost: a\r\n\r\n"),
    "a version in small letters": (400, b"GET / http/1.1\r\nHost: a\r\n\r\n"),
    "two spaces": (400, b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a tab": (400, b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a space in the path": (400, b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a byte of UTF-8 in the path": (400, b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a fragment": (400, b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"),
    "an encoded NUL": (400, b"GET /a%00b HTTP/1.1\r\nHost: a\r\n\r\n"),
    "half an escape": (400, b"GET /a%4 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "above the root": (400, b"GET /../x HTTP/1.1\r\nHost: a\r\n\r\n"),
    "above the root, encoded": (400, b"GET /%2e%2e/x HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a relative target": (400, b"GET a HTTP/1.1\r\nHost: a\r\n\r\n"),
    "an asterisk": (400, b"GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
    "an unknown method": (501, b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "CONNECT": (405, b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a request line without end": (414, b"GET /" + b"a" * 9000),
    "a long target": (414, b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a head without end": (431, HEAD + b"A: " + b"a" * 40000),
    "many fields": (431, HEAD + b"A: b\r\n" * 200 + b"\r\n"),
    "TLS": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    "no size": (400, CHUNKED + b"\r\nabc\r\n0\r\n\r\n"),
    "a size that is none": (400, CHUNKED + b"xyz\r\nabc\r\n0\r\n\r\n"),
    "a size with 0x": (400, CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n"),
    "a size with a space before": (400, CHUNKED + b" 3\r\nabc\r\n0\r\n\r\n"),
    "a size with a space behind": (400, CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n"),
    "a negative size": (400, CHUNKED + b"-3\r\nabc\r\n0\r\n\r\n"),
    "a size beyond 64 bits": (400, CHUNKED + b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
    "a size that ends with LF": (400, CHUNKED + b"3\nabc\r\n0\r\n\r\n"),
    "a chunk that ends with LF": (400, CHUNKED + b"3\r\nabc\n0\r\n\r\n"),
    "a chunk longer than its size": (400, CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n"),
    "an LF in an extension": (400, CHUNKED + b"3;a\nb\r\nabc\r\n0\r\n\r\n"),
    "an endless extension": (400, CHUNKED + b"3;" + b"a" * 10000 + b"\r\nabc\r\n0\r\n\r\n"),
    "endless trailers": (400, CHUNKED + b"0\r\n" + b"A: b\r\n" * 3000 + b"\r\n"),
    "a folded trailer": (400, CHUNKED + b"0\r\nA: b\r\n c\r\n\r\n"),
}


@test
def malformed_requests():
    # one that answers when it has all of the body, so that nothing was said before the mistake
    with Server(reads=sh("x=$(cat); " + OK + "echo ok")) as s:
        for name, (status, data) in WRONG.items():
            answer = s.raw(data + SMUGGLED)
            check(status_of(answer) == status and answer.count(b"HTTP/1.1 ") == 1
                  and b"Connection: close" in answer, f"{name}: {status}", answer)
        targets = [line.get("target", "") for line in s.lines()]
        check(not any("smuggled" in t for t in targets), "no smuggled request was served", targets)
        check(s.get("/")[0] == 200, "and the server goes on")


@test
def unusual_but_right_requests():
    with Server(echo=ECHO, vars=ENV + "routes: [{path: /env}]\n") as s:
        end = b"Connection: close\r\n\r\n"
        for name, data, wanted in (
                ("an empty line first", b"\r\n" + HEAD + end, b"GET / none"),
                ("a byte at a time", None, b"GET / none"),
                ("absolute form", b"GET http://b/x?y HTTP/1.1\r\nHost: a\r\n" + end, b"GET /x none"),
                ("dot segments", b"GET /a/./b/../c HTTP/1.1\r\nHost: a\r\n" + end, b"GET /a/c none"),
                ("escapes", b"GET /%61%2Fb HTTP/1.1\r\nHost: a\r\n" + end, b"GET /a/b none"),
                ("extensions and trailers", POST + b"Transfer-Encoding: Chunked\r\n" + end
                 + b"3;a=b;c=\"d\"\r\nabc\r\n00000\r\nA: b\r\n\r\n", b"POST / none\nabc"),
                ("an empty value", HEAD + b"A:\r\nB:   \r\n" + end, b"GET / none")):
            if data is None:
                with s.connect() as c:
                    for byte in HEAD + end:
                        c.send(bytes([byte]))
                    answer = read_all(c)
            else:
                answer = s.raw(data)
            body = re.sub(rb"\r\n[0-9a-f]+\r\n", b"", answer.partition(b"\r\n\r\n")[2])
            check(status_of(answer) == 200 and wanted in body + answer
                  and b"Connection: close" in answer, name, answer)
        body = s.get("/env/x%20y?q", headers={
            "X-One": "1", "X_Two": "2", "Proxy": "evil", "Cookie": "a", "Te": "trailers"})[2].decode()
        env = dict(line.split("=", 1) for line in body.splitlines())
        for key, value in {"SCRIPT_NAME": "/env", "PATH_INFO": "/x y", "QUERY_STRING": "q",
                           "REQUEST_URI": "/env/x%20y?q", "HTTP_X_ONE": "1",
                           "SERVER_NAME": "127.0.0.1", "SERVER_PORT": str(s.port),
                           "GATEWAY_INTERFACE": "CGI/1.1", "REMOTE_ADDR": "127.0.0.1",
                           "REQUEST_SCHEME": "http", "HTTP_COOKIE": "a"}.items():
            check(env.get(key) == value, key, env)
        for key in ("HTTP_X_TWO", "HTTP_PROXY", "HTTP_TE", "HTTP_CONNECTION", "HTTPS"):
            check(key not in env, f"no {key}", env)
        answer = s.raw(b"GET /env HTTP/1.1\r\nHost: h:1\r\nA: 1\r\nA: 2\r\nCookie: x\r\nCookie: y"
                       b"\r\n" + end)
        check(b"HTTP_A=1, 2\n" in answer and b"HTTP_COOKIE=x; y\n" in answer
              and b"SERVER_NAME=h\n" in answer, "fields that repeat", answer)


@test
def routes():
    def app(word, routes):
        return sh(OK + f"echo {word} $SCRIPT_NAME:$PATH_INFO") + f"routes: {routes}\n"

    with Server(any=app("any", "[{path: /}]"), shop=app("shop", "[{path: /shop}]"),
                host=app("host", "[{host: one.example, path: /}]"),
                wild=app("wild", "[{host: '*.example', path: /a}]")) as s:
        for host, path, wanted in (
                ("x", "/", b"any :/"), ("x", "/shop", b"shop /shop:"),
                ("x", "/shop/1", b"shop /shop:/1"), ("x", "/shopping", b"any :/shopping"),
                ("one.example", "/shop", b"host :/shop"), ("ONE.example:8080", "/", b"host :/"),
                ("one.example.", "/", b"host :/"), ("two.example", "/a/b", b"wild /a:/b"),
                ("two.example", "/b", b"any :/b"), ("example", "/a", b"any :/a"),
                ("x", "/a/../shop/2", b"shop /shop:/2"), ("x", "/%73hop/3", b"shop /shop:/3")):
            body = s.get(path, headers={"Host": host})[2].strip()
            check(body == wanted, f"{host} {path}", body)
    # names that begin alike, and what a name leaves to less particular routes
    with Server(any=app("any", "[{path: /}]"), a=app("a", "[{host: a.test, path: /x}]"),
                deep=app("deep", "[{host: a.test, path: /x/y}, {host: z.test, path: /}]"),
                more=app("more", "[{host: a.test.more, path: /}]"), less=app("less", "[{host: a.tes, path: /}]"),
                wild=app("wild", "[{host: '*.test', path: /}]")) as s:
        def expect(rows, when):
            for host, path, wanted in rows:
                body = s.get(path, headers={"Host": host})[2].split(b" ")[0].strip()
                check(body == wanted, f"{host} {path} {when}", body)

        expect((("a.test", "/x/y/z", b"deep"), ("a.test", "/x/z", b"a"), ("a.test", "/q", b"wild"),
                ("a.test.more", "/x", b"more"), ("A.Tes:1", "/x", b"less"), ("a.te", "/x", b"any"), ("a.testi", "/x", b"any"),
                ("b.test", "/x", b"wild"), ("z.test.", "/x", b"deep"), ("zz", "/x", b"any")), "at first")
        (s.apps / "deep.yaml").unlink()
        s.put_app("a", app("a", "[{host: a.test, path: /}]"))
        s.put_app("new", app("new", "[{host: a.te, path: /}, {host: '*.a.test', path: /}]"))
        s.signal(signal.SIGHUP)
        wait_for(lambda: "read again" in s.stderr())
        expect((("a.test", "/x/y/z", b"a"), ("a.test", "/q", b"a"), ("a.test.more", "/x", b"more"),
                ("a.te", "/x", b"new"), ("q.a.test", "/x", b"new"), ("z.test", "/x", b"wild")), "after a reload")
    with Server(shop=app("shop", "[{path: /shop}]")) as s:
        check(s.get("/other")[0] == 404, "no app: 404")


@test
def streams():
    events = sh(r"printf 'Content-Type: text/event-stream\r\n\r\n'; "
                "for i in 1 2 3; do printf 'data: %s\\n\\n' $i; sleep 0.4; done")
    with Server(events=events) as s:
        began = time.monotonic()
        with s.connect() as c:
            c.sendall(HEAD + b"\r\n")
            data, times = b"", []
            while data.count(b"data:") < 3:
                piece = c.recv(4096)
                times += [time.monotonic() - began] * piece.count(b"data:")
                data += piece
            check(times[0] < 0.35 and times[1] > 0.3 and times[2] > 0.7,
                  "server-sent events come as they are sent", times)
    # Both ways at once: each line is answered before the next is sent.
    upper = py(r"""
        import os
        os.write(1, b"Content-Type: text/plain\r\n\r\n")
        while data := os.read(0, 1000): os.write(1, data.upper())
        """)
    with Server(upper=upper) as s, s.connect() as c:
        c.sendall(CHUNKED)
        seen = b""
        for word in (b"one", b"two", b"three"):
            c.sendall(b"%x\r\n%s\r\n" % (len(word), word))
            while word.upper() not in seen:
                seen += c.recv(1000)
        c.sendall(b"0\r\n\r\n")
        check(wait_for(lambda: s.lines() and s.lines()[-1]["received_bytes"] == 11),
              "a conversation within one request", s.lines())


@test
def backpressure():
    flood = py(r"""
        import os, sys
        os.write(1, b"Content-Type: text/plain\r\n\r\n")
        for i in range(200): os.write(1, bytes(1 << 20))
        """) + "limits: {response: 1G}\n"
    sink = py("import time; time.sleep(6)") + "routes: [{path: /sink}]\nlimits: {body: 1G}\n"
    with Server(flood=flood, sink=sink) as s:
        before = s.metric("process_resident_memory_bytes")
        with s.connect(seconds=3) as slow, s.connect(seconds=1) as fast:
            slow.sendall(HEAD + b"\r\n")
            fast.sendall(POST.replace(b"/ ", b"/sink ") + b"Content-Length: 300000000\r\n\r\n")
            sent = 0
            try:
                while sent < 100 << 20:
                    sent += fast.send(bytes(1 << 16))
            except socket.timeout:
                pass
            check(sent < 30 << 20, "a guest that does not read stops its client", sent)
            grown = s.metric("process_resident_memory_bytes") - before
            check(grown < 8 << 20, "neither is kept in memory", grown)
            size = 0
            while size < 200 << 20:
                piece = slow.recv(1 << 20)
                if not piece:
                    break
                size += len(piece)
            check(size >= 200 << 20, "a slow client gets it all", size)


@test
def slow_clients():
    reads = sh("x=$(cat); " + OK) + "routes: [{path: /reads}]\n"
    with Server("--short", echo=ECHO, reads=reads) as s:
        began = time.monotonic()
        with s.connect() as c:
            answer = b""
            for byte in b"GET / HTTP/1.1\r\nHost: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa":
                try:
                    c.send(bytes([byte]))
                except OSError:
                    break
                time.sleep(0.05)
            answer = read_all(c)
        check(status_of(answer) == 408 and time.monotonic() - began < 4.5,
              "a head that dribbles in: 408", answer, time.monotonic() - began)
        answer = s.raw(b"POST /reads HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
        check(status_of(answer) == 408, "a body that stops: 408", answer)
        answer = s.raw(POST + b"Content-Length: 10\r\n\r\nabc")
        check(status_of(answer) == 200 and not answer.endswith(b"0\r\n\r\n"),
              "where the answer has begun, it breaks off", answer)
        began = time.monotonic()
        check(s.raw(b"") == b"" and time.monotonic() - began < 3, "a silent client is let go")
        with s.connect() as c:
            c.sendall(HEAD + b"\r\n")
            began = time.monotonic()
            answer = read_all(c)
            check(status_of(answer) == 200 and 0.8 < time.monotonic() - began < 3,
                  "an idle connection is closed after its time", time.monotonic() - began)
    flood = py(r"""
        import os
        os.write(1, b"Content-Type: text/plain\r\n\r\n")
        while True: os.write(1, bytes(1 << 20))
        """) + "limits: {response: 1G}\n"
    with Server("--short", flood=flood) as s:
        with s.connect() as c:
            c.sendall(HEAD + b"\r\n")
            check(wait_for(lambda: s.lines(), 6), "a client that does not read is let go")
    many = []
    with Server("--short", "--max-connections", 20, echo=ECHO) as s:
        many = [s.connect() for _ in range(60)]
        for c in many:
            c.sendall(b"GET / HT")
        began = time.monotonic()
        check(s.get("/")[0] == 200, "slowloris does not keep others out",
              time.monotonic() - began)
        for c in many:
            c.close()


@test
def clients_that_go():
    with Server(sleep=sh("sleep 60")) as s:
        c = s.connect()
        c.sendall(HEAD + b"\r\n")
        pid = wait_for(lambda: [t["pid"] for t in json.loads(s.get("/status", port=s.admin)[2])["tenant_list"]
                                if t["pid"]])
        check(pid, "the guest runs")
        c.close()
        check(wait_for(lambda: not alive(pid[0])), "it is ended when its client has gone")
        line = wait_for(lambda: s.lines())
        check(line and line[0]["status"] == 499 and line[0]["trouble"] == "client-gone",
              "the log says so", line)
        check(s.metric("hutch_app_troubles_total", app="sleep", reason="client-gone") == 1,
              "a metric too")


@test
def clients_that_have_all():
    """One that closes when it has the answer, before the guest is done, is no deserter."""
    app = sh(r"printf 'Content-Length: 2\r\n\r\nok'; sleep 0.5; exit 0")
    head = sh(r"printf 'A: b\r\n\r\n'; sleep 0.5; exit 0") + "routes: [{path: /head}]\n"
    with Server(app=app, head=head) as s:
        check(s.get("/")[2] == b"ok", "the answer comes at once")
        check(s.get("/head", "HEAD")[0] == 200, "and to HEAD")
        lines = wait_for(lambda: len(s.lines()) == 2 and s.lines())
        check(lines and all(x["status"] == 200 and "trouble" not in x and x["duration_s"] > 0.4
                            for x in lines), "the guest goes on to its end", lines)


@test
def troubles():
    codes = {70: (502, "trap"), 71: (502, "memory-limit"), 72: (504, "cpu-limit"),
             73: (504, "wall-limit"), 74: (502, "died"), 3: (502, "exit"), 0: (502, "exit")}
    apps = {f"x{code}": sh(f"exit {code}") + f"routes: [{{path: /{code}}}]\n" for code in codes}
    apps["late"] = sh(OK + "echo half; exit 70") + "routes: [{path: /late}]\n"
    apps["fails"] = sh("printf 'Status: 500 Oops\r\n\r\nsorry'; exit 1") \
        + "routes: [{path: /fails}]\n"
    apps["debug"] = sh("exit 70") + "debug: true\nroutes: [{path: /debug}]\n"
    with Server(**apps) as s:
        for code, (status, word) in codes.items():
            got = s.get(f"/{code}")
            check(got[0] == status, f"exit {code}: {status}", got)
            check(b"wasm trap" not in got[2], "the client is not told what")
            line = wait_for(lambda: [x for x in s.lines() if x["target"] == f"/{code}"])
            check(line and line[0]["trouble"] == word, f"the log says {word}", line)
        try:
            got = s.get("/late")
            check(False, "an answer that breaks off looks complete", got)
        except (http.client.IncompleteRead, ConnectionResetError) as e:
            check(True, "an answer that breaks off can be told", e)
        check(s.get("/fails")[0] == 500 and s.get("/fails")[2] == b"sorry",
              "a program may fail and answer")
        check(b"wasm trap: as the test wants it" in s.get("/debug")[2], "debug: true tells")
        entry = [x for x in s.lines("log") if x.get("app") == "x71"]
        check(entry and entry[0]["limit"] == "memory" and "0x12 - app!main" in entry[0]["message"]
              and entry[0]["level"] == "error", "app, limit and backtrace are in the log", entry)


@test
def limits():
    with Server(echo=ECHO + "limits: {body: 1000, response: 2000, instances: 1}\n",
                wait=sh("sleep 2; " + OK) + "limits: {instances: 1}\nroutes: [{path: /wait}]\n",
                flood=sh(OK + "head -c 5000 /dev/zero") + "limits: {response: 2000}\n"
                "routes: [{path: /flood}]\n",
                says=sh(r"printf 'Content-Length: 5000\r\n\r\n'; head -c 5000 /dev/zero")
                + "limits: {response: 2000}\nroutes: [{path: /says}]\n") as s:
        check(s.get("/", "POST", bytes(1000))[0] == 200, "a body at the limit")
        check(s.get("/", "POST", bytes(1001))[0] == 413, "a body over the limit: 413")
        answer = s.raw(CHUNKED + b"3e9\r\n" + bytes(1001) + b"\r\n0\r\n\r\n")
        check(status_of(answer) == 413, "the same in chunks", answer[:200])
        check(s.get("/says")[0] == 502, "an answer that says it is over the limit: 502")
        try:
            got = s.get("/flood")
            check(got[0] == 502, "an answer over the limit", got[0])
        except http.client.IncompleteRead:
            check(True, "an answer over the limit breaks off")
        with s.connect() as c:
            c.sendall(b"GET /wait HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            time.sleep(0.2)
            status, headers, _ = s.get("/wait")
            check(status == 503 and headers.get("Retry-After") == "1",
                  "no room: 503 with Retry-After", status, headers)
            check(s.get("/")[0] == 200, "the neighbour does not notice")
            check(status_of(read_all(c)) == 200, "nor does the one that has the room")


@test
def answers_that_are_none():
    cases = {
        "empty": ("", 502), "no-colon": (r"hello\r\n\r\nbody", 502),
        "control": (r"A: b\001c\r\n\r\n", 502), "status": (r"Status: 99\r\n\r\n", 502),
        "status-word": (r"Status: fine\r\n\r\n", 502), "spaces": (r"A b: c\r\n\r\n", 502),
        "lengths": (r"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 502),
        "interim": (r"Status: 101\r\n\r\n", 502),
        "redirect": (r"Location: /x\r\n\r\n", 302), "lf": (r"A: b\n\nbody", 200),
        "status-only": (r"Status: 404 Gone\n\n", 404), "none": (r"Status: 204\r\n\r\nbody", 204),
        "long": (r"Content-Length: 2\r\n\r\nabcdef", 200),
    }
    apps = {name: sh(f"printf '{text}'") + f"routes: [{{path: /{name}}}]\n"
            for name, (text, _) in cases.items()}
    apps["short"] = sh(r"printf 'Content-Length: 9\r\n\r\nabc'") + "routes: [{path: /short}]\n"
    apps["endless"] = py("import os\nwhile True: os.write(1, b'A: b\\n' * 1000)") \
        + "routes: [{path: /endless}]\n"
    apps["hop"] = sh(r"printf 'Connection: X-Secret\r\nX-Secret: 1\r\nKeep-Alive: 9\r\n"
                     r"Transfer-Encoding: chunked\r\nUpgrade: h2c\r\nX-Plain: 2\r\n\r\nbody'") \
        + "routes: [{path: /hop}]\n"
    with Server(**apps) as s:
        for name, (_, status) in cases.items():
            got = s.get("/" + name)
            check(got[0] == status, f"{name}: {status}", got)
        check(s.get("/long")[2] == b"ab", "what is beyond Content-Length is not sent")
        check(s.get("/none")[2] == b"", "204 has no body")
        check(s.get("/endless")[0] == 502, "a head without end")
        try:
            got = s.get("/short")
            check(False, "an answer that is too short looks complete", got)
        except http.client.IncompleteRead:
            check(True, "an answer that is too short can be told")
        status, headers, body = s.get("/hop")
        check(body == b"body" and "X-Plain" in headers and not {"X-Secret", "Keep-Alive",
              "Upgrade"} & set(headers), "hop-by-hop fields stay behind", headers, body)


HTTP_APP = r"""
    import os, sys
    data = b""
    while b"\r\n\r\n" not in data: data += os.read(0, 65536)
    head, _, body = data.partition(b"\r\n\r\n")
    if b"chunked" in head:
        while not body.endswith(b"0\r\n\r\n"): body += os.read(0, 65536)
    target = head.split()[1]
    def put(*parts):
        for part in parts: os.write(1, part)
    if target == b"/length": put(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello more")
    if target == b"/chunks": put(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                                 b"3\r\nabc\r\n", b"2\r\nde\r\n0\r\n\r\n")
    if target == b"/close": put(b"HTTP/1.0 200 OK\r\n\r\nuntil the end")
    if target == b"/interim": put(b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n",
                                  b"HTTP/1.1 201 Made\r\nContent-Length: 2\r\n\r\nok")
    if target == b"/see": put(b"HTTP/1.1 200 OK\r\n\r\n" + head + b"\n" + body)
    if target == b"/bad": put(b"HTTP/9 200 OK\r\n\r\n")
    if target == b"/badchunk": put(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
    if target == b"/both": put(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n"
                               b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    if target == b"/upgrade": put(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n")
    if target == b"/cut": put(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello")
    if target == b"/split": put(b"HTTP/1.1 200 OK\r\nA: b\rX: y\r\nContent-Length: 0\r\n\r\n")
    """


@test
def apps_that_speak_http():
    with Server(app="interface: http\n" + py(HTTP_APP)) as s:
        check(s.get("/length")[2] == b"hello", "by length")
        check(s.get("/chunks")[2] == b"abcde", "in chunks")
        check(s.get("/close")[2] == b"until the end", "until the close")
        got = s.get("/interim")
        check((got[0], got[2]) == (201, b"ok") and "Link" not in got[1], "an interim answer", got)
        check(s.get("/length", "HEAD")[2] == b"", "HEAD")
        seen = s.get("/see", "POST", iter([b"a", b"b"]), {
            "Connection": "X-Hop", "X-Hop": "1", "X-Forwarded-For": "1.2.3.4", "X-App": "2"})[2]
        check(seen.startswith(b"POST /see HTTP/1.1\r\n") and b"\r\nConnection: close\n" in seen
              and b"X-Hop" not in seen and b"X-App: 2" in seen
              and b"X-Forwarded-For: 1.2.3.4, 127.0.0.1" in seen
              and seen.endswith(b"\r\n0\r\n\r\n"), "what the app sees", seen)
        for path in ("/bad", "/both", "/upgrade", "/split"):
            check(s.get(path)[0] == 502, f"{path}: 502")
        for path in ("/badchunk", "/cut"):
            try:
                got = s.get(path)
                check(False, f"{path} looks complete", got)
            except (http.client.IncompleteRead, ConnectionResetError):
                check(True, f"{path} can be told")


@test
def many_at_once():
    with Server(echo=ECHO + "limits: {instances: 100}\n") as s:
        def client(i):
            c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=30)
            good = 0
            for j in range(4):
                body = os.urandom(10000)
                c.request("POST", f"/{i}/{j}", body)
                good += c.getresponse().read() == f"POST /{i}/{j} 10000\n".encode() + body
            c.close()
            return good
        with concurrent.futures.ThreadPoolExecutor(50) as pool:
            good = sum(pool.map(client, range(50)))
        check(good == 200, "50 connections, 4 requests each", good)
        wait_for(lambda: len(s.lines()) >= 200)
        check(len(s.lines()) == 200, "each in the log once", len(s.lines()))
        check(wait_for(lambda: s.metric("hutch_connections") == 0), "no connection is left")


@test
def unix_sockets():
    with Server("--listen", "unix:u.sock", echo=ECHO) as s:
        path = s.dir / "u.sock"
        out = subprocess.run(["curl", "-sS", "--unix-socket", path, "http://x/a"],
                             capture_output=True)
        check(out.stdout == b"GET /a none\n", "a request over a Unix socket", out)
        check(path.stat().st_mode & 0o777 == 0o660, "nobody else may connect")
        s.stop()
        check(not path.exists(), "it is removed at the end")
