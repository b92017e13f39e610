"""The demo runtime on a real socket, one per test module; its model, for tests without a socket."""

from collections.abc import AsyncIterator
from importlib import resources

import httpx
import pytest
import pytest_asyncio

from proxy.demo import DemoServer, serve_demo
from proxy.demo.language_model import LanguageModel


@pytest.fixture(scope="session")
def corpus() -> str:
    return resources.files("proxy.demo").joinpath("corpus.txt").read_text("utf-8")


@pytest.fixture(scope="session")
def model(corpus: str) -> LanguageModel:
    return LanguageModel(corpus)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def demo() -> AsyncIterator[DemoServer]:
    server = await serve_demo()
    yield server
    await server.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(demo: DemoServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=demo.url, timeout=10) as http:
        yield http
