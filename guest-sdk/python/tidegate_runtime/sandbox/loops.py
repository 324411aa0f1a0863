"""An event loop for `asyncio` that waits for nothing but time."""

import asyncio
import asyncio.events
import asyncio.selector_events
import errno
import selectors
import time

from .sockets import MESSAGE
from .threads import PROCESSES


class _Clock(selectors.BaseSelector):
    """A selector without files: it sleeps until the next timer."""

    def register(self, fileobj, events, data=None):
        raise OSError("asyncio has no sockets or pipes in this sandbox: use requests for HTTP")

    def unregister(self, fileobj):
        raise KeyError(fileobj)

    def get_map(self):
        return {}

    def select(self, timeout=None):
        if timeout is None:
            raise RuntimeError("asyncio: every task waits for another, none can ever go on")
        if timeout > 0:
            time.sleep(timeout)
        return []


class Loop(asyncio.selector_events.BaseSelectorEventLoop):
    """An event loop for code that computes, sleeps and waits for its own tasks."""

    def __init__(self, selector=None):
        super().__init__(selector or _Clock())

    # Other threads would wake the loop through a pipe.

    def _make_self_pipe(self):
        self._ssock = self._csock = None

    def _close_self_pipe(self):
        pass

    def _write_to_self(self):
        pass

    async def create_server(self, *arguments, **options):
        raise OSError(errno.EOPNOTSUPP, MESSAGE)

    create_connection = create_datagram_endpoint = create_server
    create_unix_connection = create_unix_server = create_server

    async def subprocess_exec(self, *arguments, **options):
        raise OSError(errno.ENOTSUP, PROCESSES)

    subprocess_shell = subprocess_exec

    def run_in_executor(self, executor, func, *args):
        """Calls the function at once, as there is no thread that could."""
        if executor is not None:
            return super().run_in_executor(executor, func, *args)
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future


def finish():
    asyncio.SelectorEventLoop = asyncio.EventLoop = Loop
    asyncio.events._get_event_loop_policy()._loop_factory = Loop
    type(asyncio.events._get_event_loop_policy())._loop_factory = Loop
    asyncio.events._set_event_loop_policy(None)
