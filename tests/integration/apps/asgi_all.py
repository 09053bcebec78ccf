"""An ASGI application that shows what it is given and does what it is asked."""

import asyncio
import time

count = 0
ready = False


async def lifespan(receive, send):
    global ready
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await asyncio.sleep(0.01)
            ready = True
            await send({"type": "lifespan.startup.complete"})
        else:
            await send({"type": "lifespan.shutdown.complete"})
            return


async def body_of(receive):
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def reply(send, body, status=200, headers=()):
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


async def application(scope, receive, send):
    global count
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    count += 1
    path = scope["path"]
    if path == "/environ":
        body = f"{ready} {scope['method']} {path} {scope['query_string']} {sorted(scope['headers'])}\n"
        await reply(send, body.encode(), headers=[(b"content-type", b"text/plain")])
    elif path == "/echo":
        data = await body_of(receive)
        await reply(send, data, headers=[(b"content-length", str(len(data)).encode())])
    elif path == "/stream":
        await send({"type": "http.response.start", "status": 200,
                    "headers": [(b"content-type", b"text/event-stream")]})
        for i in range(int(scope["query_string"] or 3)):
            await send({"type": "http.response.body", "body": b"data: %d\n\n" % i, "more_body": True})
            await asyncio.sleep(0.05)
        await send({"type": "http.response.body", "body": b""})
    elif path == "/gather":
        started = time.monotonic()
        await asyncio.gather(*(asyncio.sleep(0.05) for _ in range(20)))
        result = await asyncio.to_thread(sum, range(10))
        took = time.monotonic() - started
        await reply(send, f"{result} {took < 0.5}\n".encode())
    elif path == "/disconnect":
        await body_of(receive)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        watch = asyncio.ensure_future(receive())
        sent = 0
        while not watch.done() and sent < 200:
            await send({"type": "http.response.body", "body": b"tick\n", "more_body": True})
            sent += 1
            await asyncio.sleep(0.02)
        print(f"disconnected after {sent}: {watch.done() and watch.result()['type']}", flush=True)
        await send({"type": "http.response.body", "body": b""})
    elif path == "/raise":
        raise RuntimeError("asked to")
    elif path == "/raise-late":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun\n", "more_body": True})
        raise RuntimeError("asked to, late")
    elif path == "/nothing":
        pass
    elif path == "/count":
        await reply(send, f"{count}\n".encode())
    else:
        await reply(send, b"no such page\n", 404)
