"""Pure. An OpenAI-type upstream's events passed on as bytes, changed only where they must be.

Three ways through, from the fastest to the one that knows everything; all give the same bytes:

1. A *template*. Most events of a stream differ in one string only. What stands before and after that string
   in an event that was read in full is remembered; an event with the same bytes around another valid JSON
   string holds nothing new, and is passed on (or put together anew) without being parsed.
2. A *burst*: many events of the template in one read, checked together.
3. *In full*: the event is taken apart and its JSON parsed: the first event, errors, ends, changes of shape.

So every event is checked to be JSON, in UTF-8; one that is not ends the stream with a failure. Line ends come
out as LF, blank lines between events as one. Comments pass, except those before the first event: as long as
nothing was said the caller may still choose a status. Events without data are dropped.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
import orjson

from proxy.backends.answer import Answer
from proxy.backends.failure import holds_error, read_json, reported
from proxy.backends.openai_answer import rewritten, with_tuning
from proxy.errors import AttuneError, UpstreamBroken
from proxy.openai.sse import DONE

EARLY = "the upstream ended its stream early"

BROKEN_OFF = ("error", "abort")
"""What servers give as `finish_reason` where the answer failed; a client would take it for the end."""

_BOM = b"\xef\xbb\xbf"
_FIELDS = (b"", b"data", b"event", b"id", b"retry")

_STRING = msgspec.json.Decoder(str)
_STRINGS = msgspec.json.Decoder(list[str])

_SLOT = re.compile(
    rb'"(?:content|reasoning|reasoning_content|arguments|text)"\s*:\s*("[^"\\]*+(?:\\.[^"\\]*+)*+")'
)
_MARK = b'"@attune slot@"'

# Learning costs about as much as reading an event in full: not worth it where it never pays.
_PATIENCE = 8
_LONGEST_LEARNED = 4096


class _Template:
    """The bytes around the one string in which the events of a stream differ."""

    __slots__ = ("_glue", "_pieces", "_same", "_seam", "_start", "_stop", "foot", "head", "used")

    def __init__(self, head: bytes, foot: bytes, pieces: list[bytes]) -> None:
        """`head` ends with the string's first quote, `foot` begins with its last; `pieces` are what lies
        around the string, quotes included, in what goes out.
        """
        self.head, self.foot, self._pieces = head, foot, pieces
        self._same = pieces == [head[:-1], foot[1:]]
        self._start, self._stop = len(head) - 1, 1 - len(foot)
        self._glue = foot + head
        # A short needle is found much faster than the whole of `_glue`.
        self._seam = foot + head[:10]
        self.used = False

    def one(self, event: bytes) -> bytes | None:
        """What goes out for one whole event; `None` if it is of another kind."""
        if event.startswith(self.head) and event.endswith(self.foot):
            text = event[self._start : self._stop]
            try:
                _STRING.decode(text)
            except ValueError:
                return None
            self.used = True
            return event if self._same else text.join(self._pieces)
        return None

    def many(self, events: bytes) -> bytes | None:
        """What goes out for several whole events; `None` unless all are of this kind, without `\\"`."""
        if not (events.startswith(self.head) and events.endswith(self.foot)):
            return None
        texts = events[len(self.head) : -len(self.foot)].split(self._seam)
        if len(texts) < 2 or events.count(self._glue) != len(texts) - 1:
            return None
        skipped = len(self.head) - 10
        texts[1:] = [text[skipped:] for text in texts[1:]]
        listed = b'["' + b'","'.join(texts) + b'"]'
        # With a quote inside, texts that are bad one by one could read as a good list.
        if listed.count(b'"') != 2 * len(texts):
            return None
        try:
            _STRINGS.decode(listed)
        except ValueError:
            return None
        self.used = True
        return events if self._same else self._put_together(texts)

    def _put_together(self, texts: list[bytes]) -> bytes:
        if len(self._pieces) == 2:
            head, foot = self._pieces
            return head + b'"' + (b'"' + foot + head + b'"').join(texts) + b'"' + foot
        return b"".join([(b'"' + text + b'"').join(self._pieces) for text in texts])


class EventStream:
    """Server-sent events of `chat.completion.chunk` in, the same out. A `Translator`.

    Changed are: `model`, to what the client asked for; a delta's `reasoning` or `reasoning_content`, given
    under both names; the first chunk, which gets `tuning`; an error object, which becomes `failure`; and
    `[DONE]`, which is added if the upstream left it out after every choice had its `finish_reason`.

    Failures are also a `[DONE]` before any chunk or before any choice had its `finish_reason`, and a
    `finish_reason` that says that the answer was broken off.
    """

    def __init__(self, answer: Answer) -> None:
        self.failure: AttuneError | None = None
        self.finished = False
        self.finish_reason: str | None = None
        """The last one seen."""
        self.usage: tuple[int, int] | None = None
        """Prompt and completion tokens, as last reported."""
        self._answer = answer
        self._model = orjson.dumps(answer.model)
        self._held = bytearray()
        """An event of which the end has not come."""
        self._after_cr = False
        """The last byte was a CR: a LF that follows belongs to it."""
        self._ended: dict[int, bool] = {}
        """By index of the choice: whether it had its `finish_reason`."""
        self._fresh = True
        """Nothing was read yet, so that a byte order mark may come."""
        self._begun = False
        """The first event went out."""
        self._template: _Template | None = None
        self._ready: _Template | None = None
        """The template, if what comes next begins an event."""
        self._wasted = 0
        """How many templates in a row were learned and never used."""

    def feed(self, data: bytes) -> bytes:
        """The events that `data` completes, maybe none."""
        if self._ready is not None:
            out = self._ready.one(data)
            if out is not None:
                return out
        return self._take(data)

    def close(self) -> bytes:
        """What is held back, if it is an event; `[DONE]`, if only that is missing; else `failure` is set."""
        if self._over():
            return b""
        tail = bytes(self._held).strip(b"\n")
        out = self._event(tail) if tail else b""
        if isinstance(self.failure, UpstreamBroken):
            self.failure = UpstreamBroken(EARLY)
        if not self._over():
            if self._ended and all(self._ended.values()):
                self.finished = True
                out += DONE
            else:
                self.failure = UpstreamBroken(EARLY)
        self._ready = None
        return out

    def _over(self) -> bool:
        return self.finished or self.failure is not None

    def _take(self, data: bytes) -> bytes:
        """Cut what came into whole events, and hold the rest back."""
        if self._over():
            return b""
        events = self._whole(self._lines(data))
        out = self._pass(events) if events else b""
        self._ready = None if self._held or self._over() else self._template
        return out

    def _whole(self, data: bytes) -> bytes:
        """The events that are complete now; the rest is held."""
        held = self._held
        if not held and data.endswith(b"\n\n"):
            return data
        seen = max(len(held) - 1, 0)
        held += data
        end = held.rfind(b"\n\n", seen) + 2
        if end < 2:
            return b""
        events = bytes(held[:end])
        del held[:end]
        return events

    def _lines(self, data: bytes) -> bytes:
        """The same with LF for CRLF and CR, at once: it is not known when the byte after a CR will come."""
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if b"\r" in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return data

    def _pass(self, events: bytes) -> bytes:
        """What goes out for one or more whole events."""
        if self._template is not None:
            burst = self._template.many(events)
            if burst is not None:
                return burst
        out = []
        for event in events.split(b"\n\n"):
            block = event.strip(b"\n")
            if block:
                out.append(self._event(block))
                if self._over():
                    break
        return b"".join(out)

    def _event(self, block: bytes) -> bytes:
        """What goes out for one event, given without its blank line."""
        known = self._template.one(block + b"\n\n") if self._template is not None else None
        if known is not None:
            return known
        if self._fresh:
            self._fresh = False
            block = block.removeprefix(_BOM).lstrip(b"\n")
        try:
            block.decode()
            name, data = _read(block)
        except ValueError:
            return self._fail(_stray(block))
        if data.strip():
            return self._in_full(block, name, data)
        # Comments only: OpenAI's own client takes an event without data for one whose JSON is broken.
        return block + b"\n\n" if self._begun and _is_comment(block) else b""

    def _in_full(self, block: bytes, name: bytes, data: bytes) -> bytes:
        """An event that has data."""
        if data.strip() == b"[DONE]":
            return self._done()
        if name == b"error":
            return self._fail(reported(data))
        try:
            chunk = read_json(data)
        except ValueError:
            return self._fail(UpstreamBroken("the upstream's stream holds an event that is not JSON"))
        if not isinstance(chunk, dict):
            return self._fail(
                UpstreamBroken("the upstream's stream holds an event that is not a JSON object")
            )
        if holds_error(chunk):
            return self._fail(reported(data))
        return self._chunk(block, data, chunk)

    def _done(self) -> bytes:
        """The upstream's word that all was said, if that can be."""
        if not self._begun or (self._ended and not any(self._ended.values())):
            return self._fail(UpstreamBroken(EARLY))
        self.finished = True
        return DONE

    def _chunk(self, block: bytes, data: bytes, chunk: dict[str, Any]) -> bytes:
        plain = self._note(chunk)
        if self.failure is not None:
            return b""
        other = "model" in chunk and chunk["model"] != self._answer.model
        model = self._model if other else None
        new = rewritten(data, model, "delta")
        if not self._begun:
            self._begun = True
            if self._answer.tuning is not None:
                new = with_tuning(new, self._answer.tuning)
        elif plain and self._wasted < _PATIENCE and _is_one_line(block, data):
            self._learn(data, lambda example: rewritten(example, model, "delta"))
        return (block if new is data else _with_data(block, new)) + b"\n\n"

    def _note(self, chunk: dict[str, Any]) -> bool:
        """Keep what is asked for at the end; whether there was nothing of that."""
        plain = True
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else []:
            if not isinstance(choice, dict):
                continue
            index, reason = choice.get("index"), choice.get("finish_reason")
            index = index if isinstance(index, int) else 0
            if reason is None:
                self._ended.setdefault(index, False)
            else:
                plain = False
                self._ended[index] = True
                if reason in BROKEN_OFF:
                    self._fail(UpstreamBroken(f"the upstream broke its answer off: {reason}"))
                self.finish_reason = reason if isinstance(reason, str) else self.finish_reason
        usage = chunk.get("usage")
        if isinstance(usage, dict):
            plain = False
            self.usage = _counts(usage) or self.usage
        return plain

    def _learn(self, data: bytes, change: Callable[[bytes], bytes]) -> None:
        """Make the template of a chunk that was read in full and holds nothing to remember."""
        slot = _SLOT.search(data)
        if slot is None or _MARK in data:
            return
        if self._template is not None:
            self._wasted = 0 if self._template.used else self._wasted + 1
        start, stop = slot.span(1)
        example = change(data[:start] + _MARK + data[stop:])
        pieces = (b"data: " + example + b"\n\n").split(_MARK)
        self._template = _Template(b"data: " + data[: start + 1], data[stop - 1 :] + b"\n\n", pieces)

    def _fail(self, failure: AttuneError) -> bytes:
        self.failure = failure
        return b""


