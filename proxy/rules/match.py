"""Pure. Which rules apply to a request.

Match values are globs, compared without regard to case; a rule is compiled once, when its file is read.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from proxy.rules.rule import Match, Rule


@dataclass(frozen=True, slots=True)
class Facts:
    """What rules may look at."""

    model: str
    """The model that the client asks for."""
    task: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    """Lower-case names; only those that some rule looks at need to be here."""
    user: str | None = None
    runtime: str | None = None
    thinking: bool = False
    stream: bool = False
    tools: bool = False


Test = Callable[[Facts], bool]


@dataclass(frozen=True, slots=True)
class Compiled:
    """A rule or experiment with its tests, cheapest first."""

    tests: tuple[Test, ...]

    def holds(self, facts: Facts) -> bool:
        return all(test(facts) for test in self.tests)


@dataclass(frozen=True, slots=True)
class Walk:
    """The rules that apply, in order, and the task that the last of them left behind."""

    rules: tuple[Rule, ...]
    task: str | None


def globs(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Whether a text matches any of the patterns (`*`, `?`, `[...]`), ignoring case."""
    lower = frozenset(p.lower() for p in patterns)
    if "*" in lower:
        return lambda text: True
    if not any(c in p for p in lower for c in "*?["):
        return lambda text: text.lower() in lower
    match = re.compile("|".join(fnmatch.translate(p) for p in sorted(lower))).match
    return lambda text: match(text.lower()) is not None


def compile_match(match: Match) -> Compiled:
    """A match's tests; an empty match has none and always holds."""
    tests: list[Test] = []
    for name in ("thinking", "stream", "tools"):
        wanted = getattr(match, name)
        if wanted is not None:
            tests.append(_flag(name, wanted))
    if match.runtime is not None:
        runtimes = frozenset(match.runtime)
        tests.append(lambda facts: facts.runtime in runtimes)
    for name in ("model", "task", "user"):
        patterns = getattr(match, name)
        if patterns is not None:
            tests.append(_text(name, globs(patterns)))
    tests += [_header(name, globs(patterns)) for name, patterns in match.headers.items()]
    return Compiled(tuple(tests))


def walk(
    rules: Sequence[tuple[Rule, Compiled]], facts: Facts, *, fixed_task: bool, kept: Container[str] = ()
) -> Walk:
    """The matched rules in file order, up to one that says `stop`.

    A `task` set by a rule is what later rules see, unless `fixed_task`: the client named the task. Rules
    named in `kept` apply in any case.
    """
    matched: list[Rule] = []
    for rule, compiled in rules:
        if rule.name not in kept and not compiled.holds(facts):
            continue
        matched.append(rule)
        if rule.task is not None and not fixed_task:
            facts = replace(facts, task=rule.task)
        if rule.stop:
            break
    return Walk(tuple(matched), facts.task)


def _flag(name: str, wanted: bool) -> Test:
    return lambda facts: getattr(facts, name) is wanted


def _text(name: str, matches: Callable[[str], bool]) -> Test:
    return lambda facts: matches(getattr(facts, name) or "")


def _header(name: str, matches: Callable[[str], bool]) -> Test:
    def test(facts: Facts) -> bool:
        value = facts.headers.get(name)
        return value is not None and matches(value)

    return test
