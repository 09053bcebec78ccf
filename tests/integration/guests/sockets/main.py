"""Answers connections of the listening socket that is descriptor 0, each in another of the ways that a
program has. tests/integration/test_guests.py connects."""

import asyncio
import os
import select
import socket
import sys
import time

import _hutch


def with_calls():
    fd = _hutch.accept(0)
    head = _hutch.recv(fd, 4, peek=True)
    data = _hutch.recv(fd, 100)
    sent = _hutch.send(fd, memoryview(b"calls " + head + b" " + data))
    _hutch.shutdown(fd, 1)
    assert sent == 11 + len(data) and _hutch.recv(fd, 100) == b""
    os.close(fd)


def with_descriptors():
    fd = _hutch.accept(0)
    os.write(fd, b"descriptors " + os.read(fd, 100))
    os.close(fd)


def with_sockets():
    listening = socket.socket(fileno=0)
    connection, _ = listening.accept()
    connection.settimeout(20)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection, connection.makefile("rwb") as file:
        file.write(b"sockets " + file.readline())
    listening.detach()


def with_select():
    ready = select.select([0], [], [], 20)[0]
    fd = _hutch.accept(0)
    waiting = select.poll()
    waiting.register(fd, select.POLLIN)
    [(which, events)] = waiting.poll(20_000)
    assert ready == [0] and which == fd and events & select.POLLIN
    os.write(fd, b"select " + os.read(fd, 100))
    os.close(fd)


async def with_asyncio():
    done = asyncio.Event()

    async def answer(reader, writer):
        line = await reader.readline()
        # Another thread is not to be had: this runs here, at once.
        await asyncio.get_running_loop().run_in_executor(None, time.sleep, 0.01)
        writer.write(b"asyncio " + line)
        await writer.drain()
        writer.close()
        done.set()

    listening = socket.socket(fileno=0)
    listening.setblocking(False)
    server = await asyncio.start_server(answer, sock=listening)
    await asyncio.wait_for(done.wait(), 20)
    await asyncio.sleep(0.01)
    server.close()


def errors():
    for call in (lambda: _hutch.accept(99), lambda: _hutch.recv(1, 1), lambda: _hutch.send(-1, b""),
                 lambda: _hutch.recv(0, -1), lambda: _hutch.shutdown(0, 3),
                 lambda: socket.socket().bind(("", 80))):
        try:
            call()
            print("no error")
        except (OSError, ValueError) as error:
            print(type(error).__name__, flush=True)


errors()
with_calls()
with_descriptors()
with_sockets()
with_select()
asyncio.run(with_asyncio())
print("done", sys.platform, flush=True)
