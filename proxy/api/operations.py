"""I/O. What orchestrators ask: is the loop alive, may traffic come."""

from __future__ import annotations

from typing import Any


def livez() -> dict[str, Any]:
    """The event loop answers; upstreams do not matter here."""
    return {"status": "alive"}


def readyz(ready: bool, faults: tuple[str, ...]) -> tuple[int, dict[str, Any]]:
    """Configuration is valid and not draining. Faults of a rule file edited while running do not count: the
    last good rules serve."""
    if not ready:
        return 503, {"status": "draining"}
    return 200, {"status": "ready", "rule_faults": len(faults)}
