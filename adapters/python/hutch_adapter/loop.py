"""An asyncio event loop without sockets of its own: coroutines, tasks, timers and futures work as
ever; the only descriptors it waits for are those of the request under way.

asyncio's usual loops need a pair of sockets to be woken by threads and signals, of which there are
none under WASI. What is submitted to an executor runs at once, in the loop's own thread.
"""

import asyncio
import concurrent.futures
import contextvars
import select
import time
from asyncio import base_events


class _Waiter:
    """Stands where asyncio has its selector."""

    def __init__(self):
        self.watched = {}  # descriptor -> callback, called once

    def select(self, timeout):
        if self.watched:
            poll = select.poll()
            for fd in self.watched:
                poll.register(fd, select.POLLIN)
            ready = poll.poll(None if timeout is None else timeout * 1000)
            return [self.watched.pop(fd) for fd, _ in ready]
        if timeout is None:
            raise RuntimeError("the application waits for something that nothing can bring about")
        if timeout > 0:
            time.sleep(timeout)
        return []


class _Inline(concurrent.futures.Executor):
    """Runs what is submitted at once. It does not see the loop, as another thread would not."""

    def submit(self, function, /, *args, **kwargs):
        future = concurrent.futures.Future()
        running = asyncio._get_running_loop()
        asyncio._set_running_loop(None)
        try:
            future.set_result(contextvars.copy_context().run(function, *args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        finally:
            asyncio._set_running_loop(running)
        return future


class Loop(base_events.BaseEventLoop):
    def __init__(self):
        super().__init__()
        self._selector = _Waiter()
        self._inline = _Inline()

    def _process_events(self, events):
        for callback in events:
            self.call_soon(callback)

    def _write_to_self(self):
        pass

    def run_in_executor(self, executor, function, *args):
        self._check_closed()
        return asyncio.wrap_future(self._inline.submit(function, *args), loop=self)

    def add_signal_handler(self, *_):
        raise NotImplementedError("there are no signals here")

    def watch(self, fd, callback):
        """callback() once fd can be read (or has ended)."""
        self._selector.watched[fd] = callback

    def unwatch(self, fd):
        self._selector.watched.pop(fd, None)


class Policy(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self):
        return Loop()
