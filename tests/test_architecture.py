"""The house polices itself: which way imports run, which rooms are pure, how big things may get."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROXY = ROOT / "proxy"

LINES = (
    ("errors",),
    ("openai",),
    ("parameters",),
    ("rules", "backends"),
    ("snapshot", "telemetry", "upstream", "settings", "demo"),
    ("decision",),
    ("decider", "explain"),
    ("writing",),
    ("gateway", "reload", "offline", "drain"),
    ("api",),
    ("app",),
    ("server",),
    ("cli",),
)
"""A module may import from lines above its own, and from its own room. Rooms on one line do not know each other."""

NEIGHBOURS = {("decider", "explain")}
"""Pairs on one line where the first may use the second, each with its reason in `docs/architecture.md`."""

PURE_ROOMS = ("errors", "openai", "parameters", "rules", "backends", "snapshot", "settings", "decision")
PURE_MODULES = ("decider", "explain", "writing", "upstream/breaker", "upstream/selection", "api/naming")
IMPURE = {
    "asyncio", "socket", "pathlib", "os", "io", "time", "logging", "threading", "subprocess", "random", "shutil",
    "tempfile", "httpx", "starlette", "uvicorn", "uvloop", "httptools", "datetime", "secrets",
}  # fmt: skip
PURE_PACKAGES = {"pydantic", "pydantic_core", "orjson", "msgspec", "yaml"}

MAX_FILE = 500
MAX_FUNCTION = 50
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "core"}


def modules() -> list[Path]:
    return sorted(PROXY.rglob("*.py"))


def name_of(path: Path) -> str:
    relative = path.relative_to(PROXY).with_suffix("")
    parts = relative.parts[:-1] if relative.name == "__init__" else relative.parts
    return "/".join(parts)


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(node: ast.AST) -> Iterator[tuple[str, ast.stmt]]:
    for child in ast.walk(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield alias.name, child
        elif isinstance(child, ast.ImportFrom) and child.module:
            if child.module == "proxy":
                for alias in child.names:
                    yield f"proxy.{alias.name}", child
            else:
                yield child.module, child


def line_of(room: str) -> int:
    return next(i for i, line in enumerate(LINES) if room in line)


def is_pure(name: str) -> bool:
    return name.split("/")[0] in PURE_ROOMS or name in PURE_MODULES


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_run_one_way(path: Path) -> None:
    room = name_of(path).split("/")[0]
    if room in ("", "__main__", "finetune"):
        return
    for module, node in imports(tree(path)):
        if not module.startswith("proxy."):
            continue
        other = module.split(".")[1]
        if other in ("__version__", room):
            continue
        allowed = line_of(other) < line_of(room) or (room, other) in NEIGHBOURS
        assert allowed, f"{path.relative_to(ROOT)}:{node.lineno} {room} may not import {other}"


@pytest.mark.parametrize("path", [p for p in modules() if is_pure(name_of(p))], ids=name_of)
def test_pure_rooms_do_no_io(path: Path) -> None:
    for module, node in imports(tree(path)):
        top = module.split(".")[0]
        assert top not in IMPURE, f"{path.relative_to(ROOT)}:{node.lineno} imports {module}"
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("open", "print", "input"), f"{path}:{node.lineno} {node.func.id}()"
        assert not isinstance(node, ast.AsyncFunctionDef), f"{path}:{node.lineno} async in a pure room"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_packages_say_whether_they_are_pure(path: Path) -> None:
    docstring = ast.get_docstring(tree(path)) or ""
    if name_of(path) in ("", "__main__"):
        assert docstring
        return
    assert docstring.startswith(("Pure.", "I/O.")), (
        f"{path.relative_to(ROOT)} begins with neither Pure. nor I/O."
    )
    if is_pure(name_of(path)):
        assert docstring.startswith("Pure."), path


@pytest.mark.parametrize(
    "path",
    sorted(ROOT.glob("proxy/**/*.py")) + sorted(ROOT.glob("tests/**/*.py")),
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_files_stay_small(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= MAX_FILE, f"{path.relative_to(ROOT)} has {lines} lines"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_functions_stay_small(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= MAX_FUNCTION, (
                f"{path.relative_to(ROOT)}:{node.lineno} {node.name} has {length} lines"
            )
            assert node.returns is not None or node.name == "__init__", (
                f"{path}:{node.lineno} has no return type"
            )


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_no_global_state_and_no_late_imports(path: Path) -> None:
    for node in ast.walk(tree(path)):
        assert not isinstance(node, ast.Global), f"{path.relative_to(ROOT)}:{node.lineno} global"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for module, inner in imports(node):
                raise AssertionError(
                    f"{path.relative_to(ROOT)}:{inner.lineno} imports {module} inside a function"
                )


def test_no_file_has_a_name_that_says_nothing() -> None:
    for path in [*ROOT.glob("proxy/**/*.py"), *ROOT.glob("tests/**/*.py")]:
        assert path.stem.removeprefix("test_") not in FORBIDDEN_NAMES, path


def test_the_top_level_is_as_it_was_agreed() -> None:
    allowed = {"pyproject.toml", "README.md", "proxy", "rules", "deploy", "tests", "docs", "dist", "build"}
    extra = [p.name for p in ROOT.iterdir() if not p.name.startswith(".") and p.name not in allowed]
    assert extra == []


def test_no_import_cycles() -> None:
    graph = {
        f"proxy.{name_of(p).replace('/', '.')}".rstrip("."): {
            m for m, _ in imports(tree(p)) if m.startswith("proxy")
        }
        for p in modules()
    }
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module in done or module not in graph:
            return
        for other in graph[module] - {module}:
            visit(other, (*path, module))
        done.add(module)

    for module in graph:
        visit(module, ())