def _read(block: bytes) -> tuple[bytes, bytes]:
    """An event's name and data, by the rules of server-sent events.

    Those ignore unknown fields; here a block of nothing else is a `ValueError`, and `error: {...}` is an
    error's data: llama.cpp wrote errors so before its pull request 16109 (September 2025).
    """
    if block.startswith(b"data: ") and b"\n" not in block:
        return b"", block[6:]
    name, data, unknown = b"", [], False
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"error":
            return field, value
        if field == b"event":
            name = value
        elif field == b"data":
            data.append(value)
        elif field not in _FIELDS:
            unknown = True
    if unknown and not data:
        raise ValueError("no event")
    return name, b"\n".join(data)


def _is_comment(block: bytes) -> bool:
    return block.startswith(b":") and block.count(b"\n") == block.count(b"\n:")


def _stray(block: bytes) -> AttuneError:
    """For bytes that are no event: an error object without `data:` still has something to say."""
    try:
        value = read_json(block)
    except ValueError:
        value = None
    if isinstance(value, dict) and holds_error(value):
        return reported(block)
    return UpstreamBroken("the upstream's stream holds something that is not an event")


def _is_one_line(block: bytes, data: bytes) -> bool:
    return len(block) == len(data) + 6 <= _LONGEST_LEARNED and block.startswith(b"data: ")


def _with_data(block: bytes, data: bytes) -> bytes:
    """The event with other data, on one line; its other lines stay."""
    line = b"data: " + data.replace(b"\n", b" ")
    if b"\n" not in block:
        return line
    return b"\n".join([*(other for other in block.split(b"\n") if not other.startswith(b"data")), line])


def _counts(usage: dict[str, Any]) -> tuple[int, int] | None:
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens", 0)
    return (prompt, completion) if isinstance(prompt, int) and isinstance(completion, int) else None
