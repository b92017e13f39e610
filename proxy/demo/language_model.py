"""Pure. A word n-gram that stands in for a language model: pieces of text, and logits over a vocabulary.

Built from a corpus of passages divided by lines of `---`. A passage may open with a `Q:` line, which is
never spoken: it only says which prompts the passage answers. The rest is counted after every context of up
to three pieces, and the orders are interpolated after Witten and Bell: a context seen `n` times with `t`
different followers keeps the share `b t / (n + b t)` for the next shorter one, `b` being its order's
`BACK_OFF`. The shortest are the single words, flattened by a square root so that no small word stands out,
and a part of every distribution is always theirs (`TAIL_SHARE`): the long tail that real models have, that
the filters of a sampler exist to cut, and that gives mirostat room to steer in.

Answers relate to their prompt by a `Focus`: the passages that share the prompt's words count several times.

A logit here is the logarithm of a share relative to an even one (zero = as likely as any word). So it is
positive for likely words, as it is with real models, and the penalties of a sampler bite on them.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

END = 0
"""Token: the end of the text."""
UNKNOWN = -1
"""A piece outside the vocabulary; stands in prompts and contexts, never generated."""
START = -2
"""What stands before the first piece of an answer; only in contexts."""

END_PIECE = "<|end|>"
ORDER = 4
BACK_OFF = (0.8, 1.6, 2.4)
"""By the length of the context: how readily it gives way to a shorter one. Larger values, bolder answers."""
TAIL_SHARE = 0.14
PROMPT_SHARE = 0.1
"""Of the single words' mass, the part given to the words of the prompt and of the passages in focus."""
FOCUS_WEIGHT = 8.0
"""How many times the best matching passage counts on top of its one time."""
OPENING_WEIGHT = 30.0
"""How much more the passages in focus count for an answer's first pieces."""
FOCUS_PASSAGES = 5
FUNCTION_WORD_WEIGHT = 0.05
"""So that a prompt made of nothing else still finds its passage."""

_PIECE = re.compile(
    r"<\|[a-z]{1,12}\|>"
    r"| ?[^\W\d_]{1,16}(?:'[^\W\d_]{1,8})?"
    r"| ?\d{1,3}"
    r"|\n{1,2}"
    r"| ?[^\w\s]"
    r"|[\s\S]"
)
_WORD = re.compile(r" ?([^\W\d_]+)")
_FUNCTION_WORDS = frozenset(
    (
        "a about an and any are as at be by can could did do does for from give had has have how i if in "
        "into is it its just let like make may me my no not of on one or our please should so some tell "
        "that the their them then there these they this to up use was we what when where which who why "
        "will with would you your"
    ).split()
)


def split(text: str) -> list[str]:
    """Text to pieces: words and marks with the space before them; joined, they give the text back exactly.

    No piece is longer than 25 characters.
    """
    return _PIECE.findall(text)


def prompt_words(pieces: Sequence[str]) -> dict[str, float]:
    """The words of a prompt and their weight: 1 in the last message, less in each before, little if they only
    hold a sentence together. Messages are told apart by the markers between them (`<|user|>`).
    """
    words: dict[str, float] = {}
    weight, spoken = 1.0, False
    for piece in reversed(pieces):
        if piece.startswith("<|"):
            weight = weight * 0.1 if spoken else weight
            spoken = False
            continue
        match = _WORD.match(piece)
        if match:
            spoken = True
            word = match.group(1).lower()
            word_weight = FUNCTION_WORD_WEIGHT if word in _FUNCTION_WORDS else 1.0
            words.setdefault(_stem(word), weight * word_weight)
    return words


