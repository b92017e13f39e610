"""What the double tells of its models, and how requests load, reload and unload them."""

import asyncio
import re
import time

import httpx
import pytest

from tests.doubles.ollama import OllamaDouble
from tests.doubles.ollama_models import LoadedState, Model, go_syntax, rfc3339
from tests.doubles.ollama_script import Script

USER = [{"role": "user", "content": "hi"}]


@pytest.fixture
async def ollama():
    async with OllamaDouble() as double:
        yield double


@pytest.fixture
async def client(ollama):
    async with httpx.AsyncClient(verify=False, base_url=ollama.url, timeout=5) as client:
        yield client


async def chat(client, model="plain", **fields):
    answer = await client.post("/api/chat", json={"model": model, "messages": USER, "stream": False} | fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def processes(client):
    return (await client.get("/api/ps")).json()["models"]


async def show(client, **body):
    return await client.post("/api/show", json=body)


@pytest.mark.parametrize(
    ("name", "capabilities", "context"),
    [
        ("llama3:8b", {"completion", "tools"}, 8192),
        ("llama3.2:1b", {"completion", "tools"}, 131072),
        ("qwen3:8b", {"completion", "tools", "thinking"}, 40960),
        ("gpt-oss:20b", {"completion", "tools", "thinking"}, 131072),
        ("gemma3:4b", {"completion", "vision"}, 131072),
        ("deepseek-r1:8b", {"completion", "thinking"}, 131072),
        ("qwen2.5vl:7b", {"completion", "vision"}, 128000),
        ("nomic-embed-text", {"embedding"}, 2048),
        ("mlx-model", {"completion", "tools"}, 32768),
        ("plain", {"completion"}, 4096),
    ],
)
async def test_show(client, name, capabilities, context):
    shown = (await show(client, model=name)).json()
    assert set(shown["capabilities"]) == capabilities
    info = shown["model_info"]
    assert info[f"{info['general.architecture']}.context_length"] == context
    assert info[f"{info['general.architecture']}.embedding_length"] > 0
    assert shown["details"]["format"] == ("safetensors" if name == "mlx-model" else "gguf")
    assert shown["details"]["families"] == [shown["details"]["family"]]
    assert shown["template"]
    assert shown["modelfile"]


async def test_show_parameters_are_padded_text(client):
    lines = (await show(client, model="llama3:8b")).json()["parameters"].splitlines()
    assert lines[0] == "num_keep" + " " * 23 + "24"
    assert [line.split(maxsplit=1) for line in lines[1:]] == [
        ["stop", '"<|start_header_id|>"'],
        ["stop", '"<|end_header_id|>"'],
        ["stop", '"<|eot_id|>"'],
    ]
    qwen = dict(
        line.split() for line in (await show(client, model="qwen3:8b")).json()["parameters"].splitlines()
    )
    assert qwen == {"temperature": "0.6", "top_k": "20", "top_p": "0.95", "repeat_penalty": "1"}
    assert "parameters" not in (await show(client, model="plain")).json()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1048576, "1.048576e+06"),
        (1000000, "1e+06"),
        (131072, "131072"),
        (0, "0"),
        (1.0, "1"),
        (-1, "-1"),
        (0.0001, "0.0001"),
        (0.00005, "5e-05"),
        (True, "true"),
        ('"\n', '"\\"\\n"'),
        ("<é>", '"<é>"'),
    ],
)
def test_go_syntax(value, text):
    assert go_syntax(value) == text


async def test_show_by_old_key_and_verbose(client):
    assert (await show(client, name="PLAIN")).json()["model_info"]["tokenizer.ggml.tokens"] == []
    verbose = (await show(client, model="plain", verbose=True)).json()
    assert len(verbose["model_info"]["tokenizer.ggml.tokens"]) > 5


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({}, 400, "model is required"),
        ({"model": ""}, 400, "model is required"),
        ({"model": "nope"}, 404, "model 'nope:latest' not found"),
        ({"model": "nope:7b"}, 404, "model 'nope:7b' not found"),
        ({"model": "two words"}, 400, "invalid model name"),
        ({"model": 1}, 400, None),
    ],
)
async def test_show_refusals(client, body, status, message):
    answer = await show(client, **body)
    assert answer.status_code == status
    assert message is None or answer.json() == {"error": message}
    assert (await client.post("/api/show")).json() == {"error": "missing request body"}


