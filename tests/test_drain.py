"""The drain, step by step."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from proxy.drain import Drain
from tests.upstream.server import eventually


class Recorder:
    """An application and a server that note what they are told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def unready(self) -> None:
        self.told.append("unready")

    def refuse(self) -> None:
        self.told.append("refuse")

    def handle(self, sig: int, frame: object) -> None:
        self.told.append("server")


@pytest.fixture
def told() -> Iterator[Recorder]:
    """A recorder whose handlers stand where a server's would; afterwards the test run's own are back."""
    kept = {sig: signal.getsignal(sig) for sig in (signal.SIGTERM, signal.SIGINT)}
    recorder = Recorder()
    for sig in kept:
        signal.signal(sig, recorder.handle)
    yield recorder
    for sig, handler in kept.items():
        signal.signal(sig, handler)


@pytest.mark.parametrize(
    ("delay", "sent", "words"),
    [
        (0.0, [signal.SIGTERM], ["unready", "refuse", "server"]),
        (60.0, [signal.SIGTERM], ["unready"]),
        (60.0, [signal.SIGINT], ["unready", "refuse", "server"]),
        (60.0, [signal.SIGTERM, signal.SIGTERM], ["unready", "unready", "refuse", "server"]),
    ],
)
async def test_what_signals_do(
    delay: float, sent: list[signal.Signals], words: list[str], told: Recorder
) -> None:
    Drain(told, delay)
    for sig in sent:
        signal.raise_signal(sig)
    assert told.told == words


async def test_after_the_delay_the_server_is_told(told: Recorder) -> None:
    Drain(told, 0.02)
    signal.raise_signal(signal.SIGTERM)
    assert told.told == ["unready"]
    await eventually(lambda: told.told == ["unready", "refuse", "server"])
