"""What the standard library needs to work under WASI preview1, where sockets are given and never
made, and nothing runs beside the program. tools/guests/build-python puts this file into the library
and lets four modules call it at their end.
"""

import errno

# Options whose effect is only speed, or which a server sets before it listens: here it already does.
_HARMLESS = ("TCP_NODELAY", "TCP_QUICKACK", "SO_KEEPALIVE", "SO_REUSEADDR", "SO_REUSEPORT")


def complete_sockets(module):
    """socket: the methods that are missing because the calls behind them are."""
    harmless = {getattr(module, name) for name in _HARMLESS if hasattr(module, name)}

    def refuse(self, *_):
        raise OSError(errno.ENOTSUP, "not under WASI preview1")

    def setsockopt(self, level, option, *_):
        if level not in (module.SOL_SOCKET, module.IPPROTO_TCP) or option not in harmless:
            refuse(self)

    def listen(self, backlog=0):
        """A socket that can accept has been listening since before the program."""

    # Nothing can be asked of a descriptor but that it is a stream; accept() wants a family.
    create = module.socket.__init__

    def __init__(self, family=-1, type=-1, proto=-1, fileno=None):
        if fileno is not None and family == -1:
            family = module.AF_INET
        create(self, family, type, proto, fileno)

    module.socket.__init__ = __init__
    for name in ("bind", "connect", "connect_ex", "getpeername", "getsockname", "recvfrom", "sendto"):
        if not hasattr(module.socket, name):
            setattr(module.socket, name, refuse)
    for function in (setsockopt, listen):
        if not hasattr(module.socket, function.__name__):
            setattr(module.socket, function.__name__, function)
    for name in _HARMLESS[2:]:
        if not hasattr(module, name):
            # Numbers that no option has.
            setattr(module, name, -1 - _HARMLESS.index(name))
            harmless.add(getattr(module, name))


def complete_loops(loop):
    """asyncio.unix_events: an event loop without the pair of sockets by which other threads and
    signals wake it; there are none."""

    def _make_self_pipe(self):
        self._ssock = self._csock = None

    def _close_self_pipe(self):
        pass

    def add_signal_handler(self, *_):
        raise NotImplementedError

    async def shutdown_default_executor(self):
        self._executor_shutdown_called = True
        if self._default_executor is not None:
            self._default_executor.shutdown(wait=False)

    loop._make_self_pipe, loop._close_self_pipe = _make_self_pipe, _close_self_pipe
    loop.add_signal_handler = add_signal_handler
    loop.shutdown_default_executor = shutdown_default_executor


def complete_executors(executor, future, item):
    """concurrent.futures.thread: what is submitted runs at once, in the caller. A call that comes
    from an event loop does not see that loop, as it would not in another thread."""
    import sys

    def submit(self, fn, /, *args, **kwargs):
        if self._shutdown:
            raise RuntimeError("cannot schedule new futures after shutdown")
        result = future()
        events = sys.modules.get("asyncio.events")
        loop = events._get_running_loop() if events else None
        if loop is not None:
            events._set_running_loop(None)
        try:
            if self._initializer is not None:
                initializer, self._initializer = self._initializer, None
                initializer(*self._initargs)
            item(result, fn, args, kwargs).run()
        finally:
            if loop is not None:
                events._set_running_loop(loop)
        return result

    executor.submit = submit


def complete_hashes(module):
    """hashlib: PBKDF2 with SHA-256, which passwords of Django and Werkzeug use, at the speed of C."""
    import _pbkdf2

    slow = module.pbkdf2_hmac

    def pbkdf2_hmac(hash_name, password, salt, iterations, dklen=None):
        if hash_name not in ("sha256", "SHA256") or iterations < 1 or (dklen is not None and dklen < 1):
            return slow(hash_name, password, salt, iterations, dklen)
        key, salt = bytes(password), bytes(salt)
        if len(key) > 64:
            key = module.sha256(key).digest()
        key = key.ljust(64, b"\0")
        inner = module.sha256(bytes(b ^ 0x36 for b in key) + salt)
        outer = module.sha256(bytes(b ^ 0x5C for b in key))
        wanted = 32 if dklen is None else dklen
        result, number = b"", 0
        while len(result) < wanted:
            number += 1
            one, two = inner.copy(), outer.copy()
            one.update(number.to_bytes(4, "big"))
            two.update(one.digest())
            result += _pbkdf2.rounds(key, two.digest(), iterations - 1)
        return result[:wanted]

    module.pbkdf2_hmac = pbkdf2_hmac
