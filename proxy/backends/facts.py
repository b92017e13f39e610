"""Pure. What is known of an upstream and of one model on it, as decisions need it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

NumCtxPolicy = Literal["pin", "bucket", "free"]


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What an upstream says of one model; `None` everywhere means that it does not say."""

    name: str
    capabilities: frozenset[str] | None = None
    """Ollama's words: completion, tools, vision, thinking, embedding, insert ..."""
    context: int | None = None
    """Trained context in tokens, or vLLM's `max_model_len`."""
    loaded: int | None = None
    """The context the model is loaded with now."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """What the runtime uses when nothing is sent, under Attune's names."""
    format: str | None = None
    """`gguf` or `safetensors`; the latter runs on Ollama's MLX engine."""
    architecture: str | None = None
    remote: bool = False
    """A cloud model: no local context, no reloads."""
    parent: str | None = None
    """What it was made from: an adapter's base, a renamed model's own name or path."""

    def can(self, capability: str) -> bool | None:
        """Whether it has a capability; `None` when unknown."""
        return None if self.capabilities is None else capability in self.capabilities


@dataclass(frozen=True, slots=True)
class Target:
    """Where a decision is made for: one upstream and one model on it."""

    upstream: str | None
    runtime: str
    version: str | None = None
    model: ModelFacts | None = None
    num_ctx: NumCtxPolicy = "bucket"
    features: frozenset[str] = frozenset()
    """Abilities beyond the version's, as the embedded runtime announces them."""

    def since(self, *version: int) -> bool:
        """Whether the runtime is at least this version; an unknown version counts as the newest."""
        mine = parse_version(self.version)
        return mine is None or mine >= version

    @property
    def label(self) -> str:
        """`ollama 0.32.15`, or only the runtime."""
        return f"{self.runtime} {self.version}" if self.version else self.runtime

    @property
    def unsupported_code(self) -> str:
        """`unsupported-by-ollama-0.32`, for the response header."""
        mine = parse_version(self.version)
        short = f"-{mine[0]}.{mine[1]}" if mine else ""
        return f"unsupported-by-{self.runtime}{short}"


def parse_version(text: str | None) -> tuple[int, ...] | None:
    """`0.32.0+cpu` as (0, 32, 0); `None` for what is no version, and for source builds that say 0.0.0."""
    match = re.match(r"v?([0-9]{1,9})\.([0-9]{1,9})(?:\.([0-9]{1,9}))?", text or "")
    if match is None:
        return None
    version = tuple(int(part or 0) for part in match.groups())
    return version if any(version) else None
