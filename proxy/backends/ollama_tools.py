"""Pure. OpenAI's tools and tool choice as Ollama's `tools`, the only word it has for both.

Ollama decodes a tool's schema into fixed types (`api/types.go`): keywords they lack are lost, and any other
shape than theirs is a 400. So lost keywords are named in a warning, and the rest is mended where that changes
nothing, or refused here with a path instead of a Go type.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
import orjson

from proxy.backends.losses import Losses, wrong
from proxy.backends.ollama_schema import mend_parameters
from proxy.errors import BadBody, Unsupported

CACHED = 64
"""Tool lists kept translated: agents send the same one with every turn of a conversation."""

CACHEABLE = 128 * 1024
"""Bytes of the longest tool list that is kept."""

_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
_FUNCTION = frozenset(("name", "description", "parameters", "strict"))


@dataclass(frozen=True, slots=True)
class Tools:
    """What to send as `tools`."""

    body: bytes | None
    """The JSON array; `None` for no such field."""
    warnings: tuple[str, ...]
    """What was lost, with its path."""
    forced: str | None = None
    """The field that asks for a call, which Ollama cannot promise; `None` when none does."""


@dataclass(frozen=True, slots=True)
class _Offer:
    """A tool the client offers."""

    path: str
    place: str
    """The path of its `function`, which is the whole entry in the old `functions`."""
    tool: dict[str, Any]
    raw: bytes | None
    """Its own bytes, while they say what Ollama reads."""

    @property
    def name(self) -> str:
        name: str = self.tool["function"]["name"]
        return name


@dataclass(frozen=True, slots=True)
class _Choice:
    """What the client wants to happen."""

    path: str = "tool_choice"
    none: bool = False
    forced: bool = False
    only: tuple[str, ...] | None = None
    """Names of the tools that may be called; `None` means all."""


def translate_tools(
    tools: bytes | None,
    tool_choice: bytes | None,
    functions: bytes | None = None,
    function_call: bytes | None = None,
) -> Tools:
    """The native `tools` for these fields of OpenAI's body, each as JSON; absent and `null` are the same.

    Raises `BadBody` for wrong shapes and names that are not offered, `Unsupported` for tools that are no
    functions.
    """
    if len(tools or b"") + len(functions or b"") > CACHEABLE:
        return _translate(tools, tool_choice, functions, function_call)
    return _translate_cached(tools, tool_choice, functions, function_call)


def _translate(
    tools: bytes | None, tool_choice: bytes | None, functions: bytes | None, function_call: bytes | None
) -> Tools:
    losses = Losses()
    offers = _read_offers(tools, functions, losses)
    choice = _read_choice(tool_choice, function_call)
    if choice.none:
        return Tools(None, ())
    if choice.forced:
        losses.note(choice.path, "ollama cannot force a call, the tools are offered and the model decides")
    written = [_write(offer, losses) for offer in _chosen(offers, choice)]
    forced = choice.path.partition(".")[0] if choice.forced else None
    return Tools(b"[" + b",".join(written) + b"]" if written else None, losses.lines(), forced)


_translate_cached = lru_cache(CACHED)(_translate)


def _load(raw: bytes | None, path: str) -> Any:
    try:
        return None if raw is None else orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadBody(f"{path} cannot be read: {error}", param=path) from error


def _load_list(raw: bytes | None, path: str) -> list[tuple[str, bytes, Any]]:
    """(path, bytes, value) of each item of a JSON array."""
    value = _load(raw, path)
    if raw is None or value is None:
        return []
    if not isinstance(value, list):
        raise wrong(path, "a list", value)
    try:
        items = _ITEMS.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadBody(f"{path} is nested too deeply", param=path) from error
    return [(f"{path}[{i}]", bytes(item), value[i]) for i, item in enumerate(items)]


def _read_offers(tools: bytes | None, functions: bytes | None, losses: Losses) -> list[_Offer]:
    offers = [_read_tool(path, raw, tool) for path, raw, tool in _load_list(tools, "tools")]
    old = [_read_function(path, function) for path, _, function in _load_list(functions, "functions")]
    if offers and old:
        losses.note("functions", "tools are there too, left out")
    return offers or old


def _read_tool(path: str, raw: bytes, tool: Any) -> _Offer:
    if not isinstance(tool, dict):
        raise wrong(path, "an object", tool)
    if tool.get("type", "function") != "function":
        raise Unsupported(f"{path}.type: Ollama takes tools of type function only", param=f"{path}.type")
    _name(f"{path}.function", tool.get("function"))
    if "type" not in tool:
        return _Offer(path, f"{path}.function", {"type": "function", **tool}, None)
    return _Offer(path, f"{path}.function", tool, raw)


def _read_function(path: str, function: Any) -> _Offer:
    _name(path, function)
    return _Offer(path, path, {"type": "function", "function": function}, None)


def _name(path: str, holder: Any) -> str:
    if not isinstance(holder, dict):
        raise wrong(path, "an object with a name", holder)
    name = holder.get("name")
    if not isinstance(name, str) or not name:
        raise BadBody(f"{path}.name must be a string that is not empty", param=f"{path}.name")
    return name


def _read_choice(tool_choice: bytes | None, function_call: bytes | None) -> _Choice:
    value, old = _load(tool_choice, "tool_choice"), _load(function_call, "function_call")
    if value is not None:
        return _choice(value)
    if old in (None, "auto"):
        return _Choice()
    if old == "none":
        return _Choice(none=True)
    if isinstance(old, dict):
        return _Choice("function_call", forced=True, only=(_name("function_call", old),))
    raise wrong("function_call", '"none", "auto" or an object with a name', old)


def _choice(value: Any) -> _Choice:
    if isinstance(value, str) and value in ("auto", "none", "required"):
        return _Choice(none=value == "none", forced=value == "required")
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "function":
        return _Choice(forced=True, only=(_name("tool_choice.function", value.get("function")),))
    if kind == "allowed_tools":
        return _allowed(value.get("allowed_tools"), "tool_choice.allowed_tools")
    if kind == "custom":
        raise Unsupported("tool_choice.type: Ollama takes tools of type function only", param="tool_choice")
    wanted = '"none", "auto", "required", or an object of type function or allowed_tools'
    raise BadBody(f"tool_choice must be {wanted}", param="tool_choice")


def _allowed(value: Any, path: str) -> _Choice:
    if not isinstance(value, dict):
        raise wrong(path, "an object with mode and tools", value)
    mode, tools = value.get("mode", "auto"), value.get("tools")
    if mode not in ("auto", "required"):
        raise BadBody(f'{path}.mode must be "auto" or "required"', param=f"{path}.mode")
    if not isinstance(tools, list) or not tools:
        raise BadBody(f"{path}.tools must be a list that is not empty", param=f"{path}.tools")
    names = []
    for index, tool in enumerate(tools):
        place = f"{path}.tools[{index}]"
        if not isinstance(tool, dict):
            raise wrong(place, "an object", tool)
        names.append(_name(f"{place}.function", tool.get("function")))
    return _Choice(path, forced=mode == "required", only=tuple(names))


def _chosen(offers: list[_Offer], choice: _Choice) -> Iterable[_Offer]:
    """The offers to send. A choice that nothing answers to is the client's mistake, as it is for OpenAI."""
    if choice.forced and not offers:
        raise BadBody(f"{choice.path} asks for a call, but no tools are given", param=choice.path)
    if choice.only is None:
        return offers
    if not {offer.name for offer in offers}.issuperset(choice.only):
        raise BadBody(f"{choice.path} names a tool that is not among the given ones", param=choice.path)
    return [offer for offer in offers if offer.name in choice.only]


def _write(offer: _Offer, losses: Losses) -> bytes:
    """The tool in bytes: its own where nothing had to be mended."""
    function, path = offer.tool["function"], offer.place
    losses.note_unread(offer.path, offer.tool, frozenset(("type", "function")))
    losses.note_unread(path, function, _FUNCTION)
    if function.get("strict"):
        losses.note(f"{path}.strict", "ollama has no such field, lost")
    if not isinstance(function.get("description"), str | None):
        raise wrong(f"{path}.description", "a string", function["description"])
    mended = mend_parameters(function, f"{path}.parameters", losses)
    if offer.raw is not None and not mended:
        return offer.raw
    try:
        return orjson.dumps(offer.tool)
    except orjson.JSONEncodeError as error:
        raise BadBody(f"{path}.parameters is nested too deeply", param=path) from error
