"""Pure. Everything that rule files say, checked as a whole and immutable: one per request, known by its hash.

Files are given in reading order, built-in ones first. A later family or profile replaces a built-in one of
the same name; rules keep the order in which they stand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from proxy.errors import ConfigurationError, RuleFault
from proxy.parameters.families import Family, FamilyIndex
from proxy.parameters.profiles import Profile, default_id
from proxy.rules.check import cross_check
from proxy.rules.match import Compiled, compile_match
from proxy.rules.parse import Parsed
from proxy.rules.reach import known_tasks
from proxy.rules.rule import Experiment, Match, Rule, RuleFile, UpstreamEntry


@dataclass(frozen=True, slots=True)
class Source:
    """A file that was read."""

    path: str
    hash: str
    """SHA-256 of its text, in hex."""
    builtin: bool
    faults: tuple[str, ...]
    """`file:line: message` each; empty in a snapshot."""


@dataclass(frozen=True)
class Snapshot:
    """What all rule files together say."""

    hash: str
    """SHA-256 in hex over the files' contents in their order, wherever they lie."""
    upstreams: tuple[UpstreamEntry, ...]
    families: FamilyIndex
    profiles: Mapping[str, Profile]
    """By name."""
    profiles_by_id: Mapping[str, Profile]
    task_profiles: Mapping[str, Profile]
    """Task -> its system profile."""
    rules: tuple[tuple[Rule, Compiled], ...]
    """Enabled ones, in file order."""
    experiments: tuple[tuple[Experiment, Compiled], ...]
    """Enabled ones, in file order."""
    headers: tuple[str, ...]
    """Lower-case names, sorted, of the headers that a rule or experiment looks at."""
    tasks: frozenset[str]
    """The tasks that a request can have."""
    sources: tuple[Source, ...]
    rule_files: Mapping[str, str]
    """Rule -> the file that it stands in."""


def faults(files: Sequence[Parsed]) -> list[RuleFault]:
    """All that keeps the files from being used: their own faults and those they have together."""
    return [*(fault for parsed in files for fault in parsed.faults), *cross_check(files)]


def build(files: Sequence[Parsed]) -> Snapshot:
    """The snapshot of the files. Raises `ConfigurationError` with all faults, one on each line."""
    wrong = faults(files)
    if wrong:
        raise ConfigurationError("\n".join(map(str, wrong)))
    contents = [(parsed, parsed.content) for parsed in files if parsed.content is not None]
    profiles = _profiles(contents)
    rules = tuple((r, compile_match(r.match)) for _, c in contents for r in c.rules if r.enabled)
    experiments = tuple((e, compile_match(e.match)) for _, c in contents for e in c.experiments if e.enabled)
    return Snapshot(
        hash=_digest(files),
        upstreams=tuple(entry for _, content in contents for entry in content.upstreams),
        families=FamilyIndex(_families(contents)),
        profiles=MappingProxyType(profiles),
        profiles_by_id=MappingProxyType({profile.id: profile for profile in profiles.values()}),
        task_profiles=MappingProxyType(_task_profiles(contents, profiles)),
        rules=rules,
        experiments=experiments,
        headers=_headers([*(r.match for r, _ in rules), *(e.match for e, _ in experiments)]),
        tasks=known_tasks(files),
        sources=sources(files),
        rule_files=MappingProxyType({r.name: p.file for p, c in contents for r in c.rules}),
    )


def sources(files: Iterable[Parsed]) -> tuple[Source, ...]:
    """Where each file lies, and its own faults."""
    return tuple(Source(p.file, p.hash, p.builtin, tuple(map(str, p.faults))) for p in files)


Contents = Sequence[tuple[Parsed, RuleFile]]
Named = TypeVar("Named", Family, Profile)


def _digest(files: Iterable[Parsed]) -> str:
    return hashlib.sha256("\n".join(parsed.hash for parsed in files).encode()).hexdigest()


def _later_wins(entries: Iterable[Named]) -> dict[str, Named]:
    """By name, each in the place of its last definition."""
    found: dict[str, Named] = {}
    for entry in entries:
        found.pop(entry.name, None)
        found[entry.name] = entry
    return found


def _families(contents: Contents) -> list[Family]:
    every = (f.as_builtin() if p.builtin else f for p, content in contents for f in content.families)
    return list(_later_wins(every).values())


def _profiles(contents: Contents) -> dict[str, Profile]:
    return _later_wins(_placed(contents))


def _placed(contents: Contents) -> Iterator[Profile]:
    """All profiles; one that replaces a built-in one and names no id of its own keeps that one's id."""
    builtin: dict[str, Profile] = {}
    for parsed, content in contents:
        for profile in content.profiles:
            old = builtin.get(profile.name)
            if parsed.builtin:
                builtin[profile.name] = profile
            elif old is not None and profile.is_system and profile.id == default_id(profile.name):
                yield profile.model_copy(update={"id": old.id})
                continue
            yield profile


def _task_profiles(contents: Contents, profiles: Mapping[str, Profile]) -> dict[str, Profile]:
    """Each task's profile: of those for everybody the last, and shipped ones only where there is no other."""
    shipped = {id(p) for parsed, content in contents if parsed.builtin for p in content.profiles}
    ranked = sorted(profiles.values(), key=lambda profile: id(profile) not in shipped)
    return {profile.task: profile for profile in ranked if profile.task and profile.is_system}


def _headers(matches: Iterable[Match]) -> tuple[str, ...]:
    return tuple(sorted({name for match in matches for name in match.headers}))
