"""I/O. Notices that a client has left, and cancels the task that works for it.

A task per request that waits in `receive()` would cost more than all of deciding, so `receive()` is advanced
by hand to the future it waits on. A server whose `receive()` waits on something else gets a task.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, MutableMapping
from typing import Any

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class Departure:
    """Watches one client from the end of its request body to the end of its answer."""

    def __init__(self, receive: Receive) -> None:
        self.gone = False
        self._receive = receive
        self._task = asyncio.current_task()
        self._coroutine: Coroutine[Any, Any, MutableMapping[str, Any]] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._advance()

    def stop(self) -> None:
        """The answer is complete: whether the client leaves no longer matters."""
        self._task = None
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None
        if self._coroutine is not None:
            self._coroutine.close()
            self._coroutine = None

    def _advance(self) -> None:
        """Run `receive()` up to the future it waits on."""
        coroutine = self._receive()
        if type(coroutine) is not types.CoroutineType:
            self._watcher = asyncio.ensure_future(self._watch(coroutine))
            return
        self._coroutine = coroutine
        try:
            waits_on = coroutine.send(None)
        except StopIteration as done:
            self._message(done.value)
            return
        if getattr(waits_on, "_asyncio_future_blocking", False):  # how a task knows that it waits on a future
            waits_on._asyncio_future_blocking = False
            waits_on.add_done_callback(self._wake)
        else:
            self._coroutine = None
            self._watcher = asyncio.ensure_future(self._watch(_rest(coroutine, waits_on)))

    def _wake(self, _: asyncio.Future[Any]) -> None:
        """The future is done: take `receive()` to its end."""
        coroutine = self._coroutine
        if coroutine is None:
            return
        self._coroutine = None
        try:
            waits_on = coroutine.send(None)
        except StopIteration as done:
            self._message(done.value)
        else:
            self._watcher = asyncio.ensure_future(self._watch(_rest(coroutine, waits_on)))

    async def _watch(self, message: Awaitable[MutableMapping[str, Any]]) -> None:
        self._message(await message)

    def _message(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] != "http.disconnect":
            self._advance()
        elif self._task is not None:
            self.gone = True
            self._task.cancel()


@types.coroutine
def _rest(coroutine: Coroutine[Any, Any, Any], waits_on: Any) -> Generator[Any, Any, Any]:
    """What is left of a coroutine that already waits on something, as an awaitable."""
    try:
        while True:
            if asyncio.isfuture(waits_on):
                waits_on._asyncio_future_blocking = True
            sent = yield waits_on
            waits_on = coroutine.send(sent)
    except StopIteration as done:
        return done.value
    finally:
        coroutine.close()
