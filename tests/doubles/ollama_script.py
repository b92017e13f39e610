"""I/O. What the double answers and how it breaks: scripts turned into records, faults that spoil them."""

import asyncio
import random
import string
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import hypot
from typing import Any

from tests.doubles.ollama_checks import Refusal
from tests.doubles.ollama_models import Model, rfc3339, since
from tests.doubles.wire import JSON, Exchange

TAIL = ["café ", "and “naïve” ", "<b>1 < 2</b> ", "& ", '"quoted" ', "\\ 👩‍🚀", "\n"]
CRASH = "model runner has unexpectedly stopped, this may be due to resource limitations or an internal error"
HUGE = 10 * 2**20
ALPHABET = string.ascii_lowercase + string.digits


@dataclass
class Script:
    """What the model says: ``text`` None echoes the last user message, ``thinking`` None ponders a little.

    ``tool_calls`` are ``{"name", "arguments"}``; ``delay`` is in seconds, before each piece.
    """

    text: Sequence[str] | None = None
    thinking: Sequence[str] | None = None
    tool_calls: Sequence[Mapping[str, Any]] = ()
    delay: float = 0.0
    prompt_tokens: int | None = None
    done_reason: str | None = None
    # The last piece rides on the done record.
    text_on_done: bool = False
    # The last thinking shares a record with what follows it.
    mixed: bool = False


Answer = Script | Callable[[Mapping[str, Any]], Script]


