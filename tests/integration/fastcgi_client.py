"""The web server's side of FastCGI and HTTP, for tests: one request a connection, the answer in
pieces as they come."""

import contextlib
import socket
import struct
import time


def record(kind, content=b"", request=1):
    return b"".join(
        struct.pack("!BBHHBx", 1, kind, request, len(content[at:at + 65535]), 0) + content[at:at + 65535]
        for at in range(0, max(len(content), 1), 65535))


def pairs(values):
    out = b""
    for name, value in values.items():
        name, value = name.encode("latin-1"), value.encode("latin-1")
        for text in (name, value):
            out += struct.pack("!I", len(text) | 1 << 31) if len(text) > 127 else bytes([len(text)])
        out += name + value
    return out


class Answer:
    def __init__(self):
        self.data, self.error, self.ended, self.pieces = b"", b"", False, []
        self.status, self.headers, self.body = None, {}, b""

    def close(self):
        head, blank, self.body = self.data.partition(b"\r\n\r\n")
        if not blank:
            return self
        for line in head.decode("latin-1").split("\r\n"):
            name, _, value = line.partition(": ")
            if name.startswith("HTTP/"):
                self.status = int(name.split()[1])
            elif name.lower() == "status":
                self.status = int(value[:3])
            else:
                self.headers[name.lower()] = value
        if self.status is None:
            self.status = 200
        if self.headers.get("transfer-encoding") == "chunked":
            rest, self.body, self.ended = self.body, b"", False
            while rest:
                size, _, rest = rest.partition(b"\r\n")
                size = int(size, 16)
                if size == 0:
                    self.ended = rest == b"\r\n"
                    break
                self.body += rest[:size]
                rest = rest[size + 2:]
        return self

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")


def environment(method, target, headers, body):
    path, _, query = target.partition("?")
    values = {
        "GATEWAY_INTERFACE": "CGI/1.1", "REQUEST_METHOD": method, "REQUEST_URI": target,
        "SCRIPT_NAME": "", "PATH_INFO": path, "QUERY_STRING": query, "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "test", "SERVER_PORT": "80", "REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "test",
    }
    if body is not None:
        values["CONTENT_LENGTH"] = str(len(body))
    for name, value in (headers or {}).items():
        key = name.upper().replace("-", "_")
        values[key if key == "CONTENT_TYPE" else "HTTP_" + key] = value
    return values


def connect(place, seconds=20):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(seconds)
    s.connect(str(place))
    return s


def send(s, data):
    """An answer may come, and the connection end, before all has been sent."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        s.sendall(data)


def receive(s):
    try:
        return s.recv(65536)
    except ConnectionResetError:
        return b""


def request(values, body=b""):
    """A whole request."""
    return (record(1, struct.pack("!HB5x", 1, 0)) + record(4, pairs(values)) + record(4)
            + (record(5, body) if body else b"") + record(5))


def fastcgi(place, method, target, headers=None, body=None, extra=None):
    answer = Answer()
    values = environment(method, target, headers, body)
    values.update(extra or {})
    with contextlib.closing(connect(place)) as s:
        send(s, request(values, body))
        data = b""
        while not answer.ended:
            piece = receive(s)
            if not piece:
                break
            data += piece
            while len(data) >= 8:
                _, kind, _, length, padding = struct.unpack("!BBHHBx", data[:8])
                if len(data) < 8 + length + padding:
                    break
                content, data = data[8:8 + length], data[8 + length + padding:]
                if kind == 6 and content:
                    answer.data += content
                    answer.pieces.append((time.monotonic(), content))
                elif kind == 7:
                    answer.error += content
                elif kind == 3:
                    answer.ended = True
    return answer.close()


def http(place, method, target, headers=None, body=None, chunked=False):
    answer = Answer()
    lines = [f"{method} {target} HTTP/1.1", "Host: test"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if chunked:
        lines.append("Transfer-Encoding: chunked")
        third = max(1, len(body) // 3)
        body = b"".join(b"%x\r\n%b\r\n" % (len(body[at:at + third]), body[at:at + third])
                        for at in range(0, len(body), third)) + b"0\r\n\r\n"
    elif body is not None:
        lines.append(f"Content-Length: {len(body)}")
    with contextlib.closing(connect(place)) as s:
        send(s, "\r\n".join(lines + ["", ""]).encode("latin-1") + (body or b""))
        while piece := receive(s):
            answer.data += piece
            answer.pieces.append((time.monotonic(), piece))
        answer.ended = True
    return answer.close()
