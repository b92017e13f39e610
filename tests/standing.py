"""A double of Ollama and a proxy before it that stay up for all tests of a module."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import httpx

from tests.doubles.ollama import OllamaDouble
from tests.running import Attune, attune

LOOK = 10.0
"""Seconds that the first look at the upstreams may take."""

T = TypeVar("T")


class Standing:
    """Both, in a loop of their own that runs while a test asks something: `run` is the way to ask.

    `rules` may say `URL` where the double's address belongs.
    """

    ollama: OllamaDouble
    attune: Attune

    def __init__(self, rules: str = "", *, version: str = "0.32.15", **settings: Any) -> None:
        self._rules, self._version, self._settings = rules, version, {"discover_every": 3600.0, **settings}
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()

    def start(self) -> None:
        """Both are up, and the proxy knows the double's models."""
        self.run(self._start())

    def stop(self) -> None:
        """Nothing is left behind."""
        self.run(self._stack.aclose())
        self._runner.close()

    def run(self, job: Coroutine[Any, Any, T]) -> T:
        """What a job returns."""
        return self._runner.run(job)

    def post(self, path: str, body: Any, headers: Any = None) -> httpx.Response:
        """What the proxy answers to a JSON body."""
        return self.run(self.attune.client.post(path, json=body, headers=headers))

    def get(self, path: str) -> httpx.Response:
        """What the proxy answers."""
        return self.run(self.attune.client.get(path))

    def prepare(self) -> None:
        """A place to change the double before the proxy looks at it."""

    async def _start(self) -> None:
        self.ollama = await self._stack.enter_async_context(OllamaDouble(self._version))
        self.prepare()
        urls = () if "URL" in self._rules else (self.ollama.url,)
        rules = self._rules.replace("URL", self.ollama.url)
        self.attune = await self._stack.enter_async_context(attune(urls, rules, **self._settings))
        async with asyncio.timeout(LOOK):
            for upstream in self.attune.app.fleet.upstreams.values():
                await upstream.looked.wait()
