"""Pure. Rules that say opposite things about a parameter: one with itself, or two that can match together.

Where two rules set the same thing the later one wins, so none of this is a fault; but somebody who wrote both
may not have meant it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from proxy.errors import RuleFault
from proxy.parameters.catalog import CATALOG
from proxy.parameters.values import show
from proxy.rules.order import Order, Placed
from proxy.rules.overlap import Shape, can_meet
from proxy.rules.rule import Rule

PER_RULE = 3
"""Other rules that one rule is reported with, for one parameter."""


@dataclass(frozen=True, slots=True)
class Saying:
    """All that a rule says about one parameter; sayings that are equal here never contradict each other."""

    set: str | None = None
    """As JSON, so that it can be compared with regard to type."""
    low: float | None = None
    high: float | None = None
    dropped: bool = False
    appended: bool = False
    value: Any = field(default=None, compare=False)

    @property
    def range(self) -> str:
        """`0.5..1`, open where there is no limit."""
        return "..".join("" if end is None else f"{end:g}" for end in (self.low, self.high))


def own(order: Order) -> Iterator[RuleFault]:
    """Contradictions of rules with themselves, and values that no runtime gives a meaning."""
    for placed in order.rules:
        for name in _parameters(placed.rule):
            yield from _own(placed, name)


def between(order: Order) -> Iterator[RuleFault]:
    """Contradictions between two rules that can match the same request."""
    said: dict[str, list[tuple[int, Saying]]] = defaultdict(list)
    for number, placed in enumerate(order.rules):
        for name in _parameters(placed.rule):
            saying = _saying(placed.rule, name)
            if saying != Saying():
                said[name].append((number, saying))
    for name, sayings in said.items():
        if len(sayings) > 1:
            yield from _among(order, name, sayings, share=len(said))


def _among(order: Order, name: str, sayings: list[tuple[int, Saying]], *, share: int) -> Iterator[RuleFault]:
    """Contradictions between the sayings about one parameter, in file order."""
    index = order.index(share)
    known: dict[int, Saying] = {}
    seen: set[tuple[Shape, Saying]] = set()
    for number, saying in sayings:
        later = order.rules[number]
        found = 0
        for other in index.candidates(later.shape):
            clash = _clash(name, known[other], saying)
            if clash is not None and can_meet(order.rules[other].shape, later.shape):
                key, words = clash
                yield later.fault(words.format(other=order.rules[other].where), key, name)
                found += 1
                if found == PER_RULE:
                    break
        # a rule that ends the walk is never there together with a later one
        if not later.rule.stop and (later.shape, saying) not in seen:
            seen.add((later.shape, saying))
            known[number] = saying
            index.add(number, later.shape)


def _clash(name: str, first: Saying, last: Saying) -> tuple[str, str] | None:
    """The key of the later rule that contradicts, and how; `{other}` stands for the earlier one."""
    if first == last:
        return None
    if first.set is not None and last.set is not None and first.set != last.set:
        ours, theirs = _shown(last), _shown(first)
        return "set", f"sets {name} to {ours}, {{other}} to {theirs}: where both match, the later rule wins"
    return _undone(name, first, last) or _out_of_range(name, first, last)


def _undone(name: str, first: Saying, last: Saying) -> tuple[str, str] | None:
    for dropper, other, key in ((last, first, "drop"), (first, last, None)):
        if not dropper.dropped or other.dropped:
            continue
        done = "set" if other.set is not None else "append" if other.appended else None
        if done is None:
            continue
        verb = {"set": "sets it", "append": "appends to it"}[done]
        if key is not None:
            return key, f"drops {name}, and {{other}} {verb}: where both match, it is dropped"
        ours = {"set": f"sets {name}", "append": f"appends to {name}"}[done]
        return done, f"{ours}, and {{other}} drops it: where both match, it is dropped"
    return None


def _out_of_range(name: str, first: Saying, last: Saying) -> tuple[str, str] | None:
    if _apart(first, last):
        words = f"clamps {name} to {last.range}, {{other}} to {first.range}: no value is in both"
        return "clamp", words
    if last.set is not None and (held := _held(last, first)):
        return "set", f"sets {name} to {_shown(last)}, and {{other}} clamps it to {held}"
    if first.set is not None and (held := _held(first, last)):
        return "clamp", f"clamps {name} to {held}, and {{other}} sets it to {_shown(first)}"
    return None


def _own(placed: Placed, name: str) -> Iterator[RuleFault]:
    rule = placed.rule
    saying = _saying(rule, name)
    if name in rule.default and name in rule.set:
        yield placed.fault(f"has a default for {name} that its set always beats", "default", name)
    if name in rule.drop:
        for key in ("default", "set", "append"):
            if name in getattr(rule, key):
                yield placed.fault(f"drops {name}, so its {key} has no effect", key, name)
        if name in rule.forget:
            yield placed.fault(f"drops {name}, so to forget it has no effect", "forget")
    for key in ("set", "default"):
        if name in getattr(rule, key):
            yield from _own_value(placed, key, name, saying)
    if saying.range != ".." and _apart(saying, _hard(name)):
        yield placed.fault(
            f"clamps {name} to {saying.range}, but it only goes {_hard_words(name)}", "clamp", name
        )


def _own_value(placed: Placed, key: str, name: str, saying: Saying) -> Iterator[RuleFault]:
    value = getattr(placed.rule, key)[name]
    given = Saying(set=show(value), value=value)
    verb = "sets" if key == "set" else "defaults"
    if held := _held(given, saying):
        yield placed.fault(f"{verb} {name} to {show(value)} and clamps it to {held}", key, name)
    elif _held(given, _hard(name)):
        yield placed.fault(f"{verb} {name} to {show(value)}, but it only goes {_hard_words(name)}", key, name)


def _parameters(rule: Rule) -> list[str]:
    """All parameters that a rule says something about, in the order of its keys."""
    return list(
        dict.fromkeys((*rule.default, *rule.set, *rule.clamp, *rule.append, *rule.drop, *rule.forget))
    )


def _saying(rule: Rule, name: str) -> Saying:
    limits = rule.clamp.get(name)
    value = rule.set.get(name)
    return Saying(
        set=None if value is None else json.dumps(value, sort_keys=True, default=str),
        low=limits.min if limits else None,
        high=limits.max if limits else None,
        dropped=name in rule.drop,
        appended=name in rule.append,
        value=value,
    )


def _shown(saying: Saying) -> str:
    # the words are a template for the other rule's place
    return show(saying.value).replace("{", "{{").replace("}", "}}")


def _apart(a: Saying, b: Saying) -> bool:
    """Whether two ranges have nothing in common."""
    return any(x.high is not None and y.low is not None and x.high < y.low for x, y in ((a, b), (b, a)))


def _held(given: Saying, limits: Saying) -> str | None:
    """The range that a value lies outside of, or `None`."""
    size = len(given.value) if isinstance(given.value, list) else given.value
    if isinstance(size, bool) or not isinstance(size, int | float):
        return None
    low = limits.low is not None and size < limits.low
    high = limits.high is not None and size > limits.high
    return limits.range if low or high else None


def _hard(name: str) -> Saying:
    hard = CATALOG[name].hard
    return Saying(low=hard.min, high=hard.max)


def _hard_words(name: str) -> str:
    hard = CATALOG[name].hard
    if hard.min is None:
        return f"to {hard.max:g}"
    return f"from {hard.min:g}" + ("" if hard.max is None else f" to {hard.max:g}")