def _stem(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


@dataclass(slots=True)
class _Passage:
    tokens: list[int]
    topics: dict[str, float]
    """Stemmed word to weight: what the passage is about; words of its `Q:` line count double."""


@dataclass(frozen=True, slots=True)
class Focus:
    """What a prompt adds to the counts while its answer is generated."""

    shares: dict[int, float] = field(default_factory=dict)
    """Token to its part of `PROMPT_SHARE`."""
    followers: dict[tuple[int, ...], dict[int, float]] = field(default_factory=dict)
    """Context to followers and their extra count."""


class LanguageModel:
    """The n-gram. Immutable once built; `logits` may be called from many answers at once."""

    def __init__(self, corpus: str) -> None:
        """Count the corpus; about a tenth of a second for 40 KB."""
        sources = [_read_passage(block) for block in re.split(r"\n---\n", corpus) if block.strip()]
        counts = Counter(piece for pieces, _ in sources for piece in pieces)
        self.vocabulary = [END_PIECE, *sorted(counts, key=lambda piece: (-counts[piece], piece))]
        """Pieces by token; after the end token the most frequent first, which keeps logits nearly sorted."""
        self._tokens = {piece: token for token, piece in enumerate(self.vocabulary)}
        self._context_tokens = [self._tokens.get(" " + piece, token) for piece, token in self._tokens.items()]
        self._passages = [
            _Passage([self._tokens[piece] for piece in pieces] + [END], topics) for pieces, topics in sources
        ]
        self._followers = self._count((passage, 1) for passage in self._passages)
        self._openings = {context for context in self._followers if context[0] == START}
        self._totals = {context: sum(after.values()) for context, after in self._followers.items()}
        self._set_word_shares(counts)
        self._index_topics()

    def _set_word_shares(self, counts: Counter[str]) -> None:
        size = len(self.vocabulary)
        seen = [1, *(counts[piece] for piece in self.vocabulary[1:])]
        flat = [math.sqrt(count) for count in seen]
        total = sum(flat)
        self._shares = [weight / total for weight in flat]
        self._even = math.log(size)
        self._word_logits = [math.log(share) + self._even for share in self._shares]

    def _index_topics(self) -> None:
        self._topics: dict[str, dict[int, float]] = defaultdict(dict)
        for number, passage in enumerate(self._passages):
            for word, weight in passage.topics.items():
                self._topics[word][number] = weight

    def _count(self, passages: Iterable[tuple[_Passage, float]]) -> dict[tuple[int, ...], dict[int, float]]:
        followers: dict[tuple[int, ...], dict[int, float]] = {}
        for passage, weight in passages:
            context: tuple[int, ...] = (START,)
            for token in passage.tokens:
                for length in range(1, len(context) + 1):
                    after = followers.setdefault(context[-length:], {})
                    after[token] = after.get(token, 0.0) + weight
                context = (*context, self._context_tokens[token])[-ORDER + 1 :]
        return followers

    @property
    def parameter_count(self) -> int:
        """How many counts the model holds."""
        return len(self.vocabulary) + sum(map(len, self._followers.values()))

    def encode(self, pieces: Iterable[str]) -> list[int]:
        """Pieces to tokens; `UNKNOWN` for a piece that the corpus never uses."""
        return [self._tokens.get(piece, UNKNOWN) for piece in pieces]

    def decode(self, tokens: Iterable[int]) -> list[str]:
        """Tokens to pieces; what is no token, or the end of the text, is left out."""
        return [self.vocabulary[token] for token in tokens if END < token < len(self.vocabulary)]

    def piece(self, token: int) -> str:
        """The text of a token."""
        return self.vocabulary[token]

    def focus(self, pieces: Sequence[str]) -> Focus:
        """What to lean toward, given the pieces of a prompt; about a millisecond."""
        words = prompt_words(pieces)
        passages = self._relevant(words)
        meant = [word for word, weight in words.items() if weight > FUNCTION_WORD_WEIGHT]
        named = [token for token in map(self._spoken, meant) if token is not None]
        said = [token for passage, _ in passages for token in passage.tokens if token != END]
        counts = Counter(named * 4 + said)
        total = sum(counts.values())
        shares = {token: PROMPT_SHARE * count / total for token, count in counts.items()}
        followers = self._count(passages)
        for context in followers.keys() & self._openings:
            followers[context] = {token: n * OPENING_WEIGHT for token, n in followers[context].items()}
        return Focus(shares, followers)

    def _spoken(self, word: str) -> int | None:
        return self._tokens.get(" " + word) or self._tokens.get(" " + word + "s")

    def _relevant(self, words: dict[str, float]) -> list[tuple[_Passage, float]]:
        scores: dict[int, float] = defaultdict(float)
        for word, weight in words.items():
            numbers = self._topics.get(word, {})
            rarity = math.log(1 + len(self._passages) / (1 + len(numbers)))
            for number, topic_weight in numbers.items():
                scores[number] += weight * topic_weight * rarity
        best = sorted(scores, key=lambda number: (-scores[number], number))[:FOCUS_PASSAGES]
        top = scores[best[0]] if best else 0.0
        near = [number for number in best if scores[number] >= 0.4 * top]
        return [(self._passages[number], FOCUS_WEIGHT * (scores[number] / top) ** 2) for number in near]

    def context(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """The context that follows these tokens; of none, the start of an answer."""
        if not tokens:
            return (START,)
        return self.extend((), *tokens[-ORDER + 1 :])

    def extend(self, context: tuple[int, ...], *tokens: int) -> tuple[int, ...]:
        """The context after further tokens. A word is the same at the start of a line and within it."""
        canonical = (token if token < 0 else self._context_tokens[token] for token in tokens)
        return (*context, *canonical)[-ORDER + 1 :]

    def logits(self, context: tuple[int, ...], focus: Focus) -> list[float]:
        """A logit for every token; the exponentials, divided by the vocabulary's size, add up to 1."""
        rest = 1.0 - sum(focus.shares.values())
        known = dict(focus.shares)
        for length in range(1, len(context) + 1):
            suffix = context[-length:]
            after = self._followers.get(suffix)
            if after is None:
                break
            extra = focus.followers.get(suffix, {})
            back_off = BACK_OFF[length - 1] * len(after)
            total = self._totals[suffix] + sum(extra.values()) + back_off
            kept = back_off / total
            rest *= kept
            known = {token: share * kept for token, share in known.items()}
            for counts in (after, extra):
                for token, count in counts.items():
                    known[token] = known.get(token, 0.0) + count / total
        return self._as_logits(rest, known)

    def _as_logits(self, rest: float, known: dict[int, float]) -> list[float]:
        """`rest` of the mass spread over the single words, and on top of it what is known of some tokens."""
        body = 1.0 - TAIL_SHARE
        rest = rest * body + TAIL_SHARE
        shift, even, shares = math.log(rest), self._even, self._shares
        logits = [logit + shift for logit in self._word_logits]
        for token, share in known.items():
            logits[token] = math.log(share * body + rest * shares[token]) + even
        return logits


def _read_passage(block: str) -> tuple[list[str], dict[str, float]]:
    """One passage of the corpus: the pieces to speak, and the words it is about."""
    question, body = "", block.strip()
    if body.startswith("Q:"):
        question, _, body = body[2:].partition("\n")
    paragraphs = [" ".join(paragraph.split()) for paragraph in body.split("\n\n")]
    pieces = split("\n\n".join(paragraph for paragraph in paragraphs if paragraph))
    topics = {word: 1.0 for word, weight in prompt_words(pieces).items() if weight == 1.0}
    topics.update(dict.fromkeys(prompt_words(split(question)), 2.0))
    return pieces, topics
