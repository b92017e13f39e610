"""Pure. From logits to one token, obeying the sampling options of Ollama.

The order is fixed:

1. **Penalties**, on the logits of what was said in the last `repeat_last_n` tokens: `repeat_penalty` divides
   a positive logit and multiplies a negative one, then `frequency_penalty` (per use) and `presence_penalty`
   (once) are subtracted.
2. **Greedy**, if `temperature` is 0: the best token, and none of what follows.
3. **Mirostat**, if it is 1 or 2, in place of steps 4 and 5: it alone says what is cut, and steers it so that
   the mean surprise comes near `mirostat_tau`. Surprise is measured in bits on the model's own distribution,
   so it is what the reported log-probabilities say too.
4. **Filters**, each on what the one before left, shares made to add up to 1 again: `top_k`, `typical_p`,
   `top_p`, `min_p`. None ever takes the last token.
5. **Temperature**, and the dice.

The log-probabilities that come back are the model's own, from before step 1.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

Shares = list[tuple[int, float]]
"""Tokens with their shares, the largest first; never empty, no share is 0, together they make 1."""

_ZIPF_TOKENS = 100
_MAX_MU = 64.0


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """The per-request sampling options, by Ollama's names. Any finite value is taken."""

    temperature: float = 0.8
    """0 or less: greedy."""
    top_k: int = 40
    """0 or less: off."""
    top_p: float = 0.9
    """1 or more: off."""
    min_p: float = 0.0
    """0 or less: off."""
    typical_p: float = 1.0
    """1 or more: off."""
    repeat_last_n: int = 64
    """0: no penalties; negative: the whole history."""
    repeat_penalty: float = 1.0
    """1: off; 0 or less has no meaning and is off as well."""
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    mirostat: int = 0
    """1 or 2; anything else: off."""
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1


@dataclass(frozen=True, slots=True)
class Sampled:
    """One token, and what the model thought of it and of the most likely ones."""

    token: int
    logprob: float
    alternatives: list[tuple[int, float]] = field(default_factory=list)
    """The most likely tokens with their log-probabilities, best first."""


class Sampler:
    """Draws the tokens of one answer; keeps mirostat's state between them."""

    def __init__(self, options: SamplingOptions, rng: random.Random) -> None:
        self._options = options
        self._rng = rng
        self.mu = _bounded_mu(2.0 * options.mirostat_tau)
        """Mirostat's bound on the surprise of a token, in bits."""

    def sample(self, logits: Sequence[float], history: Sequence[int], alternatives: int = 0) -> Sampled:
        """One token for these logits, after these tokens (those outside the vocabulary count for nothing)."""
        norm = _log_sum(logits)
        token = self._choose(logits, penalise(logits, history, self._options), norm)
        best = heapq.nlargest(alternatives, range(len(logits)), key=logits.__getitem__)
        return Sampled(token, logits[token] - norm, [(other, logits[other] - norm) for other in best])

    def _choose(self, logits: Sequence[float], penalised: Sequence[float], norm: float) -> int:
        options = self._options
        if options.temperature <= 0:
            return max(range(len(penalised)), key=penalised.__getitem__)
        if options.mirostat in (1, 2):
            return self._steer(logits, penalised, norm)
        return draw(heated(filtered(penalised, options), options.temperature), self._rng)

    def _steer(self, logits: Sequence[float], penalised: Sequence[float], norm: float) -> int:
        shares = ranked(penalised)
        if self._options.mirostat == 1:
            shares = keep_top_k(shares, zipf_cut(shares, self.mu))
        else:
            floor = norm - self.mu * math.log(2)
            shares = rescaled([pair for pair in shares if logits[pair[0]] >= floor] or shares[:1])
        token = draw(shares, self._rng)
        surprise = (norm - logits[token]) / math.log(2)
        self.mu = _bounded_mu(self.mu - self._options.mirostat_eta * (surprise - self._options.mirostat_tau))
        return token


def _bounded_mu(mu: float) -> float:
    # Where tau is out of the model's reach, mu would run away and never come back.
    return min(max(mu, 0.0), _MAX_MU)


def _log_sum(logits: Sequence[float]) -> float:
    top = max(logits)
    return top + math.log(sum(math.exp(logit - top) for logit in logits))


