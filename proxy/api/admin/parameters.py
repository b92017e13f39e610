"""I/O. `GET /api/v1/parameters` and `GET /api/v1/tasks`: the catalogue and the task types."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from proxy.api.admin.resource import Call
from proxy.backends.support import support
from proxy.parameters.catalog import CATALOG, Parameter
from proxy.parameters.tasks import TASKS


async def parameters(call: Call) -> dict[str, Any]:
    """Every parameter, in the order in which forms show them, and what each runtime makes of it."""
    return {"parameters": {name: _entry(p) for name, p in CATALOG.items()}}


async def tasks(call: Call) -> dict[str, Any]:
    """The 19 task types, each with the profile that applies to it."""
    chosen = call.files.current.task_profiles
    return {
        "tasks": [
            {**asdict(task), "profile": chosen[task.name].name if task.name in chosen else None}
            for task in TASKS
        ]
    }


def _entry(p: Parameter) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": p.type, "default": p.default, "min": p.form.min, "max": p.form.max}
    entry |= {"hard_min": p.hard.min, "hard_max": p.hard.max, "step": p.step, "desc": p.desc}
    if p.options:
        entry["options"] = list(p.options)
    if p.items:
        entry["items"] = p.items
    entry["runtimes"] = support(p.name)
    entry |= {"when": p.when, "protected": p.protected, "advanced": p.advanced, "aliases": list(p.aliases)}
    return entry
