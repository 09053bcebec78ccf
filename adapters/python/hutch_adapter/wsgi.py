"""An exchange -> a call of a WSGI application (PEP 3333)."""

import sys
import traceback

from hutch_adapter import fresh, settled, sockets


class Input:
    """wsgi.input over an exchange. It ends where the body does (wsgi.input_terminated)."""

    def __init__(self, exchange):
        self.exchange = exchange
        self.buffer = b""

    def read(self, size=-1):
        if size is None or size < 0:
            parts = [self.buffer]
            self.buffer = b""
            while piece := self.exchange.read():
                parts.append(piece)
            return b"".join(parts)
        while len(self.buffer) < size and (piece := self.exchange.read()):
            self.buffer += piece
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def readline(self, size=-1):
        most = None if size is None or size < 0 else size
        searched = 0
        while True:
            at = self.buffer.find(b"\n", searched, most)
            if at >= 0 or (most is not None and len(self.buffer) >= most):
                break
            searched = len(self.buffer)
            piece = self.exchange.read()
            if not piece:
                break
            self.buffer += piece
        end = at + 1 if at >= 0 else len(self.buffer) if most is None else most
        line, self.buffer = self.buffer[:end], self.buffer[end:]
        return line

    def readlines(self, hint=-1):
        lines, size = [], 0
        while line := self.readline():
            lines.append(line)
            size += len(line)
            if hint is not None and 0 < hint <= size:
                break
        return lines

    def __iter__(self):
        while line := self.readline():
            yield line


class FileWrapper:
    """wsgi.file_wrapper: a file in pieces."""

    def __init__(self, file, size=sockets.CHUNK):
        self.file, self.size = file, size
        if hasattr(file, "close"):
            self.close = file.close

    def __iter__(self):
        while data := self.file.read(self.size):
            yield data


class Answer:
    """The state of start_response."""

    def __init__(self, exchange):
        self.exchange = exchange
        self.status = None
        self.headers = None
        self.sent = False

    def start_response(self, status, headers, exc_info=None):
        if exc_info:
            try:
                if self.sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self.status is not None:
            raise AssertionError("start_response was called before")
        # A line break in a header would begin another one.
        for text in [status] + [part for pair in headers for part in pair]:
            if "\n" in text or "\r" in text:
                raise ValueError("a header holds a line break")
        self.status, self.headers = status, list(headers)
        return self.write

    def begin(self):
        if not self.sent:
            if self.status is None:
                raise AssertionError("the application did not call start_response")
            self.sent = True
            self.exchange.start(self.status, self.headers)

    def write(self, data):
        """What start_response returns: sends at once."""
        self.begin()
        self.exchange.write(data)
        self.exchange.flush()


def complete(environ):
    """CGI's variables -> WSGI's."""
    environ.setdefault("SCRIPT_NAME", "")
    environ.setdefault("PATH_INFO", "")
    environ.setdefault("QUERY_STRING", "")
    if environ["SCRIPT_NAME"] == "/":
        environ["SCRIPT_NAME"] = ""
    https = environ.get("HTTPS", "").lower() in ("on", "1")
    # httpoxy: a client's Proxy header is no setting.
    environ.pop("HTTP_PROXY", None)
    if environ.get("CONTENT_LENGTH") == "":
        del environ["CONTENT_LENGTH"]
    return https


def serve(application, exchange):
    """One request, whatever the application does."""
    environ = exchange.environ
    https = complete(environ)
    environ.update(
        {
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "https" if https else "http",
            "wsgi.input": Input(exchange),
            "wsgi.input_terminated": True,
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": False,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
            "wsgi.file_wrapper": FileWrapper,
        }
    )
    answer = Answer(exchange)
    result = None
    try:
        result = application(environ, answer.start_response)
        single = type(result) in (list, tuple) and len(result) == 1
        for data in result:
            if not data:
                continue
            answer.begin()
            exchange.write(data)
            if not single:
                exchange.flush()  # PEP 3333: no block is delayed
        answer.begin()
        exchange.finish()
    except sockets.Gone:
        pass
    except SystemExit:
        raise
    except BaseException:
        failed(exchange, answer)
    finally:
        if hasattr(result, "close"):
            try:
                result.close()
            except BaseException:
                traceback.print_exc()
        sys.stderr.flush()
        sys.stdout.flush()


def failed(exchange, answer):
    """The application raised: a line for the log; 500, if nothing has been sent."""
    traceback.print_exc()
    try:
        if not answer.sent:
            body = b"Internal Server Error\n"
            exchange.out, exchange.out_size = [], 0
            exchange.start(
                "500 Internal Server Error",
                [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))],
            )
            exchange.write(body)
            exchange.finish()
        # Otherwise the answer stays incomplete, and the connection closes: the front sees that.
    except sockets.Gone:
        pass


def main(application, exchanges):
    for exchange in exchanges:
        fresh.before_request()
        warm_up = settled.WARM_UP in exchange.environ
        serve(application, exchange)
        if warm_up:
            settled.after_warm_up()
