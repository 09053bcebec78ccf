"""The next connection, and its bytes. Descriptors are plain numbers: os.read and os.write work on
sockets under WASI as elsewhere. The standard library's socket objects are not needed; where the
interpreter has no _hutch module, its _socket does the one call that os has not.
"""

import errno
import os

try:
    from _hutch import accept
except ImportError:
    import _socket

    _listening = {}

    def accept(fd):
        """The next connection of a listening descriptor."""
        if fd not in _listening:
            # The family and type do not matter for accept; giving them saves calls that WASI has not.
            _listening[fd] = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM, 0, fd)
        return _listening[fd]._accept()[0]


CHUNK = 65536


class Gone(OSError):
    """The client, or the server in front, has closed the connection."""


def receive(fd, size=CHUNK):
    try:
        return os.read(fd, size)
    except OSError as error:
        if error.errno in (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN):
            raise Gone(error.errno, "the client has gone") from None
        raise


def send(fd, data):
    view = memoryview(data)
    while view:
        try:
            sent = os.write(fd, view)
        except OSError as error:
            if error.errno in (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN):
                raise Gone(error.errno, "the client has gone") from None
            raise
        view = view[sent:]


def close(fd):
    try:
        os.close(fd)
    except OSError:
        pass


def log(text):
    """A line for the operator."""
    os.write(2, (text + "\n").encode("utf-8", "replace"))
