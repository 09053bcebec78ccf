import asyncio
import datetime


async def application(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-type", b"text/event-stream")]})
    gone = asyncio.ensure_future(disconnected(receive))
    for _ in range(3600):
        now = datetime.datetime.now().isoformat(timespec="seconds")
        await send({"type": "http.response.body", "body": f"data: {now}\n\n".encode(), "more_body": True})
        if gone.done():
            break
        await asyncio.sleep(1)
    await send({"type": "http.response.body", "body": b""})


async def disconnected(receive):
    while (await receive())["type"] != "http.disconnect":
        pass
