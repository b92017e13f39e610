"""Pure. Rules and experiments that no request ever meets, and choices that a later rule always takes back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from proxy.errors import RuleFault
from proxy.parameters.near import hint
from proxy.parameters.tasks import TASK_NAMES
from proxy.rules.match import globs
from proxy.rules.order import Order, Placed
from proxy.rules.overlap import contains, shape
from proxy.rules.parse import Parsed
from proxy.rules.rule import Match

ACTIONS = (
    *("default", "set", "clamp", "append", "drop", "forget", "system_prompt", "profile", "task", "route"),
    *("reject", "stop"),
)

EVERYTHING = shape(Match.model_validate({}))

CHOICES = ("profile", "task")
"""Actions of which the last one counts alone."""


def known_tasks(files: Sequence[Parsed]) -> frozenset[str]:
    """The 19 task types and the tasks that enabled rules and profiles bring in."""
    contents = [parsed.content for parsed in files if parsed.content is not None]
    named = {rule.task for content in contents for rule in content.rules if rule.enabled and rule.task}
    named |= {profile.task for content in contents for profile in content.profiles if profile.task}
    return frozenset(TASK_NAMES) | named


def unreachable(order: Order) -> Iterator[RuleFault]:
    """Rules that an earlier `stop` keeps from ever being asked."""
    stops = order.index()
    for number, later in enumerate(order.rules):
        for earlier in stops.candidates(later.shape):
            stop = order.rules[earlier]
            moved = stop.shape.globs("task") is not None and order.may_move(earlier, number)
            if not moved and contains(stop.shape, later.shape):
                whom = "every request" if stop.shape == EVERYTHING else "whatever it could match"
                yield later.fault(f"can never match: {stop.where} ends the walk for {whom}")
                break
        if later.rule.stop:
            stops.add(number, later.shape)


def unmet(order: Order, files: Sequence[Parsed]) -> Iterator[RuleFault]:
    """Rules and experiments whose task or runtime does not exist, and rules that do nothing."""
    tasks = known_tasks(files)
    runtimes = _runtimes(files)
    for placed in order.rules:
        for key, words in _unmet(placed.rule.match, tasks, runtimes):
            yield placed.fault(f"can never match: {words}", "match", key)
        if not any(getattr(placed.rule, action) for action in ACTIONS) and _is_lenient(placed):
            yield placed.fault("does nothing")
    for parsed in files:
        for index, test in enumerate(parsed.content.experiments if parsed.content else ()):
            for key, words in _unmet(test.match, tasks, runtimes) if test.enabled else ():
                line = parsed.lines.at(("experiments", index, "match", key))
                message = f"experiment {test.name!r} can never match: {words}"
                yield RuleFault(message, file=parsed.file, line=line)


def unheard(order: Order, files: Sequence[Parsed]) -> Iterator[RuleFault]:
    """Tasks that a rule sets, that are none of the 19, and that nothing looks at."""
    contents = [parsed.content for parsed in files if parsed.content is not None]
    looks = {glob for placed in order.rules for glob in placed.rule.match.task or ()}
    looks |= {glob for c in contents for e in c.experiments if e.enabled for glob in e.match.task or ()}
    looks |= {r.task for c in contents for family in c.families for r in family.recommended}
    # what holds for every task does not need this one
    heard = globs(looks - {"*", "any"}) if looks - {"*", "any"} else None
    for placed in order.rules:
        task = placed.rule.task
        if task is not None and task not in TASK_NAMES and not (heard and heard(task)):
            words = f"sets task {task!r}, which nothing looks at{hint(task, TASK_NAMES)}"
            yield placed.fault(words, "task")


def overridden(order: Order) -> Iterator[RuleFault]:
    """Choices of a rule that a later one, which matches whenever it does, always replaces."""
    for choice in CHOICES:
        later_ones = order.index()
        for number in range(len(order.rules) - 1, -1, -1):
            earlier = order.rules[number]
            chosen = getattr(earlier.rule, choice)
            if chosen is None:
                continue
            for later in later_ones.candidates(earlier.shape):
                if _overrides(order, number, later, choice):
                    winner = order.rules[later]
                    words = f"sets {choice} {chosen!r} in vain: {winner.where} matches whenever it does"
                    yield earlier.fault(f"{words} and sets {getattr(winner.rule, choice)!r}", choice)
                    break
            later_ones.add(number, earlier.shape)


def _overrides(order: Order, earlier: int, later: int, choice: str) -> bool:
    first, last = order.rules[earlier], order.rules[later]
    if getattr(first.rule, choice) == getattr(last.rule, choice) or order.may_stop(earlier, later):
        return False
    if last.shape.globs("task") is not None and order.may_move(earlier, later):
        return False
    if choice == "task" and _is_looked_at(order, earlier, later):
        return False
    return contains(last.shape, first.shape)


def _is_looked_at(order: Order, earlier: int, later: int) -> bool:
    """Whether a rule in between sees the earlier one's task."""
    return any(p.shape.globs("task") is not None for p in order.rules[earlier + 1 : later])


def _is_lenient(placed: Placed) -> bool:
    return placed.rule.on_violation == "clamp"


def _runtimes(files: Sequence[Parsed]) -> frozenset[str] | None:
    """The runtimes of all upstreams; `None` when there are none or one's is still to be found out."""
    entries = [u for parsed in files if parsed.content is not None for u in parsed.content.upstreams]
    declared = frozenset(u.runtime for u in entries if u.runtime is not None)
    return declared if entries and all(u.runtime for u in entries) else None


def _unmet(match: Match, tasks: frozenset[str], runtimes: frozenset[str] | None) -> Iterator[tuple[str, str]]:
    if match.task is not None:
        fits = globs(match.task)
        # the empty text stands for a request without a task
        if not any(map(fits, (*tasks, ""))):
            close = hint(match.task[0], sorted(tasks)) if len(match.task) == 1 else ""
            yield "task", f"no task is called {' or '.join(map(repr, match.task))}{close}"
    if match.runtime is not None and runtimes is not None and not runtimes & set(match.runtime):
        yield "runtime", f"no upstream runs {' or '.join(match.runtime)}"
