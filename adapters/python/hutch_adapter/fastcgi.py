"""FastCGI, the responder's side: one request a connection, as `hutch serve` sends them, and several
one after the other where FCGI_KEEP_CONN asks for it. Multiplexed requests are refused, which the
protocol allows (FCGI_CANT_MPX_CONN). Specification: FastCGI 1.0, sections 3 to 6.
"""

import struct

from hutch_adapter import sockets

LISTEN_FD = 0  # FCGI_LISTENSOCK_FILENO

BEGIN, ABORT, END, PARAMS, STDIN, STDOUT, STDERR, DATA, GET_VALUES, GET_VALUES_RESULT, UNKNOWN = range(1, 12)
RESPONDER = 1
KEEP_CONN = 1
REQUEST_COMPLETE, CANT_MPX_CONN, OVERLOADED, UNKNOWN_ROLE = range(4)
MOST = 65528  # of content in a record: under 64 KiB and a multiple of 8
PARAMS_MOST = 1 << 20

_header = struct.Struct("!BBHHBx")
_end_body = struct.Struct("!IB3x")
_long = struct.Struct("!I")


class ProtocolError(Exception):
    pass


def record(kind, request, content=b""):
    """Content in as many records as it takes; none, where it is empty, ends a stream."""
    if len(content) <= MOST:
        return _header.pack(1, kind, request, len(content), 0) + content
    parts = []
    for at in range(0, len(content), MOST):
        piece = content[at : at + MOST]
        parts += (_header.pack(1, kind, request, len(piece), 0), piece)
    return b"".join(parts)


def pairs(data):
    """Name-value pairs (3.4) -> a dictionary of Latin-1 texts."""
    result, at, end = {}, 0, len(data)
    try:
        while at < end:
            name, at = data[at], at + 1
            if name > 127:
                name = _long.unpack_from(data, at - 1)[0] & 0x7FFFFFFF
                at += 3
            value, at = data[at], at + 1
            if value > 127:
                value = _long.unpack_from(data, at - 1)[0] & 0x7FFFFFFF
                at += 3
            middle = at + name
            last = middle + value
            if last > end:
                raise ProtocolError("a name-value pair is cut off")
            result[data[at:middle].decode("latin-1")] = data[middle:last].decode("latin-1")
            at = last
    except (IndexError, struct.error):
        raise ProtocolError("a name-value pair is cut off") from None
    return result


class Connection:
    """Records of one connection."""

    def __init__(self, fd):
        self.fd = fd
        self.buffer = b""
        self.at = 0

    def next_record(self):
        """(kind, request, content), or None at the end."""
        header = self.exactly(8)
        if header is None:
            return None
        version, kind, request, length, padding = _header.unpack(header)
        if version != 1:
            raise ProtocolError(f"FastCGI version {version}")
        content = self.exactly(length + padding)
        if content is None:
            raise sockets.Gone()
        return kind, request, content[:length] if padding else content

    def exactly(self, size):
        if len(self.buffer) - self.at < size:
            parts, have = [self.buffer[self.at :]], len(self.buffer) - self.at
            self.buffer, self.at = b"", 0
            while have < size:
                piece = sockets.receive(self.fd)
                if not piece:
                    if have:
                        raise sockets.Gone()
                    return None
                parts.append(piece)
                have += len(piece)
            self.buffer = b"".join(parts)
        start = self.at
        self.at += size
        return self.buffer[start : self.at]

    def next_exchange(self):
        """The next request, or None where the connection ends."""
        while True:
            got = self.next_record()
            if got is None:
                return None
            kind, request, content = got
            if kind == BEGIN:
                if len(content) < 3:
                    raise ProtocolError("FCGI_BEGIN_REQUEST is cut off")
                role, flags = content[0] << 8 | content[1], content[2]
                if role != RESPONDER:
                    self.end(request, UNKNOWN_ROLE)
                    continue
                params = self.params(request)
                if params is None:
                    continue
                return Exchange(self, request, bool(flags & KEEP_CONN), params)
            if request == 0:
                self.management(kind, content)
            # What is left of a request that has ended is skipped.

    def params(self, request):
        parts, size = [], 0
        while True:
            got = self.next_record()
            if got is None:
                raise sockets.Gone()
            kind, other, content = got
            if other == 0:
                self.management(kind, content)
            elif other != request:
                if kind == BEGIN:
                    self.end(other, CANT_MPX_CONN)
            elif kind == ABORT:
                self.end(request)
                return None
            elif kind == PARAMS:
                if not content:
                    return pairs(b"".join(parts) if len(parts) != 1 else parts[0])
                size += len(content)
                if size > PARAMS_MOST:
                    raise ProtocolError("the request's parameters are larger than 1 MiB")
                parts.append(content)

    def management(self, kind, content):
        if kind == GET_VALUES:
            known = {"FCGI_MAX_CONNS": b"1", "FCGI_MAX_REQS": b"1", "FCGI_MPXS_CONNS": b"0"}
            answer = b"".join(
                bytes((len(name), len(known[name]))) + name.encode() + known[name]
                for name in pairs(content)
                if name in known
            )
            sockets.send(self.fd, record(GET_VALUES_RESULT, 0, answer))
        else:
            sockets.send(self.fd, record(UNKNOWN, 0, bytes((kind, 0, 0, 0, 0, 0, 0, 0))))

    def end(self, request, why=REQUEST_COMPLETE):
        sockets.send(self.fd, record(END, request, _end_body.pack(0, why)))


class Exchange:
    def __init__(self, connection, request, keep, environ):
        self.connection, self.request, self.keep = connection, request, keep
        self.environ = environ
        self.body_ended = False
        self.rest = b""
        self.out = []
        self.out_size = 0
        self.complete = False

    @property
    def wait_closed(self):
        return self.connection.fd

    def read(self, size=sockets.CHUNK):
        """At least one byte and at most size of the body; b"" at its end."""
        while not self.rest and not self.body_ended:
            got = self.connection.next_record()
            if got is None:
                raise sockets.Gone()
            kind, request, content = got
            if request != self.request:
                if request == 0:
                    self.connection.management(kind, content)
                elif kind == BEGIN:
                    self.connection.end(request, CANT_MPX_CONN)
            elif kind == STDIN:
                self.rest = content
                self.body_ended = not content
            elif kind == ABORT:
                raise sockets.Gone()
        piece, self.rest = self.rest[:size], self.rest[size:]
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
        if self.out_size:
            data = b"".join(self.out)
            self.out, self.out_size = [], 0
            sockets.send(self.connection.fd, record(STDOUT, self.request, data))

    def finish(self):
        if self.complete:
            return
        self.complete = True
        data = b"".join(self.out)
        self.out, self.out_size = [], 0
        # One write for an answer that fits.
        tail = record(STDOUT, self.request) + record(
            END, self.request, _end_body.pack(0, REQUEST_COMPLETE)
        )
        sockets.send(
            self.connection.fd, (record(STDOUT, self.request, data) if data else b"") + tail
        )


def exchanges():
    """Request after request, for as long as there are any."""
    while True:
        fd = sockets.accept(LISTEN_FD)
        connection = Connection(fd)
        try:
            while True:
                exchange = connection.next_exchange()
                if exchange is None:
                    break
                yield exchange
                if not exchange.keep:
                    break
        except (sockets.Gone, ProtocolError) as error:
            sockets.log(f"hutch: a request was dropped: {error or 'the client has gone'}")
        finally:
            sockets.close(fd)
