"""Rule files on disk: what is read in which order, and that only good files ever come into force."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy import reload
from proxy.errors import ConfigurationError
from proxy.reload import Reload, RuleFiles, builtin_dir, list_files
from proxy.rules.document import SIZE
from proxy.snapshot import Snapshot

INTERVAL = 0.01


def rules(*names: str) -> str:
    return "rules:\n" + "".join(f"  - {{name: {name}}}\n" for name in names)


def names(snapshot: Snapshot) -> list[str]:
    return [rule.name for rule, _ in snapshot.rules]


def files(*paths: Path, builtin: bool = False) -> RuleFiles:
    return RuleFiles(paths, builtin=builtin)


def loaded(*paths: Path) -> RuleFiles:
    found = files(*paths)
    found.load()
    return found


@asynccontextmanager
async def watched(found: RuleFiles) -> AsyncIterator[None]:
    task = asyncio.create_task(found.watch(INTERVAL))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not happened():
            await asyncio.sleep(INTERVAL / 2)


def test_the_shipped_files_are_found_and_sound() -> None:
    assert (builtin_dir() / "profiles").is_dir()
    snapshot = files(builtin=True).load()
    assert "engineering" in snapshot.task_profiles
    assert all(source.builtin for source in snapshot.sources)
    assert files().load().sources == ()


def test_an_installed_package_has_them_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload, "__file__", str(tmp_path / "proxy" / "reload.py"))
    assert builtin_dir() == tmp_path / "rules"
    (tmp_path / "proxy" / "builtin").mkdir(parents=True)
    assert builtin_dir() == tmp_path / "proxy" / "builtin"


def test_shipped_files_come_first(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("profiles: [{name: creative, parameters: {seed: 5}}]")
    snapshot = files(tmp_path, builtin=True).load()
    assert snapshot.profiles["creative"].parameters == {"seed": 5}
    assert [source.builtin for source in snapshot.sources] == [True] * (len(snapshot.sources) - 1) + [False]


def test_a_folder_is_all_rule_files_below_it_in_path_order(tmp_path: Path) -> None:
    for path in (
        "b.yaml",
        "a.yml",
        "c/d/e.yaml",
        "c.yaml",
        "readme.md",
        "x.yaml.bak",
        ".hidden.yaml",
        ".git/f.yaml",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("")
    expected = ["a.yml", "b.yaml", "c/d/e.yaml", "c.yaml"]
    assert [str(path.relative_to(tmp_path)) for path in list_files(tmp_path)] == expected
    assert list_files(tmp_path / "x.yaml.bak") == [tmp_path / "x.yaml.bak"]
    assert list_files(tmp_path / "nowhere") == [tmp_path / "nowhere"]


def test_paths_are_read_in_the_order_given(tmp_path: Path) -> None:
    (tmp_path / "z.yaml").write_text(rules("z"))
    (tmp_path / "a.yaml").write_text(rules("a"))
    assert names(files(tmp_path / "z.yaml", tmp_path / "a.yaml").load()) == ["z", "a"]
    assert names(files(tmp_path).load()) == ["a", "z"]


def test_a_file_reached_twice_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(rules("a"))
    (tmp_path / "b.yaml").symlink_to(tmp_path / "a.yaml")
    assert names(files(tmp_path, tmp_path / "a.yaml").load()) == ["a"]


def test_a_link_back_up_does_not_go_on_forever(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.yaml").write_text(rules("a"))
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    assert names(files(tmp_path).load()) == ["a"]


def test_before_loading_there_is_nothing() -> None:
    with pytest.raises(ConfigurationError, match="not been loaded"):
        _ = files().current


def first_fault(*paths: Path) -> str:
    found = files(*paths)
    with pytest.raises(ConfigurationError) as caught:
        found.load()
    assert found.faults == tuple(str(caught.value).splitlines())
    return found.faults[0]


def test_a_missing_path_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "nowhere"
    assert first_fault(path) == f"{path}:1: no such file or folder"


def test_a_dangling_link_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to(tmp_path / "nowhere")
    assert first_fault(tmp_path) == f"{tmp_path / 'a.yaml'}:1: no such file or folder"


def test_what_cannot_be_read_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.yaml").mkdir()
    assert files(tmp_path).load().sources == ()
    monkeypatch.setattr(reload, "list_files", lambda path: [path])
    assert "can't be read: " in first_fault(tmp_path / "a.yaml")


def test_a_folder_that_cannot_be_listed_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.yaml").write_text(rules("a"))
    locked = tmp_path / "locked"
    locked.mkdir()
    real = os.scandir

    def scandir(path: str) -> object:
        if Path(path) == locked:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert first_fault(tmp_path).startswith(f"{locked}:1: can't be read")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"a: 1\nb: \xff\n", "2: not UTF-8 text"),
        (b"# " + b"x" * SIZE, "1: longer than 4 MiB"),
        (b"rules: [", "not YAML"),
    ],
)
def test_bad_content_is_a_fault(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(data)
    fault = first_fault(path)
    assert fault.startswith(f"{path}:")
    assert words in fault


def test_a_byte_order_mark_and_an_empty_file_are_fine(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbf" + rules("a").encode())
    (tmp_path / "b.yaml").write_bytes(b"")
    assert names(files(tmp_path).load()) == ["a"]


def test_reloading_what_has_not_changed_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(rules("a"))
    found = loaded(path)
    before = found.current
    os.utime(path)
    assert found.reload() == Reload(ok=True, changed=False)
    assert found.current is before
    assert (found.reloads, found.failures) == (0, 0)


def test_a_change_comes_into_force(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(rules("a"))
    found = loaded(tmp_path)
    old = found.current
    path.write_text(rules("b"))
    (tmp_path / "c.yaml").write_text(rules("c"))
    assert found.reload() == Reload(ok=True, changed=True)
    assert names(found.current) == ["b", "c"]
    assert names(old) == ["a"]
    assert found.reloads == 1


def test_a_renamed_file_is_told_under_its_new_name(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(rules("a"))
    found = loaded(tmp_path)
    old = found.current
    (tmp_path / "a.yaml").rename(tmp_path / "b.yaml")
    assert found.reload().changed
    assert [Path(source.path).name for source in found.current.sources] == ["b.yaml"]
    assert found.current.hash == old.hash


def test_a_bad_file_changes_nothing_and_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good, bad = tmp_path / "a.yaml", tmp_path / "b.yaml"
    good.write_text(rules("a"))
    found = loaded(tmp_path)
    before = found.current
    good.write_text(rules("changed"))
    bad.write_text("rules: [{name: b, foo: 1}]\n")
    with caplog.at_level(logging.ERROR, "attune"):
        result = found.reload()
    assert not result.ok
    assert not result.changed
    assert result.faults == found.faults
    assert result.faults[0].startswith(f"{bad}:1: unknown key 'foo' in rule 'b'")
    assert found.current is before
    assert (found.reloads, found.failures) == (0, 1)
    assert "the last good ones stay in force" in caplog.text
    assert result.faults[0] in caplog.text
    assert [(Path(s.path).name, len(s.faults)) for s in found.sources] == [("a.yaml", 0), ("b.yaml", 1)]


def test_once_repaired_all_is_well(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(rules("a"))
    found = loaded(path)
    path.write_text("rules: [")
    assert not found.reload().ok
    path.write_text(rules("b"))
    assert found.reload() == Reload(ok=True, changed=True)
    assert names(found.current) == ["b"]
    assert found.faults == ()
    assert found.sources == found.current.sources


def test_going_back_to_what_was_good_clears_the_faults(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(rules("a"))
    found = loaded(path)
    path.write_text("rules: [")
    found.reload()
    path.write_text(rules("a"))
    assert found.reload() == Reload(ok=True, changed=False)
    assert found.faults == ()


def test_references_between_files_are_checked_together(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("profiles: [{name: p}]")
    (tmp_path / "r.yaml").write_text("rules: [{name: r, profile: p}]")
    found = loaded(tmp_path)
    (tmp_path / "p.yaml").unlink()
    assert found.reload().faults == (f"{tmp_path / 'r.yaml'}:1: rule 'r': no profile is called 'p'",)
    assert "p" in found.current.profiles


def test_a_file_that_is_gone_for_a_moment(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(rules("a"))
    found = loaded(path)
    path.unlink()
    assert not found.reload().ok
    assert names(found.current) == ["a"]
    # an empty file is not the missing one
    path.write_text("")
    assert found.reload() == Reload(ok=True, changed=True)
    assert names(found.current) == []


def test_fifty_reloads_in_a_row(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(rules("start"))
    found = loaded(tmp_path)
    seen: list[Snapshot] = []
    found.subscribe(seen.append)
    for number in range(50):
        path.write_text("rules: [" if number % 5 == 4 else rules(f"r{number}"))
        result = found.reload()
        assert result.ok is (number % 5 != 4)
        assert names(found.current) == [f"r{number - (number % 5 == 4)}"]
    assert (found.reloads, found.failures) == (40, 10)
    assert [names(snapshot) for snapshot in seen] == [[f"r{n}"] for n in range(50) if n % 5 != 4]
    assert len({snapshot.hash for snapshot in seen}) == 40


def test_only_changed_files_are_parsed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.yaml").write_text(rules("a"))
    (tmp_path / "b.yaml").write_text(rules("b"))
    found = loaded(tmp_path)
    parsed: list[str] = []
    real = reload.parse

    def parse(text: str, file: str, *, builtin: bool = False) -> object:
        parsed.append(Path(file).name)
        return real(text, file, builtin=builtin)

    monkeypatch.setattr(reload, "parse", parse)
    (tmp_path / "b.yaml").write_text(rules("c"))
    assert found.reload().changed
    assert parsed == ["b.yaml"]


def test_a_subscriber_that_fails_keeps_nobody_from_hearing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.yaml").write_text(rules("a"))
    found = files(tmp_path)
    heard: list[Snapshot] = []
    found.subscribe(lambda _: 1 // 0)  # type: ignore[arg-type, return-value]
    found.subscribe(heard.append)
    found.load()
    assert heard == [found.current]
    assert "a subscriber to rule files failed" in caplog.text


def test_an_attempt_that_was_overtaken_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(rules("old"))
    found = files(path)
    slow = found._attempt()
    path.write_text(rules("new"))
    found.load()
    assert found._settle(slow) == Reload(ok=True, changed=False)
    assert names(found.current) == ["new"]


def test_files_that_change_while_they_are_read_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text(rules("a1"))
    second.write_text(rules("b1"))
    found = files(tmp_path)
    real = RuleFiles._read
    reads: list[str] = []

    def read(self: RuleFiles, path: Path, builtin: bool) -> object:
        result = real(self, path, builtin)
        reads.append(path.name)
        if len(reads) == 1:
            first.write_text(rules("a2-longer"))
            second.write_text(rules("b2-longer"))
        return result

    monkeypatch.setattr(RuleFiles, "_read", read)
    # never a1 with b2
    assert names(found.load()) == ["a2-longer", "b2-longer"]
    assert reads == ["a.yaml", "b.yaml"] * 2


def test_files_that_never_come_to_rest_are_taken_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(rules("a"))
    found = files(path)
    counter = iter(range(100))
    monkeypatch.setattr(RuleFiles, "_signature", lambda _: next(counter))
    assert names(found.load()) == ["a"]
    assert next(counter) == 2 * (reload.TRIES - 1)


async def test_refreshing_reads_elsewhere_and_tells_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(rules("a"))
    found = loaded(path)
    threads: dict[str, int] = {}
    real = RuleFiles.read

    def read(self: RuleFiles) -> object:
        threads["read"] = threading.get_ident()
        return real(self)

    monkeypatch.setattr(RuleFiles, "read", read)
    found.subscribe(lambda _: threads.setdefault("told", threading.get_ident()))  # type: ignore[arg-type, return-value]
    path.write_text(rules("b"))
    assert await found.refresh() == Reload(ok=True, changed=True)
    assert threads["told"] == threading.get_ident() != threads["read"]


async def test_watching_notices_changes_new_files_and_removals(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(rules("a"))
    found = loaded(tmp_path)
    async with watched(found):
        path.write_text(rules("b"))
        await until(lambda: names(found.current) == ["b"])
        (tmp_path / "c.yaml").write_text(rules("c"))
        await until(lambda: names(found.current) == ["b", "c"])
        path.unlink()
        await until(lambda: names(found.current) == ["c"])
    assert found.failures == 0


async def test_watching_tries_a_bad_file_once_and_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(rules("a"))
    found = loaded(path)
    async with watched(found):
        path.write_text("rules: [{name: half")
        await until(lambda: found.failures == 1)
        await asyncio.sleep(INTERVAL * 10)
        assert found.failures == 1
        assert names(found.current) == ["a"]
        path.write_text(rules("whole"))
        await until(lambda: names(found.current) == ["whole"])
    assert found.faults == ()


async def test_watching_keeps_the_last_good_while_a_file_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(rules("a"))
    found = loaded(path)
    async with watched(found):
        path.unlink()
        await until(lambda: found.failures > 0)
        assert names(found.current) == ["a"]
        path.write_text(rules("back"))
        await until(lambda: names(found.current) == ["back"])


def mount(folder: Path, version: str, **contents: str) -> None:
    """What a kubelet does: a folder for the version, a link that is swapped, and a link for each file."""
    (folder / version).mkdir()
    for name, text in contents.items():
        (folder / version / f"{name}.yaml").write_text(text)
        link = folder / f"{name}.yaml"
        if not link.is_symlink():
            link.symlink_to(Path("..data") / f"{name}.yaml")
    (folder / "..data_tmp").symlink_to(version)
    (folder / "..data_tmp").rename(folder / "..data")


async def test_watching_notices_a_swapped_configmap(tmp_path: Path) -> None:
    mount(tmp_path, "..2026_01", a=rules("a1"), b=rules("b1"))
    found = loaded(tmp_path)
    assert names(found.current) == ["a1", "b1"]
    assert len(found.current.sources) == 2
    heard: list[list[str]] = []
    found.subscribe(lambda snapshot: heard.append(names(snapshot)))
    async with watched(found):
        # same size, and the same time stamp
        mount(tmp_path, "..2026_02", a=rules("a2"), b=rules("b2"))
        for name in "ab":
            old = (tmp_path / "..2026_01" / f"{name}.yaml").stat()
            os.utime(tmp_path / "..2026_02" / f"{name}.yaml", ns=(old.st_atime_ns, old.st_mtime_ns))
        await until(lambda: names(found.current) == ["a2", "b2"])
    # both or none
    assert heard == [["a2", "b2"]]


async def test_watching_ends_when_cancelled(tmp_path: Path) -> None:
    task = asyncio.create_task(files(tmp_path).watch(INTERVAL))
    await asyncio.sleep(INTERVAL)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
