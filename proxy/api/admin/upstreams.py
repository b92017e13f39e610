"""I/O. `GET /api/v1/upstreams`: health, breaker, requests under way, version."""

from __future__ import annotations

from typing import Any

from proxy.api.admin.resource import Call
from proxy.upstream.upstream import Upstream


async def upstreams(call: Call) -> dict[str, Any]:
    """Every configured upstream."""
    return {"upstreams": [_entry(u) for u in call.v1.gateway.fleet.upstreams.values()]}


def _entry(upstream: Upstream) -> dict[str, Any]:
    known = upstream.known
    return {
        "name": upstream.name,
        "url": upstream.entry.url,
        "runtime": known.runtime if upstream.met else None,
        "version": known.version,
        "healthy": known.up,
        "error": known.error,
        "breaker": upstream.state().value,
        "in_flight": upstream.active,
        "queued": upstream.queued,
        "max_concurrency": upstream.entry.max_concurrency,
        "weight": upstream.weight,
        "connections": {"idle": upstream.pool.idle, "active": upstream.pool.active},
        "models": None if known.models is None else len(known.models),
    }
