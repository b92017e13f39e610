"""I/O. Rule files on disk: read, checked whole, swapped at once; if the new are bad, the last good ones stay.

Reading, checking and building happen away from the event loop; what others see changes in one assignment. A
file that is caught half-written is a fault, and is read again when it changes next.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from proxy.errors import ConfigurationError
from proxy.rules.document import SIZE, TOO_LONG
from proxy.rules.parse import Parsed, parse, unreadable
from proxy.snapshot import Snapshot, Source, build, faults, sources

log = logging.getLogger("attune")

SUFFIXES = (".yaml", ".yml")

TRIES = 5
"""How often files that change while they are read are read before what was read has to do."""

Subscriber = Callable[[Snapshot], None]
Signature = tuple[tuple[str, str, int, int, int], ...]
"""(path, what it resolves to, mtime in ns, size, inode) of every file."""


@dataclass(frozen=True, slots=True)
class Reload:
    """What came of reading the files again."""

    ok: bool
    changed: bool
    """Whether a new snapshot is in force."""
    faults: tuple[str, ...] = ()
    """`file:line: message` each."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    """Files read, and the snapshot they make, if they do."""

    number: int
    snapshot: Snapshot | None
    files: tuple[Parsed, ...]
    faults: tuple[str, ...]


def builtin_dir() -> Path:
    """The folder of the shipped rule files: in the installed package, or beside it in a checkout."""
    installed = Path(__file__).parent / "builtin"
    return installed if installed.is_dir() else Path(__file__).parent.parent / "rules"


class RuleFiles:
    """The rule files below some paths, and the snapshot that is in force."""

    def __init__(self, paths: Sequence[Path], *, builtin: bool) -> None:
        self._paths = tuple(paths)
        self._builtin = (builtin_dir(),) if builtin else ()
        self._current: Snapshot | None = None
        self._subscribers: list[Subscriber] = []
        self._parsed: dict[tuple[str, str], Parsed] = {}
        self._numbers = itertools.count(1)
        self._settled = 0
        self._refreshing = asyncio.Lock()
        self._failed: tuple[Parsed, ...] = ()
        self.faults: tuple[str, ...] = ()
        """Of the last attempt; empty when it went well."""
        self.reloads = 0
        """How often a new snapshot came into force after the first."""
        self.failures = 0
        """How often the files were bad."""

    @property
    def current(self) -> Snapshot:
        """The snapshot in force. Raises `ConfigurationError` before `load`."""
        if self._current is None:
            raise ConfigurationError("rule files have not been loaded")
        return self._current

    @property
    def sources(self) -> tuple[Source, ...]:
        """The files in force; after a bad attempt the files it read, with their faults."""
        return sources(self._failed) if self._failed else self.current.sources

    def subscribe(self, callback: Subscriber) -> None:
        """Calls back with every new snapshot: from where `reload` is called, or on the loop of `watch`."""
        self._subscribers.append(callback)

    def read(self) -> tuple[Parsed, ...]:
        """All files as they are now, each parsed; what can't be read has a fault that says so."""
        found: dict[tuple[str, str], Parsed] = {}
        files = []
        for path, builtin in self._listed():
            parsed = self._read(path, builtin)
            found[parsed.file, parsed.hash] = parsed
            files.append(parsed)
        self._parsed = found
        return tuple(files)

    def load(self) -> Snapshot:
        """The first snapshot. Raises `ConfigurationError` with all faults, one on each line."""
        result = self.reload()
        if not result.ok:
            raise ConfigurationError("\n".join(result.faults))
        return self.current

    def reload(self) -> Reload:
        """Reads everything and swaps it in, or keeps what there is."""
        return self._settle(self._attempt())

    async def refresh(self) -> Reload:
        """`reload` with the reading and checking in a thread; subscribers are called on the loop."""
        async with self._refreshing:
            return self._settle(await asyncio.to_thread(self._attempt))

    async def watch(self, interval: float = 1.0) -> None:
        """Looks at the files every `interval` seconds and refreshes when one has changed, until cancelled."""
        seen = None
        while True:
            # looked at before reading, so that a change during the reading is seen next time
            now = await asyncio.to_thread(self._signature)
            if now != seen:
                seen = now
                await self.refresh()
            await asyncio.sleep(interval)

    def _attempt(self) -> _Attempt:
        number = next(self._numbers)
        files = self._read_at_rest()
        wrong = tuple(map(str, faults(files)))
        return _Attempt(number, None if wrong else build(files), files, wrong)

    def _read_at_rest(self) -> tuple[Parsed, ...]:
        """All files as they were at one moment: read again when something changed meanwhile."""
        for _ in range(TRIES - 1):
            before = self._signature()
            files = self.read()
            if self._signature() == before:
                return files
        return self.read()

    def _settle(self, attempt: _Attempt) -> Reload:
        if attempt.number < self._settled:
            # a later attempt has been faster, and knows better
            return Reload(ok=not self.faults, changed=False, faults=self.faults)
        self._settled = attempt.number
        if attempt.snapshot is None:
            return self._fail(attempt)
        self.faults, self._failed = (), ()
        old, new = self._current, attempt.snapshot
        if old is not None and (old.hash, old.sources) == (new.hash, new.sources):
            return Reload(ok=True, changed=False)
        self._current = new
        self.reloads += old is not None
        log.info("rule files loaded: %d files, snapshot %s", len(new.sources), new.hash[:12])
        self._tell(new)
        return Reload(ok=True, changed=True)

    def _fail(self, attempt: _Attempt) -> Reload:
        self.failures += 1
        self.faults, self._failed = attempt.faults, attempt.files
        kept = "; the last good ones stay in force" if self._current is not None else ""
        log.error("rule files are bad%s:\n%s", kept, "\n".join(attempt.faults))
        return Reload(ok=False, changed=False, faults=attempt.faults)

    def _tell(self, snapshot: Snapshot) -> None:
        for callback in self._subscribers:
            try:
                callback(snapshot)
            except Exception:
                # a subscriber that fails must neither keep the others from hearing nor end the watch
                log.exception("a subscriber to rule files failed")

    def _listed(self) -> Iterator[tuple[Path, bool]]:
        """Every file once, in reading order, and whether it ships with Attune."""
        seen: set[str] = set()
        for paths, builtin in ((self._builtin, True), (self._paths, False)):
            for path in paths:
                for file in list_files(path):
                    real = os.path.realpath(file)
                    if real not in seen:
                        seen.add(real)
                        yield file, builtin

    def _read(self, path: Path, builtin: bool) -> Parsed:
        file = str(path)
        try:
            with path.open("rb") as stream:
                data = stream.read(SIZE + 1)
        except FileNotFoundError:
            return unreadable(file, "no such file or folder", builtin=builtin)
        except OSError as fault:
            return unreadable(file, f"can't be read: {fault.strerror}", builtin=builtin)
        if len(data) > SIZE:
            return unreadable(file, TOO_LONG, builtin=builtin)
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as fault:
            line = data.count(b"\n", 0, fault.start) + 1
            return unreadable(file, "not UTF-8 text", line=line, builtin=builtin)
        known = self._parsed.get((file, hashlib.sha256(text.encode()).hexdigest()))
        return known or parse(text, file, builtin=builtin)

    def _signature(self) -> Signature:
        return tuple(_signed(path) for path, _ in self._listed())


def list_files(path: Path) -> list[Path]:
    """The path itself, or all rule files below a folder in the order of their paths.

    Names that begin with a dot are passed over: a mounted ConfigMap keeps its versions in such folders, and
    its files are links into them.
    """
    if not _is_dir(path):
        return [path]
    found: list[Path] = []
    walked: set[str] = set()

    def unlistable(fault: OSError) -> None:
        # reading it fails too, and that is reported; passing it over would lose its rules in silence
        found.append(Path(fault.filename))

    for folder, below, names in os.walk(path, onerror=unlistable, followlinks=True):
        real = os.path.realpath(folder)
        # a link back up would never end
        below[:] = [] if real in walked else [name for name in below if not name.startswith(".")]
        if real not in walked:
            found += [Path(folder, n) for n in names if n.endswith(SUFFIXES) and not n.startswith(".")]
        walked.add(real)
    return sorted(found)


def _is_dir(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _signed(path: Path) -> tuple[str, str, int, int, int]:
    real = os.path.realpath(path)
    try:
        status = Path(real).stat()
    except OSError:
        return str(path), real, -1, -1, -1
    return str(path), real, status.st_mtime_ns, status.st_size, status.st_ino