async def test_tags(client, ollama):
    entries = {entry["name"]: entry for entry in (await client.get("/api/tags")).json()["models"]}
    assert entries.keys() == ollama.models.keys()
    qwen = entries["qwen3:8b"]
    assert qwen["model"] == "qwen3:8b"
    assert re.fullmatch(r"[0-9a-f]{64}", qwen["digest"])
    assert qwen["capabilities"] == ["completion", "tools", "thinking"]
    assert qwen["size"] > 0
    assert qwen["modified_at"]
    assert qwen["details"].keys() == {
        "parent_model",
        "format",
        "family",
        "families",
        "parameter_size",
        "quantization_level",
    }
    ollama.models.clear()
    assert (await client.get("/api/tags")).json() == {"models": []}


@pytest.mark.parametrize(
    ("version", "in_show", "in_tags"),
    [("0.5.1", False, False), ("0.6.4", True, False), ("0.30.0", True, True)],
)
async def test_capabilities_by_version(client, ollama, version, in_show, in_tags):
    ollama.version = version
    assert ("capabilities" in (await show(client, model="plain")).json()) is in_show
    assert ("capabilities" in (await client.get("/api/tags")).json()["models"][0]) is in_tags
    assert (await client.get("/api/version")).json() == {"version": version}


async def test_ps_shows_the_effective_context(client, ollama):
    assert await processes(client) == []
    await chat(client, "QWEN3:8b", options={"num_ctx": 16384})
    await chat(client, "plain", keep_alive=-1)
    await chat(client, "llama3:8b", keep_alive=60)
    listed = await processes(client)
    # Longest-lived first.
    assert [entry["name"] for entry in listed] == ["plain:latest", "qwen3:8b", "llama3:8b"]
    assert [entry["context_length"] for entry in listed] == [4096, 16384, 4096]
    fields = {"name", "model", "size", "digest", "details", "expires_at", "size_vram", "context_length"}
    assert listed[0].keys() == fields
    assert int(listed[0]["expires_at"][:4]) > 2200


@pytest.mark.parametrize(
    ("model", "asked", "context"),
    [
        ("llama3:8b", None, 4096),
        ("llama3:8b", 8192, 8192),
        ("llama3:8b", 99999, 8192),
        ("llama3:8b", 0, 4),
        ("llama3:8b", -1, 4),
        ("llama3:8b", 2047.9, 2047),
        ("gemma3:4b", 512, 2048),
        ("qwen2.5vl:7b", 32768, 32768),
    ],
)
async def test_num_ctx_is_clamped(client, ollama, model, asked, context):
    await chat(client, model, options={} if asked is None else {"num_ctx": asked})
    assert ollama.loaded[model].context_length == context


async def test_the_models_own_num_ctx_and_the_servers_default(client, ollama):
    ollama.models["own:1b"] = Model("own:1b", parameters={"num_ctx": 3000})
    ollama.default_context = 32768
    await chat(client, "own:1b")
    await chat(client, "llama3:8b")
    assert (ollama.loaded["own:1b"].context_length, ollama.loaded["llama3:8b"].context_length) == (3000, 8192)


RUNNER = {"num_ctx": 2048, "num_batch": 256, "num_gpu": 0, "main_gpu": 1, "num_thread": 4, "use_mmap": False}


@pytest.mark.parametrize(("key", "value"), (RUNNER | {"draft_num_predict": 8}).items())
async def test_a_runner_option_reloads(client, ollama, key, value):
    await chat(client)
    await chat(client, options={key: value})
    assert ollama.reloads == 1
    await chat(client, options={key: value})
    assert ollama.reloads == 1
    await chat(client, options={"temperature": 0.1})
    # The context is kept and num_gpu is automatic; any other option falls back to its default.
    assert ollama.reloads == (1 if key in ("num_ctx", "num_gpu") else 2)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_ctx": 4096},
        {"num_ctx": 99999},
        {"num_batch": 512},
        {"num_gpu": -1},
        {"num_thread": 0},
        {
            "temperature": 0,
            "top_k": 1,
            "top_p": 0.1,
            "min_p": 0.1,
            "seed": 1,
            "stop": ["x"],
            "num_predict": 3,
        },
        {"num_keep": 9, "repeat_penalty": 1.1, "repeat_last_n": 3, "presence_penalty": 1, "mirostat": 2},
    ],
)
async def test_no_reload(client, ollama, options):
    await chat(client)
    await chat(client, options=options, truncate=False, shift=True)
    assert ollama.reloads == 0


