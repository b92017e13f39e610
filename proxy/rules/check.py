"""Pure. Rule files checked against each other: what they name has to exist, and only once.

`cross_check` finds faults, which keep the files from being used; `warnings` finds what somebody may not have
meant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from proxy.errors import RuleFault
from proxy.parameters.near import hint
from proxy.rules import contradictions, reach
from proxy.rules.match import globs
from proxy.rules.messages import ITEMS
from proxy.rules.order import Order
from proxy.rules.parse import Parsed
from proxy.rules.rule import Profile

REPLACEABLE = ("families", "profiles")
"""Sections whose built-in entries may be defined anew under their name."""

HINTS = 20
"""Unknown profiles that get a hint; looking for near names is slow."""


def cross_check(files: Sequence[Parsed]) -> list[RuleFault]:
    """The faults of all files together. Those that a file has by itself are in its `faults`, not here.

    What a file names is looked for only when every file could be read: it may be in the one that couldn't.
    """
    complete = all(parsed.content is not None for parsed in files)
    missing = _references(files) if complete else ()
    return _sorted(files, [*_twice(files), *_ids(files), *_addresses(files), *missing])


def warnings(files: Sequence[Parsed]) -> list[RuleFault]:
    """Rules that can never match, that contradict each other, or that are probably not what was meant."""
    order = Order(files)
    found = [
        *reach.unmet(order, files),
        *reach.unreachable(order),
        *reach.overridden(order),
        *reach.unheard(order, files),
        *contradictions.own(order),
        *contradictions.between(order),
        *_taken_over(files),
    ]
    if order.exhausted:
        words = "so many rules overlap that not all pairs were compared; there may be more contradictions"
        found.append(RuleFault(words, file=order.rules[0].parsed.file, line=1))
    return _sorted(files, found)


def _sorted(files: Sequence[Parsed], found: list[RuleFault]) -> list[RuleFault]:
    """In the order of files and lines."""
    ranks = {parsed.file: rank for rank, parsed in enumerate(files)}
    return sorted(found, key=lambda fault: (ranks.get(fault.file, 0), fault.line))


def _entries(files: Sequence[Parsed], section: str) -> Iterator[tuple[Parsed, int, Any]]:
    """(file, number in it, entry) of a section over all files."""
    for parsed in files:
        if parsed.content is not None:
            for index, entry in enumerate(getattr(parsed.content, section)):
                yield parsed, index, entry


def _twice(files: Sequence[Parsed]) -> Iterator[RuleFault]:
    """Names that two entries of a kind share."""
    for section, item in ITEMS.items():
        first: dict[str, tuple[Parsed, int, Any]] = {}
        for parsed, index, entry in _entries(files, section):
            line = parsed.lines.at((section, index))
            if entry.name not in first:
                first[entry.name] = (parsed, line, entry)
                continue
            before, there, other = first[entry.name]
            words = f"{item} {entry.name!r} is already there: {before.file}:{there}"
            if section in REPLACEABLE and before.builtin and not parsed.builtin:
                if not (isinstance(other, Profile) and other.task):
                    first[entry.name] = (parsed, line, entry)
                    continue
                words = (
                    f"profile {entry.name!r} is the system profile of its task and can't be changed: give "
                    f"yours another name and say task: {other.task}"
                )
            yield RuleFault(words, file=parsed.file, line=line)


def _ids(files: Sequence[Parsed]) -> Iterator[RuleFault]:
    """Profiles of different names with the same id."""
    first: dict[str, tuple[Parsed, int, Profile]] = {}
    for parsed, index, profile in _entries(files, "profiles"):
        before, there, other = first.setdefault(profile.id, (parsed, index, profile))
        if other.name != profile.name:
            place = f"{before.file}:{before.lines.at(('profiles', there))}"
            words = f"profile {profile.name!r} has the id of profile {other.name!r} ({place})"
            yield RuleFault(words, file=parsed.file, line=parsed.lines.at(("profiles", index, "id")))


def _addresses(files: Sequence[Parsed]) -> Iterator[RuleFault]:
    for parsed, index, entry in _entries(files, "upstreams"):
        words = address_fault(entry.url)
        if words is not None:
            line = parsed.lines.at(("upstreams", index, "url"))
            yield RuleFault(f"url of upstream {entry.name!r} {words}", file=parsed.file, line=line)


def address_fault(url: str) -> str | None:
    """What is wrong with an upstream's address, or `None`; never repeats it, for it may hold a secret."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as fault:
        return f"is not an address: {fault}" if "port" in str(fault).lower() else "is not an address"
    if url != url.strip() or any(c.isspace() or not c.isprintable() for c in url):
        return "holds white space or control characters"
    if parts.scheme not in ("http", "https"):
        return "must begin with http:// or https://"
    if not parts.hostname or port == 0:
        return "names no host" if not parts.hostname else "has port 0"
    if "@" in parts.netloc:
        return "must not hold a user or password; use api_key_env"
    if "?" in url or "#" in url:
        return "must not hold a query or fragment"
    return None


def _references(files: Sequence[Parsed]) -> Iterator[RuleFault]:
    """Rules that name a profile or an upstream which isn't there."""
    profiles = {profile.name for _, _, profile in _entries(files, "profiles")}
    upstreams = {entry.name for _, _, entry in _entries(files, "upstreams")}
    hints = HINTS
    for parsed, index, rule in _entries(files, "rules"):
        if rule.profile is not None and rule.profile not in profiles:
            close = hint(rule.profile, profiles) if hints > 0 else ""
            hints -= 1
            words = f"rule {rule.name!r}: no profile is called {rule.profile!r}{close}"
            line = parsed.lines.at(("rules", index, "profile"))
            yield RuleFault(words, file=parsed.file, line=line)
        named = rule.route.upstream if rule.route is not None else None
        for at, pattern in enumerate(named or () if upstreams else ()):
            if not any(map(globs((pattern,)), upstreams)):
                words = f"rule {rule.name!r}: no upstream is called {pattern!r}{hint(pattern, upstreams)}"
                line = parsed.lines.at(("rules", index, "route", "upstream", at))
                yield RuleFault(words, file=parsed.file, line=line)


def _taken_over(files: Sequence[Parsed]) -> Iterator[RuleFault]:
    """Profiles whose task a later profile takes; that built-in ones lose theirs is how it is meant."""
    owners: dict[str, tuple[Parsed, Profile]] = {}
    for parsed, index, profile in _entries(files, "profiles"):
        if profile.task is None or not profile.is_system or parsed.builtin:
            continue
        if profile.task in owners:
            before, other = owners[profile.task]
            loser = f"profile {other.name!r} ({before.file})"
            words = f"profile {profile.name!r} takes task {profile.task!r} over from {loser}"
            line = parsed.lines.at(("profiles", index, "task"))
            yield RuleFault(words, file=parsed.file, line=line)
        owners[profile.task] = (parsed, profile)
