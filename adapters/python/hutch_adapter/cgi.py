"""One request in the environment and on standard input: interface cgi, and a way to try an app from
a shell. RFC 3875.
"""

import os

from hutch_adapter import sockets


class Exchange:
    wait_closed = None

    def __init__(self):
        self.environ = {
            key: value.encode("utf-8", "surrogateescape").decode("latin-1")
            for key, value in os.environ.items()
        }
        length = self.environ.get("CONTENT_LENGTH")
        self.left = int(length) if length and length.isdigit() else None
        if self.left is None and "HTTP_TRANSFER_ENCODING" not in self.environ:
            self.left = 0
        self.out = []
        self.out_size = 0
        self.complete = False

    def read(self, size=sockets.CHUNK):
        if self.left == 0:
            return b""
        piece = os.read(0, size if self.left is None else min(size, self.left))
        if self.left is not None:
            self.left -= len(piece)
        if not piece:
            self.left = 0
        return piece

    def start(self, status, headers):
        head = [f"Status: {status}\r\n"]
        head += [f"{name}: {value}\r\n" for name, value in headers]
        head.append("\r\n")
        self.write("".join(head).encode("latin-1"))

    def write(self, data):
        self.out.append(data)
        self.out_size += len(data)
        if self.out_size > sockets.CHUNK:
            self.flush()

    def flush(self):
        data = b"".join(self.out)
        self.out, self.out_size = [], 0
        sockets.send(1, data)

    def finish(self):
        if not self.complete:
            self.complete = True
            self.flush()


def exchanges():
    yield Exchange()
