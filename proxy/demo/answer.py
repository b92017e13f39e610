"""I/O. One answer as records of Ollama's wire, with the time that its phases took."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any

from proxy.demo.generation import Generation, Prompt, TokenLogprob
from proxy.demo.language_model import LanguageModel
from proxy.demo.options import Options
from proxy.demo.runtime import timestamp
from proxy.demo.wire import Call


def head(call: Call, text: str) -> dict[str, Any]:
    """What every record begins with; the text is where the call's endpoint has it."""
    content = {"message": {"role": "assistant", "content": text}} if call.chat else {"response": text}
    return {"model": call.model, "created_at": timestamp(time.time()), **content}


class Answer:
    """A call, and the generation that answers it."""

    def __init__(
        self, model: LanguageModel, call: Call, prompt: Prompt, options: Options, received: int
    ) -> None:
        """Reads the prompt. `received`: when the call came, by `time.perf_counter_ns`."""
        self.call = call
        self.options = options
        self._received = received
        self._prompt_from = time.perf_counter_ns()
        rng = random.Random(options.seed if options.seed != -1 else None)
        self.generation = Generation(model, prompt, options, rng, call.top_logprobs if call.logprobs else 0)
        self._eval_from = time.perf_counter_ns()

    def record(self, text: str, logprobs: Sequence[TokenLogprob]) -> dict[str, Any]:
        """A record on the way."""
        return {**head(self.call, text), "done": False, **self._logprobs(logprobs)}

    def last(self, text: str, logprobs: Sequence[TokenLogprob]) -> dict[str, Any]:
        """The record that ends the answer: why it ended and what it took; zeros are left out."""
        record = {**head(self.call, text), "done": True, "done_reason": self.generation.done_reason}
        if self.call.returns_context:
            record["context"] = self.generation.tokens
        measures = {name: value for name, value in self._measures().items() if value}
        return {**record, **measures, **self._logprobs(logprobs)}

    def _logprobs(self, entries: Sequence[TokenLogprob]) -> dict[str, Any]:
        if not self.call.logprobs or not entries:
            return {}
        with_others = self.call.top_logprobs > 0
        return {"logprobs": [_entry(entry, with_others) for entry in entries]}

    def _measures(self) -> dict[str, int]:
        now = time.perf_counter_ns()
        count = self.generation.count
        return {
            "total_duration": now - self._received,
            "load_duration": self._prompt_from - self._received,
            "prompt_eval_count": self.generation.prompt_count,
            "prompt_eval_duration": self._eval_from - self._prompt_from,
            "eval_count": count,
            "eval_duration": now - self._eval_from if count else 0,
        }


def _entry(entry: TokenLogprob, with_others: bool) -> dict[str, Any]:
    shown = {"token": entry.text, "logprob": entry.logprob, "bytes": list(entry.text.encode())}
    if with_others:
        shown["top_logprobs"] = [_entry(other, False) for other in entry.alternatives]
    return shown
