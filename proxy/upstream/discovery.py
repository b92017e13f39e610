"""I/O. Looks at an upstream: what it is, which version, which models, what each can.

Off the hot path, so httpx. A look never raises: what went wrong is part of what it found.
"""

from __future__ import annotations

import ast
import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from proxy.backends.facts import ModelFacts
from proxy.parameters.catalog import CANONICAL, CATALOG
from proxy.parameters.values import check
from proxy.upstream.upstream import Knowledge, Upstream, ollama_key

TIMEOUT = httpx.Timeout(10.0, connect=3.0)
"""vLLM's health took 6 s under load, so a slow answer is no sign of being down."""

NOT_NOW = frozenset({502, 503, 504})
"""Statuses that say nothing of what a server is: it starts, or what answers is not the server itself."""

SHOWS_AT_ONCE = 4
"""`/api/show` calls under way at a time."""


@dataclass(slots=True)
class Explorer:
    """Remembers, per upstream, the details of models that have not changed."""

    client: httpx.AsyncClient
    shown: dict[tuple[str, str, str], ModelFacts] = field(default_factory=dict)
    """(upstream URL, model, digest) -> facts from `/api/show`."""

    async def look(self, upstream: Upstream) -> Knowledge:
        """What an upstream is now; keeps what was known before when it cannot be reached."""
        try:
            return await self._explore(upstream)
        except Exception as fault:  # a server may send anything, and whoever looks has to go on looking
            slow = isinstance(fault, httpx.ReadTimeout | httpx.WriteTimeout | httpx.PoolTimeout)
            up = upstream.known.up if slow else False
            return replace(upstream.known, up=up, error=f"{type(fault).__name__}: {fault}".rstrip(": ")[:200])

    async def _explore(self, upstream: Upstream) -> Knowledge:
        runtime, about = await self._runtime(upstream)
        models = await (self._ollama(upstream) if runtime == "ollama" else self._openai(upstream))
        version = about.get("version")
        features = frozenset(f for f in about.get("features", ()) if isinstance(f, str))
        return Knowledge(runtime, version if isinstance(version, str) else None, features, models, True)

    async def _runtime(self, upstream: Upstream) -> tuple[str, Mapping[str, Any]]:
        """The declared runtime, or what its version endpoint gives away, and what that said."""
        declared = upstream.entry.runtime
        for runtime, path in (("ollama", "/api/version"), ("vllm", "/version")):
            if declared in (None, runtime):
                about = await self._json(upstream, path)
                if isinstance(about, dict) and isinstance(about.get("version"), str):
                    return runtime, about
        return declared or "openai", {}

    async def _ollama(self, upstream: Upstream) -> dict[str, ModelFacts] | None:
        tags = await self._json(upstream, "/api/tags", needed=True)
        loaded = await self._loaded(upstream)
        limit = asyncio.Semaphore(SHOWS_AT_ONCE)

        async def one(entry: Mapping[str, Any]) -> ModelFacts:
            name = str(entry.get("model") or entry["name"])
            async with limit:
                facts = await self._show(upstream, name, entry)
            return replace(facts, loaded=loaded.get(ollama_key(name)))

        found = await asyncio.gather(*(one(entry) for entry in tags.get("models") or ()))
        return {ollama_key(facts.name): facts for facts in found}

    async def _loaded(self, upstream: Upstream) -> dict[str, int]:
        running = await self._json(upstream, "/api/ps") or {}
        return {
            ollama_key(str(m.get("model") or m.get("name"))): m["context_length"]
            for m in running.get("models") or ()
            if isinstance(m.get("context_length"), int)
        }

    async def _show(self, upstream: Upstream, name: str, entry: Mapping[str, Any]) -> ModelFacts:
        key = (upstream.entry.url, name, str(entry.get("digest")))
        if key not in self.shown:
            shown = await self._json(upstream, "/api/show", body={"model": name})
            if not isinstance(shown, dict):
                return _from_tag(name, entry)
            self.shown[key] = _from_show(name, shown)
        return self.shown[key]

    async def _openai(self, upstream: Upstream) -> dict[str, ModelFacts] | None:
        listing = await self._json(upstream, "/v1/models")
        if not isinstance(listing, dict):
            return None
        listed = [e for e in listing.get("data") or () if isinstance(e, dict)]
        entries = [e for e in listed if isinstance(e.get("id"), str)]
        lengths = {e["id"]: e.get("max_model_len") for e in entries}
        found = {}
        for entry in entries:
            parent = entry.get("parent")
            base = parent or entry.get("root")
            length = entry.get("max_model_len") or lengths.get(parent)
            context = length if isinstance(length, int) else None
            parent = base if isinstance(base, str) and base != entry["id"] else None
            found[entry["id"]] = ModelFacts(entry["id"], context=context, parent=parent)
        return found

    async def _json(self, upstream: Upstream, path: str, *, body: Any = None, needed: bool = False) -> Any:
        """The JSON behind a path; `None` for an error status, unless it is `needed` or says "not now"."""
        origin = upstream.origin
        url = f"{origin.scheme}://{origin.authority}{origin.path}{path}"
        headers = dict(upstream.auth_headers)
        if body is None:
            reply = await self.client.get(url, headers=headers)
        else:
            reply = await self.client.post(url, json=body, headers=headers)
        if needed or reply.status_code in NOT_NOW:
            reply.raise_for_status()
        if reply.status_code != 200:
            return None
        return reply.json() if "json" in reply.headers.get("content-type", "json") else None


