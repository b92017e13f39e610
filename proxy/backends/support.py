"""Pure. Which runtime takes which parameter, under which name, since and until when: the table of the docs.

Nothing is stated here: each backend is asked to translate every parameter, so the table cannot drift.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from proxy.backends import BACKENDS, ollama, ollama_think, vllm
from proxy.backends.backend import Backend, Case, runtime_bounds
from proxy.backends.facts import Target
from proxy.errors import Unsupported
from proxy.parameters import bounds
from proxy.parameters.catalog import CATALOG, INT32, INT64, Parameter, Range
from proxy.parameters.client import KWARG_SWITCHES
from proxy.parameters.layers import Layer
from proxy.parameters.resolution import Decided, Resolution
from proxy.parameters.thinking import THINKING

HEAD = "parameter type form hard when protected Ollama vLLM OpenAI-compatible meaning".split()
TITLES = {"ollama": "Ollama", "vllm": "vLLM", "openai": "An OpenAI-compatible server"}
NONE = "–"

SINCE: dict[str, dict[str, tuple[int, ...]]] = {
    "ollama": {**ollama.ADDED, "think": ollama_think.SINCE},
    "vllm": {**vllm.SINCE},
}
"""Runtime -> parameter -> the first version that knows it."""

UNTIL: dict[str, dict[str, tuple[int, ...]]] = {"ollama": {**ollama.REMOVED}, "vllm": {**vllm.REMOVED}}
"""Runtime -> parameter -> the first version that ignores it."""

_SAMPLES: dict[str, Any] = {
    "n": 2,
    "response_format": {"type": "json_object"},
    "think": True,
    "keep_alive": "10m",
    "parallel_tool_calls": False,
}
_SAMPLES_BY_TYPE: dict[str, Any] = {"float": 0.5, "int": 100, "bool": True, "string": "x", "object": {"1": 1}}
_NUMBERS = {INT32: "2^31-1", -INT32 - 1: "-2^31", INT64: "2^63-1", -INT64 - 1: "-2^63"}


def support_table() -> str:
    """The table as Markdown, and below it, for each runtime, why it takes no more."""
    lines = [_row(HEAD), _row("---" for _ in HEAD)]
    lines += [_row(_cells(parameter)) for parameter in CATALOG.values()]
    for runtime in BACKENDS:
        lines += ["", f"{TITLES[runtime]} takes none of these:", "", *_reasons(runtime)]
    return "\n".join(lines) + "\n"


def support(name: str) -> dict[str, dict[str, Any]]:
    """What each runtime makes of a parameter: `{runtime: {"name", "since", "until", "reason"}}`.

    `name` is its path on the wire, `None` where the newest version takes none; then `reason` says why.
    `since` and `until` are versions, where it came and went.
    """
    found = {}
    for runtime, backend in BACKENDS.items():
        wire, reason = ask(backend, name)
        since = SINCE.get(runtime, {}).get(name)
        until = UNTIL.get(runtime, {}).get(name)
        found[runtime] = {
            "name": wire,
            "since": _dotted(since) if since else None,
            "until": _dotted(until) if until else None,
            "reason": reason or None,
        }
    return found


def ask(backend: Backend, name: str, spelled: Iterable[str] = ()) -> tuple[str | None, str]:
    """A parameter's path on the wire of the newest version, or `None` and why there is none."""
    decided = Decided(sample(CATALOG[name]), Layer.CLIENT, "request")
    case = Case(Target(None, backend.runtime), None, THINKING, frozenset(spelled))
    try:
        translated = backend.translate(Resolution({name: decided}), case).resolution
    except Unsupported as refusal:
        return None, refusal.message
    if name in translated.dropped:
        return None, translated.dropped[name].reason
    return translated.parameters[name].wire, ""


def sample(parameter: Parameter) -> Any:
    """A value that means something to whoever knows the parameter."""
    if parameter.name in _SAMPLES:
        return _SAMPLES[parameter.name]
    if parameter.type == "list":
        return [1] if parameter.items == "int" else ["x"]
    return parameter.options[1] if parameter.options else _SAMPLES_BY_TYPE[parameter.type]


def _cells(p: Parameter) -> Iterator[str]:
    aliases = f" (also {_names(p.aliases)})" if p.aliases else ""
    yield f"`{p.name}`{aliases}"
    yield f"{p.type} of {p.items}s" if p.items else p.type
    yield _names(map(_word, p.options)) if p.options else _range(p.form)
    yield _range(p.hard)
    yield p.when
    yield "yes" if p.protected else ""
    yield from (_cell(backend, p) for backend in BACKENDS.values())
    yield p.desc


def _cell(backend: Backend, p: Parameter) -> str:
    """The name on the wire, the range that the runtime adds, and the versions."""
    runtime = backend.runtime
    until = UNTIL.get(runtime, {}).get(p.name)
    if until is not None:
        wire = f"options.{ollama.OPTIONS[p.name]}" if runtime == "ollama" else vllm.WIRE[p.name]
        return f"`{wire}`, before {_dotted(until)}"
    wires = _wires(backend, p)
    if not wires:
        return NONE
    since = SINCE.get(runtime, {}).get(p.name)
    return " or ".join(wires) + _limits(backend, p.name) + (f", since {_dotted(since)}" if since else "")


def _wires(backend: Backend, p: Parameter) -> list[str]:
    """Every name that a client's spelling may lead to."""
    found: dict[str, None] = {}
    for spelled in ((), *((s,) for s in (*p.spellings, *(KWARG_SWITCHES if p.name == "think" else ())))):
        wire, _ = ask(backend, p.name, spelled)
        if wire is not None:
            found[wire if ": " in wire else f"`{wire}`"] = None
    return list(found)


def _limits(backend: Backend, name: str) -> str:
    """What the newest version adds to the hard bounds."""
    case = Case(Target(None, backend.runtime), None, THINKING)
    limits = runtime_bounds(backend, case, (name,))[name]
    if limits.items is not None:
        return f", at most {limits.items.value:g}"
    ends = Range(limits.low.value if limits.low else None, limits.high.value if limits.high else None)
    return "" if limits == bounds.hard(CATALOG[name]) else f", {_range(ends)}"


def _reasons(runtime: str) -> Iterator[str]:
    """One line per reason, with the parameters it holds for."""
    grouped: dict[str, list[str]] = {}
    for name in CATALOG:
        wire, reason = ask(BACKENDS[runtime], name)
        if wire is None:
            grouped.setdefault(reason, []).append(name)
    yield from (f"- {_names(names)}: {reason}" for reason, names in grouped.items())


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _word(option: Any) -> str:
    return str(option).lower() if isinstance(option, bool) else str(option)


def _range(limits: Range) -> str:
    if limits.min is None and limits.max is None:
        return ""
    if limits.max is None:
        return f"from {_number(limits.min)}"
    return f"{_number(limits.min)} to {_number(limits.max)}"


def _number(value: float | None) -> str:
    return "" if value is None else _NUMBERS.get(int(value)) or f"{value:g}"


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
