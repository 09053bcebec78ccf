"""A WSGI application that shows what it is given and does what it is asked."""

import gc
import os
import random
import secrets
import sys
import tempfile
import time
import uuid

count = 0
warmed = ""  # what a warm-up request came to
own = random.Random()  # without a seed of its own
own.random()
tempfile._get_candidate_names()  # as if a name had been made already


def application(environ, start_response):
    global count, warmed
    count += 1
    if "HTTP_X_EDGE_INSTABOOT" in environ:
        warmed += " ".join(environ[k] for k in ("HTTP_HOST", "SERVER_NAME", "SERVER_PORT")) + "\n"
    path = environ["PATH_INFO"]
    query = environ["QUERY_STRING"]
    if path == "/environ":
        body = "".join(f"{k}={v}\n" for k, v in sorted(environ.items()) if isinstance(v, str))
        start_response("200 OK", [("Content-Type", "text/plain; charset=latin-1")])
        return [body.encode("latin-1")]
    if path == "/frozen":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(gc.get_freeze_count()).encode()]
    if path == "/warmed":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [warmed.encode()]
    if path == "/echo":
        data = environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Length", str(len(data))), ("X-Method", environ["REQUEST_METHOD"])])
        return [data]
    if path == "/lines":
        lines = list(environ["wsgi.input"])
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"{len(line)}\n".encode() for line in lines]
    if path == "/stream":
        start_response("200 OK", [("Content-Type", "text/event-stream")])

        def events():
            for i in range(int(query or 3)):
                yield f"data: {i}\n\n".encode()
                time.sleep(0.05)

        return events()
    if path == "/large":
        size = int(query)
        start_response("200 OK", [("Content-Length", str(size))])
        return (b"x" * min(100_000, size - at) for at in range(0, size, 100_000))
    if path == "/write":
        write = start_response("200 OK", [])
        write(b"first ")
        return [b"second"]
    if path == "/raise":
        raise RuntimeError("asked to")
    if path == "/raise-late":
        start_response("200 OK", [("Content-Type", "text/plain")])

        def broken():
            yield b"begun\n"
            raise RuntimeError("asked to, late")

        return broken()
    if path == "/split":
        start_response("200 OK", [("X-A", "b\r\nX-C: d")])
        return [b""]
    if path == "/nothing":
        return [b"no start_response"]
    if path == "/random":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"{random.random()} {uuid.uuid4()} {os.urandom(8).hex()}\n".encode()]
    if path == "/tokens":
        start_response("200 OK", [("Content-Type", "text/plain")])
        tokens = (random.random(), random.getrandbits(64), own.random(), random.sample(range(10**9), 2), uuid.uuid4(),
                  uuid.uuid1(), secrets.token_hex(8), next(tempfile._get_candidate_names()), os.urandom(8).hex())
        return [" ".join(str(t).replace(" ", "") for t in tokens).encode() + b"\n"]
    if path == "/count":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"{count}\n".encode()]
    if path == "/log":
        print("to standard output")
        print("to the log", file=environ["wsgi.errors"])
        start_response("204 No Content", [])
        return []
    if path == "/exit":
        sys.exit(3)
    start_response("404 Not Found", [("Content-Type", "text/plain")])
    return [b"no such page\n"]
