import asyncio
import json
import socket

import pytest

from proxy.app import App
from proxy.settings import from_environment
from tests.cli.answering import running, scripted
from tests.cli.conftest import Attune
from tests.doubles.ollama import OllamaDouble


def free_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


async def test_a_running_proxy_says_what_its_upstreams_serve(attune: Attune) -> None:
    async with OllamaDouble() as ollama:
        app = App(from_environment({}, upstreams=(ollama.url,)), {})
        async with running(app) as url:
            async with asyncio.timeout(5):
                await next(iter(app.fleet.upstreams.values())).looked.wait()
            as_json = await asyncio.to_thread(attune, "models", "--url", f"{url}/v1", "--json")
            drawn = await asyncio.to_thread(attune, "models", env={"ATTUNE_URL": url})
        names = set(ollama.models)

    found = json.loads(as_json.stdout)["models"]
    assert (as_json.exit_code, drawn.exit_code) == (0, 0)
    assert {model["name"] for model in found} == names
    assert all(model["upstreams"][0]["runtime"] == "ollama" for model in found)
    assert drawn.stdout.split("\n")[0].split() == [
        "model",
        "family",
        "context",
        "loaded",
        "can",
        "upstreams",
    ]
    assert all(name in drawn.stdout for name in names)


async def test_upstreams_are_looked_at_without_a_proxy(attune: Attune) -> None:
    async with OllamaDouble() as ollama:
        direct = await asyncio.to_thread(attune, "models", ollama.url, "--json")
        app = App(from_environment({}, upstreams=(ollama.url,)), {})
        async with running(app) as url:
            async with asyncio.timeout(5):
                await next(iter(app.fleet.upstreams.values())).looked.wait()
            asked = await asyncio.to_thread(attune, "models", "--url", url, "--json")

    assert (direct.exit_code, direct.stderr) == (0, "")
    assert json.loads(direct.stdout) == json.loads(asked.stdout)
    assert json.loads(direct.stdout)["models"]


async def test_an_upstream_that_is_silent_is_named(attune: Attune) -> None:
    silent = free_url()
    async with OllamaDouble() as ollama:
        some = await asyncio.to_thread(attune, "models", ollama.url, silent)
    none = await asyncio.to_thread(attune, "models", silent)

    assert some.exit_code == 0
    assert some.stdout.startswith("model ")
    assert f"({silent}) has not answered" in some.stderr
    assert none.exit_code == 1
    assert none.stdout == "no upstream lists a model\n"
    assert f"({silent}) has not answered" in none.stderr


@pytest.mark.parametrize("columns", ["80", "100"])
async def test_the_table_fits_the_screen(attune: Attune, columns: str) -> None:
    places = [
        {"upstream": f"a-machine-with-a-long-name-{n}", "runtime": "ollama", "loaded_context": 4096}
        for n in (1, 2)
    ]
    model = {
        "name": "hf.co/somebody/some-rather-long-model-name-instruct-GGUF:Q4_K_M", "family": "qwen3-thinking-2507",
        "capabilities": ["completion", "insert", "thinking", "tools", "vision"], "context_length": 262144,
        "upstreams": places,
    }  # fmt: skip
    with scripted(200, {"models": [model], "upstreams": []}) as proxy:
        result = attune("models", "--url", proxy.url, env={"COLUMNS": columns})

    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= int(columns)
    assert all(line == line.rstrip() for line in result.stdout.splitlines())
    assert "262144" in result.stdout


def test_the_key_comes_from_the_environment(attune: Attune) -> None:
    with scripted(200, {"models": [], "upstreams": []}) as proxy:
        result = attune("models", "--url", proxy.url, env={"ATTUNE_API_KEY": "from-the-environment"})

    assert result.exit_code == 0
    assert {headers["authorization"] for _, _, headers, _ in proxy.asked} == {"Bearer from-the-environment"}


def test_where_no_proxy_runs_it_is_said_what_to_do(attune: Attune) -> None:
    url = free_url()
    spoken = attune("models", "--url", url)
    as_json = attune("models", "--url", url, "--json")

    assert (spoken.exit_code, spoken.stdout) == (1, "")
    assert "attune serve" in spoken.stderr
    assert "--url" in spoken.stderr
    assert as_json.exit_code == 1
    assert json.loads(as_json.stdout)["error"]["code"].startswith("attune_")


def test_an_address_that_is_none_is_refused(attune: Attune) -> None:
    result = attune("models", "ftp://127.0.0.1")

    assert (result.exit_code, result.stdout) == (2, "")
    assert "http://" in result.stderr