async def test_shift_reloads(client, ollama):
    await chat(client)
    await chat(client, shift=False)
    await chat(client, shift=False)
    await chat(client)
    assert ollama.reloads == 2
    ollama.models["v2:latest"] = Model("v2:latest", family="deepseek2")
    await chat(client, "v2")
    await chat(client, "v2", shift=False)
    assert ollama.reloads == 2
    ollama.version = "0.12.5"
    await chat(client, shift=False)
    assert ollama.reloads == 2


async def test_mlx_never_reloads(client, ollama):
    await chat(client, "mlx-model", options={"num_ctx": 8192})
    await chat(client, "mlx-model", options=RUNNER)
    assert ollama.reloads == 0
    assert ollama.loaded["mlx-model:latest"].context_length == 8192


async def test_a_state_set_by_hand_counts_as_loaded(client, ollama):
    ollama.loaded["qwen3:8b"] = LoadedState(context_length=24576)
    await chat(client, "qwen3:8b")
    assert (ollama.reloads, (await processes(client))[0]["context_length"]) == (0, 24576)
    await chat(client, "qwen3:8b", options={"num_ctx": 4096})
    assert (ollama.reloads, ollama.loaded["qwen3:8b"].context_length) == (1, 4096)


async def test_a_reload_waits_for_the_running_request(client, ollama):
    ollama.script = Script(text=["a"] * 20, delay=0.01)
    first = asyncio.create_task(chat(client))
    while not ollama.active:
        await asyncio.sleep(0.002)
    second = asyncio.create_task(chat(client, options={"num_ctx": 2048}))
    while len(ollama.requests) < 2:
        await asyncio.sleep(0.002)
    assert (ollama.active, ollama.reloads) == (1, 0)
    await first
    assert not second.done()
    await second
    assert (ollama.active, ollama.reloads) == (0, 1)


async def test_same_options_run_side_by_side(client, ollama):
    ollama.script = Script(text=["a"] * 5, delay=0.01)
    running = [asyncio.create_task(chat(client)) for _ in range(3)]
    async with asyncio.timeout(3):
        while ollama.active < 3:
            await asyncio.sleep(0.002)
    await asyncio.gather(*running)
    assert ollama.active == 0


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
@pytest.mark.parametrize("stream", [None, True, False])
async def test_load_and_unload(client, ollama, path, stream):
    body = {"model": "plain", "stream": stream}
    loaded = await client.post(path, json=body)
    assert loaded.headers["content-type"] == "application/json; charset=utf-8"
    assert (loaded.json()["done"], loaded.json()["done_reason"]) == (True, "load")
    assert list(ollama.loaded) == ["plain:latest"]
    unloaded = await client.post(path, json=body | {"keep_alive": 0})
    assert (unloaded.json()["done"], unloaded.json()["done_reason"]) == (True, "unload")
    assert ollama.loaded == {}
    if path == "/api/chat":
        assert unloaded.json()["message"] == {"role": "assistant", "content": ""}
    else:
        assert unloaded.json()["response"] == ""


async def test_empty_messages_load_too(client, ollama):
    answer = await client.post(
        "/api/chat", json={"model": "plain", "messages": [], "options": {"num_ctx": 1024}}
    )
    assert answer.json()["done_reason"] == "load"
    assert ollama.loaded["plain:latest"].context_length == 1024


async def test_keep_alive(client, ollama):
    await chat(client)
    assert ollama.loaded["plain:latest"].expires_at == pytest.approx(time.time() + 300, abs=5)
    await chat(client, keep_alive="10m")
    await chat(client, keep_alive=None)
    assert ollama.loaded["plain:latest"].expires_at == pytest.approx(time.time() + 600, abs=5)
    await chat(client, keep_alive=0)
    assert ollama.loaded == {}
    await chat(client, keep_alive="20ms")
    await asyncio.sleep(0.03)
    assert await processes(client) == []


async def test_foreign_key_in_ps_shows_in_the_test(ollama):
    ollama.loaded["gone:latest"] = LoadedState()
    async with httpx.AsyncClient(verify=False, base_url=ollama.url) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/api/ps")
    with pytest.raises(KeyError):
        await ollama.__aexit__()
    ollama._errors.clear()


def test_time_as_go_writes_it():
    assert rfc3339(1_000_000_000_123_450_000) == "2001-09-09T01:46:40.12345Z"
    assert rfc3339(10**18) == "2001-09-09T01:46:40Z"
