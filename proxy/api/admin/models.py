"""I/O. `GET /api/v1/models`: models, where they run, and what is known of them."""

from __future__ import annotations

from typing import Any

from proxy.api.admin.resource import Call
from proxy.backends.facts import ModelFacts
from proxy.upstream.upstream import Upstream


async def models(call: Call) -> dict[str, Any]:
    """Every model that any upstream lists."""
    await call.v1.settle()
    families = call.files.current.families
    out = []
    for name, places in call.v1.gateway.fleet.listing().items():
        family = families.find(name)
        out.append(
            {
                "name": name,
                "family": family.name if family else None,
                "capabilities": _capabilities(places),
                "context_length": next((f.context for _, f in places if f.context), None),
                "upstreams": [_place(upstream, facts) for upstream, facts in places],
            }
        )
    return {"models": out}


def _capabilities(places: list[tuple[Upstream, ModelFacts]]) -> list[str] | None:
    known = [facts.capabilities for _, facts in places if facts.capabilities is not None]
    return sorted(frozenset().union(*known)) if known else None


def _place(upstream: Upstream, facts: ModelFacts) -> dict[str, Any]:
    return {
        "upstream": upstream.name,
        "runtime": upstream.known.runtime,
        "context_length": facts.context,
        "loaded_context": facts.loaded,
        "parameters": dict(facts.parameters),
    }
