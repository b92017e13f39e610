"""Pure. What every translator of answers is told, and what it offers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from proxy.errors import AttuneError


@dataclass(slots=True, eq=False)  # one per request: a frozen one takes three times as long to make
class Answer:
    """How the client wants its answer."""

    id: str
    """`chatcmpl-...`, for runtimes that give none."""
    created: int
    """Unix seconds, for runtimes that give none."""
    model: str
    """The model that the client asked for; the answer's `model`, whatever the upstream calls it."""
    include_usage: bool = False
    """The client asked for a last chunk with usage."""
    tuning: bytes | None = None
    """The decision as a JSON object, put into the body or the first chunk as `tuning`."""
    one_tool_call: bool = False
    """`parallel_tool_calls: false` on a runtime that cannot do it: only the first call is passed on."""


class Translator(Protocol):
    """Turns an upstream's stream into OpenAI's server-sent events.

    Cut-proof: the bytes that come out, joined, do not depend on where the bytes that went in were cut.
    """

    failure: AttuneError | None
    """Set when the upstream reported an error or sent nonsense. Nothing is emitted for it or after it: the
    caller answers with a status if nothing was sent yet, else with an error event."""
    finished: bool
    """The upstream's own end mark was seen, and everything up to `[DONE]` has been emitted."""

    def feed(self, data: bytes) -> bytes:
        """The events that `data` completes, maybe none."""
        ...

    def close(self) -> bytes:
        """The events that the end of the upstream's body completes; sets `failure` on an early end."""
        ...