def new_client() -> httpx.AsyncClient:
    """A client for looking: no redirects, no proxy from the environment, nothing kept for long."""
    limits = httpx.Limits(max_connections=32, keepalive_expiry=4.0)
    return httpx.AsyncClient(timeout=TIMEOUT, limits=limits, trust_env=False, follow_redirects=False)


def _from_tag(name: str, entry: Mapping[str, Any]) -> ModelFacts:
    details = entry.get("details") or {}
    capabilities = entry.get("capabilities")
    return ModelFacts(
        name,
        capabilities=frozenset(capabilities) if capabilities else None,
        format=details.get("format"),
        architecture=details.get("family"),
        parent=details.get("parent_model") or None,
        remote=bool(entry.get("remote_host")),
    )


def _from_show(name: str, shown: Mapping[str, Any]) -> ModelFacts:
    info = shown.get("model_info") or {}
    context = next((v for k, v in info.items() if k.endswith(".context_length")), None)
    facts = _from_tag(name, shown)
    return replace(
        facts,
        context=int(context) if isinstance(context, int | float) else None,
        parameters=parse_parameters(shown.get("parameters") or ""),
        architecture=info.get("general.architecture") or facts.architecture,
    )


_LINE = re.compile(r"^(\w+)\s+(.*)$")


def parse_parameters(text: str) -> dict[str, Any]:
    """Ollama's `parameters` text as values under Attune's names.

    One key and value per line, the value as Go prints it: strings quoted, large numbers with an exponent, a
    `stop` line for each entry. What no parameter fits is left out: it is shown only.
    """
    found: dict[str, Any] = {}
    for line in text.splitlines():
        match = _LINE.match(line.strip())
        name = CANONICAL.get(match[1]) if match else None
        if match is None or name is None:
            continue
        value = _scalar(match[2].strip())
        if name == "stop":
            found.setdefault("stop", []).append(str(value))
        else:
            found[name] = _fitting(name, value)
    return {name: value for name, value in found.items() if value is not None}


def _scalar(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        # Go writes some escapes that JSON has not (\a, \x1b, \U000e0001); a Python literal has them all.
        return ast.literal_eval(text) if text.startswith('"') else text
    except (ValueError, SyntaxError):
        return text.strip('"')


def _fitting(name: str, value: Any) -> Any:
    try:
        return check(CATALOG[name], value)
    except Exception:  # a Modelfile may hold any type: Ollama does not check it either
        return None