@dataclass
class Faults:
    """Switches, all off. They act on ``paths`` only, and there on the first ``times`` requests (None: all).

    Faults in mid-stream strike after ``after`` whole lines; an answer in one piece breaks in its middle.
    """

    paths: Sequence[str] = ("/api/chat", "/api/generate", "/api/embed")
    times: int | None = None
    after: int = 1
    # Ways of Ollama itself. ``status`` is any other early refusal; ``error`` is its text and the error line's.
    tools_on_done: bool = False
    zero_indexes: bool = False
    missing_ids: bool = False
    error_line_after: int | None = None
    end_without_done: bool = False
    first_byte_delay: float = 0.0
    busy_503: bool = False
    nested_error_400: bool = False
    status: int | None = None
    error: str = CRASH
    # Ways of broken machines and networks.
    reset_after_accept: bool = False
    hang_before_headers: bool = False
    garbage: bool = False
    wrong_content_type: bool = False
    huge_line: bool = False
    garbage_line: bool = False
    invalid_utf8: bool = False
    hang_mid_stream: bool = False
    reset_mid_stream: bool = False
    half_line_then_close: bool = False
    truncated_chunk: bool = False

    def take(self) -> bool:
        """Whether this request is one of those to spoil; counts it."""
        if self.times is not None:
            self.times -= 1
        return self.times is None or self.times >= 0

    @property
    def midway(self) -> bool:
        """Whether bytes of the answer are to be broken."""
        cuts = (self.hang_mid_stream, self.reset_mid_stream, self.half_line_then_close, self.truncated_chunk)
        return self.garbage_line or self.invalid_utf8 or any(cuts)

    async def strike_early(self, exchange: Exchange) -> None:
        """The faults that need not look at the request."""
        exchange.content_type = "text/html" if self.wrong_content_type else ""
        if self.hang_before_headers:
            await asyncio.Event().wait()
        if self.status:
            raise Refusal(self.status, self.error)
        if self.garbage:
            await exchange.finish(b"\x15\x03\x01\x00\x02\x02\x16\r\n\r\n")
            raise ConnectionError("no HTTP at all")

    async def spoil(self, exchange: Exchange, line: bytes) -> bool:
        """Send a line of a stream, or a whole body, the broken way. True when nothing may follow."""
        half, goes_on = line[: len(line) // 2], self.garbage_line or self.invalid_utf8
        bad = b"<html>Bad Gateway</html>\n" if self.garbage_line else line.replace(b'":"', b'":"\xff\xc3', 1)
        sent = bad if goes_on else half
        if not exchange.chunked:
            await exchange.start(200, JSON, len(sent if goes_on or self.half_line_then_close else line))
        if self.truncated_chunk and exchange.chunked:
            await exchange.raw(b"%x\r\n%b" % (len(line), half))
        else:
            await exchange.send(sent)
        if self.hang_mid_stream:
            await asyncio.Event().wait()
        if self.half_line_then_close:
            await exchange.finish()
        if self.reset_mid_stream:
            # What was sent should reach the client before the reset does.
            await asyncio.sleep(0.01)
            exchange.connection.reset()
        if not goes_on:
            exchange.close()
        return not goes_on


@dataclass
class Piece:
    """One token's worth of answer, or several joined."""

    thinking: str = ""
    content: str = ""
    tool_calls: list[dict[str, Any]] = field(default_factory=list)

    def __add__(self, other: "Piece") -> "Piece":
        calls = self.tool_calls + other.tool_calls
        return Piece(self.thinking + other.thinking, self.content + other.content, calls)


@dataclass
class Ask:
    """A checked request. ``effort`` is None when the model is not to think, "" when by its own measure."""

    kind: str
    body: Mapping[str, Any]
    model: Model
    version: str
    options: Mapping[str, Any] = field(default_factory=dict)
    effort: str | None = None

    @property
    def idle(self) -> bool:
        """Whether there is nothing to answer, only a model to load or unload."""
        return not any(self.body.get(key) for key in ("messages", "prompt", "suffix"))

    def said(self, *roles: str) -> list[str]:
        """What these roles said, or all; a prompt last."""
        turns = [turn for turn in self.body.get("messages") or [] if not roles or turn.get("role") in roles]
        texts = [*(turn.get("content") for turn in turns), self.body.get("prompt")]
        return [text for text in texts if text]

    @property
    def words(self) -> int:
        """A stand-in for the number of prompt tokens."""
        return len(" ".join(self.said()).split())


def plan(script: Script, ask: Ask, faults: Faults) -> tuple[list[Piece], dict[str, Any]]:
    """The records' contents in order, and what makes the last one the done record; nothing if none is."""
    text = [*_text(script, ask), *(["x" * HUGE] if faults.huge_line else [])]
    kept = _until_stop(text, [] if ask.model.mlx else ask.options.get("stop") or [])
    pieces = [Piece(thinking=item) for item in _thinking(script, ask)]
    pieces += [Piece(content=item) for item in kept]
    if ask.body.get("tools") and "".join(kept) == "".join(text):
        pieces += [Piece(tool_calls=[call]) for call in _calls(script, ask, faults)]
    limit = ask.options["num_predict"]
    cut = len(pieces) > limit >= (1 if ask.model.mlx else 0)
    pieces = pieces[:limit] if cut else pieces
    early, last = _arrange(script, pieces, faults)
    if faults.end_without_done:
        return early or [last], {}
    prompt = ask.words if script.prompt_tokens is None else script.prompt_tokens
    final: dict[str, Any] = {"done": True, "done_reason": script.done_reason or ("length" if cut else "stop")}
    if ask.kind == "generate" and not ask.body.get("raw"):
        final["context"] = [*range(prompt + len(pieces))]
    return [*early, last], final | counters(prompt, len(pieces))


def counters(prompt: int, evaluated: int) -> dict[str, int]:
    """Counts, and nanoseconds, of a final record; those that are zero left out."""
    counted = {"total_duration": 5000 + 3000 * evaluated, "load_duration": 502, "prompt_eval_count": prompt}
    counted |= {
        "prompt_eval_duration": 100 * prompt,
        "eval_count": evaluated,
        "eval_duration": 2000 * evaluated,
    }
    return {key: value for key, value in counted.items() if value}


def record(ask: Ask, pieces: Sequence[Piece], final: Mapping[str, Any]) -> dict[str, Any]:
    """One line of a stream, or a whole answer, that holds these pieces."""
    joined = sum(pieces, Piece())
    found = {key: value for key in ("thinking", "tool_calls") if (value := getattr(joined, key))}
    chat = {"message": {"role": "assistant", "content": joined.content, **found}}
    said = chat if ask.kind == "chat" else {"response": joined.content, **found}
    texts = [text for piece in pieces for text in (piece.thinking, piece.content) if text]
    asked = texts and ask.body.get("logprobs") and since(ask.version, "0.12.11")
    top = ask.body.get("top_logprobs") or 0
    known = {"logprobs": [_logprob(text, top) for text in texts]} if asked else {}
    head = {"model": ask.body["model"], "created_at": rfc3339(time.time_ns())}
    return {**head, **said, "done": False, **final, **known}


def vector(text: str, size: int) -> list[float]:
    """A text's embedding: of length one, and always the same."""
    source = random.Random(text)
    numbers = [source.uniform(-1, 1) for _ in range(size)]
    length = hypot(*numbers)
    return [number / length for number in numbers]


def _text(script: Script, ask: Ask) -> Iterable[str]:
    if script.text is not None:
        return script.text
    if script.tool_calls and ask.body.get("tools"):
        return []
    if ask.body.get("format") and not ask.model.mlx:
        return ["{", '"answer": ', "42", "}"]
    return ["Echo: ", *(f"{word} " for word in " ".join(ask.said("user")[-1:]).split(" ")), *TAIL]


def _thinking(script: Script, ask: Ask) -> Iterable[str]:
    if ask.effort is None:
        return []
    return ["Hm, ", f"{ask.effort or 'some'} effort ", "& é."] if script.thinking is None else script.thinking


def _calls(script: Script, ask: Ask, faults: Faults) -> Iterable[dict[str, Any]]:
    for number, call in enumerate(script.tool_calls):
        letters = "".join(random.choices(ALPHABET, k=32 if faults.tools_on_done else 8))
        known = {"id": letters if faults.tools_on_done else f"call_{letters}"}
        index = {"index": 0 if faults.zero_indexes or ask.model.harmony else number}
        place = index if since(ask.version, "0.12.6") else {}
        function = {**place, "name": call["name"], "arguments": call["arguments"]}
        anonymous = faults.missing_ids or not since(ask.version, "0.12.10")
        yield {**({} if anonymous else known), "function": function}


def _until_stop(text: Sequence[str], stops: Iterable[str]) -> list[str]:
    whole = "".join(text)
    room = min((whole.find(stop) for stop in stops if stop and stop in whole), default=len(whole))
    kept = []
    for item in text:
        kept.append(item[:room])
        room -= len(kept[-1])
    return [item for item in kept if item]


def _arrange(script: Script, pieces: Sequence[Piece], faults: Faults) -> tuple[list[Piece], Piece]:
    """The pieces that come early, and what rides on the done record."""
    late = [piece for piece in pieces if piece.tool_calls and faults.tools_on_done]
    early = [piece for piece in pieces if not (piece.tool_calls and faults.tools_on_done)]
    thoughts = sum(1 for piece in early if piece.thinking)
    if script.mixed and 0 < thoughts < len(early):
        early[thoughts - 1 : thoughts + 1] = [early[thoughts - 1] + early[thoughts]]
    if script.text_on_done and early:
        late.insert(0, early.pop())
    return early, sum(late, Piece())


def _logprob(token: str, top: int) -> dict[str, Any]:
    """Made-up numbers that never change, with ``top`` alternatives of which the first is the token itself."""
    names = [token + "~" * rank for rank in range(max(top, 1))]
    ranked = [{"token": name, "logprob": -0.125 - rank} for rank, name in enumerate(names)]
    entries = [{**entry, "bytes": [*name.encode()]} for entry, name in zip(ranked, names, strict=True)]
    return {**entries[0], **({"top_logprobs": entries} if top else {})}