def penalise(logits: Sequence[float], history: Sequence[int], options: SamplingOptions) -> list[float]:
    """The logits after step 1; the same ones where nothing was said or nothing is to be paid."""
    result = list(logits)
    recent = history if options.repeat_last_n < 0 else history[max(0, len(history) - options.repeat_last_n) :]
    factor = options.repeat_penalty if options.repeat_penalty > 0 else 1.0
    for token, count in Counter(recent).items():
        if not 0 <= token < len(result):
            continue
        logit = result[token]
        logit = logit / factor if logit > 0 else logit * factor
        logit -= count * options.frequency_penalty + options.presence_penalty
        result[token] = max(-1e30, min(1e30, logit))
    return result


def ranked(logits: Sequence[float], top_k: int = 0) -> Shares:
    """The `top_k` best tokens (0: all) with their shares; of equals, the lower token comes first."""
    order = sorted(range(len(logits)), key=logits.__getitem__, reverse=True)
    if top_k > 0:
        order = order[:top_k]
    top = logits[order[0]]
    weights = [(token, math.exp(logits[token] - top)) for token in order]
    return rescaled([pair for pair in weights if pair[1] > 0.0])


def rescaled(shares: Shares) -> Shares:
    """The same shares, adding up to 1."""
    total = sum(share for _, share in shares)
    return [(token, share / total) for token, share in shares]


def filtered(logits: Sequence[float], options: SamplingOptions) -> Shares:
    """Step 4, whole."""
    shares = ranked(logits, options.top_k)
    shares = keep_typical(shares, options.typical_p)
    shares = keep_top_p(shares, options.top_p)
    return keep_min_p(shares, options.min_p)


def keep_top_k(shares: Shares, top_k: int) -> Shares:
    """The `top_k` largest."""
    return rescaled(shares[: max(1, top_k)])


def keep_top_p(shares: Shares, top_p: float) -> Shares:
    """The fewest of the largest that together reach `top_p`."""
    return shares if top_p >= 1 else rescaled(_until(shares, top_p))


def keep_min_p(shares: Shares, min_p: float) -> Shares:
    """Those with at least `min_p` times the share of the best."""
    if min_p <= 0:
        return shares
    floor = min_p * shares[0][1]
    return rescaled([pair for pair in shares if pair[1] >= floor] or shares[:1])


def keep_typical(shares: Shares, typical_p: float) -> Shares:
    """The fewest that together reach `typical_p`, beginning with the surprise closest to the expected one."""
    if typical_p >= 1:
        return shares
    entropy = -sum(share * math.log(share) for _, share in shares)
    typical = sorted(shares, key=lambda pair: abs(-math.log(pair[1]) - entropy))
    return rescaled(sorted(_until(typical, typical_p), key=lambda pair: (-pair[1], pair[0])))


def _until(shares: Shares, wanted: float) -> Shares:
    reached = 0.0
    for number, (_, share) in enumerate(shares, start=1):
        reached += share
        if reached >= wanted:
            return shares[:number]
    return shares


def heated(shares: Shares, temperature: float) -> Shares:
    """Shares after temperature, which must be above 0: below 1 sharper, above 1 flatter."""
    top = shares[0][1]
    exponent = 1.0 / temperature
    return rescaled([(token, (share / top) ** exponent) for token, share in shares])


def draw(shares: Shares, rng: random.Random) -> int:
    """One token, by its share."""
    point = rng.random()
    for token, share in shares:
        point -= share
        if point < 0:
            return token
    return shares[0][0]


def zipf_cut(shares: Shares, mu: float) -> int:
    """Mirostat 1: how many tokens to keep for a bound of `mu` bits, if shares fall off as Zipf says.

    The exponent `s` is fitted to the best hundred; then `k = ((s - 1) 2^mu / (1 - n^(1 - s)))^(1 / s)`.
    """
    size = len(shares)
    head = [share for _, share in shares[:_ZIPF_TOKENS]]
    steps = [math.log((rank + 2) / (rank + 1)) for rank in range(len(head) - 1)]
    falls = [math.log(head[rank] / head[rank + 1]) for rank in range(len(head) - 1)]
    fit = sum(step * fall for step, fall in zip(steps, falls, strict=True))
    exponent = fit / sum(step * step for step in steps) if steps else 0.0
    if exponent < 1e-6:
        return size
    excess = exponent - 1.0
    scale = 1.0 / math.log(size) if abs(excess) < 1e-6 else excess / (1.0 - size**-excess)
    log_count = (math.log(scale) + mu * math.log(2)) / exponent
    return max(1, min(size, round(math.exp(min(log_count, math.log(size))))))
