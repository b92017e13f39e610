"""A client's parameters on their way through one backend: checked, clamped, translated, written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from proxy.backends.backend import Backend, Case, Plan, Translation, runtime_bounds
from proxy.backends.facts import ModelFacts, Target
from proxy.openai.request import parse_chat
from proxy.parameters.bounds import Bounds
from proxy.parameters.client import FIELDS, read
from proxy.parameters.families import Family
from proxy.parameters.layers import Layer
from proxy.parameters.resolution import Candidate
from proxy.parameters.resolve import Edits, resolve

MESSAGES = b'[{"role":"user","content":"hi"}]'


def family(name: str = "f", **thinking: Any) -> Family:
    """A family that is known by how it thinks."""
    return Family.model_validate({"name": name, "match": ["*"], "thinking": thinking})


def target(runtime: str, version: str | None = None, **facts: Any) -> Target:
    """An upstream with one model; `num_ctx` and `features` are the upstream's, the rest the model's."""
    own = {key: facts.pop(key) for key in ("num_ctx", "features") if key in facts}
    return Target("u", runtime, version, ModelFacts("m", **facts), **own)


def bounds(backend: Backend, case: Case, names: Any) -> dict[str, Bounds]:
    """The ranges that values are clamped to, as a decision collects them."""
    return runtime_bounds(backend, case, names)


def translate(
    backend: Backend,
    fields: Mapping[str, Any],
    to: Target,
    of: Family | None = None,
    rules: Mapping[str, Any] | None = None,
) -> Translation:
    """What becomes of the client's `fields` and of the values that `rules` set."""
    asked = read(fields)
    offered: dict[str, list[Candidate]] = {}
    for name, candidate in asked.candidates:
        offered.setdefault(name, []).append(candidate)
    for name, value in (rules or {}).items():
        offered.setdefault(name, []).append(Candidate(Layer.RULE_SET, "rule r", value))
    case = Case(to, of, "thinking", asked.spelled)
    limits = bounds(backend, case, offered)
    resolution = resolve(offered, Edits(bounds=limits))
    return backend.translate(resolution, Case(to, of, case.mode, case.spelled, limits))


def changes(translation: Translation) -> dict[str, str]:
    """Parameter -> who changed it or why it was dropped, for all that are not as they were asked."""
    found = {
        n: "; ".join(c.by for c in d.clamps) for n, d in translation.resolution.parameters.items() if d.clamps
    }
    return found | {name: gone.reason for name, gone in translation.resolution.dropped.items()}


def wires(translation: Translation) -> dict[str, str | None]:
    """Parameter -> its path on the wire."""
    return {name: d.wire for name, d in translation.resolution.parameters.items()}


def write(
    backend: Backend,
    body: bytes,
    to: Target,
    of: Family | None = None,
    messages: bytes | None = None,
    strict: bool = False,
) -> tuple[bytes, tuple[str, ...]]:
    """A client's body as it goes upstream, and what was lost."""
    chat = parse_chat(body)
    translation = translate(backend, chat.decode(FIELDS), to, of)
    able = to.model.capabilities if to.model is not None else None
    plan = Plan("upstream-name", translation, orjson.dumps(translation.fields)[1:-1], able, strict)
    request = backend.write(chat, plan, messages)
    return request.body, request.warnings
