"""HTTP/1.1 on an accepted connection, the server's side, one request a connection: what `hutch
serve` sends has been checked and put into one form, so this is a reader of that form, not a server
for the network. RFC 9112.
"""

from hutch_adapter import sockets

LISTEN_FD = 3
HEAD_MOST = 256 << 10


class ProtocolError(Exception):
    pass


def unquote(path):
    """%41 -> A, as Latin-1 text of the bytes (PEP 3333)."""
    if "%" not in path:
        return path
    first, *rest = path.split("%")
    out = [first]
    for part in rest:
        try:
            out.append(chr(int(part[:2], 16)) + part[2:] if len(part) > 1 else "%" + part)
        except ValueError:
            out.append("%" + part)
    return "".join(out)


def environment(head):
    """The request's head -> CGI's variables."""
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise ProtocolError("no HTTP/1.1 request")
    method, target, protocol = words
    if "://" in target and not target.startswith("/"):
        target = "/" + target.split("://", 1)[1].partition("/")[2]
    path, _, query = target.partition("?")
    environ = {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "REQUEST_METHOD": method,
        "REQUEST_URI": target,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote(path),
        "QUERY_STRING": query,
        "SERVER_PROTOCOL": protocol,
        "SERVER_SOFTWARE": "hutch",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "REMOTE_ADDR": "",
    }
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name[-1] in " \t":
            raise ProtocolError("a header without a name")
        key = name.upper().replace("-", "_")
        if "_" in name:
            continue  # X_A and X-A would be the same
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = "HTTP_" + key
        value = value.strip(" \t")
        if key in environ:
            value = environ[key] + ("; " if key == "HTTP_COOKIE" else ",") + value
        environ[key] = value
    host = environ.get("HTTP_HOST", "")
    if host:
        name, colon, port = host.rpartition(":")
        if colon and port.isdigit():
            environ["SERVER_NAME"], environ["SERVER_PORT"] = name, port
        else:
            environ["SERVER_NAME"] = host
    forwarded = environ.get("HTTP_X_FORWARDED_FOR", "")
    if forwarded:
        environ["REMOTE_ADDR"] = forwarded.split(",")[0].strip()
    if environ.get("HTTP_X_FORWARDED_PROTO") == "https":
        environ["HTTPS"] = "on"
    return environ


class Exchange:
    def __init__(self, fd):
        self.fd = fd
        data = b""
        while b"\r\n\r\n" not in data:
            piece = sockets.receive(fd)
            if not piece or len(data) > HEAD_MOST:
                raise ProtocolError("the request's head is cut off" if data else "no request")
            data += piece
        head, _, self.buffer = data.partition(b"\r\n\r\n")
        self.environ = environment(head)
        self.chunked = self.environ.pop("HTTP_TRANSFER_ENCODING", "").lower() == "chunked"
        self.left = 0 if self.chunked else int(self.environ.get("CONTENT_LENGTH") or 0)
        self.body_ended = not self.chunked and self.left == 0
        if self.environ.get("HTTP_EXPECT", "").lower() == "100-continue" and not self.body_ended:
            sockets.send(fd, b"HTTP/1.1 100 Continue\r\n\r\n")
        self.out = []
        self.out_size = 0
        self.out_chunked = False
        self.no_body = self.environ["REQUEST_METHOD"] == "HEAD"
        self.complete = False

    @property
    def wait_closed(self):
        return self.fd

    def more(self):
        piece = sockets.receive(self.fd)
        if not piece:
            raise sockets.Gone()
        self.buffer += piece

    def line(self):
        while b"\r\n" not in self.buffer:
            if len(self.buffer) > 8192:
                raise ProtocolError("a chunk's line is too long")
            self.more()
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line

    def read(self, size=sockets.CHUNK):
        """At least one byte and at most size of the body; b"" at its end."""
        if self.body_ended:
            return b""
        if self.chunked and self.left == 0:
            try:
                self.left = int(self.line().split(b";")[0], 16)
            except ValueError:
                raise ProtocolError("a chunk has no size") from None
            if self.left == 0:
                while self.line():
                    pass
                self.body_ended = True
                return b""
        if not self.buffer:
            self.more()
        piece = self.buffer[: min(size, self.left)]
        self.buffer = self.buffer[len(piece) :]
        self.left -= len(piece)
        if self.chunked and self.left == 0:
            self.line()
        elif self.left == 0:
            self.body_ended = True
        return piece

    def start(self, status, headers):
        names = {name.lower() for name, _ in headers}
        code = status[:3]
        self.no_body = self.no_body or code in ("204", "304")
        head = [f"HTTP/1.1 {status}\r\n"]
        head += [f"{name}: {value}\r\n" for name, value in headers]
        if not self.no_body and "content-length" not in names:
            self.out_chunked = True
            head.append("Transfer-Encoding: chunked\r\n")
        head.append("Connection: close\r\n\r\n")
        self.put("".join(head).encode("latin-1"))

    def put(self, data):
        self.out.append(data)
        self.out_size += len(data)
        if self.out_size > sockets.CHUNK:
            self.flush()

    def write(self, data):
        if not data or self.no_body:
            return
        if self.out_chunked:
            self.put(b"%x\r\n%b\r\n" % (len(data), data))
        else:
            self.put(data)

    def flush(self):
        if self.out_size:
            data = b"".join(self.out)
            self.out, self.out_size = [], 0
            sockets.send(self.fd, data)

    def finish(self):
        if self.complete:
            return
        self.complete = True
        if self.out_chunked:
            self.put(b"0\r\n\r\n")
        self.flush()


def exchanges():
    while True:
        fd = sockets.accept(LISTEN_FD)
        try:
            yield Exchange(fd)
        except (sockets.Gone, ProtocolError) as error:
            sockets.log(f"hutch: a request was dropped: {error or 'the client has gone'}")
        finally:
            sockets.close(fd)
