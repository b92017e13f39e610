"""I/O. `GET /api/v1/rules` and `POST /api/v1/rules/reload`: what is loaded, from where, and its faults."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from proxy.api.admin.resource import Call


async def rules(call: Call) -> dict[str, Any]:
    """The snapshot in force; its files, or after a bad reload the files read then, with their faults."""
    snapshot = call.files.current
    return {
        "snapshot": snapshot.hash,
        "files": [asdict(source) for source in call.files.sources],
        "faults": list(call.files.faults),
        "reloads": call.files.reloads,
        "failures": call.files.failures,
        "rules": [
            {"name": rule.name, "description": rule.description, "file": snapshot.rule_files[rule.name]}
            for rule, _ in snapshot.rules
        ],
        "experiments": [experiment.name for experiment, _ in snapshot.experiments],
        "profiles": list(snapshot.profiles),
    }


async def reload(call: Call) -> dict[str, Any]:
    """Read the files now; a bad one changes nothing and its faults are in the answer."""
    result = await call.files.refresh()
    return {
        "success": result.ok,
        "changed": result.changed,
        "snapshot": call.files.current.hash,
        "faults": list(result.faults),
    }
