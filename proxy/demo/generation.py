"""Pure. From a prompt to an answer, one token per step.

A prompt is written out by a small template, `<|role|>` on a line before each message, and cut to the last
`num_ctx` tokens. Generation ends at the model's end of text, at a stop sequence (neither is part of the
answer), or when enough tokens were made; `Generation.done_reason` says `stop` or `length`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from proxy.demo.language_model import END, LanguageModel, split
from proxy.demo.options import Options
from proxy.demo.sampler import Sampled, Sampler
from proxy.demo.wire import Message

UNBOUNDED_TOKENS = 512
"""Where `num_predict` is negative ("until the model ends"): the most that is made of one answer."""
CONTEXTS_PER_ANSWER = 10
"""An answer is never longer than this many times `num_ctx`."""

_LONGEST_PIECE = 25
_ROLE = re.compile(r"[a-z]{1,12}")


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model sees."""

    pieces: list[str]
    """At most `num_ctx` of them."""
    opening: list[str] = field(default_factory=list)
    """The last of them that the answer goes on from; empty: the answer begins anew."""


def chat_prompt(messages: Sequence[Message], num_ctx: int, before: Sequence[str] = ()) -> Prompt:
    """A conversation after the pieces `before`. One that ends with the assistant's words goes on."""
    continued = messages[-1].role == "assistant"
    pieces = [] if continued else ["<|assistant|>", "\n"]
    for message in reversed(messages):
        role = message.role if _ROLE.fullmatch(message.role) else "other"
        end = [] if continued and not pieces else ["\n"]
        pieces = [f"<|{role}|>", "\n", *last_pieces(message.content, num_ctx), *end, *pieces]
        if len(pieces) >= num_ctx:
            break
    opening = last_pieces(messages[-1].content, num_ctx) if continued else []
    return Prompt([*before, *pieces][-num_ctx:], opening)


def raw_prompt(text: str, num_ctx: int) -> Prompt:
    """A text that is continued as it stands."""
    pieces = last_pieces(text, num_ctx)
    return Prompt(pieces, pieces)


def last_pieces(text: str, count: int) -> list[str]:
    """The last `count` pieces of a text."""
    # Only what can matter is split: a body of many megabytes must not hold up the event loop.
    return split(text[-count * _LONGEST_PIECE :])[-count:]


class StopScanner:
    """Holds back what may be the beginning of a stop sequence, until it is one or is not."""

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.matched = False

    def feed(self, text: str) -> str:
        """What may be shown after this text; once a sequence is complete, what stood before it."""
        text = self._held + text
        found = [position for stop in self._stops if (position := text.find(stop)) >= 0]
        if found:
            self.matched, self._held = True, ""
            return text[: min(found)]
        cut = len(text) - max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[cut:]
        return text[:cut]

    def close(self) -> str:
        """What was held back for nothing."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of the text begin the stop sequence without completing it."""
    lengths = range(min(len(stop) - 1, len(text)), 0, -1)
    return next((length for length in lengths if text.endswith(stop[:length])), 0)


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token's text and the model's own log-probability of it; of a chosen one, others' too."""

    text: str
    logprob: float
    alternatives: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """What one token added; both may be empty while a stop sequence may be beginning."""

    text: str
    logprobs: tuple[TokenLogprob, ...]


class Generation:
    """One answer. Iterate over `steps` once; what it left in the fields is valid at any time."""

    def __init__(
        self, model: LanguageModel, prompt: Prompt, options: Options, rng: Random, alternatives: int = 0
    ) -> None:
        """Reads the prompt; `alternatives` is how many other tokens to report for each one."""
        self.count = 0
        """Tokens made so far."""
        self.done_reason = "length"
        self._model = model
        self._focus = model.focus(prompt.pieces)
        self._history = model.encode(prompt.pieces)
        self.prompt_count = len(self._history)
        self._context = model.context(model.encode(prompt.opening))
        self._alternatives = alternatives
        self._limit = _token_limit(options)
        self._sampler = Sampler(options.sampling, rng)
        self._scanner = StopScanner(options.stop)
        self._unreported: list[TokenLogprob] = []
        self._reported_length = 0

    @property
    def tokens(self) -> list[int]:
        """The prompt and the answer so far, as tokens of the vocabulary; unknown pieces are left out."""
        return [token for token in self._history if token >= 0]

    def steps(self) -> Iterator[Step]:
        """The answer, token by token."""
        while self.count < self._limit:
            logits = self._model.logits(self._context, self._focus)
            sampled = self._sampler.sample(logits, self._history, self._alternatives)
            if sampled.token == END:
                self.done_reason = "stop"
                break
            yield self._take(sampled)
            if self._scanner.matched:
                self.done_reason = "stop"
                return
        yield self._show(self._scanner.close())

    def _take(self, sampled: Sampled) -> Step:
        self.count += 1
        self._history.append(sampled.token)
        self._context = self._model.extend(self._context, sampled.token)
        text = self._model.piece(sampled.token)
        others = tuple(TokenLogprob(self._model.piece(t), logprob) for t, logprob in sampled.alternatives)
        self._unreported.append(TokenLogprob(text, sampled.logprob, others))
        return self._show(self._scanner.feed(text))

    def _show(self, text: str) -> Step:
        """A token's log-probability goes out with the first of its characters."""
        self._reported_length += len(text)
        shown = []
        while self._unreported and self._reported_length > 0:
            entry = self._unreported.pop(0)
            self._reported_length -= len(entry.text)
            shown.append(entry)
        return Step(text, tuple(shown))


def _token_limit(options: Options) -> int:
    if options.num_predict < 0:
        return UNBOUNDED_TOKENS
    return min(options.num_predict, CONTEXTS_PER_ANSWER * options.num_ctx)
