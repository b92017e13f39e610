"""I/O. What a control API call is given and what it returns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from proxy.api.v1 import V1
from proxy.decision import Caller
from proxy.reload import RuleFiles


@dataclass(frozen=True, slots=True)
class Call:
    """One call, authenticated."""

    v1: V1
    caller: Caller
    files: RuleFiles
    body: bytes
    headers: dict[bytes, bytes]
    request_id: str


Resource = Callable[[Call], Awaitable[Any]]
"""Returns the JSON of a 200, or raises."""
