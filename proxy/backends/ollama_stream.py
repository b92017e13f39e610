"""Pure. Ollama's stream, one JSON record per line, as OpenAI's server-sent events."""

from __future__ import annotations

from proxy.backends.answer import Answer
from proxy.backends.ollama_record import Calls, Message, Record, finish_reason, head, logprobs, read, text
from proxy.errors import AttuneError, UpstreamBroken, UpstreamError
from proxy.openai.chunks import NULL, Chunks
from proxy.openai.sse import DONE

_NO_MESSAGE = Message()


class OllamaStream:
    """A `Translator` for `/api/chat` with `stream: true`.

    A record's text goes from line to event as the bytes it came in. A line may be cut anywhere and be
    megabytes long: its pieces are kept apart until its end has come.
    """

    def __init__(self, answer: Answer) -> None:
        self.failure: AttuneError | None = None
        self.finished = False
        self.usage: tuple[int, int] | None = None
        """(prompt, completion) tokens, once done; a count that Ollama left out is 0."""
        self.finish_reason: str | None = None
        """OpenAI's word, once done."""
        self._include_usage = answer.include_usage
        self._chunks = Chunks(head(answer), include_usage=answer.include_usage)
        self._calls = Calls(answer)
        self._begun = False
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> bytes:
        """The events of the lines that `data` completes."""
        if self.finished or self.failure is not None:
            return b""
        lines, end, rest = data.rpartition(b"\n")
        if not end:
            self._pieces.append(data)
            return b""
        if self._pieces:
            self._pieces.append(lines)
            lines = b"".join(self._pieces)
            self._pieces.clear()
        if rest:
            self._pieces.append(rest)
        return self._translate(lines)

    def close(self) -> bytes:
        """The events of a last line without an end. A stream that ends before its done record has failed."""
        if self.finished or self.failure is not None:
            return b""
        events = self._translate(b"".join(self._pieces))
        self._pieces.clear()
        if not self.finished and self.failure is None:
            self.failure = UpstreamBroken("ollama ended the stream without a done record")
        return events

    def _translate(self, lines: bytes) -> bytes:
        events: list[bytes] = []
        try:
            for line in lines.split(b"\n"):
                if line and not line.isspace():
                    self._put(read(line), events)
                    if self.finished:
                        break
        except UpstreamError as failure:
            self.failure = failure
        return b"".join(events)

    def _put(self, record: Record, events: list[bytes]) -> None:
        """The events of one record; all of it is read before the first is put."""
        message = record.message
        if message is None:
            if not record.done:
                return
            message = _NO_MESSAGE
        thinking, content, odds = text(message.thinking), text(message.content), logprobs(record)
        calls = self._calls.take(message) if message.tool_calls else ()
        chunks = self._chunks
        if not self._begun:
            self._begun = True
            events.append(chunks.first())
        if thinking:
            # The tokens of a record belong to all its texts; the last of them carries them.
            events.append(chunks.reasoning(thinking, NULL if content else odds))
        if odds is not NULL and (content or not thinking):
            events.append(chunks.chunk(b'{"content":%b}' % (content or b'""'), odds))
        elif content:
            events += (chunks.before_content, content, chunks.after_content)
        events += [chunks.tool_call(index, call) for index, call in calls]
        if record.done:
            self._finish(record, events)

    def _finish(self, record: Record, events: list[bytes]) -> None:
        self.usage = (record.prompt_eval_count, record.eval_count)
        self.finish_reason = finish_reason(record, bool(self._calls))
        self.finished = True
        events.append(self._chunks.finish(self.finish_reason))
        if self._include_usage:
            events.append(self._chunks.usage(*self.usage))
        events.append(DONE)
