"""Pure. Ollama's answer without a stream as a chat completion."""

from __future__ import annotations

from proxy.backends.answer import Answer
from proxy.backends.ollama_record import Calls, Message, finish_reason, head, logprobs, read, text
from proxy.errors import UpstreamBroken
from proxy.openai import chunks


def complete(body: bytes, answer: Answer) -> bytes:
    """The chat completion for one record.

    Raises `UpstreamBroken` for what is no finished record, and `UpstreamRefused` for an error under 200.
    """
    record = read(body)
    if not record.done and record.done_reason is None:
        # The runner closed early, or Ollama's guard against endless repetition stopped it.
        raise UpstreamBroken("ollama broke off: its answer is not done")
    message = record.message or Message()
    calls = [call for _, call in Calls(answer).take(message)]
    content = text(message.content) or (chunks.NULL if calls else b'""')
    said = chunks.message(content, text(message.thinking) or None, calls)
    usage = chunks.usage(record.prompt_eval_count, record.eval_count)
    return chunks.completion(head(answer), said, finish_reason(record, bool(calls)), usage, logprobs(record))
