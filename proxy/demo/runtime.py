"""I/O. The demo's models while they are served: which are loaded, how long, and at what pace they answer."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import Any

from proxy.demo.embedding import DIMENSIONS
from proxy.demo.generation import Generation, Step
from proxy.demo.language_model import LanguageModel
from proxy.demo.options import DEFAULT_NUM_CTX, MODEL_PARAMETERS, TRAINED_CONTEXT, show_parameters
from proxy.demo.wire import Refused, canonical_name

VERSION = "0.6.9-attune-demo"
"""Before 0.7.0, so that mirostat is live; what the demo has beyond it is in `FEATURES`."""
FEATURES = ("logprobs", "top_logprobs")
LABEL = (
    "Attune demo runtime: a word n-gram built from a few pages of text, not a real language model. "
    "What it says is not advice and not a source of facts."
)
SYSTEM = (
    "You are the demo runtime of Attune: a small word table with a real sampler, not a real language model."
)
TEMPLATE = "{{ range .Messages }}<|{{ .Role }}|>\n{{ .Content }}\n{{ end }}<|assistant|>\n"

_KEEP_ALIVE = 300.0
_CENTURIES = 292 * 365.25 * 86400.0
_SLICE = 0.002
"""Seconds of work after which the event loop gets its turn."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One of the demo's models; all share the n-gram."""

    name: str
    pace: float
    """Tokens per second."""
    always_paced: bool = False
    """Whether answers that are not streamed keep the pace as well."""

    @property
    def full_name(self) -> str:
        """The name with its registry, as some refusals have it."""
        return f"registry.ollama.ai/library/{self.name}"


@dataclass(slots=True)
class _Loaded:
    num_ctx: int = DEFAULT_NUM_CTX
    keep_alive: float = _KEEP_ALIVE
    in_flight: int = 0
    used_at: float = 0.0

    @property
    def expires_at(self) -> float:
        return self.used_at + min(self.keep_alive, _CENTURIES)


class Runtime:
    """Everything behind the demo's endpoints. Builds its model when created, in hundredths of a second."""

    def __init__(self) -> None:
        corpus = resources.files("proxy.demo").joinpath("corpus.txt").read_bytes()
        self.model = LanguageModel(corpus.decode())
        self.served = {
            model.name: model
            for model in (
                ServedModel("demo:latest", 200.0),
                ServedModel("demo-slow:latest", 20.0, always_paced=True),
            )
        }
        self.active = 0
        """Answers being generated now."""
        self.closing = False
        """Set once: running answers break off."""
        self._digest = hashlib.sha256(corpus).hexdigest()
        self._size = len(corpus)
        self._built_at = time.time()
        self._loaded: dict[str, _Loaded] = {}

    def find(self, name: str) -> ServedModel:
        """The model that a client names; 404 in the client's words, 400 where it is no name at all."""
        model = self.served.get(canonical_name(name))
        if model is None:
            raise Refused(404, f"model '{name}' not found")
        return model

    @contextmanager
    def using(self, model: ServedModel, num_ctx: int, keep_alive: float | None) -> Iterator[None]:
        """A request holds the model: it is loaded, or stays so; its time to be unloaded starts afterwards."""
        loaded = self._loaded.setdefault(model.name, _Loaded())
        loaded.num_ctx = num_ctx
        loaded.used_at = time.time()
        loaded.in_flight += 1
        if keep_alive is not None:
            loaded.keep_alive = keep_alive
        try:
            yield
        finally:
            loaded.in_flight -= 1
            loaded.used_at = time.time()
            self._expire()

    def _expire(self) -> None:
        now = time.time()
        for name, loaded in list(self._loaded.items()):
            if not loaded.in_flight and loaded.expires_at <= now:
                del self._loaded[name]

    async def paced(
        self, generation: Generation, model: ServedModel, stream: bool
    ) -> AsyncGenerator[Step, None]:
        """The steps of an answer, no faster than the model's pace, giving way to other tasks in between."""
        paced = stream or model.always_paced
        self.active += 1
        try:
            started = slice_began = time.perf_counter()
            for step in generation.steps():
                yield step
                if self.closing:
                    return
                now = time.perf_counter()
                wait = started + generation.count / model.pace - now if paced else 0.0
                if wait > 0 or now - slice_began > _SLICE:
                    await asyncio.sleep(max(wait, 0.0))
                    slice_began = time.perf_counter()
        finally:
            self.active -= 1

    def listing(self, model: ServedModel) -> dict[str, Any]:
        """The entry of /api/tags."""
        return {
            "name": model.name,
            "model": model.name,
            "modified_at": timestamp(self._built_at),
            "size": self._size,
            "digest": self._digest,
            "details": self._details(),
        }

    def running(self) -> list[dict[str, Any]]:
        """The entries of /api/ps, the longest-lived first."""
        self._expire()
        longest_first = sorted(self._loaded.items(), key=lambda item: -item[1].expires_at)
        return [
            {
                "name": name,
                "model": name,
                "size": self._size,
                "digest": self._digest,
                "details": self._details(),
                "expires_at": timestamp(loaded.expires_at),
                "size_vram": 0,
                "context_length": loaded.num_ctx,
            }
            for name, loaded in longest_first
        ]

    def _details(self) -> dict[str, Any]:
        return {
            "parent_model": "",
            "format": "demo",
            "family": "attune-demo",
            "families": ["attune-demo"],
            "parameter_size": f"{self.model.parameter_count / 1000:.1f}K",
            "quantization_level": "none",
        }

    def shown(self, model: ServedModel) -> dict[str, Any]:
        """The answer of /api/show."""
        lines = "".join(f"PARAMETER {name} {value}\n" for name, value in MODEL_PARAMETERS.items())
        return {
            "license": LABEL,
            "modelfile": f'# {LABEL}\nFROM {model.name}\nTEMPLATE """{TEMPLATE}"""\nSYSTEM {SYSTEM}\n{lines}',
            "parameters": show_parameters(),
            "template": TEMPLATE,
            "system": SYSTEM,
            "details": self._details(),
            "model_info": {
                "general.architecture": "demo",
                "general.name": "Attune demo runtime",
                "general.parameter_count": self.model.parameter_count,
                "demo.context_length": TRAINED_CONTEXT,
                "demo.embedding_length": DIMENSIONS,
                "demo.vocabulary_length": len(self.model.vocabulary),
            },
            "capabilities": ["completion"],
            "modified_at": timestamp(self._built_at),
        }


def timestamp(seconds: float) -> str:
    """RFC 3339 in UTC with microseconds."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
