"""I/O. An end that orchestrators notice: unready first, then no new work, then the server's own shutdown.

On SIGTERM readiness turns false and everything is still served for `drain_delay` seconds; then new work is
refused and the server's own handler takes over, which closes the listening socket and waits for running
streams. A second signal, or SIGINT, does not wait. Works in every worker, because it wraps whatever handler
the server has installed.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from types import FrameType
from typing import Protocol

log = logging.getLogger("attune")


class Drainable(Protocol):
    """What is told of the end."""

    def unready(self) -> None: ...
    def refuse(self) -> None: ...


class Drain:
    """The signal handlers of one process; installed once the server has its own in place."""

    def __init__(self, app: Drainable, delay: float) -> None:
        self._app = app
        self._delay = delay
        self._loop = asyncio.get_running_loop()
        self._signals = 0
        self._before = {sig: signal.getsignal(sig) for sig in (signal.SIGTERM, signal.SIGINT)}
        for sig in self._before:
            signal.signal(sig, self._on_signal)

    def _on_signal(self, sig: int, frame: FrameType | None) -> None:
        self._signals += 1
        self._app.unready()
        if self._signals > 1 or self._delay == 0 or sig == signal.SIGINT:
            self._end(sig, frame)
            return
        log.info("draining: unready for %g s, then no new connections", self._delay)
        self._loop.call_soon_threadsafe(self._loop.call_later, self._delay, self._end, sig, None)

    def _end(self, sig: int, frame: FrameType | None) -> None:
        self._app.refuse()
        before = self._before[signal.Signals(sig)]
        if callable(before):
            before(sig, frame)
