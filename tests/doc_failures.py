"""The table of failures in the documentation, found out by making each of them happen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from tests.doc_tables import code, table
from tests.doubles.ollama import OllamaDouble
from tests.doubles.ollama_script import Faults, Script
from tests.running import Attune, attune

MODEL = "llama3:8b"
PATIENCE = 0.3
"""Seconds that a phase may take where it is to be exceeded."""
PROFILES = "\n".join(
    f"  - {{name: impatient-{phase}, circuit_breaker: {{timeouts: {{{phase}: {PATIENCE}}}}}}}"
    for phase in ("first_byte", "idle")
)


@dataclass(frozen=True)
class Failure:
    """Something that an upstream does."""

    words: str
    faults: Mapping[str, object]
    stream: bool = False
    refuses: bool = False
    phase: str | None = None
    """The time limit that is to be exceeded."""


FAILURES = (
    Failure("refuses the connection", {}, refuses=True),
    Failure("hangs up without an answer", {"reset_after_accept": True}),
    Failure("answers with something that is not HTTP", {"garbage": True}),
    Failure("sends nothing within `first_byte`", {"hang_before_headers": True}, phase="first_byte"),
    Failure("answers 503 (502 and 504 likewise)", {"status": 503, "error": "busy"}),
    Failure("answers any other error", {"status": 500, "error": "out of memory"}),
    Failure("answers 200 with a body that breaks off", {"half_line_then_close": True}),
    Failure("answers 200, and its first event is an error", {"error_line_after": 0}, stream=True),
    Failure("begins a stream and breaks off", {"reset_mid_stream": True}, stream=True),
    Failure("begins a stream and is silent for `idle`", {"hang_mid_stream": True}, stream=True, phase="idle"),
    Failure("begins a stream and ends it without an end mark", {"end_without_done": True}, stream=True),
    Failure("begins a stream and reports an error", {"error_line_after": 1}, stream=True),
)


async def failures() -> str:
    """What becomes of each failure: another upstream, the breaker, the client."""
    async with OllamaDouble() as bad, OllamaDouble() as good:
        bad.script = good.script = Script(text=["one ", "two ", "three"])
        rows = []
        async with (
            attune((), rules(bad.url, good.url), discover_every=600) as both,
            attune((), rules(bad.url), discover_every=600) as alone,
        ):
            for proxy in (both, alone):
                await proxy.chat(MODEL)
            for failure in FAILURES:
                rows.append(await _row(failure, bad, good, both, alone))
    return table(
        ("the upstream", "the next one is tried", "the breaker counts it", "else the client gets"), rows
    )


def rules(bad: str, good: str | None = None) -> str:
    lines = ["profiles:", PROFILES, "upstreams:", f'  - {{name: bad, url: "{bad}", runtime: ollama}}']
    if good is not None:
        lines.append(f'  - {{name: good, url: "{good}", runtime: ollama, weight: 0}}')
    return "\n".join(lines)


async def _row(
    failure: Failure, bad: OllamaDouble, good: OllamaDouble, both: Attune, alone: Attune
) -> tuple[str, str, str, str]:
    for proxy in (both, alone):
        proxy.app.fleet.upstreams["bad"].breaker.success(False)
    bad.faults = Faults(**failure.faults)  # type: ignore[arg-type]
    if failure.refuses:
        await bad.refuse()
    before = len(good.chats)
    headers = {"X-Tuning-Profile": f"impatient-{failure.phase}"} if failure.phase else {}
    await both.chat(MODEL, stream=failure.stream, headers=headers)
    retried = len(good.chats) > before
    answer = await alone.chat(MODEL, stream=failure.stream, headers=headers)
    counted = alone.app.fleet.upstreams["bad"].breaker.failures > 0
    if failure.refuses:
        await bad.listen()
    return failure.words, _word(retried), _word(counted), _outcome(answer)


def _word(so: bool) -> str:
    return "yes" if so else "no"


def _outcome(answer: httpx.Response) -> str:
    """What the client sees: a status, or the last event of a stream."""
    if answer.status_code != 200:
        said = answer.json()["error"]
        return f"{answer.status_code}, {_author(said)}"
    last = answer.text.strip().rpartition("data: ")[2]
    assert "error" in last, answer.text
    return f"an error event, {_author(json.loads(last)['error'])}"


def _author(error: Mapping[str, object]) -> str:
    return code(error["code"]) if error["code"] else "in the upstream's words"
