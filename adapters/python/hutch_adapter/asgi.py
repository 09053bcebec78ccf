"""An exchange -> a call of an ASGI application (ASGI 3, HTTP and lifespan). One request at a time:
the event loop runs while there is one, and stands still while the process waits for the next.

`startup` of the lifespan protocol runs before the first request is asked for, so that a snapshot
holds what it made. Tasks that an application leaves behind go on during later requests.
"""

import asyncio
import os
import sys
import traceback
from http import HTTPStatus

from hutch_adapter import fresh, loop as loops, settled, sockets

_reasons = {int(status): f"{int(status)} {status.phrase}" for status in HTTPStatus}


def scope_of(environ, state):
    headers = []
    for key, value in environ.items():
        if key.startswith("HTTP_") and key != "HTTP_PROXY":
            headers.append((key[5:].replace("_", "-").lower().encode("latin-1"), value.encode("latin-1")))
        elif key in ("CONTENT_TYPE", "CONTENT_LENGTH") and value:
            headers.append((key.replace("_", "-").lower().encode(), value.encode("latin-1")))
    root = environ.get("SCRIPT_NAME", "")
    root = "" if root == "/" else root
    # Frameworks old and new agree where the path does not repeat root_path.
    path = environ.get("PATH_INFO", "")
    raw = environ.get("REQUEST_URI", "").partition("?")[0].encode("latin-1")
    prefix = root.encode("latin-1")
    raw = raw[len(prefix) :] if raw.startswith(prefix + b"/") else path.encode("latin-1")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": environ.get("SERVER_PROTOCOL", "HTTP/1.1").partition("/")[2] or "1.1",
        "method": environ.get("REQUEST_METHOD", "GET").upper(),
        "scheme": "https" if environ.get("HTTPS", "").lower() in ("on", "1") else "http",
        "path": path.encode("latin-1").decode("utf-8", "replace"),
        "raw_path": raw,
        "query_string": environ.get("QUERY_STRING", "").encode("latin-1"),
        "root_path": root,
        "headers": headers,
        "client": (environ["REMOTE_ADDR"], int(environ.get("REMOTE_PORT") or 0))
        if environ.get("REMOTE_ADDR")
        else None,
        "server": (environ.get("SERVER_NAME", "localhost"), int(environ.get("SERVER_PORT") or 80)),
    }
    if state is not None:
        scope["state"] = dict(state)
    return scope


class Request:
    def __init__(self, loop, exchange):
        self.loop, self.exchange = loop, exchange
        self.body_ended = False
        self.gone = None
        self.status = None
        self.headers = None
        self.sent = False
        self.complete = False

    async def receive(self):
        if not self.body_ended:
            piece = self.exchange.read()
            self.body_ended = not piece
            return {"type": "http.request", "body": piece, "more_body": bool(piece)}
        if not self.complete:
            await self.until_gone()
        return {"type": "http.disconnect"}

    async def until_gone(self):
        """Until the client has gone, or the answer is complete."""
        if self.gone is None:
            self.gone = self.loop.create_future()
            fd = self.exchange.wait_closed
            if fd is not None:
                self.loop.watch(fd, self.readable)
        await asyncio.shield(self.gone)

    def readable(self):
        if self.gone is not None and not self.gone.done():
            self.gone.set_result(None)

    async def send(self, message):
        kind = message["type"]
        if kind == "http.response.start":
            if self.status is not None:
                raise RuntimeError("http.response.start was sent before")
            self.status = message["status"]
            self.headers = [
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in message.get("headers", ())
            ]
            for pair in self.headers:
                for text in pair:
                    if "\n" in text or "\r" in text:
                        raise ValueError("a header holds a line break")
        elif kind == "http.response.body":
            if self.status is None:
                raise RuntimeError("http.response.start has not been sent")
            if self.complete:
                raise RuntimeError("the answer was complete")
            more = message.get("more_body", False)
            body = message.get("body", b"")
            try:
                if not self.sent:
                    self.sent = True
                    self.exchange.start(_reasons.get(self.status, f"{self.status} "), self.headers)
                if body:
                    self.exchange.write(body)
                if more:
                    self.exchange.flush()
                else:
                    self.exchange.finish()
            except sockets.Gone:
                self.complete = True
                self.readable()
                return
            if not more:
                self.complete = True
                self.readable()
            await asyncio.sleep(0)  # others may run between two pieces
        else:
            raise ValueError(f"no message {kind!r} is sent by an HTTP application")

    async def run(self, application, scope):
        try:
            await application(scope, self.receive, self.send)
            if not self.complete:
                raise RuntimeError("the application has not completed its answer")
        except sockets.Gone:
            pass
        except SystemExit:
            raise
        except BaseException:
            if self.complete:
                traceback.print_exc()
                return
            traceback.print_exc()
            self.failed()
        finally:
            fd = self.exchange.wait_closed
            if fd is not None:
                self.loop.unwatch(fd)
            self.complete = True
            self.readable()

    def failed(self):
        if self.sent:
            return  # the connection closes in the midst of it: the front sees that
        body = b"Internal Server Error\n"
        try:
            self.exchange.start(
                _reasons[500], [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
            )
            self.exchange.write(body)
            self.exchange.finish()
        except sockets.Gone:
            pass


class Lifespan:
    """startup, once. An application that does not know the protocol raises: that is no failure."""

    def __init__(self, loop, application):
        self.loop, self.application = loop, application
        self.events = asyncio.Queue()
        self.started = loop.create_future()
        self.state = {}
        self.error = None

    async def receive(self):
        return await self.events.get()

    async def send(self, message):
        if self.started.done():
            return
        if message["type"] == "lifespan.startup.complete":
            self.started.set_result(True)
        elif message["type"] == "lifespan.startup.failed":
            self.error = message.get("message", "")
            self.started.set_result(False)

    async def run(self):
        try:
            await self.application(
                {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state},
                self.receive,
                self.send,
            )
        except Exception:
            if self.started.done():
                traceback.print_exc()
            self.state = None
        if not self.started.done():
            self.started.set_result(True)

    async def startup(self):
        self.events.put_nowait({"type": "lifespan.startup"})
        self.task = self.loop.create_task(self.run())
        if not await self.started:
            sys.exit(f"hutch_asgi: the application's startup failed: {self.error}")


def main(application, exchanges):
    asyncio.set_event_loop_policy(loops.Policy())
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    if os.environ.get("HUTCH_LIFESPAN") == "off":
        lifespan = None
    else:
        lifespan = loop.run_until_complete(_start(loop, application))
    for exchange in exchanges:
        fresh.before_request()
        scope = scope_of(exchange.environ, lifespan.state if lifespan else None)
        loop.run_until_complete(Request(loop, exchange).run(application, scope))
        sys.stderr.flush()
        sys.stdout.flush()
        if settled.WARM_UP in exchange.environ:
            settled.after_warm_up()


async def _start(loop, application):
    lifespan = Lifespan(loop, application)
    await lifespan.startup()
    return lifespan
